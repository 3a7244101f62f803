"""The runtime as a library, in a program with threads and children of its own (this one)."""

from __future__ import annotations

import ast
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
import pytest
from harness import Bundle, Workshop

import ocirun
from ocirun.launch.hooks import run_hook

pytestmark = pytest.mark.ocirun


def written(made: Bundle) -> str:
    made.write()
    return str(made.path)


@contextmanager
def output(scratch: Path) -> Iterator[tuple[tuple[int, int, int], Path]]:
    """Descriptors for a container's stdio, and the file that has what it writes."""
    path = scratch / "output"
    with open(os.devnull) as null, path.open("wb") as file:
        yield (null.fileno(), file.fileno(), file.fileno()), path


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_whole_life(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "7")
    container = runtime.create(made.id, written(made))
    state = container.state()
    assert (state.status, state.pid, state.id) == ("created", container.pid, made.id)
    assert container.pids() == [container.pid]
    assert [one.id for one in runtime.list()] == [made.id]
    with pytest.raises(TimeoutError):
        container.wait(0.01)
    container.start()
    assert container.wait(10) == 7
    assert container.wait() == 7, "it is remembered"
    assert container.state().status == "stopped"
    container.delete()
    with pytest.raises(ocirun.ContainerNotFound):
        container.state()
    assert runtime.list() == []


