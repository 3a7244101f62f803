"""systemd's manager, the host's or a user's, asked over D-Bus (org.freedesktop.systemd1(5), D-Bus specification).

The package jeepney knows the messages. Its connections are not used: they wait without an end, and say who they are by
a uid, which in a user namespace is another one than the bus sees.
"""

from __future__ import annotations

import _socket
import posix
import time
from _struct import Struct

from ..errors import Error, HostError, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECONDS = 30.0  # that systemd has for an answer, and again for a job
_LONGEST = 1 << 24  # bytes of a message that is believed to be one
_NAME, _PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
_BUS = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_JOBS = f"type='signal',sender='{_NAME}',path='{_PATH}',interface='{_MANAGER}',member='JobRemoved'"
_TIMEVAL = Struct("@ll")
_ERROR_REPLY, _SIGNAL = 3, 4  # D-Bus specification, "Message Format"


class Refused(Error):
    """systemd's answer is an error; ``name`` is the D-Bus name of it."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"systemd: {text or name}")
        self.name = name


class Manager:
    """A connection with a manager. Methods raise HostError when it breaks or lasts too long, and Refused."""

    def __init__(self, user: bool, job: bool = True) -> None:
        """
        :param user: the user's systemd, not the host's
        :param job: wants to wait for jobs
        :raises HostError: there is no such systemd
        """
        try:
            from jeepney import low_level, wrappers  # 20 ms, and only containers of systemd need it
        except ImportError as error:
            raise HostError(f"the Python package jeepney is needed for --systemd-cgroup: {error}") from None
        self._low_level, self._wrappers = low_level, wrappers
        self.whose = "the user's systemd" if user else "systemd"
        self._parser = low_level.Parser()
        self._serial = 0
        self._removed: dict[str, str] = {}  # jobs that are over, and their results
        self._socket, bus, begun = _connect(user, self.whose)
        self._parser.add_data(begun)
        try:
            if bus:
                self._call("Hello", *_BUS)
                if job:
                    self._call("AddMatch", *_BUS, "s", (_JOBS,))
                    self.call("Subscribe")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def property(self, name: str) -> Any:
        """A property of the manager."""
        interface = "org.freedesktop.DBus.Properties"
        reply = self._call("Get", _PATH, _NAME, interface, "ss", (_MANAGER, name))
        if len(reply) != 1 or not isinstance(reply[0], tuple):
            raise HostError(f"{self.whose}: an answer of another form")
        return reply[0][1]

    def version(self) -> int:
        """systemd's, 0 where it says none: "257.8-1~deb13u2" is 257."""
        text = str(self.property("Version")).lstrip("v")
        length = next((at for at, character in enumerate(text) if not character.isdigit()), len(text))
        return int(text[:length] or 0)

    def call(self, member: str, signature: str = "", body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        """Call a method of the manager and return what it returns."""
        return self._call(member, _PATH, _NAME, _MANAGER, signature, body)

    def job(self, member: str, signature: str, body: tuple[Any, ...]) -> str:
        """Call a method that returns a job, and wait until that is over: its result, "done" where it succeeded."""
        reply = self.call(member, signature, body)
        if len(reply) != 1 or not isinstance(reply[0], str):
            raise HostError(f"{self.whose}: an answer of another form")
        deadline = time.monotonic() + SECONDS
        while reply[0] not in self._removed:
            self._receive(deadline, f"the job of {member}")
        return self._removed[reply[0]]

    def _call(
        self,
        member: str,
        path: str,
        destination: str,
        interface: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
    ) -> tuple[Any, ...]:
        address = self._wrappers.DBusAddress(path, destination, interface)
        self._serial += 1
        try:
            message = self._wrappers.new_method_call(address, member, signature or None, body)
            data = message.serialise(serial=self._serial)
        except Exception as error:  # a value that the package does not take
            raise HostError(f"{self.whose}: {member} cannot be said: {error}") from None
        deadline = time.monotonic() + SECONDS
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise HostError(f"{self.whose}: {member}: {_reason(error)}") from None
        while True:
            fields, kind, reply = self._receive(deadline, member)
            if fields.get(self._low_level.HeaderFields.reply_serial) != self._serial:
                continue
            if kind == _ERROR_REPLY:
                text = reply[0] if reply and isinstance(reply[0], str) else ""
                raise Refused(str(fields.get(self._low_level.HeaderFields.error_name, "")), text)
            return reply

    def _receive(self, deadline: float, what: str) -> tuple[dict[Any, Any], int, tuple[Any, ...]]:
        """The next message: its header's fields, its kind and its content. Jobs that are over are noted."""
        try:
            while (message := self._parser.get_next_message()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self._parser.buf.bytes_buffered > _LONGEST:
                    raise TimeoutError
                self._socket.settimeout(left)
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionResetError(104, "")
                self._parser.add_data(data)
            fields, kind = message.header.fields, message.header.message_type.value
            body = tuple(message.body)
        except TimeoutError:
            raise HostError(f"{self.whose}: no answer to {what} within {SECONDS:g} s") from None
        except OSError as error:
            raise HostError(f"{self.whose}: {what}: {_reason(error)}") from None
        except Exception as error:  # whatever the package meets in bytes that are no message
            raise HostError(f"{self.whose}: {what}: an answer that is no message: {error}") from None
        if kind == _SIGNAL and fields.get(self._low_level.HeaderFields.member) == "JobRemoved" and len(body) == 4:
            self._removed[body[1]] = body[3]
        return fields, kind, body


def _connect(user: bool, whose: str) -> tuple[_socket.socket, bool, bytes]:
    """A socket that is ready for messages, whether there is a bus between us and systemd, and what was already heard.

    :raises HostError: there is none
    """
    why = ""
    for address, bus in _addresses(user):
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            # connect(2) to a busy socket waits for its queue so long, where a non-blocking one would just fail.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, _TIMEVAL.pack(int(SECONDS), 0))
            sock.connect(address)
            sock.settimeout(SECONDS)
            return sock, bus, _authenticate(sock)
        except OSError as error:
            sock.close()
            shown = address.replace("\0", "@")
            why = f"{why}; {shown}: {_reason(error)}" if why else f"{shown}: {_reason(error)}"
    if user:
        if not why:
            why = "$DBUS_SESSION_BUS_ADDRESS and $XDG_RUNTIME_DIR name no D-Bus session"
        why += " (an ordinary user needs a session with D-Bus: a login or `loginctl enable-linger`, dbus-user-session)"
    elif not posix.access("/run/systemd/system", posix.F_OK):
        why = f"systemd is not running on this host, which --systemd-cgroup needs: {why}"
    raise HostError(f"connect to {whose} by D-Bus: {why}")


def _addresses(user: bool) -> list[tuple[str, bool]]:
    """The sockets to try, and whether each is a bus's: systemd has one of its own, too."""
    given = _environment("DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS")
    if given:
        from jeepney.bus import get_connectable_addresses

        try:
            return [(address, True) for address in get_connectable_addresses(given)]
        except (ValueError, RuntimeError):
            raise HostError(f"no address of a D-Bus socket: {given}") from None
    if not user:
        return [("/run/systemd/private", False), ("/run/dbus/system_bus_socket", True)]
    directory = _environment("XDG_RUNTIME_DIR")
    return [(f"{directory}/bus", True), (f"{directory}/systemd/private", False)] if directory else []


def _environment(name: str) -> str:
    return posix.environ.get(name.encode(), b"").decode("utf-8", "surrogateescape")


def _authenticate(sock: _socket.socket) -> bytes:
    """D-Bus specification, "Authentication Protocol": EXTERNAL, as whom the kernel says that we are.

    All in one write, as libsystemd does it. What comes together with BEGIN stays with systemd until more comes, and a
    message must not. The other way they do: systemd's own socket tells everybody of its units at once.

    :return: what has come after the answer: the beginning of messages
    :raises OSError: refused
    """
    sock.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
    said = b""
    while said.count(b"\r\n") < 2 and len(said) < 1024:
        data = sock.recv(1024)
        if not data:
            raise ConnectionResetError(104, "")
        said += data
        if not (b"DATA\r\nOK ".startswith(said) or said.startswith(b"DATA\r\nOK ")):
            raise OSError(f"the bus refuses us: {' '.join(said.decode('ascii', 'replace').split())}")
    return said.split(b"\r\n", 2)[-1] if said.count(b"\r\n") > 1 else b""


def _reason(error: OSError) -> str:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return f"no answer within {SECONDS:g} s"
    return reason_of(error.errno) if error.errno else str(error)
