"""Scheduling, NUMA, the last level cache and personality: of process and of linux what hardly any container has."""

from __future__ import annotations

from ..record import Record
from .readers import array, boolean, int32, is_number, one_of, record, string, strings, uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .readers import Int32, Uint64


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

CPUS = 1 << 16  # more than any kernel can be built for
NODES = 1 << 10  # the kernel's MAX_NUMNODES at its largest


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
    ("mode", "mode", one_of(MEMORY_POLICY_MODES, "invalid memory policy mode: ")),
    ("nodes", "nodes", string),
    ("flags", "flags", array(one_of(MEMORY_POLICY_FLAGS, "invalid memory policy flag: "))),
)

personality = record(Personality, ("domain", "domain", one_of(PERSONALITIES)), ("flags", "flags", strings))


def members(text: str, limit: int = CPUS) -> int:
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
