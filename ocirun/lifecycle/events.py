"""`events`: what a container uses, and when the kernel kills for its memory limit."""

from __future__ import annotations

from ..cgroup import stats as cgroup_stats
from ..cgroup.oom import Watch
from ..errors import StateError
from ..host.procfs import open_process, wait_for_end
from ..store import containers
from .status import STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Event = dict[str, Any]


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
    import posix
    import select
    import time

    entry = _living(root, id)
    try:
        process = open_process(entry.pid)
    except ProcessLookupError:
        return
    watch = Watch(entry.cgroup)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if watch.fd >= 0:
            poll.register(watch.fd, watch.events)
        due = time.monotonic() + interval
        while not wait_for_end(process, 0):
            now = time.monotonic()
            if now >= due:
                yield _stats(entry)
                due = now + interval
            ready = dict(poll.poll(max(0.0, due - time.monotonic()) * 1000))
            if watch.fd in ready and watch.happened():
                yield {"type": "oom", "id": entry.id}
        if watch.fd >= 0 and watch.happened():
            yield {"type": "oom", "id": entry.id}
    finally:
        watch.close()
        posix.close(process)


def _living(root: str, id: str) -> containers.Entry:
    entry = containers.load(root, id)
    if status_of(root, entry) == STOPPED:
        raise StateError(f"container with id {id} is not running")
    return entry


def _stats(entry: containers.Entry) -> Event:
    return {"type": "stats", "id": entry.id, "data": cgroup_stats.read(entry.cgroup)}
