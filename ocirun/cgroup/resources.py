"""linux.resources as writes to cgroup files, for v1 and for v2 (config-linux.md; the kernel's cgroup-v1/ and
cgroup-v2.rst). Pure: what is written where, nothing is looked up.

A Setting is (JSON pointer, file, value, optional), the last as in plan/parent.py. Its controller is the file's name up
to the first dot. A value of several lines is as many writes. Devices are in devices.py. Zero and absent are the same
for most properties, as in runc: engines write zeros for what nobody asked for. The limit of kernel memory is ignored,
as the kernel does since 5.16.
"""

from __future__ import annotations

from ..errors import OperationError
from ..plan.parent import ABSENT_OK, ALTERNATIVE, REQUIRED
from ..spec.pointer import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.limits import BlockIo, Cpu, Memory
    from ..spec.model import Resources

    Setting = tuple[str, str, str, int]

_ROOT = "/linux/resources"
_UNLIMITED = -1
_DEFAULT_PERIOD = 100_000  # microseconds, the kernel's
_MIN_SHARES, _MAX_SHARES, _MAX_WEIGHT = 2, 262_144, 10_000
_THROTTLES = (
    ("throttleReadBpsDevice", "throttle_read_bps_device", "read_bps", "rbps"),
    ("throttleWriteBpsDevice", "throttle_write_bps_device", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "throttle_read_iops_device", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "throttle_write_iops_device", "write_iops", "wiops"),
)


def v1(resources: Resources) -> list[Setting]:
    """The writes on cgroup v1, in the order that a new cgroup needs.

    :raises OperationError: a value that v1 cannot have
    """
    settings: list[Setting] = []
    if resources.unified:
        raise OperationError(
            "set unified resources", f"{_ROOT}/unified", 0, "invalid configuration: cannot use unified on cgroup v1"
        )
    if resources.cpu:
        settings += _cpuset(resources.cpu)
        settings += _cpu_v1(resources.cpu)
    if resources.memory:
        settings += _memory_v1(resources.memory)
    settings += _pids(resources)
    if resources.block_io:
        settings += _blkio_v1(resources.block_io)
    settings += _hugetlb(resources, "limit_in_bytes")
    network = resources.network
    if network and network.class_id:
        settings.append((f"{_ROOT}/network/classID", "net_cls.classid", str(network.class_id), REQUIRED))
    if network and network.priorities:
        lines = "\n".join(f"{p.name} {p.priority}" for p in network.priorities)
        settings.append((f"{_ROOT}/network/priorities", "net_prio.ifpriomap", lines, REQUIRED))
    settings += _rdma(resources)
    return settings


def v2(resources: Resources) -> list[Setting]:
    """The writes on cgroup v2. As in runc, what v2 has no knob for is left out where it only tunes: swappiness,
    disableOOMKiller, kernelTCP, leafWeight, classID and priorities.

    :raises OperationError: a value that cannot be translated to v2
    """
    settings: list[Setting] = []
    settings += _pids(resources)
    if resources.memory:
        settings += _memory_v2(resources.memory)
    if resources.block_io:
        settings += _io_v2(resources.block_io)
    if resources.cpu:
        settings += _cpu_v2(resources.cpu)
        settings += _cpuset(resources.cpu)
    settings += _hugetlb(resources, "max")
    settings += _rdma(resources)
    for file, value in resources.unified.items():
        pointer = child(f"{_ROOT}/unified", file)
        what = f"set unified resource {file!r}"
        if "/" in file or file in ("", ".", ".."):
            raise OperationError(what, pointer, 0, "must be a file name (no slashes)")
        if "." not in file:
            raise OperationError(what, pointer, 0, "must be in the form CONTROLLER.PARAMETER")
        settings.append((pointer, file, value, REQUIRED))
    return settings


def _cpuset(cpu: Cpu) -> list[Setting]:
    settings: list[Setting] = []
    if cpu.cpus:
        settings.append((f"{_ROOT}/cpu/cpus", "cpuset.cpus", cpu.cpus, REQUIRED))
    if cpu.mems:
        settings.append((f"{_ROOT}/cpu/mems", "cpuset.mems", cpu.mems, REQUIRED))
    return settings


