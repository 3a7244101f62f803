"""What may happen in which state (runtime-spec runtime.md), and what may not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop, cgroup_roots, eventually, reap

V2 = set(cgroup_roots()) == {""}
STATES = ("absent", "created", "running", "paused", "stopped")


def freeze(made: Bundle, frozen: bool) -> None:
    """What `pause` does, by the files of the freezer."""
    roots = cgroup_roots()
    if V2:
        directory = roots[""] / made.id
        (directory / "cgroup.freeze").write_text("1" if frozen else "0")
        eventually(lambda: f"frozen {int(frozen)}" in (directory / "cgroup.events").read_text(), "frozen")
    else:
        directory = roots["freezer"] / made.id
        wanted = "FROZEN" if frozen else "THAWED"
        (directory / "freezer.state").write_text(wanted)
        eventually(lambda: (directory / "freezer.state").read_text().strip() == wanted, wanted)


def bring_to(runtime: Runtime, made: Bundle, state: str) -> int:
    """A container in that state; its pid."""
    if state == "absent":
        return 0
    pid = runtime.created(made)
    if state != "created":
        runtime("start", made.id).ok()
    if state == "paused":
        freeze(made, True)
    if state == "stopped":
        runtime.kill(made).ok()
        reap(pid)
    return pid


# state -> command -> None where it succeeds, else the text of the error.
ALLOWED: dict[str, dict[str, str | None]] = {
    "absent": {
        "start": "container does not exist",
        "kill": "container does not exist",
        "delete": "container does not exist",
        "state": "container does not exist",
        "exec": "container does not exist",
        "delete --force": None,
    },
    "created": {
        "create": "container with given ID already exists",
        "kill": None,
        "start": None,
        "exec": None,
        "state": None,
        "delete": None,
        "delete --force": None,
    },
    "running": {
        "create": "container with given ID already exists",
        "start": "cannot start an already running container",
        "exec": None,
        "delete": "that is not stopped: running",
        "kill": None,
        "delete --force": None,
    },
    "paused": {
        "create": "container with given ID already exists",
        "start": "cannot start",
        "exec": "paused",
        "delete": "that is not stopped: paused",
        "state": None,
        "delete --force": None,
    },
    "stopped": {
        "create": "container with given ID already exists",
        "start": "cannot start a container that has stopped",
        "exec": "cannot exec",
        "kill": "container not running",
        "state": None,
        "delete": None,
        "delete --force": None,
    },
}


@pytest.mark.parametrize("state", STATES)
def test_what_is_allowed(runtime: Runtime, bundle: Workshop, state: str) -> None:
    for command, error in ALLOWED[state].items():
        made = bundle("pause")
        made.write()
        pid = bring_to(runtime, made, state)
        if pid:
            assert runtime.status(made) == state
        verb, *flags = command.split()
        if command == "create":
            result = runtime.create(made)
        elif command == "exec":
            result = runtime("exec", made.id, "/probe", "true")
        elif command == "kill":
            result = runtime.kill(made)
        else:
            result = runtime(verb, *flags, made.id)
        if error is None:
            result.ok()
        else:
            result.failed(error, code=255 if command == "exec" else 1)
        if error is not None and pid:
            assert runtime.status(made) == state, f"{command} changed it"
        if command in ("kill", "delete", "delete --force") and error is None and pid and state != "stopped":
            assert reap(pid) == 137
        if state == "paused" and command != "delete --force":
            freeze(made, False)
        if command.startswith("delete") and error is None:
            runtime("state", made.id).failed("container does not exist")
        runtime.delete(made, "--force").ok()


def test_state_document(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.config["annotations"] = {"org.example": '<a> & "b"', "empty": ""}
    pid = runtime.created(made)
    result = runtime("state", made.id).ok()
    assert not result.out.endswith("\n")
    document = json.loads(result.out)
    rootfs = str(made.rootfs)
    created = document.pop("created")
    assert document.pop("ociVersion").startswith("1.")
    assert document == {
        "id": made.id,
        "pid": pid,
        "status": "created",
        "bundle": str(made.path),
        "rootfs": rootfs,
        "annotations": made.config["annotations"],
        "owner": "",
    }
    assert created.endswith("Z") and created[10] == "T"
    assert "\\u003ca\\u003e" in result.out, "as Go escapes it"
    runtime("start", made.id).ok()
    assert runtime.state(made)["created"] == created
    runtime.kill(made).ok()
    reap(pid)
    document = runtime.state(made)
    assert (document["status"], document["pid"]) == ("stopped", 0)
    runtime.delete(made).ok()


@pytest.mark.differs("says that there is no such directory as --root", since="1.4")
def test_list(runtime: Runtime, bundle: Workshop) -> None:
    assert runtime("list", "--quiet").ok().out == ""
    first, second = bundle("pause"), bundle("pause")
    pids = [runtime.created(first), runtime.started(second)]
    assert runtime("list", "-q").ok().out.split() == sorted([first.id, second.id])
    listed = runtime("list", "--format", "json").json
    assert {one["id"]: (one["status"], one["pid"]) for one in listed} == {
        first.id: ("created", pids[0]),
        second.id: ("running", pids[1]),
    }
    assert {one["owner"] for one in listed} == {"root"}
    table = runtime("list").ok().out.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert len(table) == 3
    for made, pid in zip((first, second), pids, strict=True):
        runtime.delete(made, "--force").ok()
        reap(pid)
    assert json.loads(runtime("list", "--format=json").ok().out or "null") in (None, [])


def test_ps(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "2")
    pid = runtime.started(made)
    eventually(lambda: len(runtime("ps", "--format", "json", made.id).json) == 3, "all children")
    pids = runtime("ps", "--format", "json", made.id).json
    assert pid in pids
    table = runtime("ps", made.id).ok().out.splitlines()
    assert "PID" in table[0].split() and len(table) == 4
    assert runtime("ps", made.id, "-o", "pid,comm").ok().out.split().count("probe") == 3
    runtime.end(made, pid)


def test_ids(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.write()
    for id in ("..", ".", "a/b", "../x", "a b", "a\nb", "é", "a:b", "/abs"):
        runtime("create", "--bundle", str(made.path), id).failed("invalid container ID format")
        runtime("state", id).failed()
    runtime("create", "--bundle", str(made.path), "").failed("id")
    assert not runtime.root.exists() or not list(runtime.root.iterdir())
    for id in (f"{made.id}.+-_Z", f".{made.id}", f"-{made.id}" if runtime.name == "runc" else f"+{made.id}"):
        made.linux["cgroupsPath"] = f"/{made.id}"
        made.write()
        words = ["run", "--bundle", str(made.path), "--", id]
        assert runtime(*words).code == 0, id


def test_killed_behind_our_back(runtime: Runtime, bundle: Workshop) -> None:
    for state in ("created", "running"):
        made = bundle("pause")
        pid = bring_to(runtime, made, state)
        os.kill(pid, signal.SIGKILL)
        # A zombie until somebody reaps it: stopped all the same.
        eventually(lambda made=made: runtime.status(made) == "stopped", "stopped")  # type: ignore[misc]
        assert runtime.state(made)["pid"] == 0
        runtime.kill(made).failed("container not running")
        runtime("start", made.id).failed()
        reap(pid)
        assert runtime.status(made) == "stopped"
        runtime.delete(made).ok()


def test_a_pid_that_belongs_to_another_process_now(runtime: Runtime, bundle: Workshop) -> None:
    """The pid of the container is reused: nothing may be done to its new owner."""
    made = bundle("pause")
    pid = runtime.started(made)
    os.kill(pid, signal.SIGKILL)
    reap(pid)
    # As for the kernel: clone3 with set_tid gives the same number again.
    last = Path("/proc/sys/kernel/ns_last_pid")
    stranger = None
    for _ in range(50):
        last.write_text(str(pid - 1))
        stranger = subprocess.Popen(["sleep", "1000"])
        if stranger.pid == pid:
            break
        stranger.kill()
        stranger.wait()
    assert stranger is not None and stranger.pid == pid, "the number could not be had again"
    try:
        assert runtime.status(made) == "stopped"
        runtime.kill(made).failed("container not running")
        runtime.delete(made, "--force").ok()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_signals(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("trap", "/seen")
    pid = runtime.started(made)
    seen = made.rootfs / "seen"
    eventually(lambda: seen.exists() and "ready" in seen.read_text(), "ready")
    words = {"10": 10, "USR2": 12, "SIGHUP": 1, "sigwinch": 28, "int": 2, "QUIT": 3}
    for word, number in words.items():
        runtime.kill(made, word).ok()
        eventually(lambda number=number: str(number) in seen.read_text().split(), word)  # type: ignore[misc]
    runtime.kill(made, "NOPE").failed('unknown signal "NOPE"')
    runtime.kill(made, "0x5").failed("unknown signal")
    runtime("kill", made.id).ok()  # SIGTERM
    assert reap(pid) == 15
    runtime.delete(made).ok()


def test_kill_without_a_pid_namespace_reaches_all(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "5", "new-session")
    made.without_namespace("pid")
    pid = runtime.started(made)
    procs = harness.cgroup_directory("pids", made.id) / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) == 6, "all children")
    words = ["--all"] if runtime.name == "runc" else []  # 1.1.5 needs it, 1.5 does not
    runtime("kill", *words, made.id, "KILL").ok()
    assert reap(pid) == 137
    eventually(lambda: procs.read_text() == "", "all are dead")
    runtime.delete(made).ok()


def test_delete_reaches_what_outlives_its_first_process(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "3", "new-session")
    made.without_namespace("pid")
    pid = runtime.started(made)
    procs = harness.cgroup_directory("pids", made.id) / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) == 4, "all children")
    os.kill(pid, signal.SIGKILL)
    reap(pid)
    assert runtime.status(made) == "stopped"
    runtime.delete(made, "--force").ok()
    eventually(lambda: not harness.children(), "all are dead")


def test_kill_with_a_pid_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "5")
    pid = runtime.started(made)
    assert runtime.end(made, pid) == 137


def test_detached_run_and_pid_file(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("exit", "9")
    pid_file = scratch / "a.pid"
    runtime.run(made, "--detach", "--pid-file", str(pid_file)).ok()
    pid = int(pid_file.read_text())
    assert pid_file.read_text() == str(pid)
    assert reap(pid) == 9
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()
    runtime.create(bundle("true"), "--pid-file", str(scratch / "none" / "a.pid")).failed("no such file or directory")
    assert not list(runtime.root.iterdir())


def test_keep(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "3")
    words = ["--keep"] if runtime.name != "runc" else []  # newer than 1.1.5
    assert runtime.run(made, *words).code == 3
    if words:
        assert runtime.status(made) == "stopped"
        runtime.delete(made).ok()


def test_foreground_run_passes_signals_on(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("trap")
    made.write()
    running = runtime.spawn("run", "--bundle", str(made.path), made.id)
    eventually(lambda: "ready" in running.out, "ready")
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGINT):
        running.popen.send_signal(number)
        eventually(lambda number=number: str(int(number)) in running.out.split(), str(number))  # type: ignore[misc]
    running.popen.send_signal(signal.SIGTERM)
    assert running.result().code == 15
    assert not list(runtime.root.iterdir())


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("terminal", [False, pytest.param(True, marks=pytest.mark.ocirun)])  # runc wants a terminal too
def test_signals_that_the_caller_ignores_are_passed_on(
    runtime: Runtime, bundle: Workshop, verb: str, ignored: signal.Signals, terminal: bool
) -> None:
    """A shell ignores SIGINT and SIGQUIT for what it starts with "&", nohup SIGHUP."""
    made = bundle("trap")
    pid = 0
    if verb == "exec":
        pid = runtime.started(bundle_of_pause := bundle("pause"))
        words = ["exec", *(["--tty"] if terminal else []), bundle_of_pause.id, "/probe", "trap"]
    else:
        made.process["terminal"] = terminal
        made.write()
        words = ["run", "--bundle", str(made.path), made.id]
    running = runtime.spawn(*words, preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN))
    eventually(lambda: "ready" in running.out, "ready")
    running.popen.send_signal(ignored)
    if ignored != signal.SIGTERM:
        eventually(lambda: str(int(ignored)) in running.out.split(), str(ignored))
        running.popen.send_signal(signal.SIGTERM)
    assert running.result().code == 15
    if pid:
        runtime.end(bundle_of_pause, pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("kind", ["", "user", "filter", "joined"])
def test_signals_end_a_created_container(runtime: Runtime, bundle: Workshop, number: signal.Signals, kind: str) -> None:
    """A stop between create and start must not wait for its whole timeout."""
    made = bundle("pause")
    if kind == "user":
        made.user_namespace()
    elif kind == "joined":
        made.without_namespace("pid")
    elif kind == "filter":
        made.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["rt_sigaction", "rt_sigreturn", "kill"], "action": "SCMP_ACT_ERRNO"}],
        }
    pid = runtime.created(made)
    runtime.kill(made, number.name).ok()
    assert reap(pid) != 0
    assert runtime.status(made) == "stopped"
    runtime("start", made.id).failed("cannot start a container that has stopped")
    runtime.delete(made).ok()


def test_other_signals_leave_a_created_container(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.created(made)
    runtime.kill(made, "WINCH").ok()
    runtime.kill(made, "CONT").ok()
    assert runtime.status(made) == "created"
    runtime("start", made.id).ok()
    runtime.end(made, pid)


@pytest.mark.differs("refuses a configuration without process")
def test_a_container_without_a_process(runtime: Runtime, bundle: Workshop) -> None:
    """config.md, "Process": REQUIRED when start is called."""
    made = bundle()
    del made.config["process"]
    made.config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    pid = runtime.created(made)
    runtime("start", made.id).failed("has no process")
    assert runtime.status(made) == "created"
    assert runtime.probe(made)["pid"] > 1
    runtime.delete(made).ok()
    assert reap(pid) == 137
    runtime.run(made).failed("config.json: /process: required property is missing")
    assert not list(runtime.root.iterdir())


def test_the_exit_code_is_told_though_the_cgroup_stays(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "42")
    directory = harness.cgroup_directory("pids", made.id)
    sleeper = subprocess.Popen(["sleep", "100"])
    made.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {sleeper.pid} > {directory}/cgroup.procs"]}]
    }
    try:
        result = runtime.run(made)
        assert result.code == 42
        if runtime.name != "runc":
            assert "unable to remove container's cgroup" in result.warning
    finally:
        sleeper.kill()
        sleeper.wait()
    runtime("delete", "--force", made.id).ok()
    assert not directory.exists() or (runtime.name == "runc" and (directory.rmdir() or True))


@pytest.mark.ocirun  # runc 1.1.5 has no lock: two may win, and a process and a cgroup stay
def test_two_runtimes_race_for_one_id(runtime: Runtime, bundle: Workshop) -> None:
    """One wins, the other gets a clear error, and nothing of the other's is left."""
    for _ in range(10):
        made = bundle("pause")
        made.write()
        running = [runtime.spawn("create", "--bundle", str(made.path), made.id) for _ in range(3)]
        results = [one.result() for one in running]
        winners = [one for one in results if one.code == 0]
        assert len(winners) == 1, [one.error for one in results]
        for loser in results:
            if loser not in winners:
                loser.failed("container with given ID already exists")
        pid = runtime.state(made)["pid"]
        assert runtime.status(made) == "created"
        runtime("start", made.id).ok()
        assert harness.cgroup_directory("pids", made.id).exists()
        runtime.end(made, pid)
        eventually(lambda: not harness.children(), "nothing of the losers goes on")


