"""A process that this one has made, from its first moment until it is reaped: nothing else is ever signalled here."""

from __future__ import annotations

import posix
import time

from ..host.procfs import is_pidfd, open_process, send_signal, wait_for_end

_PATIENCE = 10_000  # milliseconds that a killed process gets to end: in the kernel it may wait for a device
_SIGKILL = 9


class Child:
    """A child of this process."""

    def __init__(self, pid: int) -> None:
        """
        :param pid: said to be a child
        :raises ProcessLookupError: there is no such process
        :raises ChildProcessError: it is not ours
        :raises OSError: it cannot be opened
        """
        if pid <= 0:  # a group or everybody, to kill(2) and waitpid(2)
            raise ChildProcessError(pid)
        self.pid = pid
        self._reaped = False
        self.process = open_process(pid)
        self.pollable = is_pidfd(self.process)
        try:
            self._ask(posix.WNOHANG | posix.WNOWAIT)
        except BaseException:
            self.close()
            raise

    def _ask(self, flags: int) -> posix.waitid_result | None:
        """waitid(2) for its end.

        :raises ChildProcessError: it is no child of ours, or not any more
        """
        if self._reaped:
            raise ChildProcessError(self.pid)
        if self.pollable:
            return posix.waitid(posix.P_PIDFD, self.process, posix.WEXITED | flags)
        return posix.waitid(posix.P_PID, self.pid, posix.WEXITED | flags)

    def outcome(self, milliseconds: int) -> int | None:
        """Wait for its end: its exit status, or minus the signal that killed it; 0 when nobody knows (SIGCHLD is
        ignored). None when it does not end within that time. It is still to be reaped, by end()."""
        if not wait_for_end(self.process, milliseconds):
            return None
        try:
            result = self._ask(posix.WNOHANG | posix.WNOWAIT)
        except ChildProcessError:
            return 0
        if result is None:
            return None
        return result.si_status if result.si_code == posix.CLD_EXITED else -result.si_status

    def end(self) -> None:
        """Kill it, and reap it; what does not end within ten seconds is left."""
        try:
            self._ask(posix.WNOHANG | posix.WNOWAIT)
            send_signal(self.process, self.pid, _SIGKILL)
            self._reap()
        except (ChildProcessError, ProcessLookupError):
            pass

    def _reap(self) -> None:
        result = self._ask(posix.WNOHANG)  # who has said its last word has mostly ended before
        if result is None and wait_for_end(self.process, _PATIENCE):
            result = self._ask(posix.WNOHANG)
        self._reaped = result is not None

    def end_group(self) -> None:
        """end() of all in the process group that it leads: it may have made a sibling (CLONE_PARENT) that nobody has
        told us of. As long as it has not been reaped, the group cannot be another."""
        try:
            self._ask(posix.WNOHANG | posix.WNOWAIT)
            posix.killpg(self.pid, _SIGKILL)
            self._reap()
        except (ChildProcessError, ProcessLookupError):
            return
        _reap_group(self.pid)

    def close(self) -> None:
        """Forget it."""
        if self.process >= 0:
            posix.close(self.process)
            self.process = -1


def _reap_group(group: int) -> None:
    """Children of ours in a group that has been killed."""
    for _ in range(_PATIENCE // 10):
        try:
            if posix.waitpid(-group, posix.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return
