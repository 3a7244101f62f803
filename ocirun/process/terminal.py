"""Our end of a container's terminal (pty(7))."""

from __future__ import annotations

import _socket
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Terminal:
    """The master of a pty; the process inside has the other end as its controlling terminal and its three streams.

    ``fd`` is its descriptor, for select, poll or an event loop; who does not read from it stops the process some time.
    """

    def __init__(self, fd: int) -> None:
        """
        :param fd: the master; closed by close()
        """
        self.fd = fd

    def fileno(self) -> int:
        """The descriptor."""
        return self.fd

    def read(self, size: int = 65536) -> bytes:
        """What the process has written, at least one byte; b"" when nobody has the other end open any more.

        :raises OSError: as read(2)
        """
        try:
            return posix.read(self.fd, size)
        except OSError as error:
            if error.errno == 5:  # EIO: the last slave is closed
                return b""
            raise

    def write(self, data: bytes) -> None:
        """Type something, all of it.

        :raises OSError: as write(2)
        """
        while data:
            data = data[posix.write(self.fd, data) :]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        import termios
        from fcntl import ioctl

        answer = ioctl(self.fd, termios.TIOCGWINSZ, bytes(8))
        rows, columns = memoryview(answer).cast("H").tolist()[:2]
        return rows, columns

    def resize(self, rows: int, columns: int) -> None:
        """Give it another size, in characters; the process in the foreground gets SIGWINCH."""
        import termios
        from fcntl import ioctl

        ioctl(self.fd, termios.TIOCSWINSZ, _winsize(rows, columns))

    def close(self) -> None:
        """Hang up: the process gets SIGHUP."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.close()


def _winsize(rows: int, columns: int) -> bytes:
    """struct winsize."""
    from _struct import pack

    return pack("HHHH", rows, columns, 0, 0)


class Line:
    """The socket on which a terminal comes, before there is one."""

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        self._ours = ours
        self._theirs = theirs.detach()

    def pass_on(self) -> int:
        """The other end, for who sends the terminal, and closes it."""
        fd, self._theirs = self._theirs, -1
        return fd

    def receive(self, size: tuple[int, int]) -> Terminal:
        """The terminal that has been sent, of that many rows and columns.

        :raises HostError: none was
        """
        from ..launch.console import receive_descriptor

        terminal = Terminal(receive_descriptor(self._ours))
        terminal.resize(*size)
        return terminal

    def close(self) -> None:
        """Both ends, as far as they are here."""
        self._ours.close()
        fd = self.pass_on()
        if fd >= 0:
            posix.close(fd)
