"""The library for asyncio: the same names, with ``await`` where something is done to a container.

    async with await aio.Runtime().create("one", spec) as container:
        await container.start()
        result = await container.run(["true"], timeout=5)

Nothing is written twice: work that waits is the generator that ocirun/process/wait.py drives with poll(2), driven here
by the running event loop (asyncio's, uvloop's), which watches pidfds and pipes. No threads. Who is cancelled ends what
it waited for: run() and create() their container, ``Container.run`` and exec() their process. What takes no longer than
some system calls (start, kill, delete, pause ...) is done at once, and so are the hooks of a configuration, if any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from . import api
from .process import process as process_
from .process.wait import Wait
from .sandbox.run import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from os import PathLike
    from types import TracebackType

    from .api import Plan
    from .process.process import Spent
    from .process.terminal import Terminal
    from .process.wait import Waiting
    from .spec.document import Spec
    from .store.state import State

T = TypeVar("T")
S = TypeVar("S")
W = TypeVar("W")
P = ParamSpec("P")

__all__ = ["Container", "Process", "Runtime", "drive", "run"]


async def drive(work: Waiting[T]) -> T:
    """Do work that waits, in the running event loop.

    :raises BaseException: what the work raises, and CancelledError when it has ended what it had begun
    """
    try:
        wait = next(work)
        while True:
            try:
                ready = await _ready(wait)
            except BaseException as error:
                wait = work.throw(error)
            else:
                wait = work.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value


async def _ready(wait: Wait) -> frozenset[int]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    found: set[int] = set()

    def note(fd: int) -> None:
        found.add(fd)
        if not done.done():
            done.set_result(None)

    remaining = wait.remaining()
    timer = None if remaining is None else loop.call_later(remaining, note, -1)
    for fd in wait.read:
        loop.add_reader(fd, note, fd)
    for fd in wait.write:
        loop.add_writer(fd, note, fd)
    try:
        await done
    finally:
        if timer:
            timer.cancel()
        for fd in wait.read:
            loop.remove_reader(fd)
        for fd in wait.write:
            loop.remove_writer(fd)
    return frozenset(found - {-1})


def _driven(work: Callable[P, Waiting[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The asynchronous function of work that waits."""

    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await drive(work(*args, **kwargs))

    return _named(call, work)


_NAMES = {"running": "run", "waiting": "wait", "creating": "create", "executing": "exec"}


def _named(call: Callable[P, T], after: Any) -> Callable[P, T]:
    call.__name__ = _NAMES.get(after.__name__, after.__name__)
    call.__doc__ = after.__doc__
    call.__wrapped__ = after  # type: ignore[attr-defined]  # for inspect.signature()
    return call


run = _driven(running)


class _Of(Generic[S]):
    """The asynchronous half of something."""

    sync: S


def _acts(act: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[_Of[S], P], Coroutine[Any, Any, T]]:
    """The asynchronous method of one that does not wait for a program."""

    async def call(self: _Of[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return act(self.sync, *args, **kwargs)

    return _named(call, act)


def _waits(work: Callable[Concatenate[S, P], Waiting[T]]) -> Callable[Concatenate[_Of[S], P], Coroutine[Any, Any, T]]:
    """The asynchronous method of work that waits."""

    async def call(self: _Of[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await drive(work(self.sync, *args, **kwargs))

    return _named(call, work)


def _makes(
    work: Callable[Concatenate[S, P], Waiting[T]], wrap: Callable[[T], W]
) -> Callable[Concatenate[_Of[S], P], Coroutine[Any, Any, W]]:
    """The asynchronous method of work that makes something that has an asynchronous half."""

    async def call(self: _Of[S], /, *args: P.args, **kwargs: P.kwargs) -> W:
        return wrap(await drive(work(self.sync, *args, **kwargs)))

    return _named(call, work)


class Process(_Of[process_.Process]):
    """ocirun.Process: ``pid``, ``terminal``, ``spent``, ``signal``, ``stdin``, ``stdout`` and ``stderr`` are its."""

    def __init__(self, sync: process_.Process) -> None:
        """
        :param sync: the process that this one is; it may go on being used
        """
        self.sync = sync
        self.pid = sync.pid
        self.terminal: Terminal | None = sync.terminal
        self.stdin, self.stdout, self.stderr = sync.stdin, sync.stdout, sync.stderr

    wait = _waits(process_.Process.waiting)

    @property
    def code(self) -> int | None:
        """As ocirun.Process.code."""
        return self.sync.code

    @property
    def signal(self) -> int | None:
        """As ocirun.Process.signal."""
        return self.sync.signal

    @property
    def spent(self) -> Spent | None:
        """As ocirun.Process.spent."""
        return self.sync.spent

    async def kill(self, signal: int = 15) -> None:
        """As ocirun.Process.kill."""
        self.sync.kill(signal)

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sync.__exit__(kind, value, traceback)


class Container(_Of[api.Container]):
    """ocirun.Container; leaving ``async with`` deletes it, whatever state it is in and whatever was raised."""

    def __init__(self, sync: api.Container) -> None:
        """
        :param sync: the container that this one is; it may go on being used
        """
        self.sync = sync
        self.root = sync.root
        self.id = sync.id
        self.init = Process(sync.init)

    @property
    def pid(self) -> int:
        """As ocirun.Container.pid."""
        return self.sync.pid

    start = _acts(api.Container.start)
    kill = _acts(api.Container.kill)
    state = _acts(api.Container.state)
    pids = _acts(api.Container.pids)
    wait = _waits(api.Container.waiting)
    pause = _acts(api.Container.pause)
    resume = _acts(api.Container.resume)
    update = _acts(api.Container.update)
    stats = _acts(api.Container.stats)
    run = _waits(api.Container.running)
    delete = _acts(api.Container.delete)

    exec = _makes(api.Container.executing, Process)

    async def events(self, interval: float = 5.0) -> AsyncIterator[dict[str, object]]:
        """As ocirun.Container.events."""
        from .lifecycle.events import watching

        work = watching(self.root, self.id, interval)
        try:
            for step in work:
                if isinstance(step, dict):
                    yield step
                else:
                    fd, until = step
                    await _ready(Wait((fd,), (), until))
        finally:
            work.close()

    async def __aenter__(self) -> Container:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sync.__exit__(kind, value, traceback)


class Runtime(_Of[api.Runtime]):
    """ocirun.Runtime."""

    def __init__(self, root: str | None = None) -> None:
        """As ocirun.Runtime."""
        self.sync = api.Runtime(root)
        self.root = self.sync.root

    create = _makes(api.Runtime.creating, Container)

    async def get(self, id: str) -> Container:
        """As ocirun.Runtime.get."""
        return Container(self.sync.get(id))


    run = _waits(api.Runtime.running)

    async def list(self) -> list[State]:
        """As ocirun.Runtime.list."""
        return self.sync.list()

    async def plan(self, bundle: str | PathLike[str] | Spec) -> Plan:
        """As ocirun.Runtime.plan."""
        return self.sync.plan(bundle)
