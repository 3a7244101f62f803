"""systemd's driver against somebody who speaks D-Bus as systemd does: what is asked of it, and whatever goes wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakesystemd import GARBAGE, HANG_UP, SILENCE, Failure, FakeSystemd
from harness import Runtime, Workshop, cgroup_roots, reap
from plandriver import ORDINARY, V2, named, options_for, spec_of
from plandriver import V1 as PLAIN_V1

import ocirun
import ocirun.host.systemd
from ocirun.cgroup import driver, systemd
from ocirun.errors import ConfigError, HostError, OperationError
from ocirun.host.systemd import Manager
from ocirun.plan.build import build
from ocirun.plan.cgroup import CgroupDir, Placement, Unit
from ocirun.plan.execute import build_exec
from ocirun.plan.host import Hierarchy, Host
from ocirun.plan.show import describe, to_json
from ocirun.record import replace
from ocirun.spec.limits import Pids
from ocirun.spec.model import Resources, Spec

DEVICES = Hierarchy(mountpoint="/d", controllers=("devices",), own="/")
V1 = replace(PLAIN_V1, hierarchies=(*PLAIN_V1.hierarchies, DEVICES))
UNIT = Unit(name="test-box.scope", user=False)
MINIMAL = spec_of("minimal")
EXISTS = Failure("org.freedesktop.systemd1.UnitExists", "Unit test-box.scope was already loaded.")


def spec(path: str | None, **changes: Any) -> Spec:
    return replace(MINIMAL, linux=replace(MINIMAL.linux, cgroups_path=path, **changes))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSystemd]:
    made = FakeSystemd(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", made.address)
    monkeypatch.setattr(ocirun.host.systemd, "SECONDS", 5.0)
    yield made
    made.close()


# Where


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("system.slice:docker:abc", "/system.slice/docker-abc.scope"),
        ("kubepods-besteffort-pod1_2.slice:cri:x", "/kubepods.slice/kubepods-besteffort.slice/"
         "kubepods-besteffort-pod1_2.slice/cri-x.scope"),
        ("-.slice:a:b", "/a-b.scope"),
        (":a:b", "/system.slice/a-b.scope"),
        (None, "/system.slice/ocirun-id.scope"),
    ],
)  # fmt: skip
def test_place(path: str | None, expected: str) -> None:
    on_v2, on_v1 = (driver.place(spec(path), host, "id", "auto", True) for host in (V2, V1))
    assert [d.path for d in on_v2.directories] == [f"/sys/fs/cgroup{expected}"]
    assert on_v2.unit == Unit(name=expected.rpartition("/")[2], user=False)
    assert on_v2.joined == () and on_v2.operations == ()
    # On v1 systemd moves a process in its own hierarchy only.
    joined = [f"{where}{expected}" for where in ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/d")]
    assert [d.path for d in on_v1.joined] == joined
    assert [operation.name for operation in on_v1.operations] == ["cgroup_create"] * 3
    assert {d.path for d in on_v1.directories} == {*joined, f"/sys/fs/cgroup/systemd{expected}"}


def test_ids_that_units_cannot_have() -> None:
    placement = driver.place(spec(None), V2, "a+b", "auto", True)
    assert placement.unit == Unit(name="ocirun-a\\x2bb.scope", user=False)


@pytest.mark.parametrize(
    "path",
    [
        "/a", "a", "a:b", "a:b:c:d", "a:b:c", "a--b.slice:b:c", ".slice:b:c", "a.slice:b:c.slice", "a.slice:b:c/d",
        "a/b.slice:c:d", f"a.slice:b:{'x' * 250}",
    ],
)  # fmt: skip
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ConfigError, match="/linux/cgroupsPath: expected"):
        driver.place(spec(path), V2, "id", "auto", True)


def test_place_of_a_user(fake: FakeSystemd) -> None:
    placement = driver.place(spec("user.slice:a:b"), ORDINARY, "id", "auto", True)
    inside = "/sys/fs/cgroup/user.slice/user-1.slice/user@1.service"
    assert [d.path for d in placement.directories] == [f"{inside}/user.slice/a-b.scope"]
    assert placement.unit == Unit(name="a-b.scope", user=True)
    with pytest.raises(HostError, match="version 2"):
        driver.place(spec("user.slice:a:b"), replace(V1, euid=1000), "id", "auto", True)


@pytest.mark.parametrize(
    ("own", "rootlesskit", "expected"),
    [
        ("/user.slice/user-1000.slice/session-1.scope", None, True),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", None, True),
        ("/user.slice/user-0.slice/session-1.scope", None, False),
        ("/system.slice/x.service", None, False),
        ("/", "1000", True),
    ],
)
def test_root_of_a_user_namespace(
    own: str, rootlesskit: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be some user, or have started a systemd there."""
    if rootlesskit:
        monkeypatch.setenv("ROOTLESSKIT_PARENT_EUID", rootlesskit)
    host = replace(V2, in_user_namespace=True, hierarchies=(replace(V2.hierarchies[0], own=own),))
    assert systemd.of_user(host, "auto") == expected
    assert systemd.of_user(host, "true") and not systemd.of_user(host, "false")
    assert systemd.of_user(ORDINARY, "auto") and not systemd.of_user(V2, "auto")


