"""Intel RDT: config-linux.md, intelRdt. All but the first two need a mounted resctrl file system."""

from __future__ import annotations

import os
from pathlib import Path

from .. import host
from ..bundle import Bundle
from ..engine import Trial
from . import case

NEEDS = ("root", "resctrl")
CODE = "config-linux.intel-rdt."


def top() -> Path:
    mounts = host.parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return next(Path(one.point) for one in mounts if one.type == "resctrl")


def _schema(kind: str) -> str:
    """The line of the root's schemata for L3 or MB: what every group may have. "" where the machine has none."""
    for line in (top() / "schemata").read_text().splitlines():
        if line.strip().startswith(f"{kind}:"):
            return line.strip()
    return ""


def _bundle(trial: Trial, **rdt: object) -> Bundle:
    bundle = trial.bundle().args("pause")
    bundle.linux["intelRdt"] = rdt
    return bundle


def _clos(trial: Trial, *, made: bool) -> Path:
    """A group with the trial's name, which goes with it."""
    place = top() / f"{trial.mark}-clos"
    if made:
        try:
            place.mkdir()
        except OSError as error:
            trial.impossible(f"no group can be made in resctrl: {error.strerror}")
    trial.afterwards(lambda: place.rmdir() if place.exists() else None)
    return place


@case(f"{CODE}no-resctrl", needs=("root", "no-resctrl"))
def no_resctrl(trial: Trial) -> None:
    """Where no resctrl is mounted, intelRdt is an error."""
    trial.refused(f"{CODE}no-resctrl", _bundle(trial, closID="conformance"), "intelRdt without a mounted resctrl")


@case(f"{CODE}untouched", needs=NEEDS)
def untouched(trial: Trial) -> None:
    """Without intelRdt no group is made, and the process stays in the root's."""
    before = sorted(os.listdir(top()))
    container = trial.create(trial.bundle().args("pause"))
    trial.equal(f"{CODE}untouched", "entries of resctrl", before, sorted(os.listdir(top())))
    trial.holds(
        f"{CODE}untouched",
        str(container.pid) in (top() / "tasks").read_text().split(),
        "the process is in the root's tasks",
        "it is not",
    )


@case(f"{CODE}default-clos", needs=NEEDS)
def default_clos(trial: Trial) -> None:
    """closID / is the root."""
    container = trial.create(_bundle(trial, closID="/"))
    trial.holds(
        f"{CODE}default-clos",
        str(container.pid) in (top() / "tasks").read_text().split(),
        "the process is in the root's tasks",
        "it is not",
    )


@case(f"{CODE}tasks", f"{CODE}directory-name", f"{CODE}directory-created", f"{CODE}removed", needs=NEEDS)
def own_group(trial: Trial) -> None:
    """Without closID the group has the container's name, holds the process, and goes with the container."""
    schema = _schema("L3") or _schema("MB")
    bundle = _bundle(trial, **({"l3CacheSchema": schema} if schema.startswith("L3") else {"memBwSchema": schema}))
    place = top() / bundle.id
    trial.afterwards(lambda: place.rmdir() if place.exists() else None)
    container = trial.create(bundle)
    for name in ("directory-name", "directory-created"):
        trial.check(CODE + name, place.is_dir(), f"the directory {place}", sorted(os.listdir(top())))
    tasks = (place / "tasks").read_text().split() if place.is_dir() else []
    trial.check(f"{CODE}tasks", str(container.pid) in tasks, f"the process {container.pid} in tasks", tasks)
    container.start()
    container.stop()
    container.delete()
    trial.holds(f"{CODE}removed", not place.exists(), "the directory is gone", "it is there")


@case(f"{CODE}directory-created", f"{CODE}kept", needs=NEEDS)
def named_group(trial: Trial) -> None:
    """A group with closID is made where it does not exist, and stays."""
    schema = _schema("L3")
    if not schema:
        trial.impossible("this machine's resctrl has no L3")
    place = _clos(trial, made=False)
    container = trial.create(_bundle(trial, closID=place.name, l3CacheSchema=schema))
    trial.check(f"{CODE}directory-created", place.is_dir(), f"the directory {place}", sorted(os.listdir(top())))
    container.start()
    container.stop()
    container.delete()
    trial.holds(f"{CODE}kept", place.is_dir(), "the directory stays", "it is gone")


@case(f"{CODE}assigned", f"{CODE}checked", f"{CODE}no-schema", needs=NEEDS)
def existing_group(trial: Trial) -> None:
    """closID alone: the group must exist, the process is in it, and its schemata are left alone."""
    place = _clos(trial, made=False)
    result = trial.attempt_create(_bundle(trial, closID=place.name))
    trial.check(
        f"{CODE}checked",
        result.code > 0,
        "`create` reports an error, for a group that does not exist",
        f"it ended with {result}",
    )
    place = _clos(trial, made=True)
    before = (place / "schemata").read_text()
    container = trial.create(_bundle(trial, closID=place.name))
    trial.check(
        f"{CODE}assigned",
        str(container.pid) in (place / "tasks").read_text().split(),
        "the process in tasks",
        (place / "tasks").read_text(),
    )
    trial.equal(f"{CODE}no-schema", "schemata", before, (place / "schemata").read_text())


