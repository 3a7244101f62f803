"""linux.resources as writes to cgroup files, against tables; nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
from spec.strategies import full

from ocirun.cgroup import resources
from ocirun.errors import OperationError
from ocirun.plan import parent
from ocirun.spec.limits import (
    BlockIo,
    Cpu,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    ThrottleDevice,
    WeightDevice,
)
from ocirun.spec.model import Resources
from ocirun.spec.read import read_tree

MIB = 1 << 20

# (name, resources, files on v1, files on v2); None: refused
TABLE = [
    ("nothing", Resources(), [], []),
    ("pids", Resources(pids=Pids(limit=7)), ["pids.max 7"], ["pids.max 7"]),
    ("pids unlimited", Resources(pids=Pids(limit=-1)), ["pids.max max"], ["pids.max max"]),
    ("pids zero", Resources(pids=Pids(limit=0)), ["pids.max 1"], ["pids.max 1"]),
    (
        "memory",
        Resources(memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=32 * MIB)),
        [
            "memory.limit_in_bytes 67108864",
            "memory.memsw.limit_in_bytes 100663296",
            "memory.soft_limit_in_bytes 33554432",
        ],
        ["memory.swap.max 33554432", "memory.max 67108864", "memory.low 33554432"],
    ),
    (
        "memory unlimited",
        Resources(memory=Memory(limit=-1, reservation=-1)),
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1 (may be absent)", "memory.soft_limit_in_bytes -1"],
        ["memory.swap.max max (may be absent)", "memory.max max", "memory.low max"],
    ),
    (
        "no swap",
        Resources(memory=Memory(limit=8 * MIB, swap=8 * MIB)),
        ["memory.limit_in_bytes 8388608", "memory.memsw.limit_in_bytes 8388608"],
        ["memory.swap.max 0 (may be absent)", "memory.max 8388608"],
    ),
    (
        "unlimited swap",
        Resources(memory=Memory(limit=8 * MIB, swap=-1)),
        ["memory.limit_in_bytes 8388608", "memory.memsw.limit_in_bytes -1"],
        ["memory.swap.max max (may be absent)", "memory.max 8388608"],
    ),
    (
        "swap below memory",
        Resources(memory=Memory(limit=8 * MIB, swap=4 * MIB)),
        ["memory.limit_in_bytes 8388608", "memory.memsw.limit_in_bytes 4194304"],  # the kernel refuses it
        None,
    ),
    (
        "swap without memory",
        Resources(memory=Memory(swap=4 * MIB)),
        ["memory.memsw.limit_in_bytes 4194304"],
        None,
    ),
    (
        "memory that only v1 has",
        Resources(memory=Memory(swappiness=30, disable_oom_killer=True)),
        ["memory.oom_control 1", "memory.swappiness 30"],
        [],
    ),
    (
        "what engines write for nothing",
        Resources(
            memory=Memory(
                limit=0,
                swap=0,
                reservation=0,
                kernel=0,
                kernel_tcp=0,
                swappiness=(1 << 64) - 1,
                disable_oom_killer=False,
            ),
            cpu=Cpu(shares=0, quota=0, period=0, realtime_runtime=0, realtime_period=0, cpus="", mems=""),
            block_io=BlockIo(weight=0, leaf_weight=0),
            network=Network(class_id=0),
        ),
        [],
        [],
    ),
    (
        "kernel memory",
        Resources(memory=Memory(kernel=MIB, kernel_tcp=MIB)),
        [f"memory.kmem.tcp.limit_in_bytes {MIB} (may be absent)"],
        [],
    ),
    ("swappiness", Resources(memory=Memory(swappiness=101)), None, []),
    (
        "cpu",
        Resources(cpu=Cpu(shares=512, quota=20_000, period=50_000, burst=10_000, cpus="0-1", mems="0")),
        [
            "cpuset.cpus 0-1",
            "cpuset.mems 0",
            "cpu.shares 512",
            "cpu.cfs_period_us 50000",
            "cpu.cfs_quota_us 20000",
            "cpu.cfs_burst_us 10000",
        ],
        ["cpu.weight 59", "cpu.max 20000 50000", "cpu.max.burst 10000", "cpuset.cpus 0-1", "cpuset.mems 0"],
    ),
    (
        "quota without period",
        Resources(cpu=Cpu(quota=20_000)),
        ["cpu.cfs_quota_us 20000"],
        ["cpu.max 20000 100000"],
    ),
    ("no quota", Resources(cpu=Cpu(quota=-1)), ["cpu.cfs_quota_us -1"], ["cpu.max max 100000"]),
    ("period alone", Resources(cpu=Cpu(period=5000)), ["cpu.cfs_period_us 5000"], ["cpu.max max 5000"]),
    ("burst zero", Resources(cpu=Cpu(burst=0)), ["cpu.cfs_burst_us 0"], ["cpu.max.burst 0"]),
    (
        "idle",
        Resources(cpu=Cpu(idle=1, shares=1024)),
        ["cpu.shares 1024", "cpu.idle 1"],
        ["cpu.weight 100", "cpu.idle 1"],
    ),
    (
        "real-time",
        Resources(cpu=Cpu(realtime_period=1_000_000, realtime_runtime=950_000)),
        ["cpu.rt_period_us 1000000", "cpu.rt_runtime_us 950000"],
        None,
    ),
    ("shares below the minimum", Resources(cpu=Cpu(shares=1)), None, ["cpu.weight 1"]),
    ("shares above the maximum", Resources(cpu=Cpu(shares=262_145)), None, ["cpu.weight 10000"]),
    (
        "block I/O",
        Resources(
            block_io=BlockIo(
                weight=500,
                leaf_weight=300,
                weight_device=(WeightDevice(major=8, minor=0, weight=200, leaf_weight=100),),
                throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1),),
                throttle_write_bps_device=(ThrottleDevice(major=8, minor=0, rate=2),),
                throttle_read_iops_device=(ThrottleDevice(major=8, minor=0, rate=3),),
                throttle_write_iops_device=(
                    ThrottleDevice(major=8, minor=0, rate=4),
                    ThrottleDevice(major=8, minor=16, rate=5),
                ),
            )
        ),
        [
            "blkio.weight 500 (may be absent)",
            "blkio.bfq.weight 500 (instead)",
            "blkio.leaf_weight 300",
            "blkio.weight_device 8:0 200 (may be absent)",
            "blkio.bfq.weight_device 8:0 200 (instead)",
            "blkio.leaf_weight_device 8:0 100",
            "blkio.throttle.read_bps_device 8:0 1",
            "blkio.throttle.write_bps_device 8:0 2",
            "blkio.throttle.read_iops_device 8:0 3",
            "blkio.throttle.write_iops_device 8:0 4",
            "blkio.throttle.write_iops_device 8:16 5",
        ],
        [
            "io.bfq.weight 500 (may be absent)",
            "io.weight 4950 (instead)",
            "io.bfq.weight 8:0 200 (may be absent)",
            "io.max 8:0 rbps=1",
            "io.max 8:0 wbps=2",
            "io.max 8:0 riops=3",
            "io.max 8:0 wiops=4",
            "io.max 8:16 wiops=5",
        ],
    ),
    (
        "huge pages",
        Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 * MIB),)),
        ["hugetlb.2MB.limit_in_bytes 4194304", "hugetlb.2MB.rsvd.limit_in_bytes 4194304 (may be absent)"],
        ["hugetlb.2MB.max 4194304", "hugetlb.2MB.rsvd.max 4194304 (may be absent)"],
    ),
    (
        "network",
        Resources(
            network=Network(
                class_id=0x100001,
                priorities=(InterfacePriority(name="lo", priority=5), InterfacePriority(name="eth0", priority=6)),
            )
        ),
        ["net_cls.classid 1048577", "net_prio.ifpriomap lo 5/eth0 6"],
        [],
    ),
    (
        "rdma",
        Resources(rdma={"mlx5_1": Rdma(hca_handles=3, hca_objects=10000), "mlx4_0": Rdma(hca_objects=1)}),
        ["rdma.max mlx5_1 hca_handle=3 hca_object=10000", "rdma.max mlx4_0 hca_object=1"],
        ["rdma.max mlx5_1 hca_handle=3 hca_object=10000", "rdma.max mlx4_0 hca_object=1"],
    ),
    ("unified", Resources(unified={"memory.high": "1000000"}), None, ["memory.high 1000000"]),
    ("unified is last", Resources(unified={"pids.max": "9"}, pids=Pids(limit=3)), None, ["pids.max 3", "pids.max 9"]),
    ("unified with a slash", Resources(unified={"../memory.high": "1"}), None, None),
    ("unified without a controller", Resources(unified={"high": "1"}), None, None),
]

_MARKS = {parent.REQUIRED: "", parent.ABSENT_OK: " (may be absent)", parent.ALTERNATIVE: " (instead)"}


def written(settings: list[tuple[str, str, str, int]]) -> list[str]:
    lines = []
    for pointer, file, value, optional in settings:
        assert pointer.startswith("/linux/resources/"), file
        lines.append(f"{file} {value}{_MARKS[optional]}".replace("\n", "/"))
    return lines


@pytest.mark.parametrize(("given", "on_v1", "on_v2"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(given: Resources, on_v1: list[str] | None, on_v2: list[str] | None) -> None:
    for convert, expected in ((resources.v1, on_v1), (resources.v2, on_v2)):
        if expected is None:
            with pytest.raises(OperationError) as caught:
                convert(given)
            assert caught.value.pointer.startswith("/linux/resources/")
        else:
            assert written(convert(given)) == expected


def test_a_whole_configuration() -> None:
    """All that config.json can say, from its text on."""
    given = full()["linux"]["resources"]
    given["hugepageLimits"] = [{"pageSize": "1GB", "limit": 1 << 30}]
    given["memory"]["swap"] = 1 << 30
    del given["unified"]  # of v2
    assert written(resources.v1(read(given))) == [
        "cpuset.cpus 2-3",
        "cpuset.mems 0-7",
        "cpu.shares 1024",
        "cpu.cfs_period_us 500000",
        "cpu.cfs_quota_us 1000000",
        "cpu.cfs_burst_us 100",
        "cpu.idle 1",
        "cpu.rt_period_us 1000000",
        "cpu.rt_runtime_us 950000",
        "memory.limit_in_bytes 536870912",
        "memory.memsw.limit_in_bytes 1073741824",
        "memory.soft_limit_in_bytes 268435456",
        "memory.kmem.tcp.limit_in_bytes -1 (may be absent)",
        "memory.oom_control 1",
        "memory.swappiness 60",
        "pids.max 100",
        "blkio.weight 10 (may be absent)",
        "blkio.bfq.weight 10 (instead)",
        "blkio.leaf_weight 20",
        "blkio.weight_device 8:1 500 (may be absent)",
        "blkio.bfq.weight_device 8:1 500 (instead)",
        "blkio.leaf_weight_device 8:1 300",
        "blkio.throttle.read_bps_device 8:16 1048576",
        "blkio.throttle.write_bps_device 8:16 1048576",
        "blkio.throttle.read_iops_device 8:16 1048576",
        "blkio.throttle.write_iops_device 8:16 1048576",
        "hugetlb.1GB.limit_in_bytes 1073741824",
        "hugetlb.1GB.rsvd.limit_in_bytes 1073741824 (may be absent)",
        "net_cls.classid 1048577",
        "net_prio.ifpriomap eth0 500",
        "rdma.max mlx5_1 hca_handle=3 hca_object=10000",
    ]
    given["unified"] = {"memory.high": "1"}
    del given["cpu"]["realtimeRuntime"], given["cpu"]["realtimePeriod"]  # of v1
    assert written(resources.v2(read(given))) == [
        "pids.max 100",
        "memory.swap.max 536870912",
        "memory.max 536870912",
        "memory.low 268435456",
        "io.bfq.weight 10 (may be absent)",
        "io.weight 1 (instead)",
        "io.bfq.weight 8:1 500 (may be absent)",
        "io.max 8:16 rbps=1048576",
        "io.max 8:16 wbps=1048576",
        "io.max 8:16 riops=1048576",
        "io.max 8:16 wiops=1048576",
        "cpu.weight 100",
        "cpu.idle 1",
        "cpu.max 1000000 500000",
        "cpu.max.burst 100",
        "cpuset.cpus 2-3",
        "cpuset.mems 0-7",
        "hugetlb.1GB.max 1073741824",
        "hugetlb.1GB.rsvd.max 1073741824 (may be absent)",
        "rdma.max mlx5_1 hca_handle=3 hca_object=10000",
        "memory.high 1",
    ]


def read(given: dict[str, Any]) -> Resources:
    """linux.resources as a record, as it is read from a configuration."""
    found = read_tree({"linux": {"resources": given}}, []).linux.resources
    assert found is not None
    return found


def test_pointers() -> None:
    """A failed write names the property it came from."""
    given = Resources(
        memory=Memory(limit=-1),
        block_io=BlockIo(
            throttle_read_iops_device=(ThrottleDevice(major=8, minor=0), ThrottleDevice(major=8, minor=16))
        ),
    )
    assert [setting[0] for setting in resources.v2(given)] == [
        "/linux/resources/memory/limit",
        "/linux/resources/memory/limit",
        "/linux/resources/blockIO/throttleReadIOPSDevice/0",
        "/linux/resources/blockIO/throttleReadIOPSDevice/1",
    ]
    assert resources.v2(Resources(unified={"memory.a~b": "1"}))[0][0] == "/linux/resources/unified/memory.a~0b"


@pytest.mark.parametrize(
    ("shares", "weight"),
    # the ends, the default, half of it, and Kubernetes' 100 milli-CPUs
    [(1, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (262_143, 10_000), (262_144, 10_000)],
)
def test_weight_of_shares(shares: int, weight: int) -> None:
    assert resources.weight_of_shares(shares) == weight


def test_weights_rise_with_shares() -> None:
    weights = [resources.weight_of_shares(1 << bit) for bit in range(1, 19)]
    assert weights == sorted(set(weights))
    assert weights[0] >= 1


@pytest.mark.parametrize(
    ("limit", "swap", "expected"),
    [
        (0, 0, None),
        (100, 0, None),
        (-1, 0, "max"),
        (100, -1, "max"),
        (0, -1, "max"),
        (-1, 50, "50"),
        (100, 100, "0"),
        (100, 150, "50"),
        (-1, -1, "max"),
    ],
)
def test_swap_of(limit: int, swap: int, expected: str | None) -> None:
    assert resources.swap_of(limit, swap) == expected
