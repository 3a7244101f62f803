"""Resources on cgroup v1: every value, as the files of the hierarchies have it."""

from __future__ import annotations

import os
from pathlib import Path

from ..engine import Container, Trial
from ..runtime import CommandError
from . import case
from .cgroups import limited

MIB = 1 << 20

VALUES: tuple[tuple[str, str, dict[str, object], str, str], ...] = (
    ("memory.limit", "memory", {"memory": {"limit": 64 * MIB}}, "memory.limit_in_bytes", str(64 * MIB)),
    (
        "memory.reservation",
        "memory",
        {"memory": {"reservation": 32 * MIB}},
        "memory.soft_limit_in_bytes",
        str(32 * MIB),
    ),
    (
        "memory.swap",
        "memory",
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        "memory.memsw.limit_in_bytes",
        str(96 * MIB),
    ),
    (
        "memory.kernel-tcp",
        "memory",
        {"memory": {"kernelTCP": 16 * MIB}},
        "memory.kmem.tcp.limit_in_bytes",
        str(16 * MIB),
    ),
    ("memory.swappiness", "memory", {"memory": {"swappiness": 37}}, "memory.swappiness", "37"),
    (
        "memory.use-hierarchy",
        "memory",
        {"memory": {"useHierarchy": True, "limit": 64 * MIB}},
        "memory.use_hierarchy",
        "1",
    ),
    ("cpu.shares", "cpu", {"cpu": {"shares": 517}}, "cpu.shares", "517"),
    ("cpu.quota", "cpu", {"cpu": {"quota": 30000, "period": 60000}}, "cpu.cfs_quota_us", "30000"),
    ("cpu.period", "cpu", {"cpu": {"quota": 30000, "period": 60000}}, "cpu.cfs_period_us", "60000"),
    ("cpu.burst", "cpu", {"cpu": {"quota": 30000, "period": 60000, "burst": 12000}}, "cpu.cfs_burst_us", "12000"),
    (
        "cpu.realtime-runtime",
        "cpu",
        {"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 11000}},
        "cpu.rt_runtime_us",
        "11000",
    ),
    (
        "cpu.realtime-period",
        "cpu",
        {"cpu": {"realtimePeriod": 900000, "realtimeRuntime": 9000}},
        "cpu.rt_period_us",
        "900000",
    ),
    ("cpu.cpus", "cpuset", {"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
    ("cpu.mems", "cpuset", {"cpu": {"mems": "0"}}, "cpuset.mems", "0"),
    ("cpu.idle", "cpu", {"cpu": {"idle": 1}}, "cpu.idle", "1"),
    ("pids.limit", "pids", {"pids": {"limit": 77}}, "pids.max", "77"),
    ("network.class-id", "net_cls", {"network": {"classID": 0x100001}}, "net_cls.classid", str(0x100001)),
)
"""Codes below config-linux.resources, the controller, the resources, the file, and what it must hold."""


def lacking(trial: Trial, controller: str, *files: str) -> str:
    """Why a cgroup of this kernel has none of these files, or ""."""
    container = trial.create(trial.bundle().args("pause"))
    directory = container.cgroups().get(controller)
    if directory is None:
        raise CommandError(f"the container is in no cgroup of {controller}")
    there = any((directory / file).exists() for file in files)
    return "" if there else f"this kernel's cgroups have no {' or '.join(files)}"


def _value(code: str, controller: str, resources: dict[str, object], file: str, wanted: str) -> None:
    @case(
        f"config-linux.resources.{code}",
        needs=("root", "cgroup-v1", f"controller:{controller}"),
        name=code.replace("-", "_").replace(".", "_"),
    )
    def value(trial: Trial) -> None:
        """The value is in the file of the container's cgroup."""
        missing = lacking(trial, controller, file)
        if missing:
            trial.impossible(missing)
        found = limited(trial, **resources).cgroup_file(controller, file)
        trial.equal(f"config-linux.resources.{code}", file, wanted, found)

    _ = value


for _row in VALUES:
    _value(*_row)


@case("config-linux.resources.memory.unlimited", needs=("root", "cgroup-v1", "controller:memory"))
def memory_unlimited(trial: Trial) -> None:
    """-1 is no limit: the kernel shows the largest number of pages."""
    found = limited(trial, memory={"limit": -1, "swap": -1}).cgroup_file("memory", "memory.limit_in_bytes")
    trial.check(
        "config-linux.resources.memory.unlimited", int(found) > 1 << 60, "memory.limit_in_bytes: no limit", found
    )


@case("config-linux.resources.memory.disable-oom-killer", needs=("root", "cgroup-v1", "controller:memory"))
def disable_oom_killer(trial: Trial) -> None:
    """The killer is disabled where that is asked for, and only there."""
    missing = lacking(trial, "memory", "memory.oom_control")
    if missing:
        trial.impossible(missing)
    for value in (True, False):
        text = limited(trial, memory={"limit": 64 * MIB, "disableOOMKiller": value}).cgroup_file(
            "memory", "memory.oom_control"
        )
        trial.check(
            "config-linux.resources.memory.disable-oom-killer",
            f"oom_kill_disable {int(value)}" in text,
            f"memory.oom_control: oom_kill_disable {int(value)}",
            text,
        )


def disk() -> str:
    """The numbers of a whole block device of this host, as 8:0; "" where there is none."""
    for name in sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else []:
        if not name.startswith(("ram", "zram", "loop", "md", "dm-")):
            return Path("/sys/block", name, "dev").read_text().strip()
    return ""


THROTTLES = {
    "throttle-read-bps": ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    "throttle-write-bps": ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    "throttle-read-iops": ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    "throttle-write-iops": ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
}
"""Codes below config-linux.resources.block-io, the property, the file of v1, and the word of v2's io.max."""


def throttled(trial: Trial) -> tuple[str, dict[str, int], Container]:
    """A container with a rate for each throttle, on a disk of this host."""
    numbers = disk()
    if not numbers:
        trial.impossible("this host has no block device")
    major, minor = (int(word) for word in numbers.split(":"))
    rates = {code: 1000003 + place for place, code in enumerate(THROTTLES)}
    limits = {THROTTLES[code][0]: [{"major": major, "minor": minor, "rate": rate}] for code, rate in rates.items()}
    return numbers, rates, limited(trial, blockIO=limits)


@case(
    *(f"config-linux.resources.block-io.{code}" for code in THROTTLES), needs=("root", "cgroup-v1", "controller:blkio")
)
def throttles(trial: Trial) -> None:
    """The rates of a disk are in the files."""
    missing = lacking(trial, "blkio", "blkio.throttle.read_bps_device")
    if missing:
        trial.impossible(missing)
    numbers, rates, container = throttled(trial)
    for code, (_, file, _) in THROTTLES.items():
        trial.equal(
            f"config-linux.resources.block-io.{code}",
            file,
            f"{numbers} {rates[code]}",
            container.cgroup_file("blkio", file),
        )


@case("config-linux.resources.block-io.weight", needs=("root", "cgroup-v1", "controller:blkio"))
def weight(trial: Trial) -> None:
    """The weight is in the file of the scheduler that the kernel has."""
    missing = lacking(trial, "blkio", "blkio.weight", "blkio.bfq.weight")
    if missing:
        trial.impossible(missing)
    container = limited(trial, blockIO={"weight": 321})
    for file in ("blkio.weight", "blkio.bfq.weight"):
        if (container.cgroups()["blkio"] / file).exists():
            trial.equal("config-linux.resources.block-io.weight", file, "321", container.cgroup_file("blkio", file))


@case("config-linux.resources.block-io.weight-device", needs=("root", "cgroup-v1", "controller:blkio"))
def weight_device(trial: Trial) -> None:
    """The weight of a disk is in the file of the scheduler that the kernel has."""
    missing = lacking(trial, "blkio", "blkio.weight_device", "blkio.bfq.weight_device")
    if missing:
        trial.impossible(missing)
    numbers = disk()
    if not numbers:
        trial.impossible("this host has no block device")
    if "[bfq]" not in Path("/sys/dev/block", numbers, "queue", "scheduler").read_text():
        trial.impossible(f"the scheduler of the disk {numbers} is not bfq, which alone knows weights")
    major, minor = (int(word) for word in numbers.split(":"))
    container = limited(trial, blockIO={"weightDevice": [{"major": major, "minor": minor, "weight": 432}]})
    for file in ("blkio.weight_device", "blkio.bfq.weight_device"):
        if (container.cgroups()["blkio"] / file).exists():
            found = container.cgroup_file("blkio", file)
            trial.check(
                "config-linux.resources.block-io.weight-device",
                f"{numbers} 432" in found,
                f"{file}: {numbers} 432",
                found,
            )


def check_page_limits(trial: Trial, controller: str, suffix: str) -> None:
    """A limit for each size of pages, read back.

    :param controller: as for Container.cgroup_file()
    :param suffix: of the files
    """
    sizes = page_sizes()
    if not sizes:
        trial.impossible("this kernel has no huge pages")
    container = limited(trial, hugepageLimits=[{"pageSize": size, "limit": 8 << 30} for size in sizes])
    for size in sizes:
        found = []
        for file in (f"hugetlb.{size}.rsvd.{suffix}", f"hugetlb.{size}.{suffix}"):
            try:
                found.append(container.cgroup_file(controller, file))
            except CommandError:
                continue
        trial.check(
            "config-linux.resources.hugepage-limits", str(8 << 30) in found, f"limit of {size} pages: {8 << 30}", found
        )


def page_sizes() -> list[str]:
    """The sizes of huge pages of this kernel, as 2MB."""
    result = []
    directory = Path("/sys/kernel/mm/hugepages")
    for name in sorted(os.listdir(directory)) if directory.is_dir() else []:
        kib = int(name.removeprefix("hugepages-").removesuffix("kB"))
        result.append(f"{kib >> 20}GB" if kib >= 1 << 20 else f"{kib >> 10}MB" if kib >= 1 << 10 else f"{kib}KB")
    return result


@case("config-linux.resources.hugepage-limits", needs=("root", "cgroup-v1", "controller:hugetlb"))
def hugepage_limits(trial: Trial) -> None:
    """The limit of each size of pages is in the file for reservations, where the kernel has one, or for use."""
    check_page_limits(trial, "hugetlb", "limit_in_bytes")


@case("config-linux.resources.network.priorities", needs=("root", "cgroup-v1", "controller:net_prio"))
def network_priorities(trial: Trial) -> None:
    """The priority of a device is in net_prio.ifpriomap."""
    container = limited(trial, network={"priorities": [{"name": "lo", "priority": 5}]})
    found = container.cgroup_file("net_prio", "net_prio.ifpriomap").splitlines()
    trial.check("config-linux.resources.network.priorities", "lo 5" in found, "net_prio.ifpriomap: lo 5", found)


@case("config-linux.resources.rdma", needs=("root", "controller:rdma", "path:/sys/class/infiniband"))
def rdma(trial: Trial) -> None:
    """The limits of a device are in rdma.max."""
    devices = sorted(os.listdir("/sys/class/infiniband"))
    if not devices:
        trial.impossible("this host has no RDMA device")
    container = limited(trial, rdma={devices[0]: {"hcaHandles": 3, "hcaObjects": 1000}})
    name = "rdma" if "rdma" in container.cgroups() else "unified"
    found = container.cgroup_file(name, "rdma.max")
    trial.check(
        "config-linux.resources.rdma",
        f"{devices[0]} hca_handle=3 hca_object=1000" in found,
        "rdma.max with both limits",
        found,
    )


@case("config-linux.resources.hugepage-limits.page-size.unknown", needs=("root", "controller:hugetlb"))
def hugepage_size_unknown(trial: Trial) -> None:
    """A size of pages that the kernel does not have is an error."""
    bundle = trial.bundle()
    bundle.resources(hugepageLimits=[{"pageSize": "3MB", "limit": 3 << 20}])
    trial.refused("config-linux.resources.hugepage-limits.page-size.unknown", bundle, "pages of 3MB")
