"""The processes of a container."""

from __future__ import annotations

from ..cgroup import members
from ..errors import StateError, worded
from ..store import containers
from .status import STOPPED, status_of


@worded
def pids(root: str, id: str) -> list[int]:
    """All processes of a container, as pids of the caller's namespace.

    :raises ContainerNotFound: no such container
    :raises StateError: it has no cgroup to ask
    """
    entry = containers.load(root, id)
    if status_of(root, entry) == STOPPED and not entry.cgroup:
        return []
    if not entry.cgroup:
        raise StateError("ps needs the container's cgroup, and it has none")
    return members.pids(entry.cgroup)
