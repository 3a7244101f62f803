"""A container's cgroup as data: what the plan joins, what the drivers make, and what is kept on disk."""

from __future__ import annotations

from ..record import Record

SYSTEMD_TREE = ("name=systemd",)  # the v1 hierarchy in which systemd keeps its units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ops import Operation


class CgroupDir(Record):
    """One directory of a container's cgroup."""

    controllers: tuple[str, ...]  # ("cpu", "cpuacct"), ("name=systemd",), () for v2
    path: str  # on the host
    mountpoint: str  # of its hierarchy


class Unit(Record):
    """The scope of systemd that a container is in."""

    name: str  # "docker-0123.scope"
    user: bool  # of the user's systemd, not of the host's


class Placement(Record):
    """Where a container's cgroup is to be, and the parent's operations that make it."""

    directories: tuple[CgroupDir, ...]
    operations: tuple[Operation, ...]
    unit: Unit | None = None  # systemd is to make the directories
    scope: tuple[Operation, ...] = ()  # then these come when PID 1 exists

    @property
    def joined(self) -> tuple[CgroupDir, ...]:
        """Those that the init joins or is born in; systemd moves PID 1 into the others."""
        if self.unit is None:
            return self.directories
        return tuple([d for d in self.directories if d.controllers and d.controllers != SYSTEMD_TREE])
