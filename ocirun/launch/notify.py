"""NOTIFY_SOCKET: a service in the container tells our caller, mostly systemd, that it is ready (sd_notify(3)), as runc
passes that on.

The container gets a socket of ours, at /run/notify. From what arrives there only READY= goes on, and after it the pid
that is to be watched; the barrier makes sure that both have been taken while we still live, since systemd looks at who
the sender is.
"""

from __future__ import annotations

import _socket
import posix
import select
from _struct import pack

from ..errors import HostError, reason_of
from ..host.procfs import is_pidfd, open_process, wait_for_end
from ..record import replace
from ..spec.model import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Spec

_INSIDE = "/run/notify"
_NAME = "notify.sock"
_BARRIER = 30  # seconds that systemd has
_LOOK = 100  # milliseconds between two looks at whether the container has ended, where that cannot be polled


def extended(spec: Spec, directory: str) -> Spec:
    """The configuration with a place for the socket, and its name in the environment."""
    options = ("bind", "nosuid", "noexec", "nodev", "ro")
    mount = Mount(destination=_INSIDE, type="bind", source=directory, options=options)
    env = (*spec.process.env, f"NOTIFY_SOCKET={_INSIDE}/{_NAME}")
    return replace(spec, mounts=(*spec.mounts, mount), process=replace(spec.process, env=env))


class Notifier:
    """The container's socket, from before its program runs until it is ready."""

    def __init__(self, caller: str, directory: str) -> None:
        """
        :param caller: the value of NOTIFY_SOCKET
        :param directory: what `extended` mounts; the socket is made in it
        :raises HostError: it cannot be made
        """
        self._caller = caller
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        opened: list[int] = []
        try:
            for path in (directory.rpartition("/")[0], directory):
                opened.append(posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC))
            own, shared = opened
            # The container may exchange what is in its directory, so the socket comes there only when it is ready.
            # (Addresses are at most 107 bytes long, other paths are not.)
            _forget(_NAME, own)  # of a start that was killed
            self._socket.bind(f"/proc/self/fd/{own}/{_NAME}")
            posix.chmod(_NAME, 0o777, dir_fd=own)  # whoever the container's process is
            posix.rename(_NAME, _NAME, src_dir_fd=own, dst_dir_fd=shared)
        except OSError as error:
            self._socket.close()
            raise HostError(f"make {directory}/{_NAME}: {reason_of(error.errno or 0)}") from None
        finally:
            for fd in opened:
                posix.close(fd)

    def pass_on(self, pid: int, main: int) -> None:
        """Wait until the container is ready, and say so; or until it has ended.

        :param pid: its PID 1
        :param main: whose end is the end of the service: that process or, as long as we wait for it, ourselves
        :raises HostError: the caller cannot be told
        """
        try:
            ready = self._ready(pid)
            if ready:
                self._tell(ready, main)
        except OSError as error:
            raise HostError(f"notify {self._caller}: {reason_of(error.errno or 0)}") from None
        finally:
            self._socket.close()

    def _ready(self, pid: int) -> bytes:
        """The line READY=..., or nothing when the process has ended."""
        try:
            process = open_process(pid)
        except ProcessLookupError:
            return b""
        try:
            poll = select.poll()
            poll.register(self._socket.fileno(), select.POLLIN)
            if is_pidfd(process):
                poll.register(process, select.POLLIN)
            while True:
                ready = [fd for fd, _ in poll.poll(_LOOK if not is_pidfd(process) else None)]
                if self._socket.fileno() in ready:
                    for line in self._socket.recv(4096).split(b"\n"):
                        if line.startswith(b"READY="):
                            return line
                elif wait_for_end(process, 0):
                    return b""
        finally:
            posix.close(process)

    def _tell(self, ready: bytes, main: int) -> None:
        address = self._caller.encode("utf-8", "surrogateescape")
        if address[:1] == b"@":  # unix(7), "abstract"
            address = b"\0" + address[1:]
        caller = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        # A queue that is full blocks (unix(7)).
        caller.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, pack("ll", _BARRIER, 0))
        read, write = posix.pipe2(posix.O_CLOEXEC)
        try:
            caller.connect(address)
            caller.send(ready + b"\n")
            caller.send(b"MAINPID=%d\n" % main)
            caller.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("i", write))])
            posix.close(write)
            write = -1
            poll = select.poll()
            poll.register(read, 0)  # the other end is closed when the messages before have been taken
            if not poll.poll(_BARRIER * 1000):
                raise HostError(f"notify {self._caller}: no answer within {_BARRIER} s")
        finally:
            caller.close()
            posix.close(read)
            if write >= 0:
                posix.close(write)


def _forget(name: str, directory: int) -> None:
    try:
        posix.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
