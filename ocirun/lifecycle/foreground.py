"""Wait in the foreground for a process of ours: forward signals, relay a terminal, return its exit code."""

from __future__ import annotations

import _signal
import posix
import select

from ..console import Relay
from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

# Not forwarded: what cannot be caught, what the kernel raises for our own faults, what libc and Go use internally,
# and what is about us. 32 and 33 are glibc's.
_OWN = (
    _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL,
    _signal.SIGTRAP, _signal.SIGABRT, _signal.SIGPIPE, _signal.SIGURG, _signal.SIGCHLD, _signal.SIGWINCH, 32, 33,
)  # fmt: skip


def reap_children() -> None:
    """Undo a SIGCHLD that our caller ignores: the kernel would discard the exit code of the container."""
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def wait(pid: int, relay: Relay | None) -> int:
    """Wait for our child; its exit code, or 128 + the signal that ended it.

    Every signal that arrives meanwhile goes to it, but SIGWINCH, which resizes its terminal.
    """
    caught: list[int] = []
    wake_read, wake_write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = {}
    for number in range(1, 65):
        if number in _OWN and number not in (_signal.SIGCHLD, _signal.SIGWINCH):
            continue
        if _signal.getsignal(number) == _signal.SIG_IGN:  # nohup
            continue
        before[number] = _signal.signal(number, note)
    old_wakeup = _signal.set_wakeup_fd(wake_write)
    unblocked = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, range(1, 65))
    try:
        return _loop(pid, relay, caught, wake_read)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, unblocked)
        _signal.set_wakeup_fd(old_wakeup)
        for number, handler in before.items():
            _signal.signal(number, handler)
        posix.close(wake_read)
        posix.close(wake_write)


def _loop(pid: int, relay: Relay | None, caught: list[int], wake: int) -> int:
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    if relay:
        poll.register(relay.master, select.POLLIN)
        poll.register(0, select.POLLIN)
    reading = relay is not None
    while True:
        try:
            done, status = posix.waitpid(pid, posix.WNOHANG)
        except ChildProcessError:
            raise HostError("the exit code is lost: somebody else has waited for the process") from None
        if done:
            code = posix.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        for fd, _ in poll.poll():
            if fd == wake:
                posix.read(wake, 4096)
            elif relay and fd == relay.master:
                if not relay.from_container():
                    poll.unregister(relay.master)
                    reading = False
            elif relay and fd == 0:
                relay.to_container()
                if relay.input is None or not reading:
                    poll.unregister(0)
        while caught:
            number = caught.pop(0)
            if number == _signal.SIGWINCH:
                if relay:
                    relay.resize()
            elif number != _signal.SIGCHLD:
                try:
                    posix.kill(pid, number)
                except ProcessLookupError:
                    pass
