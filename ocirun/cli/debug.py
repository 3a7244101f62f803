"""--debug: what happens, step by step, and how long each operation takes, in the log. Loaded with that flag alone."""

from __future__ import annotations

import posix
from _struct import unpack_from
from time import monotonic_ns

from .. import steps
from ..plan.show import describe
from . import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.draft import Plan
    from ..plan.ops import Operation
    from .call import Call


class Debug(steps.Watcher):
    """Writes the log of one command."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._begin = self._since = monotonic_ns()
        self._running: Operation | None = None  # an operation of the runtime's own
        words = [call.command, *[f"--{name}={_text(call, name)}" for name in sorted(call.given)], *call.arguments]
        self._write(f"command: {' '.join(words)}")

    def step(self, step: str) -> None:
        self._finish()
        self._write(f"step {step} after {_milliseconds(monotonic_ns() - self._begin)}")

    def operation(self, operation: Operation) -> None:
        self._finish()
        self._running, self._since = operation, monotonic_ns()

    def note(self, text: str) -> None:
        self._finish()
        self._write(text)

    def done(self, plan: Plan, times: int) -> None:
        """An operation of the init has lasted since the one before was done, its waits for the runtime included."""
        self._finish()
        count = len(plan.operations)
        data = posix.pread(times, 8 * count, 0).ljust(8 * count, b"\0")
        before = 0
        for number, operation in enumerate(plan.operations):
            (at,) = unpack_from("=Q", data, 8 * number)
            if at:
                self._performed(operation, at - before if before else 0, plan)
                before = at

    def end(self, code: int) -> None:
        """The command is over."""
        self._finish()
        self._write(f"exit code {code} after {_milliseconds(monotonic_ns() - self._begin)}")

    def _finish(self) -> None:
        if self._running is not None:
            self._performed(self._running, monotonic_ns() - self._since, None)
            self._running = None

    def _performed(self, operation: Operation, duration: int, plan: Plan | None) -> None:
        where = f"{operation.pointer}: " if operation.pointer else ""
        what = describe(operation, plan) if plan else describe(operation)
        self._write(f"{operation[0]}: {where}{what}: {_milliseconds(duration)}")

    def _write(self, message: str) -> None:
        report.write(self._call, "debug", message)


def watch(call: Call) -> Debug:
    """Log the command from now on."""
    debug = Debug(call)
    steps.watcher = debug
    return debug


def _text(call: Call, name: str) -> str:
    return str(call.flags[name] if name in call.flags else call.options[name])


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1_000_000:.3f} ms"
