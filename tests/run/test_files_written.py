"""Files that a caller names, where others may write too: nothing of others is written to, and nobody is waited for."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from harness import Runtime, Workshop, reap

pytestmark = pytest.mark.ocirun


@pytest.fixture
def shared(scratch: Path) -> Path:
    """A directory that everybody may write to."""
    path = scratch / "shared"
    path.mkdir()
    path.chmod(0o1777)
    return path


def test_a_pid_file_among_things_of_others(runtime: Runtime, bundle: Workshop, shared: Path, scratch: Path) -> None:
    """Whatever others have put there under the name of a temporary file."""
    victim = scratch / "victim"
    victim.write_text("untouched")
    for make in (
        lambda path: path.symlink_to(victim),
        os.mkfifo,
        lambda path: (path.touch(), os.chown(path, 1000, 1000), path.chmod(0o666)),
    ):
        made = bundle("pause")
        pid_file = shared / f"{made.id}.pid"
        for name in (f".{pid_file.name}", f".{pid_file.name}.tmp", f"{pid_file.name}.tmp"):
            make(shared / name)
        runtime.create(made, "--pid-file", str(pid_file), timeout=10).ok()
        status = pid_file.lstat()
        assert stat.S_ISREG(status.st_mode) and (status.st_uid, status.st_mode & 0o777) == (0, 0o644)
        assert int(pid_file.read_text()) == runtime.state(made)["pid"]
        runtime.delete(made, "--force").ok()
        reap(int(pid_file.read_text()))
        for path in list(shared.iterdir()):
            path.unlink()
    assert victim.read_text() == "untouched"


def test_a_pid_file_that_is_there(runtime: Runtime, bundle: Workshop, shared: Path, scratch: Path) -> None:
    """A file or a symlink is replaced; what is a device, or a FIFO that is read, is written to; the rest is refused."""
    victim = scratch / "victim"
    victim.write_text("untouched")
    (shared / "file").write_text("x" * 100)
    os.chown(shared / "file", 1000, 1000)
    (shared / "link").symlink_to(victim)
    for name in ("file", "link"):
        made = bundle("pause")
        runtime.create(made, "--pid-file", str(shared / name)).ok()
        pid = int((shared / name).read_text())
        assert pid == runtime.state(made)["pid"]
        assert (shared / name).lstat().st_uid == 0
        runtime.delete(made, "--force").ok()
        reap(pid)
    assert victim.read_text() == "untouched"

    null = scratch / "null"
    os.mknod(null, 0o20666, os.makedev(1, 3))
    made = bundle("pause")
    pid = runtime.created(made, "--pid-file", str(null))
    assert stat.S_ISCHR(null.lstat().st_mode)
    runtime.delete(made, "--force").ok()
    reap(pid)

    os.mkfifo(shared / "fifo")
    runtime.create(made, "--pid-file", str(shared / "fifo"), timeout=10).failed("fifo", "no such device or address")
    reader = os.open(shared / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    pid = runtime.created(made, "--pid-file", str(shared / "fifo"))
    assert os.read(reader, 100) == str(pid).encode()
    os.close(reader)
    runtime.delete(made, "--force").ok()
    reap(pid)

    os.mknod(shared / "disk", 0o60666, os.makedev(7, 255))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shared / "socket"))
        (shared / "directory").mkdir()
        for name in ("disk", "socket", "directory"):
            runtime.create(made, "--pid-file", str(shared / name)).failed(name, "expected a regular file")
    assert not list(runtime.root.iterdir())


def test_a_log_that_is_a_fifo(runtime: Runtime, bundle: Workshop, shared: Path) -> None:
    """Nobody reads it, or not fast enough: no command waits for that."""
    os.mkfifo(shared / "log")
    argv = runtime.argv("state", "none", flags=["--log", str(shared / "log")])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "no such device or address" in done.stderr
    reader = os.open(shared / "log", os.O_RDONLY | os.O_NONBLOCK)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    assert b"does not exist" in os.read(reader, 1000)
    writer = os.open(shared / "log", os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "does not exist" in done.stderr
    os.close(reader)
    os.close(writer)


def test_spec_where_there_is_something(runtime: Runtime, scratch: Path, shared: Path) -> None:
    victim = scratch / "victim"
    for make in (lambda path: path.symlink_to(victim), os.mkfifo):
        (shared / "config.json").unlink(missing_ok=True)
        make(shared / "config.json")
        runtime("spec", "--bundle", str(shared), timeout=10).failed("config.json exists")
        assert not victim.exists()


def test_a_console_socket_that_nobody_serves(runtime: Runtime, bundle: Workshop, shared: Path) -> None:
    """Its queue is full, and connect(2) waits: not for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shared / "console"))
        listener.listen(0)
        waiting = []
        for _ in range(2):
            one = socket.socket(socket.AF_UNIX)
            one.setblocking(False)
            waiting.append(one)
            try:
                one.connect(str(shared / "console"))
            except BlockingIOError:
                break
        made = bundle("pause")
        made.process["terminal"] = True
        begin = time.monotonic()
        runtime.create(made, "--console-socket", str(shared / "console")).failed("nobody takes the connection")
        assert 9 < time.monotonic() - begin < 15
        for one in waiting:
            one.close()
    assert not runtime.root.exists() or not list(runtime.root.iterdir())
