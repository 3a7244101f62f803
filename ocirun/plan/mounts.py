"""What is attached below the root: mounts, the cgroup hierarchies, devices and their symlinks."""

from __future__ import annotations

from . import ops
from .ops import NO_SLOT
from .tables import (
    ATTR_ATIME,
    ATTR_NOATIME,
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    ATTR_STRICTATIME,
    ATTRIBUTES,
    FLAGS,
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_STRICTATIME,
    PROPAGATION,
    RECURSIVE,
    TARGET_AS_TAKEN,
    TARGET_COPY_UP,
    TARGET_ORDINARY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..cgroup.driver import CgroupDir
    from ..host import Hierarchy, Host
    from ..spec.devices import Device
    from ..spec.model import Linux, Mount
    from ..spec.namespaces import IdMapping
    from .build import Draft

_GROUP = 16  # descriptors open at once for sources of bind mounts; more where these groups
_GROUPS = 200  # would be more than the queue of a socket takes (net.core.wmem_default)

_CGROUP_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
_CGROUP_ATTRIBUTES = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC

# lxcfs puts its own files over these; anything else inside /proc could redirect what we write there (CVE-2019-16884).
_ALLOWED_IN_PROC = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
)

# Path, major, minor: character devices of mode 0666 that every container has (config-linux.md, "Default Devices").
_DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)
_FILE_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


class Wish:
    """One of mounts, with its options sorted out."""

    __slots__ = (
        "attr_clear",
        "copy_up",
        "data",
        "fetch",
        "flags",
        "fstype",
        "idmap",
        "mappings",
        "pointer",
        "propagations",
        "rec_clear",
        "rec_set",
        "slot",
        "source",
        "target",
    )

    def __init__(self, pointer: str, fstype: str, source: str, target: str) -> None:
        self.pointer = pointer
        self.fstype = fstype  # "bind" for all bind mounts
        self.source = source
        self.target = target
        self.flags = 0  # MS_*
        # MOUNT_ATTR_* that an option clears. What no option is about stays as the source of a bind mount has it:
        # "ro" does not bring back the set-user-ID programs of a nosuid source, as a remount by mount(2) would.
        self.attr_clear = 0
        self.rec_set = 0
        self.rec_clear = 0
        self.propagations: list[int] = []  # MS_*, one after the other
        self.data: list[str] = []
        self.copy_up = False
        self.idmap = ""  # or "idmap", "ridmap"
        self.mappings: tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]] | None = None
        self.slot = NO_SLOT  # of a source that was opened before
        self.fetch: int | None = None  # first of a group of sources that was put away: whether that is the last group

    @property
    def propagation(self) -> int:
        """The first of propagations, or 0."""
        return self.propagations[0] if self.propagations else 0

    @property
    def attr_set(self) -> int:
        """MOUNT_ATTR_* for the flags."""
        found = 0
        for flag, attribute in ATTRIBUTES.items():
            if self.flags & flag:
                found |= attribute
        if self.flags & MS_STRICTATIME:
            return found | ATTR_STRICTATIME
        return found | ATTR_NOATIME if self.flags & MS_NOATIME else found

    @property
    def late_readonly(self) -> bool:
        """Read-only only when everything is in it: other mounts and devices need their places made there."""
        filled = self.fstype == "tmpfs" or (self.target == "/dev" and self.fstype != "bind")
        return filled and bool(self.flags & MS_RDONLY)

    @property
    def first_flags(self) -> int:
        """The flags until then."""
        return self.flags & ~MS_RDONLY if self.late_readonly else self.flags


