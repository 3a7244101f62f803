"""linux.netDevices: devices that move into the container's network namespace (config-linux.md, "Network Devices").

On its way a device loses everything that belongs to a namespace: it is set down, its addresses and routes are gone, and
it is no longer a port of a bridge. The container gets those addresses that are permanent and global, and the device set
up. When its creation fails, the host gets all of it back.

When the namespace ends, the kernel destroys virtual devices, and takes physical ones to the initial namespace, under
the names that they have by then. A namespace that was joined goes on, and so do they in it. The specification wants
runtimes to leave it at that: nothing of this happens at `delete`.
"""

from __future__ import annotations

import posix

from .. import steps
from ..errors import HostError, OperationError, reason_of
from ..host.netlink import Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..host.netlink import Address, Interface
    from ..plan.ops import Operation

_ENODEV, _EEXIST, _EINVAL = 19, 17, 22


class _Device:
    """One of them: as it was, and where it is."""

    def __init__(self, wanted: str, interface: Interface) -> None:
        self.name = interface.name
        self.wanted = wanted  # may be a template, "eth%d"
        self.interface = interface
        self.addresses: list[Address] = []
        self.routes: list[bytes] = []
        self.there = 0  # its index in the container's namespace


class Devices:
    """The devices of one container: moved to it and, should its creation fail, given back."""

    def __init__(self, pid: int, operations: Sequence[Operation]) -> None:
        """
        :param pid: a process in the container's network namespace
        :raises HostError: the namespace cannot be reached
        """
        self._operations = operations
        self._moved: list[_Device] = []
        self._namespaces: list[int] = []
        self._sockets: list[Netlink] = []
        try:
            # Not /proc/self: who uses us as a library may have threads in several namespaces.
            for process in ("thread-self", str(pid)):
                namespace = posix.open(f"/proc/{process}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
                self._namespaces.append(namespace)
                self._sockets.append(Netlink(namespace))
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                reason = reason_of(error.errno or 0)
                raise HostError(f"reach the container's network namespace: {reason}") from None
            raise
        self._here, self._there = self._sockets

    def close(self) -> None:
        """They are the container's now. Until then the namespace cannot end."""
        for socket in self._sockets:
            socket.close()
        for fd in self._namespaces:
            posix.close(fd)
        self._sockets.clear()
        self._namespaces.clear()

    def move(self) -> None:
        """Move all of them. None is touched before all have been looked at.

        :raises OperationError: one cannot be moved
        """
        found: dict[int, tuple[Operation, _Device]] = {}
        for operation in self._operations:
            _told(operation, self._find, found, operation)
        # A template gets a free number, so when the other names are taken.
        for operation, device in sorted(found.values(), key=lambda one: "%" in one[1].wanted):
            steps.begin(operation)
            _told(operation, self._move, device)

    def give_back(self) -> None:
        """Have them in the host as they were, as far as the host lets us."""
        while self._moved:
            self._return(self._moved.pop())

    def _find(self, found: dict[int, tuple[Operation, _Device]], operation: Operation) -> None:
        name, wanted = operation.values
        own, other = map(posix.fstat, self._namespaces)
        if (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino):
            raise OSError(_EINVAL, "the container's network namespace is the runtime's own")
        interface = self._here.find(name)
        if interface is None:
            raise OSError(_ENODEV, "no such device in the runtime's network namespace")
        if interface.index in found:  # one has several names (ip-link(8), altname)
            raise OSError(_EINVAL, f"it is the device of {found[interface.index][0].pointer}")
        wanted = wanted if wanted != name else interface.name
        if "%" not in wanted and self._there.find(wanted):
            raise OSError(_EEXIST, f"the container's network namespace has a device {wanted} already")
        found[interface.index] = (operation, _Device(wanted, interface))

    def _move(self, device: _Device) -> None:
        index = device.interface.index
        device.addresses = self._here.addresses(index)
        device.routes = self._here.routes(index)
        name = self._free(device.wanted)
        try:
            self._here.change(index, IFLA_NET_NS_FD=self._namespaces[1], IFLA_IFNAME=name)
        except OSError as error:
            if self._here.find(device.name) is None:  # the kernel renames after the move, and does not move back
                self._arrived(device, device.name)
            if error.errno == _EINVAL:
                raise OSError(_EINVAL, f"it may not leave its network namespace ({error.strerror})") from None
            raise
        self._arrived(device, name)
        for address in device.addresses:
            if address.is_permanent_and_global():
                self._there.add_address(device.there, address, _relabelled(address.label, device.name, name))
        self._there.set_up(device.there)

    def _arrived(self, device: _Device, name: str) -> None:
        interface = self._there.find(name)
        if interface is None:
            raise OSError(_ENODEV, f"moved, but there is no {name} in the container's network namespace")
        device.there = interface.index
        self._moved.append(device)

    def _free(self, wanted: str) -> str:
        if "%" not in wanted:
            return wanted
        number = 0
        while self._there.find(wanted % number):
            number += 1
        return wanted % number

    def _return(self, device: _Device) -> None:
        was = device.interface
        same: dict[str, Any] = {"IFLA_IFNAME": device.name, "IFLA_NEW_IFINDEX": was.index}
        # The name or the index can be taken meanwhile. The last one is what the kernel would do.
        for how in (same, {"IFLA_IFNAME": device.name}, {"IFLA_IFNAME": "dev%d"}):
            _tried(self._there.change, device.there, IFLA_NET_NS_FD=self._namespaces[0], **how)
            if self._there.find(device.there) is None:  # even if it could not be renamed after that
                break
        interface = self._here.find(was.index)
        if interface is None:
            return
        if was.master:
            _tried(self._here.change, interface.index, IFLA_MASTER=was.master)
        for address in device.addresses:
            _tried(self._here.add_address, interface.index, address, address.label)
        if was.up:
            _tried(self._here.set_up, interface.index)
            for route in device.routes * 2:  # one may need another that comes later
                _tried(self._here.add_route, route)


def _told(operation: Operation, do: Callable[..., Any], *arguments: Any) -> Any:
    """:raises OperationError: for an OSError"""
    try:
        return do(*arguments)
    except OSError as error:
        from ..plan.show import describe

        text = error.strerror or reason_of(error.errno or 0)
        reason = text[:1].lower() + text[1:]
        raise OperationError(describe(operation), operation.pointer, error.errno or 0, reason) from None


def _tried(do: Callable[..., None], *arguments: Any, **named: Any) -> bool:
    try:
        do(*arguments, **named)
    except OSError:
        return False
    return True


def _relabelled(label: str | None, old: str, new: str) -> str | None:
    """ "eth0:1" as a label of the device under its new name, if it is short enough (IFNAMSIZ)."""
    if not label or label.partition(":")[0] != old:
        return None
    label = new + label[len(old) :]
    return label if len(label.encode()) < 16 else None
