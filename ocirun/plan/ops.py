"""The operations of a plan. Written by native/ops.py from native/ops.def: change it there.

An operation is a frozen record (who, pointer, name, values). ``who`` is "outer" or "init" for what the native init
performs and "parent" for what the runtime itself does; ``pointer`` is the JSON pointer of the property of
config.json that it comes from, "" for none. Operations of the parent (see parent.py) have a name and values too,
but no entry here: they are never encoded.
"""

# ruff: noqa: E501
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

NO_SLOT = 0xFFFFFFFF


class Operation(tuple):  # type: ignore[type-arg]
    """One thing that somebody does for a container."""

    __slots__ = ()

    @property
    def who(self) -> str:
        return self[0]  # type: ignore[no-any-return]

    @property
    def pointer(self) -> str:
        return self[1]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self[2]  # type: ignore[no-any-return]

    @property
    def values(self) -> tuple[Any, ...]:
        return self[3]  # type: ignore[no-any-return]

    def fields(self) -> dict[str, Any]:
        """The values by field name."""
        from .fields import FIELDS

        return {name: value for (name, _), value in zip(FIELDS[self[2]], self[3], strict=True)}


# How encode.py packs a record: its kind, the format, and where references are among the numbers, and to what.
LAYOUTS: dict[str, tuple[int, str, tuple[tuple[int, str], ...]]] = {
    "trace": (0, "HHII0Q", ()),
    "open": (1, "HHIIIII0Q", ((3, "str"),)),
    "open_tree": (2, "HHIIIIII0Q", ((3, "str"),)),
    "open_cgroup": (3, "HHIIII0Q", ((3, "str"),)),
    "new_mount": (4, "HHIIIIIIIII0Q", ((3, "str"), (5, "str"), (7, "strv"))),
    "put_away": (5, "HHIII0Q", ()),
    "user_namespace": (6, "HHIIIIII0Q", ((3, "str"), (5, "str"))),
    "idmap": (7, "HHIIIIII0Q", ((3, "str"),)),
    "make_node": (8, "HHIIIIIIIII0Q", ((3, "str"),)),
    "enter_root": (9, "HHIII0Q", ((3, "str"),)),
    "oom_score_adj": (10, "HHIi0Q", ()),
    "raise_rlimit": (11, "HHIIQ0Q", ()),
    "setns": (12, "HHIIII0Q", ()),
    "unshare": (13, "HHII0Q", ()),
    "map_ids": (14, "HHI0Q", ()),
    "become_root": (15, "HHI0Q", ()),
    "time_offset": (16, "HHIIIq0Q", ()),
    "join_cgroup": (17, "HHII0Q", ()),
    "reset_affinity": (18, "HHI0Q", ()),
    "affinity": (19, "HHIII0Q", ((3, "blob"),)),
    "clone": (20, "HHIII0Q", ()),
    "new_session": (21, "HHI0Q", ()),
    "keyring": (22, "HHIII0Q", ((3, "str"),)),
    "link_up": (23, "HHIII0Q", ((3, "str"),)),
    "propagation": (24, "HHII0Q", ()),
    "mount_root": (25, "HHIIIII0Q", ((3, "str"),)),
    "root_here": (26, "HHI0Q", ()),
    "use_root": (27, "HHI0Q", ()),
    "open_inside": (28, "HHIIIII0Q", ((3, "str"),)),
    "mount": (29, "HHIIIIIIIIIIIII0Q", ((3, "str"), (5, "str"), (7, "str"), (9, "strv"))),
    "bind": (30, "HHIIIIIIIIIIIII0Q", ((3, "str"), (7, "str"))),
    "fetch": (31, "HHII0Q", ()),
    "setattr": (32, "HHIIIIIII0Q", ((3, "str"),)),
    "mkdir": (33, "HHIIII0Q", ((3, "str"),)),
    "symlink": (34, "HHIIIIII0Q", ((3, "str"), (5, "str"))),
    "mknod": (35, "HHIIIIIIII0Q", ((3, "str"),)),
    "bind_device": (36, "HHIIIIIII0Q", ((3, "str"),)),
    "mounts_ready": (37, "HHI0Q", ()),
    "hook": (38, "HHIIIIIIIIIIiIIII0Q", ((3, "str"), (5, "str"), (7, "strv"), (9, "strv"), (13, "str"), (15, "str"))),
    "pivot_root": (39, "HHI0Q", ()),
    "move_root": (40, "HHI0Q", ()),
    "chroot": (41, "HHI0Q", ()),
    "root_propagation": (42, "HHII0Q", ()),
    "root_readonly": (43, "HHI0Q", ()),
    "hostname": (44, "HHIII0Q", ((3, "str"),)),
    "domainname": (45, "HHIII0Q", ((3, "str"),)),
    "sysctl": (46, "HHIIIII0Q", ((3, "str"), (5, "str"))),
    "mask": (47, "HHIII0Q", ((3, "str"),)),
    "readonly": (48, "HHIII0Q", ((3, "str"),)),
    "console": (49, "HHIIIII0Q", ()),
    "reopen_dev_null": (50, "HHI0Q", ()),
    "own_stdio": (51, "HHII0Q", ()),
    "scheduler": (52, "HHIIiIIQQQ0Q", ()),
    "io_priority": (53, "HHIII0Q", ()),
    "memory_policy": (54, "HHIIII0Q", ((4, "blob"),)),
    "personality": (55, "HHII0Q", ()),
    "label": (56, "HHIIIIIII0Q", ((3, "str"), (5, "str"), (7, "str"))),
    "file_label": (57, "HHIIIII0Q", ((3, "str"), (5, "str"))),
    "no_new_privs": (58, "HHI0Q", ()),
    "bounding": (59, "HHIQ0Q", ()),
    "set_user": (60, "HHIIIIII0Q", ((5, "blob"),)),
    "set_capabilities": (61, "HHIQQQQI0Q", ()),
    "umask": (62, "HHII0Q", ()),
    "chdir": (63, "HHIIII0Q", ((3, "str"),)),
    "set_rlimit": (64, "HHIIIQQ0Q", ()),
    "listener": (65, "HHI0Q", ()),
    "seccomp": (66, "HHIIII0Q", ((3, "blob"),)),
    "find_executable": (67, "HHIIIII0Q", ((3, "str"), (5, "strv"))),
    "ready": (68, "HHI0Q", ()),
    "wait_start": (69, "HHII0Q", ()),
    "exec": (70, "HHIIIIIII0Q", ((3, "strv"), (5, "strv"))),
}


