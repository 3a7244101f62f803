"""Scheduling, I/O priority, CPUs of exec, memory policy and personality: what the processes then have."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop
from ordinary import AS_ROOT_OF_A_NAMESPACE, AS_USER, give, own, rootless

from ocirun.spec.tuning import IO_CLASSES, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, SCHEDULER_POLICIES

pytestmark = pytest.mark.differs("has none of these", before="1.4")

ALL_CPUS = sum(1 << cpu for cpu in range(os.cpu_count() or 1))
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 500_000, "period": 1_000_000}
REAL_TIME_GROUPS = "cpu" in harness.cgroup_roots() and Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists()
HAS_CLAMPS = Path("/proc/sys/kernel/sched_util_clamp_min").exists()


def real_time(made: Bundle) -> None:
    """cgroup v1 gives a new cgroup no real-time time of its own; in v2 there is nothing to give."""
    if REAL_TIME_GROUPS:
        made.linux["resources"]["cpu"] = {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}


def scheduled(runtime: Runtime, made: Bundle, /, **scheduler: Any) -> dict[str, Any]:
    made.process["scheduler"] = scheduler
    attr: dict[str, Any] = runtime.report(made)["sched_attr"]
    return attr


def process_file(made: Bundle, **properties: Any) -> list[str]:
    """The flag of exec for a process of its own."""
    process = {"user": {"uid": 0, "gid": 0}, "args": ["/probe", "report"], "cwd": "/", "env": []} | properties
    path = made.path / "process.json"
    path.write_text(json.dumps(process))
    return ["--process", str(path)]


@pytest.mark.parametrize("policy", ["SCHED_OTHER", "SCHED_BATCH"])
@pytest.mark.parametrize("nice", [-20, 5, 19])
def test_nice(runtime: Runtime, bundle: Workshop, policy: str, nice: int) -> None:
    made = bundle()
    made.process["scheduler"] = {"policy": policy, "nice": nice}
    report = runtime.report(made)
    assert report["scheduler"] == report["sched_attr"]["policy"] == SCHEDULER_POLICIES[policy]
    assert report["nice"] == report["sched_attr"]["nice"] == nice


def test_idle(runtime: Runtime, bundle: Workshop) -> None:
    assert scheduled(runtime, bundle(), policy="SCHED_IDLE")["policy"] == 5


def test_what_is_left_out_is_zero(runtime: Runtime, bundle: Workshop) -> None:
    """Not what the caller has (config.md: "If not set, the runtime must use the value 0")."""
    made = bundle()
    made.process["scheduler"] = {"policy": "SCHED_OTHER"}
    report = runtime.report(made, prefix=["nice", "-n", "7"])
    assert report["nice"] == 0


@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_real_time(runtime: Runtime, bundle: Workshop, policy: str) -> None:
    for priority in (1, 99):
        made = bundle()
        real_time(made)
        attr = scheduled(runtime, made, policy=policy, priority=priority)
        assert (attr["policy"], attr["priority"], attr["flags"]) == (SCHEDULER_POLICIES[policy], priority, 0)


def test_deadline(runtime: Runtime, bundle: Workshop) -> None:
    expected = {"policy": 6, "flags": 0, "nice": 0, "priority": 0, "runtime": 42_000, "deadline": 500_000}
    assert scheduled(runtime, bundle(), **DEADLINE) == expected | {"period": 1_000_000}
    assert scheduled(runtime, bundle(), **DEADLINE | {"period": 0}) == expected | {"period": 500_000}


def test_flags(runtime: Runtime, bundle: Workshop) -> None:
    flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]
    assert scheduled(runtime, bundle(), **DEADLINE, flags=flags)["flags"] == 7
    assert scheduled(runtime, bundle(), policy="SCHED_OTHER", nice=4, flags=flags[:1]) | {"runtime": 0} == {
        "policy": 0, "flags": 1, "nice": 4, "priority": 0, "runtime": 0, "deadline": 0, "period": 0
    }  # fmt: skip
    kept = scheduled(runtime, bundle(), policy="SCHED_BATCH", nice=4, flags=["SCHED_FLAG_KEEP_POLICY"])
    assert (kept["policy"], kept["nice"]) == (0, 4)
    kept = scheduled(runtime, bundle(), policy="SCHED_BATCH", nice=4, flags=["SCHED_FLAG_KEEP_PARAMS"])
    assert kept["nice"] == 0
    for flag in ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"):
        made = bundle()
        made.process["scheduler"] = {"policy": "SCHED_OTHER", "flags": [flag]}
        if HAS_CLAMPS:
            assert runtime.report(made)["sched_attr"]["policy"] == 0
        else:
            runtime.run(made).failed("scheduler", "operation not supported")


@pytest.mark.ocirun
@pytest.mark.controllers
def test_what_the_kernel_refuses(runtime: Runtime, bundle: Workshop) -> None:
    """The property, what was tried, and why it may be; nothing is left of the container."""
    made = bundle()
    made.process["scheduler"] = {"policy": "SCHED_ISO"}
    runtime.run(made).failed("/process/scheduler: schedule by SCHED_ISO: invalid argument")
    if REAL_TIME_GROUPS:
        made = bundle()
        made.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
        runtime.run(made).failed("operation not permitted", "linux.resources.cpu.realtimeRuntime")
    made = bundle()
    made.process["scheduler"] = DEADLINE | {"deadline": 1 << 62, "period": 0}
    runtime.run(made).failed("/process/scheduler", "invalid argument", "sched_deadline_period_m")
    if ALL_CPUS > 1:
        made = bundle()
        made.linux["resources"]["cpu"] = {"cpus": "0", "mems": "0"}
        made.process["scheduler"] = DEADLINE
        runtime.run(made).failed("/process/scheduler", "operation not permitted", "linux.resources.cpu.cpus")


@pytest.mark.ocirun
def test_real_time_in_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """Root of the container has no capability for that (runc fails: it is the init that asks)."""
    made = bundle()
    made.user_namespace()
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 2}
    assert scheduled(runtime, made, **DEADLINE)["policy"] == 6
    made = bundle()
    made.user_namespace()
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_RT", "priority": 2}
    real_time(made)
    made.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 10}
    report = runtime.report(made)
    assert (report["sched_attr"]["policy"], report["sched_attr"]["priority"]) == (1, 10)
    assert report["ioprio"] == 1 << 13 | 2
    assert report["uid"] == [1000] * 3


@pytest.mark.ocirun
def test_a_deadline_and_hooks(runtime: Runtime, bundle: Workshop) -> None:
    """Such a process cannot fork, which startContainer hooks need; those before have no such trouble."""
    made = bundle()
    made.process["scheduler"] = DEADLINE
    hook = [{"path": "/probe", "args": ["probe", "write", "/tmp/hooked", "x"]}]
    made.config["hooks"] = {"startContainer": hook}
    runtime.run(made).failed("/process/scheduler/flags", "SCHED_FLAG_RESET_ON_FORK")
    made.process["scheduler"] = DEADLINE | {"flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    hooks = {"createContainer": [{"path": "/bin/true"}], "createRuntime": [{"path": "/bin/true"}]}
    made.config["hooks"] = {"startContainer": hook} | hooks
    assert runtime.report(made)["sched_attr"]["flags"] == 1
    assert (made.rootfs / "tmp/hooked").exists()


@pytest.mark.parametrize("name", IO_CLASSES)
@pytest.mark.parametrize("priority", [0, 7])
def test_io_priority(runtime: Runtime, bundle: Workshop, name: str, priority: int) -> None:
    made = bundle()
    made.process["ioPriority"] = {"class": name, "priority": priority}
    assert runtime.report(made)["ioprio"] == IO_CLASSES[name] << 13 | priority


@pytest.mark.ocirun
@pytest.mark.parametrize("prefix", [AS_USER, AS_ROOT_OF_A_NAMESPACE], ids=["ordinary", "nested"])
def test_without_privileges(runtime: Runtime, bundle: Workshop, prefix: list[str]) -> None:
    """What the kernel lets everybody do; the rest is a clear error."""
    if prefix == AS_USER:
        own(runtime)

    def run(**process: Any) -> harness.Result:
        made = bundle("report")
        rootless(made, mapped=prefix == AS_USER)
        made.process.update(process)
        if prefix == AS_USER:
            give(made)
        made.write()
        return runtime("run", "--bundle", str(made.path), made.id, prefix=prefix)

    report = run(
        scheduler={"policy": "SCHED_BATCH", "nice": 5}, ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 1}
    ).json
    assert (report["sched_attr"]["policy"], report["nice"], report["ioprio"]) == (3, 5, 3 << 13 | 1)
    why = "operation not permitted (the runtime " + ("lacks CAP_SYS_NICE)" if prefix == AS_USER else "is in a user")
    run(scheduler={"policy": "SCHED_FIFO", "priority": 1}).failed(
        f"/process/scheduler: schedule by SCHED_FIFO (priority 1): {why}"
    )
    run(scheduler={"policy": "SCHED_OTHER", "nice": -1}).failed("/process/scheduler", why)
    run(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 1}).failed("/process/ioPriority", why)


@pytest.mark.ocirun
def test_root_without_the_capability(runtime: Runtime, bundle: Workshop) -> None:
    """As in somebody else's container. Its processes of other users are scheduled all the same."""
    made = bundle("report")
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    prefix = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]
    report = runtime.run(made, prefix=prefix).json
    assert (report["sched_attr"]["policy"], report["nice"], report["uid"]) == (3, 5, [1000] * 3)


