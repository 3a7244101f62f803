"""Labels of AppArmor and SELinux: which operations they become, and what a host without them refuses."""

from __future__ import annotations

import pytest
from plandriver import V1, named, plan_of, spec_of

from ocirun.errors import ConfigError
from ocirun.plan.draft import Options
from ocirun.plan.execute import build_exec
from ocirun.plan.host import Host
from ocirun.record import replace
from ocirun.spec.model import Mount, Process, Spec

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
NEITHER = replace(V1, apparmor=False, selinux=False)


def with_process(**changes: object) -> Spec:
    spec = spec_of("minimal")
    return replace(spec, process=replace(spec.process, **changes))


def refused(spec: Spec, host: Host) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_of(spec, host)
    return [str(problem) for problem in caught.value.problems]


def test_apparmor() -> None:
    (operation,) = named(plan_of(with_process(apparmor_profile="strict")), "label")
    assert (operation.who, operation.pointer) == ("init", "/process/apparmorProfile")
    assert operation.fields() == {"file": "attr/apparmor/exec", "other": "attr/exec", "value": "exec strict"}


def test_selinux_labels_the_process_and_its_keys() -> None:
    plan = plan_of(with_process(selinux_label="u:r:t:s0"))
    names = [operation.name for operation in plan.operations]
    first, after, process = named(plan, "label")
    files = [one.fields()["file"] for one in (first, after, process)]
    assert files == ["attr/keycreate", "attr/keycreate", "attr/exec"]
    assert [one.fields()["value"] for one in (first, after, process)] == ["u:r:t:s0", "\n", "u:r:t:s0"]
    assert names.index("label") + 1 == names.index("keyring")


def test_labels_come_before_what_takes_the_privileges_away() -> None:
    names = [operation.name for operation in plan_of(with_process(apparmor_profile="strict")).operations]
    assert names.index("label") < min(names.index(name) for name in ("bounding", "set_user", "set_capabilities"))


def test_mounts() -> None:
    """New file systems get the option, the root of mqueue a label; what is there already, proc and sysfs nothing."""
    mounts = (
        Mount(destination="/tmp", type="tmpfs", source="tmpfs", options=("size=1m",)),
        Mount(destination="/dev/pts", type="devpts", source="devpts"),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue"),
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(destination="/sys", type="sysfs", source="sysfs"),
        Mount(destination="/data", source="/srv", options=("bind",)),
    )
    spec = spec_of("minimal")
    plan = plan_of(replace(spec, mounts=mounts, linux=replace(spec.linux, mount_label=LABEL)))
    options = {one.fields()["target"]: one.fields()["options"] for one in named(plan, "mount")}
    context = f'context="{LABEL}"'
    assert options["/tmp"] == ("size=1m", context)
    assert options["/dev/pts"] == (context,)
    assert options["/proc"] == options["/sys"] == options["/dev/mqueue"] == ()
    (queue,) = named(plan, "file_label")
    assert queue.fields() == {"target": "/dev/mqueue", "label": LABEL}


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (with_process(apparmor_profile="strict"), "/process/apparmorProfile: apparmor: config provided but"),
        (with_process(selinux_label="u:r:t:s0"), "/process/selinuxLabel: selinux label is specified in config, but"),
        (
            replace(spec_of("minimal"), linux=replace(spec_of("minimal").linux, mount_label="u:r:t:s0")),
            "/linux/mountLabel: selinux label is specified in config, but",
        ),
    ],
)
def test_a_host_without(spec: Spec, problem: str) -> None:
    (found,) = refused(spec, NEITHER)
    assert found.startswith(problem)


def test_all_are_listed() -> None:
    problems = refused(with_process(apparmor_profile="strict", selinux_label="a"), NEITHER)
    assert [problem.partition(":")[0] for problem in problems] == ["/process/apparmorProfile", "/process/selinuxLabel"]


def test_exec_refuses_too() -> None:
    wanted = Process(cwd="/", args=("ls",), selinux_label="a")
    with pytest.raises(ConfigError, match="/process/selinuxLabel"):
        build_exec(wanted, spec_of("minimal"), NEITHER, Options(id="x", bundle="/b"), (), (), None)


@pytest.mark.parametrize("profile", [None, "", "unconfined"])
def test_no_profile_is_fine(profile: str | None) -> None:
    """ "unconfined" is what a process without one is anyway where there is no AppArmor."""
    assert not named(plan_of(with_process(apparmor_profile=profile), NEITHER), "label")


def test_a_label_that_would_end_its_option() -> None:
    spec = replace(spec_of("minimal"), linux=replace(spec_of("minimal").linux, mount_label='a",suid,b="'))
    (problem,) = refused(spec, V1)
    assert "without quotes" in problem
