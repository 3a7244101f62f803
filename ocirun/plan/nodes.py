"""The devices of a container with a user namespace of its own, which the outer stage makes: inside it, mknod(2) is
forbidden. Loaded when a configuration has some."""

from __future__ import annotations

from . import ops
from .mounts import clean, mode_of
from .ops import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Linux
    from ..spec.namespaces import IdMapping
    from .build import Draft


def make(draft: Draft, linux: Linux) -> list[int]:
    """Make the nodes; the slot of each of linux.devices, NO_SLOT for those that need none or cannot be made."""
    slots = []
    for number, device in enumerate(linux.devices):
        uid = on_the_host(device.uid or 0, linux.uid_mappings)
        gid = on_the_host(device.gid or 0, linux.gid_mappings)
        path = clean(device.path)
        if device.type == "p" or path == "/dev/ptmx" or uid is None or gid is None:
            slots.append(NO_SLOT)
            continue
        slots.append(draft.slot())
        draft.add(
            ops.make_node(
                "outer",
                f"/linux/devices/{number}",
                target=path,
                mode=mode_of(device),
                major=device.major or 0,
                minor=device.minor or 0,
                uid=uid,
                gid=gid,
                slot=slots[-1],
            )
        )
    return slots


def on_the_host(id: int, mappings: Sequence[IdMapping]) -> int | None:
    """What an id of the container is outside; None where that is not known, in a user namespace that is joined."""
    for mapping in mappings:
        if mapping.container_id <= id < mapping.container_id + mapping.size:
            return mapping.host_id + id - mapping.container_id
    return None
