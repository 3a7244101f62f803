"""The init as a process: its descriptors, signals, messages, and what it does when things go wrong."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from initdriver import MESSAGE, PID, READY, Driver, HandMade, clone, encode, finish

from ocirun.plan import ops
from ocirun.plan.ops import Operation

CLONE_NEWPID = 0x20000000
TRUE = "/bin/true"


def new_pid() -> list[Operation]:
    return [ops.unshare("outer", "", flags=CLONE_NEWPID), clone()]


# the process


def _foul() -> None:
    """What a careless caller leaves to its children."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGCHLD, signal.SIGRTMIN, signal.SIGRTMAX):
        signal.signal(number, signal.SIG_IGN)
    # The two that glibc keeps for itself: only the system call itself reaches them.
    action = struct.pack("=QQQQ", 1, 0, 0, 0)
    for number in (32, 33):
        assert ctypes.CDLL(None).syscall(13, number, action, None, 8) == 0 or os.uname().machine != "x86_64"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN + 3})


def test_signals_are_reset(init: Driver, report: Callable[..., Any]) -> None:
    init.in_child = _foul
    assert report(*new_pid())["signals"] == {"blocked": [], "pending": [], "ignored": []}


def test_affinity(init: Driver, report: Callable[..., Any]) -> None:
    init.in_child = lambda: os.sched_setaffinity(0, {0})
    assert report()["affinity"] == "1"
    everything = sum(1 << cpu for cpu in os.sched_getaffinity(0))
    assert int(report(ops.reset_affinity("outer", ""))["affinity"], 16) & everything == everything


def _close_standard() -> None:
    for fd in (0, 1, 2):
        os.close(fd)


def test_closed_standard_descriptors(init: Driver, probe: Path, scratch: Path) -> None:
    init.in_child = _close_standard
    outcome = init.run(*finish(str(probe), "report", f"to={scratch}/out"))
    assert outcome.status == 0 and outcome.failure is None
    import json

    fds = json.loads((scratch / "out").read_text())["fds"]
    assert {fd: fds[fd]["target"] for fd in fds} == dict.fromkeys("012", "/dev/null")


@pytest.mark.parametrize("without", ["", "close_range"])
@pytest.mark.parametrize("preserve", [0, 2])
def test_descriptors(init: Driver, report: Callable[..., Any], without: str, preserve: int) -> None:
    """Only those preserved stay, whatever else the parent had open without close-on-exec."""
    init.environment = {"OCIRUN_INIT_WITHOUT": without}
    init.preserve = preserve

    def leak() -> None:
        for fd in (3, 4)[:preserve]:
            os.dup2(os.open("/etc/hostname", os.O_RDONLY), fd)
        os.dup2(0, 77)
        os.dup2(0, 1000)

    init.in_child = leak
    assert sorted(map(int, report(*new_pid(), preserve=preserve)["fds"])) == [0, 1, 2, 3, 4][: 3 + preserve]


def test_fewer_preserved(init: Driver, report: Callable[..., Any]) -> None:
    init.preserve = 3
    init.in_child = lambda: [os.dup2(0, fd) for fd in (3, 4, 5)] and None
    assert sorted(report(*new_pid(), preserve=1)["fds"]) == ["0", "1", "2", "3"]


def test_more_preserved_than_there_are(init: Driver) -> None:
    outcome = init.run(*finish(TRUE, preserve=1))
    assert outcome.failure == (2, 0, "1 descriptors to preserve, 0 are there")


