"""Terminals: console sockets, and the foreground end of a container's pty (runc's docs/terminals.md)."""

from __future__ import annotations

import _socket
import posix
from _struct import pack, unpack

from ..errors import HostError, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from typing import Any

_PATIENCE = 10  # seconds that somebody else's socket makes us wait


def connect(path: str, what: str) -> int:
    """A descriptor connected to a unix stream socket that waits for one from us.

    :param what: "console socket", for messages
    :raises HostError: nobody listens there
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        # Neither for a connection to be taken nor, later, for what is sent to be (unix(7), socket(7)).
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, pack("ll", _PATIENCE, 0))
        sock.connect(path)
        return sock.detach()
    except BlockingIOError:
        sock.close()
        raise HostError(f"connect to {what} {path}: nobody takes the connection within {_PATIENCE} s") from None
    except OSError as error:
        sock.close()
        reason = reason_of(error.errno) if error.errno else str(error)  # a path of more than 107 bytes has no errno
        raise HostError(f"connect to {what} {path}: {reason}") from None


def send_descriptor(path: str, fd: int, name: str, what: str) -> None:
    """Send one descriptor over the unix socket at path, with its name as the message.

    :raises HostError: it cannot be sent
    """
    end = _socket.socket(fileno=connect(path, what))
    try:
        end.sendmsg([name.encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("i", fd))])
    except OSError as error:
        raise HostError(f"send to {what} {path}: {reason_of(error.errno or 0)}") from None
    finally:
        end.close()


def receive_descriptor(sock: _socket.socket) -> int:
    """The terminal that the other end has sent, before it said that it is ready: nothing is waited for.

    :raises HostError: it sent none
    """
    flags = _socket.MSG_DONTWAIT | getattr(_socket, "MSG_CMSG_CLOEXEC", 0x40000000)
    try:
        _, ancillary, _, _ = sock.recvmsg(4096, _socket.CMSG_LEN(4), flags)
    except BlockingIOError:
        ancillary = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            (fd,) = unpack("i", data[:4])
            if posix.isatty(fd):
                return int(fd)
            posix.close(fd)
    raise HostError("the container sent no terminal")


class Relay:
    """Between our own terminal and a container's pty, as long as the container runs in the foreground."""

    def __init__(self, master: int) -> None:
        import fcntl
        import termios

        self.master = master
        self.input = self.output = True  # still open?
        self._typed = b""  # and not yet taken by the container
        self._saved: list[Any] | None = None
        attributes = termios.tcgetattr(master)
        attributes[1] &= ~termios.ONLCR  # or our own terminal would add a second carriage return
        termios.tcsetattr(master, termios.TCSANOW, attributes)
        fcntl.fcntl(master, fcntl.F_SETFL, fcntl.fcntl(master, fcntl.F_GETFL) | posix.O_NONBLOCK)
        if posix.isatty(0):
            self._saved = termios.tcgetattr(0)
            raw = termios.tcgetattr(0)
            # cfmakeraw(3), but for OPOST: a line end still needs its carriage return, which the pty no longer adds.
            raw[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
                | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
            )  # fmt: skip
            raw[1] |= termios.OPOST
            raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
            termios.tcsetattr(0, termios.TCSANOW, raw)
            self.resize()

    def resize(self) -> None:
        """Give the pty the size of our terminal."""
        import fcntl
        import termios

        try:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
        except OSError:  # standard input is no terminal: the pty keeps the size of consoleSize
            pass

    def register(self, poll: select.poll) -> None:
        """Tell a poll object what there is to wait for."""
        import select

        self._watch(poll, self.master, (select.POLLIN if self.output else 0) | (select.POLLOUT if self._typed else 0))
        self._watch(poll, 0, select.POLLIN if self.input and not self._typed else 0)

    def _watch(self, poll: select.poll, fd: int, events: int) -> None:
        if events:
            poll.register(fd, events)
        else:
            try:
                poll.unregister(fd)
            except KeyError:
                pass

    def move(self, fd: int) -> None:
        """Copy what can be copied, after poll(2) has named the descriptor."""
        if fd == 0:
            self._typed = _read(0)
            if not self._typed:
                self.input = False
                self._typed = b"\x04"  # the end of what was typed is ^D
        if self._typed:
            try:
                self._typed = self._typed[posix.write(self.master, self._typed) :]
            except BlockingIOError:
                pass
            except OSError:
                self.input = False
                self._typed = b""
        if fd == self.master:
            self.from_container()

    def from_container(self) -> bool:
        """Copy what the container wrote; False at its end."""
        try:
            data = posix.read(self.master, 65536)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the last slave is closed
            data = b""
        if not data:
            self.output = False
        _write_all(1, data)
        return self.output

    def close(self) -> None:
        """The rest of the output, then our terminal as it was."""
        import select

        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        while self.output and poll.poll(0):  # what background processes write later is lost, as in runc
            self.from_container()
        posix.close(self.master)
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self._saved)


def _read(fd: int) -> bytes:
    try:
        return posix.read(fd, 4096)
    except OSError:  # EIO: we are in the background, or our own terminal is gone
        return b""


def _write_all(fd: int, data: bytes) -> None:
    import select

    while data:
        try:
            data = data[posix.write(fd, data) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