def test_exec(runtime: Runtime, bundle: Workshop) -> None:
    """Its processes have what the container's has, but for what their own file says."""
    made = bundle("pause")
    made.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    made.process["oomScoreAdj"] = 300
    made.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    made.linux["personality"] = {"domain": "LINUX32"}
    pid = runtime.started(made)

    for report in (runtime.probe(made), runtime("exec", *process_file(made), made.id).json):
        assert (report["sched_attr"]["policy"], report["nice"], report["ioprio"]) == (3, 7, 2 << 13 | 6)
        assert report["memory_policy"] == [MEMORY_POLICY_MODES["MPOL_BIND"], 1]
        assert report["persona"] == 8
        assert report["oom_score_adj"].strip() == "300"
        wanted = harness.capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])
        assert int(report["capabilities"]["effective"], 16) == wanted

    own = process_file(made, scheduler={"policy": "SCHED_IDLE"}, ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 1})
    report = runtime("exec", *own, made.id).json
    assert (report["sched_attr"]["policy"], report["ioprio"]) == (5, 1 << 13 | 1)
    assert runtime("exec", *process_file(made, scheduler=DEADLINE), made.id).json["sched_attr"]["policy"] == 6
    wrong = process_file(made, scheduler={"policy": "SCHED_RR"})
    if runtime.name == "ocirun":
        runtime("exec", *wrong, made.id).failed("/scheduler/priority: expected an integer from 1 to 99", code=255)
    wrong = process_file(made, scheduler={"policy": "SCHED_ISO"})
    runtime("exec", *wrong, made.id).failed("scheduler", "invalid argument", code=255)
    runtime.end(made, pid)


