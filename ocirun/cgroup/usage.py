"""What a container has used up to now, all of its processes, the ended ones included: three files of its cgroup."""

from __future__ import annotations

from .values import number, value

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
            nanoseconds = number(f"{directory.path}/cpuacct.usage")
            cpu = None if nanoseconds is None else nanoseconds / 1e9
        elif "memory" in directory.controllers:
            memory = number(f"{directory.path}/memory.max_usage_in_bytes")
        elif not directory.controllers and len(directories) == 1:
            microseconds = value(f"{directory.path}/cpu.stat", b"usage_usec")
            cpu = None if microseconds is None else microseconds / 1e6
            memory = number(f"{directory.path}/memory.peak")
    return cpu, memory
