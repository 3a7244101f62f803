"""What happens between two steps of a command: by another command, by the container, or by somebody's SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import harness
import pytest
from harness import Bundle, Running, Runtime, Workshop, eventually, reap
from hooks_of_tests import hook, shell

from ocirun.errors import ContainerNotFound
from ocirun.store import containers

pytestmark = pytest.mark.ocirun
DOOR = str(Path(__file__).parents[1] / "drivers" / "faults.py")

# A parent that reaps what it adopts at once, which no test can do as fast as the kernel.
REAPER = """
import ctypes, os, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
code = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(f"created: {code}", flush=True)
os.read(0, 1)
"""


# Between create's steps


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_hook_fails_after_another_has_left_a_daemon(runtime: Runtime, bundle: Workshop, verb: str) -> None:
    """Without a pid namespace nobody ends it but the one who undoes it all."""
    made = bundle("pause")
    made.without_namespace("pid")
    made.config["hooks"] = {"createContainer": [hook("sleep 1001 & exit 0"), hook("exit 7")]}
    getattr(runtime, verb)(made).failed("7")
    runtime("state", made.id).failed("does not exist")
    eventually(lambda: not harness.children(), "the daemon is killed")
    assert not any((root / made.id).exists() for root in harness.cgroup_roots().values())


def test_no_poststop_hooks_before_there_is_a_container(runtime: Runtime, bundle: Workshop) -> None:
    other, made = bundle("pause"), bundle("pause")
    pid = runtime.started(other)
    made.linux["cgroupsPath"] = other.linux["cgroupsPath"]
    made.config["hooks"] = {"poststop": [hook(f"touch {made.path}/ended")]}
    runtime.create(made).failed("container's cgroup is not empty")
    assert not (made.path / "ended").exists()
    runtime.end(other, pid)


def test_a_killed_create_whose_cgroup_is_anothers(runtime: Runtime, bundle: Workshop) -> None:
    """It never came to own the cgroup, and its delete leaves that alone."""
    other, made = bundle("pause"), bundle("pause")
    pid = runtime.started(other)
    made.linux["cgroupsPath"] = other.linux["cgroupsPath"]
    assert runtime.create(made, prefix=[sys.executable, DOOR, "kill:create.cgroup"]).code == -9
    runtime.delete(made, "--force").ok()
    runtime("state", made.id).failed("does not exist")
    assert runtime.status(other) == "running"
    assert runtime.end(other, pid) == 137


def test_a_killed_create_is_stopped(runtime: Runtime, bundle: Workshop) -> None:
    """Creating as long as its create lives, and afterwards something to delete, without force."""
    made = bundle("pause")
    made.config["hooks"] = {"createRuntime": [hook(f"touch {made.path}/seen; exec sleep 1001")]}
    made.write()
    create = runtime.spawn("create", "--bundle", str(made.path), made.id)
    eventually(lambda: (made.path / "seen").exists(), "the hook runs")
    state = runtime.state(made)
    assert state["status"] == "creating" and state["pid"] > 0
    create.popen.kill()
    create.popen.wait()
    for pid in harness.children():
        if "sleep" in harness.command_line(pid):
            os.kill(pid, signal.SIGKILL)
    assert runtime.status(made) == "stopped"
    runtime("start", made.id).failed("stopped")
    runtime.delete(made).ok()


def test_the_containers_directory_whatever_the_umask(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.created(made, umask=0o077)
    assert (runtime.root / made.id).stat().st_mode & 0o777 == 0o711
    runtime.end(made, pid)


# The lock


def waiting_for_the_lock(path: Path) -> bool:
    """Whether /proc/locks (proc_locks(5)) has one who waits for it."""
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("again", [True, False])
def test_the_lock_of_a_directory_that_was_deleted(scratch: Path, again: bool) -> None:
    """Who has waited for it gets that of the new container of this id, or hears that there is none."""
    root = scratch / "locks"
    held = containers.claim(str(root), "one")
    got: list[int | ContainerNotFound] = []

    def lock() -> None:
        try:
            got.append(containers.lock(str(root), "one"))
        except ContainerNotFound as error:
            got.append(error)

    waiter = threading.Thread(target=lock)
    waiter.start()
    eventually(lambda: waiting_for_the_lock(root / "one"), "it waits")
    (root / "one").rename(root / "old")  # so that the inode is not used again
    if again:
        (root / "one").mkdir()
    (root / "old").rmdir()
    os.close(held)
    waiter.join(5)
    assert not waiter.is_alive()
    if again:
        assert isinstance(got[0], int) and os.path.samestat(os.fstat(got[0]), (root / "one").stat())
        os.close(got[0])
    else:
        assert isinstance(got[0], ContainerNotFound)


# Between the end of the container and run's delete


def waits(runtime: Runtime, made: Bundle) -> bool:
    """Whether a `run` has nothing to do any more but to wait: it has let go of the container."""
    state = runtime("state", made.id)
    return (
        state.code == 0 and state.json["status"] == "running" and not containers.is_locked(str(runtime.root), made.id)
    )


def held_run(runtime: Runtime, made: Bundle) -> Running:
    """A `run` that is stopped, while its container has ended and been deleted."""
    made.args("pause").write()
    run = runtime.spawn("run", "--bundle", str(made.path), made.id)
    eventually(lambda: waits(runtime, made), "it runs")
    run.popen.send_signal(signal.SIGSTOP)
    runtime.kill(made).ok()
    eventually(lambda: runtime.status(made) == "stopped", "it has ended")
    runtime.delete(made).ok()
    return run


def test_run_leaves_a_new_container_of_its_id_alone(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    run = held_run(runtime, made)
    pid = runtime.created(made)
    run.popen.send_signal(signal.SIGCONT)
    result = run.result()
    assert (result.code, result.warning) == (137, "")
    assert runtime.status(made) == "created"
    assert runtime.end(made, pid) == 137


def test_run_whose_container_has_been_deleted(runtime: Runtime, bundle: Workshop) -> None:
    run = held_run(runtime, bundle())
    run.popen.send_signal(signal.SIGCONT)
    result = run.result()
    assert (result.code, result.warning, result.error) == (137, "", "")


def test_the_exit_code_is_of_pid_1(runtime: Runtime, bundle: Workshop) -> None:
    """Without a pid namespace `run` adopts what the container orphans; how that ends is nobody's concern."""
    made = bundle()
    shell(made)
    made.without_namespace("pid")
    made.process["args"] = ["/bin/sh", "-c", "(sh -c 'sleep 0.1; exit 3' &); sleep 0.5; exit 5"]
    assert runtime.run(made).code == 5


