"""Why the kernel refuses an operation, where its errno alone says too little: a sysctl, a missing capability, the
place where the runtime itself is. Loaded when one has failed."""

from __future__ import annotations

from ..errors import OperationError
from ..host.files import read_file
from ..plan.show import describe
from ..spec.tables import CAPABILITIES, NAMESPACES
from ..spec.tuning import SCHEDULER_POLICIES, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.draft import Plan
    from ..plan.ops import Operation

_EPERM, _EAGAIN, _ENOMEM, _EACCES, _EBUSY, _EINVAL, _ENOSPC = 1, 11, 12, 13, 16, 22, 28
_EOPNOTSUPP, _ETOOMANYREFS, _EDQUOT = 95, 109, 122
_CAP_SETGID, _CAP_SETUID, _CAP_SYS_ADMIN, _CAP_SYS_NICE, _CAP_SETFCAP = 6, 7, 21, 23, 31
_SCHED_DEADLINE = SCHEDULER_POLICIES["SCHED_DEADLINE"]
_REAL_TIME = (SCHEDULER_POLICIES["SCHED_FIFO"], SCHEDULER_POLICIES["SCHED_RR"])
_USER = NAMESPACES["user"]
# The names in user.max_*_namespaces (namespaces(7)).
_SYSCTL_NAMES = {"mount": "mnt", "network": "net"}
# Operations that take CAP_SYS_ADMIN.
_PRIVILEGED = ("setns", "unshare", "propagation", "mount_root", "mount", "bind", "pivot_root", "move_root")
# A file system shows what a namespace has, and only who owns that may mount a new one.
_OF_NAMESPACE = {"sysfs": "network", "mqueue": "ipc", "cgroup2": "cgroup", "cgroup": "cgroup"}


def operation_error(operation: Operation, errno: int, reason: str, plan: Plan) -> OperationError:
    """The error of an operation that has failed, with what is behind the reason, if that is known."""
    if operation.name == "set_capabilities":
        for name, number in CAPABILITIES.items():
            reason = reason.replace(f"capability {number} ", f"{name} ")
    what, hint = describe(operation, plan), explain(operation, errno, plan)
    return OperationError(what, operation.pointer, errno, reason, hint)


def explain(operation: Operation, errno: int, plan: Plan) -> str:
    """The cause in words, "" when none is known.

    :param plan: the one that the operation belongs to
    """
    name = operation.name
    if errno == _EAGAIN and name == "clone":
        return no_room()
    if errno == _ENOSPC and name in ("unshare", "user_namespace"):
        return _used_up(operation.values[0] if name == "unshare" else _USER)
    if errno == _ETOOMANYREFS and name == "put_away":
        return "more sources of bind mounts than RLIMIT_NOFILE allows a root that is not the host's"
    if errno == _EINVAL and name == "unshare":
        return _unknown(operation.values[0])
    if name in _TUNING:
        return _TUNING[name](operation, errno)
    if name == "keyring":
        return _no_keyring(errno)
    if errno == _EINVAL and name == "bind":
        return _locked_below(operation)
    if errno not in (_EPERM, _EACCES):
        return ""
    nested = any(op.name in ("unshare", "setns") and _flags(op) & _USER for op in plan.operations)
    if name == "mount" and (nested or _in_user_namespace()):
        return _not_mounted(operation.values[0], plan)
    if name in ("bind", "setattr") and errno == _EPERM and (nested or _in_user_namespace()):
        return _locked_attributes(operation)
    if name == "unshare" and nested:
        return _no_user_namespaces()
    if name in ("become_root", "uid_map", "gid_map", "setgroups_deny"):
        refused = _not_mapped(name, operation.values[0], operation.pointer) if name.endswith("_map") else ""
        return refused or _no_user_namespaces()
    if name == "user_namespace":
        uids, gids = operation.values[:2]
        pointer = operation.pointer
        refused = _not_mapped("uid_map", uids, f"{pointer}/uidMappings")
        return refused or _not_mapped("gid_map", gids, f"{pointer}/gidMappings") or _no_user_namespaces()
    if name in _PRIVILEGED and not nested and not _has(_CAP_SYS_ADMIN):
        return "the runtime lacks CAP_SYS_ADMIN"
    return ""


