"""A container's cgroup as data: what the plan joins, what the drivers make, and what is kept on disk."""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ops import Operation


class CgroupDir(Record):
    """One directory of a container's cgroup."""

    controllers: tuple[str, ...]  # ("cpu", "cpuacct"), ("name=systemd",), () for v2
    path: str  # on the host
    mountpoint: str  # of its hierarchy


class Placement(Record):
    """Where a container's cgroup is to be, and the parent's operations that make it."""

    directories: tuple[CgroupDir, ...]
    operations: tuple[Operation, ...]
