"""The status of a container (runtime-spec runtime.md, "State"): found out at every question, never stored."""

from __future__ import annotations

import posix

from ..cgroup import members
from ..host.procfs import has_executed, is_alive
from ..store import containers

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"


def status_of(root: str, entry: containers.Entry, lock: int = -1) -> str:
    """The status of the container that the entry describes.

    A create that was killed leaves a stopped container, for `delete`.

    :param lock: the caller's own lock of the container, if it has that
    """
    if entry.creating:
        return CREATING if containers.is_locked(root, entry.id, lock) else STOPPED
    if not is_alive(entry.pid, entry.start):
        return STOPPED
    if members.frozen(entry.cgroup):
        return PAUSED
    return CREATED if _waits_for_start(root, entry) else RUNNING


def _waits_for_start(root: str, entry: containers.Entry) -> bool:
    """PID 1 holds the exec fifo open until its exec, so that a writer finds a reader just so long (fifo(7)); or longer,
    where a process of the container has opened it too: then the kernel knows of the exec."""
    try:
        fd = posix.open(f"{root}/{entry.id}/exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:  # ENOENT: started; ENXIO: nobody reads
        return False
    posix.close(fd)
    try:
        return not has_executed(entry.pid, entry.start)[1]
    except (ProcessLookupError, PermissionError):  # hidden (hidepid= of /proc), or it has ended just now
        return True
