"""What is attached below the root: mounts, the cgroup hierarchies, devices and their symlinks."""

from __future__ import annotations

from . import ops
from .ops import NO_SLOT
from .path import clean
from .tables import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    TARGET_AS_TAKEN,
    TARGET_COPY_UP,
    TARGET_ORDINARY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.devices import Device
    from ..spec.model import Linux
    from .cgroup import CgroupDir
    from .draft import Draft
    from .host import Hierarchy, Host
    from .wish import Wish

_GROUP = 16  # descriptors open at once for sources of bind mounts; more where these groups
_GROUPS = 200  # would be more than the queue of a socket takes (net.core.wmem_default)

_CGROUP_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
_CGROUP_ATTRIBUTES = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC

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


def open_sources(
    draft: Draft, wishes: Sequence[Wish], every: bool, linux: Linux, joined: int | None, root: str
) -> None:
    """Bind sources that the container's own root might not reach, taken before its user namespace is entered.

    More than a few are put away in groups until they are used: RLIMIT_NOFILE may be lower than their number.

    :param every: not only those that are to be idmapped
    :param joined: slot of the user namespace, if that is joined
    :param root: the host's path of the container's root, clean
    """
    binds = [wish for wish in wishes if wish.fstype == "bind" and not wish.flags & MS_REMOUNT]
    if not every:
        binds = [wish for wish in binds if wish.idmap]
    spaces: dict[tuple[str, str], int] = {}
    _find_inside(binds, wishes, root)
    late = [wish for wish in binds if wish.inside]
    if late:
        binds = [wish for wish in binds if not wish.inside]
        for wish in late:
            wish.slot = draft.slot()
        if any(wish.idmap for wish in late):
            from . import idmap

            idmap.apply(draft, late, spaces, linux, joined)
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


def _find_inside(binds: Sequence[Wish], wishes: Sequence[Wish], root: str) -> None:
    """Tell of which sources an earlier mount makes a part, covers it, or lies below it."""
    for wish in binds:
        inside = below(wish.source, root)
        if inside is not None:
            for other in wishes[: wishes.index(wish)]:
                if below(inside, other.target) is not None or below(other.target, inside) is not None:
                    wish.inside = inside
                    break


def below(path: str, root: str) -> str | None:
    """The path from the root on, "/" for that itself; None where it is not in it. Nobody looks at symlinks."""
    path = clean(path)
    if root == "/" or path == root:
        return path if root == "/" else "/"
    return path[len(root) :] if path.startswith(f"{root}/") else None


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
            if wish.inside:
                _take_inside(draft, wish)
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


def _take_inside(draft: Draft, wish: Wish) -> None:
    recursive = int(bool(wish.flags & MS_REC))
    draft.add(ops.open_inside("init", wish.pointer, target=wish.inside, recursive=recursive, slot=wish.slot))
    if wish.idmap:
        from . import idmap

        draft.add(idmap.mapped("init", wish))


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
    """readonlyPaths and maskedPaths, each once. A slash at the end would ask for a directory, and leave a file as it
    is."""
    done = set()
    for number, path in enumerate(readonly):
        pointer = f"/linux/readonlyPaths/{number}"
        if (name := _plain(path)) in done:
            continue
        done.add(name)
        if clean(path) == "/":  # whatever is mounted over it would be above the process's root
            draft.add(ops.root_readonly("init", pointer))
        else:
            draft.add(ops.readonly("init", pointer, target=path.rstrip("/")))
    done.clear()
    for number, path in enumerate(masked):
        pointer = f"/linux/maskedPaths/{number}"
        if (name := _plain(path)) in done:
            continue
        done.add(name)
        if clean(path) == "/":
            draft.refuse(pointer, "expected a path below the root", path)
        draft.add(ops.mask("init", pointer, target=path.rstrip("/")))


def _plain(path: str) -> str:
    """A path without what does not change where it leads, whatever is a symlink: ".." may."""
    return "/".join([part for part in path.split("/") if part not in ("", ".")])


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
