"""The container's cgroup: where it is, its limits as the kernel has them, who is in it, and that it goes away."""

from __future__ import annotations

import os
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop, cgroup_directory, cgroup_roots, mounts

V2 = set(cgroup_roots()) == {""}


def read(controller: str, bundle: Bundle, name: str) -> str:
    return (cgroup_directory(controller, bundle.id) / name).read_text().strip()


@pytest.mark.controllers
def test_joined_everywhere_and_removed(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    roots = cgroup_roots()
    for _, controllers, path in lines:
        if controllers or V2:
            assert path == f"/{made.id}", controllers
    directories = {controller: directory / made.id for controller, directory in roots.items() if controller or V2}
    for controller, directory in directories.items():
        assert (directory / "cgroup.procs").read_text().split() == [str(pid)], controller
    runtime.end(made, pid)
    for directory in directories.values():
        assert not directory.exists()


@pytest.mark.controllers
def test_memory_cpu_and_pids(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"] |= {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        "pids": {"limit": 33},
    }
    pid = runtime.started(made)
    if V2:
        assert read("", made, "memory.max") == str(64 << 20)
        assert read("", made, "memory.low") == str(32 << 20)
        assert read("", made, "cpu.max") == "50000 100000"
        assert read("", made, "pids.max") == "33"
    else:
        assert read("memory", made, "memory.limit_in_bytes") == str(64 << 20)
        assert read("memory", made, "memory.soft_limit_in_bytes") == str(32 << 20)
        assert read("cpu", made, "cpu.shares") == "512"
        assert read("cpu", made, "cpu.cfs_quota_us") == "50000"
        assert read("cpu", made, "cpu.cfs_period_us") == "100000"
        assert read("pids", made, "pids.max") == "33"
    assert runtime.end(made, pid) == 137


@pytest.mark.controllers
def test_cpuset(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    last = max(os.sched_getaffinity(0))
    made.linux["resources"]["cpu"] = {"cpus": str(last), "mems": "0"}
    assert int(runtime.report(made)["affinity"], 16) == 1 << last
    if last > 0:
        assert int(runtime.report(bundle())["affinity"], 16) != 1 << last


@pytest.mark.controllers
def test_pids_limit_holds(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("children", "20")
    made.linux["resources"]["pids"] = {"limit": 5}
    result = runtime.run(made)
    assert result.code == 1
    assert "fork: Resource temporarily unavailable" in result.err


@pytest.mark.controllers
@pytest.mark.ocirun  # there is room for no thread of Go's
@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("kind", ["", "user", "joined"])
def test_a_limit_of_one_process(runtime: Runtime, bundle: Workshop, limit: int, kind: str) -> None:
    """The container's own is that one: neither create nor exec counts before it."""
    made = bundle("pause")
    made.linux["resources"]["pids"] = {"limit": limit}
    if kind == "user":
        made.user_namespace()
    elif kind == "joined":
        made.without_namespace("pid")
    pid = runtime.started(made)
    limits = read("" if V2 else "pids", made, "pids.max")
    assert limits == "1"
    assert read("" if V2 else "pids", made, "cgroup.procs").split() == [str(pid)]
    for _ in range(2):
        runtime("exec", made.id, "/probe", "true").ok()
    assert runtime("exec", made.id, "/probe", "children", "1").code == 1, "the limit holds"
    runtime.end(made, pid)


@pytest.mark.controllers
@pytest.mark.parametrize("pids", [{}, {"limit": None}, {"limit": -1}])
def test_no_limit_of_processes(runtime: Runtime, bundle: Workshop, pids: dict[str, int | None]) -> None:
    made = bundle("pause")
    made.linux["resources"]["pids"] = pids
    pid = runtime.created(made)
    assert read("" if V2 else "pids", made, "pids.max") == "max"
    runtime.end(made, pid)


@pytest.mark.ocirun  # runc has ignored it since 1.0
def test_memory_of_sockets(runtime: Runtime, bundle: Workshop) -> None:
    """A limit where cgroup v1 has such a file, else nothing."""
    made = bundle("pause")
    made.linux["resources"]["memory"] = {"kernelTCP": 8 << 20}
    pid = runtime.created(made)
    file = cgroup_directory("memory", made.id) / "memory.kmem.tcp.limit_in_bytes"
    assert not file.exists() or file.read_text().strip() == str(8 << 20)
    runtime.end(made, pid)


def test_a_letter_that_devices_do_not_have(runtime: Runtime, bundle: Workshop) -> None:
    """As in `devices.allow` of old scripts: "a" among the accesses says nothing."""
    made = bundle("pause")
    made.linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwa"})
    pid = runtime.created(made)
    if not V2:
        assert "c 10:229 rw" in read("devices", made, "devices.list").splitlines()
    runtime.end(made, pid)


@pytest.mark.controllers
def test_memory_limit_holds(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("eat", str(64 << 20))
    made.linux["resources"]["memory"] = {"limit": 8 << 20, "swap": 8 << 20}
    assert runtime.run(made).code == 137
    made = bundle("eat", str(4 << 20))
    made.linux["resources"]["memory"] = {"limit": 8 << 20}
    assert runtime.run(made).code == 0


def test_device_rules(runtime: Runtime, bundle: Workshop) -> None:
    """Denied but for the default ones and what is allowed; and without any rule of the configuration."""
    made = bundle()
    made.capabilities("MKNOD", "DAC_OVERRIDE")
    made.process["noNewPrivileges"] = False
    made.linux["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"},
    ]
    made.linux["devices"] = [
        {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666},
    ]
    report = runtime.report(
        made, "write=/dev/kmsg", "write=/dev/fuse", "write=/dev/null", "path=/dev/kmsg", "write=/dev/tty"
    )
    assert report["writes"]["/dev/kmsg"] == "EPERM"
    assert report["paths"]["/dev/kmsg"]["error"] == "EPERM"
    assert report["writes"]["/dev/fuse"] == "EPERM"
    assert report["writes"]["/dev/null"] == ""
    assert report["writes"]["/dev/tty"] == "ENXIO", "allowed; there is no terminal"

    made = bundle()
    made.capabilities("MKNOD", "DAC_OVERRIDE")
    made.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 60, "minor": 1, "access": "r"}  # numbers that no driver ever has
    )
    others = {"itself": ("c", 60, 1), "type": ("b", 60, 1), "major": ("c", 61, 1), "minor": ("c", 60, 2)}
    made.linux["devices"] = [
        {"path": f"/dev/{name}", "type": type, "major": major, "minor": minor}
        for name, (type, major, minor) in others.items()
    ]
    report = runtime.report(made, "write=/dev/itself", *(f"path=/dev/{name}" for name in others))
    read = {name: report["paths"][f"/dev/{name}"]["error"] for name in others}
    assert read == {"itself": "ENXIO", "type": "EPERM", "major": "EPERM", "minor": "EPERM"}
    assert report["writes"]["/dev/itself"] == "EPERM"

    made = bundle()
    del made.linux["resources"]
    made.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]
    report = runtime.report(made, "write=/dev/kmsg", "write=/dev/null")
    assert report["writes"]["/dev/null"] == ""


