"""Where cgroups may be, and where the files of a container's are."""

from __future__ import annotations

import posix

from ..errors import OperationError
from ..plan.parent import cgroup_write
from ..plan.path import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir
    from ..plan.ops import Operation

    Setting = tuple[str, str, str, int]


def below(path: str) -> str:
    """A cgroupsPath without "." and "..", which lead nowhere above, and without outer slashes."""
    return clean(path)[1:]


def may_make(path: str) -> bool:
    """Whether the caller may make that directory and join it. What exists must be writable itself."""
    if posix.access(path, posix.F_OK):
        return posix.access(f"{path}/cgroup.procs", posix.W_OK, effective_ids=True)
    while path and not posix.access(path, posix.F_OK):
        path = path.rpartition("/")[0]
    return posix.access(path or "/", posix.W_OK, effective_ids=True)


def writes(settings: Sequence[Setting], directories: Sequence[CgroupDir]) -> list[Operation]:
    """Settings (see resources.py) as the parent's operations on a container's cgroup, which has a directory.

    :raises OperationError: a controller that the container has no cgroup of
    """
    where = {controller: directory.path for directory in directories for controller in directory.controllers}
    operations = []
    for pointer, file, value, optional in settings:
        controller = file.partition(".")[0]
        path = where.get(controller) if where or not directories else directories[0].path
        if path is None:
            raise OperationError(
                f"cannot set {controller} limit", pointer, 0, "container could not join or create cgroup"
            )
        operations.append(cgroup_write(pointer, path=f"{path}/{file}", value=value, optional=optional))
    return operations
