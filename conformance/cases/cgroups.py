"""Control groups of either version: their place, who owns them, and the limits that both have: config-linux.md."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .. import host
from ..bundle import Bundle
from ..engine import Container, Trial
from ..runtime import CommandError
from . import case


def v2() -> bool:
    return host.cgroups().version == "v2"


def where(controller: str) -> str:
    """The name of the hierarchy that has a controller."""
    return "unified" if v2() else controller


def hierarchies() -> list[str]:
    """Those that a container is to have cgroups in."""
    if v2():
        return ["unified"]
    return [name for name in host.cgroups().v1 if not name.startswith("name=")]


def limited(trial: Trial, **resources: object) -> Container:
    """A container that was created with these resources."""
    bundle = trial.bundle().args("pause")
    bundle.resources(**resources)
    return trial.create(bundle)


@case("config-linux.cgroup.joined", "config-linux.cgroups-path.absolute", needs=("root",))
def absolute_path(trial: Trial) -> None:
    """The process is in a cgroup at cgroupsPath below the mount of each hierarchy."""
    bundle = trial.bundle().args("pause")
    bundle.linux["cgroupsPath"] = f"/{bundle.id}/deeper"
    container = trial.create(bundle)
    groups = container.cgroups()
    points = {name: host.cgroups().v2 if name == "unified" else host.cgroups().v1[name] for name in hierarchies()}
    for name, mount in points.items():
        assert mount is not None
        place = Path(mount.point, bundle.id, "deeper")
        found = groups.get(name)
        inside = found is not None and (found == place or place in found.parents)
        for code in trial.case.codes:
            trial.check(code, inside, f"{name}: the cgroup {place}", f"{name}: {found}")


@case("config-linux.cgroups-path.consistent", needs=("root",))
def consistent_path(trial: Trial) -> None:
    """The same path, absolute or relative, is the same place each time."""
    for path in (f"/{trial.mark}-a/b", f"{trial.mark}-c/d"):
        places = []
        for _ in range(2):
            bundle = trial.bundle().args("exit", "0")
            bundle.linux["cgroupsPath"] = path
            container = trial.create(bundle)
            groups = container.cgroups()
            places.append({name: str(groups[name]) for name in hierarchies() if name in groups})
            container.start()
            container.wait()
            container.delete()
        trial.equal("config-linux.cgroups-path.consistent", f"places of {path}", places[0], places[1])
        trial.check(
            "config-linux.cgroups-path.consistent",
            any(trial.mark in place for place in places[0].values()),
            "a cgroup of the container",
            places[0],
        )


@case("config-linux.cgroups-path.invalid", needs=("root",))
def escaping_path(trial: Trial) -> None:
    """A path with .. is an error, or stays below the mount of the cgroups."""
    bundle = trial.bundle().args("pause")
    bundle.linux["cgroupsPath"] = f"/../../../{bundle.id}"
    result = trial.attempt_create(bundle)
    if result.code > 0:
        trial.check(
            "config-linux.cgroups-path.invalid",
            True,
            "an error, or a cgroup below the mount",
            f"`create` ended with {result}",
        )
        return
    groups = trial.created(bundle, result).cgroups()
    inside = all(".." not in path.parts and path.exists() for path in groups.values())
    trial.check(
        "config-linux.cgroups-path.invalid",
        inside,
        "an error, or a cgroup below the mount",
        ", ".join(map(str, groups.values())),
    )


@case("config-linux.cgroup.unfit", needs=("root", "controller:freezer"))
def frozen_v1(trial: Trial) -> None:
    """A frozen cgroup of v1 is an error of `create`, or it works in it."""
    _unfit(trial, "freezer", "freezer.state", "FROZEN")


@case("config-linux.cgroup.unfit", needs=("root", "cgroup-v2"))
def frozen_v2(trial: Trial) -> None:
    """A frozen cgroup of v2 is an error of `create`, or it works in it."""
    _unfit(trial, "unified", "cgroup.freeze", "1")


def _unfit(trial: Trial, name: str, file: str, value: str) -> None:
    bundle = trial.bundle().args("exit", "0")
    mount = host.cgroups().v2 if name == "unified" else host.cgroups().v1[name]
    assert mount is not None
    place = Path(mount.point, bundle.id)
    place.mkdir()
    (place / file).write_text(value)
    try:
        trial.deadline = min(trial.deadline, time.monotonic() + 8)
        result = trial.attempt_create(bundle)
    except CommandError as error:
        trial.check("config-linux.cgroup.unfit", False, "an error, or a container that works", str(error))
        return
    finally:
        (place / file).write_text("THAWED" if value == "FROZEN" else "0")
    found = f"`create` ended with {result}"
    if result.ok:
        container = trial.created(bundle, result)
        container.start()
        container.wait()
    trial.check("config-linux.cgroup.unfit", result.code >= 0, "an error, or a container that works", found)


OWNED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def _owners(trial: Trial, *, writable: bool, namespace: bool, userns: bool = True) -> tuple[Container, dict[str, Path]]:
    """A container of user 1000 of a user namespace, and its cgroups."""
    bundle = trial.bundle().args("pause")
    if userns:
        bundle.user_namespace()
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    if not namespace:
        bundle.without_namespace("cgroup")
    options = ["nosuid", "noexec", "nodev", "relatime", *([] if writable else ["ro"])]
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", *options)
    container = trial.create(bundle)
    return container, {name: path for name, path in container.cgroups().items() if trial.mark in str(path)}


def _changed(path: Path) -> list[str]:
    """What in a cgroup, itself among it, is not root's."""
    return sorted(one.name for one in (path, *path.iterdir()) if one.is_file() or one == path if one.stat().st_uid != 0)