def trace(who: str, pointer: str, *, slot: int) -> Operation:
    """For --debug: at 8 times the index of each operation, when it was done (CLOCK_MONOTONIC, nanoseconds) is written into the file of the slot, up to the seccomp filter, which may forbid to ask for the time."""
    return Operation((who, pointer, "trace", (slot,)))


def open(who: str, pointer: str, *, path: str, flags: int, slot: int) -> Operation:
    """open(2) of a host path; flags as for open(2), O_CLOEXEC is added."""
    return Operation((who, pointer, "open", (path, flags, slot)))


def open_tree(who: str, pointer: str, *, path: str, from_slot: int, recursive: int, slot: int) -> Operation:
    """open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at a host path, made a slave of its peers. With from_slot, the copy of what that descriptor holds (path is then only for messages)."""
    return Operation((who, pointer, "open_tree", (path, from_slot, recursive, slot)))


def open_cgroup(who: str, pointer: str, *, path: str, slot: int) -> Operation:
    """The cgroup v2 directory of a container that runs, for `clone`: of a mount of its own that is attached nowhere and read-only, so that whoever gets hold of the descriptor is led to no other directory and can write to no file."""
    return Operation((who, pointer, "open_cgroup", (path, slot)))


def new_mount(who: str, pointer: str, *, fstype: str, source: str, options: Sequence[str], ms_flags: int, slot: int) -> Operation:
    """A new file system instance, attached nowhere, if its source is a block device: the container's cgroup may not open that, and its user namespace not mount it. Else, and without fsopen(2), the slot stays empty. Fields as of `mount`."""
    return Operation((who, pointer, "new_mount", (fstype, source, options, ms_flags, slot)))


def put_away(who: str, pointer: str, *, first: int, count: int) -> Operation:
    """Move the descriptors of these slots into the queue of a socket of our own, as one group: there they do not count for RLIMIT_NOFILE. At most 253 (SCM_RIGHTS)."""
    return Operation((who, pointer, "put_away", (first, count)))


