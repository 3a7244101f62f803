"""A terminal and a person before it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path
from types import TracebackType


class Terminal:
    """The master side of a pty: what is typed goes in, what is shown comes out."""

    def __init__(self, master: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.master = master
        self.process = process
        self.shown = ""
        self.seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, timeout: float = 60) -> re.Match[str]:
        """Wait until `pattern` is shown after what was expected before. Raises AssertionError where it is not."""
        deadline = time.monotonic() + timeout
        while (match := re.compile(pattern).search(self.shown, self.seen)) is None:
            ended = not self.read(max(0, deadline - time.monotonic()))
            if ended and re.compile(pattern).search(self.shown, self.seen) is None:
                raise AssertionError(f"{pattern!r} is never shown; all that is:\n{self.shown}")
        self.seen = match.end()
        return match

    def read(self, timeout: float) -> bool:
        """Read what comes within `timeout` seconds; False when nothing does, or nothing will any more."""
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the last one who had the other side open has closed it
            return False
        # A container's terminal behind a client's own: how many returns there are before a new line is chance.
        self.shown += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if self.process is not None:
            self.process.send_signal(signal.SIGWINCH)

    def press(self, key: str, pattern: str, timeout: float = 60) -> None:
        """Press a key, again and again, until `pattern` is shown: the program that it is for may not be the
        foreground's yet."""
        deadline = time.monotonic() + timeout
        while True:
            self.type(key)
            with contextlib.suppress(AssertionError):
                self.expect(pattern, 1)
                return
            assert time.monotonic() < deadline, f"{pattern!r} is never shown; all that is:\n{self.shown}"

    def resize_for_shell(self, rows: int, columns: int, prompt: str = "# ", timeout: float = 60) -> None:
        """Make it this size, until the shell at its prompt sees that: a client may show the prompt before it has
        passed the first size on (busybox makes an odd error of none) and listens for SIGWINCH."""
        deadline = time.monotonic() + timeout
        while True:
            self.resize(rows, columns)
            self.type("stty size\n")
            size = self.expect(r"([0-9]+ [0-9]+|stty: .*)\n").group(1)
            self.expect(prompt)
            if size == f"{rows} {columns}":
                return
            assert time.monotonic() < deadline, f"the size is still {size}"
            time.sleep(0.1)

    def wait(self, timeout: float = 60) -> int:
        """The exit code of the program, with all that it has shown before read."""
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            self.read(0.05)
            if time.monotonic() > deadline:
                raise AssertionError(f"still running after {timeout:.0f} s; all that is shown:\n{self.shown}")
        while self.read(0):
            pass
        return self.process.returncode


def spawn(command: list[str], rows: int = 24, columns: int = 80, env: dict[str, str] | None = None) -> Terminal:
    """Start a program in a new terminal, as the leader of its session."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    # The session's first open of a terminal makes it the controlling one.
    opener = ["sh", "-c", 'exec <>"$0" >&0 2>&0 && exec "$@"', os.ttyname(slave)]
    process = subprocess.Popen([*opener, *command], start_new_session=True, env={**os.environ, **(env or {})})
    # Held open until the program has it too, else a read in between is the end.
    while process.poll() is None and not _has_open(process.pid, os.ttyname(slave)):
        time.sleep(0.001)
    os.close(slave)
    return Terminal(master, process)


def _has_open(pid: int, path: str) -> bool:
    """Whether a program has the terminal as its input; one that has just ended has nothing."""
    try:
        return os.readlink(f"/proc/{pid}/fd/0") == path
    except FileNotFoundError:
        return False


class ConsoleSocket:
    """The socket at which a runtime delivers the terminal of a container (--console-socket)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def terminal(self, timeout: float = 30) -> Terminal:
        """What was delivered. Raises TimeoutError where nothing was."""
        self.listener.settimeout(timeout)
        connection, _ = self.listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
        return Terminal(descriptors[0])
