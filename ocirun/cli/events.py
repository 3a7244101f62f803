"""`ocirun events`."""

from __future__ import annotations

from ..errors import UsageError
from ..lifecycle.events import events, stats
from . import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .call import Call


def run(call: Call) -> int:
    """Show what a container uses, at every interval until it ends, or once."""
    interval: float = call.flags["interval"]
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    if call.flags["stats"]:
        _print(stats(call.root, call.arguments[0]))
        return 0
    for event in events(call.root, call.arguments[0], interval):
        _print(event)
    return 0


def _print(event: dict[str, Any]) -> None:
    from json import dumps  # a command that waits for seconds has the milliseconds

    out(dumps(event, separators=(",", ":")) + "\n")
