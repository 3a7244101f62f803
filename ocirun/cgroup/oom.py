"""Whether, and when, the kernel kills a process of a container for its memory limit.

v2: memory.events can be polled, and has changed when POLLPRI comes (cgroup-v2.rst). v1: an eventfd is registered for
memory.oom_control (cgroup-v1/memory.rst, "OOM Control"); it is readable as well when the cgroup is removed.
"""

from __future__ import annotations

import posix

from .values import value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..plan.cgroup import CgroupDir

_POLLIN, _POLLPRI = 0x001, 0x002
_V1 = "memory.oom_control"
_KEY = b"oom_kill"


def killed(directories: Sequence[CgroupDir]) -> bool:
    """Whether there has been one.

    :param directories: the container's cgroup
    """
    return any(value(path, _KEY) for path in _counters(directories))


class Watch:
    """The watch on a container's memory. ``fd`` is -1 where there is nothing to watch."""

    def __init__(self, directories: Sequence[CgroupDir]) -> None:
        """
        :param directories: the container's cgroup
        """
        self.fd = -1
        self.events = _POLLIN
        self._path = ""
        self._killed = 0
        for path in _counters(directories):
            try:
                if path.endswith(_V1):
                    self.fd = _register(path)
                else:
                    self.fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
                    self.events = _POLLPRI
            except OSError:  # no memory controller here
                continue
            self._path = path
            self._killed = self._count()
            return

    def happened(self) -> bool:
        """After poll(2) has returned: whether a process was killed since the last look."""
        if self.events == _POLLIN:
            try:
                posix.read(self.fd, 8)
            except BlockingIOError:
                pass
        before, self._killed = self._killed, self._count()
        return self._killed > before

    def _count(self) -> int:
        count = value(self._path, _KEY)
        return self._killed if count is None else count  # removed

    def close(self) -> None:
        """End it."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def _counters(directories: Sequence[CgroupDir]) -> Iterator[str]:
    """The files that count."""
    for directory in directories:
        if not directory.controllers:
            yield f"{directory.path}/memory.events"
        elif "memory" in directory.controllers:
            yield f"{directory.path}/{_V1}"


def _register(path: str) -> int:
    event = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
    try:
        control = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            register = posix.open(path.replace(_V1, "cgroup.event_control"), posix.O_WRONLY | posix.O_CLOEXEC)
            try:
                posix.write(register, b"%d %d" % (event, control))
            finally:
                posix.close(register)
        finally:
            posix.close(control)
    except OSError:
        posix.close(event)
        raise
    return event
