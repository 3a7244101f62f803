"""What a container can do to its own cgroup, where it may write there: nothing of it may keep it alive."""

from __future__ import annotations

import os
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop, cgroup_directory, cgroup_roots, eventually, reap

V2 = set(cgroup_roots()) == {""}
DEEP = 1000  # more than Python recurses, and with these names a path of more than 4096 bytes
NAME = "deeper"


def deepest(directory: Path, levels: int = DEEP) -> int:
    """Make cgroups in each other; a descriptor of the last one."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(NAME, dir_fd=fd)
        inner = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    return fd


def write(directory: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY, dir_fd=directory)
    os.write(fd, text.encode())
    os.close(fd)


def last_child(runtime: Runtime, made: Bundle, count: int) -> int:
    eventually(lambda: len(runtime("ps", "--format", "json", made.id).json) == count, "all children")
    return max(runtime("ps", "--format", "json", made.id).json)


@pytest.mark.ocirun
@pytest.mark.parametrize("verb", ["kill", "delete"])
@pytest.mark.parametrize("shared", [False, True])
def test_deep(runtime: Runtime, bundle: Workshop, verb: str, shared: bool) -> None:
    """A process a thousand cgroups down is listed, killed, and removed with them all."""
    made = bundle("children", "1", "new-session")
    if shared:
        made.without_namespace("pid")
    pid = runtime.started(made)
    child = last_child(runtime, made, 2)
    for controller in ("",) if V2 else ("devices", "freezer", "pids"):
        bottom = deepest(cgroup_directory(controller, made.id))
        write(bottom, "cgroup.procs", str(child))
        os.close(bottom)
    assert set(runtime("ps", "--format", "json", made.id).json) == {pid, child}
    if verb == "kill":
        runtime.kill(made).ok()
        assert reap(pid) == 137
        eventually(lambda: child not in harness.children(), "the child is killed")
    runtime.delete(made, "--force").ok()
    eventually(lambda: not harness.children(), "all are dead")
    assert not any((root / made.id).exists() for root in cgroup_roots().values())


@pytest.mark.parametrize("verb", ["kill", "delete", "run"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.ocirun  # runc 1.1.5 waits for ever
def test_frozen(runtime: Runtime, bundle: Workshop, verb: str, shared: bool) -> None:
    """A cgroup that the container has frozen itself: on v1 who is in it takes no signal, not even SIGKILL."""
    made = bundle("children", "1", "new-session")
    if shared:
        made.without_namespace("pid")
    pid = runtime.started(made)
    child = last_child(runtime, made, 2)
    top = cgroup_directory("" if V2 else "freezer", made.id)
    bottom = deepest(top, 3)
    write(bottom, "cgroup.procs", str(child))
    if V2:
        write(bottom, "cgroup.freeze", "1")
    else:
        write(bottom, "freezer.state", "FROZEN")
        eventually(lambda: (top / NAME / NAME / NAME / "freezer.state").read_text() == "FROZEN\n", "it is frozen")
    os.close(bottom)
    if verb == "kill":
        runtime.kill(made).ok()
    elif verb == "run":  # its PID 1 ends by itself, and waits in its exit for the frozen one
        os.kill(pid, 9)
    if verb != "delete" and not shared:
        eventually(lambda: runtime.status(made) == "stopped", "it has ended")
    runtime.delete(made, *(["--force"] if verb == "delete" or shared else [])).ok()
    assert reap(pid) == 137
    eventually(lambda: not harness.children(), "all are dead")
    assert not any((root / made.id).exists() for root in cgroup_roots().values())


@pytest.mark.skipif(V2, reason="needs cgroup v1")
@pytest.mark.ocirun
def test_frozen_outside_of_the_devices_cgroup(runtime: Runtime, bundle: Workshop) -> None:
    """Who has left the cgroup that tells who belongs to the container, and is frozen by another one."""
    made = bundle("pause")
    pid = runtime.started(made)
    (cgroup_roots()["devices"] / "cgroup.procs").write_text(str(pid))
    runtime("pause", made.id).ok()
    runtime.delete(made, "--force").ok()
    assert reap(pid) == 137
