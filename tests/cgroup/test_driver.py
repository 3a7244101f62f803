"""Where cgroups are put, that they are made and removed, and what is asked of them: in the kernel's own hierarchies
where they are there, else in a copy of such a tree."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocirun.cgroup import driver, members, oom
from ocirun.cgroup.paths import below
from ocirun.errors import HostError, OperationError
from ocirun.host import facts
from ocirun.plan.cgroup import CgroupDir, Placement
from ocirun.plan.host import Hierarchy, Host
from ocirun.spec.limits import BlockIo, Cpu, HugepageLimit, Memory, Pids
from ocirun.spec.model import DeviceRule, Linux, Process, Resources, Root, Spec

HOST = facts.host()
NAME = f"ocirun-driver-{os.getpid()}"
V2 = next((h for h in HOST.hierarchies if not h.controllers), None)
on_v1 = pytest.mark.skipif(HOST.unified, reason="needs cgroup v1")
ROOT_ONLY = Host(euid=0, in_user_namespace=False, unified=False, hierarchies=())


BOMB = """
import os, time
while True:
    try:
        if os.fork() and os.getpid() % 2:
            os._exit(0)
    except OSError:
        time.sleep(0.001)
"""


def spec(path: str | None = f"/{NAME}", resources: Resources | None = None) -> Spec:
    return Spec(
        oci_version="1.0.2",
        root=Root(path="rootfs"),
        process=Process(cwd="/"),
        linux=Linux(cgroups_path=path, resources=resources),
    )


def host(*hierarchies: Hierarchy, unified: bool = False, euid: int = 0, nested: bool = False) -> Host:
    return Host(euid=euid, in_user_namespace=nested, unified=unified, hierarchies=hierarchies)


def paths(placement: Placement) -> list[str]:
    return [directory.path for directory in placement.directories]


def texts(placement: Placement) -> list[tuple[str, ...]]:
    return [(operation.name, *map(str, operation.values)) for operation in placement.operations]


# Where


@pytest.mark.parametrize(
    ("wanted", "own", "root", "expected"),
    [
        ("/a/b", "/session", "/", "/m/a/b"),
        ("/../../a/./b//", "/session", "/", "/m/a/b"),
        ("a/b", "/session", "/", "/m/session/a/b"),
        ("../../a", "/session", "/", "/m/session/a"),
        (None, "/session", "/", "/m/session/id"),
        (None, "/", "/", "/m/id"),
        ("", "/", "/", "/m/id"),
        ("system.slice:docker:abc", "/", "/", "/m/system.slice:docker:abc"),
        ("/", "/session", "/", "/m"),
        # In a container: a part of the hierarchy is mounted, and names in /proc are from the hierarchy's root.
        ("/a", "/docker/1", "/docker/1", "/m/a"),
        ("a", "/docker/1/init", "/docker/1", "/m/init/a"),
        ("a", "/docker/1", "/docker/1", "/m/a"),
        ("a", "/docker/12", "/docker/1", "/m/a"),
    ],
)
def test_place_on_v1(wanted: str | None, own: str, root: str, expected: str) -> None:
    pids = Hierarchy(mountpoint="/m", controllers=("pids",), own=own, root=root)
    devices = Hierarchy(mountpoint="/d", controllers=("devices",), own="/", root="/")
    placement = driver.place(spec(wanted), host(pids, devices), "id", "auto")
    assert paths(placement)[0] == expected
    assert texts(placement)[0] == ("cgroup_create", expected)
    assert placement.operations[0].pointer == ("/linux/cgroupsPath" if wanted else "")
    assert all(operation.who == "parent" for operation in placement.operations)


@pytest.mark.parametrize(
    ("wanted", "own", "root", "expected"),
    [
        ("/a/b", "/user.slice/session", "/", "/m/a/b"),
        ("a/b", "/user.slice/session", "/", "/m/user.slice/a/b"),
        (None, "/user.slice/session", "/", "/m/user.slice/id"),
        (None, "/session", "/", "/m/id"),
        (None, "/", "/", "/m/id"),
        ("/a", "/docker/1", "/docker/1", "/m/a"),
        (None, "/docker/1/init", "/docker/1", "/m/id"),
        (None, "/docker/1", "/docker/1", "/m/id"),
    ],
)
def test_place_on_v2(wanted: str | None, own: str, root: str, expected: str) -> None:
    """A relative path is below the parent of the caller's own cgroup, which has processes and so no controllers."""
    hierarchy = Hierarchy(mountpoint="/m", controllers=(), own=own, root=root)
    placement = driver.place(spec(wanted), host(hierarchy, unified=True), "id", "auto")
    assert paths(placement) == [expected]
    assert texts(placement)[0] == ("cgroup_create", expected)


