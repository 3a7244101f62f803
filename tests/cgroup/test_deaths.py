"""What the kernel did for limits, from its counters: on a tree of files like the kernel's, and on the kernel's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ocirun.cgroup import deaths
from ocirun.cgroup.usage import used
from ocirun.plan.cgroup import CgroupDir

CONTAINER = ("slice/pod/one", "slice/pod", "slice")


def v2(tree: Path) -> tuple[CgroupDir, ...]:
    return (CgroupDir(controllers=(), path=f"{tree}/{CONTAINER[0]}", mountpoint=str(tree)),)


def v1(tree: Path) -> tuple[CgroupDir, ...]:
    return tuple(
        CgroupDir(controllers=(name,), path=f"{tree}/{name}/{CONTAINER[0]}", mountpoint=f"{tree}/{name}")
        for name in ("cpuacct", "memory", "pids")
    )


def write(path: Path, **counters: object) -> None:
    for name, text in counters.items():
        path.mkdir(parents=True, exist_ok=True)
        (path / name.replace("__", ".")).write_text(f"{text}\n")


def write_v2(tree: Path, oom_kill: int, ooms: tuple[int, int, int], forks: int, pids: tuple[int, int, int]) -> None:
    for path, oom, full in zip(CONTAINER, ooms, pids, strict=True):
        write(tree / path, memory__events=f"low 0\nmax 99\noom {oom}\noom_kill {oom_kill}\noom_group_kill 0")
        write(tree / path, memory__events__local=f"low 0\noom {oom}\noom_kill 0")
        write(tree / path, pids__events=f"max {forks}", pids__events__local=f"max {full}")


@pytest.mark.parametrize(
    ("ooms", "pids", "memory_limits", "pids_limits"),
    [
        ((1, 0, 0), (0, 1, 0), ["slice/pod/one"], ["slice/pod"]),
        ((0, 0, 1), (1, 0, 0), ["slice"], ["slice/pod/one"]),
        ((0, 0, 0), (0, 0, 0), [], []),  # the machine's own memory, or its pid_max
    ],
)
def test_whose_limit_it_was(
    ooms: tuple[int, int, int], pids: tuple[int, int, int], memory_limits: list[str], pids_limits: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    write_v2(tmp_path, 5, (3, 3, 3), 2, (7, 7, 7))
    before = deaths.count(v2(tmp_path))
    assert deaths.since(before, v2(tmp_path)) == deaths.Toll()
    after = (3 + ooms[0], 3 + ooms[1], 3 + ooms[2]), (7 + pids[0], 7 + pids[1], 7 + pids[2])
    write_v2(tmp_path, 6, after[0], 2 + sum(pids), after[1])
    toll = deaths.since(before, v2(tmp_path))
    assert (toll.oom_kills, toll.forks_refused) == (1, sum(pids))
    assert toll.memory_limits == tuple(f"{tmp_path}/{path}" for path in memory_limits)
    assert toll.pids_limits == tuple(f"{tmp_path}/{path}" for path in pids_limits)


def test_v1(tmp_path: Path) -> None:
    def state(kills: int, below: int, failures: tuple[int, int, int], most: int, forks: int) -> None:
        for path, failcnt in zip(CONTAINER, failures, strict=True):
            write(
                tmp_path / "memory" / path,
                memory__failcnt=failcnt,
                memory__limit_in_bytes=1 << 30,
                memory__max_usage_in_bytes=1 << 20,
            )
            write(tmp_path / "memory" / path, memory__oom_control="under_oom 0\noom_kill 0")
            write(tmp_path / "pids" / path, pids__events="max 0")
        own = tmp_path / "memory" / CONTAINER[0]
        write(own, memory__oom_control=f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}")
        write(own, memory__max_usage_in_bytes=most)
        write(own / "inner", memory__oom_control=f"oom_kill {below}")
        write(tmp_path / "pids" / CONTAINER[0], pids__events=f"max {forks}")
        write(tmp_path / "cpuacct" / CONTAINER[0], cpuacct__usage=1_500_000_000)

    state(0, 0, (0, 4, 0), 1 << 20, 0)
    before = deaths.above(v1(tmp_path))
    state(1, 2, (0, 5, 0), 1 << 30, 3)
    toll = deaths.since(before, v1(tmp_path))
    assert (toll.oom_kills, toll.forks_refused) == (3, 3), "those in cgroups below as well"
    assert toll.memory_limits == tuple(f"{tmp_path}/memory/{path}" for path in CONTAINER[:2])
    assert toll.pids_limits == (f"{tmp_path}/pids/{CONTAINER[0]}",)
    assert used(v1(tmp_path)) == (1.5, 1 << 30)


def test_nothing_to_count(tmp_path: Path) -> None:
    for directories in ((), v1(tmp_path), v2(tmp_path)):
        assert deaths.since(deaths.above(directories), directories) == deaths.Toll()
        assert used(directories) == (None, None)


def test_a_limit_above_the_container(tmp_path: Path) -> None:
    """On this machine's memory controller, if it is v1: killed for its parent's limit."""
    root = Path("/sys/fs/cgroup/memory")
    if not (root / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller of cgroup v1")
    parent = root / f"ocirun-deaths-{tmp_path.name}"
    own = parent / "own"
    own.mkdir(parents=True)
    try:
        (parent / "memory.limit_in_bytes").write_text("32M")
        directories = (CgroupDir(controllers=("memory",), path=str(own), mountpoint=str(root)),)
        before = deaths.above(directories)
        code = f"open('{own}/tasks', 'w').write('0'); x = bytearray(1 << 28)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == -9
        toll = deaths.since(before, directories)
        assert (toll.oom_kills, toll.memory_limits) == (1, (str(parent),))
    finally:
        own.rmdir()
        parent.rmdir()
