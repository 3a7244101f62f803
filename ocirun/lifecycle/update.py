"""`update`: other limits for a container that exists."""

from __future__ import annotations

from .. import steps
from ..errors import StateError, worded
from ..store import containers
from .status import CREATING, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Resources


@worded
def update(root: str, id: str, resources: Resources) -> None:
    """Set the limits that ``resources`` has. Those that it has not, and the device rules, stay as they are.

    :raises ContainerNotFound: no such container
    :raises StateError: it is not running
    :raises OperationError: a limit cannot be set; all are as they were
    :raises HostError: systemd, which has made its cgroup, cannot be told
    """
    entry = containers.load(root, id)
    if status_of(root, entry) in (CREATING, STOPPED):
        raise StateError("container not running")
    if resources.has_limits:
        from ..cgroup.update import update

        steps.reach("update.write")
        update(resources, entry.cgroup, entry.unit)
