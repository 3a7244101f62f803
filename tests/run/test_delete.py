"""`delete --force` always comes to its end, and what it says is true: nothing is left, or who holds it up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from harness import Bundle, Running, Runtime, Workshop, cgroup_directory, eventually, reap
from hooks_of_tests import hook, shell

pytestmark = pytest.mark.ocirun


def hanging_start(runtime: Runtime, made: Bundle) -> Running:
    """A `start` that waits for a startContainer hook, which does not end."""
    shell(made)
    made.config["hooks"] = {"startContainer": [hook("echo > /seen; sleep 1000")]}
    made.without_mount("/sys")
    runtime.created(made)
    start = runtime.spawn("start", made.id)
    eventually(lambda: (made.rootfs / "seen").exists(), "the hook runs")
    return start


def hanging_create(runtime: Runtime, made: Bundle) -> Running:
    """A `create` that waits for a hook of the host's."""
    made.config["hooks"] = {"createRuntime": [hook(f"echo $$ > {made.path}/seen.new; cd {made.path};"
                                                   "mv seen.new seen; exec sleep 1000")]}  # fmt: skip
    made.write()
    create = runtime.spawn("create", "--bundle", str(made.path), made.id)
    eventually(lambda: (made.path / "seen").exists(), "the hook runs")
    return create


def gone(pid: int) -> bool:
    """Whether it is dead (somebody may have to reap it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_start_that_hangs(runtime: Runtime, bundle: Workshop) -> None:
    """PID 1 is killed first, which ends the `start`."""
    made = bundle("pause")
    start = hanging_start(runtime, made)
    begin = time.monotonic()
    runtime.delete(made, "--force").ok()
    assert time.monotonic() - begin < 5
    start.result().failed()
    runtime("state", made.id).failed("does not exist")


def test_commands_that_are_stopped(runtime: Runtime, bundle: Workshop) -> None:
    """What SIGSTOP holds (a process of a pid namespace that is shared may do that) never lets go of the container:
    PID 1 is killed all the same, and the error says who it is."""
    started, created = bundle("pause"), bundle("pause")
    held = {started.id: hanging_start(runtime, started), created.id: hanging_create(runtime, created)}
    pids = {made.id: runtime.state(made)["pid"] for made in (started, created)}
    assert all(pids.values())
    for command in held.values():
        command.popen.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    deletes = {id: runtime.spawn("delete", "--force", id) for id in held}
    for id in held:
        eventually(lambda id=id: gone(pids[id]), "PID 1 is killed")  # type: ignore[misc]
    for id, command in held.items():
        verb = "start" if id == started.id else "create"
        error = deletes[id].result().failed("container is in use", f"process {command.popen.pid}", verb).error
        assert "does not end within 10 s" in error
    assert time.monotonic() - begin < 20
    for command in held.values():
        command.popen.send_signal(signal.SIGCONT)
    held[started.id].result().failed()
    os.kill(int((created.path / "seen").read_text()), signal.SIGKILL)
    held[created.id].result().failed()
    for made in (started, created):
        runtime.delete(made, "--force").ok()


def test_a_state_file_without_its_configuration(runtime: Runtime, bundle: Workshop) -> None:
    """Another delete was killed between the two: there are poststop hooks, which nobody knows any more."""
    made = bundle("pause")
    made.config["hooks"] = {"poststop": [hook("true")]}
    pid = runtime.started(made)
    (runtime.root / made.id / "config.json").unlink()
    assert "poststop hooks are not run" in runtime.delete(made, "--force").ok().warning
    assert reap(pid) == 137


# Damage


def state_of(runtime: Runtime, made: Bundle) -> Path:
    return runtime.root / made.id / "state"


def replaced(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"document=") + 20])


def appended(text: str) -> Callable[[Path], None]:
    def append(path: Path) -> None:
        with path.open("ab") as file:
            file.write(text.encode() + b"\0")

    return append


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/proc/kmsg")


# What is done to it, and whether it still tells what the container's cgroup is
DAMAGE: dict[str, tuple[Callable[[Path], None], bool]] = {
    "garbage": (lambda path: replaced(path, b"\xff\x00garbage\0=\0cgroup=\0cgroup=\t\t\0pid=1\0start=0\0" * 10), False),
    "empty": (lambda path: replaced(path, b""), False),
    "cut": (cut, True),
    "negative": (appended("pid=-1"), True),
    "no number": (appended("pid=one"), True),
    "long": (appended(f"pid={10**19}"), True),
    "longer": (appended(f"pid={'9' * 5000}"), True),
    "other format": (appended("ocirun=2"), True),
    "fifo": (fifo, False),
    "symlink": (link, False),
    "1 TiB": (lambda path: os.truncate(path, 1 << 40), False),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_state_file(runtime: Runtime, bundle: Workshop, name: str) -> None:
    """Told in words by whoever needs it, and no other container's concern; delete --force removes what can be told."""
    damage, is_told = DAMAGE[name]
    made, other = bundle("pause"), bundle("pause")
    made.config["hooks"] = {"poststop": [hook("true")]}
    pids = [runtime.started(made), runtime.started(other)]
    damage(state_of(runtime, made))
    listed = runtime("list", "--format", "json", timeout=10).json
    assert [one["id"] for one in listed] == [other.id]
    for words in (["state", made.id], ["kill", made.id], ["delete", made.id]):
        assert "internal error" not in runtime(*words, timeout=10).failed(str(state_of(runtime, made))).error
    runtime.delete(made, "--force").ok()
    runtime("state", made.id).failed("does not exist")
    assert gone(pids[0]) is is_told
    if not is_told:
        os.kill(pids[0], signal.SIGKILL)
    reap(pids[0])
    for directory in harness.cgroup_roots().values():
        if (directory / made.id).exists():
            assert not is_told
            (directory / made.id).rmdir()
    assert runtime.end(other, pids[1]) == 137


def test_half_an_entry(runtime: Runtime, bundle: Workshop) -> None:
    """Its writer was killed, or the disk is full: it counts as if it were not there."""
    made = bundle("pause")
    pid = runtime.started(made)
    with state_of(runtime, made).open("ab") as file:
        file.write(b"pid=1")
    state = runtime.state(made)
    assert (state["pid"], state["status"]) == (pid, "running")
    assert runtime.end(made, pid) == 137


def test_damage_kills_nobody_else(runtime: Runtime, bundle: Workshop) -> None:
    """A state file that is cut says neither less nor more than its whole entries."""
    made, other = bundle("pause"), bundle("pause")
    made.linux["cgroupsPath"] = f"{other.linux['cgroupsPath']}-and-more"
    pids = [runtime.started(made), runtime.started(other)]
    state = state_of(runtime, made)
    data = state.read_bytes()
    state.write_bytes(data[: data.index(b"-and-more")])  # which ends in the other's cgroup, and not in NUL
    runtime.delete(made, "--force").ok()
    assert not gone(pids[1])
    os.kill(pids[0], signal.SIGKILL)
    reap(pids[0])
    for controller in harness.cgroup_roots():
        directory = cgroup_directory(controller, f"{other.id}-and-more")
        if directory.exists():
            directory.rmdir()
    assert runtime.end(other, pids[1]) == 137