def clean(path: str) -> str:
    """An absolute path without ".", ".." and doubled slashes, by its text alone."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def read_mounts(draft: Draft, mounts: Sequence[Mount], host: Host) -> list[Wish]:
    """The mounts with their options sorted out; what is wrong goes into draft.problems."""
    wishes = []
    for number, mount in enumerate(mounts):
        pointer = f"/mounts/{number}"
        wish = Wish(pointer, mount.type or "", mount.source or "", clean(mount.destination))
        for option in mount.options:
            _read_option(wish, option)
        if wish.flags & MS_BIND or wish.fstype == "bind":
            # The type of a bind mount says nothing (config.md, "Mounts"), and "bind" without the option is one too.
            wish.fstype = "bind"
            wish.source = draft.host_path(wish.source)
        if mount.uid_mappings or mount.gid_mappings:
            wish.mappings = mount.uid_mappings, mount.gid_mappings
            wish.idmap = wish.idmap or "idmap"
        if wish.idmap:
            from . import idmap

            idmap.check(draft, wish, host)
        _check(draft, mount, wish)
        wishes.append(wish)
    return wishes


def _read_option(wish: Wish, option: str) -> None:
    if option in FLAGS:
        on, flag = FLAGS[option]
        if on:
            if flag & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME):  # one choice of three
                wish.flags &= ~(MS_NOATIME | MS_RELATIME | MS_STRICTATIME)
                wish.attr_clear |= ATTR_ATIME
            wish.flags |= flag
            wish.attr_clear &= ~ATTRIBUTES.get(flag, 0)
        else:
            wish.flags &= ~flag
            wish.attr_clear |= ATTR_ATIME if flag & (MS_NOATIME | MS_STRICTATIME) else ATTRIBUTES.get(flag, 0)
    elif option in PROPAGATION:
        _add_propagation(wish.propagations, PROPAGATION[option])
    elif option in RECURSIVE:
        on_all, off_all = RECURSIVE[option]
        wish.rec_set = wish.rec_set & ~off_all | on_all
        wish.rec_clear = wish.rec_clear & ~(on_all & ~ATTR_ATIME) | off_all
    elif option == "tmpcopyup":
        wish.copy_up = True
    elif option in ("idmap", "ridmap"):
        wish.idmap = option
    elif "," in option and '"' not in option and "\\" not in option:  # several, as mount(2) would take them
        wish.data.extend(part for part in option.split(",") if part)
    elif option:
        wish.data.append(option)


def _add_propagation(before: list[int], flags: int) -> None:
    """In their order, as several mount(2) would: "shared" makes peers of a slave too, the others start anew (what is
    for all mounts, "rslave", is not over for those below by "private")."""
    if flags & MS_SHARED:
        if before and not (before[-1] ^ flags) & MS_REC:
            flags |= before.pop()
    elif flags & MS_REC or not any(one & MS_REC for one in before):
        before.clear()
    before.append(flags)


def _check(draft: Draft, mount: Mount, wish: Wish) -> None:
    pointer, target = wish.pointer, wish.target
    if target == "/" and not wish.flags & MS_REMOUNT:
        draft.refuse(pointer + "/destination", "expected a path below the root", mount.destination)
    if wish.fstype == "bind":
        if wish.data:
            draft.refuse(
                pointer + "/options",
                "bind mounts cannot have any filesystem-specific options applied",
                ",".join(wish.data),
            )
        if not mount.source and not wish.flags & MS_REMOUNT:
            draft.refuse(pointer, "expected a source for a bind mount")
    elif not wish.fstype and not wish.flags & MS_REMOUNT:
        draft.refuse(pointer, 'expected a type, or the option "bind" or "rbind"')
    if target == "/proc":
        if wish.fstype not in ("proc", "bind"):  # whether a source is a procfs is seen when it is mounted
            draft.refuse(pointer, f'"{target}" cannot be mounted because it is not of type proc', wish.fstype)
    elif target.startswith("/proc/") and target not in _ALLOWED_IN_PROC:
        draft.refuse(pointer, f'"{target}" cannot be mounted because it is inside /proc')


def make_from_devices(draft: Draft, wishes: Sequence[Wish]) -> None:
    """File systems of block devices, made by the caller: the container's cgroup may forbid the device, its user
    namespace the mount. Which path is a block device is seen by the init."""
    for wish in wishes:
        if wish.source[:1] == "/" and wish.fstype not in ("bind", "cgroup") and not wish.flags & MS_REMOUNT:
            wish.slot = draft.slot()
            draft.add(
                ops.new_mount(
                    "outer",
                    wish.pointer,
                    fstype=wish.fstype,
                    source=wish.source,
                    options=tuple(wish.data),
                    ms_flags=wish.first_flags,
                    slot=wish.slot,
                )
            )


def open_sources(draft: Draft, wishes: Sequence[Wish], every: bool, linux: Linux, joined: int | None) -> None:
    """Bind sources that the container's own root might not reach, taken before its user namespace is entered.

    More than a few are put away in groups until they are used: RLIMIT_NOFILE may be lower than their number.

    :param every: not only those that are to be idmapped
    :param joined: slot of the user namespace, if that is joined
    """
    binds = [wish for wish in wishes if wish.fstype == "bind" and not wish.flags & MS_REMOUNT]
    if not every:
        binds = [wish for wish in binds if wish.idmap]
    spaces: dict[tuple[str, str], int] = {}
    size = max(_GROUP, len(binds) // _GROUPS)
    for start in range(0, len(binds), size):
        group = binds[start : start + size]
        for wish in group:
            wish.slot = draft.slot()
            draft.add(
                ops.open_tree(
                    "outer",
                    wish.pointer,
                    path=wish.source,
                    from_slot=NO_SLOT,
                    recursive=int(bool(wish.flags & MS_REC)),
                    slot=wish.slot,
                )
            )
        if any(wish.idmap for wish in group):
            from . import idmap

            idmap.apply(draft, group, spaces, linux, joined)
        if len(binds) > size:
            first = group[0]
            draft.add(ops.put_away("outer", first.pointer, first=first.slot, count=group[-1].slot - first.slot + 1))
            first.fetch = int(start + size >= len(binds))


def attach(
    draft: Draft, wishes: Sequence[Wish], host: Host, directories: Sequence[CgroupDir], own_cgroup_namespace: bool
) -> None:
    """The mounts, in their order."""
    for wish in wishes:
        if wish.fetch is not None:
            draft.add(ops.fetch("init", wish.pointer, last=wish.fetch))
        if wish.flags & MS_REMOUNT:
            if wish.fstype != "bind":
                _file_system(draft, wish, wish.fstype)
            if wish.attr_set or wish.attr_clear or wish.propagation:
                _change(draft, wish, wish.attr_set, wish.attr_clear, propagation=wish.propagation)
        elif wish.fstype == "bind":
            _bind(draft, wish, wish.source, wish.target, wish.attr_set)
        elif wish.fstype == "cgroup" and host.unified:
            _cgroup2(draft, wish, host.hierarchies, directories, own_cgroup_namespace)
        elif wish.fstype == "cgroup":
            _cgroup1(draft, wish, host.hierarchies, directories, own_cgroup_namespace)
        else:
            _file_system(draft, wish, wish.fstype)
        if (wish.rec_set or wish.rec_clear) and (wish.fstype != "bind" or wish.flags & MS_REMOUNT):
            _change(draft, wish, wish.rec_set, wish.rec_clear, recursive=1)
        for flags in wish.propagations[1:]:
            _change(draft, wish, propagation=flags)


def late_readonly(draft: Draft, wishes: Sequence[Wish]) -> None:
    """Make read-only what had to be written to until now."""
    for wish in wishes:
        if wish.late_readonly and not wish.flags & MS_REMOUNT:
            _change(draft, wish, ATTR_RDONLY)


def _change(
    draft: Draft, wish: Wish, attr_set: int = 0, attr_clear: int = 0, recursive: int = 0, propagation: int = 0
) -> None:
    """Change the mount that is there already."""
    draft.add(
        ops.setattr(
            "init",
            wish.pointer,
            target=wish.target,
            recursive=recursive,
            attr_set=attr_set,
            attr_clear=attr_clear,
            propagation=propagation,
        )
    )


def _file_system(draft: Draft, wish: Wish, fstype: str) -> None:
    target_flags = TARGET_ORDINARY if fstype in ("proc", "sysfs") else 0
    if wish.copy_up and fstype == "tmpfs":
        target_flags |= TARGET_COPY_UP
    draft.add(
        ops.mount(
            "init",
            wish.pointer,
            fstype=fstype,
            source=wish.source or "none",
            target=wish.target,
            options=tuple(wish.data),
            ms_flags=wish.first_flags,
            propagation=0 if wish.flags & MS_REMOUNT else wish.propagation,
            target_flags=target_flags,
            slot=wish.slot,
        )
    )


def _bind(draft: Draft, wish: Wish, source: str, target: str, attr_set: int, slot: int | None = None) -> None:
    draft.add(
        ops.bind(
            "init",
            wish.pointer,
            source=source,
            slot=wish.slot if slot is None else slot,
            recursive=int(bool(wish.flags & MS_REC)),
            target=target,
            attr_set=attr_set,
            attr_clear=wish.attr_clear,
            rec_set=wish.rec_set,
            rec_clear=wish.rec_clear,
            propagation=wish.propagation,
            target_flags=TARGET_AS_TAKEN if wish.idmap else 0,
        )
    )


def _cgroup2(
    draft: Draft,
    wish: Wish,
    hierarchies: Sequence[Hierarchy],
    directories: Sequence[CgroupDir],
    own_namespace: bool,
) -> None:
    """With a cgroup namespace its root is the container's cgroup. Without one the whole tree of the host would show
    (and be writable for a rootless container: CVE-2023-25809), so the container's own part of it is bound."""
    if own_namespace:
        _file_system(draft, wish, "cgroup2")
        return
    own = [directory.path for directory in directories if not directory.controllers]
    attr_set = wish.attr_set
    if not own:
        own = [hierarchy.own_directory for hierarchy in hierarchies]
        attr_set |= ATTR_RDONLY  # somebody else's too
    _bind(draft, wish, own[0], wish.target, attr_set, NO_SLOT)


