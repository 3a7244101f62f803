"""CPUs, scheduling, I/O priority, memory policy and personality: what the process then has."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from initdriver import Driver

from ocirun.plan import ops
from ocirun.plan.ops import Operation
from ocirun.spec import tables, tuning


def scheduler(policy: str, **values: int) -> Operation:
    fields = dict.fromkeys(("nice", "priority", "flags", "runtime", "deadline", "period"), 0) | values
    return ops.scheduler("init", "", policy=tuning.SCHEDULER_POLICIES[policy], **fields)


def test_affinity(report: Callable[..., Any]) -> None:
    for cpus in (1, 2):
        assert report(ops.affinity("init", "", cpus=bytes([cpus])))["affinity"] == str(cpus)
    assert report(ops.affinity("init", "", cpus=b"\x01" + bytes(7) + b"\xff" * 8))["affinity"] == "1"


@pytest.mark.parametrize("cpus", [b"", bytes(8), bytes(1000) + b"\xff"])
def test_affinity_without_a_cpu(init: Driver, cpus: bytes) -> None:
    assert init.run(ops.affinity("init", "", cpus=cpus)).text == "invalid argument"


def test_scheduler(report: Callable[..., Any]) -> None:
    got = report(scheduler("SCHED_BATCH", nice=7))["sched_attr"]
    assert (got["policy"], got["nice"]) == (3, 7)
    got = report(scheduler("SCHED_DEADLINE", flags=1, runtime=50000, deadline=600000, period=700000))["sched_attr"]
    assert got == {
        "policy": 6, "flags": 1, "nice": 0, "priority": 0, "runtime": 50000, "deadline": 600000, "period": 700000
    }  # fmt: skip


def test_what_an_ordinary_user_may(init: Driver, report: Callable[..., Any], as_user: Callable[[], None]) -> None:
    init.in_child = as_user
    got = report(scheduler("SCHED_BATCH", nice=3), ops.io_priority("init", "", level=2, priority=6))
    assert (got["sched_attr"]["policy"], got["sched_attr"]["nice"], got["ioprio"]) == (3, 3, 2 << 13 | 6)
    for operation in (
        scheduler("SCHED_FIFO", priority=1),
        scheduler("SCHED_OTHER", nice=-1),
        ops.io_priority("init", "", level=1, priority=4),
    ):
        assert init.run(operation).text == "operation not permitted"


@pytest.mark.parametrize("level", tuning.IO_CLASSES.values())
def test_io_priority(report: Callable[..., Any], level: int) -> None:
    assert report(ops.io_priority("init", "", level=level, priority=5))["ioprio"] == level << 13 | 5


def test_memory_policy(init: Driver, report: Callable[..., Any]) -> None:
    bind = tuning.MEMORY_POLICY_MODES["MPOL_BIND"]
    assert report(ops.memory_policy("init", "", mode=bind, nodes=b"\x01" + bytes(7)))["memory_policy"] == [bind, 1]
    assert report(ops.memory_policy("init", "", mode=4, nodes=b""))["memory_policy"] == [4, 0]
    missing = ops.memory_policy("init", "", mode=bind, nodes=bytes(127) + b"\x80")
    for operation in (missing, ops.memory_policy("init", "", mode=99, nodes=b"")):
        assert init.run(operation).text == "invalid argument"


def test_personality(report: Callable[..., Any]) -> None:
    got = report(ops.personality("init", "", persona=8))
    assert got["persona"] == 8
    assert got["machine"] not in ("x86_64", "aarch64")
    assert report(ops.personality("init", "", persona=0))["persona"] == 0


def test_the_kernels_numbers(tmp_path: Path) -> None:
    """The tables of the specification's words have what the C compiler has."""
    names = {
        **tuning.SCHEDULER_FLAGS,
        **tuning.IO_CLASSES,
        **tuning.MEMORY_POLICY_MODES,
        **tuning.MEMORY_POLICY_FLAGS,
        **tables.RLIMITS,
        "PER_LINUX": tuning.PERSONALITIES["LINUX"],
        "PER_LINUX32": tuning.PERSONALITIES["LINUX32"],
        **{name.replace("OTHER", "NORMAL"): number for name, number in tuning.SCHEDULER_POLICIES.items()},
    }
    # Newer than the headers of Debian 12; and one that the kernel only reserves.
    del names["MPOL_WEIGHTED_INTERLEAVE"], names["SCHED_ISO"]
    source = tmp_path / "names.c"
    source.write_text(
        "#include <asm/resource.h>\n#include <linux/ioprio.h>\n#include <linux/mempolicy.h>\n"
        "#include <linux/personality.h>\n#include <linux/sched.h>\n"
        + "".join(f'_Static_assert({name} == {number}, "{name}");\n' for name, number in names.items())
    )
    subprocess.run(["gcc", "-fsyntax-only", str(source)], check=True)
