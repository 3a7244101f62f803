"""What the kernel did to a container for its limits: counted before and after, never guessed.

    v2  memory.events         oom_kill: processes killed in the cgroup and below
        memory.events.local   oom: how often the cgroup itself was at its limit with nothing left to reclaim
        pids.events           max: forks refused
    v1  memory.oom_control    oom_kill: processes killed in the cgroup itself
        memory.failcnt        how often the cgroup was at its limit (memory.memsw.failcnt: of memory and swap), which
                              not every kernel counts; memory.max_usage_in_bytes shows that it was
        pids.events           max: forks refused, counted where the fork was tried

The files are described in the kernel's cgroup-v2.rst and cgroup-v1/. A container may be killed for the limit of a
cgroup above its own: those are counted as well, up to the root of the hierarchy.
"""

from __future__ import annotations

import posix

from ..record import Record
from .members import with_controller
from .values import number, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..plan.cgroup import CgroupDir

_BATCH = 64 * 4096  # MEMCG_CHARGE_BATCH of the kernel's mm/memcontrol.c, in bytes


class Counts(Record):
    """The counters at one moment."""

    oom_kills: int = 0  # of the container's own cgroup and those below
    forks_refused: int = 0
    memory: dict[str, int]  # by cgroup, own and above: how often it was at its memory limit
    pids: dict[str, int]  # by cgroup: how often it was at its limit of processes


class Toll(Record):
    """What has happened between two moments."""

    oom_kills: int = 0  # processes of the container that the kernel killed for want of memory
    forks_refused: int = 0  # forks and clones of it that the kernel refused for a limit of processes
    memory_limits: tuple[str, ...] = ()  # the cgroups that were at their memory limit, the container's own first
    pids_limits: tuple[str, ...] = ()  # the cgroups that were at their limit of processes, likewise


def count(directories: Sequence[CgroupDir]) -> Counts:
    """The counters now. What the kernel does not count, or a cgroup that is gone, is 0.

    :param directories: the container's cgroup
    """
    return Counts(
        oom_kills=_oom_kills(directories),
        forks_refused=_forks_refused(directories),
        memory=_each(directories, "memory", _at_memory_limit),
        pids=_each(directories, "pids", _at_pids_limit),
    )


def above(directories: Sequence[CgroupDir]) -> Counts:
    """The same for a container whose own cgroup was new: there all of it counts."""
    return Counts(
        memory=_each(directories, "memory", _at_memory_limit, own=False),
        pids=_each(directories, "pids", _at_pids_limit, own=False),
    )


def since(before: Counts, directories: Sequence[CgroupDir]) -> Toll:
    """What has happened since then."""
    oom_kills = max(0, _oom_kills(directories) - before.oom_kills)
    forks = max(0, _forks_refused(directories) - before.forks_refused)
    memory = _each(directories, "memory", _at_memory_limit) if oom_kills else {}
    pids = _each(directories, "pids", _at_pids_limit) if forks else {}
    return Toll(
        oom_kills=oom_kills,
        forks_refused=forks,
        memory_limits=_risen(before.memory, memory),
        pids_limits=_risen(before.pids, pids),
    )


def _oom_kills(directories: Sequence[CgroupDir]) -> int:
    directory = with_controller(directories, "memory")
    if directory is None:
        return 0
    if not directory.controllers:
        return value(f"{directory.path}/memory.events", b"oom_kill") or 0
    return sum([value(f"{path}/memory.oom_control", b"oom_kill") or 0 for path in _tree(directory.path)])


def _forks_refused(directories: Sequence[CgroupDir]) -> int:
    directory = with_controller(directories, "pids")
    if directory is None:
        return 0
    paths = _tree(directory.path) if directory.controllers else [directory.path]
    return sum([value(f"{path}/pids.events", b"max") or 0 for path in paths])


def _each(
    directories: Sequence[CgroupDir], controller: str, count: Callable[[str, bool], int], own: bool = True
) -> dict[str, int]:
    """A number of each cgroup from the container's own upwards, but for the root, which has no limits."""
    found: dict[str, int] = {}
    directory = with_controller(directories, controller)
    if directory is not None:
        path = directory.path
        while len(path) > len(directory.mountpoint):
            if own or path != directory.path:
                found[path] = count(path, not directory.controllers)
            path = path.rpartition("/")[0]
    return found


def _at_memory_limit(path: str, v2: bool) -> int:
    """How often it was; v1: once at least if it has had all of it, but for what the kernel takes at a time."""
    if v2:
        return value(f"{path}/memory.events.local", b"oom") or 0
    count = (number(f"{path}/memory.failcnt") or 0) + (number(f"{path}/memory.memsw.failcnt") or 0)
    limit = number(f"{path}/memory.limit_in_bytes") or 0
    return count or int(0 < limit < (number(f"{path}/memory.max_usage_in_bytes") or 0) + _BATCH)


def _at_pids_limit(path: str, v2: bool) -> int:
    """How often it was; before Linux 6.11 v2, too, counts where the fork was tried."""
    local = f"{path}/pids.events.local"
    return value(local if v2 and posix.access(local, posix.F_OK) else f"{path}/pids.events", b"max") or 0


def _risen(before: dict[str, int], now: dict[str, int]) -> tuple[str, ...]:
    return tuple([path for path, count in now.items() if count > before.get(path, 0)])


def _tree(path: str) -> Iterator[str]:
    yield path
    try:
        below = [entry.path for entry in posix.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for one in below:
        yield from _tree(one)
