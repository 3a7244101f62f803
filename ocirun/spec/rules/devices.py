"""The rules of linux.devices and linux.netDevices."""

from __future__ import annotations

from ..pointer import child
from ..readers import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import model
    from ..devices import Device
    from .breach import Breach


def breaches(linux: model.Linux) -> Iterator[Breach]:
    paths: dict[tuple[str, ...], Device] = {}
    for index, device in enumerate(linux.devices):
        at = f"/linux/devices/{index}"
        if device.path[:1] != "/":
            yield f"{at}/path", "expected an absolute path", quoted(device.path), ()
        if device.type != "p":
            for number, name in ((device.major, "major"), (device.minor, "minor")):
                if number is None:
                    yield f"{at}/{name}", f'expected a number for a device of type "{device.type}"', "none", ()
        # 12 and 20 bits: <linux/kdev_t.h>
        if device.major is not None and not 0 <= device.major < 1 << 12:
            yield f"{at}/major", "expected an integer from 0 to 4095", str(device.major), ()
        if device.minor is not None and not 0 <= device.minor < 1 << 20:
            yield f"{at}/minor", "expected an integer from 0 to 1048575", str(device.minor), ()
        path = tuple([part for part in device.path.split("/") if part not in ("", ".")])
        first = paths.setdefault(path, device)
        if any([getattr(device, field) != getattr(first, field) for field in device._fields if field != "path"]):
            yield f"{at}/path", "expected a path that no other device has", quoted(device.path), ()
    names = set()
    for host, interface in linux.net_devices.items():
        at, name = child("/linux/netDevices", host), interface.name or host
        if not _is_interface(host) or "%" in host:
            yield at, "expected the name of a network device", quoted(host), ()
        if interface.name and (not _is_interface(interface.name) or "%" in interface.name.replace("%d", "", 1)):
            expected = 'expected the name of a network device, or a template for one such as "eth%d"'
            yield f"{at}/name", expected, quoted(interface.name), ()
        if name in names:
            yield at, "expected a name that no other device gets", quoted(name), ()
        if "%" not in name:
            names.add(name)


def _is_interface(name: str) -> bool:
    """dev_valid_name() in the kernel's net/core/dev.c, whose isspace() knows bytes of Latin-1."""
    data = name.encode("utf-8", "surrogateescape")
    return 0 < len(data) < 16 and name not in (".", "..") and not any(byte in b"/:\t\n\v\f\r \xa0" for byte in data)