def plan(host: Host, wanted: Spec) -> tuple[Placement, Any]:
    placement = driver.place(wanted, host, "box", "auto", True)
    return placement, build(wanted, host, options_for(wanted), placement, None)


@pytest.mark.parametrize("host", [V1, V2], ids=["v1", "v2"])
def test_the_plan(host: Host) -> None:
    """The scope comes when PID 1 exists, before it has a cgroup namespace; then limits are written. Nobody joins."""
    wanted = replace(spec("system.slice:test:box"), annotations={"org.systemd.property.CollectMode": "'inactive'"})
    wanted = replace(wanted, linux=replace(wanted.linux, namespaces=spec_of("usual").linux.namespaces))
    placement, made = plan(host, wanted)
    names = [operation.name for operation in made.operations]
    at = names.index("systemd_scope")
    assert names[at - 1] == "clone"
    assert "cgroup_write" not in names[:at] and names.count("join_cgroup") == len(placement.joined)
    assert not [one for one in named(made, "open") if "cgroup.procs" in one.values[0]]
    scope = made.operations[at]
    assert describe(scope).startswith("have systemd make test-box.scope (")
    assert ("CollectMode", "s", "inactive", 0) in scope.values[2]
    assert '"CollectMode"' in to_json(made)


def test_the_plan_of_exec() -> None:
    """Root joins by itself; a user asks his systemd, since he may not leave his session."""
    directories = driver.place(spec("system.slice:test:box"), V2, "box", "auto", True).directories
    for host, unit, names in (
        (V2, UNIT, {"open_cgroup"}),
        (V2, replace(UNIT, user=True), {"open_cgroup"}),
        (ORDINARY, replace(UNIT, user=True), {"systemd_attach"}),
    ):
        made = build_exec(MINIMAL.process, MINIMAL, host, options_for(MINIMAL), directories, (), None, unit)
        assert {op.name for op in made.operations} & {"open_cgroup", "systemd_attach"} == names


# What is asked of systemd


def perform(begun: list[bool] | None = None, **changes: Any) -> None:
    """Start the scope, where the cgroup is a directory of this test's."""
    placement = driver.place(spec("system.slice:test:box", **changes), V2, "box", "auto", True)
    note = begun if begun is not None else []
    systemd.perform((), placement.scope[:1], 4321, lambda: note.append(True))


