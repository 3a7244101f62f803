"""Network devices, their addresses and routes, in any network namespace: rtnetlink(7).

The package pyroute2 knows the messages. Its sockets are not used: they need an event loop of asyncio, of which a thread
can run only one, and so would fail in programs that run one themselves.
"""

from __future__ import annotations

import _socket
import posix
import sys
from _struct import Struct

from ..errors import HostError
from ..record import Record
from .native import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ENODEV, _EEXIST = 19, 17
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 16, 18, 20, 22, 24, 26
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12
_HEADER = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ERRNO = Struct("=i")
_ATTRIBUTE = Struct("=HH")  # struct nlattr: length, type
_FAMILIES = (_socket.AF_INET, _socket.AF_INET6)
_UP = 0x1  # IFF_UP
# Of an address's flags those that somebody chose: nodad, home, mngtmpaddr, noprefixroute, autojoin (ip-address(8)).
_CHOSEN = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
_COPIED = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST", "IFA_ANYCAST", "IFA_CACHEINFO", "IFA_RT_PRIORITY", "IFA_PROTO")
# Routes that the kernel makes by itself, of addresses, redirects and router advertisements (RTPROT_*).
_BY_THE_KERNEL = (1, 2, 9)
_ROUTE = Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags
_KEPT = 0x2 | 0x4  # of a route's flags: pervasive and onlink; the others are its state


class Interface(Record):
    """A network device."""

    index: int
    name: str
    up: bool
    master: int  # index of the bridge or bond that it is a port of, 0 for none


class Address(Record):
    """An address of a network device."""

    family: int
    prefix: int
    scope: int
    flags: int
    label: str | None  # IPv4 only: the device's name, or that and ":ANYTHING"
    attributes: tuple[tuple[str, Any], ...]

    def is_permanent_and_global(self) -> bool:
        return bool(self.flags & 0x80) and self.scope == 0  # IFA_F_PERMANENT, RT_SCOPE_UNIVERSE