class Waiting:
    """An init that has said READY, and waits on the fifo."""

    def __init__(self, init: Driver, scratch: Path, *operations: Operation, last: list[Operation]) -> None:
        os.mkfifo(scratch / "fifo")
        self.fifo = os.open(scratch / "fifo", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        wait = ops.wait_start("init", "", slot=0)
        data = encode(HandMade((*operations, clone(), *last[:-1], wait, last[-1]), 4))  # type: ignore[arg-type]
        with open("/dev/null", "r+b") as null:
            outer, wire = init.spawn(data, [self.fifo], null.fileno())
        with wire:
            self.pid = _reach_ready(outer, wire)
            wire.send(MESSAGE.pack(6, 0, 0, 0))
            assert wire.recv(10) == b"", "the wire is closed while a container waits"

    def start(self) -> int:
        os.write(self.fifo, b"\0")
        return harness.reap(self.pid)

    def left(self) -> str:
        try:
            return os.read(self.fifo, 5000).decode()
        except BlockingIOError:
            return ""
        finally:
            os.close(self.fifo)


def _reach_ready(outer: int, wire: socket.socket) -> int:
    pid = 0
    while True:
        kind, arg, _, _ = MESSAGE.unpack_from(wire.recv(65536))
        if kind == READY:
            return pid
        assert kind == PID
        os.waitpid(outer, 0)
        pid = arg
        wire.send(MESSAGE.pack(6, pid, 0, 0))


def test_waiting(init: Driver, scratch: Path, rootfs: Path, container: Callable[..., list[Operation]]) -> None:
    operations = [ops.open("outer", "", path="/", flags=0, slot=2), *container()]
    operations = [op for op in operations if op.name != "clone"]
    outer = [op for op in operations if op.who == "outer"]
    waiting = Waiting(init, scratch, *outer, last=[*operations[len(outer) :], *finish("/probe", "exit", "9")])
    process = Path(f"/proc/{waiting.pid}")
    # Of the host only the standard descriptors (the caller's) and the fifo.
    assert sorted(fd.name for fd in (process / "fd").iterdir()) == ["0", "1", "2", "5"]
    assert os.readlink(process / "fd" / "5") == str(scratch / "fifo")
    assert (process / "comm").read_text() == "ocirun:[INIT]\n"
    assert os.readlink(process / "cwd") == str(rootfs) or os.readlink(process / "cwd") == "/"
    private = sum(
        int(line.split()[1]) for line in (process / "smaps_rollup").read_text().splitlines() if "Private_" in line
    )
    assert 0 < private < 768, f"{private} KiB of its own"
    assert "SigBlk:\t0000000000000000" in (process / "status").read_text()
    assert waiting.start() == 9
    assert waiting.left() == ""


def test_failure_behind_start(init: Driver, scratch: Path) -> None:
    (scratch / "text").write_text("no program\n")
    (scratch / "text").chmod(0o755)
    waiting = Waiting(init, scratch, last=finish(str(scratch / "text")))
    assert waiting.start() == 1
    assert waiting.left() == f"4 8 {scratch}/text"  # ENOEXEC


# the wire


def _end_at(init: Driver, kind: int, operations: list[Operation]) -> int:
    """Go away as soon as that message comes. The status of the last process."""
    data = encode(HandMade(tuple(operations), 2))  # type: ignore[arg-type]
    with open("/dev/null", "r+b") as null:
        pid, wire = init.spawn(data, [], null.fileno())
    with wire:
        while True:
            got, arg, _, _ = MESSAGE.unpack_from(wire.recv(65536))
            if got == PID:
                os.waitpid(pid, 0)
                pid = arg
            if got == kind:
                break
            wire.send(MESSAGE.pack(6, arg, 0, 0))
    return harness.reap(pid)


@pytest.mark.parametrize("kind", [PID, READY])
def test_the_runtime_vanishes(init: Driver, scratch: Path, kind: int) -> None:
    assert _end_at(init, kind, [*new_pid(), *finish("/bin/touch", str(scratch / "executed"))]) == 1
    assert not (scratch / "executed").exists()


def test_pid(init: Driver, probe: Path) -> None:
    seen = []
    init.before["ready"] = seen.append
    outcome = init.run(*new_pid(), *finish(str(probe), "report"))
    assert outcome.messages == ["pid", "ready"]
    assert outcome.json()["pid"] == 1 and seen[0] > 1


@pytest.mark.parametrize("way", ["memory", "file"])
def test_not_sealed(init: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str) -> None:
    """The plan is copied before it is looked at."""
    import initdriver

    def open_to_changes(data: bytes) -> int:
        fd = os.memfd_create("plan") if way == "memory" else os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
        os.write(fd, data)
        return fd

    monkeypatch.setattr(initdriver, "sealed", open_to_changes)
    outcome = init.run(*finish(TRUE))
    assert (outcome.failure, outcome.status) == (None, 0)


def test_bad_plan(init: Driver) -> None:
    assert init.run_bytes(b"x" * 40).failure == (0xFFFFFFFF, 0, "the plan is of another version")


def test_too_few_slots(init: Driver) -> None:
    outcome = init.run(*finish(TRUE), passed=[0, 0, 0], slots=2)
    assert outcome.failure == (0xFFFFFFFF, 0, "the plan has fewer slots than were passed")


@pytest.mark.parametrize("argv", [[], ["3"], ["2", "0"], ["3", "65"], ["x", "0"], ["3", ""], ["-3", "0"]])
def test_executed_by_somebody_else(init_program: Path, argv: list[str]) -> None:
    """#!/proc/self/exe of a container's script, for one (CVE-2019-5736)."""
    pid = os.posix_spawn(init_program, ["x", *argv], {})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 127


def test_empty_slot(init: Driver) -> None:
    assert init.run(ops.join_cgroup("outer", "", slot=1)).text == "slot 1 is empty: bad file descriptor"
    assert init.run(ops.join_cgroup("outer", "", slot=99)).text == "slot 99 is empty: bad file descriptor"


def test_taken_slot(init: Driver) -> None:
    operation = ops.open("outer", "", path="/", flags=0, slot=1)
    assert init.run(operation, operation).text == "slot 1 is taken: bad file descriptor"


# the orders of the tests' build


@pytest.mark.parametrize("where", ["3", "ready"])
def test_fail_at(init: Driver, where: str) -> None:
    init.environment = {"OCIRUN_INIT_FAIL": where}
    outcome = init.run(*new_pid(), *finish(TRUE))
    assert outcome.failure == (3, 125, "test") and outcome.messages == ["pid"] and outcome.status == 1


@pytest.mark.parametrize("where", ["unshare", "clone", "find_executable", "ready", "exec"])
def test_kill_at(init: Driver, where: str) -> None:
    init.environment = {"OCIRUN_INIT_KILL": where}
    outcome = init.run(*new_pid(), *finish(TRUE))
    assert outcome.failure is None and outcome.status == -signal.SIGKILL


def test_only_the_build_for_tests_obeys(tmp_path: Path) -> None:
    program = Path(harness.native_build().build_init(tmp_path))
    assert b"OCIRUN_INIT" not in program.read_bytes()
    init = Driver(program)
    init.environment = {"OCIRUN_INIT_FAIL": "0", "OCIRUN_INIT_KILL": "1"}
    assert init.run(*finish(TRUE)).status == 0


# the cgroup


@pytest.fixture
def cgroup2(leftovers: harness.Leftovers) -> Path:
    """A new cgroup of version 2."""
    root = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").exists() else Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 hierarchy is mounted")
    path = root / f"{leftovers.prefix}-init"
    path.mkdir()
    return path