def user_namespace(who: str, pointer: str, *, uid_map: str, gid_map: str, slot: int) -> Operation:
    """A user namespace with these maps (the lines of /proc/PID/uid_map and gid_map), for idmapped mounts: nobody stays in it."""
    return Operation((who, pointer, "user_namespace", (uid_map, gid_map, slot)))


def idmap(who: str, pointer: str, *, path: str, slot: int, namespace_slot: int, recursive: int) -> Operation:
    """mount_setattr(2) with MOUNT_ATTR_IDMAP on the detached tree of the slot (recursive: and on the mounts below): owners are mapped as in the user namespace of namespace_slot, which is closed after the last record that names it. path is only for messages."""
    return Operation((who, pointer, "idmap", (path, slot, namespace_slot, recursive)))


def make_node(who: str, pointer: str, *, target: str, mode: int, major: int, minor: int, uid: int, gid: int, slot: int) -> Operation:
    """A device node in a tmpfs of its own that is attached nowhere and belongs to the runtime's user namespace: the container's could neither make it nor open it on a file system of its own. Where the caller may not either, the slot stays empty. target is only for messages."""
    return Operation((who, pointer, "make_node", (target, mode, major, minor, uid, gid, slot)))


def enter_root(who: str, pointer: str, *, path: str) -> Operation:
    """chdir(2) to a host path: the rootfs, so that its directory is found again in a new mount namespace (copy_mnt_ns carries the working directory over) without walking its path a second time."""
    return Operation((who, pointer, "enter_root", (path,)))


def oom_score_adj(who: str, pointer: str, *, value: int) -> Operation:
    """Write /proc/self/oom_score_adj."""
    return Operation((who, pointer, "oom_score_adj", (value,)))


def raise_rlimit(who: str, pointer: str, *, resource: int, hard: int) -> Operation:
    """Raise the hard limit (the soft one stays): CAP_SYS_RESOURCE counts only in the initial user namespace."""
    return Operation((who, pointer, "raise_rlimit", (resource, hard)))


def setns(who: str, pointer: str, *, slot: int, flags: int, attempt: int) -> Operation:
    """setns(2). attempt 0: must succeed. 1: EPERM is put off. 2: what attempt 1 put off must succeed now; else nothing is done. Afterwards the slot is closed, unless put off or named by a later setns. A pidfd takes several CLONE_NEW* flags at once."""
    return Operation((who, pointer, "setns", (slot, flags, attempt)))


def unshare(who: str, pointer: str, *, flags: int) -> Operation:
    return Operation((who, pointer, "unshare", (flags,)))


def map_ids(who: str, pointer: str) -> Operation:
    """Become dumpable, ask the parent to write the id maps, wait, become undumpable again."""
    return Operation((who, pointer, "map_ids", ()))


def become_root(who: str, pointer: str) -> Operation:
    """setresgid(0), setresuid(0), setgroups(0) where allowed: root of the user namespace just entered."""
    return Operation((who, pointer, "become_root", ()))


def time_offset(who: str, pointer: str, *, clock: int, nanosecs: int, secs: int) -> Operation:
    """Write one line of /proc/self/timens_offsets."""
    return Operation((who, pointer, "time_offset", (clock, nanosecs, secs)))


def join_cgroup(who: str, pointer: str, *, slot: int) -> Operation:
    """Write "0" to the open `tasks` (cgroup v1) or `cgroup.procs` (v2) of the slot."""
    return Operation((who, pointer, "join_cgroup", (slot,)))


def reset_affinity(who: str, pointer: str) -> Operation:
    """All CPUs again, whatever the caller was bound to; the cpuset still holds."""
    return Operation((who, pointer, "reset_affinity", ()))


def affinity(who: str, pointer: str, *, cpus: bytes) -> Operation:
    """sched_setaffinity(2) to the CPUs whose bits are set."""
    return Operation((who, pointer, "affinity", (cpus,)))


def clone(who: str, pointer: str, *, cgroup_slot: int, procs_slot: int) -> Operation:
    """clone3(2) with CLONE_PARENT: PID 1, in the cgroup v2 directory of cgroup_slot if there is one. Where that is refused, PID 1 moves itself through procs_slot (its cgroup.procs, opened before). The outer stage ends here."""
    return Operation((who, pointer, "clone", (cgroup_slot, procs_slot)))


def new_session(who: str, pointer: str) -> Operation:
    """setsid(2)."""
    return Operation((who, pointer, "new_session", ()))


