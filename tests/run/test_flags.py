"""Flags of the command line that no other file here is about: each does what it says, or is refused by name."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, eventually, reap

V2 = set(harness.cgroup_roots()) == {""}


@contextmanager
def listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        made.settimeout(10)
        yield made
    path.unlink()


def received(listening: socket.socket) -> tuple[bytes, int]:
    """The message and the one descriptor that came with it."""
    connection, _ = listening.accept()
    with connection:
        message, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % 4])
    assert len(descriptors) == 1
    os.set_inheritable(descriptors[0], False)
    return message, descriptors[0]


def pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


@pytest.mark.differs("is newer", before="1.4")
def test_pidfd_socket(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Of create, run and exec; the message says whether it is the container's own process, as runc's."""
    path = scratch / "pidfd.sock"
    made = bundle("pause")
    with listener(path) as listening:
        pid = runtime.created(made, "--pidfd-socket", str(path))
        message, pidfd = received(listening)
    assert (message, pid_of(pidfd)) == (b"standard", pid)
    runtime("start", made.id).ok()
    pid_file = scratch / "exec.pid"
    with listener(path) as listening:
        flags = ["--detach", "--pid-file", str(pid_file), "--pidfd-socket", str(path)]
        runtime("exec", *flags, made.id, "/probe", "pause").ok()
        message, other = received(listening)
    assert (message, pid_of(other)) == (b"setns", int(pid_file.read_text()))
    signal.pidfd_send_signal(other, signal.SIGKILL)
    assert reap(int(pid_file.read_text())) == 137
    assert not select.select([pidfd], [], [], 0)[0], "the container goes on"
    assert runtime.end(made, pid) == 137
    with listener(path) as listening:
        made = bundle("pause")
        runtime.run(made, "--detach", "--pidfd-socket", str(path)).ok()
        message, third = received(listening)
    assert (message, pid_of(third)) == (b"standard", runtime.state(made)["pid"])
    runtime.end(made, pid_of(third))
    for fd in (pidfd, other, third):
        os.close(fd)
    runtime.create(bundle("pause"), "--pidfd-socket", str(scratch / "nobody")).failed("nobody")
    assert not list(runtime.root.glob("[!@]*")) or runtime.name == "runc"


def test_console_sockets_of_a_detached_run_and_exec(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    path = scratch / "console.sock"
    made = bundle("pause")
    made.process["terminal"] = True
    with listener(path) as listening:
        runtime.run(made, "--detach", "--console-socket", str(path)).ok()
        _, master = received(listening)
        pid = runtime.state(made)["pid"]
        assert os.readlink(f"/proc/{pid}/fd/0") == os.readlink(f"/proc/{pid}/fd/2") == "/dev/pts/0"
        pid_file = scratch / "exec.pid"
        flags = ["--detach", "--tty", "--console-socket", str(path), "--pid-file", str(pid_file)]
        runtime("exec", *flags, made.id, "/probe", "tty").ok()
        _, other = received(listening)
    assert reap(int(pid_file.read_text())) == 0
    assert os.read(other, 4096).strip()
    for fd in (master, other):
        os.close(fd)
    runtime.end(made, pid)


def test_pid_file_of_create_and_of_run(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    path = scratch / "a.pid"
    made = bundle("pause")
    pid = runtime.created(made, "--pid-file", str(path))
    assert path.read_text() == str(pid)
    runtime.delete(made, "--force").ok()
    reap(pid)
    runtime.run(bundle("true"), "--pid-file", str(path)).ok()
    assert path.read_text().isdigit() and path.read_text() != str(pid)


def test_create_without_pivot_and_without_a_keyring(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made, "--no-pivot", "--no-new-keyring")
    report = runtime.probe(made, "path=/", "path=/..")
    assert sorted(report["paths"]["/"]["list"]) == ["bin", "dev", "etc", "probe", "proc", "sys", "tmp"]
    assert report["paths"]["/.."]["stat"]["ino"] == report["paths"]["/"]["stat"]["ino"]
    runtime.end(made, pid)
    made = bundle("report", "to=/seen")
    pid = runtime.started(made, "--no-new-keyring")
    assert reap(pid) == 0
    assert made.id not in json.loads((made.rootfs / "seen").read_text())["keyring"]
    runtime.delete(made).ok()


def test_no_subreaper(runtime: Runtime, bundle: Workshop) -> None:
    """A foreground run adopts what its container leaves behind, unless that is for somebody else to do."""
    for flags in ([], ["--no-subreaper"]):
        made = bundle("children", "2")
        made.without_namespace("pid")
        made.write()
        running = runtime.spawn("run", "--bundle", str(made.path), *flags, made.id)
        procs = harness.cgroup_directory("pids", made.id) / "cgroup.procs"
        eventually(lambda procs=procs: procs.exists() and len(procs.read_text().split()) == 3, "all")  # type: ignore[misc]
        pid = runtime.state(made)["pid"]
        own = [child for child in map(int, procs.read_text().split()) if child != pid]
        (adopted,) = {parent(child) for child in own}
        assert adopted == pid
        os.kill(pid, signal.SIGSTOP)  # its children are adopted before the run has seen its end, and deletes
        os.kill(running.popen.pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda own=own, pid=pid: {parent(child) for child in own} != {pid}, "adopted")  # type: ignore[misc]
        assert {parent(child) for child in own} == {os.getpid() if flags else running.popen.pid}
        os.kill(running.popen.pid, signal.SIGCONT)
        assert running.result().code == 137
        eventually(lambda: not harness.children(), "nothing goes on")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def frozen(id: str, value: bool) -> None:
    """What `pause` and `resume` do, by the files of the freezer."""
    directory = harness.cgroup_directory("freezer", id)
    if V2:
        (directory / "cgroup.freeze").write_text(str(int(value)))
    else:
        (directory / "freezer.state").write_text("FROZEN" if value else "THAWED")


def test_ignore_paused(runtime: Runtime, bundle: Workshop) -> None:
    """The process is made and waits, frozen, for the others to be thawed."""
    made = bundle("pause")
    pid = runtime.started(made)
    frozen(made.id, True)
    eventually(lambda: runtime.status(made) == "paused", "paused")
    runtime("exec", made.id, "/probe", "true").failed("paused", code=255)
    running = runtime.spawn("exec", "--ignore-paused", made.id, "/probe", "exit", "6")
    procs = harness.cgroup_directory("freezer", made.id) / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) > 1, "it has joined")
    assert running.popen.poll() is None
    frozen(made.id, False)
    assert running.result().code == 6
    runtime.end(made, pid)


