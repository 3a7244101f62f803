"""How a program ended, with its output."""

from __future__ import annotations

from ..errors import Error
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..cgroup.deaths import Toll
    from .capture import Capture
    from .process import Process


class Usage(Record):
    """What a program used. None for what nobody has counted."""

    wall: float  # seconds from the call to its end
    cpu: float | None = None  # seconds of all processes, user and system
    memory: int | None = None  # bytes, the most at a time; in a cgroup with the page cache, else of the largest process


class Result(Record):
    """How a program ended.

    ``reason`` says why, and is never a guess:

    - "exited": it ended by itself, with ``exit_code``
    - "signal": it was ended by ``signal``, of whatever origin
    - "timeout": its time was over and it was killed
    - "output": it wrote more than was to be kept and was killed
    - "memory": it failed, and the kernel had killed processes of the container for its memory limit (``oom_kills``), or
      for that of a cgroup above (``limits`` names them)
    - "pids": it failed, and the kernel had refused it new processes for a limit (``forks_refused``)
    - "unknown": somebody else has waited for it (or SIGCHLD is ignored, before Linux 6.15), and it was not killed by us

    The counts are there whatever the reason is: a program whose child was killed may still end with exit code 0.
    """

    args: tuple[str, ...]
    exit_code: int | None  # None when a signal ended it
    signal: int | None = None
    reason: str
    stdout: Any = None  # bytes, or str with text=True; None when it was not captured
    stderr: Any = None
    usage: Usage
    oom_kills: int = 0
    forks_refused: int = 0
    limits: tuple[str, ...] = ()  # the cgroups that were at their limit, the container's own first
    without: tuple[str, ...] = ()  # limits that were done without: see Limits.required

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.reason == "exited" and self.exit_code == 0

    @property
    def returncode(self) -> int:
        """As subprocess has it: the exit code, or minus the signal; -255 when neither is known."""
        if self.signal is not None:
            return -self.signal
        return -255 if self.exit_code is None else self.exit_code

    def check(self) -> Result:
        """Itself, if it is ``ok``.

        :raises RunError: it is not
        """
        if not self.ok:
            raise RunError(self)
        return self

    def __str__(self) -> str:
        how = f"exit code {self.exit_code}" if self.signal is None else f"signal {self.signal}"
        words = {
            "exited": how,
            "signal": f"ended by {how}",
            "unknown": "ended, and how is not known",
            "timeout": f"killed after {self.usage.wall:.3g} s",
            "output": "killed for too much output",
            "memory": f"out of memory: the kernel killed {self.oom_kills} of its processes ({how})",
            "pids": f"too many processes: {self.forks_refused} more were refused ({how})",
        }
        where = f" at the limit of {', '.join(self.limits)}" if self.limits else ""
        return f"{self.args[0]}: {words[self.reason]}{where if self.reason in ('memory', 'pids') else ''}"


class RunError(Error):
    """A program that was run with ``check`` did not end with exit code 0; as subprocess.CalledProcessError."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return str(self.result)


def result_of(
    args: tuple[str, ...],
    process: Process,
    capture: Capture,
    cut: str,
    toll: Toll,
    usage: Usage,
    *,
    alone: bool,
    without: tuple[str, ...] = (),
) -> Result:
    """The result of a process that has ended.

    :param cut: what it was killed for by us, "" if it was not
    :param toll: what has happened to its container meanwhile
    :param alone: the container is there for it, so that what has happened is a reason
    """
    oom_kills, forks_refused = (toll.oom_kills, toll.forks_refused) if alone else (0, 0)
    return Result(
        args=args,
        exit_code=process.code if process.signal is None else None,
        signal=process.signal,
        reason=why(process.signal, process.code, cut, oom_kills, forks_refused),
        stdout=capture.output(1),
        stderr=capture.output(2),
        usage=usage,
        oom_kills=toll.oom_kills,
        forks_refused=toll.forks_refused,
        limits=(*toll.memory_limits, *toll.pids_limits),
        without=without,
    )


def why(signal: int | None, exit_code: int | None, cut: str, oom_kills: int, forks_refused: int) -> str:
    """The reason.

    :param cut: what it was killed for by us, "" if it was not
    """
    if cut and (signal == 9 or (signal is None and exit_code is None)):
        return cut
    if signal is not None or exit_code:
        if oom_kills:
            return "memory"
        if forks_refused:
            return "pids"
    if signal is not None:
        return "signal"
    return "unknown" if exit_code is None else "exited"
