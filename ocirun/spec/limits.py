"""linux.resources without the device rules and without unified: its records, and how they are read."""

from __future__ import annotations

from ..record import Record
from .readers import array, boolean, int64, map_of, record, string, uint16, uint32, uint64, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..errors import Problem
    from .readers import Int64, Place, Uint16, Uint32, Uint64


class Memory(Record):
    """linux.resources.memory, in bytes; -1 is no limit."""

    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = None
    swappiness: Uint64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record):
    """linux.resources.cpu; times in microseconds."""

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: Int64 | None = None


class Pids(Record):
    """linux.resources.pids; -1 is no limit."""

    limit: Int64 | None = None


class WeightDevice(Record):
    """One of linux.resources.blockIO.weightDevice."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class ThrottleDevice(Record):
    """One of linux.resources.blockIO.throttle*Device; rate in bytes or operations per second."""

    major: Int64
    minor: Int64
    rate: Uint64 = 0


class BlockIo(Record):
    """linux.resources.blockIO."""

    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """One of linux.resources.hugepageLimits; page_size "2MB", limit in bytes."""

    page_size: str
    limit: Uint64


class InterfacePriority(Record):
    """One of linux.resources.network.priorities."""

    name: str
    priority: Uint32


class Network(Record):
    """linux.resources.network."""

    class_id: Uint32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    """One of linux.resources.rdma."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


# How they are read

_throttle_devices = array(
    record(
        ThrottleDevice,
        ("major", "major", int64),
        ("minor", "minor", int64),
        ("rate", "rate", uint64),
    )
)


def _page_size(value: Any, place: Place, problems: list[Problem]) -> str:
    """As in the names of the hugetlb controller's files, "2MB"."""
    if type(value) is str and value[-2:] in ("KB", "MB", "GB"):
        digits = value[:-2]
        if digits.isascii() and digits.isdigit() and digits[0] != "0":
            return value
    wrong('a page size such as "2MB"', value, place, problems)
    return ""


pids = record(Pids, ("limit", "limit", int64))

block_io = record(
    BlockIo,
    ("weight", "weight", uint16),
    ("leafWeight", "leaf_weight", uint16),
    (
        "weightDevice",
        "weight_device",
        array(
            record(
                WeightDevice,
                ("major", "major", int64),
                ("minor", "minor", int64),
                ("weight", "weight", uint16),
                ("leafWeight", "leaf_weight", uint16),
            )
        ),
    ),
    ("throttleReadBpsDevice", "throttle_read_bps_device", _throttle_devices),
    ("throttleWriteBpsDevice", "throttle_write_bps_device", _throttle_devices),
    ("throttleReadIOPSDevice", "throttle_read_iops_device", _throttle_devices),
    ("throttleWriteIOPSDevice", "throttle_write_iops_device", _throttle_devices),
)

cpu = record(
    Cpu,
    ("shares", "shares", uint64),
    ("quota", "quota", int64),
    ("burst", "burst", uint64),
    ("period", "period", uint64),
    ("realtimeRuntime", "realtime_runtime", int64),
    ("realtimePeriod", "realtime_period", uint64),
    ("cpus", "cpus", string),
    ("mems", "mems", string),
    ("idle", "idle", int64),
)

hugepage_limits = array(record(HugepageLimit, ("pageSize", "page_size", _page_size), ("limit", "limit", uint64)))

memory = record(
    Memory,
    ("limit", "limit", int64),
    ("reservation", "reservation", int64),
    ("swap", "swap", int64),
    ("kernel", "kernel", int64),
    ("kernelTCP", "kernel_tcp", int64),
    ("swappiness", "swappiness", uint64),
    ("disableOOMKiller", "disable_oom_killer", boolean),
    ("useHierarchy", "use_hierarchy", boolean),
    ("checkBeforeUpdate", "check_before_update", boolean),
)

network = record(
    Network,
    ("classID", "class_id", uint32),
    (
        "priorities",
        "priorities",
        array(record(InterfacePriority, ("name", "name", string), ("priority", "priority", uint32))),
    ),
)

rdma = map_of(record(Rdma, ("hcaHandles", "hca_handles", uint32), ("hcaObjects", "hca_objects", uint32)))
