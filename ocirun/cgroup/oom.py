"""Being told when the kernel kills a process of a container for its memory limit.

v2: memory.events can be polled, and has changed when POLLPRI comes (cgroup-v2.rst). v1: an eventfd is registered for
memory.oom_control (cgroup-v1/memory.rst, "OOM Control"); it is readable as well when the cgroup is removed.
"""

from __future__ import annotations

import posix

from ..host.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir

_POLLIN, _POLLPRI = 0x001, 0x002


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
        for directory in directories:
            if directory.controllers and "memory" not in directory.controllers:
                continue
            try:
                if directory.controllers:
                    self._path = f"{directory.path}/memory.oom_control"
                    self.fd = _register(directory.path)
                else:
                    self._path = f"{directory.path}/memory.events"
                    self.fd = posix.open(self._path, posix.O_RDONLY | posix.O_CLOEXEC)
                    self.events = _POLLPRI
            except OSError:  # no memory controller here
                continue
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
        try:
            lines = read_file(self._path).splitlines()
        except OSError:  # removed
            return self._killed
        return next((int(line.split()[1]) for line in lines if line.startswith(b"oom_kill ")), 0)

    def close(self) -> None:
        """End it."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def _register(path: str) -> int:
    event = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
    try:
        control = posix.open(f"{path}/memory.oom_control", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            register = posix.open(f"{path}/cgroup.event_control", posix.O_WRONLY | posix.O_CLOEXEC)
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