@pytest.mark.differs("takes the flag, and signals the first process all the same", since="1.4")
@pytest.mark.parametrize("flag", ["--all", "-a"])
def test_kill_all(runtime: Runtime, bundle: Workshop, flag: str) -> None:
    """Every process gets the signal, and where none is left that is no error (go-runc relies on it)."""
    made = bundle("children", "3")
    made.without_namespace("pid")
    pid = runtime.started(made)
    procs = harness.cgroup_directory("pids", made.id) / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) == 4, "all children")
    runtime("kill", flag, made.id, "TERM").ok()
    assert reap(pid) == 143
    eventually(lambda: procs.read_text() == "", "all are dead")
    runtime("kill", flag, made.id, "KILL").ok()
    runtime.delete(made).ok()


@pytest.mark.differs("has the group twice", since="1.4")
def test_process_of_exec_by_short_flags(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    made.user_namespace()
    pid = runtime.started(made)
    words = ["-u", "1000:1000", "-e", "A=1", "-g", "5", "-c", "CAP_CHOWN"]
    report = runtime("exec", *words, made.id, "/probe", "report").json
    assert (report["uid"], report["groups"]) == ([1000] * 3, [5])
    assert "A=1" in report["env"]
    (scratch / "process.json").write_text(json.dumps(made.process | {"args": ["/probe", "exit", "4"]}))
    assert runtime("exec", "-p", str(scratch / "process.json"), made.id).code == 4
    runtime("exec", "-d", made.id, "/probe", "true").ok()
    eventually(lambda: harness.children() == [pid], "it has ended")
    runtime.end(made, pid)


@pytest.mark.ocirun  # runc 1.1.5 always refuses here
@pytest.mark.parametrize("value", ["auto", "true", "false"])
def test_rootless(runtime: Runtime, bundle: Workshop, value: str) -> None:
    """Whether a cgroup that nobody has asked for, and that may not be made, is done without."""
    made = bundle("true")
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    made.write()
    runtime.root.mkdir(mode=0o700)
    for path in (runtime.root, made.path, *made.path.rglob("*")):
        os.chown(path, 7777, 7777)
    prefix = ["setpriv", "--reuid=7777", "--regid=7777", "--clear-groups", "unshare", "--user", "--map-root-user"]
    words = ["--bundle", str(made.path), made.id]
    result = runtime("run", *words, prefix=prefix, flags=["--rootless", value])
    if value == "false":
        result.failed("cgroup", made.id, "permission denied")
    else:
        result.ok()
    assert not list(runtime.root.glob("[!@]*"))


@pytest.mark.ocirun
def test_a_wrong_rootless(runtime: Runtime, bundle: Workshop) -> None:
    runtime.create(bundle("true"), flags=["--rootless", "maybe"]).failed("invalid --rootless: maybe")
    made = bundle("true")
    made.write()
    runtime("plan", "--bundle", str(made.path), flags=["--rootless", "maybe"]).failed("invalid --rootless: maybe")
