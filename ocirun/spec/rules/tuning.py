"""The rules of scheduling, memory policy, Intel RDT and personality."""

from __future__ import annotations

from ..readers import quoted
from ..tuning import CPUS, NODES, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .. import model
    from ..tuning import IntelRdt, MemoryPolicy, Scheduler
    from .breach import Breach


def of_process(process: model.Process, at: str) -> Iterator[Breach]:
    """What is wrong in a process."""
    if process.scheduler is not None:
        yield from _scheduler(process.scheduler, f"{at}/scheduler")
    if process.io_priority is not None and not 0 <= process.io_priority.priority <= 7:
        yield f"{at}/ioPriority/priority", "expected an integer from 0 to 7", str(process.io_priority.priority), ()
    if process.exec_cpu_affinity is not None:
        for key in ("initial", "final"):
            value = getattr(process.exec_cpu_affinity, key)
            if value and not members(value, CPUS):
                expected = f'expected a list of CPUs such as "0-3,7", below {CPUS}'
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
    if rdt.clos_id and rdt.clos_id != "/" and (rdt.clos_id in (".", "..") or "/" in rdt.clos_id):
        yield f"{at}/closID", "expected the name of a directory, or / for the default group", quoted(rdt.clos_id), ()
    for index, line in enumerate(rdt.schemata):
        if "\n" in line:
            yield f"{at}/schemata/{index}", "expected one line", quoted(line), ()
    if rdt.l3_cache_schema and "\n" in rdt.l3_cache_schema:
        yield f"{at}/l3CacheSchema", "expected one line", quoted(rdt.l3_cache_schema), ()
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield f"{at}/memBwSchema", 'expected one line that begins with "MB:"', quoted(rdt.mem_bw_schema), ()


def _memory_policy(policy: MemoryPolicy, at: str) -> Iterator[Breach]:
    """With runc's words before ours."""
    for pointer, expected, found, needs in _not_for_the_kernel(policy, at):
        what = "nodes" if pointer.endswith("/nodes") else "flag"
        yield pointer, f"invalid memory policy {what}: {expected}", found, needs


def _not_for_the_kernel(policy: MemoryPolicy, at: str) -> Iterator[Breach]:
    """set_mempolicy(2)"""
    nodes, flags = policy.nodes or "", policy.flags
    needs = (f"{at}/mode", f"{at}/nodes")
    if nodes and not members(nodes, NODES):
        yield f"{at}/nodes", f'expected a list of nodes such as "0-1,3", below {NODES}', quoted(nodes), ()
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
