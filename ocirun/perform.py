"""What the runtime does to PID 1 from outside (or to a process of `exec`), for what few containers have."""

from __future__ import annotations

from .errors import OperationError, reason_of
from .procfs import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .plan.ops import Operation


def _same_ids(pid: int, file: str, text: str) -> None:
    lines = sorted(line.split() for line in read_file(f"/proc/{pid}/{file}").decode().splitlines())
    if lines != sorted(line.split() for line in text.splitlines()):
        shown = ", ".join(" ".join(line) for line in lines[:5]) + (" ..." if len(lines) > 5 else "")
        raise OSError(0, f"the namespace has others: {shown or 'none'}")


# For each kind a function of the pid and the operation's values, which raises OSError: with an errno, or with one and
# words of its own.
_PERFORMERS: dict[str, Callable[..., None]] = {
    "same_ids": _same_ids,
}


def perform(pid: int, operations: Sequence[Operation]) -> None:
    """Perform operations of one moment, in order.

    :raises OperationError: one failed
    """
    for operation in operations:
        _, pointer, name, values = operation
        try:
            _PERFORMERS[name](pid, *values)
        except OSError as error:
            from .plan.show import describe

            number = error.errno or 0
            reason = error.strerror or reason_of(number)
            raise OperationError(describe(operation), pointer, number, reason) from None