def keyring(who: str, pointer: str, *, name: str) -> Operation:
    """A session keyring of that name, searchable by its owner (keyctl(2))."""
    return Operation((who, pointer, "keyring", (name,)))


def link_up(who: str, pointer: str, *, name: str) -> Operation:
    """Set the interface up (the loopback of a new network namespace)."""
    return Operation((who, pointer, "link_up", (name,)))


def propagation(who: str, pointer: str, *, flags: int) -> Operation:
    """mount(2) of propagation flags (MS_SLAVE | MS_REC ...) on "/"."""
    return Operation((who, pointer, "propagation", (flags,)))


def mount_root(who: str, pointer: str, *, path: str, slot: int, private: int) -> Operation:
    """The rootfs: attach the detached tree of the slot (or, with NO_SLOT, a recursive clone of the working directory) over the working directory; it becomes the root descriptor. private: the mount that it lies on, and so the clone, is made private before, as a shared one must be (pivot_root(2))."""
    return Operation((who, pointer, "mount_root", (path, slot, private)))


def root_here(who: str, pointer: str) -> Operation:
    """The working directory becomes the root descriptor as it is: a container in the host's own mount namespace, where nothing may be mounted that nobody asked for."""
    return Operation((who, pointer, "root_here", ()))


def use_root(who: str, pointer: str) -> Operation:
    """The root descriptor is the process's own root, for what enters a container: no mount."""
    return Operation((who, pointer, "use_root", ()))


def open_inside(who: str, pointer: str, *, target: str, recursive: int, slot: int) -> Operation:
    """open_tree(2) with OPEN_TREE_CLONE of what is at a target, for `bind`: a source that an earlier mount has made."""
    return Operation((who, pointer, "open_inside", (target, recursive, slot)))


def mount(who: str, pointer: str, *, fstype: str, source: str, target: str, options: Sequence[str], ms_flags: int, propagation: int, target_flags: int, slot: int) -> Operation:
    """A new file system instance: fsopen / fsconfig / fsmount / move_mount, or mount(2) where those are missing. options: "key=value" or "key". ms_flags: MS_* of mount(2), from which the MOUNT_ATTR_* follow (MS_REMOUNT: the file system that is there gets these options and flags, and keeps its attributes). propagation: MS_* or 0. target_flags: see TARGET_* in init/plan.h. slot: where `new_mount` may have made it, or NO_SLOT."""
    return Operation((who, pointer, "mount", (fstype, source, target, options, ms_flags, propagation, target_flags, slot)))


def bind(who: str, pointer: str, *, source: str, slot: int, recursive: int, target: str, attr_set: int, attr_clear: int, rec_set: int, rec_clear: int, propagation: int, target_flags: int) -> Operation:
    """Attach a detached tree (slot) or a clone of a host path (NO_SLOT) at a target, which is made if missing, a directory or a file as the source is. attr_*: MOUNT_ATTR_* set and cleared on the top mount, then rec_*: on all."""
    return Operation((who, pointer, "bind", (source, slot, recursive, target, attr_set, attr_clear, rec_set, rec_clear, propagation, target_flags)))


def fetch(who: str, pointer: str, *, last: int) -> Operation:
    """The next group that was put away comes back into its slots. last: no other follows."""
    return Operation((who, pointer, "fetch", (last,)))


def setattr(who: str, pointer: str, *, target: str, recursive: int, attr_set: int, attr_clear: int, propagation: int) -> Operation:
    """mount_setattr(2) on the mount at a target."""
    return Operation((who, pointer, "setattr", (target, recursive, attr_set, attr_clear, propagation)))


def mkdir(who: str, pointer: str, *, target: str, mode: int) -> Operation:
    """A directory and its missing parents; what exists is left alone."""
    return Operation((who, pointer, "mkdir", (target, mode)))


def symlink(who: str, pointer: str, *, text: str, target: str, replace: int) -> Operation:
    """symlinkat(2); what exists is left alone unless replace."""
    return Operation((who, pointer, "symlink", (text, target, replace)))


def mknod(who: str, pointer: str, *, target: str, mode: int, major: int, minor: int, uid: int, gid: int) -> Operation:
    """A device node: mknodat, chown, chmod, checked by descriptor. What exists with the same type and number stays. Where mknod(2) is forbidden, the host's node is bound as below."""
    return Operation((who, pointer, "mknod", (target, mode, major, minor, uid, gid)))


