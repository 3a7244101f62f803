"""Plans in words: for error messages, as a table, and as JSON. Loaded only when something is shown."""

from __future__ import annotations

from ..spec.tables import CAPABILITIES, CLOCKS, NAMESPACES, RLIMITS
from . import tables
from .ops import NO_SLOT
from .parent import EITHER, MADE, THERE
from .process import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .draft import Plan
    from .ops import Operation

_MS = {
    tables.MS_RDONLY: "ro",
    tables.MS_NOSUID: "nosuid",
    tables.MS_NODEV: "nodev",
    tables.MS_NOEXEC: "noexec",
    tables.MS_SYNCHRONOUS: "sync",
    tables.MS_MANDLOCK: "mand",
    tables.MS_DIRSYNC: "dirsync",
    tables.MS_NOSYMFOLLOW: "nosymfollow",
    tables.MS_NOATIME: "noatime",
    tables.MS_NODIRATIME: "nodiratime",
    tables.MS_SILENT: "silent",
    tables.MS_RELATIME: "relatime",
    tables.MS_I_VERSION: "iversion",
    tables.MS_STRICTATIME: "strictatime",
    tables.MS_LAZYTIME: "lazytime",
}
_PROPAGATION = (
    (tables.MS_PRIVATE, "private"),
    (tables.MS_UNBINDABLE, "unbindable"),
    (tables.MS_SLAVE, "slave"),
    (tables.MS_SHARED, "shared"),
)
_ATTRIBUTES = (
    (tables.ATTR_RDONLY, "ro", "rw"),
    (tables.ATTR_NOSUID, "nosuid", "suid"),
    (tables.ATTR_NODEV, "nodev", "dev"),
    (tables.ATTR_NOEXEC, "noexec", "exec"),
    (tables.ATTR_NODIRATIME, "nodiratime", "diratime"),
    (tables.ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
)
_NODES = {0o020000: "character device", 0o060000: "block device", 0o010000: "fifo"}
_NO_LIMIT = 0xFFFFFFFFFFFFFFFF


def describe(operation: Operation, plan: Plan | None = None) -> str:
    """One operation in words on one line, a verb first: "mount proc on /proc (nosuid,nodev,noexec)".

    :param plan: the one that it belongs to, from which slots get the names of what is in them
    """
    words = _WORDS[operation.name]
    fields = operation.fields()
    if "slot" in fields:
        fields["holds"] = _slot(plan, fields["slot"]) if plan else ""
    text = str(words(fields) if callable(words) else words.format(**fields))
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _slot(plan: Plan, slot: int) -> str:
    if slot < len(plan.inherited):
        return plan.inherited[slot]
    opened = (op.values[0] for op in plan.operations if op.name == "open" and op.values[2] == slot)
    return next(opened, f"slot {slot}")


def table(plan: Plan) -> str:
    """One line for each operation: its number, who performs it, what it is, the JSON pointer that it comes from."""
    rows = [("#", "who", "operation", "from")]
    rows += [(str(n), op.who, describe(op, plan), op.pointer or "-") for n, op in enumerate(plan.operations)]
    number = max(len(row[0]) for row in rows)
    # A few long lines (paths with an id in them) do not push the last column out of sight for all.
    what = max(len(row[2]) if len(row[2]) <= 72 else 0 for row in rows)
    return "".join(f"{n:>{number}}  {who:6}  {text:{what}}  {pointer}\n" for n, who, text, pointer in rows)


def to_json(plan: Plan) -> str:
    """A JSON array of {index, who, operation, pointer, description, ...the operation's own fields}."""
    import json  # `plan --json` only

    rows = [
        {
            "index": number,
            "who": operation.who,
            "operation": operation.name,
            "pointer": operation.pointer,
            "description": describe(operation, plan),
            "fields": {name: _plain(value) for name, value in operation.fields().items()},
        }
        for number, operation in enumerate(plan.operations)
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


def _namespaces(flags: int) -> str:
    names = [name for name, flag in NAMESPACES.items() if flags & flag]
    return f"{' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)} namespace" + (
        "s" if len(names) > 1 else ""
    )


def _propagation(flags: int) -> str:
    recursive = "r" if flags & tables.MS_REC else ""
    return ",".join(recursive + name for flag, name in _PROPAGATION if flags & flag)


def _attributes(on: int, off: int, recursive: str = "") -> list[str]:
    words = [recursive + name for flag, name, _ in _ATTRIBUTES if on & flag]
    words += [recursive + name for flag, _, name in _ATTRIBUTES if off & flag]
    if on & tables.ATTR_ATIME:
        words.append(recursive + ("noatime" if on & tables.ATTR_NOATIME else "strictatime"))
    elif off & tables.ATTR_ATIME:
        words.append(recursive + "relatime")
    return words


def _brackets(words: list[str]) -> str:
    words = [word for word in words if word]
    return f" ({','.join(words)})" if words else ""


def _mount_words(f: dict[str, Any]) -> list[str]:
    return [*(name for flag, name in _MS.items() if f["ms_flags"] & flag), *f["options"]]


def _mount(f: dict[str, Any]) -> str:
    words = _mount_words(f)
    if f["target_flags"] & tables.TARGET_COPY_UP:
        words.append("tmpcopyup")
    words.append(_propagation(f["propagation"]))
    if f["ms_flags"] & tables.MS_REMOUNT:
        return f"remount {f['target']}{_brackets(words)}"
    return f"mount {f['fstype']} on {f['target']}{_brackets(words)}"


def _bind(f: dict[str, Any]) -> str:
    words = _attributes(f["attr_set"], f["attr_clear"]) + _attributes(f["rec_set"], f["rec_clear"], "r")
    words.append(_propagation(f["propagation"]))
    below = " and all below" if f["recursive"] else ""
    before = ", taken along," if f["slot"] != NO_SLOT else ""
    return f"bind {f['source']}{below}{before} on {f['target']}{_brackets(words)}"


def _idmap(f: dict[str, Any]) -> str:
    return f"map the owners in {f['path']}{' and all below' if f['recursive'] else ''}"


def _setattr(f: dict[str, Any]) -> str:
    words = _attributes(f["attr_set"], f["attr_clear"], "r" if f["recursive"] else "")
    words.append(_propagation(f["propagation"]))
    return f"make the mount on {f['target']} {','.join(word for word in words if word)}"


def _node(f: dict[str, Any]) -> str:
    node = _NODES.get(f["mode"] & 0o170000, "node")
    return node if node == "fifo" else f"{node} {f['major']}:{f['minor']}"


def _mknod(f: dict[str, Any]) -> str:
    owner = f", owned by {f['uid']}:{f['gid']}" if f["uid"] or f["gid"] else ""
    return f"make the device {f['target']} ({_node(f)}, mode {f['mode'] & 0o7777:04o}{owner})"


def _bind_device(f: dict[str, Any]) -> str:
    whose = "the host's device" if f["slot"] == NO_SLOT else "the device made outside, else the host's,"
    return f"bind {whose} on {f['target']} ({_node(f)})"


def _open(f: dict[str, Any]) -> str:
    return f"open {f['path']}"


def _setns(f: dict[str, Any]) -> str:
    when = {1: ", if the caller may", 2: ", if not yet"}.get(f["attempt"], "")
    return f"join the {_namespaces(f['flags'])}{_of(f['holds'])}{when}"


def _of(what: str) -> str:
    return f" of {what}" if what else ""


def _time_offset(f: dict[str, Any]) -> str:
    clock = {number: name for name, number in CLOCKS.items()}.get(f["clock"], f["clock"])
    return f"set the clock {clock} ahead by {f['secs']} s and {f['nanosecs']} ns"


def _clone(f: dict[str, Any]) -> str:
    return "make PID 1" + (", in the container's cgroup" if f["procs_slot"] != NO_SLOT else "")


def _limit(value: int) -> str:
    return "unlimited" if value == _NO_LIMIT else str(value)


def _rlimit_name(resource: int) -> str:
    return {number: name for name, number in RLIMITS.items()}.get(resource, f"limit {resource}")


def _raise_rlimit(f: dict[str, Any]) -> str:
    return f"raise the hard limit {_rlimit_name(f['resource'])} to {_limit(f['hard'])}"


def _set_rlimit(f: dict[str, Any]) -> str:
    return f"set {_rlimit_name(f['resource'])} to {_limit(f['soft'])} (hard {_limit(f['hard'])})"


def _capabilities(mask: int) -> str:
    names = [name for name, number in CAPABILITIES.items() if mask >> number & 1]
    if not names:
        return "none"
    return "all" if len(names) == len(CAPABILITIES) else f"{len(names)} of {len(CAPABILITIES)}"


def _set_capabilities(f: dict[str, Any]) -> str:
    sets = (f"{name} {_capabilities(f[name])}" for name in ("effective", "permitted", "inheritable", "ambient"))
    return f"set the capabilities: {', '.join(sets)}"


def _set_user(f: dict[str, Any]) -> str:
    groups = [str(int.from_bytes(f["groups"][at : at + 4], "little")) for at in range(0, len(f["groups"]), 4)]
    also = f", groups {','.join(groups)}" if groups else ""
    return f"become user {f['uid']}, group {f['gid']}{also}"


def _console(f: dict[str, Any]) -> str:
    size = f" of {f['rows']} rows and {f['columns']} columns" if f["rows"] or f["columns"] else ""
    return f"make a terminal{size}" + (", also at /dev/console" if f["bind_console"] else "")


def _ranges(text: str) -> str:
    lines = (line.split() for line in text.splitlines())
    return ", ".join(" ".join([*line[2:], "from", *line[:1], "to", *line[1:2]]) for line in lines)


def _map(f: dict[str, Any], which: str) -> str:
    return f"map {which} ids: {_ranges(f['text'])}"


def _user_namespace(f: dict[str, Any]) -> str:
    uids, gids = _ranges(f["uid_map"]), _ranges(f["gid_map"])
    return f"make a user namespace for idmapped mounts: user ids {uids}; group ids {gids}"


def _hook(f: dict[str, Any]) -> str:
    timeout = f", at most {f['timeout']} s" if f["timeout"] >= 0 else ""
    return f"run {f['kind']} hook {f['path']}{timeout}"


def _resctrl_group(f: dict[str, Any]) -> str:
    what = {MADE: "make the resctrl group", THERE: "find the resctrl group", EITHER: "make or find the resctrl group"}
    return f"{what[f['existing']]} {f['path']}" + (f" with {', '.join(f['schemata'])}" if f["schemata"] else "")


def _move_device(f: dict[str, Any]) -> str:
    renamed = f" as {f['wanted']}" if f["wanted"] != f["name"] else ""
    return f"move the network device {f['name']} to the container{renamed}"


def _devices(f: dict[str, Any]) -> str:
    return f"limit the devices of {f['path']} ({len(f['rules'].splitlines())} rules)"


def _whose(f: dict[str, Any]) -> str:
    return "the user's systemd" if f["user"] else "systemd"


def _scope(f: dict[str, Any]) -> str:
    return f"have {_whose(f)} make {f['unit']} ({len(f['properties'])} properties)"


def _scheduler(f: dict[str, Any]) -> str:
    from ..spec.tuning import SCHEDULER_FLAGS, SCHEDULER_POLICIES

    policy = _name(SCHEDULER_POLICIES, f["policy"])
    words = [f"{name} {f[name]}" for name in ("nice", "priority", "runtime", "deadline", "period") if f[name]]
    words += [name for name, flag in SCHEDULER_FLAGS.items() if f["flags"] & flag]
    return f"schedule by {policy}" + (f" ({', '.join(words)})" if words else "")


def _io_priority(f: dict[str, Any]) -> str:
    from ..spec.tuning import IO_CLASSES

    return f"set the I/O priority to {f['priority']} of {_name(IO_CLASSES, f['level'])}"


def _memory_policy(f: dict[str, Any]) -> str:
    from ..spec.tuning import MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES

    words = [name for name, flag in MEMORY_POLICY_FLAGS.items() if f["mode"] & flag]
    words.insert(0, _name(MEMORY_POLICY_MODES, f["mode"] & ~sum(MEMORY_POLICY_FLAGS.values())))
    return f"set the memory policy {', '.join(words)}" + (f" on nodes {_numbers(f['nodes'])}" if f["nodes"] else "")


def _personality(f: dict[str, Any]) -> str:
    from ..spec.tuning import PERSONALITIES

    return f"set the personality {_name(PERSONALITIES, f['persona'])}"


def _name(table: dict[str, int], number: int) -> str:
    return next((name for name, value in table.items() if value == number), str(number))


def _numbers(mask: bytes) -> str:
    """The bits that are set, as "0-3,7"."""
    parts: list[str] = []
    first = -1
    for number, bit in enumerate(f"0{int.from_bytes(mask, 'little'):b}"[::-1]):
        if bit == "1" and first < 0:
            first = number
        elif bit == "0" and first >= 0:
            parts.append(str(first) if first == number - 1 else f"{first}-{number - 1}")
            first = -1
    return ",".join(parts)


_WORDS: dict[str, Any] = {
    "cgroup_create": "make the cgroup {path}",
    "cgroup_write": lambda f: f"write {', '.join(f['value'].splitlines())} to {f['path']}",
    "cgroup_devices": _devices,
    "systemd_scope": _scope,
    "systemd_attach": lambda f: f"have {_whose(f)} move it into {f['unit']}{f['below']}",
    "uid_map": lambda f: _map(f, "user"),
    "gid_map": lambda f: _map(f, "group"),
    "setgroups_deny": "forbid setgroups",
    "same_ids": lambda f: f"compare with the {'user' if f['file'] == 'uid_map' else 'group'} ids of the user namespace",
    "resctrl_group": _resctrl_group,
    "resctrl_join": "join the resctrl group {path}",
    "move_device": _move_device,
    "trace": "note when each operation is done",
    "open": _open,
    "open_tree": lambda f: f"take {f['path']}{' and all below' if f['recursive'] else ''} along",
    "open_inside": lambda f: f"take {f['target']}{' and all below' if f['recursive'] else ''} of the container",
    "open_cgroup": "open the cgroup {path}, read-only",
    "new_mount": lambda f: f"mount {f['fstype']} from {f['source']}{_brackets(_mount_words(f))}",
    "put_away": "put the last {count} aside",
    "user_namespace": _user_namespace,
    "idmap": _idmap,
    "make_node": lambda f: f"{_mknod(f)} outside, if allowed",
    "enter_root": "enter the root {path}",
    "oom_score_adj": "set oom_score_adj to {value}",
    "raise_rlimit": _raise_rlimit,
    "setns": _setns,
    "unshare": lambda f: f"make the {_namespaces(f['flags'])}",
    "map_ids": "wait for the id maps",
    "become_root": "become root of the user namespace",
    "time_offset": _time_offset,
    "join_cgroup": lambda f: f"join the cgroup{_of(f['holds'].rpartition('/')[0])}",
    "reset_affinity": "allow all CPUs",
    "affinity": lambda f: f"run on CPUs {_numbers(f['cpus'])}",
    "clone": _clone,
    "new_session": "start a session",
    "keyring": "join the session keyring {name}",
    "link_up": "set the network device {name} up",
    "propagation": lambda f: f"make all mounts {_propagation(f['flags'])}",
    "mount_root": "mount the root {path}",
    "root_here": "use the root as it is, without a mount",
    "use_root": "use the container's root",
    "mount": _mount,
    "bind": _bind,
    "fetch": "take up what was put aside next",
    "setattr": _setattr,
    "mkdir": "make the directory {target}",
    "symlink": "make the symlink {target} to {text}",
    "mknod": _mknod,
    "bind_device": _bind_device,
    "mounts_ready": "wait for the runtime's hooks",
    "hook": _hook,
    "pivot_root": "make the container's root the root",
    "move_root": "move the container's root over the root",
    "chroot": "change the root to the container's",
    "root_propagation": lambda f: f"make the root {_propagation(f['flags'])}",
    "root_readonly": "make the root read-only",
    "hostname": "set the host name {name}",
    "domainname": "set the domain name {name}",
    "sysctl": "set sysctl {path} to {value}",
    "listener": "offer the listener of the seccomp filter",
    "label": "write {value} to /proc/self/{file}",
    "file_label": "give {target} the label {label}",
    "mask": "mask {target}",
    "readonly": "make {target} read-only",
    "console": _console,
    "reopen_dev_null": "reopen /dev/null",
    "own_stdio": "give stdio to user {uid}",
    "scheduler": _scheduler,
    "io_priority": _io_priority,
    "memory_policy": _memory_policy,
    "personality": _personality,
    "no_new_privs": "forbid new privileges",
    "bounding": lambda f: f"limit the capabilities to {_capabilities(f['keep'])}",
    "set_user": _set_user,
    "set_capabilities": _set_capabilities,
    "umask": lambda f: f"set the umask to {f['mask']:04o}",
    "chdir": lambda f: f"change the working directory to {f['path']}" + ("" if f["required"] else ", if root may"),
    "set_rlimit": _set_rlimit,
    "seccomp": lambda f: f"load the seccomp filter ({len(f['filter']) // 8} instructions)",
    "find_executable": "find the executable {name}",
    "ready": "report the process ready",
    "wait_start": "wait for start",
    "exec": lambda f: f"exec {shown(f['args'])}",
}
