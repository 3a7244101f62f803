"""`ocirun start`."""

from __future__ import annotations

from ..lifecycle.start import start
from . import notify_socket, warner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Start a created container."""
    start(call.root, call.arguments[0], notify_socket(), warner(call))
    return 0
