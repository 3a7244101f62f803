"""Every step fails once and is killed once: an error in words or a clean `delete --force`, and nothing is left.

The fixture `leftovers` looks for processes, mounts, cgroups, sockets, descriptors and files after each test.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from agent import Agent, listened
from harness import Bundle, Network, Result, Runtime, Workshop

from ocirun.steps import STEPS

pytestmark = pytest.mark.ocirun
DOOR = Path(__file__).parents[1] / "drivers" / "faults.py"

# Those of systemd's scopes: cgroup/test_systemd.py::test_steps, run/test_systemd.py::test_steps.
# What takes Intel's resctrl, no machine of ours has: plan/test_resctrl.py tries its operations.
ELSEWHERE = ("exec.maps", "create.scope", "exec.scope", "create.perform-pid", "exec.perform-pid")
VERBS = ("create", "start", "exec", "kill", "pause", "resume", "update", "delete")


@pytest.fixture(autouse=True)
def _nothing_left(leftovers: harness.Leftovers) -> None:
    pass


@pytest.fixture
def host(runtime: Runtime, scratch: Path) -> Iterator[Network]:
    """The runtime's network namespace, and a seccomp agent beside it."""
    made = Network(scratch / "host")
    agent = Agent(scratch / "agent.sock")
    yield made
    runtime.clean()
    agent.close()
    harness.unmount(str(made.path))


def hooked(bundle: Workshop) -> Bundle:
    """A container that goes through every step: with a user namespace for the id maps, with the runtime's hooks, and
    with a network device, an I/O priority and a seccomp agent."""
    made = bundle("pause")
    listened(made, made.path.parent / "agent.sock", "mkdir")
    made.user_namespace()
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    hook = [{"path": "/bin/true"}]
    made.config["hooks"] = {"prestart": hook, "createRuntime": hook, "poststart": hook, "poststop": hook}
    made.linux["netDevices"] = {"eth0": {"name": "inside"}}
    return made


def bring_to(runtime: Runtime, made: Bundle, verb: str, host: Network) -> None:
    """The container where the verb's steps begin."""
    have_device(host)
    if verb != "create":
        runtime.created(made, prefix=host.prefix)
    if verb in ("exec", "kill", "pause", "resume", "update"):
        runtime("start", made.id).ok()
    if verb == "resume":
        runtime("pause", made.id).ok()


def have_device(host: Network) -> None:
    """The device for the container, which ends with it."""
    if "eth0" not in host.names():
        host.ip("link add eth0 type veth")


def end_of_exec(runtime: Runtime, made: Bundle) -> None:
    """End what exec left running. Our children hold up the end of their pid namespace until we have reaped them."""
    init = runtime.state(made)["pid"]
    for pid in harness.children():
        if pid != init:
            os.kill(pid, signal.SIGKILL)
            harness.reap(pid)


def call(runtime: Runtime, made: Bundle, verb: str, fault: str, host: Network) -> Result:
    words = {
        "create": ("create", "--bundle", str(made.path), "--pid-file", str(made.path / "pid"), made.id),
        "exec": ("exec", "--pid-file", str(made.path / "pid"), "--detach", made.id, "/probe", "pause"),
        "delete": ("delete", "--force", made.id),
        "update": ("update", "--pids-limit", "50", made.id),
    }.get(verb, (verb, made.id))
    made.write()
    return runtime(*words, prefix=[*host.prefix, sys.executable, str(DOOR), fault])


def test_the_list_is_what_happens(runtime: Runtime, bundle: Workshop, host: Network, scratch: Path) -> None:
    """Each step of the list is reached, in that order; nothing else is."""
    reached = []
    for verb in VERBS:
        made = hooked(bundle)
        bring_to(runtime, made, verb, host)
        call(runtime, made, verb, f"list:{scratch / verb}", host).ok()
        if verb == "exec":
            end_of_exec(runtime, made)
        reached += (scratch / verb).read_text().split()
    assert reached == [step for step in STEPS if step not in ELSEWHERE]


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ELSEWHERE])
@pytest.mark.parametrize("kind", ["fail", "kill"])
def test_step(runtime: Runtime, bundle: Workshop, host: Network, kind: str, step: str) -> None:
    verb = step.partition(".")[0]
    made = hooked(bundle)
    bring_to(runtime, made, verb, host)
    result = call(runtime, made, verb, f"{kind}:{step}", host)
    if kind == "kill":
        assert result.code == -9
        assert not result.error
    elif step == "delete.poststop":  # the hooks cannot keep a container
        assert f"test fault at {step}" in result.ok().warning
    elif step == "start.unlink":  # the program runs, and nobody needs the fifo any more
        result.ok()
        assert runtime.status(made) == "running"
    else:
        result.failed(f"test fault at {step}", code=255 if verb == "exec" else 1)
    if verb == "exec":
        if kind == "fail":
            init = runtime.state(made)["pid"]
            harness.eventually(lambda: harness.children() == [init], "its process is killed")
        end_of_exec(runtime, made)
    if kind == "fail" and verb == "create":
        runtime("state", made.id).failed("does not exist")
        assert not (made.path / "pid").exists()
        assert "eth0" in host.names()
    runtime("delete", "--force", made.id).ok()
    runtime("state", made.id).failed("does not exist")
    assert not list(runtime.root.glob("[!@]*"))


@pytest.mark.parametrize("kind", ["fail", "kill"])
@pytest.mark.parametrize("step", ["create.release", "create.pid-file", "start.poststart", "delete.cgroup"])
def test_run(runtime: Runtime, bundle: Workshop, host: Network, kind: str, step: str) -> None:
    """The same steps, when one command goes through them all."""
    made = hooked(bundle).args("true")
    made.write()
    have_device(host)
    prefix = [*host.prefix, sys.executable, str(DOOR), f"{kind}:{step}"]
    result = runtime("run", "--bundle", str(made.path), made.id, prefix=prefix)
    if kind == "fail" and step == "delete.cgroup":  # the container has run, and its exit code is told
        assert result.code == 0 and "test fault" in result.warning
    else:
        assert result.code == (-9 if kind == "kill" else 1)
        if kind == "fail":  # undone, or stopped and deleted
            runtime("state", made.id).failed("does not exist")
    runtime("delete", "--force", made.id).ok()


@pytest.mark.parametrize("kind", ["init-fail", "init-kill"])
def test_every_operation(runtime: Runtime, bundle: Workshop, host: Network, kind: str) -> None:
    """The init fails and dies at each of its operations: the error names the operation, and nothing is left."""
    made = hooked(bundle)
    made.write()
    plan = runtime("plan", "--json", "--bundle", str(made.path)).json
    late = {row["index"] for row in plan if row["index"] > next(r["index"] for r in plan if r["operation"] == "ready")}
    for row in plan:
        if row["who"] == "parent":
            continue
        index = row["index"]
        words = row["description"].replace("_ses.ID", f"_ses.{made.id}")
        have_device(host)
        result = call(runtime, made, "create", f"{kind}:{index}", host)
        if index in late:
            pid = int((made.path / "pid").read_text())
            if kind == "init-fail" and row["operation"] == "exec":
                runtime("start", made.id).failed(words, "operation canceled", row["pointer"])
            else:
                assert runtime("start", made.id).code == 1
            harness.reap(pid)
        elif kind == "init-fail":
            result.failed("test: operation canceled", words, row["pointer"])
            runtime("state", made.id).failed("does not exist")
        else:
            result.failed("container init was killed by signal")
            runtime("state", made.id).failed("does not exist")
        runtime("delete", "--force", made.id).ok()
