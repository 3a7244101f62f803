"""`ocirun state`."""

from __future__ import annotations

from ..lifecycle.state import state
from . import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Print the state document of a container; no newline at its end, as runc."""
    out(state(call.root, call.arguments[0]).document())
    return 0
