"""`ocirun resume`."""

from __future__ import annotations

from ..lifecycle.resume import resume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Resume all processes of a paused container."""
    resume(call.root, call.arguments[0])
    return 0