def bind_device(who: str, pointer: str, *, target: str, mode: int, major: int, minor: int, slot: int) -> Operation:
    """A device node bound at the target (user namespaces cannot mknod): what make_node has put into the slot; else, or with NO_SLOT, the host's node of that path or, under whatever name, of that type and number (mode, major and minor). What exists at the target must be such a device too, or an empty file."""
    return Operation((who, pointer, "bind_device", (target, mode, major, minor, slot)))


def mounts_ready(who: str, pointer: str) -> Operation:
    """Tell the parent that all mounts are attached and wait until it has run what belongs there (prestart and createRuntime hooks)."""
    return Operation((who, pointer, "mounts_ready", ()))


def hook(who: str, pointer: str, *, kind: str, path: str, args: Sequence[str], env: Sequence[str], home: int, timeout: int, state_head: str, state_tail: str) -> Operation:
    """One hook run by the init: fork, state on stdin, the group killed after timeout seconds (-1: none). kind is the hook's name; state_head + pid + state_tail is the state document. home: env is completed as exec's is."""
    return Operation((who, pointer, "hook", (kind, path, args, env, home, timeout, state_head, state_tail)))


def pivot_root(who: str, pointer: str) -> Operation:
    """pivot_root(2) into the root descriptor; move: mount(MS_MOVE) and chroot; chroot: only that."""
    return Operation((who, pointer, "pivot_root", ()))


def move_root(who: str, pointer: str) -> Operation:
    return Operation((who, pointer, "move_root", ()))


def chroot(who: str, pointer: str) -> Operation:
    return Operation((who, pointer, "chroot", ()))


def root_propagation(who: str, pointer: str, *, flags: int) -> Operation:
    """The root mount read-only (and its propagation as asked, MS_* or 0, before)."""
    return Operation((who, pointer, "root_propagation", (flags,)))


def root_readonly(who: str, pointer: str) -> Operation:
    return Operation((who, pointer, "root_readonly", ()))


def hostname(who: str, pointer: str, *, name: str) -> Operation:
    return Operation((who, pointer, "hostname", (name,)))


def domainname(who: str, pointer: str, *, name: str) -> Operation:
    return Operation((who, pointer, "domainname", (name,)))


def sysctl(who: str, pointer: str, *, path: str, value: str) -> Operation:
    """Write to /proc/sys/PATH through a private procfs."""
    return Operation((who, pointer, "sysctl", (path, value)))


def mask(who: str, pointer: str, *, target: str) -> Operation:
    """Hide a path: /dev/null over files, a shared empty read-only tmpfs over directories; a missing one is ignored."""
    return Operation((who, pointer, "mask", (target,)))


def readonly(who: str, pointer: str, *, target: str) -> Operation:
    """Bind a path over itself read-only; a missing one is ignored."""
    return Operation((who, pointer, "readonly", (target,)))


def console(who: str, pointer: str, *, slot: int, rows: int, columns: int, bind_console: int) -> Operation:
    """A new pty of the container's devpts: the slave becomes stdio and the controlling terminal, and /dev/console when bind_console; the master goes through the socket of the slot."""
    return Operation((who, pointer, "console", (slot, rows, columns, bind_console)))


def reopen_dev_null(who: str, pointer: str) -> Operation:
    """stdio that is the host's /dev/null is opened again in the container."""
    return Operation((who, pointer, "reopen_dev_null", ()))


def own_stdio(who: str, pointer: str, *, uid: int) -> Operation:
    """fchown 0, 1, 2 to the user, as far as they are not /dev/null and it is allowed. By the outer stage to the user's id there, for those that the container's user namespace does not know."""
    return Operation((who, pointer, "own_stdio", (uid,)))


def scheduler(who: str, pointer: str, *, policy: int, nice: int, priority: int, flags: int, runtime: int, deadline: int, period: int) -> Operation:
    """sched_setattr(2) of the process itself, where the runtime may do no more than that."""
    return Operation((who, pointer, "scheduler", (policy, nice, priority, flags, runtime, deadline, period)))


def io_priority(who: str, pointer: str, *, level: int, priority: int) -> Operation:
    """ioprio_set(2) of the process itself, likewise."""
    return Operation((who, pointer, "io_priority", (level, priority)))


def memory_policy(who: str, pointer: str, *, mode: int, nodes: bytes) -> Operation:
    """set_mempolicy(2): MPOL_* with MPOL_F_*, and the nodes whose bits are set."""
    return Operation((who, pointer, "memory_policy", (mode, nodes)))


