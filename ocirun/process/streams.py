"""The standard streams of a process: pipes, files, or ours."""

from __future__ import annotations

import posix

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO
    from typing import Protocol

    class HasFileno(Protocol):
        """A file, or whatever has a descriptor."""

        def fileno(self) -> int: ...

    Stream = int | HasFileno | None

PIPE, STDOUT, DEVNULL = -1, -2, -3
"""As in subprocess, with the same values: a new pipe; stderr is to go where stdout goes; /dev/null."""


class Streams:
    """The three streams of a process to be: its ends, to be given to it, and ours of those that are pipes."""

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        """
        :param stdin: PIPE, DEVNULL, None for our own, a descriptor or what has one
        :param stderr: as the others, or STDOUT
        :raises UsageError: none of these
        :raises OSError: as pipe(2)
        """
        self.ours: dict[int, int] = {}
        self._theirs: list[int] = []
        self._files: dict[int, FileIO] = {}
        try:
            first = [self._open(number, stream) for number, stream in enumerate((stdin, stdout))]
            error = first[1] if type(stderr) is int and stderr == STDOUT else self._open(2, stderr)
        except BaseException:
            self.passed()
            self.close()
            raise
        self.stdio = (first[0], first[1], error)

    def _open(self, number: int, stream: Stream) -> int:
        if stream is None:
            return number
        if not isinstance(stream, int):
            if not hasattr(stream, "fileno"):
                raise UsageError(f"expected PIPE, DEVNULL, None, a descriptor or a file, found {stream!r}")
            return stream.fileno()
        if stream >= 0:
            return stream
        if stream == DEVNULL:
            fd = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
        elif stream == PIPE:
            read, write = posix.pipe2(posix.O_CLOEXEC)
            fd, self.ours[number] = (write, read) if number else (read, write)
        else:
            raise UsageError(f"expected PIPE, DEVNULL, None, a descriptor or a file, found {stream}")
        self._theirs.append(fd)
        return fd

    def passed(self) -> None:
        """The process has its ends: close ours of them."""
        while self._theirs:
            posix.close(self._theirs.pop())

    def file(self, number: int) -> FileIO | None:
        """Our end as a raw file, which owns it from now on."""
        if number not in self._files and number in self.ours:
            from io import FileIO

            self._files[number] = FileIO(self.ours.pop(number), "r" if number else "w")
        return self._files.get(number)

    def take(self, number: int) -> int:
        """Our end as a descriptor that does not block; -1 for none."""
        if number in self._files:
            fd = -1 if self._files[number].closed else self._files[number].fileno()
        else:
            fd = self.ours.get(number, -1)
        if fd >= 0:
            posix.set_blocking(fd, False)
        return fd

    def end(self, number: int) -> None:
        """Close our end of one."""
        if number in self._files:
            self._files[number].close()
        elif number in self.ours:
            posix.close(self.ours.pop(number))

    def close(self) -> None:
        """Close all of our ends."""
        for number in (0, 1, 2):
            self.end(number)