def test_what_systemd_is_told(fake: FakeSystemd) -> None:
    begun: list[bool] = []
    perform(begun, resources=Resources(pids=Pids(limit=5)))
    ((name, mode, properties, auxiliary),) = fake.bodies("StartTransientUnit")
    assert (name, mode, auxiliary) == ("test-box.scope", "replace", [])
    told = dict(properties)
    assert told["PIDs"] == ("au", [4321])
    assert told["Slice"] == ("s", "system.slice")
    assert told["Delegate"] == ("b", True)
    assert told["DefaultDependencies"] == ("b", False)
    assert told["TasksMax"] == ("t", 5)
    assert told["DevicePolicy"] == ("s", "strict")
    assert all(told[f"{kind}Accounting"] == ("b", True) for kind in ("Memory", "CPU", "IO", "Tasks"))
    assert begun == [True]
    assert "Subscribe" in [call for call, _ in fake.calls]


@pytest.mark.parametrize(("version", "knows"), [("257.8-1~deb13u2", True), ("v252", False), ("249 (249.11)", False)])
def test_properties_that_are_newer(tmp_path: Path, fake: FakeSystemd, version: str, knows: bool) -> None:
    fake.version = version
    perform(resources=Resources(unified={"memory.oom.group": "1"}))
    ((_, _, properties, _),) = fake.bodies("StartTransientUnit")
    assert ("OOMPolicy" in dict(properties)) == knows


def test_attach_tell_and_stop(fake: FakeSystemd) -> None:
    options = options_for(MINIMAL)
    for below in ("", "/inner"):
        path = f"/sys/fs/cgroup/a.slice/test-box.scope{below}"
        where = CgroupDir(controllers=(), path=path, mountpoint="/sys/fs/cgroup")
        attach = build_exec(MINIMAL.process, MINIMAL, ORDINARY, options, (where,), (), None, replace(UNIT, user=True))
        systemd.perform((), named(attach, "systemd_attach"), 4321, lambda: None)
    assert fake.bodies("AttachProcessesToUnit") == [("test-box.scope", below, [4321]) for below in ("", "/inner")]
    systemd.tell(UNIT, [("TasksMax", "t", 3, 0)])
    assert fake.bodies("SetUnitProperties") == [("test-box.scope", True, [("TasksMax", ("t", 3))])]
    fake.made["test-box.scope"] = []
    systemd.stop(UNIT)
    systemd.stop(UNIT)  # gone
    assert fake.bodies("StopUnit") == [("test-box.scope", "replace")] * 2
    assert fake.bodies("ResetFailedUnit") == [("test-box.scope",)] * 2


# Whatever goes wrong


def test_a_stale_unit_is_reset(fake: FakeSystemd) -> None:
    fake.answers["StartTransientUnit"] = [EXISTS]
    perform()
    assert [call for call, _ in fake.calls if call[:5] in ("Start", "Reset")] == [
        "StartTransientUnit", "ResetFailedUnit", "StartTransientUnit",
    ]  # fmt: skip


def test_another_unit_of_that_name(fake: FakeSystemd) -> None:
    fake.answers["StartTransientUnit"] = [EXISTS, EXISTS]
    begun: list[bool] = []
    with pytest.raises(OperationError, match=r"/linux/cgroupsPath: have systemd make test-box\.scope .*already loaded"):
        perform(begun)
    assert begun == []  # it is not ours to remove


@pytest.mark.parametrize("result", ["failed", "canceled", "timeout", "dependency"])
def test_jobs_that_fail(fake: FakeSystemd, result: str) -> None:
    fake.result = result
    begun: list[bool] = []
    with pytest.raises(OperationError, match=rf"the job for test-box\.scope: {result}"):
        perform(begun)
    assert begun == [True]


def test_a_job_that_does_not_end(fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocirun.host.systemd, "SECONDS", 0.3)
    fake.result = ""
    begun: list[bool] = []
    with pytest.raises(OperationError, match=r"no answer to the job of StartTransientUnit within 0\.3 s"):
        perform(begun)
    assert begun == [True]  # it may still come