@case("config-linux.cgroup.owner.v1", needs=("root", "cgroup-v1", "userns"))
def owner_v1(trial: Trial) -> None:
    """On cgroup v1 the owner of the container's cgroups stays root, whatever is mounted."""
    _, groups = _owners(trial, writable=True, namespace=True)
    changed = {name: _changed(path) for name, path in groups.items() if name != "unified" and _changed(path)}
    trial.equal("config-linux.cgroup.owner.v1", "what belongs to another user than root", {}, changed)


@case("config-linux.cgroup.owner.no-namespace", needs=("root", "cgroup-v2", "userns"))
def owner_no_namespace(trial: Trial) -> None:
    """Without a cgroup namespace of its own the owner stays root."""
    _, groups = _owners(trial, writable=True, namespace=False)
    trial.equal(
        "config-linux.cgroup.owner.no-namespace",
        "what belongs to another user than root",
        [],
        _changed(groups["unified"]),
    )


@case("config-linux.cgroup.owner.read-only", needs=("root", "cgroup-v2", "userns"))
def owner_read_only(trial: Trial) -> None:
    """Where the cgroups are mounted read-only the owner stays root."""
    _, groups = _owners(trial, writable=False, namespace=True)
    trial.equal(
        "config-linux.cgroup.owner.read-only", "what belongs to another user than root", [], _changed(groups["unified"])
    )


OWNER = tuple(
    f"config-linux.cgroup.owner.{name}" for name in ("writable", "delegate", "missing-file", "existing-files", "others")
)


@case(*OWNER, needs=("root", "cgroup-v2", "userns"))
def owner_writable(trial: Trial) -> None:
    """With a writable mount the directory, and the files that the kernel lists, belong to the container's user, and
    no other."""
    container, groups = _owners(trial, writable=True, namespace=True)
    place = groups["unified"]
    trial.check("config-linux.cgroup.owner.missing-file", container.alive(), "`create` succeeds", "it succeeded")
    listed = Path("/sys/kernel/cgroup/delegate")
    names = listed.read_text().split() if listed.exists() else list(OWNED)
    there = [name for name in names if (place / name).exists()]
    wanted = sorted([place.name, *there])
    changed = _changed(place)
    owner = place.stat().st_uid
    trial.equal(
        "config-linux.cgroup.owner.writable",
        "owner of the cgroup on the host, where user 1000 is mapped to it",
        101000,
        owner,
    )
    trial.equal(
        "config-linux.cgroup.owner.existing-files",
        "listed files that belong to it",
        there,
        [n for n in there if (place / n).stat().st_uid == 101000],
    )
    trial.equal("config-linux.cgroup.owner.delegate", "what belongs to another user than root", wanted, changed)
    others = sorted(set(changed) - set(wanted))
    trial.equal("config-linux.cgroup.owner.others", "further files that belong to another user than root", [], others)


@case("config-linux.resources.pids.limit", needs=("root", "controller:pids"))
def pids_limit(trial: Trial) -> None:
    """pids.max is the limit, and a fork beyond it fails."""
    bundle = trial.bundle()
    bundle.resources(pids={"limit": 20})
    container = trial.create(bundle.args("report", "fork=40"))
    trial.equal("config-linux.resources.pids.limit", "pids.max", "20", container.cgroup_file(where("pids"), "pids.max"))
    container.start()
    container.wait()
    found = trial.facts(container)["actions"]["fork=40"]
    met = found["made"] < 20 and found["error"] == "EAGAIN"
    trial.check(
        "config-linux.resources.pids.limit",
        met,
        "fewer than 20 forks, then EAGAIN",
        f"{found['made']} forks, then {found['error'] or 'no error'}",
    )


