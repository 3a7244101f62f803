"""`ocirun pause`."""

from __future__ import annotations

from ..lifecycle.pause import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Suspend all processes of a container."""
    pause(call.root, call.arguments[0])
    return 0
