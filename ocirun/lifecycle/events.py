"""`events`: what a container uses, and when the kernel kills for its memory limit."""

from __future__ import annotations

from ..cgroup import stats as cgroup_stats
from ..cgroup.oom import Watch
from ..errors import StateError, worded
from ..host.procfs import is_pidfd, open_process, wait_for_end
from ..store import containers
from .status import STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    Event = dict[str, Any]
    Pause = tuple[int, float]  # until this descriptor is readable, or that time.monotonic()

_LOOK = 0.1  # seconds


@worded
def stats(root: str, id: str) -> Event:
    """What the container uses at this moment, as an event of type "stats".

    :raises ContainerNotFound: no such container
    :raises StateError: it is not running
    """
    return _stats(_living(root, id))


def events(root: str, id: str, interval: float) -> Iterator[Event]:
    """Its statistics after every interval, and an event of type "oom" whenever the kernel kills a process of it.

    Ends when PID 1 of the container has.

    :param interval: seconds, above 0
    :raises ContainerNotFound: no such container
    :raises StateError: it is not running
    """
    work = watching(root, id, interval)
    try:
        for step in work:
            if isinstance(step, dict):
                yield step
            else:
                _wait(*step)
    finally:
        work.close()


def _wait(fd: int, until: float) -> None:
    import select
    import time

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(max(0.0, until - time.monotonic()) * 1000)


def watching(root: str, id: str, interval: float) -> Generator[Event | Pause, None, None]:
    """events() without the waiting: yields events, and between them a Pause.

    :raises Error: as events()
    """
    import posix
    import select
    import time

    entry = _living(root, id)
    try:
        process = open_process(entry.pid)
    except ProcessLookupError:
        return
    watch = Watch(entry.cgroup)
    # One descriptor that is readable when something has happened: what of memory.events can be polled is no reading.
    epoll = select.epoll()
    try:
        if is_pidfd(process):
            epoll.register(process, select.EPOLLIN)
        if watch.fd >= 0:
            epoll.register(watch.fd, watch.events)
        due = time.monotonic() + interval
        told = False
        while not wait_for_end(process, 0):
            now = time.monotonic()
            if now >= due:
                yield _stats(entry)
                due = now + interval
            # What stands in for a pidfd cannot be polled; and v1's kernel tells of a kill before it counts it.
            yield epoll.fileno(), min(due, now + _LOOK) if told or not is_pidfd(process) else due
            told = watch.fd in dict(epoll.poll(0))
            if watch.fd >= 0 and watch.happened():
                yield {"type": "oom", "id": entry.id}
        if watch.fd >= 0 and watch.happened():
            yield {"type": "oom", "id": entry.id}
    finally:
        epoll.close()
        watch.close()
        posix.close(process)


def _living(root: str, id: str) -> containers.Entry:
    entry = containers.load(root, id)
    if status_of(root, entry) == STOPPED:
        raise StateError(f"container with id {id} is not running")
    return entry


def _stats(entry: containers.Entry) -> Event:
    return {"type": "stats", "id": entry.id, "data": cgroup_stats.read(entry.cgroup)}
