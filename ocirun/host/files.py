"""Files of the host."""

from __future__ import annotations

import posix


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