def test_no_zombies(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """Of what the library starts for itself nobody is left for its caller to reap, whether it succeeds or not."""
    made, wrong = bundle("pause"), bundle()
    wrong.process["args"] = ["/nowhere"]
    wrong.config["hooks"] = made.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    container = runtime.create(made.id, written(made))
    assert harness.zombies() == []
    container.start()
    process = container.exec(["/probe", "true"])
    assert [line for line in harness.zombies() if "probe" not in line] == []
    assert process.wait(10) == 0
    with pytest.raises(ocirun.OperationError):
        runtime.create(wrong.id, written(wrong))
    with pytest.raises(ocirun.OperationError):
        container.exec(["/nowhere"])
    assert harness.zombies() == []
    container.kill(signal.SIGKILL)
    assert container.wait(10) == 137
    container.delete()
    assert harness.zombies() == []


def test_hooks_leave_the_callers_sigchld_alone() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(ocirun.HookError, match="exit status 7"):
            run_hook("/hooks/poststop/0", "poststop", "/bin/sh", ("sh", "-c", "exit 7"), None, -1, "{}")
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_run(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "3")
    assert runtime.run(made.id, written(made)) == 3
    assert runtime.list() == []


def test_stdio(runtime: ocirun.Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("report")
    with output(scratch) as (stdio, path):
        assert runtime.run(made.id, written(made), stdio=stdio) == 0
    report = json.loads(path.read_text())
    assert sorted(report["fds"]) == ["0", "1", "2"]


def test_swapped_stdio(runtime: ocirun.Runtime, bundle: Workshop, scratch: Path) -> None:
    """Each of them may be any descriptor, 0 to 2 too."""
    made = bundle("pause")
    container = runtime.create(made.id, written(made), stdio=(1, 0, 1))
    try:
        for number, ours in enumerate((1, 0, 1)):
            given, got = os.fstat(ours), os.stat(f"/proc/{container.pid}/fd/{number}")
            # Of /dev/null it gets the container's own.
            assert os.path.samestat(given, got) or given.st_rdev == got.st_rdev == os.makedev(1, 3)
    finally:
        container.delete(force=True)


def test_signals_and_kill(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    container = runtime.create(made.id, written(made))
    container.start()
    container.kill(signal.SIGKILL)
    assert container.wait(10) == 128 + 9
    with pytest.raises(ocirun.StateError, match="container not running"):
        container.kill()
    container.delete()


def test_exec(runtime: ocirun.Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    container = runtime.create(made.id, written(made))
    container.start()
    with output(scratch) as (stdio, path):
        process = container.exec(
            ["/probe", "report"], env={"A": "B"}, user="5:6", additional_gids=[7], cwd="/tmp", stdio=stdio
        )
        assert process.wait(10) == 0
    report = json.loads(path.read_text())
    assert report["uid"] == [5, 5, 5]
    assert report["gid"] == [6, 6, 6]
    assert report["groups"] == [7]
    assert "A=B" in report["env"]
    assert report["cwd"] == "/tmp"
    assert container.exec(("/probe", "exit", "9")).wait(10) == 9
    with pytest.raises(ocirun.OperationError, match="executable file not found") as caught:
        container.exec(["nosuch"])
    assert caught.value.what == "find the executable nosuch"
    with pytest.raises(ocirun.UsageError, match="sequence of arguments"):
        container.exec("/probe")
    container.delete(force=True)


def test_delete_with_a_process_of_exec_that_nobody_has_waited_for(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """Its zombie keeps PID 1 in its exit: that is no reason to refuse."""
    made = bundle("pause")
    container = runtime.create(made.id, written(made))
    container.start()
    process = container.exec(["/probe", "pause"])
    container.kill(9)
    harness.eventually(lambda: container.state().status == "stopped", "it is stopped")
    container.delete()
    assert process.wait(5) == 137
    assert container.wait(5) == 137
    container = runtime.create(made.id, written(made))
    container.start()
    process = container.exec(["/probe", "pause"])
    container.delete(force=True)
    assert process.wait(5) == 137
    assert container.wait(5) == 137


def test_a_container_of_another_process(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """It can be used in every way, but its exit code is not ours to know."""
    made = bundle("exit", "3")
    code = "import sys, ocirun; ocirun.Runtime(root=sys.argv[1]).create(*sys.argv[2:])"
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    words = [sys.executable, "-P", "-c", code, runtime.root, made.id, written(made)]
    subprocess.run(words, env=environment, check=True)
    container = runtime.get(made.id)
    container.start()
    assert container.wait(10) in (3, None)  # we are its subreaper here
    assert container.state().status == "stopped"
    container.delete()


def test_errors(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    path = written(made)
    container = runtime.create(made.id, path)
    with pytest.raises(ocirun.ContainerExists):
        runtime.create(made.id, path)
    with pytest.raises(ocirun.UsageError):
        runtime.create("a/b", path)
    with pytest.raises(ocirun.UsageError):
        ocirun.Runtime(root="relative")
    with pytest.raises(ocirun.ContainerNotFound):
        runtime.get("nobody")
    container.start()
    with pytest.raises(ocirun.StateError):
        container.start()
    with pytest.raises(ocirun.StateError):
        container.delete()
    container.delete(force=True)
    container.delete(force=True)
    broken = bundle("pause")
    broken.config["root"] = {"path": 3}
    broken.process["cwd"] = 4
    with pytest.raises(ocirun.ConfigError) as caught:
        runtime.create(broken.id, written(broken))
    assert {problem.pointer for problem in caught.value.problems} == {"/root/path", "/process/cwd"}
    missing = bundle("pause")
    missing.mount("/tmp", "bind", "/no/such/source", "bind")
    with pytest.raises(ocirun.OperationError) as failed:
        runtime.create(missing.id, written(missing))
    assert (failed.value.pointer, failed.value.errno) == (f"/mounts/{len(missing.config['mounts']) - 1}", 2)
    assert all(issubclass(kind, ocirun.Error) for kind in (ocirun.ConfigError, ocirun.HookError, ocirun.HostError))


def test_warnings(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.mount("srv", "tmpfs", "tmpfs")
    said: list[ocirun.Error] = []
    container = runtime.create(made.id, written(made), warn=said.append)
    container.start()
    container.exec(["/probe", "true"], capabilities=["CAP_LATER"], warn=said.append).wait()
    container.kill(9)
    container.wait()
    container.delete()
    config, *process = said
    assert isinstance(config, ocirun.ConfigError)
    [problem] = config.problems
    assert (problem.pointer, problem.found) == (f"/mounts/{len(made.config['mounts']) - 1}/destination", "srv")
    assert process and all("CAP_LATER" in str(error) for error in process)


def test_nothing_of_the_process_changes(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """No descriptor, directory, umask, signal handler or child more than before; garbage is not collected by us."""

    def process() -> dict[str, object]:
        umask = os.umask(0)
        os.umask(umask)
        return {
            "descriptors": descriptors(),
            "directory": os.getcwd(),
            "umask": umask,
            "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
            "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
            "environment": dict(os.environ),
            "gc": gc.isenabled(),
            "children": harness.children(),
        }

    made = bundle("true")
    path = written(made)
    runtime.run(made.id, path)  # what is loaded once
    before = process()
    runtime.run(made.id, path)
    assert process() == before
    container = runtime.create(made.id, path)
    container.exec(["/probe", "true"]).wait()
    container.delete()
    with pytest.raises(ocirun.Error):
        runtime.create(made.id, "/nowhere")
    made.process["args"] = ["/no/such/program"]
    with pytest.raises(ocirun.Error):
        runtime.create(made.id, written(made))
    assert process() == before


def test_threads(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """Many at once, none of them the main thread."""
    failures: list[BaseException] = []

    def work(made: Bundle, number: int) -> None:
        try:
            path = written(made)
            for _ in range(3):
                container = runtime.create(made.id, path)
                container.start()
                assert container.exec(["/probe", "exit", str(number)]).wait(20) == number
                container.kill(9)
                assert container.wait(20) == 137
                container.delete()
        except BaseException as error:
            failures.append(error)

    bundles = [bundle("pause") for _ in range(6)]
    before = descriptors()
    threads = [threading.Thread(target=work, args=(made, number)) for number, made in enumerate(bundles)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert descriptors() == before
    assert threading.active_count() == 1


def test_other_threads_go_on_meanwhile(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    """Waiting for a container does not hold the interpreter's lock."""
    made = bundle("sleep", "1")
    container = runtime.create(made.id, written(made))
    container.start()
    ticks = 0
    done = threading.Event()

    def wait() -> None:
        container.wait()
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.01)
    thread.join()
    container.delete()
    assert ticks > 20


def test_children_of_the_program_are_left_alone(runtime: ocirun.Runtime, bundle: Workshop) -> None:
    child = subprocess.Popen(["true"])
    time.sleep(0.1)
    made = bundle("true")
    runtime.run(made.id, written(made))
    assert child.wait(5) == 0, "its exit code is still there"


def test_public_names_are_loaded_when_used() -> None:
    code = (
        "import sys; import ocirun; before = {name for name in sys.modules if name.startswith('ocirun')}\n"
        "assert before == {'ocirun'}, before\n"
        "assert all(getattr(ocirun, name) for name in ocirun.__all__)\n"
        "assert set(ocirun.__all__) <= set(dir(ocirun))\n"
        "from ocirun import *\n"
        "assert Runtime is ocirun.Runtime\n"
        "try: ocirun.nosuch\n"
        "except AttributeError as error: assert str(error) == \"module 'ocirun' has no attribute 'nosuch'\", error\n"
        "else: raise SystemExit('no error')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=True)


def test_names_for_the_type_checker_are_the_names() -> None:
    tree = ast.parse(Path(str(ocirun.__file__)).read_text())
    typed = {
        alias.asname: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert typed == ocirun._HOME
    assert Path(str(ocirun.__file__)).with_name("py.typed").exists()
