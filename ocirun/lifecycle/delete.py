"""`delete`: remove what create made (runtime-spec runtime.md, "Delete")."""

from __future__ import annotations

import posix

from .. import steps
from ..cgroup import driver, members
from ..errors import ContainerNotFound, Error, HostError, StateError, worded
from ..host.procfs import is_alive, open_process, wait_for_end
from ..store import containers
from .kill import SIGKILL, signal_held
from .status import CREATED, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DEATH = 10_000  # milliseconds that a killed PID 1 gets
_LOOK = 100  # after so many it may be in its exit, and stay there (see is_alive)
_LOCK = 10.0  # seconds that another command gets to notice that its container has been killed


@worded
def delete(root: str, id: str, force: bool = False, warn: Callable[[Error], None] | None = None) -> None:
    """Remove a stopped container, or a created one, which is killed; with force any.

    :param warn: called when a poststop hook has failed, which is no failure of delete (runtime.md, "Lifecycle", 13)
    :raises ContainerNotFound: no such container (with force that is no error)
    :raises StateError: it is running or paused
    :raises HostError: something cannot be removed; the state is kept, for another attempt
    """
    try:
        fd = _lock(root, id) if force else containers.lock(root, id)
    except ContainerNotFound:
        if force:
            return
        raise
    try:
        try:
            entry = _load(root, id, force)
        except ContainerNotFound:
            # A create that was killed before it had made anything else: the state file comes first.
            containers.remove(root, id)
            return
        status = status_of(root, entry, fd)
        if status not in (STOPPED, CREATED) and not force:
            raise StateError(f"cannot delete container {id} that is not stopped: {status}")
        destroy(root, entry, warn)
    finally:
        posix.close(fd)


def _load(root: str, id: str, force: bool) -> containers.Entry:
    """What is on disk; with force, of a damaged state file what can still be read, and its cgroup is killed."""
    try:
        return containers.load(root, id)
    except containers.Damaged:
        if not force:
            raise
    entry = containers.salvage(root, id)
    members.signal_all(entry.cgroup, SIGKILL)
    return entry


def _lock(root: str, id: str) -> int:
    """The lock, by force: whoever has it, and waits for the container, need not wait any longer when that is killed.

    :raises HostError: who has it does not let go
    """
    end = delay = 0.0
    while True:
        try:
            return containers.lock(root, id, wait=False)
        except BlockingIOError:
            pass
        import time

        end = end or time.monotonic() + _LOCK
        try:
            _kill_all(_load(root, id, True), wait=0)  # each time: a create may come to its PID 1 only now
        except ContainerNotFound:
            pass
        if time.monotonic() > end:
            raise HostError(f"container is in use: {containers.holder(root, id)} does not end within {_LOCK:.0f} s")
        delay = min(delay + 0.005, 0.1)
        time.sleep(delay)


@worded
def destroy(root: str, entry: containers.Entry, warn: Callable[[Error], None] | None, directory: str = "") -> None:
    """Kill what is left of a container, and remove it: delete, for who holds its lock.

    :param warn: called for each poststop hook that fails
    :param directory: where these are run, if not here
    """
    steps.reach("delete.kill")
    if entry.pid and (entry.creating or entry.shared_pid or is_alive(entry.pid, entry.start)):
        _kill_all(entry, wait=_DEATH)
    config = _config(root, entry, warn) if "poststop" in entry.hooks else b""
    steps.reach("delete.cgroup")
    try:
        driver.remove(entry.cgroup, entry.unit if entry.pid else None)
    except HostError:
        # A create that was killed early never came to own a cgroup in which there are processes.
        if entry.pid:
            raise
    if entry.resctrl:
        from .create import remove_groups

        remove_groups(entry.resctrl)
    steps.reach("delete.directory")
    containers.remove(root, entry.id)
    if config:
        try:
            _poststop(entry, config, warn, directory)
        except Error as error:  # the container is gone, whatever becomes of these
            if warn:
                warn(error)


@worded
def _poststop(
    entry: containers.Entry, config: bytes, warn: Callable[[Error], None] | None, directory: str = ""
) -> None:
    from .hooked import poststop

    steps.reach("delete.poststop")
    for failure in poststop(entry, config, directory):
        if warn:
            warn(failure)


def _config(root: str, entry: containers.Entry, warn: Callable[[Error], None] | None) -> bytes:
    """What has the poststop hooks; nothing where another delete was killed after it had removed that, or a create
    before it came to it (and to a container)."""
    try:
        return containers.config(root, entry.id)
    except HostError as error:
        if warn and not entry.creating:
            warn(HostError(f"poststop hooks are not run: {error}"))
        return b""


def _kill_all(entry: containers.Entry, wait: int) -> None:
    """SIGKILL to PID 1 and, through the cgroup, to everyone.

    :param wait: milliseconds that PID 1 gets to end
    :raises HostError: it does not
    """
    pidfd = -1
    try:
        if entry.pid:
            pidfd = open_process(entry.pid)
    except ProcessLookupError:
        pass
    try:
        if entry.pid:
            signal_held(pidfd, entry, SIGKILL)
            members.signal_all(entry.cgroup, SIGKILL)
            members.thaw(entry.cgroup)
        if pidfd >= 0:
            for _ in range(wait // _LOOK):
                if wait_for_end(pidfd, _LOOK) or not is_alive(entry.pid, entry.start):
                    return
            if wait:
                raise HostError("container init still running")
    finally:
        if pidfd >= 0:
            posix.close(pidfd)