def _cgroup1(
    draft: Draft,
    wish: Wish,
    hierarchies: Sequence[Hierarchy],
    directories: Sequence[CgroupDir],
    own_namespace: bool,
) -> None:
    """A tmpfs with a directory for each hierarchy, as it is on the host, and symlinks such as cpu → cpu,cpuacct."""
    draft.add(
        ops.mount(
            "init",
            wish.pointer,
            fstype="tmpfs",
            source="tmpfs",
            target=wish.target,
            options=("mode=755",),
            ms_flags=_CGROUP_FLAGS,
            propagation=wish.propagation,
            target_flags=0,
            slot=NO_SLOT,
        )
    )
    own = {directory.mountpoint: directory.path for directory in directories}
    names = []
    for hierarchy in hierarchies:
        if not hierarchy.controllers:  # hybrid's v2 is not shown, as in runc
            continue
        name = hierarchy.mountpoint.rpartition("/")[2]
        target = f"{wish.target}/{name}"
        if "," in name:
            names.append(name)
        if own_namespace:
            named = hierarchy.controllers[0].startswith("name=")
            draft.add(
                ops.mount(
                    "init",
                    wish.pointer,
                    fstype="cgroup",
                    source="cgroup",
                    target=target,
                    options=("none", *hierarchy.controllers) if named else hierarchy.controllers,
                    ms_flags=_CGROUP_FLAGS | wish.flags & MS_RDONLY,
                    propagation=wish.propagation,
                    target_flags=0,
                    slot=NO_SLOT,
                )
            )
            continue
        attr_set = wish.attr_set | _CGROUP_ATTRIBUTES
        source = own.get(hierarchy.mountpoint)
        if source is None:
            source = hierarchy.own_directory
            attr_set |= ATTR_RDONLY  # somebody else's too
        _bind(draft, wish, source, target, attr_set, NO_SLOT)
    for name in names:
        for controller in name.split(","):
            draft.add(ops.symlink("init", wish.pointer, text=name, target=f"{wish.target}/{controller}", replace=0))
    if wish.flags & MS_RDONLY:
        _change(draft, wish, ATTR_RDONLY)


