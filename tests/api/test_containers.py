"""Containers and their processes from a program: streams, terminals, exec, with blocks, a Spec without a bundle."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import harness
import pytest
from harness import Bundle, Workshop

import ocirun
from ocirun import DEVNULL, PIPE, STDOUT, Spec

pytestmark = pytest.mark.ocirun


def spec_of(made: Bundle, *args: str) -> Spec:
    """Of a container whose /bin/sh is busybox."""
    made.write()
    rootfs = made.path / "rootfs"
    (rootfs / "bin").mkdir(exist_ok=True)
    for name in ("sh", "cat", "sleep", "stty", "echo"):
        (rootfs / "bin" / name).write_bytes(Path("/bin/busybox").read_bytes())
        (rootfs / "bin" / name).chmod(0o755)
    spec = Spec(made.config).replace(rootfs=str(rootfs))
    return spec.replace(args=args) if args else spec


def test_a_spec_instead_of_a_bundle(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle()
    spec = spec_of(made, "/bin/sh", "-c", "read line; echo got $line; echo bad >&2; exit 4")
    (made.path / "config.json").unlink()
    with runtime.create(made.id, spec, stdin=PIPE, stdout=PIPE, stderr=PIPE) as container:
        assert container.state().bundle == f"{runtime.root}/{made.id}"
        assert container.state().rootfs == str(made.path / "rootfs")
        assert Spec.read(container.state().bundle) == spec
        container.start()
        init = container.init
        assert init.stdin and init.stdout and init.stderr
        init.stdin.write(b"this\n")
        assert container.wait(20) == 4
        assert (init.stdout.read(), init.stderr.read()) == (b"got this\n", b"bad\n")
    assert runtime.list() == []
    assert runtime.run(made.id, spec.replace(args=["/bin/sh", "-c", "exit 6"])) == 6
    with pytest.raises(ocirun.UsageError, match="absolute path where there is no bundle"):
        runtime.create(made.id, spec.replace(rootfs="rootfs"))
    with pytest.raises(ocirun.ConfigError) as caught:
        runtime.create(made.id, spec.set("/process/cwd", 3).remove("/root/path"))
    assert [problem.pointer for problem in caught.value.problems] == ["/process/cwd", "/root/path"]


def test_a_with_block_leaves_nothing(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ZeroDivisionError), runtime.create(made.id, spec_of(made), stdout=PIPE) as container:
        container.start()
        with container.exec(["/bin/sleep", "100"], stdin=PIPE) as process:
            assert not process.poll()
        assert process.code == 137
        raise ZeroDivisionError
    assert runtime.list() == []
    assert set(os.listdir("/proc/self/fd")) == before
    with runtime.create(made.id, spec_of(made)) as container:
        container.delete()


def test_run_in_a_container(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    with runtime.create(made.id, spec_of(made)) as container:
        container.start()
        result = container.run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], input="in", text=True, env={"A": "1"})
        assert (result.stdout, result.stderr, result.exit_code) == ("in", "err\n", 3)
        assert result.usage.cpu is not None
        with pytest.raises(ocirun.RunError):
            container.run(["/bin/sh", "-c", "exit 3"], check=True)
        killed = container.run(["/bin/sleep", "4322"], timeout=0.3)
        assert (killed.reason, killed.signal) == ("timeout", 9)
        assert b"4322" not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, check=True).stdout
        assert container.run(["/bin/sh", "-c", "while :; do echo y; done"], max_output=99).stdout == b"y\n" * 49 + b"y"
        # What it leaves behind has its streams; that is no reason to wait.
        begun = time.monotonic()
        assert container.run(["/bin/sh", "-c", "sleep 50 & echo x"], timeout=30).stdout == b"x\n"
        assert time.monotonic() - begun < 20


def test_streams_of_exec(runtime: ocirun.Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    with runtime.create(made.id, spec_of(made)) as container:
        container.start()
        process = container.exec(["/bin/cat"], stdin=PIPE, stdout=PIPE, stderr=STDOUT)
        assert process.stdin and process.stdout
        process.stdin.write(b"a")
        assert process.stdout.read(1) == b"a"
        process.stdin.close()
        assert process.wait(20) == 0 and process.stdout.read() == b""
        process.close()
        with (scratch / "out").open("wb") as file:
            assert container.exec(["/bin/echo", "x"], stdin=DEVNULL, stdout=file).wait(20) == 0
        assert (scratch / "out").read_bytes() == b"x\n"


def test_signals_to_one_process(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    with runtime.create(made.id, spec_of(made)) as container:
        container.start()
        one, other = (container.exec(["/bin/sleep", "100"]) for _ in range(2))
        one.kill()
        assert one.wait(20) == 128 + signal.SIGTERM
        assert (one.signal, one.code) == (signal.SIGTERM, 143)
        assert one.spent is not None and one.spent.memory > 0
        assert not other.poll()
        with pytest.raises(ocirun.StateError, match="has ended"):
            one.kill()
        with pytest.raises(TimeoutError):
            other.wait(0.05)
        other.kill(signal.SIGKILL)
        assert other.wait() == 137


def test_many_wait_for_one(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    with runtime.create(made.id, spec_of(made)) as container:
        container.start()
        codes: list[int | None] = []
        threads = [threading.Thread(target=lambda: codes.append(container.wait(20))) for _ in range(8)]
        for thread in threads:
            thread.start()
        container.kill(9)
        for thread in threads:
            thread.join()
        assert codes == [137] * 8


def test_terminal(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle()
    spec = spec_of(made, "/bin/sh", "-c", "stty size; read line; stty size; echo got $line")
    with runtime.create(made.id, spec, terminal=(11, 22)) as container:
        terminal = container.init.terminal
        assert terminal is not None and terminal.size == (11, 22)
        container.start()
        assert read_until(terminal, b"\n") == b"11 22\r\n"
        terminal.resize(33, 44)
        terminal.write(b"it\n")
        assert read_until(terminal, b"got it") == b"it\r\n33 44\r\ngot it"
        assert container.wait(20) == 0
        while terminal.read():
            pass
    with runtime.create(made.id, spec_of(made, "/probe", "pause")) as container:
        container.start()
        with container.exec(["/bin/stty", "size"], terminal=(5, 6)) as process:
            assert process.terminal is not None
            assert read_until(process.terminal, b"\n") == b"5 6\r\n"
            assert process.wait(20) == 0
        with pytest.raises(ocirun.OperationError):
            container.exec(["/nosuch"], terminal=(5, 6), stdin=PIPE)
        with pytest.raises(ocirun.UsageError):
            container.exec([], terminal=(5, 6), stdin=PIPE)
    with pytest.raises(ocirun.OperationError):
        runtime.create(made.id, spec.set("/mounts/-", {"destination": "/x", "type": "nosuch"}), terminal=(5, 6))


def read_until(terminal: ocirun.Terminal, end: bytes) -> bytes:
    text = b""
    while end not in text:
        more = terminal.read(1)
        assert more, text
        text += more
    return text


def test_the_exit_code_of_anothers_child(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """The kernel tells it when the parent has waited (Linux 6.15); before that, and without, it is not known."""
    made = bundle()
    spec_of(made, "/bin/sh", "-c", "exit 5")
    made.process["args"] = ["/bin/sh", "-c", "sleep 0.5; exit 5"]
    made.write()
    code = (
        "import sys, ocirun\n"
        "container = ocirun.Runtime(root=sys.argv[1]).create(*sys.argv[2:])\n"
        "container.start()\n"
        "print(flush=True)\n"
        "container.wait()\n"
    )
    words = [sys.executable, "-P", "-c", code, runtime.root, made.id, str(made.path)]
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        container = runtime.get(made.id)
        kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
        assert container.wait(20) == (5 if kernel >= (6, 15) else None)
        assert other.wait() == 0
    container.delete()
    assert runtime.list() == []


def test_plan_and_validate_as_values(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle()
    spec = spec_of(made)
    plan = runtime.plan(spec)
    rows = plan.to_list()
    assert len(rows) == len(plan) > 10
    assert any(row["operation"] == "mount" and row["pointer"] == "/mounts/0" for row in rows)
    assert str(plan).splitlines()[0].split() == ["#", "who", "operation", "from"]
    assert [row["operation"] for row in runtime.plan(str(made.path)).to_list()] == [row["operation"] for row in rows]
    assert not Path(runtime.root).exists()
    assert spec.validate() and spec.validate().problems == ()
    wrong = spec.set("/process/user/uid", -1).set("/mounts/0/destination", 5).validate()
    assert not wrong
    assert [problem.pointer for problem in wrong.problems] == ["/process/user/uid", "/mounts/0/destination"]
    doubtful = spec.set("/mounts/0/destination", "proc").validate()
    assert doubtful and [warning.pointer for warning in doubtful.warnings] == ["/mounts/0/destination"]
    with pytest.raises(ocirun.ConfigError):
        runtime.plan(spec.set("/process/user/uid", -1))


def test_errors_can_be_pickled(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle()
    spec = spec_of(made)
    errors: list[ocirun.Error] = []
    for id, broken in (
        ("a/b", spec),
        (made.id, spec.set("/process/cwd", 3)),
        (made.id, spec.set("/mounts/-", {"destination": "/x", "type": "nosuch"})),
        (made.id, spec.set("/hooks/prestart", [{"path": "/bin/false"}])),
        ("none", spec),
    ):
        with pytest.raises(ocirun.Error) as caught:
            runtime.get(id) if id == "none" else runtime.create(id, broken)
        errors.append(caught.value)
    errors.append(ocirun.HostError("no room", "make some"))
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)
        for name in ("pointer", "operation", "errno", "hint"):
            assert getattr(again, name) == getattr(error, name)
    operation = errors[2]
    assert isinstance(operation, ocirun.OperationError)
    assert (operation.pointer, operation.errno) == (f"/mounts/{len(made.config['mounts'])}", 19)
    assert operation.operation == operation.what and "nosuch" in operation.operation
    assert "Wire" not in "".join(map(repr, errors)) and all(error.__cause__ is None for error in errors)
