"""Stand-ins for system calls that a seccomp filter around us refuses, or an old kernel lacks. Loaded where one is.

Containers that do not know these calls are common to run in: filters older than a call answer EPERM or ENOSYS.
"""

from __future__ import annotations

import fcntl
import posix
import time

from .files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import NoReturn
else:
    import _signal

_EISDIR, _EOPNOTSUPP = 21, 95
_LOOK = 0.002  # seconds between two looks at what cannot be waited for


def unnamed_file(directory: str, mode: int) -> int:
    """A file without a name, for reading and writing, instead of one of memfd_create(2).

    :raises OSError: there can be none in that directory
    """
    try:
        return posix.open(directory, posix.O_TMPFILE | posix.O_RDWR | posix.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno not in (_EISDIR, _EOPNOTSUPP):
            raise
    # overlayfs has O_TMPFILE since Linux 6.3, network file systems mostly not: a name that is gone at once.
    path = f"{directory}/.unnamed-{posix.getpid()}"
    fd = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC, mode)
    posix.unlink(path)
    return fd


def unnamed_file_anywhere() -> int:
    """unnamed_file() for a moment, wherever there is room.

    :raises OSError: of the last place, when there is none
    """
    for directory in ("/run", "/tmp", "/dev/shm"):
        try:
            return unnamed_file(directory, 0o600)
        except OSError:
            pass
    return unnamed_file("/var/tmp", 0o600)


def spawn(
    path: str,
    words: tuple[str | bytes, ...],
    environment: Mapping[bytes, bytes] | Mapping[str, str],
    file_actions: Sequence[tuple[int, int, int]] = (),
    setpgroup: int | None = None,
    setsigmask: Sequence[int] | None = None,
    setsigdef: Sequence[int] = (),
) -> int:
    """posix_spawn(3) by fork(2): glibc takes EPERM of clone3(2) for an answer.

    :raises OSError: the program cannot be executed
    """
    above = max((target for _, _, target in file_actions), default=2) + 1
    read, write = posix.pipe2(posix.O_CLOEXEC)
    try:
        report = fcntl.fcntl(write, fcntl.F_DUPFD_CLOEXEC, above)
        posix.close(write)
        write = report
        pid = posix.fork()
        if pid == 0:
            _become(path, words, environment, file_actions, setpgroup, setsigmask, setsigdef, report)
        posix.close(write)
        write = -1
        error = posix.read(read, 4)
    finally:
        posix.close(read)
        if write >= 0:
            posix.close(write)
    if error:
        posix.waitpid(pid, 0)
        errno = int(error)
        raise OSError(errno, posix.strerror(errno))
    return pid


def _become(
    path: str,
    words: tuple[str | bytes, ...],
    environment: Mapping[bytes, bytes] | Mapping[str, str],
    file_actions: Sequence[tuple[int, int, int]],
    setpgroup: int | None,
    setsigmask: Sequence[int] | None,
    setsigdef: Sequence[int],
    report: int,
) -> NoReturn:
    """The child."""
    try:
        if setpgroup is not None:
            posix.setpgid(0, setpgroup)
        if setsigdef or setsigmask is not None:
            for number in setsigdef:
                _signal.signal(number, _signal.SIG_DFL)
            if setsigmask is not None:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, setsigmask)
        for _, fd, target in file_actions:
            posix.dup2(fd, target)
        posix.execve(path, words, environment)
    except OSError as error:
        posix.write(report, b"%d" % (error.errno or 0))
    finally:
        posix._exit(127)


def process_directory(pid: int) -> int:
    """/proc/PID instead of a pidfd: it stays that process's, and pidfd_send_signal(2) takes it.

    :raises ProcessLookupError: no such process
    """
    try:
        return posix.open(f"/proc/{pid}", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None


def wait_for_end(directory: int, milliseconds: float | None) -> bool:
    """procfs.wait_for_end() of a process_directory()."""
    end = None if milliseconds is None else time.monotonic() + milliseconds / 1000
    while not _has_ended(directory):
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(_LOOK)
    return True


def _has_ended(directory: int) -> bool:
    try:
        stat = read_file(f"/proc/self/fd/{directory}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3] in (b"Z", b"X")
