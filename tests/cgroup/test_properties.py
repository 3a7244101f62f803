"""What systemd is told: limits, device rules and annotations as properties of a unit, as runc tells them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocirun.cgroup import properties, resources
from ocirun.errors import ConfigError
from ocirun.spec.limits import BlockIo, Cpu, Memory, Pids
from ocirun.spec.model import DeviceRule, Resources

MAX = (1 << 64) - 1
MIB = 1 << 20


def told(wanted: Resources, version2: bool = True, **options: bool) -> dict[str, tuple[str, Any]]:
    settings = resources.v2(wanted) if version2 else resources.v1(wanted)
    found = properties.of_settings(settings, **({"bfq": False, "starting": True} | options))
    assert len({name for name, _, _, _ in found}) == len(found)
    return {name: (signature, value) for name, signature, value, _ in found}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Resources(), {}),
        (Resources(memory=Memory(limit=64 * MIB)), {"MemoryMax": ("t", 64 * MIB)}),
        (
            Resources(memory=Memory(limit=64 * MIB, swap=96 * MIB, reservation=MIB)),
            {"MemoryMax": ("t", 64 * MIB), "MemorySwapMax": ("t", 32 * MIB), "MemoryLow": ("t", MIB)},
        ),
        (Resources(memory=Memory(limit=-1)), {"MemoryMax": ("t", MAX), "MemorySwapMax": ("t", MAX)}),
        (Resources(cpu=Cpu(shares=1024)), {"CPUWeight": ("t", 100)}),
        (Resources(cpu=Cpu(idle=1, shares=512)), {"CPUWeight": ("t", 0)}),
        (Resources(cpu=Cpu(idle=0, shares=1024)), {"CPUWeight": ("t", 100)}),
        (Resources(cpu=Cpu(idle=0)), {"CPUWeight": ("t", MAX)}),
        (
            Resources(cpu=Cpu(quota=50_000, period=100_000)),
            {"CPUQuotaPerSecUSec": ("t", 500_000), "CPUQuotaPeriodUSec": ("t", 100_000)},
        ),
        (
            Resources(cpu=Cpu(quota=12_345, period=100_000)),
            {"CPUQuotaPerSecUSec": ("t", 123_500), "CPUQuotaPeriodUSec": ("t", 100_000)},
        ),
        (
            Resources(cpu=Cpu(quota=-1, period=50_000)),
            {"CPUQuotaPerSecUSec": ("t", MAX), "CPUQuotaPeriodUSec": ("t", 50_000)},
        ),
        (
            Resources(cpu=Cpu(cpus="0-2,9", mems="0")),
            {"AllowedCPUs": ("ay", b"\7\2"), "AllowedMemoryNodes": ("ay", b"\1")},
        ),
        (Resources(pids=Pids(limit=7)), {"TasksMax": ("t", 7)}),
        (Resources(pids=Pids(limit=-1)), {"TasksMax": ("t", MAX)}),
        (Resources(block_io=BlockIo(weight=500)), {"IOWeight": ("t", 4950)}),
        (
            Resources(unified={"memory.high": "1G", "memory.min": "4096", "memory.zswap.max": "max"}),
            {"MemoryHigh": ("t", 1 << 30), "MemoryMin": ("t", 4096), "MemoryZSwapMax": ("t", MAX)},
        ),
        (
            Resources(unified={"cpu.max": "max 50000", "pids.max": "max", "cpu.weight": " 99 "}),
            {
                "CPUQuotaPerSecUSec": ("t", MAX),
                "CPUQuotaPeriodUSec": ("t", 50_000),
                "TasksMax": ("t", MAX),
                "CPUWeight": ("t", 99),
            },
        ),
        # The later write counts, as in the files.
        (Resources(pids=Pids(limit=7), unified={"pids.max": "8"}), {"TasksMax": ("t", 8)}),
        (Resources(unified={"memory.oom.group": "1"}), {"OOMPolicy": ("s", "kill")}),
        # What systemd has no property for, and what the kernel will refuse.
        (Resources(unified={"hugetlb.2MB.max": "0", "cpu.max.burst": "1", "io.max": "1:2 rbps=3"}), {}),
        (Resources(unified={"pids.max": "many", "cpuset.cpus": "a-b", "memory.max": "-3", "cpu.max": "x"}), {}),
    ],
)
def test_limits_of_v2(wanted: Resources, expected: dict[str, tuple[str, Any]]) -> None:
    assert told(wanted) == expected


def test_limits_of_v1() -> None:
    wanted = Resources(
        memory=Memory(limit=64 * MIB, swap=-1),
        cpu=Cpu(shares=512, quota=20_000, period=50_000),
        pids=Pids(limit=9),
        block_io=BlockIo(weight=500),
    )
    assert told(wanted, version2=False) == {
        "MemoryLimit": ("t", 64 * MIB),
        "CPUShares": ("t", 512),
        "CPUQuotaPerSecUSec": ("t", 400_000),
        "CPUQuotaPeriodUSec": ("t", 50_000),
        "TasksMax": ("t", 9),
        "BlockIOWeight": ("t", 500),
    }


def test_an_update_does_not_change_what_happens_without_memory() -> None:
    assert told(Resources(unified={"memory.oom.group": "1"}), starting=False) == {}


@given(st.integers(10, 1000))
def test_weights_of_bfq(weight: int) -> None:
    """systemd's own mapping from IOWeight gives the weight that was asked for."""
    ((_, value),) = told(Resources(block_io=BlockIo(weight=weight)), bfq=True).values()
    bfq = value if value <= 100 else 100 + (value - 100) * (1000 - 100) // (10_000 - 100)
    assert bfq == weight
    assert 1 <= value <= 10_000


