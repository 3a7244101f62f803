"""The options of mounts, and what of a mount is refused (config.md, "Mounts")."""

from __future__ import annotations

from .path import clean
from .tables import (
    ATTR_ATIME,
    ATTRIBUTES,
    FLAGS,
    MS_BIND,
    MS_NOATIME,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_STRICTATIME,
    PROPAGATION,
    RECURSIVE,
)
from .wish import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Mount
    from .draft import Draft
    from .host import Host

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


def read_mounts(draft: Draft, mounts: Sequence[Mount], host: Host, root: str) -> list[Wish]:
    """The mounts with their options sorted out; what is wrong goes into draft.problems.

    :param root: the host's path of the container's root, clean: a destination may begin with it, as for runc
    """
    wishes = []
    for number, mount in enumerate(mounts):
        pointer = f"/mounts/{number}"
        target = clean(mount.destination)
        if root != "/" and (target == root or target.startswith(f"{root}/")):
            target = target[len(root) :] or "/"
        wish = Wish(pointer, mount.type or "", mount.source or "", target)
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
