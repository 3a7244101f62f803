"""`start`: let the PID 1 of a created container exec the user's program (runtime-spec runtime.md, "Start")."""

from __future__ import annotations

import fcntl
import posix
import select
from _struct import unpack

from .. import steps
from ..errors import Error, HookError, HostError, OperationError, StateError, reason_of, reported_reason, worded
from ..host.procfs import has_executed, is_alive, is_pidfd, open_process, wait_for_end
from ..store import containers
from .status import CREATED, RUNNING, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..launch.notify import Notifier

_LOOK = 50  # milliseconds between two looks at PID 1
_WORD, _AGAIN = b"\0", b"\1"
_ERRNO_MAX = 4095
_ENXIO = 6
_FIONREAD = 0x541B  # <asm-generic/ioctls.h>


@worded
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
        status = status_of(root, entry, fd)
        if status == STOPPED:
            raise StateError("cannot start a container that has stopped")
        if status != CREATED:
            raise StateError("cannot start an already running container")
        if all([late.hook for late in entry.late]):
            raise StateError("cannot start a container whose config.json has no process")
        if notify_socket:
            notifier = _notifier(root, id, notify_socket)
        if "poststart" in entry.hooks:
            from .hooked import poststart  # what cannot be loaded must be known before the program runs
        started = False
        try:
            _executed(root, entry)
            started = True
            if "poststart" in entry.hooks:
                steps.reach("start.poststart")
                poststart(root, entry)
        except BaseException as error:
            if started or isinstance(error, HookError):  # started: also if the hooks cannot even be run
                _destroy(root, entry, warn)
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


def _executed(root: str, entry: containers.Entry) -> None:
    """As _open_the_way(); what goes wrong when the program runs already is no failure."""
    try:
        _open_the_way(root, entry)
    except (HostError, OSError):
        if status_of(root, entry) != RUNNING:
            raise


def _destroy(root: str, entry: containers.Entry, warn: Callable[[Error], None] | None) -> None:
    from .delete import destroy

    try:
        destroy(root, entry, warn)
    except Error as error:  # the caller is about to report what came first
        if warn:
            warn(error)


def _open_the_way(root: str, entry: containers.Entry) -> None:
    """Write the byte that PID 1 waits for, then wait until it has executed the program.

    PID 1 holds the fifo for reading and writing, close-on-exec, and takes the byte right before the exec. When
    something fails (a startContainer hook, the exec), it leaves the reason in the fifo before it exits: our own open
    end keeps that alive.

    Processes that were put into the created container may be able to open the fifo too, by /proc: to hold it open, to
    take the byte, to write what they like. So what the kernel says of PID 1 counts, and what is in the fifo only for
    a PID 1 that has ended: for the words of the error, and where its parent has reaped it before we looked.

    :raises StateError: it had ended before
    :raises HookError: a startContainer hook failed
    :raises OperationError: the program could not be executed
    """
    fifo = f"{root}/{entry.id}/exec.fifo"
    steps.reach("start.fifo")
    pidfd = fd = -1
    try:
        try:
            pidfd = open_process(entry.pid)
        except ProcessLookupError:
            raise StateError("cannot start a container that has stopped") from None
        if not is_alive(entry.pid, entry.start):
            raise StateError("cannot start a container that has stopped")
        try:
            fd = posix.open(fifo, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        except OSError as error:
            if error.errno != _ENXIO:  # nobody reads: it has got its word from somebody else, or ends
                raise
        failure = _wait_for_exec(entry, fifo, pidfd, fd)
    except OSError as error:
        raise HostError(f"open {fifo}: {reason_of(error.errno or 0)}") from None
    finally:
        for opened in (pidfd, fd):
            if opened >= 0:
                posix.close(opened)
    if failure is not None:
        raise failure
    steps.reach("start.unlink")
    posix.unlink(fifo)


def _wait_for_exec(entry: containers.Entry, fifo: str, pidfd: int, fd: int) -> Error | None:
    """Give PID 1 its word, and wait until it has executed the program, or ended before: why?

    :param fd: the fifo, open for writing; -1: nobody reads it any more
    """
    killed = HostError("container init was killed before it executed the program")
    poll = select.poll()
    if is_pidfd(pidfd):
        poll.register(pidfd, select.POLLIN)
    held = fd >= 0
    if held:
        poll.register(fd, 0)  # POLLERR needs no asking: nobody reads any more
        _write(fd, _WORD)
    while True:
        ready = [which for which, _ in poll.poll(_LOOK)]
        if fd in ready:
            held = False
            poll.unregister(fd)
        try:
            alive, executed = has_executed(entry.pid, entry.start)
        except (ProcessLookupError, PermissionError):
            if held and not wait_for_end(pidfd, 0):
                continue  # hidden (hidepid= of /proc)
            # Its parent has reaped it, or it is hidden: PID 1 takes the word before the exec, and leaves it if killed.
            left = _left_in(fifo)
            return _late_failure(entry, left) or (killed if left == _WORD else None)
        if executed:
            return None
        if not alive:
            return _late_failure(entry, _left_in(fifo)) or killed
        if held and not ready and _is_empty(fd):
            _write(fd, _AGAIN)  # either PID 1 is about to execute it, or somebody else has taken its word


def _late_failure(entry: containers.Entry, left: bytes) -> Error | None:
    """The error for PID 1's last words, "INDEX ERRNO TEXT" (native/init/wire.c). None if these are none."""
    words = left.lstrip(_WORD + _AGAIN).split(b" ", 2)
    if len(words) < 3 or not words[1].isdigit() or len(words[1]) > 4 or int(words[1]) > _ERRNO_MAX:
        return None
    errno = int(words[1])
    reason = reported_reason(words[2].rstrip(_WORD + _AGAIN).decode("utf-8", "backslashreplace"), errno)
    for late in entry.late:
        if b"%d" % late.index == words[0]:
            if late.hook:
                return HookError(late.pointer, f"{late.what}: {reason}")
            return OperationError(late.what, late.pointer, errno, reason)
    return None


def _write(fifo: int, word: bytes) -> None:
    try:
        posix.write(fifo, word)
    except BlockingIOError:  # somebody else has filled it: PID 1 has a word
        pass
    except BrokenPipeError:  # nobody reads any more
        pass


def _is_empty(fifo: int) -> bool:
    return unpack("i", fcntl.ioctl(fifo, _FIONREAD, b"\0" * 4)) == (0,)


def _left_in(fifo: str) -> bytes:
    fd = posix.open(fifo, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)
    except BlockingIOError:
        return b""
    finally:
        posix.close(fd)