@pytest.mark.skipif(ALL_CPUS < 3, reason="one CPU is no choice")
def test_affinity_of_exec(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.process["execCPUAffinity"] = {"initial": "0", "final": "1"}
    pid = runtime.started(made)
    assert os.sched_getaffinity(pid) == set(range(os.cpu_count() or 1)), "not for the container's own process"
    assert runtime.probe(made)["affinity"] == "2"

    def affinity(**wanted: str) -> int:
        report = runtime("exec", *process_file(made, execCPUAffinity=wanted), made.id).json
        return int(report["affinity"], 16)

    assert affinity(final="0") == 1
    assert affinity(final=" 0 , ,1-1,") == 3
    assert affinity(final="1,64-70") == 2, "those that are not there do not matter"
    if runtime.name == "ocirun":  # runc leaves it at that, against config.md: "If omitted or empty, the container's"
        assert affinity(initial="0") == ALL_CPUS, "it is only until the container's cgroup is joined"
    assert affinity(initial="", final="") == 2, "the container's"
    for key in ("initial", "final"):
        flags = process_file(made, execCPUAffinity={key: "1000"})
        result = runtime("exec", *flags, made.id).failed("affinity", "invalid argument", code=255)
        if runtime.name == "ocirun":
            there = Path("/sys/devices/system/cpu/online").read_text().strip()
            expected = (
                f"/process/execCPUAffinity/{key}: run on CPUs 1000: invalid argument (the machine has CPUs {there})"
            )
            assert expected in result.error
    runtime.end(made, pid)


@pytest.mark.skipif(ALL_CPUS < 3, reason="one CPU is no choice")
@pytest.mark.controllers
def test_affinity_of_exec_and_the_cpuset(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"]["cpu"] = {"cpus": "1", "mems": "0"}
    pid = runtime.started(made)
    for wanted in ({"initial": "0"}, {"initial": "1"}, {"final": "0-1"}):
        report = runtime("exec", *process_file(made, execCPUAffinity=wanted), made.id).json
        assert report["affinity"] == "2", wanted
    runtime("exec", *process_file(made, execCPUAffinity={"final": "0"}), made.id).failed("affinity", code=255)
    runtime.end(made, pid)


# set_mempolicy(2), then the program that is given.
WITH_POLICY = """
import ctypes, os, sys
number = {"x86_64": 238, "aarch64": 237}[os.uname().machine]
assert ctypes.CDLL(None).syscall(number, int(sys.argv[1]), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


def policies() -> list[tuple[str, str, list[str]]]:
    nodes = {"MPOL_DEFAULT": "", "MPOL_LOCAL": ""}
    found = [(mode, nodes.get(mode, "0"), list[str]()) for mode in MEMORY_POLICY_MODES]
    found += [("MPOL_BIND", "0", [flag]) for flag in MEMORY_POLICY_FLAGS]
    return [*found, ("MPOL_INTERLEAVE", "0,7", []), ("MPOL_PREFERRED", "", []), ("MPOL_PREFERRED", "0", [])]


@pytest.mark.parametrize(("mode", "nodes", "flags"), policies())
def test_memory_policy(runtime: Runtime, bundle: Workshop, mode: str, nodes: str, flags: list[str]) -> None:
    """Also when the caller has one, which the runtime hands on otherwise."""
    made = bundle()
    made.linux["memoryPolicy"] = {"mode": mode, "nodes": nodes, "flags": flags}
    number = MEMORY_POLICY_MODES[mode if nodes or mode != "MPOL_PREFERRED" else "MPOL_LOCAL"]
    if mode == "MPOL_WEIGHTED_INTERLEAVE" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 9):
        runtime.run(made).failed("invalid argument")
        return
    expected = [number | sum(MEMORY_POLICY_FLAGS[flag] for flag in flags), 1 if nodes else 0]
    local = MEMORY_POLICY_MODES["MPOL_LOCAL"]
    caller = [sys.executable, "-c", WITH_POLICY, str(0 if number == local else local)]
    assert runtime.report(made, prefix=caller)["memory_policy"] == expected


def test_memory_policy_of_nodes_that_are_not_there(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1023"}
    result = runtime.run(made).failed("invalid argument")
    if runtime.name == "ocirun":
        expected = "/linux/memoryPolicy: set the memory policy MPOL_BIND on nodes 1023: invalid argument"
        assert f"{expected} (the machine has nodes 0" in result.error


FORBIDDING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {
            "names": ["personality", "set_mempolicy", "sched_setattr", "ioprio_set", "sched_setaffinity"],
            "action": "SCMP_ACT_ERRNO",
        }
    ],
}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_that_forbids_it_all_comes_later(runtime: Runtime, bundle: Workshop, no_new_privileges: bool) -> None:
    made = bundle()
    made.process["noNewPrivileges"] = no_new_privileges
    made.linux["seccomp"] = FORBIDDING
    made.linux["personality"] = {"domain": "LINUX32"}
    made.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    made.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 1}
    report = runtime.report(made)
    assert report["machine"] not in ("x86_64", "aarch64")
    assert report["memory_policy"] == [2, 1]
    assert (report["nice"], report["ioprio"]) == (3, 2 << 13 | 1)


@pytest.mark.parametrize("domain", ["LINUX", "LINUX32"])
def test_personality(runtime: Runtime, bundle: Workshop, domain: str) -> None:
    made = bundle()
    made.linux["personality"] = {"domain": domain, "flags": ["ADDR_NO_RANDOMIZE"]}  # config-linux.md has no flag yet
    report = runtime.report(made, prefix=["setarch", "--addr-no-randomize"])
    assert report["persona"] == (8 if domain == "LINUX32" else 0), "and not what the caller has"
    assert (report["machine"] == os.uname().machine) == (domain == "LINUX")
