"""`ocirun run`."""

from __future__ import annotations

from ..lifecycle import run as lifecycle
from . import warner
from .create import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Run a container; in the foreground, the exit code is the container's."""
    flags = call.flags
    return lifecycle.run(
        call.root,
        call.arguments[0],
        flags["bundle"],
        request(call),
        detach=flags["detach"],
        keep=flags["keep"],
        subreaper=not flags["no-subreaper"],
        warn=warner(call),
    )