@pytest.mark.parametrize(
    ("member", "answer", "said"),
    [
        ("StartTransientUnit", Failure("org.freedesktop.DBus.Error.AccessDenied", "Permission denied"), "Permission"),
        ("StartTransientUnit", Failure("org.freedesktop.DBus.Error.Failed"), "org.freedesktop.DBus.Error.Failed"),
        ("StartTransientUnit", SILENCE, r"no answer to StartTransientUnit within 0\.3 s"),
        ("StartTransientUnit", HANG_UP, "connection reset by peer"),
        ("StartTransientUnit", GARBAGE, "an answer that is no message"),
        ("Hello", HANG_UP, "connection reset by peer"),
        ("Hello", SILENCE, r"no answer to Hello within 0\.3 s"),
        ("Subscribe", Failure("org.freedesktop.DBus.Error.ServiceUnknown", "Not activatable"), "Not activatable"),
    ],
)
def test_a_systemd_that_fails(
    fake: FakeSystemd, monkeypatch: pytest.MonkeyPatch, member: str, answer: object, said: str
) -> None:
    monkeypatch.setattr(ocirun.host.systemd, "SECONDS", 0.3)
    fake.answers[member] = [answer]
    with pytest.raises(OperationError, match=said):
        perform()


def test_signals_right_after_the_authentication(fake: FakeSystemd) -> None:
    """systemd's own socket tells everybody of its units, from the first moment on."""
    fake.hurries = True
    systemd.tell(UNIT, [("TasksMax", "t", 3, 0)])
    assert fake.bodies("SetUnitProperties") == [("test-box.scope", True, [("TasksMax", ("t", 3))])]


