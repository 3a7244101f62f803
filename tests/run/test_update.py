"""update: other limits for a container that exists, each flag and each property by what the kernel says then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Bundle, Running, Runtime, Workshop, cgroup_directory, cgroup_roots, eventually, reap

import ocirun

V1 = "memory" in cgroup_roots()
pytestmark = pytest.mark.controllers

MIB = 1 << 20

# Flags, the controller, and what its files say then: of v1, of v2.
FLAGS = {
    "memory": (["--memory", "64m"], "memory", {"memory.limit_in_bytes": str(64 * MIB)}, {"memory.max": str(64 * MIB)}),
    "reservation": (
        ["--memory-reservation", "33554432"],
        "memory",
        {"memory.soft_limit_in_bytes": "33554432"},
        {"memory.low": "33554432"},
    ),
    "no limit": (["--memory", "-1"], "memory", {"memory.limit_in_bytes": "9223372036854771712"}, {"memory.max": "max"}),
    "pids": (["--pids-limit", "12"], "pids", {"pids.max": "12"}, {"pids.max": "12"}),
    "no pids": (["--pids-limit", "-1"], "pids", {"pids.max": "max"}, {"pids.max": "max"}),
    "shares": (["--cpu-share", "512"], "cpu", {"cpu.shares": "512"}, {"cpu.weight": "59"}),
    "quota": (
        ["--cpu-quota", "30000", "--cpu-period", "60000"],
        "cpu",
        {"cpu.cfs_quota_us": "30000", "cpu.cfs_period_us": "60000"},
        {"cpu.max": "30000 60000"},
    ),
    "period alone": (["--cpu-period", "50000"], "cpu", {"cpu.cfs_period_us": "50000"}, {"cpu.max": "max 50000"}),
    "burst": (
        ["--cpu-quota", "30000", "--cpu-burst", "5000"],
        "cpu",
        {"cpu.cfs_burst_us": "5000"},
        {"cpu.max.burst": "5000"},
    ),
    "idle": (["--cpu-idle", "1"], "cpu", {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    "cpus": (["--cpuset-cpus", "0"], "cpuset", {"cpuset.cpus": "0"}, {"cpuset.cpus": "0"}),
    "mems": (["--cpuset-mems", "0"], "cpuset", {"cpuset.mems": "0"}, {"cpuset.mems": "0"}),
}


def read(controller: str, id: str, file: str) -> str:
    return (cgroup_directory(controller, id) / file).read_text().strip()


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.ocirun) if case in ("burst", "idle") else case for case in FLAGS]
)  # runc has these two since 1.2
def test_flags(runtime: Runtime, bundle: Workshop, case: str) -> None:
    flags, controller, v1, v2 = FLAGS[case]
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("update", *flags, made.id).ok()
    for file, value in (v1 if V1 else v2).items():
        assert read(controller, made.id, file) == value, file
    runtime.end(made, pid)


# What not every host has: flags, the controller, the file and its value, of v1, then of v2.
SELDOM = {
    "swap": (["--memory", "32m", "--memory-swap", "64m"], "memory", "memory.memsw.limit_in_bytes", str(64 * MIB),
             "memory.swap.max", str(32 * MIB)),
    "weight": (["--blkio-weight", "300"], "blkio", "blkio.bfq.weight", "300", "io.bfq.weight", "default 300"),
    "real-time": (["--cpu-rt-period", "900000", "--cpu-rt-runtime", "0"], "cpu", "cpu.rt_period_us", "900000", "", ""),
}  # fmt: skip


@pytest.mark.ocirun
@pytest.mark.parametrize("case", SELDOM)
def test_flags_of_seldom_limits(runtime: Runtime, bundle: Workshop, case: str) -> None:
    """Set where the kernel has such a file; where not, an error names the property, or (a weight) nothing happens."""
    flags, controller, *files = SELDOM[case]
    file, value = files[:2] if V1 else files[2:]
    made = bundle("pause")
    pid = runtime.started(made)
    result = runtime("update", *flags, made.id)
    if file and (cgroup_directory(controller, made.id) / file).exists():
        assert result.ok() and read(controller, made.id, file) == value
    elif case != "weight":
        result.failed("/linux/resources/")
    runtime.end(made, pid)


@pytest.mark.parametrize("way", ["-", "file"])
def test_resources(runtime: Runtime, bundle: Workshop, scratch: Path, way: str) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    wanted = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 7}, "devices": [{"allow": True, "access": "rwm"}]}
    file = scratch / "resources.json"
    file.write_text(json.dumps(wanted))
    with file.open() as stdin:
        runtime("update", "--resources", "-" if way == "-" else str(file), made.id, stdin=stdin.fileno()).ok()
    assert read("pids", made.id, "pids.max") == "7"
    assert read("memory", made.id, "memory.limit_in_bytes" if V1 else "memory.max") == str(64 * MIB)
    if V1:  # the device rules are as they were
        assert "a *:* rwm" not in read("devices", made.id, "devices.list")
    runtime.end(made, pid)


@contextmanager
def thirty_children(runtime: Runtime, made: Bundle, pid: int) -> Iterator[Running]:
    """A process of `exec` that forks them; the container is gone afterwards."""
    running = runtime.spawn("exec", made.id, "/probe", "children", "30")
    yield running
    runtime.kill(made).ok()
    reap(pid)
    running.result()
    runtime.delete(made).ok()


def test_the_limit_holds(runtime: Runtime, bundle: Workshop) -> None:
    """Not only the file: fork(2) fails at the new limit."""
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("update", "--pids-limit", "20", made.id).ok()
    with thirty_children(runtime, made, pid) as running:
        eventually(lambda: "fork: Resource temporarily unavailable" in running.err, "fork fails")


def test_a_limit_is_lifted(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"]["pids"] = {"limit": 20}
    pid = runtime.started(made)
    runtime("update", "--pids-limit", "-1", made.id).ok()
    with thirty_children(runtime, made, pid) as running:
        eventually(lambda: "ready" in running.out, "30 children")


def test_halves_of_a_limit(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"]["cpu"] = {"quota": 20000, "period": 50000}
    pid = runtime.started(made)
    runtime("update", "--cpu-period", "40000", made.id).ok()
    if V1:
        assert read("cpu", made.id, "cpu.cfs_quota_us") == "20000"
        assert read("cpu", made.id, "cpu.cfs_period_us") == "40000"
    else:
        assert read("cpu", made.id, "cpu.max") == "20000 40000"
    runtime.end(made, pid)


def test_a_later_update_keeps_what_an_earlier_one_set(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"]["cpu"] = {"quota": 20000, "period": 100000}
    pid = runtime.started(made)
    runtime("update", "--pids-limit", "9", made.id).ok()
    runtime("update", "--cpu-quota", "40000", made.id).ok()
    assert read("pids", made.id, "pids.max") == "9"
    if V1:
        assert read("cpu", made.id, "cpu.cfs_quota_us") == "40000"
        assert read("cpu", made.id, "cpu.cfs_period_us") == "100000"
    else:
        assert read("cpu", made.id, "cpu.max") == "40000 100000"
    runtime.end(made, pid)


@pytest.mark.differs("an error says that the old limits could not be set back, and leaves some of the new ones")
def test_a_refused_update_changes_nothing(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    before = read("cpuset", made.id, "cpuset.cpus"), read("pids", made.id, "pids.max")
    if V1:
        runtime("update", "--cpuset-cpus", "0", "--memory", "4096", made.id).failed("memory")
    else:
        runtime("update", "--pids-limit", "9", "--cpuset-cpus", "4095", made.id).failed("cpuset.cpus")
    assert (read("cpuset", made.id, "cpuset.cpus"), read("pids", made.id, "pids.max")) == before
    runtime.end(made, pid)


@pytest.mark.parametrize(
    ("flags", "texts"),
    [
        (["--cpu-period", "abc"], ["invalid value for cpu-period", 'parsing "abc": invalid syntax']),
        (["--cpu-quota", "5x"], ["invalid value for cpu-quota"]),
        (["--memory", "1x"], ["invalid value for memory: invalid size: '1x'"]),
        (["--cpu-share", "1"], ["the minimum allowed cpu-shares is 2"] if V1 else []),
        (["--resources", "/nonexistent"], ["open /nonexistent: no such file or directory"]),
        (["--l3-cache-schema", "L3:0=f"], ["l3 cache schema is not enabled"]),
        (["--mem-bw-schema", "MB:0=50"], ["memory bandwidth schema is not enabled"]),
    ],
)
def test_what_is_wrong(runtime: Runtime, bundle: Workshop, flags: list[str], texts: list[str]) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    if texts:
        runtime("update", *flags, made.id).failed(*texts)
    runtime.end(made, pid)


@pytest.mark.ocirun
def test_wrong_resources_are_all_named(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    file = scratch / "resources.json"
    file.write_text('{"memory": {"limit": "x"}, "pids": {"limit": 1.5}, "blockIO": {"weight": 5}}')
    runtime("update", "-r", str(file), made.id).failed("/memory/limit", "/pids/limit", "/blockIO/weight", str(file))
    file.write_text("{")
    runtime("update", "-r", str(file), made.id).failed("line 1")
    runtime.end(made, pid)


def test_kernel_memory_is_ignored_with_a_warning(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    result = runtime("update", "--kernel-memory", "50m", "--pids-limit", "5", made.id).ok()
    assert "Kernel memory settings are ignored" in result.warning
    assert read("pids", made.id, "pids.max") == "5"
    runtime.end(made, pid)


@pytest.mark.ocirun  # as in config.json: runc ignores it with the same warning
def test_memory_of_sockets(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    assert not runtime("update", "--kernel-memory-tcp", "8m", made.id).ok().warning
    file = cgroup_directory("memory", made.id) / "memory.kmem.tcp.limit_in_bytes"
    assert not file.exists() or file.read_text().strip() == str(8 * MIB)
    runtime.end(made, pid)


def test_the_wrong_state(runtime: Runtime, bundle: Workshop) -> None:
    runtime("update", "--pids-limit", "5", "nobody").failed("does not exist")
    made = bundle("pause")
    pid = runtime.created(made)
    runtime("update", "--pids-limit", "5", made.id).ok()
    runtime("start", made.id).ok()
    runtime("pause", made.id).ok()
    runtime("update", "--pids-limit", "6", made.id).ok()
    runtime("resume", made.id).ok()
    runtime.kill(made).ok()
    reap(pid)
    eventually(lambda: runtime.status(made) == "stopped", "stopped")
    runtime("update", "--pids-limit", "5", made.id).failed("container not running")
    runtime.delete(made).ok()


@pytest.mark.ocirun
@pytest.mark.skipif(V1, reason="the kernel itself refuses a limit below the usage on v1")
def test_check_before_update(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    file = scratch / "resources.json"
    file.write_text(json.dumps({"memory": {"limit": 4096, "checkBeforeUpdate": True}}))
    runtime("update", "-r", str(file), made.id).failed("rejecting memory limit 4096 < usage")
    assert runtime.status(made) == "running"
    runtime.end(made, pid)


@pytest.mark.ocirun
@pytest.mark.skipif(not V1, reason="on v2 the kernel takes such a limit, and kills")
def test_a_memory_limit_below_the_usage(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("update", "--memory", "4096", made.id).failed("/linux/resources/memory/limit", "current usage: ", "peak")
    runtime.end(made, pid)


@pytest.mark.ocirun
def test_from_python(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    container = ocirun.Runtime(str(runtime.root)).get(made.id)
    container.update({"pids": {"limit": 8}})
    assert read("pids", made.id, "pids.max") == "8"
    with pytest.raises(ocirun.ConfigError, match="/pids/limit"):
        container.update({"pids": {"limit": "many"}})
    runtime.end(made, pid)
