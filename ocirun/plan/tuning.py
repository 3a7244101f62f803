"""The operations for scheduling, memory policy and personality: of what hardly any process has.

Scheduling and I/O priority are set by the runtime when the init has done everything else: that takes capabilities in
the initial user namespace, which root of another one has not got, and a process of SCHED_DEADLINE cannot fork any
more. But a runtime without CAP_SYS_NICE may change only processes of its own user: there the init does it itself,
before it becomes another.
"""

from __future__ import annotations

from ..spec.tuning import (
    IO_CLASSES,
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    PERSONALITIES,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    members,
)
from . import ops, parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Linux, Process
    from ..spec.tuning import CpuAffinity, IoPriority, Scheduler
    from .draft import Draft
    from .ops import Operation


def of_kernel(draft: Draft, linux: Linux) -> None:
    """linux.memoryPolicy and linux.personality, which the processes of `exec` have as well."""
    policy, personality = linux.memory_policy, linux.personality
    if policy is not None:
        mode = MEMORY_POLICY_MODES[policy.mode]
        for flag in policy.flags:
            mode |= MEMORY_POLICY_FLAGS[flag]
        draft.add(ops.memory_policy("init", "/linux/memoryPolicy", mode=mode, nodes=_mask(policy.nodes or "")))
    if personality is not None:
        draft.add(ops.personality("init", "/linux/personality", persona=PERSONALITIES[personality.domain]))


def by_init(draft: Draft, wanted: Process) -> None:
    """process.scheduler and process.ioPriority, where the init sets them."""
    if wanted.scheduler is not None:
        draft.add(ops.scheduler("init", "/process/scheduler", **_scheduling(wanted.scheduler)))
    if wanted.io_priority is not None:
        draft.add(ops.io_priority("init", "/process/ioPriority", **_io_priority(wanted.io_priority)))


def by_runtime(draft: Draft, wanted: Process) -> None:
    """The same, where the runtime does."""
    if wanted.scheduler is not None:
        draft.add(parent.scheduler("/process/scheduler", **_scheduling(wanted.scheduler)))
    if wanted.io_priority is not None:
        draft.add(parent.io_priority("/process/ioPriority", **_io_priority(wanted.io_priority)))


def _scheduling(wanted: Scheduler) -> dict[str, int]:
    flags = 0
    for flag in wanted.flags:
        flags |= SCHEDULER_FLAGS[flag]
    return {
        "policy": SCHEDULER_POLICIES[wanted.policy],
        "nice": wanted.nice,
        "priority": wanted.priority,
        "flags": flags,
        "runtime": wanted.runtime,
        "deadline": wanted.deadline,
        "period": wanted.period,
    }


def _io_priority(wanted: IoPriority) -> dict[str, int]:
    return {"level": IO_CLASSES[wanted.class_], "priority": wanted.priority}


def affinity(wanted: CpuAffinity) -> tuple[Operation | None, Operation | None]:
    """process.execCPUAffinity: before the container's cgroup is joined, and after."""
    initial = final = None
    if wanted.initial:
        initial = ops.affinity("outer", "/process/execCPUAffinity/initial", cpus=_mask(wanted.initial))
    if wanted.final:
        final = ops.affinity("init", "/process/execCPUAffinity/final", cpus=_mask(wanted.final))
    return initial, final


def _mask(text: str) -> bytes:
    """A list of CPUs or nodes as the kernel's array of unsigned long."""
    bits = members(text)
    return bits.to_bytes((bits.bit_length() + 63) // 64 * 8, "little")
