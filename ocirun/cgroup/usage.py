"""What a container has used up to now, all of its processes, the ended ones included: three files of its cgroup."""

from __future__ import annotations

from ..host.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir


def used(directories: Sequence[CgroupDir]) -> tuple[float | None, int | None]:
    """CPU time in seconds, user and system, and the most memory at a time in bytes, with the page cache of its files.

    None for what is not counted here (cgroup-v1/cpuacct.rst and memory.rst; cgroup-v2.rst, where memory.peak is there
    since Linux 5.19).

    :param directories: the container's cgroup
    """
    cpu: float | None = None
    memory: int | None = None
    for directory in directories:
        if "cpuacct" in directory.controllers:
            ticks = _number(f"{directory.path}/cpuacct.usage")
            cpu = None if ticks is None else ticks / 1e9
        elif "memory" in directory.controllers:
            memory = _number(f"{directory.path}/memory.max_usage_in_bytes")
        elif not directory.controllers and len(directories) == 1:
            cpu = _usage(f"{directory.path}/cpu.stat")
            memory = _number(f"{directory.path}/memory.peak")
    return cpu, memory


def _usage(path: str) -> float | None:
    try:
        for line in read_file(path).splitlines():
            if line.startswith(b"usage_usec "):
                return int(line[11:]) / 1e6
    except OSError:
        pass
    return None


def _number(path: str) -> int | None:
    try:
        return int(read_file(path))
    except (OSError, ValueError):
        return None