def test_run_has_one_child(runtime: Runtime, bundle: Workshop) -> None:
    """The outer stage of the init has been reaped long since."""
    made = bundle("pause")
    made.write()
    run = runtime.spawn("run", "--bundle", str(made.path), made.id)
    eventually(lambda: waits(runtime, made), "it runs")
    tasks = Path(f"/proc/{run.popen.pid}/task")
    children = [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    assert children == [runtime.state(made)["pid"]]
    runtime.kill(made).ok()
    assert run.result().code == 137


# Between start's word and the exec


def created_below_a_reaper(runtime: Runtime, made: Bundle, *prefix: str) -> Running:
    made.write()
    words = ("create", "--bundle", str(made.path), made.id)
    parent = runtime.spawn(*words, prefix=[sys.executable, "-c", REAPER, *prefix], stdin=subprocess.PIPE)
    eventually(lambda: "created: 0" in parent.out, "it is created", 15)
    return parent


def test_a_start_that_is_killed_after_the_exec(runtime: Runtime, bundle: Workshop) -> None:
    """The fifo is left then, and somebody may have it open: the program runs all the same."""
    made = bundle("pause")
    pid = runtime.created(made)
    held = os.open(runtime.root / made.id / "exec.fifo", os.O_RDWR)
    try:
        assert runtime("start", made.id, prefix=[sys.executable, DOOR, "kill:start.unlink"]).code == -9
        assert runtime.status(made) == "running"
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"/probe\0pause\0"
        runtime("start", made.id).failed("already running")
    finally:
        os.close(held)
    runtime.end(made, pid)


def test_pid_1_takes_the_word_without_waiting(runtime: Runtime, bundle: Workshop) -> None:
    """Whoever can open the fifo too may have been faster, again and again."""
    made = bundle("true")
    pid = runtime.created(made)
    fifo = str(runtime.root / made.id / "exec.fifo")
    held = [fd.name for fd in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(fd) == fifo]
    assert len(held) == 1
    lines = Path(f"/proc/{pid}/fdinfo/{held[0]}").read_text().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    assert flags & os.O_NONBLOCK
    runtime.end(made, pid)


@pytest.mark.parametrize("reaped", [True, False])
def test_killed_between_the_word_and_the_exec(runtime: Runtime, bundle: Workshop, reaped: bool) -> None:
    made = bundle("true")
    door = (sys.executable, DOOR, "init-kill:exec")
    if reaped:
        parent = created_below_a_reaper(runtime, made, *door)
    else:
        pid = runtime.created(made, prefix=door)
    runtime("start", made.id).failed("killed before it executed the program")
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()
    if reaped:
        parent.popen.communicate(b"\n")
    else:
        assert reap(pid) == 137


def test_a_program_that_ends_and_is_reaped_at_once(runtime: Runtime, bundle: Workshop) -> None:
    """Before `start` has had a look: it has run, all the same."""
    made = bundle("true")
    parent = created_below_a_reaper(runtime, made)
    late = ["strace", "-f", "-o", "/dev/null", "-e", "trace=poll,ppoll", "-e", "inject=poll,ppoll:delay_exit=300000"]
    runtime("start", made.id, prefix=late).ok()
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()
    parent.popen.communicate(b"\n")
