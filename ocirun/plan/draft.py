"""A plan, and a plan in the making: what every module that adds operations to one shares."""

from __future__ import annotations

from ..errors import ConfigError, Problem
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ops import Operation


class Plan(Record):
    """What create, run or exec does, in order."""

    operations: tuple[Operation, ...]  # the position of one is its `index` in the encoded record
    inherited: tuple[str, ...]  # what the parent passes as slots 0, 1 ...: "fifo", "console", "pidfd"
    slots: int  # number of slots used in all
    warnings: tuple[Problem, ...] = ()  # what the container does without on this host


class Options(Record):
    """What the command line adds to the configuration.

    state_creating and state_created are the state document for createContainer and startContainer hooks, as the text
    before and after the pid: hook_state() of store/state.py. Needed only if there are such hooks.
    """

    id: str
    bundle: str  # absolute
    no_pivot: bool = False
    new_keyring: bool = True
    preserve_fds: int = 0
    listen_fds: int = 0  # LISTEN_FDS, sd_listen_fds(3)
    console: bool = False  # a console socket is passed
    trace: bool = False  # note when each operation is done
    wait: bool = True  # for `start`, on the exec fifo; False for `run`
    state_creating: tuple[str, str] = ("", "")
    state_created: tuple[str, str] = ("", "")


class Draft:
    """A plan in the making."""

    def __init__(self, bundle: str, inherited: Sequence[str] = (), trace: bool = False) -> None:
        self.bundle = bundle
        self.inherited = (*inherited, "trace") if trace else tuple(inherited)
        self.operations: list[Operation] = []
        self.add = self.operations.append
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._slots = len(self.inherited)
        if trace:
            from . import ops

            self.add(ops.trace("outer", "", slot=self._slots - 1))

    def slot(self) -> int:
        """A new slot."""
        self._slots += 1
        return self._slots - 1

    def host_path(self, path: str) -> str:
        """A path of the host; a relative one starts at the bundle."""
        return path if path[:1] == "/" else f"{self.bundle}/{path}"

    def refuse(self, pointer: str, expected: str, found: str = "") -> None:
        """Note that the configuration is wrong."""
        self.problems.append(Problem(pointer=pointer, expected=expected, found=found))

    def warn(self, pointer: str, what: str, found: str) -> None:
        """Note what is not done as the configuration has it, though that is no error."""
        self.warnings.append(Problem(pointer=pointer, expected=what, found=found))

    def finish(self) -> Plan:
        """The plan.

        :raises ConfigError: something was refused
        """
        if self.problems:
            raise ConfigError("config.json", tuple(self.problems))
        return Plan(
            operations=tuple(self.operations),
            inherited=self.inherited,
            slots=self._slots,
            warnings=tuple(self.warnings),
        )
