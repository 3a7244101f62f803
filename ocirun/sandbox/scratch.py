"""A directory for the time that a program runs: <root>/@sandbox/ID, locked by who runs it. (@ is in no id.)

What is there and not locked is of somebody who was killed: it is removed, with its container, by the first run of
another process.
"""

from __future__ import annotations

import fcntl
import posix

from ..errors import Error, HostError, reason_of

_NAME = "@sandbox"
_swept: set[str] = set()


class Scratch:
    """The directory of one program. ``path`` is where it may make something; nobody else writes there."""

    def __init__(self, root: str, id: str) -> None:
        """Make it.

        :raises HostError: it cannot be made
        """
        self._directory = f"{root}/{_NAME}/{id}"
        self.path = f"{self._directory}/root"
        try:
            self._fd = _claimed(self._directory)
        except FileNotFoundError:
            _make_place(root)
            self._fd = _claimed(self._directory)
        except OSError as error:
            raise HostError(f"make {self._directory}: {reason_of(error.errno or 0)}") from None
        if root not in _swept:
            _swept.add(root)
            sweep(root)

    def remove(self) -> None:
        """Remove it, with all that is in it."""
        try:
            _remove(self._directory)
        finally:
            posix.close(self._fd)


def _claimed(directory: str) -> int:
    """The directory, new and locked.

    :raises FileNotFoundError: there is no place for it
    """
    while True:
        posix.mkdir(directory, 0o711)
        try:
            posix.chmod(directory, 0o711)  # whatever the umask
            fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except FileNotFoundError:
            continue  # swept by somebody else before it was locked
        fcntl.flock(fd, fcntl.LOCK_EX)
        if posix.fstat(fd).st_nlink:
            return fd
        posix.close(fd)  # likewise


def _make_place(root: str) -> None:
    from ..store.containers import make_root

    make_root(root)
    try:
        posix.mkdir(f"{root}/{_NAME}", 0o711)
        posix.chmod(f"{root}/{_NAME}", 0o711)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"make {root}/{_NAME}: {reason_of(error.errno or 0)}") from None


def sweep(root: str) -> None:
    """Remove what is left of programs whose callers were killed. What resists stays."""
    from ..lifecycle.delete import delete

    for id in posix.listdir(f"{root}/{_NAME}"):
        directory = f"{root}/{_NAME}/{id}"
        try:
            fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            delete(root, id, force=True)
            _remove(directory)
        except (Error, OSError):
            pass
        finally:
            posix.close(fd)


def _remove(directory: str) -> None:
    try:
        entries = list(posix.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _remove(entry.path)
        else:
            posix.unlink(entry.path)
    posix.rmdir(directory)
