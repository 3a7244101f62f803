"""Resources on cgroup v2: every value, as the files of the container's cgroup have it, and `unified`."""

from __future__ import annotations

import os

from ..engine import Trial
from . import case
from .cgroup_v1 import THROTTLES, check_page_limits, page_sizes, throttled
from .cgroups import limited

MIB = 1 << 20

VALUES: tuple[tuple[str, str, dict[str, object], str, tuple[str, ...]], ...] = (
    ("memory.limit", "memory", {"memory": {"limit": 64 * MIB}}, "memory.max", (str(64 * MIB),)),
    ("memory.reservation", "memory", {"memory": {"reservation": 32 * MIB}}, "memory.low", (str(32 * MIB),)),
    ("memory.swap", "memory", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory.swap.max", (str(32 * MIB),)),
    ("memory.unlimited", "memory", {"memory": {"limit": -1}}, "memory.max", ("max",)),
    # Two conversions are in use: the linear one, and since 2025 one through (2, 1), (1024, 100), (262144, 10000).
    ("cpu.shares", "cpu", {"cpu": {"shares": 2048}}, "cpu.weight", ("79", "170", "174")),
    ("cpu.quota", "cpu", {"cpu": {"quota": 30000, "period": 60000}}, "cpu.max", ("30000 60000",)),
    ("cpu.period", "cpu", {"cpu": {"quota": 30000, "period": 60000}}, "cpu.max", ("30000 60000",)),
    ("cpu.burst", "cpu", {"cpu": {"quota": 30000, "period": 60000, "burst": 12000}}, "cpu.max.burst", ("12000",)),
    ("cpu.cpus", "cpuset", {"cpu": {"cpus": "0"}}, "cpuset.cpus", ("0",)),
    ("cpu.mems", "cpuset", {"cpu": {"mems": "0"}}, "cpuset.mems", ("0",)),
    ("cpu.idle", "cpu", {"cpu": {"idle": 1}}, "cpu.idle", ("1",)),
    ("pids.limit", "pids", {"pids": {"limit": 77}}, "pids.max", ("77",)),
)
"""Codes below config-linux.resources, the controller, the resources, the file, and what it may hold."""


BASES = {"memory": "memory.max", "cpu": "cpu.max", "cpuset": "cpuset.cpus", "pids": "pids.max"}
"""A file that every cgroup has for which a controller is enabled; others depend on the kernel."""


def _value(code: str, controller: str, resources: dict[str, object], file: str, wanted: tuple[str, ...]) -> None:
    @case(
        f"config-linux.resources.{code}",
        needs=("root", "cgroup-v2", f"controller:{controller}"),
        name=code.replace("-", "_").replace(".", "_"),
    )
    def value(trial: Trial) -> None:
        """The value is in the file of the container's cgroup."""
        container = limited(trial, **resources)
        place = container.cgroups()["unified"]
        there = {name for directory in (place, place.parent) if directory.is_dir() for name in os.listdir(directory)}
        if BASES[controller] in there and file not in there:
            trial.impossible(f"this kernel's cgroups have no {file}")
        found = container.cgroup_file("unified", file)
        trial.check(
            f"config-linux.resources.{code}", found in wanted, f"{file}: {' or '.join(wanted)}", f"{file}: {found}"
        )

    _ = value


for _row in VALUES:
    _value(*_row)


@case("config-linux.resources.block-io.weight", needs=("root", "cgroup-v2", "controller:io"))
def weight(trial: Trial) -> None:
    """The weight is in the file of the scheduler that the kernel has."""
    container = limited(trial, blockIO={"weight": 321})
    place = container.cgroups()["unified"]
    there = [file for file in ("io.bfq.weight", "io.weight") if (place / file).exists()]
    if not there:
        trial.impossible("this kernel's cgroups have neither io.bfq.weight nor io.weight")
    # io.weight has a range of its own, 1 to 10000, which the 10 to 1000 of the configuration are converted to.
    wanted = {"io.bfq.weight": "default 321", "io.weight": f"default {1 + (321 - 10) * 9999 // 990}"}
    found = {file: container.cgroup_file("unified", file).splitlines()[0] for file in there}
    met = any(found[file] == wanted[file] for file in there)
    trial.check("config-linux.resources.block-io.weight", met, f"one of {wanted}", found)


@case(*(f"config-linux.resources.block-io.{code}" for code in THROTTLES), needs=("root", "cgroup-v2", "controller:io"))
def throttles(trial: Trial) -> None:
    """The rates of a disk are in io.max."""
    numbers, rates, container = throttled(trial)
    found = container.cgroup_file("unified", "io.max")
    for code, (_, _, word) in THROTTLES.items():
        met = any(
            line.startswith(f"{numbers} ") and f"{word}={rates[code]}" in line.split() for line in found.splitlines()
        )
        trial.check(f"config-linux.resources.block-io.{code}", met, f"io.max: {numbers} {word}={rates[code]}", found)


@case("config-linux.resources.hugepage-limits", needs=("root", "cgroup-v2", "controller:hugetlb"))
def hugepage_limits(trial: Trial) -> None:
    """The limit of each size of pages is in the file for reservations, where the kernel has one, or for use."""
    check_page_limits(trial, "unified", "max")


@case("config-linux.unified.written", "config-linux.unified.unknown", needs=("root", "cgroup-v2"))
def unified(trial: Trial) -> None:
    """Files of the cgroup itself, which no other property is about, have the values."""
    wanted = {"cgroup.max.descendants": "77", "cgroup.max.depth": "7"}
    container = limited(trial, unified=wanted)
    found = {file: container.cgroup_file("unified", file) for file in wanted}
    for code in trial.case.codes:
        trial.equal(code, "files", wanted, found)


@case(
    "config-linux.unified.controllers",
    "config-linux.unified.written",
    needs=("root", "cgroup-v2", "controller:hugetlb"),
)
def unified_hugetlb(trial: Trial) -> None:
    """The controller of a file is enabled for the cgroup, and the file has the value: for huge pages."""
    sizes = page_sizes()
    if not sizes:
        trial.impossible("this kernel has no huge pages")
    file = f"hugetlb.{sizes[0]}.max"
    found = limited(trial, unified={file: str(4 << 30)}).cgroup_file("unified", file)
    for code in trial.case.codes:
        trial.equal(code, file, str(4 << 30), found)


@case(
    "config-linux.unified.controllers", "config-linux.unified.written", needs=("root", "cgroup-v2", "controller:pids")
)
def unified_pids(trial: Trial) -> None:
    """The controller of a file is enabled for the cgroup, and the file has the value: for processes."""
    found = limited(trial, unified={"pids.max": "55"}).cgroup_file("unified", "pids.max")
    for code in trial.case.codes:
        trial.equal(code, "pids.max", "55", found)


@case("config-linux.unified.missing-controller", needs=("root", "cgroup-v2"))
def unified_missing(trial: Trial) -> None:
    """A file of a controller that is not there is an error."""
    bundle = trial.bundle()
    bundle.resources(unified={"nosuchcontroller.max": "1"})
    trial.refused("config-linux.unified.missing-controller", bundle, "a controller that no kernel has")


@case("config-linux.resources.no-conversion", needs=("root", "cgroup-v2"))
def no_conversion(trial: Trial) -> None:
    """What v2 has no equivalent of is an error: the swappiness of a cgroup, a limit of real-time processes."""
    for resources, what in (
        ({"memory": {"swappiness": 37}}, "memory.swappiness"),
        ({"cpu": {"realtimePeriod": 1000000, "realtimeRuntime": 10000}}, "cpu.realtimeRuntime"),
        ({"network": {"classID": 5}}, "network.classID"),
    ):
        bundle = trial.bundle()
        bundle.resources(**resources)
        trial.refused("config-linux.resources.no-conversion", bundle, f"{what} on cgroup v2")


@case("config-linux.cgroup.joined", "config-linux.cgroups-path.absolute", needs=("root", "cgroup-v2"))
def inside(trial: Trial) -> None:
    """In its cgroup namespace the process sees its own cgroup as the root, or one below it."""
    bundle = trial.bundle()
    container = trial.create(bundle.args("report"))
    place = str(container.cgroups()["unified"])
    for code in trial.case.codes:
        trial.check(code, f"/{bundle.id}" in place, f"a cgroup of the name {bundle.id}", place)
    container.start()
    container.wait()
    lines = [line for line in trial.facts(container)["cgroup"].splitlines() if line.startswith("0::")]
    trial.equal("config-linux.cgroup.joined", "line of v2 in /proc/self/cgroup of the container", ["0::/"], lines)