@case("config-linux.resources.pids.unlimited", needs=("root", "controller:pids"))
def pids_unlimited(trial: Trial) -> None:
    """-1 is no limit."""
    found = limited(trial, pids={"limit": -1}).cgroup_file(where("pids"), "pids.max")
    trial.equal("config-linux.resources.pids.unlimited", "pids.max", "max", found)


@case("config-linux.resources.pids.zero", needs=("root", "controller:pids"))
def pids_zero(trial: Trial) -> None:
    """0 is a limit: nothing can be forked."""
    bundle = trial.bundle()
    bundle.resources(pids={"limit": 0})
    result = trial.attempt_create(bundle.args("report", "fork=2"))
    if not result.ok:
        raise CommandError(f"`create` failed with {result}")
    container = trial.created(bundle, result)
    trial.equal("config-linux.resources.pids.zero", "pids.max", "0", container.cgroup_file(where("pids"), "pids.max"))
    container.start()
    container.wait()
    trial.equal(
        "config-linux.resources.pids.zero", "forks that succeed", 0, trial.facts(container)["actions"]["fork=2"]["made"]
    )


def _memory(limit: int) -> dict[str, int]:
    """A limit that swapping is no way around: where there is no swap, its limit may not be there either."""
    swaps = len(Path("/proc/swaps").read_text().splitlines()) > 1
    return {"limit": limit} | ({"swap": limit} if swaps else {})


def memory_by_effect(trial: Trial, bundle: Bundle, code: str) -> None:
    """A process that takes more than the limit of 24 MiB is killed, and one that takes less is not."""
    facts = trial.report(bundle, f"eat={8 << 20}", f"eat={96 << 20}")
    small, large = (facts["actions"][f"eat={size << 20}"] for size in (8, 96))
    trial.equal(code, "signal that ends a process which takes 8 MiB of 24", 0, small["signal"])
    trial.equal(code, "signal that ends a process which takes 96 MiB of 24", 9, large["signal"])


@case("config-linux.resources.memory.limit", needs=("root", "controller:memory"))
def memory_limit(trial: Trial) -> None:
    """A process that takes more memory than the limit is killed."""
    bundle = trial.bundle()
    bundle.resources(memory=_memory(24 << 20))
    memory_by_effect(trial, bundle, "config-linux.resources.memory.limit")


@case("config-linux.resources.cpu.quota", needs=("root", "controller:cpu"))
def cpu_quota(trial: Trial) -> None:
    """A process with a fifth of a CPU is throttled, and gets no more than about that."""
    bundle = trial.bundle().args("report", "spin=600")
    bundle.resources(cpu={"quota": 10000, "period": 50000})
    container = trial.create(bundle)
    place = container.cgroups()[where("cpu")]
    container.start()
    container.wait()
    spin = trial.facts(container)["actions"]["spin=600"]
    share = spin["used"] / spin["wall"]
    counts = [
        int(line.split()[1])
        for directory in (place, place.parent)
        if trial.mark in str(directory) and (directory / "cpu.stat").exists()
        for line in (directory / "cpu.stat").read_text().splitlines()
        if line.startswith("nr_throttled ")
    ]
    met = share < 0.5 and max(counts, default=0) > 0
    found = f"{share:.0%}: {spin['used']} ms of {spin['wall']} ms, throttled {max(counts, default=0)} times"
    trial.check("config-linux.resources.cpu.quota", met, "at most about 20 % of a CPU, and throttled", found)


@case("config-linux.resources.cpu.cpus", needs=("root", "controller:cpuset", "processors:2"))
def cpus(trial: Trial) -> None:
    """The container runs on the CPUs of the list."""
    last = max(os.sched_getaffinity(0))
    bundle = trial.bundle()
    bundle.resources(cpu={"cpus": str(last)})
    trial.equal("config-linux.resources.cpu.cpus", "CPUs of the process", [last], trial.report(bundle)["cpus"])


@case("config-linux.resources.memory.check-before-update", needs=("root", "controller:memory"))
def check_before_update(trial: Trial) -> None:
    """With checkBeforeUpdate an update to a limit below what is in use is an error."""
    bundle = trial.bundle().args("report", f"eat={1 << 20}", "wait=/never")
    bundle.resources(memory=_memory(256 << 20))
    container = trial.started(bundle)
    place = container.cgroups()[where("memory")]
    usage = place / ("memory.current" if v2() else "memory.usage_in_bytes")
    trial.eventually(lambda: int(usage.read_text()) > 1 << 20, 1)
    file = trial.directory / "resources.json"
    file.write_text('{"memory": {"limit": 4096, "checkBeforeUpdate": true}}')
    result = trial.attempt("update", "--resources", str(file), container.id)
    trial.reports_error("config-linux.resources.memory.check-before-update", "`update`", result)
    trial.holds(
        "config-linux.resources.memory.check-before-update", container.alive(), "the container lives", "it was killed"
    )
