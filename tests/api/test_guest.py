"""The library in programs of every kind: it takes nothing from them, changes nothing, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import harness
import pytest
from harness import Workshop

import ocirun
from ocirun import Spec

pytestmark = pytest.mark.ocirun


def program(code: str, *arguments: str, **options: object) -> str:
    """What a program of its own prints."""
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    words = [sys.executable, "-P", "-c", code, *arguments]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


def test_two_hundred_at_once(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.write()
    del made.linux["cgroupsPath"], made.linux["resources"]
    spec = Spec(made.config).replace(rootfs=str(made.path / "rootfs"))
    before = set(os.listdir("/proc/self/fd"))
    containers = []
    try:
        for number in range(200):
            container = runtime.create(f"{made.id}-{number}", spec)
            containers.append(container)
            container.start()
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 201, "a pidfd each"
        assert {state.status for state in runtime.list()} == {"running"}
        for container in containers:
            container.kill(9)
        assert {container.wait(30) for container in containers} == {137}
    finally:
        for container in containers:
            container.delete(force=True)
    assert set(os.listdir("/proc/self/fd")) == before


_FORKS = """
import os, sys, ocirun
root = sys.argv[1]
ocirun.run(["true"], root=root)
children = []
for number in range(6):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = ocirun.run(["sh", "-c", f"exit {number + 10}"], root=root).exit_code
        finally:
            os._exit(code)
    children.append(pid)
assert ocirun.run(["sh", "-c", "exit 9"], root=root).exit_code == 9
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def test_a_fork_server(leftovers: harness.Leftovers, scratch: Path) -> None:
    assert program(_FORKS, str(scratch / "root")) == "[10, 11, 12, 13, 14, 15]\n"


_IGNORES = """
import os, signal, sys, ocirun
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
told = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)
result = ocirun.run(["sh", "-c", "echo x; exit 3"], root=sys.argv[1])
assert (result.exit_code, result.reason) == ((3, "exited") if told else (None, "unknown")), result
assert result.stdout == b"x\\n"
assert ocirun.run(["sleep", "100"], root=sys.argv[1], timeout=0.3).reason == "timeout"
assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
"""


def test_a_program_that_ignores_its_children(leftovers: harness.Leftovers, scratch: Path) -> None:
    program(_IGNORES, str(scratch / "root"))


_REAPS = """
import os, signal, sys, ocirun
reaped = []
def reap(number, frame):
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            reaped.append(pid)
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
for _ in range(5):
    result = ocirun.run(["sh", "-c", "exit 3"], root=sys.argv[1])
    assert result.exit_code in (3, None), result
    assert result.reason in ("exited", "unknown")
assert ocirun.run(["sleep", "100"], root=sys.argv[1], timeout=0.3).reason == "timeout"
assert signal.getsignal(signal.SIGCHLD) is reap
"""


def test_a_program_that_reaps_every_child(leftovers: harness.Leftovers, scratch: Path) -> None:
    program(_REAPS, str(scratch / "root"))


_HEAP = """
import sys, threading, time, ocirun
heap = [bytes([n % 256]) * 4096 for n in range(int(sys.argv[2]) << 8)]
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(10)]
for thread in threads: thread.start()
ocirun.run(["true"], root=sys.argv[1])
assert ocirun.run(["sh", "-c", "exit 3"], root=sys.argv[1]).exit_code == 3
stop.set()
"""


def test_a_large_heap_and_threads(leftovers: harness.Leftovers, scratch: Path) -> None:
    program(_HEAP, str(scratch / "root"), "300")


def test_interrupted(leftovers: harness.Leftovers, scratch: Path) -> None:
    """KeyboardInterrupt, or whatever a signal handler raises, ends the container."""
    root = scratch / "root"
    code = (
        "import signal, sys, ocirun\n"
        "signal.alarm(1)\n"
        "def late(number, frame): raise ZeroDivisionError\n"
        "signal.signal(signal.SIGALRM, late)\n"
        "try: ocirun.run(['sleep', '4324'], root=sys.argv[1])\n"
        "except ZeroDivisionError: print('late', ocirun.Runtime(sys.argv[1]).list())\n"
    )
    assert program(code, str(root)) == "late []\n"
    assert b"4324" not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, check=True).stdout


def test_import_is_light() -> None:
    """Nothing heavy before it is used, and little with it."""
    code = "import sys; before = set(sys.modules); import ocirun; print(*sorted(set(sys.modules) - before))"
    assert program(code).split() == ["__future__", "ocirun"]
    code = "import sys; before = set(sys.modules); import ocirun; ocirun.run; print(*sorted(set(sys.modules) - before))"
    heavy = {"asyncio", "subprocess", "typing", "json", "re", "dataclasses", "logging", "threading", "socket"}
    assert not heavy & set(program(code).split())


def test_signals_are_left_alone(leftovers: harness.Leftovers, scratch: Path) -> None:
    root = str(scratch / "root")
    ocirun.run(["true"], root=root)
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    mask, umask, directory = signal.pthread_sigmask(signal.SIG_BLOCK, []), os.umask(0o077), os.getcwd()
    try:
        result = ocirun.run(["sh", "-c", "ls -ld / /etc /tmp; umask"], root=root, text=True, check=True)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert result.stdout.count("drwxr-xr-x") == 2 and result.stdout.endswith("0022\n")
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask and os.getcwd() == directory


def test_what_a_killed_program_leaves_is_swept(leftovers: harness.Leftovers, scratch: Path) -> None:
    """By the first run of the next one; those of others who are alive stay."""
    root = str(scratch / "root")
    code = "import sys, ocirun; ocirun.run(['sh', '-c', sys.argv[2]], root=sys.argv[1], stdout=None)"
    words = [sys.executable, "-P", "-c", code, root, "echo up; exec sleep 4325"]
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        program(code, root, "exit 0")
        assert len(ocirun.Runtime(root).list()) == 1, "it is alive"
        killed.kill()
    [left] = ocirun.Runtime(root).list()
    assert left.status == "running"
    program(code, root, "exit 0")
    assert ocirun.Runtime(root).list() == []
    assert not list((scratch / "root" / "@sandbox").iterdir())
    assert b"4325" not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, check=True).stdout
