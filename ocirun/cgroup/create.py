"""Making a cgroup: the parent's operations cgroup_create, cgroup_write and cgroup_devices (the latter two in one that
systemd has made, too)."""

from __future__ import annotations

import posix

from .. import steps
from ..errors import Error, HostError, OperationError, reason_of
from ..host.files import read_file
from ..plan.parent import ABSENT_OK, ALTERNATIVE
from . import members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir
    from ..plan.ops import Operation

_EINVAL, _EBUSY = 22, 16


def perform(directories: Sequence[CgroupDir], operations: Sequence[Operation]) -> None:
    """As driver.perform."""
    made: list[str] = []
    try:
        _perform(directories, operations, made)
    except BaseException:
        for path in reversed(made):
            try:
                posix.rmdir(path)
            except OSError:
                pass
        raise


def refuse_used(directories: Sequence[CgroupDir]) -> None:
    """Where one of them may have been there before: refuse a cgroup with processes in it.

    :raises HostError: there are some, or it is frozen
    """
    count = len(members.pids(directories))
    if count:
        raise HostError(f"container's cgroup is not empty: {count} process(es) found")
    if members.frozen(directories):
        raise HostError("container's cgroup unexpectedly frozen")


def _perform(directories: Sequence[CgroupDir], operations: Sequence[Operation], made: list[str]) -> None:
    by_path = {directory.path: directory for directory in directories}
    create = _create_v1 if any(directory.controllers for directory in directories) else _create_v2
    again: list[Operation] = []
    absent = False  # the file of the write before
    for operation in operations:
        steps.begin(operation)
        name, values = operation[2], operation[3]
        try:
            if name == "cgroup_write":
                path, value, optional = values
                if optional == ALTERNATIVE and not absent:
                    continue
                absent = False
                _write(path, value)
            elif name == "cgroup_create":
                create(by_path[values[0]], directories, operations, made)
            else:
                from . import ebpf

                ebpf.attach(*values)
        except OSError as error:
            errno = error.errno or 0
            if name == "cgroup_write" and isinstance(error, FileNotFoundError) and optional == ABSENT_OK:
                absent = True
            elif name == "cgroup_write" and errno in (_EINVAL, _EBUSY):
                # Limits that depend on each other (memory and swap; quota, period and burst) may need another order
                # in a cgroup that has some already: once more after the others.
                again.append(operation)
            else:
                raise failure(operation, error, by_path) from None
    for operation in again:
        try:
            _write(operation[3][0], operation[3][1])
        except OSError as error:
            raise failure(operation, error, by_path) from None


def _create_v1(
    directory: CgroupDir, directories: Sequence[CgroupDir], operations: Sequence[Operation], made: list[str]
) -> None:
    from .v1 import create

    if not create(directory, made):
        refuse_used(directories)


def _create_v2(
    directory: CgroupDir, directories: Sequence[CgroupDir], operations: Sequence[Operation], made: list[str]
) -> None:
    from .v2 import create

    if posix.access(directory.path, posix.F_OK):
        refuse_used(directories)
    create(directory, operations, made)


def _write(path: str, value: str) -> None:
    """Write a cgroup file: each line is a write(2) of its own.

    :raises OSError: the kernel's
    """
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        for line in value.split("\n"):
            posix.write(fd, line.encode())
    finally:
        posix.close(fd)


def failure(operation: Operation, error: OSError, by_path: dict[str, CgroupDir]) -> Error:
    """The error for an operation that the kernel refused; on v2 it says when it is a controller that is missing."""
    from ..plan.show import describe

    errno, reason = error.errno or 0, reason_of(error.errno or 0)
    parent, _, file = operation[3][0].rpartition("/")
    directory = by_path.get(parent)
    if operation[2] == "cgroup_write" and directory is not None and not directory.controllers:
        controller = file.partition(".")[0]
        try:
            available = read_file(f"{parent}/cgroup.controllers").split()
        except OSError:
            available = [controller.encode()]
        if controller != "cgroup" and controller.encode() not in available:
            reason = f"controller {controller} is not available here: {reason}"
    return OperationError(describe(operation), operation.pointer, errno, reason)