@case(f"{CODE}compared", needs=NEEDS)
def compared(trial: Trial) -> None:
    """A schema that differs from that of a group which exists is an error."""
    schema = _schema("L3")
    if not schema:
        trial.impossible("this machine's resctrl has no L3")
    place = _clos(trial, made=True)
    head, _, mask = schema.partition("=")
    other = f"{head}={int(mask.split(';')[0], 16) >> 1:x}"
    trial.refused(
        f"{CODE}compared",
        _bundle(trial, closID=place.name, l3CacheSchema=other),
        "a schema that is not that of the group",
    )


@case(f"{CODE}both-schemas", f"{CODE}one-schema", f"{CODE}schemata", needs=NEEDS)
def schemas(trial: Trial) -> None:
    """l3CacheSchema, memBwSchema and schemata are written."""
    l3, bandwidth = _schema("L3"), _schema("MB")
    if not l3 or not bandwidth:
        trial.impossible("this machine's resctrl does not have both L3 and MB")
    head, _, mask = l3.partition("=")
    half = f"{head}={int(mask.split(';')[0], 16) >> 1:x}" + "".join(f";{part}" for part in mask.split(";")[1:])
    for code, rdt in (
        ("one-schema", {"l3CacheSchema": half}),
        ("both-schemas", {"l3CacheSchema": half, "memBwSchema": bandwidth}),
        ("schemata", {"l3CacheSchema": l3, "schemata": [half, bandwidth]}),
    ):
        bundle = _bundle(trial, **rdt)
        place = top() / bundle.id
        trial.afterwards(lambda p=place: p.rmdir() if p.exists() else None)  # type: ignore[misc]
        trial.create(bundle)
        lines = [line.strip() for line in (place / "schemata").read_text().splitlines()]
        trial.check(CODE + code, half in lines, f"schemata with {half}", lines)


@case(f"{CODE}mem-bw-schema.prefix", f"{CODE}mem-bw-schema.newline", f"{CODE}schemata.newline", needs=NEEDS)
def bad_schemas(trial: Trial) -> None:
    """A schema without its prefix, or with a newline, is an error."""
    bandwidth = _schema("MB") or "MB:0=100"
    for code, rdt in (
        ("mem-bw-schema.prefix", {"memBwSchema": bandwidth.removeprefix("MB:")}),
        ("mem-bw-schema.newline", {"memBwSchema": f"{bandwidth}\n{bandwidth}"}),
        ("schemata.newline", {"schemata": [f"{bandwidth}\n{bandwidth}"]}),
    ):
        trial.refused(CODE + code, _bundle(trial, **rdt), f"{rdt}")


@case(f"{CODE}monitoring", f"{CODE}monitoring-name", f"{CODE}monitoring-removed", needs=NEEDS)
def monitoring(trial: Trial) -> None:
    """enableMonitoring makes a group of the container's name, which goes with it."""
    if not (top() / "mon_groups").is_dir():
        trial.impossible("this machine's resctrl has no monitoring groups")
    bundle = _bundle(trial, closID="/", enableMonitoring=True)
    place = top() / "mon_groups" / bundle.id
    trial.afterwards(lambda: place.rmdir() if place.exists() else None)
    container = trial.create(bundle)
    for name in ("monitoring", "monitoring-name"):
        trial.check(CODE + name, place.is_dir(), f"the directory {place}", sorted(os.listdir(top() / "mon_groups")))
    container.start()
    container.stop()
    container.delete()
    trial.holds(f"{CODE}monitoring-removed", not place.exists(), "the directory is gone", "it is there")


@case(f"{CODE}monitoring-fails", needs=NEEDS)
def monitoring_fails(trial: Trial) -> None:
    """A monitoring group that cannot be made, for its name is taken by one with other tasks, or there are no more, is
    an error."""
    groups = top() / "mon_groups"
    if not groups.is_dir():
        trial.impossible("this machine's resctrl has no monitoring groups")
    made: list[Path] = []
    try:
        while len(made) < 4096:
            place = groups / f"{trial.mark}-{len(made)}-full"
            place.mkdir()
            made.append(place)
    except OSError:
        pass
    for place in made:
        trial.afterwards(place.rmdir)
    trial.refused(
        f"{CODE}monitoring-fails", _bundle(trial, closID="/", enableMonitoring=True), "a machine without further groups"
    )
