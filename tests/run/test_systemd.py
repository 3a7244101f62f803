"""--systemd-cgroup: systemd makes a container's cgroup, has its limits in its own view, and keeps them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Bundle, Runtime, Workshop, eventually, reap
from ordinary import AS_USER, USER, give, own, rootless

HERE = Path(__file__).parents[1]
ROOT = Path("/sys/fs/cgroup")
IS_THERE = Path("/run/systemd/system").is_dir() and (ROOT / "cgroup.controllers").exists()
pytestmark = pytest.mark.skipif(not IS_THERE, reason="needs systemd and cgroup v2: in the virtual machine")
FLAGS = ["--systemd-cgroup"]
MIB = 1 << 20
SLICE = "test-ocirun.slice"
IN_SLICE = f"test.slice/{SLICE}"
LIMITS = [
    *(f"cpu.{name}" for name in ("weight", "idle", "max", "max.burst")),
    *(f"memory.{name}" for name in ("min", "low", "high", "max", "swap.max", "zswap.max", "oom.group")),
    *("cpuset.cpus", "cpuset.mems", "io.weight", "io.max", "pids.max", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"),
]
# A device that the container may only read, and one that it may not have; whether there is a driver does not matter.
READ, DENIED = (10, 237), (10, 236)


def systemctl(*words: str, code: int = 0, prefix: tuple[str, ...] = ()) -> str:
    result = subprocess.run([*prefix, "systemctl", *words], capture_output=True, text=True, check=False)
    assert result.returncode == code, (words, result)
    return result.stdout


def show(unit: str, *names: str, prefix: tuple[str, ...] = (), user: bool = False) -> dict[str, str]:
    words = [*(["--user"] if user else []), "show", unit, *(f"--property={name}" for name in names)]
    found: dict[str, str] = {}
    for line in systemctl(*words, prefix=prefix).splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}; {value}" if name in found else value  # a line for each of DeviceAllow
    return found


def files(directory: Path) -> dict[str, str]:
    """The limits of a cgroup, as far as it has such files."""
    return {name: (directory / name).read_text() for name in LIMITS if (directory / name).exists()}


def in_slice(made: Bundle) -> Path:
    """Name a scope in a slice below another one."""
    made.linux["cgroupsPath"] = f"{SLICE}:test:{made.id}"
    return ROOT / IN_SLICE / f"test-{made.id}.scope"


def with_devices(made: Bundle, *rules: dict[str, object]) -> None:
    made.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor}
        for name, (major, minor) in (("read", READ), ("denied", DENIED))
    ]
    made.linux["resources"]["devices"] = list(rules)


ALLOWED = ({"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 237, "access": "r"})


def devices(runtime: Runtime, made: Bundle) -> list[bool]:
    """Reading the one, writing it, reading the other: what is allowed. (No driver is another error.)"""
    tried = (("cat", "/dev/read"), ("append", "/dev/read", "x"), ("cat", "/dev/denied"))
    found = [runtime("exec", made.id, "/probe", *words) for words in tried]
    return ["Operation not permitted" not in one.err for one in found]


def reap_all(processes: list[int], init: int) -> None:
    """PID 1 ends after those of its pid namespace, which our children hold up until we have reaped them."""
    for pid in sorted(processes, key=lambda pid: pid == init):
        assert reap(pid) == 137


@pytest.fixture(autouse=True)
def _no_units_left() -> Iterator[None]:
    yield
    left = systemctl("list-units", "--all", "--plain", "--no-legend", "*ocirun-*.scope", "test-*.scope")
    assert left == ""
    subprocess.run(["systemctl", "stop", SLICE], check=False, capture_output=True)


def test_a_whole_life(runtime: Runtime, bundle: Workshop) -> None:
    """--systemd-cgroup: limits are in systemd's own view and in the files, and stay there whatever systemd does; later
    commands know by themselves."""
    made = bundle("pause")
    directory = in_slice(made)
    made.linux["resources"] |= {
        "memory": {"limit": 64 * MIB, "reservation": 16 * MIB, "swap": 96 * MIB},
        "cpu": {"shares": 512, "quota": 12340, "period": 50000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 30},
        "blockIO": {"weight": 300},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
        "unified": {"memory.high": str(48 * MIB), "memory.oom.group": "1"},
    }
    wanted = {"cpu.max": "12340 50000\n", "memory.max": f"{64 * MIB}\n", "pids.max": "30\n"}
    if runtime.name != "runc":  # from 1.2 on
        made.linux["resources"]["cpu"]["burst"] = 1000
        wanted["cpu.max.burst"] = "1000\n"
    with_devices(made, *ALLOWED)
    pid = runtime.created(made, flags=FLAGS)
    unit = directory.name
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{directory.relative_to(ROOT)}\n"
    shown = {
        "Slice": SLICE,
        "Delegate": "yes",
        "MemoryMax": str(64 * MIB),
        "MemoryLow": str(16 * MIB),
        "MemoryHigh": str(48 * MIB),
        "MemorySwapMax": str(32 * MIB),
        "CPUWeight": (directory / "cpu.weight").read_text().strip(),
        "CPUQuotaPeriodUSec": "50ms",
        "AllowedCPUs": "0",
        "AllowedMemoryNodes": "0",
        "TasksMax": "30",
        "DevicePolicy": "strict",
        "CPUQuotaPerSecUSec": "246.800ms",
    }
    newer = {} if runtime.name == "runc" else {"OOMPolicy": "kill"}
    found = show(unit, *shown, *newer, "DeviceAllow")
    assert "/dev/char/10:237 r" in found.pop("DeviceAllow")
    if runtime.name == "runc":
        shown["CPUQuotaPerSecUSec"] = "250ms"
    assert found == shown | newer
    limits = files(directory)
    assert limits | wanted == limits
    runtime("start", made.id).ok()
    assert devices(runtime, made) == [True, False, False]

    systemctl("daemon-reload")
    assert files(directory) == limits
    systemctl("daemon-reexec")
    assert files(directory) == limits
    # Each makes systemd write what it knows of that controller.
    systemctl("set-property", "--runtime", unit, "MemoryMin=1M", "CPUAccounting=yes", "DeviceAllow=/dev/char/1:3 rwm")
    systemctl("set-property", "--runtime", unit, "CPUWeight=60", "TasksMax=31", "IOAccounting=yes")
    if runtime.name != "runc":
        assert files(directory) == limits | {"cpu.weight": "60\n", "memory.min": f"{MIB}\n", "pids.max": "31\n"}
    assert devices(runtime, made) == [True, False, False]

    runtime("update", "--memory", "80m", "--memory-swap", "100m", "--cpu-share", "1024", made.id).ok()
    expected = {"MemoryMax": str(80 * MIB), "MemorySwapMax": str(20 * MIB)}
    expected["CPUWeight"] = (directory / "cpu.weight").read_text().strip()
    assert show(unit, *expected) == expected
    assert (directory / "memory.max").read_text() == f"{80 * MIB}\n"
    limits = files(directory)
    systemctl("daemon-reload")
    systemctl("set-property", "--runtime", unit, "MemoryMin=2M")
    assert files(directory) == limits | {"memory.min": f"{2 * MIB}\n"}

    runtime("exec", "--detach", made.id, "/probe", "pause").ok()
    processes = runtime("ps", "--format", "json", made.id).json
    assert sorted(processes) == sorted(map(int, (directory / "cgroup.procs").read_text().split()))
    assert len(processes) == 2
    runtime("pause", made.id).ok()
    assert runtime.status(made) == "paused"
    runtime("resume", made.id).ok()
    runtime("kill", made.id, "KILL").ok()
    reap_all(processes, pid)
    runtime("delete", made.id).ok()
    assert not directory.exists()
    assert show(unit, "LoadState") == {"LoadState": "not-found"}


def test_without_a_path(runtime: Runtime, bundle: Workshop) -> None:
    """The container's id names the scope; an update that fails leaves systemd's view as it was."""
    made = bundle("pause")
    del made.linux["cgroupsPath"]
    made.linux["resources"]["memory"] = {"limit": 64 * MIB}
    pid = runtime.started(made, flags=FLAGS)
    unit = f"{'runc' if runtime.name == 'runc' else 'ocirun'}-{made.id}.scope"
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/system.slice/{unit}\n"
    if runtime.name != "runc":
        result = runtime("update", "--memory", "70m", "--cpuset-cpus", "4000", made.id)
        result.failed("/linux/resources/cpu/cpus")
        assert show(unit, "MemoryMax") == {"MemoryMax": str(64 * MIB)}
    runtime.end(made, pid)


@pytest.mark.ocirun  # runc leaves systemd a filter that denies everything, and puts its own in its place
def test_devices_that_are_denied_beside_all_others(runtime: Runtime, bundle: Workshop) -> None:
    """Which systemd cannot say."""
    made = bundle("pause")
    directory = in_slice(made)
    rule = {"allow": False, "type": "c", "major": 10, "minor": 236, "access": "rw"}
    with_devices(made, {"allow": True, "access": "rwm"}, rule)
    pid = runtime.started(made, flags=FLAGS)
    assert show(directory.name, "DevicePolicy") == {"DevicePolicy": "auto"}
    assert devices(runtime, made) == [True, True, False]
    systemctl("daemon-reload")
    systemctl("set-property", "--runtime", directory.name, "TasksMax=100")
    assert devices(runtime, made) == [True, True, False]
    runtime.end(made, pid)


def test_annotations(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    directory = in_slice(made)
    made.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "uint64 123",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.Description": "'something else'",
    }
    pid = runtime.started(made, flags=FLAGS)
    expected = {"TimeoutStopUSec": "2min 3s", "CollectMode": "inactive-or-failed", "Description": "something else"}
    assert show(directory.name, *expected) == expected
    runtime.end(made, pid)


def test_a_property_that_systemd_does_not_have(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    directory = in_slice(made)
    made.config["annotations"] = {"org.systemd.property.NoSuchThing": "1"}
    made.write()
    runtime("create", "-b", str(made.path), made.id, flags=FLAGS).failed("NoSuchThing")
    assert not directory.exists()


def test_a_failed_unit_of_that_name(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    directory = in_slice(made)
    words = ["systemd-run", "--quiet", "--scope", f"--unit={directory.name}", "--property=RuntimeMaxSec=1"]
    subprocess.run([*words, "sleep", "100"], check=False)
    eventually(lambda: show(directory.name, "ActiveState") == {"ActiveState": "failed"}, "the unit fails", 20)
    pid = runtime.started(made, flags=FLAGS)
    assert show(directory.name, "ActiveState") == {"ActiveState": "active"}
    runtime.end(made, pid)


def test_a_unit_of_that_name(runtime: Runtime, bundle: Workshop) -> None:
    """Another's stays as it is, whatever becomes of ours."""
    first, second = bundle("pause"), bundle("pause")
    directory = in_slice(first)
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
    pid = runtime.started(first, flags=FLAGS)
    second.write()
    result = runtime("create", "-b", str(second.path), second.id, flags=FLAGS)
    result.failed("container's cgroup is not empty: 1 process(es) found")
    assert runtime("delete", "--force", second.id).code == 0
    assert (directory / "cgroup.procs").read_text() == f"{pid}\n"
    assert runtime.status(first) == "running"
    runtime.end(first, pid)


