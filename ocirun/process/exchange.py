"""A process is given its input, and what it writes is collected, with a bound."""

from __future__ import annotations

import posix
import time

from .process import wait_for
from .wait import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .process import Process
    from .streams import Streams
    from .wait import Waiting

_CHUNK = 65536
_TURNS = 16  # chunks of one stream before others, and the time, are looked at


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
