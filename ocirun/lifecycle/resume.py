"""`resume`: the processes of a paused container go on."""

from __future__ import annotations

from .. import steps
from ..cgroup import members
from ..errors import StateError
from ..store import containers
from .status import PAUSED, status_of


def resume(root: str, id: str) -> None:
    """Thaw the container's cgroup.

    :raises ContainerNotFound: no such container
    :raises StateError: it is not paused
    """
    entry = containers.load(root, id)
    if status_of(root, entry) != PAUSED:
        raise StateError("container not paused")
    steps.reach("resume.thaw")
    members.thaw(entry.cgroup)
