"""Files of the host."""

from __future__ import annotations

import posix

from ..errors import HostError, reason_of

_EINVAL, _EFBIG = 22, 27
_TYPE, _REGULAR, _CHARACTERS, _FIFO = 0o170000, 0o100000, 0o020000, 0o010000  # of st_mode (inode(7))
_GIVEN = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC


def read_file(path: str) -> bytes:
    """A whole file.

    :raises OSError: as open(2) and read(2)
    """
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        # procfs gives at most a page at once, and less where the next line would not fit: only b"" is the end.
        while data := posix.read(fd, 65536):
            parts.append(data)
        return b"".join(parts)
    finally:
        posix.close(fd)


def read_regular(path: str, largest: int, at: int | None = None) -> bytes:
    """A whole regular file where others may have put something else: nothing is waited for, no name followed.

    :param largest: bytes; of what is larger nothing is read
    :param at: directory where a relative path begins
    :raises OSError: as open(2) and read(2); EFBIG, EINVAL where it is no such file
    """
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=at)
    try:
        stat = posix.fstat(fd)
        if stat.st_mode & _TYPE != _REGULAR:
            raise OSError(_EINVAL, "not a regular file")
        if stat.st_size > largest:
            raise OSError(_EFBIG, "file too large")
        data = b""
        while (missing := largest + 1 - len(data)) and (more := posix.read(fd, min(stat.st_size + 1, missing))):
            data += more
        return data
    finally:
        posix.close(fd)


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all (temporary file and rename).

    :raises HostError: it cannot be written; the temporary file is gone
    """
    try:
        at, name = _directory(path)
        try:
            _replace(at, name, data, mode)
        finally:
            posix.close(at)
    except OSError as error:
        raise HostError(f"write {path}: {reason_of(error.errno or 0)}") from None


def _directory(path: str) -> tuple[int, str]:
    """The directory of a file, and its name there: others may change what names the directory meanwhile."""
    parent, _, name = path.rpartition("/")
    place = parent or ("/" if path[:1] == "/" else ".")
    return posix.open(place, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC), name


def _replace(at: int, name: str, data: bytes, mode: int) -> None:
    temporary = f".ocirun-{posix.urandom(8).hex()}"
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode, dir_fd=at)
    try:
        try:
            write_all(fd, data)
        finally:
            posix.close(fd)
        posix.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        try:
            posix.unlink(temporary, dir_fd=at)
        except OSError:
            pass
        raise


def write_all(fd: int, data: bytes) -> None:
    """write(2) until nothing is left.

    :raises OSError: as write(2)
    """
    while data:
        data = data[posix.write(fd, data) :]


def give(path: str, data: bytes, mode: int) -> None:
    """Write a file that the caller has named, perhaps where others may write: as write_file(), but into a FIFO that
    somebody reads, or into a character device (/dev/null, /dev/stdout).

    :raises HostError: it cannot be written, or is something else
    """
    try:
        kind = posix.stat(path).st_mode & _TYPE
    except OSError:
        kind = 0  # there is none; or the error is still to come
    if kind == 0 and _appears(path, data, mode):
        return
    if kind in (0, _REGULAR):
        write_file(path, data, mode)
        return
    try:
        if kind not in (_FIFO, _CHARACTERS):
            raise HostError(f"write {path}: expected a regular file, a FIFO or a character device")
        fd = posix.open(path, _GIVEN)
        try:
            if posix.fstat(fd).st_mode & _TYPE != kind:
                raise HostError(f"write {path}: it has just become something else")
            posix.write(fd, data)
        finally:
            posix.close(fd)
    except OSError as error:
        raise HostError(f"write {path}: {reason_of(error.errno or 0)}") from None


def _appears(path: str, data: bytes, mode: int) -> bool:
    """Write a file that is not there yet. It has no name until it is whole (open(2), O_TMPFILE): whoever is killed
    leaves nothing. False where that cannot be."""
    opened: list[int] = []
    try:
        at, name = _directory(path)
        opened.append(at)
        opened.append(posix.open(".", posix.O_TMPFILE | posix.O_WRONLY | posix.O_CLOEXEC, mode, dir_fd=at))
        write_all(opened[1], data)
        posix.link(f"/proc/self/fd/{opened[1]}", name, dst_dir_fd=at)
    except OSError:  # no such files, no room, no /proc, or there is a file now: write_file() has the words
        return False
    finally:
        for fd in opened:
            posix.close(fd)
    return True
