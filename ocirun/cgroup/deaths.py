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

from ..host.files import read_file
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    oom_kills = forks = 0
    memory: dict[str, int] = {}
    pids: dict[str, int] = {}
    for directory in directories:
        v2 = not directory.controllers
        if v2 or "memory" in directory.controllers:
            file = "memory.events" if v2 else "memory.oom_control"
            for path in [directory.path] if v2 else _tree(directory.path):
                oom_kills += _value(f"{path}/{file}", b"oom_kill")
            for path in _upwards(directory):
                memory[path] = _value(f"{path}/memory.events.local", b"oom") if v2 else _failures(path)
        if v2 or "pids" in directory.controllers:
            for path in [directory.path] if v2 else _tree(directory.path):
                forks += _value(f"{path}/pids.events", b"max")
            for path in _upwards(directory):
                local = _value(f"{path}/pids.events.local", b"max") if v2 else 0
                pids[path] = local or _value(f"{path}/pids.events", b"max")
    return Counts(oom_kills=oom_kills, forks_refused=forks, memory=memory, pids=pids)


def above(directories: Sequence[CgroupDir]) -> Counts:
    """The counters now, with those of the container's own cgroup 0: where it was new, and has been since."""
    now = count(directories)
    own = {directory.path for directory in directories}
    return Counts(
        memory={path: 0 if path in own else number for path, number in now.memory.items()},
        pids={path: 0 if path in own else number for path, number in now.pids.items()},
    )


def since(before: Counts, now: Counts) -> Toll:
    """What has happened since the first of two counts."""
    oom_kills = max(0, now.oom_kills - before.oom_kills)
    forks = max(0, now.forks_refused - before.forks_refused)
    return Toll(
        oom_kills=oom_kills,
        forks_refused=forks,
        memory_limits=_risen(before.memory, now.memory) if oom_kills else (),
        pids_limits=_risen(before.pids, now.pids) if forks else (),
    )


def _risen(before: dict[str, int], now: dict[str, int]) -> tuple[str, ...]:
    return tuple([path for path, number in now.items() if number > before.get(path, 0)])


def _upwards(directory: CgroupDir) -> Iterator[str]:
    """The cgroup and those above, but for the root, which has no limits."""
    path = directory.path
    while len(path) > len(directory.mountpoint):
        yield path
        path = path.rpartition("/")[0]


def _tree(path: str) -> Iterator[str]:
    yield path
    try:
        below = [entry.path for entry in posix.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for one in below:
        yield from _tree(one)


def _value(path: str, key: bytes) -> int:
    try:
        lines = read_file(path).splitlines()
    except OSError:
        return 0
    return next((int(line[len(key) + 1 :]) for line in lines if line.startswith(key + b" ")), 0)


def _failures(path: str) -> int:
    """How often it was at its limit; once at least if it has had all of it, but for what the kernel takes at a time."""
    count = _number(f"{path}/memory.failcnt") + _number(f"{path}/memory.memsw.failcnt")
    limit = _number(f"{path}/memory.limit_in_bytes")
    return count or int(0 < limit < _number(f"{path}/memory.max_usage_in_bytes") + _BATCH)


def _number(path: str) -> int:
    try:
        return int(read_file(path))
    except (OSError, ValueError):
        return 0