def _no_keyring(errno: int) -> str:
    if errno == _EDQUOT:
        return "sysctl kernel.keys.maxkeys limits the user's keys; --no-new-keyring goes without one"
    return "seccomp filters of containers often forbid it; --no-new-keyring goes without one"


def _flags(operation: Operation) -> int:
    flags: int = operation.fields()["flags"]
    return flags


def _sysctl(name: str) -> str:
    try:
        return read_file(f"/proc/sys/{name.replace('.', '/')}").decode().strip()
    except OSError:
        return ""


def _status(key: bytes) -> bytes:
    for line in read_file("/proc/self/status").splitlines():
        if line.startswith(key):
            return line[len(key) :].strip(b":\t ")
    return b""


def _has(capability: int) -> bool:
    return bool(int(_status(b"CapEff"), 16) >> capability & 1)


def _in_user_namespace() -> bool:
    return read_file("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


def _no_user_namespaces() -> str:
    if _sysctl("kernel.unprivileged_userns_clone") == "0":
        return "sysctl kernel.unprivileged_userns_clone=0 forbids user namespaces to ordinary users"
    if _sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return (
            "sysctl kernel.apparmor_restrict_unprivileged_userns=1 takes the privileges in user namespaces from"
            " programs without an AppArmor profile that grants them"
        )
    if _status(b"Seccomp") == b"2":
        return "a seccomp filter around the runtime may forbid it"
    return ""


def _used_up(flags: int) -> str:
    """One of the limits on numbers of namespaces."""
    kinds = [kind for kind, flag in NAMESPACES.items() if flags & flag]
    for kind in kinds:
        name = f"user.max_{_SYSCTL_NAMES.get(kind, kind)}_namespaces"
        if _sysctl(name) == "0":
            return f"sysctl {name}=0 forbids {kind} namespaces"
    names = ", ".join(f"user.max_{_SYSCTL_NAMES.get(kind, kind)}_namespaces" for kind in kinds)
    return f"a limit is reached, here or in a user namespace above: {names}, or 32 user namespaces in each other"


def _unknown(flags: int) -> str:
    """Kinds of namespaces that this kernel was built without."""
    missing = []
    for kind, flag in NAMESPACES.items():
        if flags & flag:
            try:
                read_file(f"/proc/self/ns/{_SYSCTL_NAMES.get(kind, kind)}")
            except FileNotFoundError:
                missing.append(kind)
            except OSError:  # it is there, and no file to read
                pass
    return f"the kernel has no {' and no '.join(missing)} namespaces" if missing else ""


def no_room() -> str:
    """Why there is no fork."""
    return "no more processes: pids.max of the cgroup or of one above it, or the user's RLIMIT_NPROC"


def _not_mapped(file: str, text: str, pointer: str) -> str:
    """An id map of ids that the caller's own user namespace does not have, or for which a capability is missing."""
    own = [tuple(map(int, line.split())) for line in read_file(f"/proc/self/{file}").splitlines()]
    ids = [tuple(map(int, line.split()[1:])) for line in text.splitlines()]
    for number, (host, size) in enumerate(ids):
        if not any(begin <= host and host + size <= begin + length for begin, _, length in own):
            where = f"{pointer}/{number}: {host} to {host + size - 1}"
            return f"{where} are not all mapped in the caller's own user namespace"
    if _status(b"Uid").split()[1:2] != [b"0"]:
        return ""
    number, name = (_CAP_SETUID, "CAP_SETUID") if file == "uid_map" else (_CAP_SETGID, "CAP_SETGID")
    if not _has(number):
        return f"the runtime lacks {name}"
    if any(host == 0 for host, _ in ids) and not _has(_CAP_SETFCAP):
        return "the runtime lacks CAP_SETFCAP, which it takes to map root"
    return ""


def _not_mounted(fstype: str, plan: Plan) -> str:
    kind = _OF_NAMESPACE.get(fstype)
    if kind and not any(op.name == "unshare" and _flags(op) & NAMESPACES[kind] for op in plan.operations):
        return f"in a user namespace a new {fstype} needs a new {kind} namespace, too; or bind the host's"
    place = {"proc": "/proc", "sysfs": "/sys"}.get(fstype, "")
    covered = _covered(place) if place else ""
    if covered:
        return (
            f"in a user namespace a new {fstype} is refused while something covers a part of the one that the"
            f" runtime sees, here {covered}: have the container around it not mask {place}, or bind {place}"
        )
    return _no_user_namespaces()


def _locked_below(operation: Operation) -> str:
    """mount_namespaces(7): mounts that came with a user namespace stay together."""
    values = operation.fields()
    covered = "" if values["recursive"] else _covered(values["source"].rstrip("/"))
    if covered:
        return (
            f'{covered} is mounted below it, which "bind" may not uncover in a user namespace: "rbind" takes it along'
        )
    return ""


def _locked_attributes(operation: Operation) -> str:
    values = operation.fields()
    if any(values.get(key) for key in ("attr_set", "attr_clear", "rec_set", "rec_clear")):
        return "a user namespace may not change access times, or take restrictions away, of a mount that came with it"
    return ""


def _covered(place: str) -> str:
    """A mount below the place."""
    for line in read_file("/proc/self/mountinfo").decode("utf-8", "surrogateescape").splitlines():
        mountpoint = line.split(" ")[4]
        if mountpoint.startswith(place + "/") and not mountpoint.startswith("/sys/fs/"):
            return mountpoint
    return ""


# plan/tuning.py


def _not_scheduled(operation: Operation, errno: int) -> str:
    """sched(7), sched_setattr(2)"""
    policy = operation.values[0]
    if errno == _EBUSY:
        return "the CPUs have not so much time left"
    if errno == _EOPNOTSUPP:
        return "the kernel has no utilization clamping"
    if errno == _EINVAL and policy == _SCHED_DEADLINE:
        return "the kernel takes no such period: sysctls kernel.sched_deadline_period_min_us and _max_us"
    if errno == _EINVAL:
        return "the kernel does not know it"
    if errno != _EPERM or _without_nice():
        return _without_nice() if errno == _EPERM else ""
    if policy == _SCHED_DEADLINE:
        return "the process must be allowed all CPUs: no linux.resources.cpu.cpus"
    return "the cgroup has no real-time time: linux.resources.cpu.realtimeRuntime" if policy in _REAL_TIME else ""


def _without_nice() -> str:
    if _in_user_namespace():
        return "the runtime is in a user namespace"
    return "" if _has(_CAP_SYS_NICE) else "the runtime lacks CAP_SYS_NICE"


def _no_members(operation: Operation, errno: int) -> str:
    """CPUs or nodes."""
    cpus = operation.name == "affinity"
    if errno != _EINVAL:
        return ""
    mask = int.from_bytes(operation.values[-1], "little")
    what, place = ("CPUs", "cpu") if cpus else ("nodes", "node")
    try:
        online = read_file(f"/sys/devices/system/{place}/online").decode().strip()
    except OSError:
        return ""
    if mask and not mask & members(online):
        return f"the machine has {what} {online}"
    return "the cpuset allows none of them" if cpus else "the cpuset allows none, or the kernel does not know the mode"


_TUNING: dict[str, Callable[[Operation, int], str]] = {
    "scheduler": _not_scheduled,
    "io_priority": lambda _, errno: _without_nice() if errno == _EPERM else "",
    "affinity": _no_members,
    "memory_policy": _no_members,
}
