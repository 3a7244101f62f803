"""`ocirun start`."""

from __future__ import annotations

import posix

from ..lifecycle.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Call


def run(call: Call) -> int:
    """Start a created container."""
    start(call.root, call.arguments[0], posix.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape"))
    return 0
