"""The standard streams of a process: pipes, files, or ours; what comes out of them is collected, with a bound."""

from __future__ import annotations

import posix
import time

from ..errors import UsageError
from .process import wait_for
from .wait import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from typing import Protocol

    from .process import Process
    from .wait import Waiting

    class HasFileno(Protocol):
        """A file, or whatever has a descriptor."""

        def fileno(self) -> int: ...

    Stream = int | HasFileno | None

PIPE, STDOUT, DEVNULL = -1, -2, -3
"""As in subprocess, with the same values: a new pipe; stderr is to go where stdout goes; /dev/null."""

_CHUNK = 65536
_TURNS = 16  # chunks of one stream before others, and the time, are looked at


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


class Collected:
    """What comes out of one stream."""

    def __init__(self, sink: Callable[[bytes], object] | None) -> None:
        """
        :param sink: gets it as it comes; None: it is kept
        """
        self.size = 0
        self._sink = sink
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> None:
        self.size += len(data)
        if self._sink:
            self._sink(data)
        else:
            self._parts.append(data)

    def bytes(self) -> bytes:
        """What was kept."""
        return b"".join(self._parts)


def exchange(
    process: Process, streams: Streams, input: bytes, outputs: dict[int, Collected], bound: int, until: float | None
) -> Waiting[str]:
    """Give a process its input and take its output, until it has ended. Why that ended: "" (the process has), "timeout"
    or "output" (it was more than the bound; the process still runs).

    After the process has ended, what others wrote that have its streams is taken as far as it has come by then.

    :param bound: bytes, of each output
    :param until: time.monotonic()
    """
    source = streams.take(0)
    if source >= 0 and not input:
        streams.end(0)
        source = -1
    left = memoryview(input)
    open_ = {fd: number for number in outputs if (fd := streams.take(number)) >= 0}
    pidfd = process.descriptor()
    try:
        ended = process.poll()
        while True:
            ready = frozenset(open_) if ended else (yield _wait(pidfd, open_, source, until))
            if source >= 0 and (source in ready or ended):
                left = _give(source, left)
                if not left:
                    streams.end(0)
                    source = -1
            for fd in [fd for fd in open_ if fd in ready]:
                number = open_[fd]
                more = _take(fd, outputs[number], bound)
                if outputs[number].size > bound:
                    return "output"
                if not more:
                    streams.end(number)
                    del open_[fd]
            if ended:
                return ""
            if until is not None and time.monotonic() >= until:
                return "" if process.poll() else "timeout"
            # Once more, then, for what it wrote last.
            ended = process.poll()
    finally:
        if pidfd >= 0:
            posix.close(pidfd)


def _wait(pidfd: int, outputs: dict[int, int], source: int, until: float | None) -> Wait:
    wait = wait_for(pidfd, until)
    return Wait((*wait.read, *outputs), (source,) if source >= 0 else (), wait.until)


def _give(fd: int, data: memoryview) -> memoryview:
    try:
        return data[posix.write(fd, data[:_CHUNK]) :]
    except BlockingIOError:
        return data
    except OSError:  # EPIPE: nobody reads that any more, which is no error (as in subprocess)
        return data[:0]


def _take(fd: int, output: Collected, bound: int) -> bool:
    """What is there, but not more than one byte above the bound; False at the end of the stream."""
    for _ in range(_TURNS):
        if output.size > bound:
            break
        try:
            data = posix.read(fd, min(_CHUNK, bound + 1 - output.size))
        except BlockingIOError:
            return True
        if not data:
            return False
        output.add(data)
    return True
