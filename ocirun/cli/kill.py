"""`ocirun kill`."""

from __future__ import annotations

from ..errors import UsageError
from ..lifecycle.kill import kill
from ..store import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from .call import Call
else:
    import _signal


def run(call: Call) -> int:
    """Send a signal to a container."""
    id = call.arguments[0]
    name = call.arguments[1] if len(call.arguments) > 1 else "SIGTERM"
    try:
        number = signal_number(name)
    except UsageError:
        containers.load(call.root, id)  # that there is no such container comes first
        raise
    kill(call.root, id, number, call.flags["all"])
    return 0


def signal_number(name: str) -> int:
    """A signal's number from "9", "KILL", "SIGKILL" or "kill".

    :raises UsageError: there is none of that name
    """
    digits = name[1:] if name[:1] in ("-", "+") else name
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        return int(name)
    full = name.upper()
    if not full.startswith("SIG"):
        full = f"SIG{full}"
    number = getattr(_signal, full, None)
    if not isinstance(number, int) or full.startswith("SIG_"):
        raise UsageError(f'unknown signal "{name}"')
    return number
