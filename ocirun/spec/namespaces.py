"""What a container may set in a namespace of its own: the maps of a user namespace, the offsets of a time namespace,
sysctls.
"""

from __future__ import annotations

from ..record import Record
from .readers import array, int64, map_of, record, uint32

TYPE_CHECKING = False
if TYPE_CHECKING:

    from .readers import Int64, Uint32


class IdMapping(Record):
    """A range of user or group ids, user_namespaces(7)."""

    container_id: Uint32
    host_id: Uint32
    size: Uint32


class TimeOffset(Record):
    """One of linux.timeOffsets, time_namespaces(7)."""

    secs: Int64 = 0
    nanosecs: Uint32 = 0


# How they are read

id_mappings = array(
    record(
        IdMapping,
        ("containerID", "container_id", uint32),
        ("hostID", "host_id", uint32),
        ("size", "size", uint32),
    )
)

time_offsets = map_of(record(TimeOffset, ("secs", "secs", int64), ("nanosecs", "nanosecs", uint32)))


# What their settings mean


def on_the_host(id: int, mappings: tuple[IdMapping, ...]) -> int | None:
    """What an id of the container is outside; None for one that is not mapped."""
    for mapping in mappings:
        if mapping.container_id <= id < mapping.container_id + mapping.size:
            return mapping.host_id + id - mapping.container_id
    return None


def map_text(mappings: tuple[IdMapping, ...]) -> str:
    """What is written to /proc/PID/uid_map or gid_map."""
    return "".join([f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings])


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a sysctl's name.

    As sysctl(8) and runc: the first separator in the name, "." or "/", is the separator of it all, and the other one
    stands for a "." in a component: "net.ipv4.conf.eth0/1.forwarding" and "net/ipv4/conf/eth0.1/forwarding".
    """
    dot, slash = key.find("."), key.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return "/".join([part.replace("/", ".") for part in key.split(".")])