def test_other_hierarchies_are_left_alone() -> None:
    hierarchies = [
        Hierarchy(mountpoint=f"/{index}", controllers=controllers, own="/")
        for index, controllers in enumerate(
            [("cpu", "cpuacct"), ("name=systemd",), ("name=elogind",), ("debug",), ("devices",), ()]
        )
    ]
    placement = driver.place(spec("/a"), host(*hierarchies), "id", "auto")
    assert paths(placement) == ["/0/a", "/1/a", "/4/a", "/5/a"]


def test_limits_of_what_is_not_mounted() -> None:
    devices = Hierarchy(mountpoint="/d", controllers=("devices",), own="/")
    with pytest.raises(OperationError, match="cannot set pids limit: container could not join or create cgroup") as got:
        driver.place(spec("/a", Resources(pids=Pids(limit=3))), host(devices), "id", "auto")
    assert got.value.pointer == "/linux/resources/pids/limit"
    with pytest.raises(OperationError, match="cannot set devices limit"):  # without it nothing would be denied
        driver.place(spec("/a"), host(Hierarchy(mountpoint="/p", controllers=("pids",), own="/")), "id", "auto")
    with pytest.raises(HostError, match="no cgroup hierarchy is mounted"):
        driver.place(spec("/a"), host(), "id", "auto")


@pytest.mark.parametrize("unified", [False, True])
def test_device_rules_only_for_the_real_root(unified: bool) -> None:
    hierarchy = Hierarchy(mountpoint="/m", controllers=() if unified else ("devices",), own="/")
    rules = spec("/a", Resources(devices=(DeviceRule(allow=False, access="rwm"),)))
    for euid, nested in ((1000, False), (0, True)):
        placement = driver.place(rules, host(hierarchy, unified=unified, euid=euid, nested=nested), "id", "auto")
        assert texts(placement) == [("cgroup_create", "/m/a")]
    placement = driver.place(rules, host(hierarchy, unified=unified), "id", "auto")
    assert len(placement.operations) > 1
    if unified:
        assert placement.operations[1].name == "cgroup_devices"
        assert placement.operations[1].pointer == "/linux/resources/devices"


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs a function in a child as uid 1000; what it asserts counts."""

    def run(check: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setresgid(1000, 1000, 1000)
                os.setresuid(1000, 1000, 1000)
                check()
                code = 0
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    yield run


def test_rootless_without_permission(tmp_path: Path, ordinary: Callable[[Callable[[], None]], None]) -> None:
    """No cgroup where nobody asked for one and none may be made; an error where somebody did."""
    for name in ("cgroup.procs", "cgroup.controllers", "cgroup.subtree_control"):
        (tmp_path / name).touch()
    tmp = str(tmp_path)
    v2 = host(Hierarchy(mountpoint=tmp, controllers=(), own="/"), unified=True, euid=1000)
    v1 = host(Hierarchy(mountpoint=tmp, controllers=("pids",), own="/"), euid=1000)
    limits = Resources(pids=Pids(limit=3))

    def check() -> None:
        for one in (v1, v2):
            assert driver.place(spec(None), one, "id", "auto") == Placement(directories=(), operations=())
            assert paths(driver.place(spec(None), one, "id", "false")) == [f"{tmp}/id"]
            assert paths(driver.place(spec("/a"), one, "id", "auto")) == [f"{tmp}/a"]
            with pytest.raises(OperationError) as caught:
                driver.place(spec(None, limits), one, "id", "auto")
            assert caught.value.pointer == "/linux/resources/pids/limit"
            assert ("rootless needs no limits" if one is v2 else "could not join or create cgroup") in str(caught.value)
            placement = driver.place(spec("/a"), one, "id", "auto")
            with pytest.raises(OperationError, match="permission denied"):
                driver.perform(placement.directories, placement.operations)

    ordinary(check)
    os.chown(tmp_path, 1000, 1000)
    os.chown(tmp_path / "cgroup.procs", 1000, 1000)

    def with_permission() -> None:
        for one in (v1, v2):
            assert paths(driver.place(spec(None), one, "id", "auto")) == [f"{tmp}/id"]

    ordinary(with_permission)


# In the kernel


@pytest.fixture
def processes() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a program inside of a cgroup (or of none); all are gone at the end."""
    started = []

    def start(placement: Placement | None, *program: str, below: str = "") -> subprocess.Popen[bytes]:
        def join() -> None:
            for directory in placement.directories if placement else ():
                Path(f"{directory.path}{below}/cgroup.procs").write_text("0")

        process = subprocess.Popen(program or ("/bin/sleep", "100"), preexec_fn=join)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    for process in started:
        process.wait(10)  # who is still frozen does not end


