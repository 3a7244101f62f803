"""createContainer and startContainer hooks, as the init runs them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import pytest
from initdriver import ACK, MESSAGE, PID, Driver, HandMade, clone, encode, finish

from ocirun.plan import ops
from ocirun.plan.ops import Operation

CLONE_NEWPID = 0x20000000


def hook(path: Path | str, *args: str, env: Sequence[str] = (), home: int = 0, timeout: int = -1) -> Operation:
    return ops.hook(
        "init", "", kind="createContainer", path=str(path), args=args, env=env, home=home, timeout=timeout,
        state_head='{"pid":', state_tail=',"id":"x"}',
    )  # fmt: skip


@pytest.fixture
def script(scratch: Path) -> Callable[[str], Path]:
    """A shell script to be a hook."""

    def make(text: str) -> Path:
        path = scratch / "hook"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def test_state(init: Driver, script: Callable[[str], Path], scratch: Path) -> None:
    """With the pid as the container sees it (runtime.md, State)."""
    path = script(f"cat > {scratch}/state")
    outcome = init.run(ops.unshare("outer", "", flags=CLONE_NEWPID), clone(), hook(path), *finish("/bin/true"))
    assert outcome.failure is None
    assert json.loads((scratch / "state").read_text()) == {"pid": 1, "id": "x"}


def test_long_state(init: Driver, scratch: Path) -> None:
    """A hook that does not read does not stop us."""
    long = ops.hook(
        "init", "", kind="x", path="/bin/true", args=(), env=(), home=0, timeout=10,
        state_head="x" * 300_000, state_tail="",
    )
    assert init.run(clone(), long).failure is None


def test_its_process(init: Driver, probe: Path, scratch: Path) -> None:
    init.preserve = 2
    init.in_child = lambda: [os.dup2(0, fd) for fd in (3, 4)] and None
    args = ("wanted-name", "report", f"to={scratch}/report")
    directory = ops.open("outer", "", path="/", flags=os.O_DIRECTORY, slot=3)
    last = finish("/bin/true", preserve=2)
    assert init.run(directory, clone(), hook(probe, *args, env=("A=b",)), *last).failure is None
    got = json.loads((scratch / "report").read_text())
    assert got["argv"] == list(args) and got["env"] == ["A=b"]
    assert sorted(got["fds"]) == ["0", "1", "2"]
    assert got["pgrp"] == got["pid"] and got["pid"] != got["sid"]
    assert got["signals"] == {"blocked": [], "pending": [], "ignored": []}
    assert got["dumpable"] == 1


def test_without_args(init: Driver, probe: Path, script: Callable[[str], Path], scratch: Path) -> None:
    path = script(f"echo $0 $# > {scratch}/args; env >> {scratch}/args")
    assert init.run(clone(), hook(path)).failure is None
    assert (scratch / "args").read_text() == f"{path} 0\nPWD={os.getcwd()}\n"


def test_home(init: Driver, container: Any, rootfs: Path) -> None:
    """As the container's process would have it."""
    (rootfs / "etc").mkdir(exist_ok=True)
    (rootfs / "etc" / "passwd").write_text("root:x:0:0::/home/of/root:/bin/sh\n")
    reports = [
        hook("/probe", "probe", "report", f"to=/tmp/{number}", env=env, home=home)
        for number, (env, home) in enumerate([((), 1), (("A=1", "HOME="), 1), (("HOME=/x", "A=1"), 1), ((), 0)])
    ]
    assert init.run(*container(), *reports, *finish("/probe", "true")).failure is None
    found = [json.loads((rootfs / "tmp" / str(number)).read_text())["env"] for number in range(4)]
    home = "HOME=/home/of/root"
    assert found == [[home], ["A=1", home], ["HOME=/x", "A=1"], []]


def test_directory(init: Driver, script: Callable[[str], Path], scratch: Path, container: Any, rootfs: Path) -> None:
    """The container's root, with its mounts, found from outside."""
    path = script(f"pwd > {scratch}/where; ls / /proc > {scratch}/outside; ls proc > {scratch}/inside")
    operations = container(before=[hook(path, env=("PATH=/bin",))], proc=True)
    outcome = init.run(*operations, *finish("/probe", "true"))
    assert outcome.failure is None and outcome.status == 0
    assert (scratch / "where").read_text() == f"{rootfs}\n"
    assert "1" in (scratch / "inside").read_text().split()
    assert "usr" in (scratch / "outside").read_text().split()


