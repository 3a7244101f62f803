"""`delete`: remove what create made (runtime-spec runtime.md, "Delete")."""

from __future__ import annotations

import posix

from .. import steps, store
from ..cgroup import driver
from ..errors import ContainerNotFound, HostError, StateError
from .kill import SIGKILL, signal_init
from .status import CREATED, CREATING, STOPPED, status_of

_DEATH = 10_000  # milliseconds that a killed PID 1 gets


def delete(root: str, id: str, force: bool = False) -> None:
    """Remove a stopped container, or a created one, which is killed; with force any.

    :raises ContainerNotFound: no such container (with force that is no error)
    :raises StateError: it is running or paused
    :raises HookError: a poststop hook failed; the container is gone all the same
    """
    try:
        fd = store.lock(root, id)
    except ContainerNotFound:
        if force:
            return
        raise
    try:
        _delete(root, id, force)
    finally:
        posix.close(fd)


def _delete(root: str, id: str, force: bool) -> None:
    try:
        entry = store.load(root, id)
    except ContainerNotFound:
        # A create that was killed before it had made anything else: the state file comes first.
        store.remove(root, id)
        return
    status = status_of(root, entry)
    if status not in (STOPPED, CREATED, CREATING) and not force:
        raise StateError(f"cannot delete container {id} that is not stopped: {status}")
    steps.reach("delete.kill")
    if status != STOPPED or entry.shared_pid or entry.pid == 0:
        _kill_all(entry)
    config = store.config(root, id) if "poststop" in entry.hooks else b""
    steps.reach("delete.cgroup")
    driver.remove(entry.cgroup)
    steps.reach("delete.directory")
    store.remove(root, id)
    if config:
        steps.reach("delete.poststop")
        from .hooked import poststop

        poststop(entry, config)


def _kill_all(entry: store.Entry) -> None:
    """SIGKILL to PID 1 and, through the cgroup, to everyone; return when they are gone."""
    import select

    pidfd = -1
    try:
        if entry.pid:
            pidfd = posix.pidfd_open(entry.pid)
    except ProcessLookupError:
        pass
    try:
        driver.signal_all(entry.cgroup, SIGKILL)
        signal_init(entry, SIGKILL, forgiving=True)
        driver.thaw(entry.cgroup)
        if pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(_DEATH):
                raise HostError("container init still running")
    finally:
        if pidfd >= 0:
            posix.close(pidfd)