@pytest.mark.parametrize(("without", "procs"), [("", ops.NO_SLOT), ("clone3", 1)])
def test_clone_into_cgroup(init: Driver, cgroup2: Path, report: Callable[..., Any], without: str, procs: int) -> None:
    init.environment = {"OCIRUN_INIT_WITHOUT": without}
    got = report(
        ops.open("outer", "", path=str(cgroup2), flags=os.O_PATH | os.O_DIRECTORY, slot=0),
        ops.open("outer", "", path=f"{cgroup2}/cgroup.procs", flags=os.O_WRONLY, slot=1),
        clone(0, procs),
    )
    assert f"0::/{cgroup2.name}\n" in got["cgroup"]
    harness.eventually(lambda: not (cgroup2 / "cgroup.procs").read_text(), "the cgroup is empty")
    cgroup2.rmdir()


def test_clone_into_no_cgroup(init: Driver, scratch: Path) -> None:
    outcome = init.run(
        ops.open("outer", "", path=str(scratch), flags=os.O_PATH | os.O_DIRECTORY, slot=0), clone(0), *finish(TRUE)
    )
    assert outcome.failure == (1, 9, "")  # EBADF: no directory of a cgroup file system


def test_join_cgroup_v1(report: Callable[..., Any], leftovers: harness.Leftovers) -> None:
    pids = harness.cgroup_roots().get("pids")
    if pids is None or not (pids / "tasks").exists():
        pytest.skip("no cgroup v1 pids hierarchy is mounted")
    directory = pids / f"{leftovers.prefix}-init"
    directory.mkdir()
    got = report(
        ops.open("outer", "", path=f"{directory}/tasks", flags=os.O_WRONLY, slot=0),
        ops.join_cgroup("outer", "", slot=0),
        clone(),
    )
    assert f"pids:/{directory.name}\n" in got["cgroup"]
    harness.eventually(lambda: not (directory / "tasks").read_text(), "the cgroup is empty")
    directory.rmdir()
