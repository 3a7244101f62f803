"""NOTIFY_SOCKET: what a service in the container tells systemd, sd_notify(3)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Runtime, Workshop


class Caller:
    """Somebody as systemd is: notes what it is told, and lets the barriers go."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 4096, 8)
            self.said.append(data.decode())
            for fd in fds:
                os.close(fd)
            if data == b"over":
                return

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"over", self._socket.getsockname())
        harness.eventually(lambda: "over" in self.said, "the end")
        self._socket.close()

    @property
    def environment(self) -> dict[str, Any]:
        return {"env": {**os.environ, "NOTIFY_SOCKET": self.address}}


@pytest.fixture(params=["path", "abstract"])
def caller(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Caller]:
    made = Caller(str(scratch / "caller") if request.param == "path" else f"@ocirun-test-{os.getpid()}")
    yield made
    made.close()


@pytest.mark.differs("looks for READY= at the beginning of a message alone")
@pytest.mark.parametrize("user", [0, 1000])
def test_start_waits_until_it_is_ready(runtime: Runtime, bundle: Workshop, caller: Caller, user: int) -> None:
    """And passes on nothing else."""
    made = bundle("notify", "STATUS=of no interest\nREADY=1\nMAINPID=1")
    made.process["user"] = {"uid": user, "gid": user}
    pid = runtime.created(made, **caller.environment)
    assert caller.said == []
    runtime("start", made.id, **caller.environment).ok()
    assert caller.said == ["READY=1\n", f"MAINPID={pid}\n", "BARRIER=1"]
    runtime.end(made, pid)
    assert not (runtime.root / made.id).exists()


@pytest.mark.differs("does not wait until it has been heard", before="1.4")
@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_run(runtime: Runtime, bundle: Workshop, caller: Caller, flags: list[str]) -> None:
    made = bundle("notify", "READY=1")
    made.write()
    command = runtime.spawn("run", *flags, "--bundle", str(made.path), made.id, **caller.environment)
    harness.eventually(lambda: len(caller.said) == 3, "it is ready")
    pid = runtime.state(made)["pid"]
    main = pid if flags else command.popen.pid  # in the foreground systemd's service is the runtime
    assert caller.said == ["READY=1\n", f"MAINPID={main}\n", "BARRIER=1"]
    if flags:
        command.result().ok()
        runtime.end(made, pid)
    else:
        runtime.kill(made).ok()
        assert command.result().code == 128 + signal.SIGKILL


@pytest.mark.ocirun  # runc waits until somebody has reaped it
def test_one_that_never_gets_ready(runtime: Runtime, bundle: Workshop, caller: Caller) -> None:
    """Is waited for until it ends; other commands need not wait."""
    made = bundle("pause")
    pid = runtime.created(made, **caller.environment)
    command = runtime.spawn("start", made.id, **caller.environment)
    harness.eventually(lambda: runtime.status(made) == "running", "it runs")
    assert command.popen.poll() is None
    runtime.kill(made).ok()
    command.result().ok()
    assert caller.said == []
    harness.reap(pid)
    runtime.delete(made).ok()


