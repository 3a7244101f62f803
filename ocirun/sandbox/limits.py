"""How much a program may use."""

from __future__ import annotations

from ..errors import UsageError
from ..process.size import in_bytes
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PERIOD = 100_000  # microseconds, the kernel's default


class Limits(Record):
    """What the program and all of its processes may use. None is no limit.

    ``memory``, ``pids`` and ``cpus`` are limits of a cgroup, which an ordinary user has only where one is delegated to
    it; without one ``run`` raises HostError, or (``required=False``) does without those, and the result says which.
    """

    memory: int | str | None = None  # bytes or "256M"; there is no swap beside it
    pids: int | None = None  # processes and threads at a time
    cpus: float | None = None  # 0.5 is half of one CPU
    file_size: int | str | None = None  # bytes or "10M": no file gets larger, setrlimit(2), RLIMIT_FSIZE
    required: bool = True

    def resources(self, without: frozenset[str]) -> dict[str, Any]:
        """As linux.resources.

        :param without: limits to leave out, by name
        :raises UsageError: one is no limit
        """
        found: dict[str, Any] = {}
        if self.memory is not None and "memory" not in without:
            size = in_bytes(self.memory, "memory")
            found["memory"] = {"limit": size, "swap": size}
        if self.pids is not None and "pids" not in without:
            if type(self.pids) is not int or self.pids < 1:
                raise UsageError(f"pids: expected a number above 0, found {self.pids!r}")
            found["pids"] = {"limit": self.pids}
        if self.cpus is not None and "cpus" not in without:
            quota = int(self.cpus * _PERIOD)
            if quota < 1000:  # the kernel's minimum
                raise UsageError(f"cpus: expected at least 0.01, found {self.cpus!r}")
            found["cpu"] = {"quota": quota, "period": _PERIOD}
        return found

    def rlimits(self) -> list[dict[str, Any]]:
        """As process.rlimits: no core dumps, and what is asked for.

        :raises UsageError: it is no size
        """
        sizes = {"RLIMIT_CORE": 0}
        if self.file_size is not None:
            sizes["RLIMIT_FSIZE"] = in_bytes(self.file_size, "file_size")
        return [{"type": type, "soft": size, "hard": size} for type, size in sizes.items()]


NAMES = {"memory": "memory", "pids": "pids", "cpu": "cpus"}
"""Members of linux.resources → the limits that they come from."""