def test_a_bus_that_refuses_us(fake: FakeSystemd) -> None:
    fake.rejects = True
    with pytest.raises(OperationError, match="the bus refuses us: REJECTED EXTERNAL"):
        perform()


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "unix:abstract=nobody-listens-here", "tcp:host=x", "x"])
def test_no_bus(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for whose in ("SYSTEM", "SESSION"):
        monkeypatch.setenv(f"DBUS_{whose}_BUS_ADDRESS", address)
        with pytest.raises(HostError, match="D-Bus"):
            Manager(whose == "SESSION")
    systemd.stop(UNIT)  # the cgroup can be removed without


def test_no_session_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(HostError, match=r"\$DBUS_SESSION_BUS_ADDRESS and \$XDG_RUNTIME_DIR name no D-Bus session"):
        Manager(True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(HostError, match=r"/bus: no such file or directory; .*/systemd/private: no such file"):
        Manager(True)
    # The bus in there, or systemd's own socket, which is no bus.
    for name in ("systemd/private", "bus"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        fake = FakeSystemd(tmp_path / name)
        with Manager(True) as manager:
            assert manager.version() == 257
        assert ("Hello" in [call for call, _ in fake.calls]) == (name == "bus")
        fake.close()


# Whole containers, with a systemd that makes cgroups

FLAGS = ["--systemd-cgroup"]


class Container:
    """One in a scope of the fake systemd."""

    def __init__(self, runtime: Runtime, bundle: Workshop, fake: FakeSystemd) -> None:
        roots = cgroup_roots()
        fake.roots = list({path: 0 for name, path in roots.items() if name in ("", "systemd")})
        self.bundle = bundle("pause")
        self.slice = f"ocirun{os.getpid()}.slice"
        self.bundle.linux["cgroupsPath"] = f"{self.slice}:test:{self.bundle.id}"
        self.unit = f"test-{self.bundle.id}.scope"
        self.bundle.write()
        self.directories = [path / self.slice / self.unit for path in dict.fromkeys(roots.values())]
        self.env = fake.environment()

    @property
    def words(self) -> tuple[str, ...]:
        return ("create", "--bundle", str(self.bundle.path), self.bundle.id)

    def is_gone(self) -> bool:
        return not any(directory.exists() for directory in self.directories)

    def remove_slices(self) -> None:
        for directory in self.directories:
            if directory.parent.exists():
                directory.parent.rmdir()


@pytest.fixture
def container(
    leftovers: object, runtime: Runtime, bundle: Workshop, fake: FakeSystemd
) -> Iterator[Container]:
    made = Container(runtime, bundle, fake)
    yield made
    runtime.clean()
    made.remove_slices()


pytestmark = pytest.mark.ocirun


def test_a_whole_life(runtime: Runtime, container: Container, fake: FakeSystemd) -> None:
    """--systemd-cgroup of `create`; later commands know by themselves."""
    made, env = container.bundle, container.env
    runtime(*container.words, flags=FLAGS, env=env).ok()
    pid = int(runtime.state(made)["pid"])
    cgroups = [line.partition("/")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    assert cgroups.count(f"{container.slice}/{container.unit}") >= len(fake.roots)
    runtime("start", made.id).ok()
    runtime("exec", "--detach", made.id, "/probe", "pause", env=env).ok()
    processes = runtime("ps", "--format", "json", made.id).json
    assert len(processes) == 2
    if "pids" in cgroup_roots() or "pids" in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
        runtime("update", "--pids-limit", "20", made.id, env=env).ok()
        assert fake.bodies("SetUnitProperties") == [(container.unit, True, [("TasksMax", ("t", 20))])]
    runtime("kill", made.id, "KILL").ok()
    for one in sorted(processes, key=lambda one: one == pid):  # PID 1 ends after those of its pid namespace
        assert reap(one) == 137
    runtime("delete", made.id, env=env).ok()
    assert fake.bodies("StopUnit") == [(container.unit, "replace")]
    assert container.is_gone()


def test_plan_asks_nobody(runtime: Runtime, container: Container, fake: FakeSystemd) -> None:
    words = ("plan", "--bundle", str(container.bundle.path))
    table = runtime(*words, flags=FLAGS, env=container.env).ok().out
    assert f"have systemd make {container.unit} (" in table
    rows = runtime(*words, "--json", flags=FLAGS, env=container.env).json
    (row,) = [row for row in rows if row["operation"] == "systemd_scope"]
    assert ["Slice", "s", container.slice, 0] in row["fields"]["properties"]
    assert (row["who"], row["pointer"]) == ("parent", "/linux/cgroupsPath")
    assert fake.calls == []


def test_the_library(container: Container, fake: FakeSystemd, tmp_path: Path) -> None:
    made = ocirun.Runtime(root=str(tmp_path / "root")).create(
        container.bundle.id, str(container.bundle.path), systemd_cgroup=True
    )
    assert container.unit in Path(f"/proc/{made.pid}/cgroup").read_text()
    made.delete(force=True)
    assert fake.bodies("StopUnit") == [(container.unit, "replace")]
    assert container.is_gone()


def test_delete_without_systemd(runtime: Runtime, container: Container) -> None:
    """It has crashed, say: the cgroup itself goes without."""
    runtime(*container.words, flags=FLAGS, env=container.env).ok()
    env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    runtime("delete", "--force", container.bundle.id, env=env).ok()
    assert container.is_gone()


def test_a_failed_job_leaves_nothing(runtime: Runtime, container: Container, fake: FakeSystemd) -> None:
    fake.result = "failed"
    result = runtime(*container.words, flags=FLAGS, env=container.env)
    result.failed("/linux/cgroupsPath", f"have systemd make {container.unit}", "the job", "failed")
    runtime("state", container.bundle.id).failed("does not exist")
    assert container.is_gone()


@pytest.mark.parametrize("kind", ["fail", "kill"])
@pytest.mark.parametrize("step", ["create.pid", "create.scope", "create.created"])
def test_steps(runtime: Runtime, container: Container, step: str, kind: str) -> None:
    import sys

    fault = [sys.executable, str(Path(__file__).parents[1] / "drivers" / "faults.py"), f"{kind}:{step}"]
    result = runtime(*container.words, flags=FLAGS, env=container.env, prefix=fault)
    assert result.code == (-9 if kind == "kill" else 1)
    runtime("delete", "--force", container.bundle.id, env=container.env).ok()
    assert container.is_gone()


def test_no_systemd(runtime: Runtime, container: Container) -> None:
    env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    result = runtime(*container.words, flags=FLAGS, env=env)
    result.failed("connect to systemd by D-Bus", "/nowhere/bus: no such file or directory")
    runtime("state", container.bundle.id).failed("does not exist")
    assert container.is_gone()
