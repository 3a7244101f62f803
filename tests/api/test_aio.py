"""ocirun.aio: the library in an event loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Workshop

import ocirun
from ocirun import PIPE, Limits, Rootfs, Spec, aio

pytestmark = pytest.mark.ocirun


@pytest.fixture
def root(leftovers: harness.Leftovers, scratch: Path) -> Iterator[str]:
    root = str(scratch / "root")
    yield root
    assert ocirun.Runtime(root).list() == []


def spec_of(bundle: Workshop, *args: str) -> tuple[str, Spec]:
    made = bundle(*args)
    made.write()
    return made.id, Spec(made.config).replace(rootfs=str(made.path / "rootfs"))


def processes() -> bytes:
    return subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, check=True).stdout


def test_run(root: str) -> None:
    async def main() -> None:
        parts: list[bytes] = []
        big = os.urandom(1_000_000)
        assert (await aio.run(["cat"], input=big, root=root)).stdout == big
        assert (await aio.run(["sh", "-c", "echo a"], stdout=parts.append, root=root, check=True)).ok
        assert parts == [b"a\n"]
        slow = await aio.run(["sleep", "100"], timeout=0.3, root=root)
        assert slow.reason == "timeout" and slow.usage.wall < 5
        with pytest.raises(ocirun.RunError):
            await aio.run(["false"], check=True, root=root)

    asyncio.run(main())


def test_many_at_once(root: str) -> None:
    """In one thread, which has time for others meanwhile."""

    async def main() -> None:
        before = set(os.listdir("/proc/self/fd"))
        begun = time.monotonic()
        results = await asyncio.gather(
            *[aio.run(["sh", "-c", f"sleep 1; echo {number}"], root=root) for number in range(20)]
        )
        assert [int(result.stdout) for result in results] == [*range(20)]
        assert time.monotonic() - begun < 15, "not one after the other"
        assert threading.active_count() == 1
        assert set(os.listdir("/proc/self/fd")) == before

    asyncio.run(main())


def test_cancellation_ends_the_container(root: str) -> None:
    async def main() -> None:
        task = asyncio.create_task(aio.run(["sleep", "4323"], root=root))
        await asyncio.sleep(0.5)
        assert b"4323" in processes()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert b"4323" not in processes()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await aio.run(["sleep", "4323"], root=root)
        assert b"4323" not in processes()

    asyncio.run(main())


def test_containers(root: str, bundle: Workshop) -> None:
    id, spec = spec_of(bundle, "pause")

    async def main() -> None:
        runtime = aio.Runtime(root)
        async with await runtime.create(id, spec, stdout=PIPE) as container:
            assert (await container.state()).status == "created"
            await container.start()
            assert [state.id for state in await runtime.list()] == [id]
            assert await container.pids() == [container.pid]
            result = await container.run(["/probe", "exit", "3"])
            assert result.exit_code == 3
            async with await container.exec(["/probe", "pause"]) as process:
                with pytest.raises(TimeoutError):
                    await process.wait(0.1)
                waiters = [asyncio.create_task(process.wait()) for _ in range(3)]
                await asyncio.sleep(0.05)
                await process.kill(9)
                assert await asyncio.gather(*waiters) == [137] * 3
                assert (process.code, process.signal) == (137, 9)
            task = asyncio.create_task(container.run(["/probe", "pause"]))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await container.pids() == [container.pid], "its process alone has ended"
            again = await runtime.get(id)
            await again.kill(9)
            assert await container.wait() == 137
        assert await runtime.list() == []
        with pytest.raises(ocirun.ContainerNotFound):
            await runtime.get(id)
        assert await runtime.run(id, spec.replace(args=["/probe", "exit", "4"])) == 4
        assert len(await runtime.plan(spec)) > 5

    asyncio.run(main())


def test_events(root: str, bundle: Workshop) -> None:
    id, spec = spec_of(bundle, "pause")

    async def main() -> None:
        async with await aio.Runtime(root).create(id, spec) as container:
            await container.start()
            found = []
            async for event in container.events(interval=0.1):
                found.append(event["type"])
                if len(found) == 2:
                    await container.kill(9)
            assert found[:2] == ["stats", "stats"] and len(found) <= 3

    asyncio.run(main())


def test_it_has_all_that_the_other_has() -> None:
    for name in ("Container", "Runtime", "Process"):
        blocking, asynchronous = getattr(ocirun, name), getattr(aio, name)
        public = {one for one in dir(blocking) if not one.startswith("_")}
        public -= {"waiting", "running", "creating", "executing"}  # what both are made of
        public -= {"streams", "poll", "close", "descriptor"} if name == "Process" else set()
        assert public <= set(dir(asynchronous)) | {"streams"}, public - set(dir(asynchronous))
        for one in public - {"pid", "code", "events", "terminal"}:
            of_class = getattr(asynchronous, one)
            if callable(of_class):
                assert inspect.iscoroutinefunction(of_class), one
                assert list(inspect.signature(of_class).parameters) == list(
                    inspect.signature(getattr(blocking, one)).parameters
                )
    assert inspect.signature(aio.run).parameters == inspect.signature(ocirun.run).parameters


@pytest.mark.controllers
def test_with_limits_and_a_root(root: str, scratch: Path, probe: Path) -> None:
    system = scratch / "system"
    system.mkdir()
    (system / "probe").write_bytes(probe.read_bytes())
    (system / "probe").chmod(0o755)

    async def main() -> None:
        limits = Limits(memory="64M", pids=10)
        jobs = [
            aio.run(["/probe", "exit", str(number)], rootfs=Rootfs.directory(system), limits=limits, root=root)
            for number in range(10)
        ]
        assert [result.exit_code for result in await asyncio.gather(*jobs)] == [*range(10)]

    asyncio.run(main())


def test_creation_does_not_block_the_loop(root: str, bundle: Workshop) -> None:
    """Others run while an init gets ready; and who is cancelled then leaves nothing."""
    id, spec = spec_of(bundle, "pause")
    spec = spec.set("/hooks/createContainer", [{"path": "/bin/sleep", "args": ["sleep", "1.5"]}])
    before = set(os.listdir("/proc/self/fd"))

    async def main() -> None:
        runtime = aio.Runtime(root)
        for _ in range(2):
            begun = time.monotonic()
            task = asyncio.create_task(runtime.create(id, spec))
            await asyncio.sleep(0.5)
            assert time.monotonic() - begun < 1.3, "the loop goes on"
            assert [state.status for state in await runtime.list()] == ["creating"]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await runtime.list() == []
        async with await runtime.create(id, spec):
            assert [state.status for state in await runtime.list()] == ["created"]

    asyncio.run(main())
    gone = set(os.listdir("/proc/self/fd")) - before
    assert len(gone) <= 1, gone  # the event loop's own policy may keep one


def test_time_that_is_over_while_it_is_created(root: str, scratch: Path) -> None:
    """What holds a container up counts: here a file system that does not answer is not at hand, so no time at all."""
    results = [ocirun.run(["sleep", "9"], timeout=timeout, root=root) for timeout in (0.0001, 0.003)]
    assert {result.reason for result in results} == {"timeout"}
