"""The seccomp agent: it gets the listener and the container process state, and decides."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent import CONTINUE, Agent, listened
from harness import Runtime, Workshop, eventually, reap


@pytest.fixture
def agent(scratch: Path, leftovers: object) -> Iterator[Agent]:
    one = Agent(scratch / "agent.sock")
    yield one
    one.close()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_agent_decides(runtime: Runtime, bundle: Workshop, agent: Agent, no_new_privileges: bool) -> None:
    made = listened(bundle("mkdir", "/tmp/new"), agent.path, "mkdir", "mkdirat", metadata="some words")
    made.process["noNewPrivileges"] = no_new_privileges
    made.capabilities("SYS_ADMIN")
    made.config["annotations"] = {"a": "b"}
    agent.decide = lambda: (errno.ENOMEDIUM, 0)
    result = runtime.run(made)
    assert result.code != 0 and "No medium found" in result.err
    assert not (made.rootfs / "tmp" / "new").exists()
    (state,) = agent.states
    assert (state["fds"], state["metadata"]) == (["seccompFd"], "some words")
    assert state["pid"] == state["state"]["pid"] > 1
    assert (state["state"]["id"], state["state"]["status"]) == (made.id, "creating")
    assert state["state"]["annotations"] == {"a": "b"} and state["state"]["bundle"] == str(made.path)
    agent.decide = lambda: (0, CONTINUE)
    runtime.run(made).ok()
    assert (made.rootfs / "tmp" / "new").is_dir()


def test_exec_has_a_listener_of_its_own(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    made = listened(bundle("pause"), agent.path, "mkdir", "mkdirat")
    pid = runtime.started(made)
    agent.decide = lambda: (errno.EXDEV, 0)
    assert "Cross-device" in runtime("exec", made.id, "/probe", "mkdir", "/tmp/new").err
    first, second = agent.states
    assert first["pid"] == first["state"]["pid"] == second["state"]["pid"] == pid
    assert second["pid"] not in (pid, 0) and second["pid"] in agent.seen
    assert second["state"]["status"] == "running"
    assert "metadata" not in first or first["metadata"] == ""
    runtime.end(made, pid)


@pytest.mark.ocirun
def test_the_connection_is_closed(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    """config-linux.md: "it MUST be closed after sending"; runc 1.1 leaves that to its end."""
    agent.until_closed = True
    runtime.run(listened(bundle("true"), agent.path, "mkdir")).ok()
    assert agent.closed


@pytest.mark.ocirun
def test_what_the_init_itself_calls(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    """The listener does not go through the filter: the agent may be asked about everything that comes after it."""
    calls = ("sendmsg", "sendto", "recvmsg", "recvfrom", "read", "poll", "ppoll", "close", "execve", "execveat")
    made = listened(bundle("exit", "5"), agent.path, *calls)
    assert runtime.run(made).code == 5
    assert agent.seen and set(agent.seen) == {agent.states[0]["pid"]}


def test_a_created_container_keeps_no_listener(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    """Or the calls would wait for ever when the agent has gone; so they fail with ENOSYS."""
    made = listened(bundle("mkdir", "/tmp/new"), agent.path, "mkdir", "mkdirat")
    agent.hang_up = True
    pid = runtime.created(made)

    def descriptors() -> list[str]:
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]

    eventually(lambda: "anon_inode:seccomp notify" not in descriptors(), "the listener is closed")
    runtime("start", made.id).ok()
    assert reap(pid) != 0
    runtime.delete(made).ok()
    assert not (made.rootfs / "tmp" / "new").exists()


@pytest.mark.parametrize("why", ["nobody", "no socket", "a file"])
def test_no_agent(runtime: Runtime, bundle: Workshop, scratch: Path, agent: Agent, why: str) -> None:
    made = listened(bundle("true"), agent.path, "mkdir")
    path = scratch / "other"
    if why == "nobody":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
            bound.bind(str(path))
    elif why == "a file":
        path.touch()
    made.linux["seccomp"]["listenerPath"] = str(path)
    refused = runtime.create(made).failed()
    if runtime.name == "ocirun":
        assert f"connect to seccomp agent {path}" in refused.error
    runtime("state", made.id).failed("does not exist")


def test_a_path_that_nobody_uses(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Without SCMP_ACT_NOTIFY the path is ignored (config-linux.md)."""
    made = bundle("exit", "4")
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(scratch / "nobody")}
    assert runtime.run(made).code == 4


@pytest.mark.ocirun
def test_a_wait_that_can_be_killed(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    """SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV goes with a listener; without one it has no meaning, and is left out."""
    made = listened(bundle("mkdir", "/tmp/new"), agent.path, "mkdir", "mkdirat")
    made.linux["seccomp"]["flags"] = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    runtime.run(made).ok()
    plain = bundle("true")
    plain.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    }  # fmt: skip
    runtime.run(plain).ok()


def test_an_agent_that_dies_meanwhile(runtime: Runtime, bundle: Workshop, agent: Agent) -> None:
    """The container can be ended while a call waits for its decision."""
    made = listened(bundle("mkdir", "/tmp/new"), agent.path, "mkdir", "mkdirat")
    waiting = threading.Event()
    go = threading.Event()

    def later() -> tuple[int, int]:
        waiting.set()
        go.wait(30)
        return 0, CONTINUE

    agent.decide = later
    pid = runtime.started(made)
    assert waiting.wait(30)
    runtime.kill(made).ok()
    reap(pid)
    go.set()
    runtime.delete(made).ok()
