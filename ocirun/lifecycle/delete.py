"""`delete`: remove what create made (runtime-spec runtime.md, "Delete")."""

from __future__ import annotations

import posix

from .. import steps
from ..cgroup import driver, members
from ..errors import ContainerNotFound, Error, HostError, StateError
from ..host.procfs import is_alive, open_process, wait_for_end
from ..store import containers
from .kill import SIGKILL, signal_init
from .status import CREATED, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DEATH = 10_000  # milliseconds that a killed PID 1 gets
_LOOK = 100  # after so many it may be in its exit, and stay there (see is_alive)


def delete(root: str, id: str, force: bool = False, warn: Callable[[Error], None] | None = None) -> None:
    """Remove a stopped container, or a created one, which is killed; with force any.

    :param warn: called when a poststop hook has failed, which is no failure of delete (runtime.md, "Lifecycle", 13)
    :raises ContainerNotFound: no such container (with force that is no error)
    :raises StateError: it is running or paused
    :raises HostError: something cannot be removed; the state is kept, for another attempt
    """
    try:
        fd = _lock(root, id, force)
    except ContainerNotFound:
        if force:
            return
        raise
    try:
        try:
            entry = containers.load(root, id)
        except ContainerNotFound:
            # A create that was killed before it had made anything else: the state file comes first.
            containers.remove(root, id)
            return
        status = status_of(root, entry)
        if status not in (STOPPED, CREATED) and not force:
            raise StateError(f"cannot delete container {id} that is not stopped: {status}")
        destroy(root, entry, warn)
    finally:
        posix.close(fd)


def _lock(root: str, id: str, force: bool) -> int:
    """The lock; with force, from a create that is not coming to its end (a hook hangs), by killing its PID 1."""
    if force:
        try:
            return containers.lock(root, id, wait=False)
        except BlockingIOError:
            pass
        try:
            entry = containers.load(root, id)
            if entry.creating:
                signal_init(entry, SIGKILL, forgiving=True)
        except ContainerNotFound:
            pass
    return containers.lock(root, id)


def destroy(root: str, entry: containers.Entry, warn: Callable[[Error], None] | None, directory: str = "") -> None:
    """Kill what is left of a container, and remove it: delete, for who holds its lock.

    :param warn: called for each poststop hook that fails
    :param directory: where these are run, if not here
    """
    steps.reach("delete.kill")
    if entry.pid and (entry.creating or entry.shared_pid or is_alive(entry.pid, entry.start)):
        _kill_all(entry)
    config = containers.config(root, entry.id) if "poststop" in entry.hooks else b""
    steps.reach("delete.cgroup")
    try:
        driver.remove(entry.cgroup, entry.unit if entry.pid else None)
    except HostError:
        # A create that was killed early never came to own a cgroup in which there are processes.
        if entry.pid:
            raise
    steps.reach("delete.directory")
    containers.remove(root, entry.id)
    if config:
        from .hooked import poststop

        try:
            steps.reach("delete.poststop")
            for failure in poststop(entry, config, directory):
                if warn:
                    warn(failure)
        except Error as error:
            if warn:
                warn(error)


def _kill_all(entry: containers.Entry) -> None:
    """SIGKILL to PID 1 and, through the cgroup, to everyone; return when they are gone."""
    pidfd = -1
    try:
        if entry.pid:
            pidfd = open_process(entry.pid)
    except ProcessLookupError:
        pass
    try:
        members.signal_all(entry.cgroup, SIGKILL)
        signal_init(entry, SIGKILL, forgiving=True)
        members.thaw(entry.cgroup)
        if pidfd >= 0:
            for _ in range(_DEATH // _LOOK):
                if wait_for_end(pidfd, _LOOK) or not is_alive(entry.pid, entry.start):
                    return
            raise HostError("container init still running")
    finally:
        if pidfd >= 0:
            posix.close(pidfd)
