"""`pause`: no process of the container runs until `resume` (cgroups(7), freezer)."""

from __future__ import annotations

from .. import steps
from ..cgroup import members
from ..errors import StateError
from ..store import containers
from .status import CREATED, RUNNING, status_of


def pause(root: str, id: str) -> None:
    """Freeze the container's cgroup; returns when all of it stands still.

    :raises ContainerNotFound: no such container
    :raises StateError: it neither runs nor waits for `start`
    :raises HostError: it has no freezer, or does not freeze
    """
    entry = containers.load(root, id)
    if status_of(root, entry) not in (CREATED, RUNNING):
        raise StateError("container not running")
    steps.reach("pause.freeze")
    members.freeze(entry.cgroup)
