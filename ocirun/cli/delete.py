"""`ocirun delete`."""

from __future__ import annotations

from ..lifecycle.delete import delete
from . import warner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Delete a container."""
    delete(call.root, call.arguments[0], call.flags["force"], warner(call))
    return 0
