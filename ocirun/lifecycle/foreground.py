"""Wait in the foreground for a process of ours: forward signals, relay a terminal, return its exit code.

This is for a process that has nothing else to do, the command line's: it takes over all signals.
"""

from __future__ import annotations

import posix
import select

from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal as _signal
    from types import FrameType, TracebackType

    from ..launch.console import Relay
else:
    import _signal

_ALL = (*range(1, 32), *range(34, 65))  # 32 and 33 are glibc's own

# Not forwarded: what cannot be caught, what the kernel raises for our own faults, what Go uses internally and runc
# therefore drops (SIGURG), what our own writing raises (SIGPIPE, SIGXFSZ).
_OWN = (
    _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL,
    _signal.SIGTRAP, _signal.SIGABRT, _signal.SIGPIPE, _signal.SIGURG, _signal.SIGXFSZ,
)  # fmt: skip


class Foreground:
    """From before the process exists to its end; signals that arrive before there is a process wait for it."""

    def __init__(self, subreaper: bool) -> None:
        self.subreaper = subreaper
        self._relay: Relay | None = None

    def __enter__(self) -> Foreground:
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL)
        if self.subreaper:
            from ..host.native import lib

            lib.sys_subreaper()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._relay:
            self._relay.close()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)

    def attach(self, terminal: _socket.socket | None) -> None:
        """Take over the terminal of the process, before its program runs.

        :param terminal: the socket on which it has been sent, if there is one
        """
        if terminal:
            from ..launch.console import Relay, receive_descriptor

            self._relay = Relay(receive_descriptor(terminal))

    def wait(self, pid: int) -> int:
        """Wait for our child; its exit code, or 128 + the signal that ended it.

        Every signal that arrives meanwhile goes to it, but SIGWINCH, which resizes its terminal.
        """
        if self._relay:
            return self._relay_until_end(pid, self._relay)
        # What our caller ignores (a shell does for "&", nohup) is for the container all the same, as with runc: what is
        # blocked is not ignored.
        wanted = [number for number in _ALL if number not in _OWN]
        while True:
            code = self._reap(pid)
            if code is not None:
                return code
            self._pass_on(pid, _signal.sigwait(wanted))

    def _relay_until_end(self, pid: int, relay: Relay) -> int:
        caught: list[int] = []

        def note(number: int, frame: FrameType | None) -> None:
            caught.append(number)

        wake, wake_write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.set_wakeup_fd(wake_write)
        for number in _ALL:
            if number not in _OWN:
                _signal.signal(number, note)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _ALL)
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        while True:
            code = self._reap(pid)
            if code is not None:
                return code
            relay.register(poll)
            for fd, _ in poll.poll():
                if fd == wake:
                    posix.read(wake, 4096)
                else:
                    relay.move(fd)
            while caught:
                self._pass_on(pid, caught.pop(0))

    def _pass_on(self, pid: int, number: int) -> None:
        if number == _signal.SIGWINCH:
            if self._relay:
                self._relay.resize()
        elif number != _signal.SIGCHLD:
            try:
                posix.kill(pid, number)
            except ProcessLookupError:
                pass

    def _reap(self, pid: int) -> int | None:
        """Reap who has ended: our process (its exit code is returned) and, as subreaper, those it left behind."""
        found = None
        while True:
            try:
                done, status = posix.waitpid(-1 if self.subreaper else pid, posix.WNOHANG)
            except ChildProcessError:
                if found is None:
                    raise HostError(
                        "the exit code is lost: somebody else has waited for the container's process"
                    ) from None
                return found
            if done == pid:
                code = posix.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
            if done == 0 or (done == pid and not self.subreaper):
                return found
