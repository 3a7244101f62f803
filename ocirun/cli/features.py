"""`ocirun features`."""

from __future__ import annotations

from ..features import document
from . import out
from .version import RUNC_VERSION, SPEC_VERSION, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Print the features document, laid out as by runc."""
    import json  # asked once by an engine, not for a container

    out(json.dumps(document(RUNC_VERSION, VERSION, SPEC_VERSION), indent=4) + "\n")
    return 0
