"""What the runtime and its init say to each other: native/init/wire.h from this side (the picture is there).

Nothing that is heard is believed for its own sake: somebody in the container may have got hold of the init's end
(pidfd_getfd(2)). A message counts once, where it is due, and from the process whose turn it is, as the kernel says
(SCM_CREDENTIALS, unix(7)); and that an exec has happened is what the kernel says of the process.
"""

from __future__ import annotations

import _socket
import select
from _struct import Struct

from ..host.procfs import has_executed, wait_for_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .child import Child

MAPS, PID, MOUNTS, READY, ERROR, ACK, LISTENER = range(1, 8)

_NAMES = ("", "MAPS", "PID", "MOUNTS", "READY", "ERROR", "ACK", "LISTENER")
_MESSAGE = Struct("=IiIi")
_LARGEST = _MESSAGE.size + 4096
_ERRNO_MAX = 4095  # of the kernel's include/linux/err.h
_CREDENTIALS = Struct("=iII")  # struct ucred: pid (in our pid namespace), uid, gid
# Room for the credentials alone: descriptors that somebody sends along are dropped by the kernel.
_ROOM = _socket.CMSG_LEN(_CREDENTIALS.size)
_LOOK = 50  # milliseconds between two looks at a process that nothing else tells of
_FAULTS = 20  # so many looks may fail


class Failure(Exception):
    """The init reported that a record of its plan failed."""

    def __init__(self, index: int, errno: int, text: str) -> None:
        super().__init__(index, errno, text)
        self.index = index
        self.errno = errno
        self.text = text


class Gone(Exception):
    """The init ended, or hung up, without a word."""


class Breach(Exception):
    """What was heard is not what was due; str() says what it is."""


class Wire:
    """The runtime's end, and the process that is to speak at the other one."""

    def __init__(self) -> None:
        kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
        self._socket, self.theirs = _socket.socketpair(_socket.AF_UNIX, kind, 0)
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)
        self._speaker: Child | None = None
        self._timeout: int | None = None
        self._silent = False  # its end is closed, by whomever
        self._faults = 0  # looks for the exec that have failed

    def listen_to(self, speaker: Child) -> None:
        """From now on it is this process's turn, and its end ends every wait."""
        if self._speaker is not None and self._timeout is None:
            self._poll.unregister(self._speaker.process)
        self._speaker = speaker
        self._timeout = None if speaker.pollable else _LOOK
        if self._timeout is None:
            self._poll.register(speaker.process, select.POLLIN)

    def descriptors(self) -> tuple[int, ...]:
        """For who waits by himself: something is said, or the process has ended, when one is readable."""
        speaker = self._speaker
        return (self._socket.fileno(), *((speaker.process,) if speaker and speaker.pollable else ()))

    def hear(self, due: int) -> int:
        """Wait for the message that is due. Its arg.

        :raises Failure: an ERROR came instead
        :raises Gone: end of file, or the process has ended
        :raises Breach: something else came
        """
        speaker = self._speaker
        assert speaker is not None
        while not self.wait(self._timeout):
            pass
        packet, sender = self._receive()
        if not packet:
            raise Gone
        if sender != speaker.pid:
            raise Breach(f"a message of process {sender} where process {speaker.pid} is to speak")
        kind, arg = _read(packet)
        if kind != due:
            raise Breach(f"{_name(kind)} where {_name(due)} is due")
        return arg

    def hears_exec(self) -> bool:
        """Wait a moment for the exec of the process; has it happened? End of file says that it is time to look: the
        init's end is close-on-exec.

        Whoever else has got that end can keep it open, or shut it down, or write to it; the process's flags tell.

        :raises Failure: the exec failed, or what comes before it
        :raises Gone: the process has ended before
        :raises Breach: something else came from it
        """
        speaker = self._speaker
        assert speaker is not None
        silent = self._silent
        try:
            ended = wait_for_end(speaker.process, _LOOK) if silent else self.wait(_LOOK) and self._has_ended()
            packet, sender = (None, 0) if silent else self._receive()
            self._silent = silent = silent or packet == b""
            try:
                alive, executed = has_executed(speaker.pid)
            except (ProcessLookupError, PermissionError):  # reaped (SIGCHLD is ignored), or hidden (hidepid= of /proc)
                alive, executed = not ended, silent
        except OSError:  # no memory, no descriptor: the program may run already, and that is no failure then
            self._faults += 1
            if self._faults > _FAULTS:
                raise
            select.poll().poll(_LOOK)
            return False
        if executed:
            return True
        if packet and sender == speaker.pid:
            kind, _ = _read(packet)
            raise Breach(f"{_name(kind)} where the exec is due")
        if not alive:
            raise Gone
        return False

    def wait(self, milliseconds: int | None) -> bool:
        """Wait until there is something to hear or the process has ended: false when the time is over before."""
        return bool(self._poll.poll(milliseconds)) or self._has_ended()

    def acknowledge(self) -> None:
        """Tell the init to go on.

        :raises Gone: it has ended
        """
        try:
            self._socket.send(_MESSAGE.pack(ACK, 0, 0, 0), _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            raise Gone from None

    def close(self) -> None:
        """An init that still waits gives up."""
        self._socket.close()
        self.theirs.close()

    def _has_ended(self) -> bool:
        return self._speaker is not None and wait_for_end(self._speaker.process, 0)

    def _receive(self) -> tuple[bytes | None, int]:
        """A packet, None for no packet, b"" at the end of file; and whose it is."""
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(_LARGEST + 1, _ROOM, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None, 0
        except ConnectionResetError:  # the init died with our ACK unread
            return b"", 0
        for level, kind, data in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS and len(data) == _CREDENTIALS.size:
                return packet, _CREDENTIALS.unpack(data)[0]
        return packet, 0


def _read(packet: bytes) -> tuple[int, int]:
    """Type and arg of a packet.

    :raises Failure: it is an ERROR
    :raises Breach: it is no message
    """
    if len(packet) < _MESSAGE.size:
        raise Breach("a message that is too short")
    kind, arg, index, errno = _MESSAGE.unpack_from(packet)
    if len(packet) > (_LARGEST if kind == ERROR else _MESSAGE.size):
        raise Breach("a message that is too long")
    if kind == ERROR:
        if not 0 <= errno <= _ERRNO_MAX:
            raise Breach(f"the error number {errno}")
        raise Failure(index, errno, packet[_MESSAGE.size :].decode("utf-8", "backslashreplace"))
    return kind, arg


def _name(kind: int) -> str:
    return _NAMES[kind] if 0 < kind < len(_NAMES) else f"a message of type {kind}"
