"""What the runtime and its init say to each other: native/init/wire.h from this side (the picture is there)."""

from __future__ import annotations

import _socket
from _struct import Struct

MAPS, PID, MOUNTS, READY, ERROR, ACK = range(1, 7)

_MESSAGE = Struct("=IiIi")
_LARGEST = _MESSAGE.size + 4096


class Failure(Exception):
    """The init reported that a record of its plan failed."""

    def __init__(self, index: int, errno: int, text: str) -> None:
        super().__init__(index, errno, text)
        self.index = index
        self.errno = errno
        self.text = text


class Gone(Exception):
    """The init ended without a word: it was killed."""


def pair() -> tuple[_socket.socket, _socket.socket]:
    """The runtime's end and the init's end."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)


def receive(sock: _socket.socket) -> tuple[int, int]:
    """The next message as (type, arg).

    :raises Failure: it was an ERROR
    :raises Gone: end of file
    """
    try:
        packet = sock.recv(_LARGEST)
    except ConnectionResetError:  # the init died with our ACK unread
        packet = b""
    if not packet:
        raise Gone
    kind, arg, index, errno = _MESSAGE.unpack_from(packet)
    if kind == ERROR:
        raise Failure(index, errno, packet[_MESSAGE.size :].decode("utf-8", "backslashreplace"))
    return kind, arg


def receive_end(sock: _socket.socket) -> None:
    """Wait for the end of file: the other end is close-on-exec, and the exec has happened.

    :raises Failure: the exec failed, or what comes before it
    """
    try:
        receive(sock)
    except Gone:
        return


def acknowledge(sock: _socket.socket, arg: int = 0) -> None:
    """Tell the init to go on.

    :raises Gone: it has ended
    """
    try:
        sock.send(_MESSAGE.pack(ACK, arg, 0, 0))
    except (BrokenPipeError, ConnectionResetError):
        raise Gone from None