def test_a_kill_by_systemd(runtime: Runtime, bundle: Workshop) -> None:
    """Whoever stops the unit ends the container."""
    made = bundle("pause")
    made.config["annotations"] = {"org.systemd.property.TimeoutStopSec": "1"}
    directory = in_slice(made)
    pid = runtime.started(made, flags=FLAGS)
    systemctl("stop", directory.name)
    assert reap(pid) in (137, 143)
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()


@pytest.mark.ocirun
@pytest.mark.parametrize("kind", ["fail", "kill"])
@pytest.mark.parametrize("step", ["create.scope", "create.created"])
def test_steps(runtime: Runtime, bundle: Workshop, kind: str, step: str) -> None:
    """As in cli/test_steps.py: no process, no unit and no cgroup is left."""
    made = bundle("pause")
    directory = in_slice(made)
    fault = [sys.executable, str(HERE / "drivers" / "faults.py"), f"{kind}:{step}"]
    made.write()
    result = runtime("create", "-b", str(made.path), made.id, flags=FLAGS, prefix=fault)
    assert result.code == (-9 if kind == "kill" else 1)
    if kind == "fail":
        runtime("state", made.id).failed("does not exist")
        assert not directory.exists()
    runtime("delete", "--force", made.id).ok()
    eventually(lambda: not directory.exists(), "the cgroup is gone")


