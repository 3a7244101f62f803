"""Finds out the facts of plan/host.py. The only place where a plan's input is read from the running system."""

from __future__ import annotations

import posix

from ..plan.host import EVERY_CAPABILITY, Hierarchy, Host
from .files import read_file
from .procfs import NAMESPACE_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Process, Spec

_NS_GET_USERNS = 0xB701  # ioctl_ns(2): the same on every architecture that this runs on


def host(spec: Spec | None = None, process: Process | None = None) -> Host:
    """The facts, as the calling process sees them.

    :param spec: the container that they are for, if any
    :param process: the process that they are for, if any
    :raises OSError: /proc is not there
    """
    euid = posix.geteuid()
    nested = read_file("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]
    unified, hierarchies = cgroup_hierarchies(read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo"))
    return Host(
        euid=euid,
        egid=posix.getegid(),
        groups=tuple(posix.getgroups()),
        in_user_namespace=nested,
        unified=unified,
        hierarchies=hierarchies,
        may_mount=euid == 0 and (not nested or _owns_mount_namespace()),
        setgroups_denied=nested and _setgroups_denied(),
        kcore=posix.access("/proc/kcore", posix.F_OK),
        shared=_shared(spec) if spec is not None and spec.linux.sysctl else (),
        hard_limits=hard_limits(read_file("/proc/self/limits")),
        capabilities=permitted(read_file("/proc/self/status")) if _is_capable(process) else EVERY_CAPABILITY,
        apparmor=process is None or not process.apparmor_profile or _apparmor(),
        selinux=posix.access("/sys/fs/selinux/enforce", posix.F_OK) if _is_labelled(spec, process) else True,
        resctrl=_resctrl() if spec is not None and spec.linux.intel_rdt is not None else "",
        may_schedule=not _is_scheduled(process) or (not nested and may_schedule(read_file("/proc/self/status"))),
    )


def _is_capable(process: Process | None) -> bool:
    return process is not None and process.capabilities is not None


def _is_scheduled(process: Process | None) -> bool:
    return process is not None and (process.scheduler is not None or process.io_priority is not None)


def _is_labelled(spec: Spec | None, process: Process | None) -> bool:
    return bool(process and process.selinux_label) or bool(spec and spec.linux.mount_label)


def _apparmor() -> bool:
    try:
        return read_file("/sys/module/apparmor/parameters/enabled")[:1] == b"Y"
    except OSError:
        return False


def _resctrl() -> str:
    """Where the resctrl file system is mounted, "" for nowhere."""
    for line in read_file("/proc/self/mountinfo").decode("utf-8", "surrogateescape").split("\n"):
        before, separator, _ = line.partition(" - resctrl ")
        if separator:
            return _unescape(before.split(" ")[4])
    return ""


def _shared(spec: Spec) -> tuple[str, ...]:
    """The types of those namespaces to join that are our own."""
    found = []
    for space in spec.linux.namespaces:
        if space.path:
            try:
                theirs = posix.stat(space.path)
                ours = posix.stat(f"/proc/self/ns/{NAMESPACE_FILES[space.type]}")
            except OSError:  # whoever joins it has more to say
                continue
            if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
                found.append(space.type)
    return tuple(found)


def cgroup_hierarchies(cgroup: bytes, mountinfo: bytes) -> tuple[bool, tuple[Hierarchy, ...]]:
    """Whether cgroup2 alone is at /sys/fs/cgroup, and the mounted hierarchies (cgroups(7), proc_pid_mountinfo(5)).

    :param cgroup: /proc/self/cgroup
    :param mountinfo: /proc/self/mountinfo
    """
    own: dict[str, tuple[tuple[str, ...], str]] = {}  # by the first controller; no two hierarchies share one
    own2 = "/"
    for line in cgroup.decode("utf-8", "surrogateescape").splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers:
            names = tuple(controllers.split(","))
            own[names[0]] = names, path
        elif number == "0":
            own2 = path
    found: dict[tuple[str, ...], Hierarchy] = {}
    for line in mountinfo.decode("utf-8", "surrogateescape").split("\n"):
        before, separator, after = line.partition(" - cgroup")
        if not separator:
            continue
        _, _, _, root, mountpoint, _ = before.split(" ", 5)
        version, _, options = after.split(" ", 2)
        if "\\" in before:
            root, mountpoint = _unescape(root), _unescape(mountpoint)
        if version == "2":
            if mountpoint == "/sys/fs/cgroup":
                return True, (Hierarchy(mountpoint=mountpoint, controllers=(), own=own2, root=root),)
            if mountpoint == "/sys/fs/cgroup/unified":
                found.setdefault((), Hierarchy(mountpoint=mountpoint, controllers=(), own=own2, root=root))
            continue
        words = options.split(",")
        for word in words:
            if word in own and own[word][0] not in found:
                names, path = own[word]
                if len(names) == 1 or set(words).issuperset(names):
                    found[names] = Hierarchy(mountpoint=mountpoint, controllers=names, own=path, root=root)
    return False, tuple(found.values())


def hard_limits(limits: bytes) -> tuple[int, ...]:
    """The hard limits by resource number, from /proc/self/limits, whose lines are in that order.

    (Importing ``resource`` costs five times as much.)
    """
    values = (line[47:68].strip() for line in limits.splitlines()[1:])
    return tuple(0xFFFFFFFFFFFFFFFF if value == b"unlimited" else int(value) for value in values)


def permitted(status: bytes) -> int:
    """The permitted capabilities of /proc/self/status, bit N for capability N."""
    return _capabilities(status, b"\nCapPrm:")


def may_schedule(status: bytes) -> bool:
    """Whether CAP_SYS_NICE is among the effective capabilities of /proc/self/status."""
    return bool(_capabilities(status, b"\nCapEff:") >> 23 & 1)


def _capabilities(status: bytes, key: bytes) -> int:
    _, _, rest = status.partition(key)
    return int(rest.split(None, 1)[0], 16)


def _unescape(path: str) -> str:
    r"""mountinfo writes blanks, tabs, newlines and backslashes as \040 and so on."""
    first, *rest = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _owns_mount_namespace() -> bool:
    """Whether the caller's user namespace owns its mount namespace: `unshare -r` alone leaves it to the parent's."""
    import fcntl

    fd = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        owner = fcntl.ioctl(fd, _NS_GET_USERNS)
    except OSError:  # EPERM: an ancestor's
        return False
    finally:
        posix.close(fd)
    try:
        return posix.fstat(owner).st_ino == posix.stat("/proc/self/ns/user").st_ino
    finally:
        posix.close(owner)


def _setgroups_denied() -> bool:
    try:
        return read_file("/proc/self/setgroups").strip() == b"deny"
    except OSError:  # Linux before 3.19
        return False
