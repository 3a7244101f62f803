"""What has to wait, without how: for programs that block, and for event loops.

Work that waits is a generator. It yields what it waits for, a Wait, and is resumed with the descriptors that are ready
(none when the time has come). ``drive`` runs it with poll(2); ocirun/aio.py with an event loop. What is raised where
somebody waits (KeyboardInterrupt, cancellation) is raised in the generator, which so ends what it has begun.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator
    from typing import ParamSpec, TypeVar

    T = TypeVar("T")
    P = ParamSpec("P")
    Ready = frozenset[int]
    Waiting = Generator["Wait", Ready, T]


class Wait:
    """Descriptors and a time, whatever comes first."""

    __slots__ = ("read", "until", "write")

    def __init__(self, read: Collection[int] = (), write: Collection[int] = (), until: float | None = None) -> None:
        """
        :param read: until one of these can be read, or is at its end
        :param write: until one of these can be written to
        :param until: time.monotonic(), in seconds; None for no limit
        """
        self.read = read
        self.write = write
        self.until = until

    def remaining(self) -> float | None:
        """Seconds, not below 0; None for no limit."""
        return None if self.until is None else max(0.0, self.until - time.monotonic())


def drive(work: Waiting[T]) -> T:
    """Do the work, and block while it waits. Other threads run meanwhile.

    :raises BaseException: what the work raises
    """
    try:
        wait = next(work)
        while True:
            try:
                ready = _poll(wait)
            except BaseException as error:
                wait = work.throw(error)
            else:
                wait = work.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value


def _poll(wait: Wait) -> frozenset[int]:
    import select

    poll = select.poll()
    for fd in wait.read:
        poll.register(fd, select.POLLIN)
    for fd in wait.write:
        poll.register(fd, select.POLLOUT)
    remaining = wait.remaining()
    # A fraction of a millisecond more is waited than asked for, never less.
    return frozenset([fd for fd, _ in poll.poll(None if remaining is None else remaining * 1000 + 0.999)])


def blocking(work: Callable[P, Waiting[T]]) -> Callable[P, T]:
    """The function that does the work and blocks."""

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return drive(work(*args, **kwargs))

    call.__doc__ = work.__doc__
    call.__name__ = work.__name__
    call.__wrapped__ = work  # type: ignore[attr-defined]  # for inspect.signature()
    return call


def readable(work: Generator[tuple[int, ...], None, T], until: float | None = None) -> Waiting[T]:
    """Work that yields, wherever it is going to wait, the descriptors for one of which to be readable.

    :param until: time.monotonic()
    :raises TimeoutError: that has come; the work is undone
    """
    try:
        while True:
            yield Wait(next(work), (), until)
            if until is not None and time.monotonic() >= until:
                raise TimeoutError("out of time")
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        work.close()


def deadline(timeout: float | None) -> float | None:
    """The time.monotonic() of then.

    :param timeout: seconds from now; None for no limit
    """
    return None if timeout is None else time.monotonic() + timeout
