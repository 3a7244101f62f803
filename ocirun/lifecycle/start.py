"""`start`: let the PID 1 of a created container exec the user's program (runtime-spec runtime.md, "Start")."""

from __future__ import annotations

import posix
import select

from .. import steps
from ..errors import Error, HookError, HostError, OperationError, StateError, reason_of, reported_reason
from ..host.procfs import is_alive, is_pidfd, open_process
from ..store import containers
from .status import CREATED, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..launch.notify import Notifier


def start(root: str, id: str, notify_socket: str = "", warn: Callable[[Error], None] | None = None) -> None:
    """Start a created container. Returns when the program has been executed.

    When a hook fails, the container is deleted (runtime.md, "Lifecycle", steps 7 and 9).

    :param notify_socket: address of who is told that it is ready, sd_notify(3); then also returns only after that
    :param warn: called when a poststop hook fails as well
    :raises ContainerNotFound: no such container
    :raises StateError: it is not created, or its configuration has no process
    :raises HookError: a startContainer or poststart hook failed
    :raises OperationError: the program could not be executed
    """
    fd = containers.lock(root, id)
    notifier = None
    try:
        entry = containers.load(root, id)
        status = status_of(root, entry)
        if status == STOPPED:
            raise StateError("cannot start a container that has stopped")
        if status != CREATED:
            raise StateError("cannot start an already running container")
        if all([late.hook for late in entry.late]):
            raise StateError("cannot start a container whose config.json has no process")
        if notify_socket:
            notifier = _notifier(root, id, notify_socket)
        try:
            _open_the_way(root, entry)
            if "poststart" in entry.hooks:
                steps.reach("start.poststart")
                from .hooked import poststart

                poststart(root, entry)
        except HookError:
            from .delete import destroy

            try:
                destroy(root, entry, warn)
            except Error as error:
                if warn:
                    warn(error)
            raise
    finally:
        posix.close(fd)
    if notifier:
        notifier.pass_on(entry.pid, entry.pid)


def _notifier(root: str, id: str, caller: str) -> Notifier | None:
    """None for a container whose `create` knew nothing of that."""
    from ..launch.notify import Notifier

    directory = f"{root}/{id}/notify"
    return Notifier(caller, directory) if posix.access(directory, posix.F_OK) else None


def _open_the_way(root: str, entry: containers.Entry) -> None:
    """Write the byte that PID 1 waits for, then wait until its exec closes the other end of the fifo.

    PID 1 holds the fifo for reading and writing, close-on-exec, and takes the byte right before the exec. When
    something fails (a startContainer hook, the exec), it leaves the reason in the fifo before it exits: our own open
    end keeps that alive. A byte alone is from a PID 1 that was killed.
    """
    fifo = f"{root}/{entry.id}/exec.fifo"
    steps.reach("start.fifo")
    pidfd = -1
    try:
        try:
            pidfd = open_process(entry.pid)
        except ProcessLookupError:
            raise StateError("cannot start a container that has stopped") from None
        if not is_alive(entry.pid, entry.start):
            raise StateError("cannot start a container that has stopped")
        fd = posix.open(fifo, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        try:
            posix.write(fd, b"\0")
            poll = select.poll()
            poll.register(fd, 0)  # POLLERR needs no asking: nobody reads any more
            if is_pidfd(pidfd):
                poll.register(pidfd, select.POLLIN)
            poll.poll()
            left = _left_in(fifo)
        finally:
            posix.close(fd)
    except OSError as error:
        raise HostError(f"open {fifo}: {reason_of(error.errno or 0)}") from None
    finally:
        if pidfd >= 0:
            posix.close(pidfd)
    if left == b"\0":
        raise HostError("container init was killed before it executed the program")
    if left:
        raise _late_failure(entry, left.lstrip(b"\0").decode("utf-8", "backslashreplace"))
    steps.reach("start.unlink")
    posix.unlink(fifo)


def _late_failure(entry: containers.Entry, report: str) -> Error:
    """The error for PID 1's last words, "INDEX ERRNO TEXT" (native/init/wire.c)."""
    index, errno, text = report.split(" ", 2)
    reason = reported_reason(text, int(errno))
    for late in entry.late:
        if str(late.index) == index:
            if late.hook:
                return HookError(late.pointer, f"{late.what}: {reason}")
            return OperationError(late.what, late.pointer, int(errno), reason)
    return HostError(f"container init: {reason}")


def _left_in(fifo: str) -> bytes:
    fd = posix.open(fifo, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)
    except BlockingIOError:
        return b""
    finally:
        posix.close(fd)
