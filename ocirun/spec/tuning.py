"""Scheduling, NUMA, the last level cache and personality: of process and of linux what hardly any container has."""

from __future__ import annotations

from ..record import Record
from .readers import array, boolean, int32, one_of, record, string, strings, uint64
from .rules import is_number, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import model
    from .model import Int32, Uint64
    from .rules import Breach


SCHEDULER_POLICIES: dict[str, int] = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
"""sched(7), <linux/sched.h>"""

SCHEDULER_FLAGS: dict[str, int] = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
"""sched_setattr(2)"""

IO_CLASSES: dict[str, int] = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
"""ioprio_set(2)"""

MEMORY_POLICY_MODES: dict[str, int] = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
"""set_mempolicy(2), <linux/mempolicy.h>"""

MEMORY_POLICY_FLAGS: dict[str, int] = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}

PERSONALITIES: dict[str, int] = {"LINUX": 0x0000, "LINUX32": 0x0008}
"""personality(2)"""

_CPUS = 1 << 16  # more than any kernel can be built for
_NODES = 1 << 10  # the kernel's MAX_NUMNODES at its largest


class Scheduler(Record):
    """process.scheduler, sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: Int32 = 0
    priority: Int32 = 0
    flags: tuple[str, ...] = ()
    runtime: Uint64 = 0
    deadline: Uint64 = 0
    period: Uint64 = 0


class IoPriority(Record):
    """process.ioPriority, ioprio_set(2)."""

    class_: str
    priority: Int32 = 0


class CpuAffinity(Record):
    """process.execCPUAffinity: lists of CPUs, "0-3,7"."""

    initial: str | None = None
    final: str | None = None


class IntelRdt(Record):
    """linux.intelRdt."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_monitoring: bool = False


class MemoryPolicy(Record):
    """linux.memoryPolicy, set_mempolicy(2)."""

    mode: str
    nodes: str | None = None
    flags: tuple[str, ...] = ()


class Personality(Record):
    """linux.personality, personality(2)."""

    domain: str
    flags: tuple[str, ...] = ()


# How they are read

scheduler = record(
    Scheduler,
    ("policy", "policy", one_of(SCHEDULER_POLICIES)),
    ("nice", "nice", int32),
    ("priority", "priority", int32),
    ("flags", "flags", array(one_of(SCHEDULER_FLAGS))),
    ("runtime", "runtime", uint64),
    ("deadline", "deadline", uint64),
    ("period", "period", uint64),
)

io_priority = record(IoPriority, ("class", "class_", one_of(IO_CLASSES)), ("priority", "priority", int32))

exec_cpu_affinity = record(CpuAffinity, ("initial", "initial", string), ("final", "final", string))

intel_rdt = record(
    IntelRdt,
    ("closID", "clos_id", string),
    ("schemata", "schemata", strings),
    ("l3CacheSchema", "l3_cache_schema", string),
    ("memBwSchema", "mem_bw_schema", string),
    ("enableMonitoring", "enable_monitoring", boolean),
)

memory_policy = record(
    MemoryPolicy,
    ("mode", "mode", one_of(MEMORY_POLICY_MODES)),
    ("nodes", "nodes", string),
    ("flags", "flags", array(one_of(MEMORY_POLICY_FLAGS))),
)

personality = record(Personality, ("domain", "domain", one_of(PERSONALITIES)), ("flags", "flags", strings))


# The rules


def of_process(process: model.Process, at: str) -> Iterator[Breach]:
    """What is wrong in a process."""
    if process.scheduler is not None:
        yield from _scheduler(process.scheduler, f"{at}/scheduler")
    if process.io_priority is not None and not 0 <= process.io_priority.priority <= 7:
        yield f"{at}/ioPriority/priority", "expected an integer from 0 to 7", str(process.io_priority.priority), ()
    if process.exec_cpu_affinity is not None:
        for key in ("initial", "final"):
            value = getattr(process.exec_cpu_affinity, key)
            if value and not members(value, _CPUS):
                expected = f'expected a list of CPUs such as "0-3,7", below {_CPUS}'
                yield f"{at}/execCPUAffinity/{key}", expected, quoted(value), ()


def of_linux(linux: model.Linux) -> Iterator[Breach]:
    """What is wrong in linux."""
    if linux.intel_rdt is not None:
        yield from _intel_rdt(linux.intel_rdt, "/linux/intelRdt")
    if linux.memory_policy is not None:
        yield from _memory_policy(linux.memory_policy, "/linux/memoryPolicy")