def test_in_the_container(init: Driver, container: Any, rootfs: Path) -> None:
    inside = [ops.chdir("init", "", path="/tmp", required=1), hook("/probe", "probe", "write", "/tmp/x", "done")]
    assert init.run(*container(), *inside, *finish("/probe", "true")).failure is None
    assert (rootfs / "tmp" / "x").read_text().strip() == "done"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "exit status 3"),
        ("echo; echo words; echo more >&2; exit 1", "exit status 1, output: words\nmore"),
        ("kill -9 $$", "killed by signal 9"),
        ("head -c 5000 /dev/zero | tr '\\0' x; exit 2", "exit status 2, output: " + "x" * 2048),
    ],
)
def test_failure(init: Driver, script: Callable[[str], Path], scratch: Path, text: str, reason: str) -> None:
    later = hook("/bin/touch", "touch", f"{scratch}/later")
    outcome = init.run(clone(), hook(script(text), env=("PATH=/bin:/usr/bin",)), later)
    assert outcome.failure == (1, 0, reason) and outcome.status == 1
    assert not (scratch / "later").exists()


def test_cannot_be_executed(init: Driver, script: Callable[[str], Path]) -> None:
    path = script("true")
    path.chmod(0o644)
    assert init.run(clone(), hook("/nonesuch")).failure == (1, 2, "")
    assert init.run(clone(), hook(path)).failure == (1, 13, "")


def test_timeout(init: Driver, script: Callable[[str], Path], scratch: Path) -> None:
    """All of it is killed, not only the first process."""
    path = script(f"sleep 300 & echo $! > {scratch}/child; echo waiting; wait")
    begin = time.monotonic()
    outcome = init.run(clone(), hook(path, env=("PATH=/bin",), timeout=1))
    assert 1 <= time.monotonic() - begin < 5
    assert outcome.text == "ran longer than its timeout of 1 s and was killed, output: waiting"
    child = int((scratch / "child").read_text())
    harness.eventually(lambda: not _runs(child), "the hook's child is dead")


def _runs(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)  # ours by now: the tests' process is a subreaper
    except ChildProcessError:
        pass
    return Path(f"/proc/{pid}").exists()


def test_within_its_time(init: Driver) -> None:
    assert init.run(clone(), hook("/bin/sleep", "sleep", ".1", timeout=5), *finish("/bin/true")).failure is None


def test_a_daemon_may_stay(init: Driver, script: Callable[[str], Path], scratch: Path) -> None:
    path = script(f"sleep 300 & echo $! > {scratch}/child")
    assert init.run(clone(), hook(path, env=("PATH=/bin",), timeout=5)).failure is None
    child = int((scratch / "child").read_text())
    os.kill(child, signal.SIGKILL)
    harness.eventually(lambda: not _runs(child), "the daemon is dead")


def test_the_runtime_vanishes(init: Driver, script: Callable[[str], Path], scratch: Path) -> None:
    path = script(f"echo $$ > {scratch}/hook-pid; exec sleep 300")
    data = encode(HandMade((clone(), hook(path, env=("PATH=/bin",))), 0))  # type: ignore[arg-type]
    with open("/dev/null", "r+b") as null:
        outer, wire = init.spawn(data, [], null.fileno())
    with wire:
        kind, pid, _, _ = MESSAGE.unpack_from(wire.recv(65536))
        assert kind == PID
        os.waitpid(outer, 0)
        wire.send(MESSAGE.pack(ACK, pid, 0, 0))
        harness.eventually(lambda: (scratch / "hook-pid").exists() and (scratch / "hook-pid").read_text(), "it runs")
    assert harness.reap(pid) == 1
    assert not _runs(int((scratch / "hook-pid").read_text()))


def test_mounts_ready(init: Driver) -> None:
    outcome = init.run(clone(), ops.mounts_ready("init", ""), *finish("/bin/true"))
    assert outcome.messages == ["pid", "mounts", "ready"]
