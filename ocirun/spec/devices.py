"""linux.devices and linux.netDevices: their records, and how they are read."""

from __future__ import annotations

from ..record import Record
from .readers import array, int64, map_of, one_of, record, string, uint32

TYPE_CHECKING = False
if TYPE_CHECKING:

    from .readers import Int64, Uint32


class Device(Record):
    """One of linux.devices; type is "c", "u", "b" or "p", file_mode as for chmod(2)."""

    type: str
    path: str
    major: Int64 | None = None
    minor: Int64 | None = None
    file_mode: Uint32 | None = None
    uid: Uint32 | None = None
    gid: Uint32 | None = None


class NetDevice(Record):
    """One of linux.netDevices: a host's interface, and its name in the container if that differs."""

    name: str | None = None


# How they are read

devices = array(
    record(
        Device,
        ("type", "type", one_of(("c", "u", "b", "p"))),
        ("path", "path", string),
        ("major", "major", int64),
        ("minor", "minor", int64),
        ("fileMode", "file_mode", uint32),
        ("uid", "uid", uint32),
        ("gid", "gid", uint32),
    )
)

net_devices = map_of(record(NetDevice, ("name", "name", string)))