def _scheduler(scheduler: Scheduler, at: str) -> Iterator[Breach]:
    """sched_setattr(2)"""
    policy = (f"{at}/policy",)
    needs = (*policy, f"{at}/flags")
    if not -20 <= scheduler.nice <= 19:
        yield f"{at}/nice", "expected an integer from -20 to 19", str(scheduler.nice), ()
    # With these the kernel looks at the process's present policy and parameters instead.
    kept = {"SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"}.intersection(scheduler.flags)
    if scheduler.policy in ("SCHED_FIFO", "SCHED_RR"):
        if not (0 if kept else 1) <= scheduler.priority <= 99:
            expected = f"expected an integer from 1 to 99 for {scheduler.policy}"
            yield f"{at}/priority", expected, str(scheduler.priority), needs
    elif scheduler.priority:
        yield f"{at}/priority", "expected a priority only for SCHED_FIFO and SCHED_RR", str(scheduler.priority), policy
    if scheduler.policy != "SCHED_DEADLINE":
        for key in ("runtime", "deadline", "period"):
            value = getattr(scheduler, key)
            if value:
                yield f"{at}/{key}", f"expected a {key} only for SCHED_DEADLINE", str(value), policy
    elif not kept:
        yield from _deadline(scheduler, at, needs)


def _deadline(scheduler: Scheduler, at: str, needs: tuple[str, ...]) -> Iterator[Breach]:
    """sched(7), "SCHED_DEADLINE": 1024 <= runtime <= deadline <= period < 2^63; a period of 0 is the deadline."""
    runtime, deadline, period = scheduler.runtime, scheduler.deadline, scheduler.period
    if runtime < 1024:
        yield f"{at}/runtime", "expected at least 1024 nanoseconds for SCHED_DEADLINE", str(runtime), needs
    elif runtime > deadline:
        expected = f"expected at most the deadline of {deadline} nanoseconds"
        yield f"{at}/runtime", expected, str(runtime), (*needs, f"{at}/deadline")
    if period and deadline > period:
        expected = f"expected at most the period of {period} nanoseconds"
        yield f"{at}/deadline", expected, str(deadline), (*needs, f"{at}/period")
    for key, value in (("deadline", deadline), ("period", period)):
        if value >= 1 << 63:
            yield f"{at}/{key}", "expected less than 2^63 nanoseconds", str(value), needs


def _intel_rdt(rdt: IntelRdt, at: str) -> Iterator[Breach]:
    if rdt.clos_id is not None and (rdt.clos_id in (".", "..") or "/" in rdt.clos_id):
        yield f"{at}/closID", "expected the name of a directory", quoted(rdt.clos_id), ()
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield f"{at}/memBwSchema", 'expected one line that begins with "MB:"', quoted(rdt.mem_bw_schema), ()


def _memory_policy(policy: MemoryPolicy, at: str) -> Iterator[Breach]:
    """set_mempolicy(2)"""
    nodes, flags = policy.nodes or "", policy.flags
    needs = (f"{at}/mode", f"{at}/nodes")
    if nodes and not members(nodes, _NODES):
        yield f"{at}/nodes", f'expected a list of nodes such as "0-1,3", below {_NODES}', quoted(nodes), ()
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            yield f"{at}/nodes", f"expected none for {policy.mode}", quoted(nodes), needs
    elif policy.mode != "MPOL_PREFERRED" and not nodes:
        yield f"{at}/nodes", f"expected at least one for {policy.mode}", "none", needs
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        expected = "expected not both of MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES"
        yield f"{at}/flags", expected, "both", ()
    elif not nodes and ("MPOL_F_STATIC_NODES" in flags or "MPOL_F_RELATIVE_NODES" in flags):
        yield f"{at}/flags", "expected nodes for MPOL_F_STATIC_NODES or MPOL_F_RELATIVE_NODES", "none", needs
    if "MPOL_F_NUMA_BALANCING" in flags and policy.mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        expected = "expected MPOL_F_NUMA_BALANCING only for MPOL_BIND and MPOL_PREFERRED_MANY"
        yield f"{at}/flags", expected, policy.mode, needs


def members(text: str, limit: int = _CPUS) -> int:
    """A list of numbers as the kernel's CPU lists, "0-3,7" (cpuset(7), "List format"), as bits; blanks around a number
    or range and empty ones do not matter, as in runc. 0 for what is no such list, has no number in it or one that is
    not below the limit."""
    bits = 0
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        first, dash, last = part.partition("-")
        low, high = _number(first, limit), _number(last if dash else first, limit)
        if not 0 <= low <= high:
            return 0
        bits |= (2 << high) - (1 << low)
    return bits


def _number(text: str, limit: int) -> int:
    """-1 for what is none, or too large."""
    digits = text.lstrip("0") or "0"
    if not is_number(text) or len(digits) > 9 or int(digits) >= limit:
        return -1
    return int(digits)