@pytest.fixture
def made(request: pytest.FixtureRequest) -> Iterator[Callable[[Spec], Placement]]:
    """Makes cgroups; nothing of them is left."""
    placements = []

    def make(wanted: Spec, on: Host = HOST) -> Placement:
        placement = driver.place(wanted, on, NAME, "auto")
        placements.append(placement)
        driver.perform(placement.directories, placement.operations)
        return placement

    yield make
    for placement in placements:
        members.thaw(placement.directories)
        members.signal_all(placement.directories, signal.SIGKILL)
        members.remove(placement.directories)
    for hierarchy in HOST.hierarchies:
        path = Path(hierarchy.mountpoint, NAME)
        if path.exists():
            members.remove([CgroupDir(controllers=hierarchy.controllers, path=str(path), mountpoint="")])


def value(placement: Placement, controller: str, file: str) -> str:
    (directory,) = (d for d in placement.directories if controller in d.controllers)
    return Path(directory.path, file).read_text().strip()


@on_v1
def test_limits_read_back(made: Callable[..., Placement]) -> None:
    limits = Resources(
        memory=Memory(limit=64 << 20, swap=96 << 20, reservation=32 << 20, swappiness=10, disable_oom_killer=True),
        cpu=Cpu(shares=512, quota=20_000, period=50_000, burst=10_000, cpus="0", mems="0"),
        pids=Pids(limit=9),
        devices=(DeviceRule(allow=False, access="rwm"), DeviceRule(allow=True, type="c", major=9, minor=9, access="r")),
    )
    placement = made(spec(f"/{NAME}/deep/er", limits))
    assert value(placement, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value(placement, "memory", "memory.memsw.limit_in_bytes") == str(96 << 20)
    assert value(placement, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert value(placement, "memory", "memory.swappiness") == "10"
    assert value(placement, "memory", "memory.oom_control").startswith("oom_kill_disable 1")
    assert value(placement, "cpu", "cpu.shares") == "512"
    assert value(placement, "cpu", "cpu.cfs_quota_us") == "20000"
    assert value(placement, "cpu", "cpu.cfs_period_us") == "50000"
    assert value(placement, "cpu", "cpu.cfs_burst_us") == "10000"
    assert value(placement, "cpuset", "cpuset.cpus") == "0"
    assert value(placement, "cpuset", "cpuset.mems") == "0"
    assert value(placement, "pids", "pids.max") == "9"
    rules = value(placement, "devices", "devices.list").splitlines()
    assert "c 9:9 r" in rules and "c 1:3 rwm" in rules and "a *:* rwm" not in rules


@on_v1
def test_cpuset_is_inherited(made: Callable[..., Placement]) -> None:
    """Also below a directory that somebody else made and left empty."""
    mountpoint = next(h.mountpoint for h in HOST.hierarchies if "cpuset" in h.controllers)
    Path(mountpoint, NAME).mkdir()
    placement = made(spec(f"/{NAME}/deep/er"))
    whole = Path(mountpoint, "cpuset.cpus").read_text().strip()
    assert value(placement, "cpuset", "cpuset.cpus") == whole
    assert value(placement, "cpuset", "cpuset.mems") == Path(mountpoint, "cpuset.mems").read_text().strip()
    assert Path(mountpoint, NAME, "deep", "cpuset.cpus").read_text().strip() == whole


@on_v1
def test_a_cpuset_that_is_there_keeps_its_cpus(made: Callable[..., Placement]) -> None:
    made(spec(resources=Resources(cpu=Cpu(cpus="0"))))
    assert value(made(spec()), "cpuset", "cpuset.cpus") == "0"


@on_v1
def test_limits_in_any_order(made: Callable[..., Placement]) -> None:
    """In a cgroup that is there already: up, where swap has to rise first, and down, where it has to fall last."""
    for limit in (16, 64, 8):
        limits = Resources(
            memory=Memory(limit=limit << 20, swap=limit << 20),
            cpu=Cpu(quota=limit * 1000, period=limit * 1000, burst=limit * 1000),
        )
        placement = made(spec(resources=limits))
        assert value(placement, "memory", "memory.limit_in_bytes") == str(limit << 20)
        assert value(placement, "memory", "memory.memsw.limit_in_bytes") == str(limit << 20)
        assert value(placement, "cpu", "cpu.cfs_burst_us") == str(limit * 1000)


@on_v1
def test_a_refused_value(made: Callable[..., Placement]) -> None:
    """The error has the pointer and the kernel's reason, and everything that was made is gone, parents too."""
    for limits, pointer in (
        (Resources(cpu=Cpu(cpus="4000")), "/linux/resources/cpu/cpus"),
        (Resources(memory=Memory(limit=8 << 20, swap=4 << 20)), "/linux/resources/memory/swap"),
        (Resources(cpu=Cpu(period=5)), "/linux/resources/cpu/period"),
        (Resources(block_io=BlockIo(leaf_weight=100)), "/linux/resources/blockIO/leafWeight"),
    ):
        with pytest.raises(OperationError) as caught:
            made(spec(f"/{NAME}/deep", limits))
        assert caught.value.pointer == pointer
        assert caught.value.errno in (errno.EINVAL, errno.ERANGE, errno.ENOENT, errno.EACCES, errno.ENODEV)
        for hierarchy in HOST.hierarchies:
            assert not Path(hierarchy.mountpoint, NAME).exists()


@on_v1
def test_absent_files(made: Callable[..., Placement]) -> None:
    """This kernel has no CFQ; a weight goes to BFQ's file where that is there."""
    blkio = next(h.mountpoint for h in HOST.hierarchies if "blkio" in h.controllers)
    placement = made(spec(f"/{NAME}/probe"))
    files = {path.name for path in Path(blkio, NAME, "probe").iterdir()}
    members.remove(placement.directories)
    limits = Resources(block_io=BlockIo(weight=200))
    if "blkio.bfq.weight" in files:
        assert "200" in value(made(spec(f"/{NAME}/x", limits)), "blkio", "blkio.bfq.weight")
    else:
        with pytest.raises(OperationError, match="no such file or directory"):
            made(spec(f"/{NAME}/x", limits))


def test_who_is_in_it(made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]) -> None:
    placement = made(spec())
    assert members.pids(placement.directories) == []
    assert not members.signal_all(placement.directories, signal.SIGTERM)
    first = processes(placement)
    for directory in placement.directories:
        Path(directory.path, "below").mkdir()
        # v2 has no files of a controller there that nothing enabled, and lets nothing be written to new ones.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            for file in ("cpuset.cpus", "cpuset.mems"):
                Path(directory.path, "below", file).write_text(Path(directory.path, file).read_text())
    second = processes(placement, below="/below")
    assert members.pids(placement.directories) == sorted((first.pid, second.pid))
    assert members.signal_all(placement.directories, signal.SIGTERM)
    assert (first.wait(5), second.wait(5)) == (-signal.SIGTERM, -signal.SIGTERM)
    members.remove(placement.directories)
    assert not any(Path(path).exists() for path in paths(placement))
    members.remove(placement.directories)  # nothing to do is no error
    assert members.pids(placement.directories) == []


def test_more_processes_than_fit_a_page(
    made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """The kernel gives a list of pids by pages, not quite full ones."""
    placement = made(spec())
    shell = processes(placement, "/bin/sh", "-c", "for i in $(seq 900); do sleep 100 & done; wait")
    end = time.monotonic() + 20
    while len(members.pids(placement.directories)) < 901:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert members.signal_all(placement.directories, signal.SIGKILL)
    assert shell.wait(5) == -signal.SIGKILL
    members.remove(placement.directories)


def test_freeze(made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]) -> None:
    placement = made(spec())
    assert not members.frozen(placement.directories)
    process = processes(placement)
    members.freeze(placement.directories)
    assert members.frozen(placement.directories)
    members.signal_all(placement.directories, signal.SIGTERM)
    assert members.frozen(placement.directories), "still paused"
    if not HOST.unified:  # v2: "a process can be killed by a fatal signal" while frozen
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
    members.thaw(placement.directories)
    assert not members.frozen(placement.directories)
    assert process.wait(5) == -signal.SIGTERM
    process = processes(placement)
    members.freeze(placement.directories)
    members.signal_all(placement.directories, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL, "killing does not wait for a thaw"


def test_a_fork_bomb_is_killed(
    made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    placement = made(spec(resources=Resources(pids=Pids(limit=60))))
    bomb = processes(placement, sys.executable, "-c", BOMB)
    time.sleep(0.3)
    assert members.signal_all(placement.directories, signal.SIGKILL)
    bomb.wait(5)
    end = time.monotonic() + 5
    while members.pids(placement.directories):
        assert time.monotonic() < end
        time.sleep(0.01)
    members.remove(placement.directories)


def test_a_signal_reaches_who_is_forked_meanwhile(
    made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A process that is another one all the time: it has to stand still to be told."""
    placement = made(spec())
    for _ in range(10):
        processes(placement, sys.executable, "-c", "import os\nwhile True:\n if os.fork(): os._exit(0)")
        time.sleep(0.1)
        assert members.signal_all(placement.directories, signal.SIGTERM)
        end = time.monotonic() + 2
        while members.pids(placement.directories):
            if time.monotonic() > end:
                members.signal_all(placement.directories, signal.SIGKILL)
                pytest.fail("it has not been told")
            time.sleep(0.01)


@pytest.mark.parametrize(("state", "expected"), [("THAWED", False), ("FREEZING", True), ("FROZEN", True)])
def test_freezing_is_not_running(tmp_path: Path, state: str, expected: bool) -> None:
    """On v1 it can take any time: as long as a task is in the kernel and cannot be stopped there."""
    (tmp_path / "freezer.state").write_text(f"{state}\n")
    directory = CgroupDir(controllers=("freezer",), path=str(tmp_path), mountpoint=str(tmp_path))
    assert members.frozen((directory,)) is expected


def test_in_use_and_frozen_ones_are_refused(
    made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    placement = made(spec())
    made(spec())  # an empty one is taken
    process = processes(placement)
    with pytest.raises(HostError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        made(spec())
    assert process.poll() is None
    process.kill()
    process.wait()
    members.freeze(placement.directories)
    with pytest.raises(HostError, match="container's cgroup unexpectedly frozen"):
        made(spec())
    members.thaw(placement.directories)
    made(spec())


def test_remove_with_a_process(
    made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    placement = made(spec())
    process = processes(placement)
    with pytest.raises(HostError, match=r"unable to remove container's cgroup: .*: device or resource busy"):
        members.remove(placement.directories)
    process.kill()  # not reaped: a zombie is in nobody's way
    members.remove(placement.directories)


@on_v1
def test_oom_killed(made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]) -> None:
    placement = made(spec(resources=Resources(memory=Memory(limit=8 << 20, swap=8 << 20))))
    assert not oom.killed(placement.directories)
    eater = processes(placement, "/bin/sh", "-c", "a=$(head -c 64M /dev/zero | tr '\\0' x)")
    eater.wait(10)
    assert oom.killed(placement.directories)


@pytest.fixture
def v2(made: Callable[..., Placement]) -> Iterator[Host]:
    """The hierarchy of cgroup v2 as if it were the only one, and its controllers as they were."""
    assert V2 is not None
    control = Path(V2.mountpoint, "cgroup.subtree_control")
    before = control.read_text().split()
    yield host(V2, unified=True)
    for controller in set(control.read_text().split()) - set(before):
        for path in sorted(Path(V2.mountpoint).glob(f"{NAME}*/**/"), reverse=True):
            (path / "cgroup.subtree_control").write_text(f"-{controller}")
        control.write_text(f"-{controller}")


def test_v2(v2: Host, made: Callable[..., Placement], processes: Callable[..., subprocess.Popen[bytes]]) -> None:
    """All that does not need more controllers than are left to v2 here."""
    assert V2 is not None
    controllers = Path(V2.mountpoint, "cgroup.controllers").read_text().split()
    placement = made(spec(f"/{NAME}/deep/er"), v2)
    leaf = Path(V2.mountpoint, NAME, "deep", "er")
    assert paths(placement) == [str(leaf)]
    assert (leaf / "cgroup.controllers").read_text().split() == controllers
    process = processes(placement)
    assert members.pids(placement.directories) == [process.pid]
    members.freeze(placement.directories)
    assert members.frozen(placement.directories)
    assert "frozen 1" in (leaf / "cgroup.events").read_text()
    members.thaw(placement.directories)
    assert members.signal_all(placement.directories, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL
    with pytest.raises(OperationError, match="controller nosuch is not available here") as caught:
        made(spec(f"/{NAME}/other", Resources(unified={"nosuch.max": "1"})), v2)
    assert caught.value.pointer == "/linux/resources/unified/nosuch.max"
    assert not Path(V2.mountpoint, NAME, "other").exists()
    made(spec(f"/{NAME}/third", Resources(unified={"cgroup.max.depth": "3"})), v2)
    assert Path(V2.mountpoint, NAME, "third", "cgroup.max.depth").read_text() == "3\n"


def test_v2_limits(v2: Host, made: Callable[..., Placement]) -> None:
    assert V2 is not None
    if "hugetlb" not in Path(V2.mountpoint, "cgroup.controllers").read_text().split():
        pytest.skip("no controller is left to cgroup v2")
    made(spec(f"/{NAME}/deep", Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4 << 20),))), v2)
    assert Path(V2.mountpoint, NAME, "deep", "hugetlb.2MB.max").read_text() == "4194304\n"
    assert Path(V2.mountpoint, NAME, "deep", "hugetlb.2MB.rsvd.max").read_text() == "4194304\n"


def test_v2_below_threads(v2: Host, made: Callable[..., Placement]) -> None:
    """In a threaded subtree there are no limits of memory, and the error says so."""
    assert V2 is not None
    threaded = Path(V2.mountpoint, f"{NAME}-t")
    threaded.mkdir()
    (threaded / "sub").mkdir()
    (threaded / "sub" / "cgroup.type").write_text("threaded")
    try:
        said = (
            r"^/linux/resources/memory/limit: write 1048576 to .*/memory\.max: no controller memory there: "
            r"cannot enter cgroupv2 .* with domain controllers -- it is in an invalid state \(cgroup\.type\)"
        )
        with pytest.raises(OperationError, match=said):
            made(spec(f"/{NAME}-t/sub/x", Resources(memory=Memory(limit=1 << 20))), v2)
        assert not (threaded / "sub" / "x").exists()
        placement = made(spec(f"/{NAME}-t/sub/x"), v2)
        assert (threaded / "sub" / "x" / "cgroup.type").read_text() == "threaded\n"
        members.remove(placement.directories)
    finally:
        members.remove([CgroupDir(controllers=(), path=str(threaded), mountpoint="")])


# In a copy


def test_oom_killed_on_v2(tmp_path: Path) -> None:
    directories = [CgroupDir(controllers=(), path=str(tmp_path), mountpoint=str(tmp_path))]
    assert not oom.killed(directories)
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not oom.killed(directories)
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert oom.killed(directories)


def test_processes_of_other_pid_namespaces(tmp_path: Path) -> None:
    """They are "0" in the kernel's list, and kill(0) would be the end of ourselves."""
    (tmp_path / "cgroup.procs").write_text("0\n2147483646\n0\n")
    directories = [CgroupDir(controllers=(), path=str(tmp_path), mountpoint=str(tmp_path))]
    assert members.pids(directories) == [2147483646]
    assert members.signal_all(directories, signal.SIGTERM)


def test_below() -> None:
    assert below("/a/./b/../c//") == "a/c"
    assert below("../..") == ""