class Netlink:
    """A socket of one network namespace. Methods raise OSError, with the kernel's own words where it has some."""

    def __init__(self, namespace: int) -> None:
        """
        :param namespace: a descriptor of it
        :raises HostError: pyroute2 is missing
        """
        self._link, self._address, self._route = _messages()
        fd = lib.sys_route_socket(namespace)
        if fd < 0:
            raise OSError(-fd, posix.strerror(-fd))
        self._socket = _socket.socket(fileno=fd)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):  # the last: dumps of one device only
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._number = 0

    def close(self) -> None:
        self._socket.close()

    def find(self, which: str | int) -> Interface | None:
        """The device of this index, or that has this name, if only as an alternative one."""
        try:
            if isinstance(which, str):
                answer = self._ask(self._link, _GETLINK, 0, [("IFLA_IFNAME", which)])
            else:
                answer = self._ask(self._link, _GETLINK, 0, [], index=which)
        except OSError as error:
            if error.errno == _ENODEV:
                return None
            raise
        link = self._decoded(self._link, next(answer))
        return Interface(
            index=link["index"],
            name=link.get_attr("IFLA_IFNAME"),
            up=bool(link["flags"] & _UP),
            master=link.get_attr("IFLA_MASTER") or 0,
        )

    def change(self, index: int, **attributes: Any) -> None:
        """Set attributes of a device."""
        self._ask(self._link, _NEWLINK, _ACK, list(attributes.items()), index=index)

    def set_up(self, index: int) -> None:
        self._ask(self._link, _NEWLINK, _ACK, [], index=index, flags=_UP, change=_UP)

    def addresses(self, index: int) -> list[Address]:
        """All that a device has, in an order in which they can be added."""
        found = []
        for family in _FAMILIES:
            for message in self._ask(self._address, _GETADDR, _DUMP, [], family=family, index=index):
                one = self._decoded(self._address, message)
                if one["family"] != family:  # a kernel without IPv6 answers with the other
                    continue
                attributes = tuple((name, value) for name, value in one["attrs"] if name in _COPIED)
                flags = one.get_attr("IFA_FLAGS") or one["flags"]
                found.append(
                    Address(
                        family=family, prefix=one["prefixlen"], scope=one["scope"], flags=flags,
                        label=one.get_attr("IFA_LABEL"), attributes=attributes,
                    )
                )  # fmt: skip
        return found

    def add_address(self, index: int, address: Address, label: str | None) -> None:
        attributes = [*address.attributes, ("IFA_FLAGS", address.flags & _CHOSEN)]
        if label:
            attributes.append(("IFA_LABEL", label))
        self._ask(
            self._address, _NEWADDR, _ACK | _CREATE | _EXCLUSIVE, attributes,
            family=address.family, prefixlen=address.prefix, scope=address.scope, index=index,
        )  # fmt: skip

    def routes(self, index: int) -> list[bytes]:
        """Those through a device that somebody has made, each as what `add_route` takes."""
        found = []
        for family in _FAMILIES:
            for message in self._ask(self._route, _GETROUTE, _DUMP, [("RTA_OIF", index)], family=family):
                *fields, flags = _ROUTE.unpack_from(message, _HEADER.size)
                if fields[0] == family and fields[5] not in _BY_THE_KERNEL:
                    rest = message[_HEADER.size + _ROUTE.size :]
                    found.append(_ROUTE.pack(*fields, flags & _KEPT) + rest)
        return found

    def add_route(self, route: bytes) -> None:
        self._send(_NEWROUTE, _ACK | _CREATE | _EXCLUSIVE, route)

    def _ask(
        self, form: Any, kind: int, flags: int, attributes: list[tuple[str, Any]], /, **fields: int
    ) -> Iterator[bytes]:
        message = form()
        for name, value in fields.items():
            message[name] = value
        message["attrs"] = attributes
        message.encode()
        return self._send(kind, flags, bytes(message.data[_HEADER.size :]))

    def _send(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        """Send a request; the messages that answer it."""
        self._number += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._number, 0) + body)
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 16)
            at = 0
            while at < len(data):
                length, kind, _, number, _ = _HEADER.unpack_from(data, at)
                message = data[at : at + length]
                at += length + 3 & ~3
                if number != self._number:
                    continue
                if kind == _ERROR:
                    _check(message)
                elif kind != _DONE:
                    answers.append(message)
                if kind in (_ERROR, _DONE) or not flags & _DUMP:
                    return iter(answers)

    @staticmethod
    def _decoded(form: Any, data: bytes) -> Any:
        message = form(data)
        message.decode()
        return message


def _check(message: bytes) -> None:
    """Raise what an NLMSG_ERROR says: an errno, the header of what it answers, and attributes (netlink(7))."""
    (number,) = _ERRNO.unpack_from(message, _HEADER.size)
    if number == 0:
        return
    reason = posix.strerror(-number)
    at = _HEADER.size + _ERRNO.size + _HEADER.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == 1:  # NLMSGERR_ATTR_MSG
            reason += ": " + message[at + _ATTRIBUTE.size : at + length].rstrip(b"\0").decode(errors="replace")
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    raise OSError(-number, reason)


def _messages() -> tuple[Any, Any, Any]:
    """pyroute2's messages for devices, addresses and routes.

    Without executing its __init__.py, which imports 250 modules more (80 ms); and it is forgotten again, so that those
    who import it after us get the whole of it.
    """
    from importlib.machinery import PathFinder

    whole = "pyroute2" in sys.modules
    if not whole:
        spec = PathFinder.find_spec("pyroute2")
        if spec is None:
            raise HostError("the Python package pyroute2 is needed")
        package = type(sys)("pyroute2")
        package.__path__ = spec.submodule_search_locations or []
        sys.modules["pyroute2"] = package
    try:
        from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
        from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
        from pyroute2.netlink.rtnl.rtmsg import rtmsg
    except ImportError as reason:
        raise HostError(f"the Python package pyroute2 is needed: {reason}") from None
    finally:
        if not whole:
            for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
                del sys.modules[name]
    return ifinfmsg, ifaddrmsg, rtmsg