def test_device_rules_in_the_kernel(runtime: Runtime, bundle: Workshop) -> None:
    if V2:
        pytest.skip("cgroup v2 has no file that tells the rules")
    made = bundle("pause")
    pid = runtime.started(made)
    rules = read("devices", made, "devices.list").splitlines()
    assert {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm"} <= set(
        rules
    )
    assert {"c 136:* rwm", "c 5:2 rwm"} <= set(rules)
    assert "a *:* rwm" not in rules
    runtime.end(made, pid)


def test_nested_and_missing_paths(runtime: Runtime, bundle: Workshop) -> None:
    """A deep path: the parents are made; and without a path: below the caller's own."""
    made = bundle("pause")
    made.linux["cgroupsPath"] = f"/{made.id}/deep/er"
    pid = runtime.started(made)
    assert read("pids", made, "deep/er/cgroup.procs") == str(pid)
    runtime.end(made, pid)
    for directory in cgroup_roots().values():  # the parents were asked for, and stay
        for path in ("deep/er", "deep", "."):
            if (directory / made.id / path).is_dir():
                assert path != "deep/er"
                (directory / made.id / path).rmdir()
    if V2:
        return
    made = bundle("pause")
    del made.linux["cgroupsPath"]
    pid = runtime.started(made)
    own = {line.split(":")[1]: line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if controllers:
            assert path == f"{own[controllers].rstrip('/')}/{made.id}"
    runtime.end(made, pid)


def test_a_cgroup_that_is_not_empty(runtime: Runtime, bundle: Workshop) -> None:
    first = bundle("pause")
    pid = runtime.started(first)
    second = bundle("true")
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"]
    result = runtime.run(second)
    if runtime.name != "runc":  # 1.1.5 only warns
        result.failed("container's cgroup is not empty: 1 process")
        assert runtime.status(first) == "running"
    runtime.end(first, pid)


@pytest.mark.controllers
def test_everything_before_the_container_runs(runtime: Runtime, bundle: Workshop) -> None:
    """Already the hooks of the container find their process in its cgroup, with the limits set."""
    made = bundle("true")
    made.linux["resources"]["pids"] = {"limit": 77}
    directory = cgroup_directory("pids", made.id)
    out = made.path / "seen"
    script = f"cat {directory}/cgroup.procs {directory}/pids.max > {out}"
    made.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    pid = runtime.created(made)
    seen = out.read_text().split()
    assert str(pid) in seen
    assert seen[-1] == "77"
    runtime.delete(made, "--force").ok()
    harness.eventually(lambda: not os.path.exists(directory), "the cgroup is removed")


@pytest.mark.differs("leaves them read-write: they belong to nobody whom it maps")
def test_the_cgroups_of_a_rootless_container_are_read_only(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2023-25809: without a cgroup namespace, and with no cgroup of its own, it sees those that its user is in."""
    made = bundle()
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw", "nosuid", "noexec", "nodev")
    made.write()
    runtime.root.mkdir(mode=0o700)
    for path in (runtime.root, made.path, *made.path.rglob("*")):
        os.chown(path, 7777, 7777)
    prefix = ["setpriv", "--reuid=7777", "--regid=7777", "--clear-groups", "unshare", "--user", "--map-root-user"]
    place = "/sys/fs/cgroup/cgroup.procs" if V2 else "/sys/fs/cgroup/pids/tasks"
    report = runtime.report(made, f"write={place}", prefix=prefix)
    assert report["writes"][place] in ("EROFS", "EACCES")
    got = [mount for mount in mounts(report).values() if mount.fstype.startswith("cgroup")]
    assert got
    assert all("ro" in mount.options for mount in got), "whatever the files' permissions say"
