"""What the runtime does to PID 1 from outside (or to a process of `exec`), for what few containers have."""

from __future__ import annotations

from .. import steps
from ..errors import reason_of
from ..host.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..plan.draft import Plan
    from ..plan.ops import Operation


def perform(pid: int, operation: Operation, plan: Plan) -> None:
    """Perform an operation.

    :param plan: the one that it belongs to
    :raises OperationError: it failed
    """
    steps.begin(operation)
    _, _, name, values = operation
    try:
        _PERFORMERS[name](pid, *values)
    except OSError as error:
        from .why import operation_error

        number = error.errno or 0
        raise operation_error(operation, number, error.strerror or reason_of(number), plan) from None


def _scheduler(
    pid: int, policy: int, nice: int, priority: int, flags: int, runtime: int, deadline: int, period: int
) -> None:
    from ..host.native import lib

    result = lib.sys_sched_setattr(pid, policy, nice, priority, flags, runtime, deadline, period)
    if result < 0:
        raise OSError(-result, reason_of(-result))


def _io_priority(pid: int, level: int, priority: int) -> None:
    from ..host.native import lib

    result = lib.sys_ioprio_set(pid, level, priority)
    if result < 0:
        raise OSError(-result, reason_of(-result))


def _same_ids(pid: int, file: str, text: str) -> None:
    lines = sorted(line.split() for line in read_file(f"/proc/{pid}/{file}").decode().splitlines())
    if lines != sorted(line.split() for line in text.splitlines()):
        shown = ", ".join(" ".join(line) for line in lines[:5]) + (" ..." if len(lines) > 5 else "")
        raise OSError(0, f"the namespace has others: {shown or 'none'}")


def _in_resctrl(name: str) -> Callable[..., None]:
    def perform(pid: int, *values: object) -> None:
        from . import resctrl  # hardly any host has it

        getattr(resctrl, name)(pid, *values)

    return perform


# For each kind a function of the pid and the operation's values, which raises OSError with an errno (or 0) and words.
_PERFORMERS: dict[str, Callable[..., None]] = {
    "same_ids": _same_ids,
    "resctrl_group": _in_resctrl("resctrl_group"),
    "resctrl_join": _in_resctrl("resctrl_join"),
    "scheduler": _scheduler,
    "io_priority": _io_priority,
}
