"""The processes of a container."""

from __future__ import annotations

from .. import store
from ..cgroup import driver
from ..errors import StateError
from .status import STOPPED, status_of


def pids(root: str, id: str) -> list[int]:
    """All processes of a container, as pids of the caller's namespace.

    :raises ContainerNotFound: no such container
    :raises StateError: it has no cgroup to ask
    """
    entry = store.load(root, id)
    if status_of(root, entry) == STOPPED and not entry.cgroup:
        return []
    if not entry.cgroup:
        raise StateError("ps needs the container's cgroup, and it has none")
    return driver.pids(entry.cgroup)
