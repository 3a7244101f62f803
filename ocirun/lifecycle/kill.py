"""`kill`: send a signal (runtime-spec runtime.md, "Kill")."""

from __future__ import annotations

import posix

from .. import steps
from ..cgroup import members
from ..errors import HostError, StateError, reason_of, worded
from ..host.procfs import is_alive, open_process, send_signal
from ..store import containers

SIGKILL = 9


@worded
def kill(root: str, id: str, signal: int, everyone: bool = False) -> None:
    """Send a signal to PID 1; SIGKILL reaches all processes of the container, whatever namespaces it has.

    :param everyone: all processes get the signal, and a container that has none left is no error
        (the obsolete --all)
    :raises ContainerNotFound: no such container
    :raises StateError: it is not running
    """
    entry = containers.load(root, id)
    steps.reach("kill.signal")
    if everyone or (signal == SIGKILL and entry.shared_pid):
        # Without a pid namespace of its own the kernel kills nobody else when PID 1 ends; the rest may outlive it.
        if not members.signal_all(entry.cgroup, signal) and not everyone:
            raise StateError("container not running")
        if not entry.cgroup:
            signal_init(entry, signal, everyone)
        return
    signal_init(entry, signal, everyone)
    if signal == SIGKILL:
        members.thaw(entry.cgroup)  # the frozen do not die


def signal_init(entry: containers.Entry, signal: int, forgiving: bool) -> None:
    """Send a signal to PID 1.

    :param forgiving: say nothing when it has ended
    :raises StateError: it has ended
    """
    try:
        pidfd = open_process(entry.pid) if entry.pid else -1
    except ProcessLookupError:
        pidfd = -1
    try:
        # Asked after the pidfd is held: the pid cannot become another process's between question and signal.
        if pidfd < 0 or not is_alive(entry.pid, entry.start):
            if forgiving:
                return
            raise StateError("container not running")
        send_signal(pidfd, entry.pid, signal)
    except ProcessLookupError:
        if not forgiving:
            raise StateError("container not running") from None
    except OSError as error:
        raise HostError(f"unable to signal init: {reason_of(error.errno or 0)}") from None
    finally:
        if pidfd >= 0:
            posix.close(pidfd)