def test_start_and_delete_race(runtime: Runtime, bundle: Workshop) -> None:
    for _ in range(10):
        made = bundle("pause")
        pid = runtime.created(made)
        start = runtime.spawn("start", made.id)
        delete = runtime.spawn("delete", "--force", made.id)
        start.result()
        assert delete.result().code == 0
        reap(pid)
        runtime("state", made.id).failed("container does not exist")


def test_two_starts_race(runtime: Runtime, bundle: Workshop) -> None:
    for _ in range(5):
        made = bundle("append", "/seen", "once\n")
        pid = runtime.created(made)
        running = [runtime.spawn("start", made.id) for _ in range(3)]
        codes = sorted(one.result().code for one in running)
        if runtime.name != "runc":
            assert codes == [0, 1, 1]
        reap(pid)
        assert (made.rootfs / "seen").read_text() == "once\n"
        runtime.delete(made).ok()


def test_create_waits_and_start_returns_after_the_exec(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.created(made)
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] != b"/probe"
    assert not any(path.name == "seen" for path in made.rootfs.iterdir())
    before = Path(f"/proc/{pid}/stat").read_text().split()[13:15]
    time.sleep(0.05)
    assert Path(f"/proc/{pid}/stat").read_text().split()[13:15] == before, "it waits and does not poll"
    runtime("start", made.id).ok()
    if runtime.name != "runc":
        assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == b"/probe"
    runtime.end(made, pid)


def test_a_change_of_the_bundle_after_create_changes_nothing(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("report", "to=/seen")
    pid = runtime.created(made)
    made.process["args"] = ["/probe", "exit", "9"]
    made.process["env"] = ["CHANGED=1"]
    made.write()
    runtime("start", made.id).ok()
    assert reap(pid) == 0
    assert "CHANGED=1" not in json.loads((made.rootfs / "seen").read_text())["env"]
    (made.path / "config.json").unlink()
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()


def test_eperm_is_alive(runtime: Runtime, bundle: Workshop) -> None:
    """Who may not signal the process must not say that it has stopped."""
    made = bundle("pause")
    pid = runtime.started(made)
    for path in (runtime.root, runtime.root / made.id):
        path.chmod(0o755)
    for path in (runtime.root / made.id).iterdir():
        path.chmod(0o666)
    result = runtime("state", made.id, prefix=["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"])
    if result.code == 0:
        assert result.json["status"] == "running"
    runtime.end(made, pid)