@given(st.integers(1000, 10**9), st.integers(1000, 10**6))
def test_no_less_cpu_than_asked_for(quota: int, period: int) -> None:
    share = told(Resources(cpu=Cpu(quota=quota, period=period)))["CPUQuotaPerSecUSec"][1]
    assert 0 <= share * period - quota * 10**6 < 200 * period
    assert share % 100 == 0  # CPUQuota= has hundredths of a percent


@given(st.sets(st.integers(0, 300), min_size=1))
def test_any_cpus(cpus: set[int]) -> None:
    bits = int.from_bytes(properties.mask(",".join(map(str, sorted(cpus)))), "little")
    assert {number for number in range(301) if bits >> number & 1} == cpus


def rule(allow: bool, access: str, kind: str | None = None, major: int | None = None, minor: int | None = None) -> Any:
    return DeviceRule(allow=allow, access=access, type=kind, major=major, minor=minor)


NOTHING = rule(False, "rwm")


def test_devices() -> None:
    """A list of what is allowed, emptied first."""
    rules = (NOTHING, rule(True, "rw", "b", 8, 0), rule(True, "r", "c", 10, None), rule(True, "m", "u", 4, 1))
    policy, nothing, allowed = properties.of_devices(rules)
    assert policy == ("DevicePolicy", "s", "strict", 0)
    assert nothing == ("DeviceAllow", "a(ss)", [], 0)
    name, signature, entries, _ = allowed
    assert (name, signature) == ("DeviceAllow", "a(ss)")
    assert entries[:3] == [("/dev/block/8:0", "rw"), ("char-10", "r"), ("/dev/char/4:1", "m")]
    assert {("char-*", "m"), ("block-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rwm")} <= set(entries)
    assert properties.of_devices(()) == properties.of_devices((NOTHING,))


@pytest.mark.parametrize(
    "rules",
    [
        (rule(True, "rwm"),),
        (rule(True, "rwm"), rule(False, "w", "c", 10, 236)),
        (NOTHING, rule(True, "r", "c", None, 7)),  # any major, one minor
    ],
)
def test_devices_that_systemd_cannot_limit_so(rules: tuple[DeviceRule, ...]) -> None:
    assert properties.of_devices(rules) == [("DevicePolicy", "s", "auto", 0), ("DeviceAllow", "a(ss)", [], 0)]


def annotated(**several: str) -> list[Any]:
    return properties.of_annotations({f"org.systemd.property.{name}": text for name, text in several.items()})


def test_annotations() -> None:
    assert properties.of_annotations({"org.systemd.propertyX": "1", "other": "2"}) == []
    assert annotated(TimeoutStopUSec="uint64 123", CollectMode="'inactive-or-failed'") == [
        ("TimeoutStopUSec", "t", 123, 0),
        ("CollectMode", "s", "inactive-or-failed", 0),
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TimeoutStopSec", "123", ("TimeoutStopUSec", 123_000_000)),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", 1_500_000)),
        ("TimeoutStopSec", "uint64 7", ("TimeoutStopUSec", 7_000_000)),
        ("TimeoutStopSec", "byte 7", ("TimeoutStopUSec", 7_000_000)),
        ("FooSEC", "7", ("FooSEC", 7)),
        ("FOOSec", "7", ("FOOSec", 7)),  # as runc: a small letter before "Sec"
    ],
)
def test_seconds_become_microseconds(name: str, text: str, expected: tuple[str, int]) -> None:
    ((found, _, value, _),) = annotated(**{name: text})
    assert (found, value) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("Ab", "1", "name of a property"),
        ("A-bc", "1", "name of a property"),
        ("CPUWeight", "many", "GVariant"),
        ("TimeoutStopSec", "'5'", "seconds"),
        ("TimeoutStopSec", "-5", "seconds"),
        ("TimeoutStopSec", "double inf", "seconds"),
        ("TimeoutStopSec", "uint64 18446744073709551615", "seconds"),
    ],
)
def test_wrong_annotations(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)/annotations/org.systemd.property.{name}: expected .*{said}"):
        annotated(**{name: text, "Other": "x"})
