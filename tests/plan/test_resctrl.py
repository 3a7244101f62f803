"""linux.intelRdt: which groups of resctrl a container makes, finds and joins, and all of that on a made-up tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from plandriver import V1, named, plan_of, spec_of

from ocirun.errors import ConfigError
from ocirun.launch import resctrl
from ocirun.plan import parent
from ocirun.plan.draft import Options, Plan
from ocirun.plan.execute import build_exec
from ocirun.plan.show import describe
from ocirun.record import replace
from ocirun.spec.tuning import IntelRdt

AT = "/sys/fs/resctrl"


def planned(rdt: IntelRdt) -> Plan:
    spec = spec_of("minimal")
    return plan_of(replace(spec, linux=replace(spec.linux, intel_rdt=rdt)))


def groups(rdt: IntelRdt) -> list[tuple[str, int, tuple[str, ...]]]:
    return [tuple(operation.values) for operation in named(planned(rdt), "resctrl_group")]  # type: ignore[misc]


def joined(rdt: IntelRdt) -> list[str]:
    return [operation.values[0] for operation in named(planned(rdt), "resctrl_join")]


def test_a_group_of_its_own() -> None:
    rdt = IntelRdt(l3_cache_schema="L3:0=f", mem_bw_schema="MB:0=20", schemata=("L2:0=3",))
    lines = ("L3:0=f", "MB:0=20", "L2:0=3")  # in this order (config-linux.md)
    (made,) = groups(rdt)
    assert made == (f"{AT}/{Path(made[0]).name}", parent.MADE, lines)
    assert joined(rdt) == [made[0]]


@pytest.mark.parametrize(
    ("rdt", "path", "existing"),
    [
        (IntelRdt(clos_id="gold"), f"{AT}/gold", parent.THERE),
        (IntelRdt(clos_id="gold", schemata=("L3:0=f",)), f"{AT}/gold", parent.EITHER),
        (IntelRdt(clos_id="/"), AT, parent.THERE),
    ],
)
def test_a_named_group(rdt: IntelRdt, path: str, existing: int) -> None:
    ((found, how, _),) = groups(rdt)
    assert (found, how) == (path, existing)
    assert joined(rdt) == [path]


def test_monitoring() -> None:
    _, (inner, existing, lines) = groups(IntelRdt(clos_id="gold", enable_monitoring=True))
    assert inner.startswith(f"{AT}/gold/mon_groups/") and (existing, lines) == (parent.MADE, ())
    assert joined(IntelRdt(clos_id="gold", enable_monitoring=True)) == [f"{AT}/gold", inner]


def test_exec_joins() -> None:
    spec = spec_of("minimal")
    spec = replace(spec, linux=replace(spec.linux, intel_rdt=IntelRdt(clos_id="gold")))
    plan = build_exec(spec.process, spec, V1, Options(id="x", bundle="/b"), (), (), None)
    assert [operation.values for operation in named(plan, "resctrl_join")] == [(f"{AT}/gold",)]
    assert not named(plan, "resctrl_group")


def test_no_resctrl() -> None:
    spec = spec_of("minimal")
    spec = replace(spec, linux=replace(spec.linux, intel_rdt=IntelRdt()))
    with pytest.raises(ConfigError, match="/linux/intelRdt: intelRdt is specified in config, but Intel RDT is not"):
        plan_of(spec, replace(V1, resctrl=""))


def test_in_words() -> None:
    shown = describe(parent.resctrl_group("", path="/r/x", existing=parent.EITHER, schemata=("L3:0=f", "MB:0=20")))
    assert shown == "make or find the resctrl group /r/x with L3:0=f, MB:0=20"


# On a made-up tree


def group(path: Path, schemata: str = "") -> Path:
    path.mkdir()
    (path / "tasks").touch()
    (path / "schemata").write_text(schemata)
    return path


def test_joining(tmp_path: Path) -> None:
    resctrl.resctrl_join(77, str(group(tmp_path / "gold")))
    assert (tmp_path / "gold" / "tasks").read_text() == "77"


def test_making(tmp_path: Path) -> None:
    resctrl.resctrl_group(0, str(tmp_path / "new"), parent.MADE, ())
    assert (tmp_path / "new").is_dir()
    with pytest.raises(FileExistsError):
        resctrl.resctrl_group(0, str(tmp_path / "new"), parent.MADE, ())


def test_one_that_has_to_be_there(tmp_path: Path) -> None:
    resctrl.resctrl_group(0, str(group(tmp_path / "gold")), parent.THERE, ())
    with pytest.raises(OSError, match="no group"):
        resctrl.resctrl_group(0, str(tmp_path / "nobody"), parent.THERE, ())
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize("line", ["L3:0=7f0;1=1f", "L3:1=01f", "MB:0=20"])
def test_one_that_is_as_asked_for(tmp_path: Path, line: str) -> None:
    there = group(tmp_path / "gold", "    L3:0=7f0;1=1f\n    MB:0= 20;1=100\n")
    resctrl.resctrl_group(0, str(there), parent.EITHER, (line,))


@pytest.mark.parametrize("line", ["L3:0=7ff", "L2:0=7f0", "L3:2=1f", "MB:0=30"])
def test_one_that_is_not(tmp_path: Path, line: str) -> None:
    there = group(tmp_path / "gold", "L3:0=7f0;1=1f\nMB:0=20;1=100\n")
    with pytest.raises(OSError, match="its schemata are not"):
        resctrl.resctrl_group(0, str(there), parent.EITHER, (line,))
    assert (there / "schemata").read_text() == "L3:0=7f0;1=1f\nMB:0=20;1=100\n"


def test_schemata_that_are_refused(tmp_path: Path) -> None:
    """What has just been made goes again; the kernel's own words are told."""
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "last_cmd_status").write_text("Mask out of range\n")
    with pytest.raises(OSError, match="L3:0=f: Mask out of range"):
        resctrl.resctrl_group(0, str(tmp_path / "new"), parent.EITHER, ("L3:0=f",))
    assert not (tmp_path / "new").exists()
