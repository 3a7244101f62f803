"""The init as a program: a copy that nobody can write to, and its execution.

A container must never hold a descriptor, a mapping or a /proc/PID/exe of a file of the host that it could write to
later (CVE-2019-5736). So what is executed is a sealed copy in memory, or, where memory may not be executed, a copy
without a name that is open for reading only.
"""

from __future__ import annotations

import fcntl
import posix

from ..host.procfs import LACKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

# Newer than Python's own: memfd_create(2), Linux 6.3 for both.
_MFD_EXEC = 0x10
_F_SEAL_EXEC = 0x20

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def sealed_copy(source: int, directory: str) -> int:
    """A copy of an executable file that nobody can write to any more, as a descriptor to execute.

    :param directory: where an unnamed file may be made
    :raises OSError: of the last way, when there is none left
    """
    for way in WAYS[:-1]:
        try:
            return way(source, directory)
        except OSError:
            pass
    return WAYS[-1](source, directory)


def _executable_memory(source: int, directory: str) -> int:
    """Says that it is to be executable, which vm.memfd_noexec=1 asks for and kernels before 6.3 refuse."""
    return _memory(source, _MFD_EXEC)


def _plain_memory(source: int, directory: str) -> int:
    return _memory(source, 0)


def _memory(source: int, flags: int) -> int:
    fd = posix.memfd_create("ocirun-init", posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING | flags)
    try:
        _copy(source, fd)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS | _F_SEAL_EXEC)
        except OSError:  # an older kernel knows the others
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        if not posix.fstat(fd).st_mode & 0o100:  # vm.memfd_noexec=1 takes it away from who has not said so
            raise PermissionError(13, "memory is not executable")
    except BaseException:
        posix.close(fd)
        raise
    return fd


def _unnamed_file(source: int, directory: str) -> int:
    """Opened again for reading, since what is open for writing is not executed (ETXTBSY)."""
    from ..host.without import unnamed_file

    fd = unnamed_file(directory, 0o500)
    try:
        _copy(source, fd)
        return posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.close(fd)


WAYS: tuple[Callable[[int, str], int], ...] = (_executable_memory, _plain_memory, _unnamed_file)


def _copy(source: int, to: int) -> None:
    size = posix.fstat(source).st_size
    done = 0
    while done < size:
        done += posix.sendfile(to, source, done, size - done)


def execute(
    program: int,
    words: tuple[bytes, ...],
    environment: dict[bytes, bytes],
    stdio: tuple[int, int, int],
    base: int,
    descriptors: Sequence[int],
) -> int:
    """Execute `program` with `stdio` as 0, 1 and 2 and `descriptors` as those from `base` on. Returns the child's pid.

    Without a copy of our page tables (posix_spawn(3) uses CLONE_VM and CLONE_VFORK), for which a large program would
    pay milliseconds. Descriptors between 3 and `base` stay; what else is not close-on-exec, the init closes. The child
    leads a process group of its own: whoever it forks is found by that.

    :raises OSError: it cannot be executed
    """
    above = base + len(descriptors) + 1
    moved: list[int] = []
    try:
        # Out of the way first: a source may be the target of another.
        for fd in (program, *stdio, *descriptors):
            moved.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above))
        targets = (0, 1, 2, *range(base, above - 1))
        return spawn(
            f"/proc/self/fd/{moved[0]}",
            words,
            environment,
            file_actions=[(posix.POSIX_SPAWN_DUP2, fd, target) for fd, target in zip(moved[1:], targets, strict=True)],
            setpgroup=0,
        )
    finally:
        for fd in moved:
            posix.close(fd)


def spawn(
    path: str,
    words: tuple[str | bytes, ...],
    environment: Mapping[bytes, bytes] | Mapping[str, str],
    **options: Any,
) -> int:
    """posix_spawn(3), also where a filter refuses clone3(2).

    :raises OSError: the program cannot be executed
    """
    try:
        return posix.posix_spawn(path, words, environment, **options)
    except PermissionError as error:
        if error.errno not in LACKS:
            raise
    from ..host.without import spawn as by_fork

    return by_fork(path, words, environment, **options)


def memory_file(name: str, flags: int, directory: str = "") -> int:
    """memfd_create(2); where that is refused, a file without a name in the directory, or wherever there is room.

    :raises OSError: that cannot be, either
    """
    try:
        return posix.memfd_create(name, flags)
    except OSError as error:
        if error.errno not in LACKS:
            raise
    from ..host.without import unnamed_file, unnamed_file_anywhere

    return unnamed_file(directory, 0o600) if directory else unnamed_file_anywhere()
