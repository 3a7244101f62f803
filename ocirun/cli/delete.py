"""`ocirun delete`."""

from __future__ import annotations

from ..lifecycle.delete import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .parse import Call


def run(call: Call) -> int:
    """Delete a container."""
    delete(call.root, call.arguments[0], call.flags["force"], call.warn)
    return 0