def restrict(draft: Draft, readonly: Sequence[str], masked: Sequence[str]) -> None:
    """readonlyPaths and maskedPaths. A slash at the end would ask for a directory, and leave a file as it is."""
    for number, path in enumerate(readonly):
        pointer = f"/linux/readonlyPaths/{number}"
        if clean(path) == "/":  # whatever is mounted over it would be above the process's root
            draft.add(ops.root_readonly("init", pointer))
        else:
            draft.add(ops.readonly("init", pointer, target=path.rstrip("/")))
    for number, path in enumerate(masked):
        pointer = f"/linux/maskedPaths/{number}"
        if clean(path) == "/":
            draft.refuse(pointer, "expected a path below the root", path)
        draft.add(ops.mask("init", pointer, target=path.rstrip("/")))


def has_own_dev(wishes: Sequence[Wish]) -> bool:
    """Whether /dev is the user's, a bind mount that nothing is put into."""
    return any(wish.fstype == "bind" and wish.target == "/dev" for wish in wishes)


def devices(
    draft: Draft,
    wishes: Sequence[Wish],
    wanted: Sequence[Device],
    by_bind: bool,
    made: Sequence[int],
    kcore: bool,
) -> None:
    """Devices and the symlinks of /dev (config-linux.md, "Default Devices").

    :param by_bind: in a user namespace, where mknod(2) is forbidden
    :param made: slots of nodes that the outer stage has made, for each that is wanted; () for none
    """
    if not any(wish.target == "/dev" for wish in wishes):
        draft.add(ops.mkdir("init", "", target="/dev", mode=0o755))
    given = [clean(device.path) for device in wanted]
    for path, major, minor in _DEFAULT_DEVICES:
        if path in given:
            continue
        if by_bind:
            draft.add(ops.bind_device("init", "", target=path, mode=0o020666, major=major, minor=minor, slot=NO_SLOT))
        else:
            draft.add(ops.mknod("init", "", target=path, mode=0o020666, major=major, minor=minor, uid=0, gid=0))
    for number, device in enumerate(wanted):
        if given[number] == "/dev/ptmx":  # the host's would open the host's ptys: always the container's own, below
            continue
        pointer, mode = f"/linux/devices/{number}", mode_of(device)
        major, minor = device.major or 0, device.minor or 0
        if by_bind and device.type != "p":
            slot = made[number] if made else NO_SLOT
            if slot == NO_SLOT and (device.file_mode is not None or device.uid or device.gid):
                draft.warn(pointer, "binding the host's own node, with the mode and owner that it has", given[number])
            draft.add(
                ops.bind_device("init", pointer, target=given[number], mode=mode, major=major, minor=minor, slot=slot)
            )
        else:
            draft.add(
                ops.mknod(
                    "init",
                    pointer,
                    target=given[number],
                    mode=mode,
                    major=major,
                    minor=minor,
                    uid=device.uid or 0,
                    gid=device.gid or 0,
                )
            )
    draft.add(ops.symlink("init", "", text="pts/ptmx", target="/dev/ptmx", replace=1))
    for text, target in _LINKS:
        draft.add(ops.symlink("init", "", text=text, target=target, replace=0))
    if kcore:
        draft.add(ops.symlink("init", "", text="/proc/kcore", target="/dev/core", replace=0))


def mode_of(device: Device) -> int:
    """st_mode of a device, with its type."""
    return _FILE_TYPES[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
