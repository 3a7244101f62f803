"""Idmapped mounts: the files of the source appear with other owners (config.md, "Linux mount options": idmap, ridmap).

Only what has the source's file system in its power may map it, so the outer stage does, before it enters the
container's user namespace. Loaded when a configuration has one.
"""

from __future__ import annotations

from ..spec.namespaces import map_text
from . import ops
from .tables import MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Linux
    from .draft import Draft
    from .host import Host
    from .ops import Operation
    from .wish import Wish


def check(draft: Draft, wish: Wish, host: Host) -> None:
    """Note what cannot be mapped."""
    if wish.fstype != "bind":
        draft.refuse(wish.pointer, "idmapped mounts are only supported for bind mounts", wish.fstype)
    elif wish.flags & MS_REMOUNT:
        draft.refuse(f"{wish.pointer}/options", "a mount that is there already cannot be idmapped", "remount")
    if host.euid:
        draft.refuse(wish.pointer, "idmapped mounts are not supported for rootless containers")


def apply(
    draft: Draft, wishes: Sequence[Wish], spaces: dict[tuple[str, str], int], linux: Linux, joined: int | None
) -> None:
    """Map the sources that have been taken, and make the user namespaces for those that will be.

    :param spaces: slots of user namespaces by their maps, which all mounts of a container share
    :param joined: slot of the container's user namespace, if that is joined
    """
    for wish in wishes:
        if not wish.idmap:
            continue
        if wish.mappings is None and joined is not None:
            space = joined
        else:
            uids, gids = wish.mappings or (linux.uid_mappings, linux.gid_mappings)
            maps = map_text(uids), map_text(gids)
            if maps not in spaces:
                spaces[maps] = draft.slot()
                draft.add(
                    ops.user_namespace("outer", wish.pointer, uid_map=maps[0], gid_map=maps[1], slot=spaces[maps])
                )
            space = spaces[maps]
        wish.space = space
        if not wish.inside:
            draft.add(mapped("outer", wish))


def mapped(who: str, wish: Wish) -> Operation:
    """Map the source that is in the slot."""
    return ops.idmap(
        who,
        wish.pointer,
        path=wish.source,
        slot=wish.slot,
        namespace_slot=wish.space,
        recursive=int(wish.idmap == "ridmap"),
    )
