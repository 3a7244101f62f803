"""What a container uses, read from its cgroup, with the names and units of `runc events` (times in nanoseconds).

The files are described in the kernel's cgroup-v1/ and cgroup-v2.rst. What a kernel or a hierarchy lacks is left out:
statistics are read, never an error. v2's numbers are given in v1's terms, as runc does: swap counts memory and swap.
"""

from __future__ import annotations

import posix

from ..host.files import read_file
from .values import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..plan.cgroup import CgroupDir

    Stats = dict[str, Any]

_NO_LIMIT = (1 << 64) - 1
_TICKS = 100  # USER_HZ, the same on every architecture that this runs on
_CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip


def read(directories: Sequence[CgroupDir]) -> Stats:
    """The statistics of a container, as the ``data`` of an event.

    :param directories: its cgroup
    """
    where = {controller: directory.path for directory in directories for controller in directory.controllers}
    if where:
        stats = _v1(where)
    elif directories:
        stats = _v2(directories[0].path)
    else:
        stats = {"cpu": _cpu({}, {}), "cpuset": _cpuset({}), "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}}
    return {**stats, "intel_rdt": {}, "network_interfaces": None}


# Version 1


def _v1(where: dict[str, str]) -> Stats:
    usage: Stats = {}
    throttling: Stats = {}
    if "cpuacct" in where:
        path = where["cpuacct"]
        usage["total"] = _number(f"{path}/cpuacct.usage")
        usage["percpu"] = [int(word) for word in _words(f"{path}/cpuacct.usage_percpu")]
        lines = [line.split() for line in _lines(f"{path}/cpuacct.usage_all")[1:]]
        usage["percpu_kernel"] = [int(line[2]) for line in lines if len(line) == 3]
        usage["percpu_user"] = [int(line[1]) for line in lines if len(line) == 3]
        ticks = _pairs(f"{path}/cpuacct.stat")
        usage["kernel"] = ticks.get("system", 0) * 1_000_000_000 // _TICKS
        usage["user"] = ticks.get("user", 0) * 1_000_000_000 // _TICKS
    if "cpu" in where:
        stat = _pairs(f"{where['cpu']}/cpu.stat")
        throttling = {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_time", 0),
        }
    cpuset: Stats = {}
    if "cpuset" in where:
        path = where["cpuset"]
        cpuset = {"cpus": _list(f"{path}/cpuset.cpus"), "mems": _list(f"{path}/cpuset.mems")}
        cpuset |= {flag: _number(f"{path}/cpuset.{flag}") for flag in _CPUSET_FLAGS}
    pids: Stats = {}
    if "pids" in where:
        pids = _present({"current": _number(f"{where['pids']}/pids.current"), "limit": _pids_limit(where["pids"])})
    return {
        "cpu": _cpu(usage, throttling),
        "cpuset": _cpuset(cpuset),
        "memory": _memory_v1(where["memory"]) if "memory" in where else {},
        "pids": pids,
        "blkio": _blkio(where["blkio"]) if "blkio" in where else {},
        "hugetlb": _hugetlb(where["hugetlb"], "usage_in_bytes") if "hugetlb" in where else {},
    }


def _memory_v1(path: str) -> Stats:
    raw = _pairs(f"{path}/memory.stat")
    memory = _present({"cache": raw.get("cache", 0)})
    prefixes = {"usage": "memory", "swap": "memory.memsw", "kernel": "memory.kmem", "kernelTCP": "memory.kmem.tcp"}
    for name, prefix in prefixes.items():
        memory[name] = _entry(path, prefix)
    return {**memory, "raw": dict(sorted(raw.items()))}


def _entry(path: str, prefix: str) -> Stats:
    entry = {
        "limit": _number(f"{path}/{prefix}.limit_in_bytes"),
        "usage": _number(f"{path}/{prefix}.usage_in_bytes"),
        "max": _number(f"{path}/{prefix}.max_usage_in_bytes"),
        "failcnt": _number(f"{path}/{prefix}.failcnt"),
    }
    return _present(entry, "limit", "failcnt")


def _blkio(path: str) -> Stats:
    """BFQ counts for itself; elsewhere the throttling layer does."""
    found: Stats = {}
    for name, file in (("ioServiceBytesRecursive", "io_service_bytes"), ("ioServicedRecursive", "io_serviced")):
        for prefix in ("blkio.bfq", "blkio.throttle"):
            entries = []
            for line in _lines(f"{path}/{prefix}.{file}_recursive"):
                words = line.split()
                if len(words) == 3:  # the last line is the total
                    entries.append(_block_entry(words[0], words[1], int(words[2])))
            if entries:
                found[name] = entries
                break
    return found


# Version 2


def _v2(path: str) -> Stats:
    stat = _pairs(f"{path}/cpu.stat")
    usage = {
        "total": stat.get("usage_usec", 0) * 1000,
        "kernel": stat.get("system_usec", 0) * 1000,
        "user": stat.get("user_usec", 0) * 1000,
    }
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": stat.get("throttled_usec", 0) * 1000,
    }
    cpuset = {"cpus": _list(f"{path}/cpuset.cpus.effective"), "mems": _list(f"{path}/cpuset.mems.effective")}
    pids = {"current": _number(f"{path}/pids.current"), "limit": _pids_limit(path)}
    return {
        "cpu": {**_cpu(usage, throttling), **_pressure(f"{path}/cpu.pressure")},
        "cpuset": _cpuset(cpuset),
        "memory": {**_memory_v2(path), **_pressure(f"{path}/memory.pressure")},
        "pids": _present(pids),
        "blkio": {**_io(path), **_pressure(f"{path}/io.pressure")},
        "hugetlb": _hugetlb(path, "current"),
    }