# The systemd of an ordinary user


class Session:
    """A systemd for the user, as somebody has it who has logged in."""

    def __init__(self) -> None:
        self.home = Path(f"/run/user/{USER}")
        self.environment = ["env", "-u", "DBUS_SESSION_BUS_ADDRESS", f"XDG_RUNTIME_DIR={self.home}"]
        # In the host's mount namespace, where $XDG_RUNTIME_DIR is mounted when the tests are in theirs.
        self.prefix = ["nsenter", "--target", "1", "--mount", *AS_USER, *self.environment]
        self.top = ROOT / f"user.slice/user-{USER}.slice/user@{USER}.service"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    made = Session()
    subprocess.run(["useradd", "--uid", str(USER), "--no-create-home", "ocirun-tester"], check=True)
    systemctl("unmask", "systemd-logind.service")
    units = ("systemd-logind.service", f"user@{USER}.service")
    systemctl("start", *units)
    try:
        there = [*made.prefix, "test", "-S", str(made.home / "bus")]
        eventually(lambda: subprocess.run(there, check=False).returncode == 0, "the user's D-Bus", 60)
    except AssertionError as error:
        status = subprocess.run(["systemctl", "status", "--full", *units], capture_output=True, text=True, check=False)
        raise AssertionError(f"{error}\n{status.stdout}") from None
    yield made
    systemctl("stop", f"user@{USER}.service")
    subprocess.run(["userdel", "ocirun-tester"], check=True)