def personality(who: str, pointer: str, *, persona: int) -> Operation:
    """personality(2)."""
    return Operation((who, pointer, "personality", (persona,)))


def label(who: str, pointer: str, *, file: str, other: str, value: str) -> Operation:
    """Write a value to a file below /proc/self: the label that a process has from its exec on, or that its keys have. Where the file is missing, the other one ("" for none)."""
    return Operation((who, pointer, "label", (file, other, value)))


def file_label(who: str, pointer: str, *, target: str, label: str) -> Operation:
    """fsetxattr(2) of security.selinux on a directory of the container."""
    return Operation((who, pointer, "file_label", (target, label)))


def no_new_privs(who: str, pointer: str) -> Operation:
    """prctl(PR_SET_NO_NEW_PRIVS)."""
    return Operation((who, pointer, "no_new_privs", ()))


def bounding(who: str, pointer: str, *, keep: int) -> Operation:
    """Keep only these in the bounding set (bit N is capability N)."""
    return Operation((who, pointer, "bounding", (keep,)))


def set_user(who: str, pointer: str, *, uid: int, gid: int, groups: bytes, set_groups: int) -> Operation:
    """setgroups, setresgid, setresuid with the capabilities kept. HOME is looked up before. set_groups: 0 not, 1 or fail, 2 unless it is denied (user_namespaces(7))."""
    return Operation((who, pointer, "set_user", (uid, gid, groups, set_groups)))


def set_capabilities(who: str, pointer: str, *, effective: int, permitted: int, inheritable: int, ambient: int, for_filter: int) -> Operation:
    """for_filter: CAP_SYS_ADMIN stays permitted, and is given up by `seccomp`."""
    return Operation((who, pointer, "set_capabilities", (effective, permitted, inheritable, ambient, for_filter)))


def umask(who: str, pointer: str, *, mask: int) -> Operation:
    return Operation((who, pointer, "umask", (mask,)))


def chdir(who: str, pointer: str, *, path: str, required: int) -> Operation:
    """chdir(2) inside the container, verified by getcwd(2) to be inside the root. required 0: EACCES is put off to the second chdir, after set_user."""
    return Operation((who, pointer, "chdir", (path, required)))


def set_rlimit(who: str, pointer: str, *, resource: int, pad: int, soft: int, hard: int) -> Operation:
    return Operation((who, pointer, "set_rlimit", (resource, pad, soft, hard)))


def listener(who: str, pointer: str) -> Operation:
    """Tell the parent which descriptor the seccomp listener of the next record will be, and wait until it looks for it: once the filter is on, no system call of ours may be needed to hand it over (seccomp_unotify(2))."""
    return Operation((who, pointer, "listener", ()))


def seccomp(who: str, pointer: str, *, filter: bytes, flags: int) -> Operation:
    """seccomp(2) SECCOMP_SET_MODE_FILTER; filter: struct sock_filter[]. From here on the process makes no system calls but capset(2), where CAP_SYS_ADMIN was kept for this one, read, write, close and poll (ppoll) for `ready` and `wait_start`, what startContainer hooks need, execve, and exit_group where something fails or a signal ends it."""
    return Operation((who, pointer, "seccomp", (filter, flags)))


def find_executable(who: str, pointer: str, *, name: str, env: Sequence[str]) -> Operation:
    """Find the executable as execvp(3) would in PATH of env, check it (exists, regular, executable, ELF interpreter, #! line)."""
    return Operation((who, pointer, "find_executable", (name, env)))


def ready(who: str, pointer: str) -> Operation:
    """Tell the parent that the container is created (or the process ready) and wait for its word."""
    return Operation((who, pointer, "ready", ()))


def wait_start(who: str, pointer: str, *, slot: int) -> Operation:
    """Wait on the exec fifo of the slot for `start`."""
    return Operation((who, pointer, "wait_start", (slot,)))


def exec(who: str, pointer: str, *, args: Sequence[str], env: Sequence[str], preserve: int, uid: int) -> Operation:
    """execve of what find_executable found. Descriptors 3 .. 3+preserve-1 stay, all others close. When env has no HOME, or an empty one, it is that of uid in the container's passwd, "/" without one."""
    return Operation((who, pointer, "exec", (args, env, preserve, uid)))
