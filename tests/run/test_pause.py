"""pause and resume: nothing of a paused container runs, and all of it goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import Runtime, Workshop, eventually, reap

import ocirun


def ticks(pid: int) -> int:
    """What a process has used of a CPU (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_nothing_runs_while_it_is_paused(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("spin")
    pid = runtime.started(made)
    eventually(lambda: ticks(pid) > 2, "it runs")
    runtime("pause", made.id).ok()
    assert runtime.status(made) == "paused"
    before = ticks(pid)
    time.sleep(0.2)
    assert ticks(pid) == before
    runtime("resume", made.id).ok()
    assert runtime.status(made) == "running"
    eventually(lambda: ticks(pid) > before, "it goes on")
    runtime.end(made, pid)


def test_a_created_container_is_paused_and_resumed(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "7")
    pid = runtime.created(made)
    runtime("pause", made.id).ok()
    assert runtime.status(made) == "paused"
    runtime("resume", made.id).ok()
    assert runtime.status(made) == "created"
    runtime("start", made.id).ok()
    assert reap(pid) == 7
    runtime.delete(made).ok()


def test_the_wrong_state(runtime: Runtime, bundle: Workshop) -> None:
    runtime("pause", "nobody").failed("does not exist")
    runtime("resume", "nobody").failed("does not exist")
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("resume", made.id).failed("container not paused")
    runtime("pause", made.id).ok()
    runtime("pause", made.id).failed("container not running")
    runtime("exec", made.id, "/probe", "true").failed("paused", code=255)
    runtime("start", made.id).failed()
    assert runtime.status(made) == "paused"
    runtime.kill(made).ok()  # SIGKILL reaches it, frozen as it is
    reap(pid)
    runtime("resume", made.id).failed("container not paused")
    runtime("pause", made.id).failed("container not running")
    runtime.delete(made).ok()


def test_a_paused_container_is_deleted_by_force(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "3")
    pid = runtime.started(made)
    runtime("pause", made.id).ok()
    runtime.delete(made).failed("that is not stopped: paused")
    runtime.delete(made, "--force").ok()
    reap(pid)


@pytest.mark.ocirun
def test_from_python(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    container = ocirun.Runtime(str(runtime.root)).get(made.id)
    container.pause()
    assert container.state().status == "paused"
    with pytest.raises(ocirun.StateError, match="container not running"):
        container.pause()
    container.resume()
    assert container.state().status == "running"
    runtime.end(made, pid)
