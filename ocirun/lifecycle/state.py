"""`state` and `list`: look, change nothing (runtime-spec runtime.md, "Query State")."""

from __future__ import annotations

from ..errors import ContainerNotFound, HostError, worded
from ..store import containers
from ..store.state import State
from .status import STOPPED, status_of


@worded
def state(root: str, id: str) -> State:
    """The state of one container.

    :raises ContainerNotFound: no such container
    """
    entry = containers.load(root, id)
    status = status_of(root, entry)
    return State(
        id=entry.id,
        pid=0 if status == STOPPED else entry.pid,
        status=status,
        bundle=entry.bundle,
        rootfs=entry.rootfs,
        created=entry.created,
        uid=entry.uid,
        document_tail=entry.document,
    )


@worded
def list_containers(root: str) -> list[State]:
    """The states of all containers below the root directory, by id."""
    found = []
    for id in containers.ids(root):
        try:
            found.append(state(root, id))
        except (ContainerNotFound, HostError):  # removed meanwhile, or the remains of a killed create
            continue
    return found