@pytest.fixture
def users(runtime: Runtime, session: Session) -> Runtime:
    return own(runtime)


def of_user(made: Bundle, **resources: object) -> Bundle:
    rootless(made)
    made.namespace("cgroup")
    made.linux["resources"] = resources
    give(made)
    return made


def test_the_systemd_of_a_user(users: Runtime, bundle: Workshop, session: Session) -> None:
    made = of_user(bundle("pause"), memory={"limit": 64 * MIB}, pids={"limit": 30}, cpu={"shares": 512})
    call = {"prefix": session.prefix}
    users("create", "-b", str(made.path), made.id, flags=FLAGS, **call).ok()
    pid = int(users("state", made.id, **call).json["pid"])
    unit = f"{'runc' if users.name == 'runc' else 'ocirun'}-{made.id}.scope"
    directory = session.top / "user.slice" / unit
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::/{directory.relative_to(ROOT)}\n"
    expected = {"MemoryMax": str(64 * MIB), "TasksMax": "30"}
    expected["CPUWeight"] = (directory / "cpu.weight").read_text().strip()
    as_user = tuple(session.prefix)
    assert show(unit, *expected, prefix=as_user, user=True) == expected
    limits = files(directory)
    assert (limits["memory.max"], limits["pids.max"]) == (f"{64 * MIB}\n", "30\n")
    users("start", made.id, **call).ok()
    systemctl("--user", "daemon-reload", prefix=as_user)
    assert files(directory) == limits
    users("update", "--pids-limit", "31", made.id, **call).ok()
    assert show(unit, "TasksMax", prefix=as_user, user=True) == {"TasksMax": "31"}
    assert (directory / "pids.max").read_text() == "31\n"
    users("exec", "--detach", made.id, "/probe", "pause", **call).ok()
    processes = [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    if users.name != "runc":  # from 1.5 on; before, its exec stays outside where the user may not move it
        assert len(processes) == 2
    users("pause", made.id, **call).ok()
    assert users("state", made.id, **call).json["status"] == "paused"
    users("resume", made.id, **call).ok()
    users("kill", made.id, "KILL", **call).ok()
    reap_all(processes, pid)
    users("delete", made.id, **call).ok()
    assert not directory.exists()
    assert show(unit, "LoadState", prefix=as_user, user=True) == {"LoadState": "not-found"}


def test_a_controller_that_is_not_delegated(users: Runtime, bundle: Workshop, session: Session) -> None:
    if "cpuset" in (session.top / "cgroup.controllers").read_text().split():
        pytest.fail("all controllers are the user's here: nothing to see")
    made = of_user(bundle("pause"), cpu={"cpus": "0"})
    result = users("create", "-b", str(made.path), made.id, flags=FLAGS, prefix=session.prefix)
    result.failed("cpuset")
    if users.name != "runc":
        result.failed("/linux/resources/cpu/cpus", "controller cpuset is not delegated to the user's systemd")
    users("state", made.id, prefix=session.prefix).failed("does not exist")


def test_no_session(runtime: Runtime, bundle: Workshop) -> None:
    made = of_user(bundle("pause"))
    prefix = [*AS_USER, "env", "-u", "XDG_RUNTIME_DIR", "-u", "DBUS_SESSION_BUS_ADDRESS"]
    result = own(runtime)("create", "-b", str(made.path), made.id, flags=FLAGS, prefix=prefix)
    result.failed("D-Bus") if runtime.name != "runc" else result.failed("dbus")
