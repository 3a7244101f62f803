"""Statistics from the files of a cgroup that are made up: what each number is, and what is missing."""

from __future__ import annotations

from pathlib import Path

from ocirun.cgroup import stats
from ocirun.plan.cgroup import CgroupDir

V2 = {
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 4\nnr_throttled 2\nthrottled_usec 700\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    "cpuset.cpus.effective": "0-2,7\n",
    "cpuset.mems.effective": "0\n",
    "memory.stat": "anon 100\nfile 200\n",
    "memory.current": "4096\n",
    "memory.max": "8192\n",
    "memory.peak": "6000\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n",
    "memory.swap.current": "10\n",
    "memory.swap.max": "1000\n",
    "pids.current": "3\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.events": "max 9\n",
    "hugetlb.2MB.rsvd.current": "0\n",
}


def made(path: Path, files: dict[str, str]) -> list[CgroupDir]:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return [CgroupDir(controllers=(), path=str(path), mountpoint=str(path))]


def test_version_2(tmp_path: Path) -> None:
    found = stats.read(made(tmp_path, V2))
    assert found["cpu"]["usage"] == {"total": 5_000_000, "kernel": 2_000_000, "user": 3_000_000}
    assert found["cpu"]["throttling"] == {"periods": 4, "throttledPeriods": 2, "throttledTime": 700_000}
    assert found["cpu"]["psi"]["some"] == {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 12}
    assert (found["cpuset"]["cpus"], found["cpuset"]["mems"]) == ([0, 1, 2, 7], [0])
    memory = found["memory"]
    assert memory["cache"] == 200
    assert memory["usage"] == {"limit": 8192, "usage": 4096, "max": 6000, "failcnt": 5}
    assert memory["swap"] == {"limit": 9192, "usage": 4106, "failcnt": 0}  # memory and swap, as v1 counts
    assert memory["raw"] == {"anon": 100, "file": 200}
    assert found["pids"] == {"current": 3}
    assert found["blkio"]["ioServiceBytesRecursive"] == [
        {"major": 8, "op": "Read", "value": 512},
        {"major": 8, "op": "Write", "value": 1024},
    ]
    assert found["hugetlb"] == {"2MB": {"usage": 2097152, "failcnt": 9}}


def test_no_limit_is_the_largest_number(tmp_path: Path) -> None:
    found = stats.read(made(tmp_path, V2 | {"memory.max": "max\n"}))
    assert found["memory"]["usage"]["limit"] == found["memory"]["swap"]["limit"] == (1 << 64) - 1


def test_nothing_to_read(tmp_path: Path) -> None:
    """No controller is enabled, the cgroup is gone, or the container has none."""
    for directories in (made(tmp_path, {}), made(tmp_path / "gone", {}), []):
        found = stats.read(directories)
        assert found["memory"] == found["pids"] == found["blkio"] == found["hugetlb"] == {}
        assert found["cpu"]["usage"] == {"kernel": 0, "user": 0}


def test_version_1(tmp_path: Path) -> None:
    files = {
        "cpuacct": {
            "cpuacct.usage": "70\n",
            "cpuacct.usage_percpu": "40 30 \n",
            "cpuacct.usage_all": "cpu user system\n0 10 30\n1 20 10\n",
            "cpuacct.stat": "user 2\nsystem 1\n",
        },
        "blkio": {
            "blkio.throttle.io_service_bytes_recursive": "8:16 Read 5\n8:16 Write 6\nTotal 11\n",
            "blkio.bfq.io_service_bytes_recursive": "Total 0\n",
        },
        "pids": {"pids.current": "2\n", "pids.max": "40\n"},
    }
    directories = []
    for controller, texts in files.items():
        (directory,) = made(tmp_path / controller, texts)
        directories.append(CgroupDir(controllers=(controller,), path=directory.path, mountpoint=directory.path))
    found = stats.read(directories)
    assert found["cpu"]["usage"] == {
        "total": 70, "percpu": [40, 30], "percpu_kernel": [30, 10], "percpu_user": [10, 20], "kernel": 10_000_000,
        "user": 20_000_000,
    }  # fmt: skip
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "minor": 16, "op": "Read", "value": 5},
            {"major": 8, "minor": 16, "op": "Write", "value": 6},
        ]
    }
    assert found["pids"] == {"current": 2, "limit": 40}
    assert found["memory"] == {}
