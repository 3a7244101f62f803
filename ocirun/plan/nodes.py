"""The devices of a container with a user namespace of its own, which the outer stage makes: inside it, mknod(2) is
forbidden. Loaded when a configuration has some."""

from __future__ import annotations

from ..spec.namespaces import on_the_host
from . import ops
from .mounts import mode_of
from .ops import NO_SLOT
from .path import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Linux
    from .draft import Draft


def make(draft: Draft, linux: Linux) -> list[int]:
    """Make the nodes; the slot of each of linux.devices, NO_SLOT for those that need none or cannot be made."""
    slots = []
    for number, device in enumerate(linux.devices):
        # None where the maps are not known, in a user namespace that is joined.
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