def _cpu_v1(cpu: Cpu) -> list[Setting]:
    settings: list[Setting] = []
    if cpu.shares:
        # The kernel would take others, and use the nearest of these in silence.
        for bound, wrong in (("minimum", cpu.shares < _MIN_SHARES), ("maximum", cpu.shares > _MAX_SHARES)):
            if wrong:
                limit = _MIN_SHARES if bound == "minimum" else _MAX_SHARES
                raise OperationError(
                    f"set cpu.shares to {cpu.shares}",
                    f"{_ROOT}/cpu/shares",
                    0,
                    f"the {bound} allowed cpu-shares is {limit}",
                )
    # The burst must not exceed the quota, nor real-time runtime its period.
    for name, file, value, given in (
        ("shares", "cpu.shares", cpu.shares, bool(cpu.shares)),
        ("period", "cpu.cfs_period_us", cpu.period, bool(cpu.period)),
        ("quota", "cpu.cfs_quota_us", cpu.quota, bool(cpu.quota)),
        ("burst", "cpu.cfs_burst_us", cpu.burst, cpu.burst is not None),
        ("idle", "cpu.idle", cpu.idle, cpu.idle is not None),
        ("realtimePeriod", "cpu.rt_period_us", cpu.realtime_period, bool(cpu.realtime_period)),
        ("realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime, bool(cpu.realtime_runtime)),
    ):
        if given:
            settings.append((f"{_ROOT}/cpu/{name}", file, str(value), REQUIRED))
    return settings


def _cpu_v2(cpu: Cpu) -> list[Setting]:
    settings: list[Setting] = []
    for name, value in (("realtimePeriod", cpu.realtime_period), ("realtimeRuntime", cpu.realtime_runtime)):
        if value:
            raise OperationError("set real-time limits", f"{_ROOT}/cpu/{name}", 0, "not supported on cgroup v2")
    if cpu.shares:  # before idle: an idle cgroup takes no weight
        settings.append((f"{_ROOT}/cpu/shares", "cpu.weight", str(weight_of_shares(cpu.shares)), REQUIRED))
    if cpu.idle is not None:
        settings.append((f"{_ROOT}/cpu/idle", "cpu.idle", str(cpu.idle), REQUIRED))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        pointer = f"{_ROOT}/cpu/quota" if cpu.quota else f"{_ROOT}/cpu/period"
        settings.append((pointer, "cpu.max", f"{quota} {cpu.period or _DEFAULT_PERIOD}", REQUIRED))
    if cpu.burst is not None:
        settings.append((f"{_ROOT}/cpu/burst", "cpu.max.burst", str(cpu.burst), REQUIRED))
    return settings


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1 to 10000, default 100) for cpu.shares (2 to 262144, default 1024).

    runc's formula since 1.3.2: the parabola through the three pairs, on logarithmic scales, so that 1024 is 100.
    """
    if shares <= _MIN_SHARES:
        return 1
    if shares >= _MAX_SHARES:
        return _MAX_WEIGHT
    from math import ceil, log2

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def _memory_v1(memory: Memory) -> list[Setting]:
    settings: list[Setting] = []
    if memory.limit:
        settings.append((f"{_ROOT}/memory/limit", "memory.limit_in_bytes", str(memory.limit), REQUIRED))
    if memory.swap:
        settings.append((f"{_ROOT}/memory/swap", "memory.memsw.limit_in_bytes", str(memory.swap), REQUIRED))
    elif memory.limit == _UNLIMITED:
        # Without swap accounting there is no such file, and nothing to lift.
        settings.append((f"{_ROOT}/memory/limit", "memory.memsw.limit_in_bytes", "-1", ABSENT_OK))
    if memory.reservation:
        settings.append(
            (f"{_ROOT}/memory/reservation", "memory.soft_limit_in_bytes", str(memory.reservation), REQUIRED)
        )
    if memory.kernel_tcp:  # gone from newer kernels
        settings.append(
            (f"{_ROOT}/memory/kernelTCP", "memory.kmem.tcp.limit_in_bytes", str(memory.kernel_tcp), ABSENT_OK)
        )
    if memory.disable_oom_killer:
        settings.append((f"{_ROOT}/memory/disableOOMKiller", "memory.oom_control", "1", REQUIRED))
    # Docker writes 2**64-1, -1 as an unsigned number, for "not given".
    if memory.swappiness is not None and memory.swappiness != (1 << 64) - 1:
        if memory.swappiness > 100:
            raise OperationError(
                "set memory.swappiness",
                f"{_ROOT}/memory/swappiness",
                0,
                f"invalid memory swappiness value: {memory.swappiness} (valid range is 0-100)",
            )
        settings.append((f"{_ROOT}/memory/swappiness", "memory.swappiness", str(memory.swappiness), REQUIRED))
    return settings


def _memory_v2(memory: Memory) -> list[Setting]:
    settings: list[Setting] = []
    swap = swap_of(memory.limit or 0, memory.swap or 0)
    if swap is not None:
        # A kernel without swap has no such file: no limit and no swap at all are true there anyway.
        optional = ABSENT_OK if swap in ("max", "0") else REQUIRED
        pointer = f"{_ROOT}/memory/swap" if memory.swap else f"{_ROOT}/memory/limit"
        settings.append((pointer, "memory.swap.max", swap, optional))
    if memory.limit:
        settings.append((f"{_ROOT}/memory/limit", "memory.max", _or_max(memory.limit), REQUIRED))
    if memory.reservation:
        settings.append((f"{_ROOT}/memory/reservation", "memory.low", _or_max(memory.reservation), REQUIRED))
    return settings


def swap_of(limit: int, swap: int) -> str | None:
    """memory.swap.max of v2, which counts swap alone, for memory.swap of the specification, which is memory and swap.

    :param limit: bytes, -1 for none, 0 for not given; likewise ``swap``
    :returns: None where nothing is to be written
    :raises OperationError: they do not go together
    """
    if swap == 0:
        return "max" if limit == _UNLIMITED else None
    if swap == _UNLIMITED:
        return "max"
    if limit == _UNLIMITED:
        return str(swap)
    if limit == 0:
        reason = "unable to set swap limit without memory limit"
    elif swap < limit:
        reason = "memory+swap limit should be >= memory limit"
    else:
        return str(swap - limit)
    raise OperationError("set memory.swap.max", f"{_ROOT}/memory/swap", 0, reason)


def _pids(resources: Resources) -> list[Setting]:
    if resources.pids is None or resources.pids.limit is None:
        return []
    limit = resources.pids.limit
    # 0 is a limit. It becomes 1 as in runc, whose systemd driver cannot write 0: the container's one process is in
    # the cgroup already when it would fork, so that both mean "no other".
    value = "max" if limit < 0 else str(max(limit, 1))
    return [(f"{_ROOT}/pids/limit", "pids.max", value, REQUIRED)]


def _blkio_v1(block_io: BlockIo) -> list[Setting]:
    settings: list[Setting] = []
    root = f"{_ROOT}/blockIO"
    # "blkio.weight" came from the CFQ scheduler, gone since Linux 5.0 but for patched kernels; BFQ has its own file.
    if block_io.weight:
        value = str(block_io.weight)
        settings.append((f"{root}/weight", "blkio.weight", value, ABSENT_OK))
        settings.append((f"{root}/weight", "blkio.bfq.weight", value, ALTERNATIVE))
    if block_io.leaf_weight:
        settings.append((f"{root}/leafWeight", "blkio.leaf_weight", str(block_io.leaf_weight), REQUIRED))
    for index, device in enumerate(block_io.weight_device):
        number = f"{device.major}:{device.minor}"
        pointer = f"{root}/weightDevice/{index}"
        if device.weight:
            value = f"{number} {device.weight}"
            settings.append((pointer, "blkio.weight_device", value, ABSENT_OK))
            settings.append((pointer, "blkio.bfq.weight_device", value, ALTERNATIVE))
        if device.leaf_weight:
            settings.append((pointer, "blkio.leaf_weight_device", f"{number} {device.leaf_weight}", REQUIRED))
    for key, field, file, _ in _THROTTLES:
        for index, device in enumerate(getattr(block_io, field)):
            value = f"{device.major}:{device.minor} {device.rate}"
            settings.append((f"{root}/{key}/{index}", f"blkio.throttle.{file}_device", value, REQUIRED))
    return settings


def _io_v2(block_io: BlockIo) -> list[Setting]:
    settings: list[Setting] = []
    root = f"{_ROOT}/blockIO"
    if block_io.weight:
        settings.append((f"{root}/weight", "io.bfq.weight", str(block_io.weight), ABSENT_OK))
        # 10 to 1000 becomes 1 to 10000 (io.cost)
        weight = 1 + (block_io.weight - 10) * 9999 // 990
        settings.append((f"{root}/weight", "io.weight", str(weight), ALTERNATIVE))
    for index, device in enumerate(block_io.weight_device):
        if device.weight:
            value = f"{device.major}:{device.minor} {device.weight}"
            settings.append((f"{root}/weightDevice/{index}", "io.bfq.weight", value, ABSENT_OK))
    for key, field, _, name in _THROTTLES:
        for index, device in enumerate(getattr(block_io, field)):
            value = f"{device.major}:{device.minor} {name}={device.rate}"
            settings.append((f"{root}/{key}/{index}", "io.max", value, REQUIRED))
    return settings


def _hugetlb(resources: Resources, suffix: str) -> list[Setting]:
    settings: list[Setting] = []
    for index, limit in enumerate(resources.hugepage_limits):
        pointer = f"{_ROOT}/hugepageLimits/{index}"
        file, value = f"hugetlb.{limit.page_size}", str(limit.limit)
        settings.append((pointer, f"{file}.{suffix}", value, REQUIRED))
        settings.append((pointer, f"{file}.rsvd.{suffix}", value, ABSENT_OK))  # Linux 5.7: what mmap(2) reserves
    return settings


def _rdma(resources: Resources) -> list[Setting]:
    settings: list[Setting] = []
    for device, limit in resources.rdma.items():
        words = [device]
        if limit.hca_handles is not None:
            words.append(f"hca_handle={limit.hca_handles}")
        if limit.hca_objects is not None:
            words.append(f"hca_object={limit.hca_objects}")
        pointer = child(f"{_ROOT}/rdma", device)
        settings.append((pointer, "rdma.max", " ".join(words), REQUIRED))
    return settings


def _or_max(value: int) -> str:
    return "max" if value == _UNLIMITED else str(value)
