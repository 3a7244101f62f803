"""The runtime's socket and the exec fifo in the hands of the container (native/init/wire.h).

Whoever has CAP_SYS_PTRACE without a user namespace can take the descriptors of a process that is on its way into the
container. What it gets is a way to spoil that one command, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Bundle, Runtime, Workshop, children, eventually, reap

pytestmark = pytest.mark.ocirun  # the wire and the fifo are our own

TRIES = int(os.environ.get("OCIRUN_TEST_TRIES", "15"))


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that has nothing to do with any container."""
    popen = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield popen
    popen.kill()
    popen.wait()


@pytest.fixture
def traced(runtime: Runtime, bundle: Workshop) -> Iterator[Bundle]:
    """A container that may trace what enters it."""
    made = bundle("pause")
    made.capabilities("SYS_PTRACE", "KILL", "DAC_OVERRIDE")
    pid = runtime.started(made)
    yield made
    runtime.kill(made).ok()
    eventually(lambda: pid not in children(), "PID 1 and what detached commands have left to us are reaped")
    runtime.delete(made).ok()


@contextmanager
def hijacker(runtime: Runtime, made: Bundle, mode: str, victim: int) -> Iterator[Path]:
    """What takes the socket of each process that enters; the file that has a line for each."""
    running = runtime.spawn("exec", made.id, "/probe", "hijack", mode, str(victim), "/tmp/hijacked")
    log = made.rootfs / "tmp" / "hijacked"
    eventually(lambda: log.exists() and "ready" in log.read_text(), "the hijacker is ready")
    yield log
    assert running.popen.poll() is None, running.result().err
    for pid in runtime("ps", "--format", "json", made.id).json:
        if b"hijack" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, 9)
    running.result()


def taken(log: Path) -> int:
    return log.read_text().count("taken")


def test_another_pid_on_the_wire(
    runtime: Runtime, traced: Bundle, victim: subprocess.Popen[bytes], scratch: Path
) -> None:
    """A second PID message names a process of the host, the entering one is killed, an ERROR makes us undo it all."""
    pid_file = scratch / "pid"
    with hijacker(runtime, traced, "pid-kill-error", victim.pid) as log:
        for _ in range(TRIES):
            result = runtime("exec", "--detach", "--pid-file", str(pid_file), traced.id, "/probe", "true", timeout=10)
            assert victim.poll() is None, "killed"
            assert "internal error" not in result.error + result.err
            if pid_file.exists():
                assert pid_file.read_text() != str(victim.pid)
        assert taken(log) >= TRIES // 2, "the attack got hold of the socket"


@pytest.mark.parametrize("mode", ["pid-ready", "maps", "zero", "garbage", "shutdown", "hold"])
def test_other_words_on_the_wire(
    runtime: Runtime, traced: Bundle, victim: subprocess.Popen[bytes], scratch: Path, mode: str
) -> None:
    """Messages in the wrong place, twice, cut, too long, of nobody; an end of file too early, or none at all. The
    command ends: it has worked, and then the program has run, or says why not."""
    pid_file, done = scratch / "pid", traced.rootfs / "tmp" / "done"
    with hijacker(runtime, traced, mode, victim.pid) as log:
        for number in range(min(TRIES, 20)):
            done.unlink(missing_ok=True)
            command = ("/probe", "write", "/tmp/done", str(number))
            result = runtime("exec", "--pid-file", str(pid_file), traced.id, *command, timeout=10)
            assert victim.poll() is None
            assert "internal error" not in result.error + result.err
            if pid_file.exists():
                assert pid_file.read_text() != str(victim.pid)
            assert result.code in (0, 255)
            if result.code == 0:
                assert done.read_text() == str(number)
            else:
                assert result.error
            if mode == "hold":
                result.ok()
        assert taken(log) >= 3


def test_detached_while_the_socket_is_held(runtime: Runtime, traced: Bundle) -> None:
    """No end of file tells of the exec: the process does."""
    with hijacker(runtime, traced, "hold", 1) as log:
        for _ in range(min(TRIES, 10)):
            runtime("exec", "--detach", traced.id, "/probe", "sleep", "0.3", timeout=10).ok()
        assert taken(log)


def test_run_while_the_socket_is_held(runtime: Runtime, bundle: Workshop, traced: Bundle) -> None:
    """The same for PID 1 of another container in the same pid namespace."""
    pid = runtime.state(traced)["pid"]
    with hijacker(runtime, traced, "hold", 1) as log:
        for _ in range(min(TRIES, 10)):
            made = bundle("sleep", "0.3")
            made.namespace("pid", f"/proc/{pid}/ns/pid")
            runtime.run(made, "--detach", timeout=10).ok()
            runtime.delete(made, "--force").ok()
        assert taken(log)


# The exec fifo


@contextmanager
def meddler(runtime: Runtime, made: Bundle, mode: str, text: str = "") -> Iterator[None]:
    """A process in the created container that has opened the fifo again."""
    running = runtime.spawn("exec", made.id, "/probe", "fifo", mode, text)
    eventually(lambda: "ready" in running.out or running.popen.poll() is not None, "the fifo is open")
    assert running.popen.poll() is None, running.result().err
    yield
    running.popen.kill()
    running.popen.wait()


GARBAGE = ["x", "7 ", "99999999999999999999 1 x", f"1 {'9' * 30} x", "\n\n\n", "0 2 no exec at all"]


@pytest.mark.parametrize("mode", ["hold", "take", "write", "fill"])
def test_the_exec_fifo_opened_again(runtime: Runtime, bundle: Workshop, mode: str) -> None:
    """Held open, emptied, written to: `start` returns when the program has been executed, and says nothing else."""
    for number in range(max(TRIES // 4, len(GARBAGE))):
        made = bundle("pause")
        made.capabilities("SYS_PTRACE", "DAC_OVERRIDE")
        pid = runtime.created(made)
        with meddler(runtime, made, mode, GARBAGE[number % len(GARBAGE)]):
            if mode in ("hold", "take"):
                assert runtime.status(made) == "created"
            result = runtime("start", made.id, timeout=10)
            # Its word may have come from the meddler, so that it runs before `start` was called: that is said then.
            if result.code:
                assert mode in ("write", "fill")
                result.failed("already running")
            assert runtime.status(made) == "running"
            assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/probe\0pause\0"
            assert runtime.end(made, pid) == 137


def test_a_program_that_cannot_be_executed_behind_a_held_fifo(runtime: Runtime, bundle: Workshop) -> None:
    """The reason still arrives."""
    made = bundle()
    (made.rootfs / "broken").write_bytes(b"\x7fELF" + b"\0" * 100)
    (made.rootfs / "broken").chmod(0o755)
    made.process["args"] = ["/broken"]
    made.capabilities("SYS_PTRACE", "DAC_OVERRIDE")
    pid = runtime.created(made)
    with meddler(runtime, made, "hold"):
        runtime("start", made.id, timeout=10).failed("exec format error")
    assert reap(pid) == 1
    runtime.delete(made, "--force").ok()