def _memory_v2(path: str) -> Stats:
    raw = _pairs(f"{path}/memory.stat")
    if not raw:
        return {}
    limit, used = _limit(f"{path}/memory.max"), _number(f"{path}/memory.current")
    swap_limit, swap_used = _limit(f"{path}/memory.swap.max"), _number(f"{path}/memory.swap.current")
    usage = {
        "limit": limit,
        "usage": used,
        "max": _number(f"{path}/memory.peak"),
        "failcnt": _pairs(f"{path}/memory.events").get("max", 0),
    }
    swap = {
        "limit": _NO_LIMIT if _NO_LIMIT in (limit, swap_limit) else limit + swap_limit,
        "usage": used + swap_used,
        "max": 0,
        "failcnt": _pairs(f"{path}/memory.swap.events").get("max", 0),
    }
    none: Stats = {"limit": 0, "failcnt": 0}
    return {
        **_present({"cache": raw.get("file", 0)}),
        "usage": _present(usage, "limit", "failcnt"),
        "swap": _present(swap, "limit", "failcnt"),
        "kernel": none,
        "kernelTCP": none,
        "raw": dict(sorted(raw.items())),
    }


def _io(path: str) -> Stats:
    found: Stats = {"ioServiceBytesRecursive": [], "ioServicedRecursive": []}
    kinds = {
        "rbytes": ("ioServiceBytesRecursive", "Read"),
        "wbytes": ("ioServiceBytesRecursive", "Write"),
        "rios": ("ioServicedRecursive", "Read"),
        "wios": ("ioServicedRecursive", "Write"),
    }
    for line in _lines(f"{path}/io.stat"):
        device, *words = line.split()
        for word in words:
            key, equals, value = word.partition("=")
            if equals and key in kinds and value.isdigit():
                name, operation = kinds[key]
                found[name].append(_block_entry(device, operation, int(value)))
    return {name: entries for name, entries in found.items() if entries}


def _pressure(file: str) -> Stats:
    """Pressure stall information (the kernel's accounting/psi.rst)."""
    psi: Stats = {}
    for line in _lines(file):
        kind, *words = line.split()
        values: Stats = {}
        for word in words:
            key, _, value = word.partition("=")
            values[key] = int(value) if key == "total" else float(value)
        psi[kind] = values
    return {"psi": psi} if psi else {}


# Both


def _cpu(usage: Stats, throttling: Stats) -> Stats:
    times = {"kernel": usage.pop("kernel", 0), "user": usage.pop("user", 0)}
    return {"usage": {**_present(usage), **times}, "throttling": _present(throttling)}


def _cpuset(found: Stats) -> Stats:
    cpus, mems = found.get("cpus"), found.get("mems")
    flags = {flag: found.get(flag, 0) for flag in _CPUSET_FLAGS}
    first = {"cpu_exclusive": flags.pop("cpu_exclusive")}
    return {**({"cpus": cpus} if cpus else {}), **first, **({"mems": mems} if mems else {}), **flags}


def _hugetlb(path: str, suffix: str) -> Stats:
    """By page size, "2MB", as the names of the files have it."""
    found = {}
    try:
        names = posix.listdir(path)
    except OSError:
        return {}
    for name in sorted(names):
        if not name.startswith("hugetlb.") or not name.endswith(f".{suffix}") or ".rsvd." in name:
            continue
        size = name[len("hugetlb.") : -len(suffix) - 1]
        prefix = f"{path}/hugetlb.{size}"
        entry = {"usage": _number(f"{prefix}.{suffix}"), "max": 0, "failcnt": 0}
        if suffix == "current":
            entry["failcnt"] = _pairs(f"{prefix}.events").get("max", 0)
        else:
            entry["max"], entry["failcnt"] = _number(f"{prefix}.max_usage_in_bytes"), _number(f"{prefix}.failcnt")
        found[size] = _present(entry, "failcnt")
    return found


def _block_entry(device: str, operation: str, value: int) -> Stats:
    major, _, minor = device.partition(":")
    return _present({"major": int(major), "minor": int(minor or 0), "op": operation, "value": value})


def _pids_limit(path: str) -> int:
    limit = _limit(f"{path}/pids.max")
    return 0 if limit == _NO_LIMIT else limit


def _present(values: Stats, *always: str) -> Stats:
    """Without what is empty, as Go's encoder leaves it out (omitempty)."""
    return {key: value for key, value in values.items() if value or key in always}


def _list(path: str) -> list[int]:
    """ "0-3,7" as numbers."""
    found: list[int] = []
    for part in ",".join(_words(path)).split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found.extend(range(int(first), int(last or first) + 1))
    return found


def _limit(path: str) -> int:
    words = _words(path)
    return _NO_LIMIT if words == ["max"] else int(words[0]) if words else 0


def _number(path: str) -> int:
    return number(path) or 0


def _pairs(path: str) -> dict[str, int]:
    """Lines of a name and a number."""
    found = {}
    for line in _lines(path):
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found


def _words(path: str) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: str) -> list[str]:
    try:
        return read_file(path).decode("ascii", "replace").splitlines()
    except OSError:  # the controller is not enabled, the kernel does not count, or the cgroup is gone
        return []