@pytest.mark.ocirun  # runc waits for ever
def test_what_the_container_has(runtime: Runtime, bundle: Workshop, caller: Caller) -> None:
    made = bundle("report", "write=/run/notify", "path=/run/notify")
    made.user_namespace()
    report = runtime.run(made, **caller.environment).json
    assert "NOTIFY_SOCKET=/run/notify/notify.sock" in report["env"]
    assert report["paths"]["/run/notify"]["list"] == ["notify.sock"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= harness.mounts(report)["/run/notify"].options
    assert caller.said == []


@pytest.mark.differs("fails")
def test_a_container_that_was_created_without(runtime: Runtime, bundle: Workshop, caller: Caller) -> None:
    made = bundle("pause")
    pid = runtime.created(made)
    runtime("start", made.id, **caller.environment).ok()
    runtime.end(made, pid)


@pytest.mark.ocirun
def test_nobody_listens(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("notify", "READY=1")
    environment = {"env": {**os.environ, "NOTIFY_SOCKET": str(scratch / "nobody")}}
    pid = runtime.created(made, **environment)
    runtime("start", made.id, **environment).failed(f"notify {scratch}/nobody: no such file or directory")
    assert runtime.status(made) == "running"
    runtime.end(made, pid)
    runtime.run(made, "--detach", **environment).ok()
    runtime.end(made, runtime.state(made)["pid"])


@pytest.mark.ocirun  # runc 1.1.5 changes the mode of whatever has the name
def test_what_the_container_puts_there(runtime: Runtime, bundle: Workshop, caller: Caller, scratch: Path) -> None:
    """In the directory that it shares with us: nothing of the host gets another mode, and nothing keeps `delete`."""
    victim = scratch / "victim"
    victim.write_text("untouched")
    victim.chmod(0o600)
    made = bundle("notify", "READY=1")
    pid = runtime.created(made, **caller.environment)
    directory = runtime.root / made.id / "notify"
    (directory / "notify.sock").symlink_to(victim)
    deep = os.open(directory, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("deeper", dir_fd=deep)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
        os.symlink("/etc", "link", dir_fd=deep)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    runtime("start", made.id, **caller.environment).ok()
    assert caller.said[0] == "READY=1\n"
    assert (victim.stat().st_mode & 0o777, victim.read_text()) == (0o600, "untouched")
    runtime.kill(made).ok()
    harness.reap(pid)
    runtime.delete(made).ok()
    assert not (runtime.root / made.id).exists()
    assert Path("/etc/passwd").exists()


@pytest.mark.ocirun
def test_a_directory_in_the_place_of_the_socket(runtime: Runtime, bundle: Workshop, caller: Caller) -> None:
    made = bundle("notify", "READY=1")
    pid = runtime.created(made, **caller.environment)
    (runtime.root / made.id / "notify" / "notify.sock" / "in").mkdir(parents=True)
    runtime("start", made.id, **caller.environment).failed("notify.sock", "is a directory")
    assert runtime.status(made) == "created"
    runtime.delete(made).ok()
    harness.reap(pid)


@pytest.mark.ocirun
def test_somebody_exchanges_it_all_the_time(
    runtime: Runtime, bundle: Workshop, caller: Caller, scratch: Path, probe: Path
) -> None:
    victim = scratch / "victim"
    victim.touch(mode=0o600)
    for _ in range(10):
        made = bundle("notify", "READY=1")
        pid = runtime.created(made, **caller.environment)
        directory = runtime.root / made.id / "notify"
        (directory / "link").symlink_to(victim)
        (directory / "notify.sock").touch()
        swap = subprocess.Popen([probe, "swap", directory / "link", directory / "notify.sock"])
        start = runtime.spawn("start", made.id, **caller.environment)
        harness.eventually(lambda: runtime.status(made) != "created" or start.popen.poll() is not None, "it runs")  # noqa: B023
        swap.kill()
        swap.wait()
        assert victim.stat().st_mode & 0o777 == 0o600
        runtime.kill(made)
        harness.reap(pid)
        start.result()
        runtime.delete(made, "--force").ok()


def test_systemd_itself(runtime: Runtime, bundle: Workshop) -> None:
    """A unit of type notify, which hears its main process alone."""
    if not Path("/run/systemd/system").is_dir():
        pytest.skip("systemd does not run here")
    made = bundle("notify", "READY=1")
    made.write()
    unit = f"{made.id}.service"
    words = ["systemd-run", "--quiet", f"--unit={unit}", "--property=Type=notify", "--property=NotifyAccess=main"]
    command = runtime.argv("run", "--bundle", str(made.path), made.id)
    subprocess.run([*words, "--property=TimeoutStartSec=60", *command], check=True)
    shown = subprocess.run(["systemctl", "show", unit], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "ActiveState=active" in shown and "SubState=running" in shown
    (main,) = (line.partition("=")[2] for line in shown if line.startswith("MainPID="))
    assert "run" in harness.command_line(int(main)).split()
    runtime.kill(made).ok()
    harness.eventually(lambda: runtime("state", made.id).code, "it is gone", 20)
    subprocess.run(["systemctl", "reset-failed", unit], check=False, capture_output=True)
