"""A process that this program has started, or of a container that it has found: waited for, and signalled.

By its pidfd alone, so that no other process is ever meant (pidfd_open(2), waitid(2) with P_PIDFD).
"""

from __future__ import annotations

import posix
import sys
import time
from _thread import allocate_lock

from ..errors import StateError
from ..host.procfs import is_pidfd, open_process, process_stat, send_signal, wait_for_end
from ..record import Record
from .wait import Wait, blocking, deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal

    from .streams import Streams
    from .terminal import Terminal
    from .wait import Waiting

_LOOK = 0.002  # seconds between two looks where a process cannot be polled
_REAPED = 0.1  # seconds that another parent gets to wait for a child that has ended
_EINVAL = 22
_CLD_EXITED = 1

# <linux/pidfd.h>, Linux 6.15: the exit status of a process that has been waited for, for who had its pidfd before.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 8
_EXIT_CODE = slice(60, 64)
_BYTE_ORDER: Literal["little", "big"] = sys.byteorder


class Spent(Record):
    """What a process and its waited-for children have used, getrusage(2)."""

    user: float  # seconds
    system: float  # seconds
    memory: int  # bytes, the most that one of them had at a time


class Process:
    """A process that was started here, by ``exec`` or as PID 1 of a container; or PID 1 of a container that was found.

    ``signal`` is the signal that ended it, ``spent`` what it used, when it has ended and these are known.
    ``stdin``, ``stdout`` and ``stderr`` are our ends of its streams where they were asked for, as with
    subprocess.Popen: raw binary files. ``terminal`` is the Terminal that it has, if any.
    Leaving a with block kills it, if it still runs, and waits for it.
    """

    def __init__(
        self,
        pid: int,
        start: int | None = None,
        streams: Streams | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        """
        :param pid: in our own pid namespace
        :param start: its start time in clock ticks since boot, for a process that is not our child
        """
        self.pid = pid
        self.terminal = terminal
        self.spent: Spent | None = None
        self.streams = streams
        self.stdin = streams.file(0) if streams else None
        self.stdout = streams.file(1) if streams else None
        self.stderr = streams.file(2) if streams else None
        self._lock = allocate_lock()
        self.signal: int | None = None
        self._code: int | None = None
        self._ended = False
        self._gone = 0.0  # since when another's child is a zombie, time.monotonic()
        self._pidfd = -1
        try:
            self._pidfd = open_process(pid) if pid else -1
            if start is not None and self._pidfd >= 0 and process_stat(pid)[1] != start:
                self._end(None)
        except ProcessLookupError:
            self._end(None)
        if self._pidfd < 0:
            self._ended = True

    def __del__(self) -> None:
        if getattr(self, "_pidfd", -1) >= 0:
            posix.close(self._pidfd)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.poll():
            try:
                self.kill(9)
            except StateError:
                pass
            self.wait()
        self.close()

    def close(self) -> None:
        """Close our ends of its streams, and its terminal."""
        if self.streams:
            self.streams.close()
        if self.terminal:
            self.terminal.close()

    # Its end

    @property
    def code(self) -> int | None:
        """The exit code, or 128 + the signal that ended it; None while it runs, or when that is not to be known."""
        return self._code

    def poll(self) -> bool:
        """Whether it has ended. It is reaped, if it was our child."""
        with self._lock:
            return self._ended or self._reap()

    def waiting(self, timeout: float | None = None) -> Waiting[int | None]:
        """Wait for its end. The exit code, or 128 + the signal that ended it; at once when it is known already.

        None when that is not to be known: it is no child of this process and the kernel does not tell (Linux does from
        6.15 on, when its parent has waited for it), or somebody else has waited for it.

        :param timeout: seconds, None for no limit
        :raises TimeoutError: it still runs
        """
        until = deadline(timeout)
        fd = self.descriptor()
        try:
            while not self.poll():
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
                yield _look(until) if self._gone else wait_for(fd, until)
        finally:
            if fd >= 0:
                posix.close(fd)
        return self._code

    wait = blocking(waiting)

    def descriptor(self) -> int:
        """A pidfd of the caller's own, to be closed by it; -1 when the process has ended."""
        with self._lock:
            return -1 if self._pidfd < 0 else _copied(self._pidfd)

    def _reap(self) -> bool:
        if not is_pidfd(self._pidfd):
            return self._reap_by_number()
        from ..host.native import ffi, lib

        result = ffi.new("long long[5]")
        found = lib.sys_wait_process(self._pidfd, result)
        if found == 0:
            return False
        if found > 0:
            code, status, user, system, memory = result
            self.spent = Spent(user=user / 1e6, system=system / 1e6, memory=memory * 1024)
            self._end(status if code == _CLD_EXITED else -status)
        elif found == -_EINVAL:  # no P_PIDFD: a filter
            return self._reap_by_number()
        else:  # ECHILD: not ours, or no more
            return wait_for_end(self._pidfd, 0) and self._is_told()
        return True

    def _reap_by_number(self) -> bool:
        try:
            pid, status = posix.waitpid(self.pid, posix.WNOHANG)
        except ChildProcessError:
            if not wait_for_end(self._pidfd, 0):
                return False
            self._end(None)
            return True
        if pid:
            self._end(posix.waitstatus_to_exitcode(status))
        return bool(pid)

    def _is_told(self) -> bool:
        """Take the exit code of another's child from the kernel, which tells when that other one has waited for it.
        False: not yet."""
        from fcntl import ioctl

        request = bytearray(64)
        request[0] = _PIDFD_INFO_EXIT
        try:
            ioctl(self._pidfd, _PIDFD_GET_INFO, request)
        except ProcessLookupError:  # it is a zombie
            pass
        except OSError:  # an older kernel
            self._end(None)
            return True
        if request[0] & _PIDFD_INFO_EXIT:
            self._end(posix.waitstatus_to_exitcode(int.from_bytes(request[_EXIT_CODE], _BYTE_ORDER)))
            return True
        self._gone = self._gone or time.monotonic()
        if time.monotonic() >= self._gone + _REAPED:
            self._end(None)
        return self._ended

    def _end(self, code: int | None) -> None:
        """
        :param code: the exit code, or minus the signal
        """
        self._code = code
        if code is not None and code < 0:
            self.signal = -code
            self._code = 128 - code
        self._ended = True
        if self._pidfd >= 0:
            posix.close(self._pidfd)
            self._pidfd = -1

    # What is done to it

    def kill(self, signal: int = 15) -> None:
        """Send it, and no other process, a signal.

        :raises StateError: it has ended
        """
        with self._lock:
            if self._pidfd < 0:
                raise StateError(f"process {self.pid} has ended")
            try:
                send_signal(self._pidfd, self.pid, signal)
            except ProcessLookupError:
                raise StateError(f"process {self.pid} has ended") from None


def wait_for(fd: int, until: float | None) -> Wait:
    """The Wait for the end of a process.

    :param fd: Process.descriptor()
    """
    if is_pidfd(fd):
        return Wait((fd,), (), until)
    return _look(until)


def _look(until: float | None) -> Wait:
    """For what cannot be polled."""
    look = time.monotonic() + _LOOK
    return Wait((), (), look if until is None else min(look, until))


def _copied(fd: int) -> int:
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    return fcntl(fd, F_DUPFD_CLOEXEC, 3)

