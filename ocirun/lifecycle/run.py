"""`run`: create and start in one, and unless it detaches, wait for the end and delete."""

from __future__ import annotations

import posix

from .. import steps
from ..errors import ConfigError, ContainerNotFound, Error, HostError, Problem, worded, worded_work
from ..launch.run import waited
from ..store import containers
from . import foreground
from .create import PLAIN, Creation, Request, announce, check_terminal, connected, shares_pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Generator

    from ..launch.notify import Notifier
    from ..spec.model import Spec


@worded
def run(
    root: str,
    id: str,
    bundle: str,
    request: Request = PLAIN,
    *,
    detach: bool = False,
    keep: bool = False,
    subreaper: bool = True,
    warn: Callable[[Error], None] | None = None,
) -> int:
    """Run a container in the foreground to its end; its exit code, or 128 + the signal that ended it.

    For a process of its own: signals that arrive are forwarded to the container, and standard input and output are
    its terminal, if it has one.

    :param detach: return 0 as soon as the program runs
    :param keep: the stopped container is not deleted
    :param subreaper: adopt what the container leaves behind, and reap it
    :param warn: called as by create and delete
    :raises Error: as create and start do
    """
    creation = Creation(root, id, bundle, request, warn)
    if not creation.spec.process.args:
        raise ConfigError("config.json", (Problem(pointer="/process", expected="required property is missing"),))
    check_terminal(creation.spec.process.terminal, detach, request.console_socket)
    if detach:
        notifier = start(creation)
        if notifier:
            _pass_on(notifier, creation.launch.pid, creation.launch.pid)
        return 0
    with foreground.Foreground(subreaper and _leaves_orphans(creation.spec)) as waiter:
        ours, theirs = terminal_pair() if creation.spec.process.terminal else (None, -1)
        notifier = start(creation, theirs, lambda: waiter.attach(ours))
        if notifier:
            import _thread

            # systemd may heed the main process alone, so it has to be this one that tells it.
            _thread.start_new_thread(_pass_on, (notifier, creation.launch.pid, posix.getpid()))
        code = waiter.wait(creation.launch.pid)
    if not keep:
        try:
            _delete(root, creation.entry, warn)
        except Error as error:  # the exit code is worth more, and `delete --force` may have more luck
            if warn:
                warn(error)
    return code


def _pass_on(notifier: Notifier, pid: int, main: int) -> None:
    """To somebody who does not listen: the container runs all the same."""
    try:
        notifier.pass_on(pid, main)
    except HostError:
        pass


def _leaves_orphans(spec: Spec) -> bool:
    """Whether processes may be left that become our children as their subreaper: in a pid namespace of its own the
    container's orphans are PID 1's, and end with it; hooks are our own."""
    hooks = spec.hooks
    return bool(hooks.prestart or hooks.create_runtime or hooks.poststart) or shares_pids(spec)


def terminal_pair() -> tuple[_socket.socket, int]:
    """Our end of a socket for a terminal, and the descriptor of the other, as a console socket."""
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    return ours, theirs.detach()


def start(
    creation: Creation, console_socket: int = -1, before_exec: Callable[[], None] | None = None
) -> Notifier | None:
    """starting(), and wait meanwhile."""
    notifier: Notifier | None = waited(starting(creation, console_socket, before_exec))
    return notifier


@worded_work
def starting(
    creation: Creation, console_socket: int = -1, before_exec: Callable[[], None] | None = None
) -> Generator[tuple[int, ...], None, Notifier | None]:
    """Make the container and let it run at once, without an exec fifo. What is still to be passed on, if anything.

    :param console_socket: an open socket that gets the terminal, closed here; -1: the request's, if any
    :param before_exec: called when the terminal has been sent and nothing has been written to it
    :raises Error: as create does, or a startContainer or poststart hook failed, or the exec; all undone
    """
    if creation.request.console_socket:
        console_socket = connected(creation.request)
    try:
        yield from creation.making(console_socket, wait=False)
    finally:
        if console_socket >= 0:
            posix.close(console_socket)
    notifier = None
    try:
        if creation.request.notify_socket:
            from ..launch.notify import Notifier

            notifier = Notifier(creation.request.notify_socket, creation.notify_directory)
        if before_exec:
            before_exec()
        steps.reach("create.release")
        yield from creation.launch.releasing(wait_for_exec=True)
        if creation.spec.hooks.poststart:
            steps.reach("start.poststart")
            from .hooked import poststart

            poststart(creation.root, creation.entry, creation.bundle)
        steps.reach("create.pid-file")
        announce(creation.launch.pid, creation.request, "standard")
    except BaseException:
        creation.undo()
        raise
    creation.close()
    return notifier


def _delete(root: str, entry: containers.Entry, warn: Callable[[Error], None] | None) -> None:
    """Delete the container that has ended, unless somebody else has done so and another has its id."""
    from .delete import destroy

    try:
        lock = containers.lock(root, entry.id)
    except ContainerNotFound:
        return
    try:
        found = containers.load(root, entry.id)
        if (found.pid, found.start) == (entry.pid, entry.start):
            destroy(root, found, warn, entry.bundle)
    except ContainerNotFound:
        pass
    finally:
        posix.close(lock)
