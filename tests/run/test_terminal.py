"""Terminals: through a console socket, and in the foreground."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import Runtime, Workshop, mounts, reap


@contextmanager
def console_socket(directory: Path) -> Iterator[tuple[str, socket.socket]]:
    path = directory / "console.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield str(path), listener
    path.unlink()


def receive_master(listener: socket.socket) -> int:
    """The pty master that the runtime sends; exactly one descriptor."""
    listener.settimeout(5)
    connection, _ = listener.accept()
    with connection:
        name, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
        assert name
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % 4])
        assert len(descriptors) == 1
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]


def read_all(master: int, seconds: float = 10.0) -> bytes:
    """What comes out of a terminal until its last other end is closed."""
    got = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                data = os.read(master, 65536)
            except OSError:  # EIO: nobody has the slave any more
                return got
            if not data:
                return got
            got += data
    raise AssertionError(f"the terminal stays open: {got!r}")


def read_until(master: int, text: bytes, seconds: float = 10.0) -> bytes:
    got = b""
    end = time.monotonic() + seconds
    while text not in got:
        ready, _, _ = select.select([master], [], [], max(0, end - time.monotonic()))
        assert ready, f"{text!r} does not come: {got!r}"
        got += os.read(master, 65536)
    return got


def window(fd: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def check_terminal(report: Any) -> None:
    for fd in ("0", "1", "2"):
        assert report["fds"][fd]["tty"] == 1
        assert report["fds"][fd]["target"] in ("/dev/pts/0", "/dev/console")
    assert sorted(report["fds"]) == ["0", "1", "2"]
    assert report["foreground"] == report["pgrp"] == report["sid"], "its controlling terminal"


def test_console_socket(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("report", "tree=/dev", "path=/dev/console", "path=/dev/pts", "write=/dev/tty")
    made.process["terminal"] = True
    made.process["consoleSize"] = {"height": 33, "width": 132}
    made.process["user"] = {"uid": 1000, "gid": 1000}
    with console_socket(scratch) as (path, listener):
        pid = runtime.created(made, "--console-socket", path)
        master = receive_master(listener)
    assert window(master) == (33, 132)
    runtime("start", made.id).ok()
    report = json.loads(read_all(master))
    os.close(master)
    check_terminal(report)
    assert report["winsize"] == [33, 132]
    assert report["fds"]["0"]["stat"]["uid"] == 1000, "it belongs to the user"
    console = report["trees"]["/dev"]["console"]["stat"]
    assert (console["type"], console["major"]) == ("c", 136)
    assert mounts(report)["/dev/console"].fstype == "devpts"
    assert sorted(report["paths"]["/dev/pts"]["list"]) == ["0", "ptmx"], "of the container's own devpts"
    assert report["writes"]["/dev/tty"] == ""
    assert reap(pid) == 0
    runtime.delete(made).ok()


def test_console_size_of_exec(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """That of its own file; without one that of the container's process."""
    made = bundle("pause")
    made.process["consoleSize"] = {"height": 33, "width": 132}
    pid = runtime.started(made)
    file = scratch / "process.json"
    process = {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/probe", "pause"], "terminal": True}
    cases = [
        (["--tty", made.id, "/probe", "pause"], (33, 132)),
        (["--process", str(file), made.id], (10, 20)),
    ]
    file.write_text(json.dumps(process | {"consoleSize": {"height": 10, "width": 20}}))
    for words, size in cases:
        with console_socket(scratch) as (path, listener):
            flags = ["--detach", "--pid-file", str(scratch / "pid"), "--console-socket", path]
            runtime("exec", *flags, *words).ok()
            master = receive_master(listener)
        assert window(master) == size
        os.close(master)  # which hangs up
        assert reap(int((scratch / "pid").read_text())) == 128 + signal.SIGHUP
    runtime.end(made, pid)


def test_input_output_and_line_ends(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("cat")
    made.process["terminal"] = True
    with console_socket(scratch) as (path, listener):
        pid = runtime.started(made, "--console-socket", path)
        master = receive_master(listener)
    os.write(master, b"typed\n")
    # Echo, then cat's own. The settings are the kernel's: ONLCR is for whoever got the master to decide.
    read_until(master, b"typed\r\ntyped\r\n")
    os.write(master, b"\x04")  # ^D
    assert reap(pid) == 0
    os.close(master)
    runtime.delete(made).ok()


def test_interrupt_from_the_terminal(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("trap")
    made.process["terminal"] = True
    with console_socket(scratch) as (path, listener):
        pid = runtime.started(made, "--console-socket", path)
        master = receive_master(listener)
    read_until(master, b"ready\r\n")
    os.write(master, b"\x03")  # ^C
    read_until(master, b"2\r\n")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 20, 0, 0))
    read_until(master, b"28\r\n")  # SIGWINCH
    assert runtime.end(made, pid) == 137
    os.close(master)


def test_a_console_that_nobody_takes_in_time(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("true")
    made.process["terminal"] = True
    runtime.create(made, "--console-socket", str(scratch / "nobody.sock")).failed("nobody.sock")
    (scratch / "file").touch()
    runtime.create(made, "--console-socket", str(scratch / "file")).failed()
    assert not runtime.root.exists() or not list(runtime.root.iterdir())


def test_rules(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("true")
    made.process["terminal"] = True
    text = f"cannot allocate tty if {runtime.name} will detach without setting console socket"
    runtime.create(made).failed(text)
    runtime.run(made, "--detach").failed(text)
    made.process["terminal"] = False
    text = f"cannot use console socket if {runtime.name} will not detach or allocate tty"
    runtime.run(made, "--console-socket", "x").failed(text)
    made.process["terminal"] = False
    with console_socket(scratch) as (path, listener):
        # A socket for a process without a terminal: runc ignores it.
        result = runtime.create(made, "--console-socket", path)
        assert result.code in (0, 1)
        listener.close()
    runtime.delete(made, "--force").ok()


def in_foreground(runtime: Runtime, argv: list[str]) -> tuple[int, int]:
    """Run a command on a terminal of its own; the command's pid and the master."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.execv(argv[0], argv)
        finally:
            os._exit(127)
    os.set_inheritable(master, False)
    return pid, master


def test_foreground(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("report")
    made.process["terminal"] = True
    made.write()
    pid, master = in_foreground(runtime, runtime.argv("run", "--bundle", str(made.path), made.id))
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
    output = read_all(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    assert b"\r\r" not in output, "no ONLCR on the inner terminal: the outer one does that"
    check_terminal(json.loads(output))


def test_foreground_with_input_resize_and_signals(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("trap")
    made.process["terminal"] = True
    made.write()
    pid, master = in_foreground(runtime, runtime.argv("run", "--bundle", str(made.path), made.id))
    read_until(master, b"ready")
    before = termios.tcgetattr(master)
    assert not before[3] & termios.ECHO, "the outer terminal is raw meanwhile"
    os.write(master, b"\x03")
    read_until(master, b"2\r\n")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 34, 0, 0))
    read_until(master, b"28")
    os.kill(pid, 10)
    read_until(master, b"10")
    os.kill(pid, 15)
    read_until(master, b"15")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 15, "the exit code of the container's process"
    assert termios.tcgetattr(master)[3] & termios.ECHO, "and as it was afterwards"
    os.close(master)


def test_foreground_of_exec(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    container = runtime.started(made)
    pid, master = in_foreground(runtime, runtime.argv("exec", "--tty", made.id, "/probe", "report"))
    report = json.loads(read_all(master))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)
    check_terminal(report)
    runtime.end(made, container)


def test_a_pipe_as_input_of_a_terminal(runtime: Runtime, bundle: Workshop) -> None:
    """`run` with a terminal where stdin is none: refused by name or done, but never hanging."""
    made = bundle("true")
    made.process["terminal"] = True
    result = runtime.run(made)
    assert result.code in (0, 1)
