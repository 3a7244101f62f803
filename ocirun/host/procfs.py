"""Processes: what is read of them in /proc (proc_pid_stat(5)), pidfds, signals."""

from __future__ import annotations

import posix

from .files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

NAMESPACE_FILES = {
    "user": "user", "mount": "mnt", "uts": "uts", "ipc": "ipc", "network": "net", "pid": "pid", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip
"""linux.namespaces[].type → the name in /proc/PID/ns (namespaces(7))"""

_EINVAL = 22
LACKS = (1, 38)  # EPERM and ENOSYS: what filters and kernels answer that do not know a call
_PF_EXITING, _PF_FORKNOEXEC = 0x4, 0x40  # of the kernel's include/linux/sched.h, never changed


def open_process(pid: int) -> int:
    """A pidfd; where a filter refuses it, something that can stand in for one in the functions below and for the init.

    :raises ProcessLookupError: no such process
    :raises OSError: as pidfd_open(2)
    """
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno in LACKS:
            from .without import process_directory

            return process_directory(pid)
        # Kernels say so of a process that is gone while its number lives on, as the session or group of others.
        if error.errno == _EINVAL and pid > 0:
            raise ProcessLookupError(pid) from None
        raise


def is_pidfd(process: int) -> bool:
    """Whether open_process() has got a pidfd, which can be polled."""
    return posix.fstat(process).st_mode & 0o170000 != 0o040000


def wait_for_end(process: int, milliseconds: float | None) -> bool:
    """Wait until the process of open_process() has ended (it may be a zombie). Has it, within that time?"""
    if not is_pidfd(process):
        from .without import wait_for_end as look

        return look(process, milliseconds)
    import select

    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(milliseconds))


def send_signal(process: int, pid: int, signal: int) -> None:
    """Send a signal to the process of open_process(), which was seen alive a moment ago.

    :raises OSError: as kill(2)
    """
    try:
        _signal.pidfd_send_signal(process, signal)
    except OSError as error:
        if error.errno not in LACKS:
            raise
        posix.kill(pid, signal)


def process_stat(pid: int) -> tuple[bool, int]:
    """Whether the process is alive, and its start time in clock ticks since boot.

    The start time tells a process from a later one with the same pid. Zombies are dead, and so is who has begun to
    exit: the first process of a pid namespace stays in its exit until all others have been reaped, those that were
    put there from outside by whoever did that, which can take any time.

    :raises ProcessLookupError: no such process
    """
    try:
        stat = read_file(f"/proc/{pid}/stat")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return fields[0] not in (b"Z", b"X") and not int(fields[6]) & _PF_EXITING, int(fields[19])


def has_executed(pid: int, start_time: int = 0) -> tuple[bool, bool]:
    """Whether the process is alive, and whether it has executed a program since it was forked. The kernel notes that
    before it closes what is close-on-exec (begin_new_exec() in fs/exec.c), and remembers it of zombies.

    :param start_time: as of process_stat(); 0: there can be no other one, since it is a child that nobody has reaped
    :raises ProcessLookupError: no such process
    :raises PermissionError: it is hidden (hidepid= of /proc; or as no such process)
    """
    try:
        stat = read_file(f"/proc/{pid}/stat")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    fields = stat[stat.rindex(b")") + 2 :].split()
    if start_time and int(fields[19]) != start_time:
        raise ProcessLookupError(pid)
    flags = int(fields[6])
    return fields[0] not in (b"Z", b"X") and not flags & _PF_EXITING, not flags & _PF_FORKNOEXEC


def is_alive(pid: int, start_time: int) -> bool:
    """Whether that very process is alive.

    Asked of /proc, because kill(pid, 0) says nothing of zombies, and EPERM for the living.
    """
    if pid <= 0:
        return False
    try:
        return process_stat(pid) == (True, start_time)
    except (ProcessLookupError, PermissionError):
        return _is_hidden(pid)


def _is_hidden(pid: int) -> bool:
    """Whether hidepid= of /proc hides a living process of ours: one of a container on its way, which is not dumpable.
    (Zombies are not hidden, and processes of others are not ours to signal.)"""
    try:
        posix.kill(pid, 0)
    except OSError:
        return False
    return True
