"""Namespaces of all eight kinds, new and joined by path, and user namespaces with mappings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import NAMESPACES, Bundle, Runtime, Workshop, mounts


def host(type: str) -> str:
    """The test's own namespace."""
    return os.readlink(f"/proc/self/ns/{NAMESPACES[type]}")


def inside(report: Any, type: str) -> str:
    return str(report["namespaces"][NAMESPACES[type]])


def test_new_ones(runtime: Runtime, bundle: Workshop) -> None:
    report = runtime.report(bundle())
    for type in ("cgroup", "ipc", "mount", "network", "pid", "uts"):
        assert inside(report, type) != os.readlink(f"/proc/self/ns/{NAMESPACES[type]}"), type
    for type in ("time", "user"):
        assert inside(report, type) == host(type), type
    assert all(line.endswith("/") for line in report["cgroup"].splitlines()), "the container's cgroup is its root"


def test_none_but_mount(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.linux["namespaces"] = [{"type": "mount"}]
    del made.config["hostname"]
    made.without_mount("/dev/mqueue", "/sys")
    made.mount("/sys", "bind", "/sys", "rbind", "ro")
    report = runtime.report(made)
    for type in ("cgroup", "ipc", "network", "pid", "uts", "time", "user"):
        assert inside(report, type) == host(type), type
    assert report["hostname"] == os.uname().nodename
    assert report["pid"] == report["sid"], "a session of its own all the same"


@pytest.mark.differs("knows no time namespaces", before="1.4")
def test_time(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.namespace("time")
    made.linux["timeOffsets"] = {
        "monotonic": {"secs": 100_000, "nanosecs": 5},
        "boottime": {"secs": 2_000_000, "nanosecs": 999_999_999},
    }
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    report = runtime.report(made)
    assert inside(report, "time") != host("time")
    offsets = {line.split()[0]: line.split()[1:] for line in report["timens_offsets"].splitlines()}
    assert offsets == {"monotonic": ["100000", "5"], "boottime": ["2000000", "999999999"]}
    assert 2_000_000 <= report["clocks"]["boottime"] - uptime < 2_000_060
    # A negative one.
    made = bundle()
    made.namespace("time")
    made.linux["timeOffsets"] = {"monotonic": {"secs": -5}}
    report = runtime.report(made)
    assert {line.split()[0]: line.split()[1] for line in report["timens_offsets"].splitlines()}["monotonic"] == "-5"


@pytest.fixture
def sleeper() -> Iterator[Path]:
    """/proc/PID/ns of a process that has a namespace of each kind but user."""
    flags = ["--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts", "--time", "--fork"]
    popen = subprocess.Popen(
        ["unshare", *flags, "sh", "-c", "hostname joined; echo ready; exec sleep 100"], stdout=subprocess.PIPE
    )
    assert popen.stdout is not None and popen.stdout.readline() == b"ready\n"
    (child,) = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()
    yield Path(f"/proc/{child}/ns")
    os.kill(int(child), 9)
    popen.wait()
    popen.stdout.close()


def joins(runtime: Runtime, made: Bundle, sleeper: Path, *types: str) -> Any:
    for type in types:
        made.namespace(type, str(sleeper / NAMESPACES[type]))
    report = runtime.report(made)
    for type in types:
        assert inside(report, type) == os.readlink(sleeper / NAMESPACES[type]), type
    return report


@pytest.mark.parametrize("type", ["ipc", "network", "pid", "uts"])
def test_joined_by_path(runtime: Runtime, bundle: Workshop, sleeper: Path, type: str) -> None:
    made = bundle()
    if type == "uts":
        del made.config["hostname"]
    report = joins(runtime, made, sleeper, type)
    if type == "uts":
        assert report["hostname"] == "joined"
    if type == "pid":
        assert report["pid"] > 1


def test_several_joined_at_once(runtime: Runtime, bundle: Workshop, sleeper: Path) -> None:
    made = bundle()
    del made.config["hostname"]
    joins(runtime, made, sleeper, "ipc", "network", "pid", "uts")


def test_cgroup_joined_by_path(runtime: Runtime, bundle: Workshop, sleeper: Path) -> None:
    joins(runtime, bundle(), sleeper, "cgroup")


@pytest.mark.differs("knows no time namespaces", before="1.4")
def test_time_joined_by_path(runtime: Runtime, bundle: Workshop, sleeper: Path) -> None:
    joins(runtime, bundle(), sleeper, "time")


def test_mount_joined_by_path(runtime: Runtime, bundle: Workshop, sleeper: Path) -> None:
    """The container is made in a namespace that exists; what it mounts is there as long as that is."""
    made = bundle()
    made.namespace("mount", str(sleeper / "mnt"))
    result = runtime.run(made.args("report"))
    if runtime.name == "runc":  # it cannot pivot there
        return
    assert inside(result.json, "mount") == os.readlink(sleeper / "mnt")


@pytest.mark.ocirun
@pytest.mark.parametrize("where", ["host", "joined"])
def test_nothing_of_a_mount_namespace_of_others_changes(
    runtime: Runtime, bundle: Workshop, sleeper: Path, scratch: Path, where: str
) -> None:
    """A root that is read-only, or of another propagation, would be that for all who are in the namespace."""
    (scratch / "source").mkdir()
    before = Path("/proc/self/mountinfo").read_text()
    made = bundle("true")
    changes = {
        "/root/readonly": lambda: made.config["root"].update(readonly=True),
        "/linux/rootfsPropagation": lambda: made.linux.update(rootfsPropagation="private"),
    }
    if where == "host":
        for options in (["bind", "ro"], ["rbind", "rro"], ["bind", "rslave"], ["bind", "private"]):
            one = {"destination": "/mnt", "type": "bind", "source": str(scratch / "source"), "options": options}
            changes[f"/mounts/0/options {options}"] = lambda one=one: made.config["mounts"].append(one)
    for pointer, change in changes.items():
        made = bundle("true")
        made.config["mounts"] = []
        made.without_namespace("mount")
        if where == "joined":
            made.namespace("mount", str(sleeper / "mnt"))
        del made.linux["maskedPaths"], made.linux["readonlyPaths"]
        change()
        runtime.run(made).failed(f"{pointer.split()[0]}: expected a mount namespace of the container's own")
        runtime.create(made).failed(pointer.split()[0])
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not list(runtime.root.iterdir()) if runtime.root.exists() else True


def test_a_path_that_is_no_such_namespace(runtime: Runtime, bundle: Workshop, sleeper: Path, scratch: Path) -> None:
    made = bundle()
    made.namespace("network", str(scratch / "nothing"))
    runtime.run(made).failed("nothing", "no such file or directory")
    made = bundle()
    made.namespace("network", str(sleeper / "uts"))
    wrong = runtime.run(made).failed().error
    made = bundle()
    (scratch / "file").touch()
    made.namespace("ipc", str(scratch / "file"))
    none = runtime.run(made).failed().error
    made = bundle()
    made.user_namespace()
    made.namespace("user", "/proc/self/ns/user")
    del made.linux["uidMappings"], made.linux["gidMappings"]
    own = runtime.run(made).failed().error
    if runtime.name != "runc":
        assert "join the network namespace" in wrong and "this is a uts namespace" in wrong
        assert str(scratch / "file") in none and "this is no namespace" in none
        assert "this is the user namespace of the caller" in own
        assert all("/linux/namespaces/" in error for error in (wrong, none, own))
    assert not list(runtime.root.iterdir())


def test_a_container_of_another_container(runtime: Runtime, bundle: Workshop) -> None:
    """A pod: the second one shares pid, network, ipc and uts with the first, by the paths of its process."""
    first = bundle("pause")
    pid = runtime.started(first)
    second = bundle()
    del second.config["hostname"]
    report = joins(runtime, second, Path(f"/proc/{pid}/ns"), "ipc", "network", "pid", "uts")
    assert report["hostname"] == "probed"
    assert report["pid"] > 1
    assert report["lo"] == "up"
    assert runtime.end(first, pid) == 137


def test_host_network_has_no_say_over_lo(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.without_namespace("network")
    made.without_mount("/sys")
    assert inside(runtime.report(made), "network") == os.readlink("/proc/self/ns/net")


def test_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.user_namespace()
    report = runtime.report(made, "path=/proc/self/ns/user", "path=/etc", "write=/etc", "tree=/dev")
    assert inside(report, "user") != host("user")
    assert report["uid_map"].split() == ["0", "100000", "65536"]
    assert report["gid_map"].split() == ["0", "100000", "65536"]
    assert report["setgroups"] == "allow\n"
    assert report["uid"] == report["gid"] == [0, 0, 0]
    assert report["paths"]["/etc"]["stat"]["uid"] == 0
    assert report["writes"]["/etc"] in ("", "EACCES")
    for name, major, minor in (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)):
        stat = report["trees"]["/dev"][name]["stat"]
        assert (stat["type"], stat["major"], stat["minor"]) == ("c", major, minor), "bound, as mknod is not allowed"
    assert mounts(report)["/dev/null"].fstype in ("devtmpfs", "tmpfs")
    assert report["lo"] == "up"
    assert report["oom_score_adj"].strip() == "0"


def test_user_namespace_with_several_mappings_and_an_ordinary_user(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.user_namespace()
    mapping = [
        {"containerID": 0, "hostID": 100000, "size": 10},
        {"containerID": 1000, "hostID": 200000, "size": 1},
        {"containerID": 5000, "hostID": 300000, "size": 100},
    ]
    made.linux["uidMappings"] = mapping
    made.linux["gidMappings"] = mapping
    made.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5000, 5001]}
    report = runtime.report(made)
    lines = [line.split() for line in report["uid_map"].splitlines()]
    assert lines == [["0", "100000", "10"], ["1000", "200000", "1"], ["5000", "300000", "100"]]
    assert report["uid"] == [1000] * 3
    assert sorted(report["groups"]) == [5000, 5001]


def test_user_namespace_with_as_many_mappings_as_there_can_be(runtime: Runtime, bundle: Workshop) -> None:
    """340, of at most 4095 bytes in all: user_namespaces(7)."""
    made = bundle()
    made.user_namespace(100000, 1)
    ranges = [{"containerID": n, "hostID": 1 + 2 * n, "size": 1} for n in range(340)]
    made.linux["uidMappings"] = ranges
    made.linux["gidMappings"] = ranges[::-1]
    for directory, _, names in os.walk(made.rootfs):
        for name in (".", *names):
            os.chown(os.path.join(directory, name), 1, 1)
    made.process["user"] = {"uid": 339, "gid": 1}
    report = runtime.report(made)
    for kind in ("uid_map", "gid_map"):
        lines = [[int(word) for word in line.split()] for line in report[kind].splitlines()]
        assert lines == [[one["containerID"], one["hostID"], one["size"]] for one in ranges], "sorted by the kernel"
    assert (report["uid"], report["gid"]) == ([339] * 3, [1] * 3)


@pytest.mark.ocirun  # 1.1.5 asks the kernel
def test_mappings_that_do_not_fit(runtime: Runtime, bundle: Workshop) -> None:
    """Too many; too long as text, though few; and one that would just fit: 4095 bytes."""

    def made_of(count: int, first: int) -> Bundle:
        made = bundle("true")
        made.user_namespace(100000, 1)
        made.linux["uidMappings"] = [
            {"containerID": n if n == 0 else first + n, "hostID": 100000 + n, "size": 1} for n in range(count)
        ]
        return made

    texts = ("/linux/uidMappings", "expected at most 340 mappings, found 341")
    runtime.create(made_of(341, 0)).failed(*texts)
    # "0 100000 1" and 214 lines such as "100000001 100001 1"; with the newlines 11 + 214 * 19 = 4077
    just = made_of(215, 10**8)
    just.linux["uidMappings"].append({"containerID": 1, "hostID": 9999999, "size": 11111})
    assert len("".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in just.linux["uidMappings"])) == 4093
    runtime.run(just).ok()
    long = made_of(230, 10**8)
    runtime.create(long).failed("/linux/uidMappings", "expected mappings of at most 4095 bytes", "found 4362")
    assert not list(runtime.root.iterdir())


def test_mappings_that_the_caller_does_not_have(runtime: Runtime, bundle: Workshop) -> None:
    """In a user namespace with a few ids, the line that has others is named."""
    made = bundle("true")
    made.user_namespace(0, 1)
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    made.linux["uidMappings"].append({"containerID": 1, "hostID": 5, "size": 7})
    failed = runtime.run(made, prefix=["unshare", "--user", "--map-root-user"]).failed()
    if runtime.name != "runc":
        failed.failed("/linux/uidMappings/1: 5 to 11 are not all mapped in the caller's own user namespace")


def test_user_namespace_with_what_root_must_do(runtime: Runtime, bundle: Workshop) -> None:
    """Sysctls, hostname, limits, masks and a cgroup, as without one; oom_score_adj, which the kernel wants raised
    only, and devices, which are bound."""
    made = bundle()
    made.user_namespace()
    made.process["oomScoreAdj"] = 700
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    made.linux["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    made.linux["readonlyPaths"] = ["/proc/sys"]
    report = runtime.report(
        made, "path=/proc/sys/net/ipv4/ip_forward", "path=/proc/sys/kernel/shm_rmid_forced", "path=/proc/keys"
    )
    assert report["hostname"] == "probed"
    assert report["oom_score_adj"].strip() == "700"
    assert report["rlimits"]["RLIMIT_NOFILE"] == [100, 200]
    assert report["paths"]["/proc/sys/net/ipv4/ip_forward"]["content"] == "1\n"
    assert report["paths"]["/proc/sys/kernel/shm_rmid_forced"]["content"] == "1\n"
    assert report["paths"]["/proc/keys"]["stat"]["type"] == "c"


def test_user_namespace_joined_by_path(runtime: Runtime, bundle: Workshop) -> None:
    """A user namespace made before; and with it a network namespace that belongs to it."""
    first = bundle("pause")
    first.user_namespace()
    pid = runtime.started(first)
    second = bundle()
    second.user_namespace()
    for type in ("user", "network", "ipc"):
        second.namespace(type, f"/proc/{pid}/ns/{NAMESPACES[type]}")
    if runtime.name != "runc":  # 1.1.5 insists on mappings that it then does not use
        del second.linux["uidMappings"], second.linux["gidMappings"]
    report = runtime.report(second)
    for type in ("user", "network", "ipc"):
        assert inside(report, type) == os.readlink(f"/proc/{pid}/ns/{NAMESPACES[type]}")
    assert report["uid"] == [0, 0, 0]
    assert report["uid_map"].split() == ["0", "100000", "65536"]
    assert runtime.end(first, pid) == 137


@pytest.mark.differs("later versions compare too", before="1.4")
def test_mappings_beside_the_path_of_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """Those of the namespace itself: a warning. Others: an error, since they would not be what the container has."""
    first = bundle("pause")
    first.user_namespace()
    pid = runtime.started(first)
    for key, other in ((None, None), ("uidMappings", 65535), ("gidMappings", 65537)):
        second = bundle("report")
        second.user_namespace()
        second.namespace("user", f"/proc/{pid}/ns/user")
        if key is None:
            warning = runtime.run(second).ok().warning
            if runtime.name == "ocirun":
                assert "/linux/gidMappings: expected none beside the path" in warning
            else:
                assert "matching userns mapping" in warning
        else:
            second.linux[key] = [{"containerID": 0, "hostID": 100000, "size": other}]
            result = runtime.run(second).failed()
            if runtime.name == "ocirun":
                result.failed(f"/linux/{key}", "the namespace has others: 0 100000 65536")
    assert runtime.end(first, pid) == 137


@pytest.mark.differs("insists on mappings that it then does not use")
def test_a_user_namespace_that_denies_setgroups(runtime: Runtime, bundle: Workshop) -> None:
    """One that an ordinary user has made: the groups stay as they are, and asked for are an error."""
    popen = subprocess.Popen(
        ["unshare", "--map-root-user", "sh", "-c", "echo ready; exec sleep 100"], stdout=subprocess.PIPE
    )
    assert popen.stdout is not None and popen.stdout.readline() == b"ready\n"
    try:
        made = bundle()
        made.namespace("user", f"/proc/{popen.pid}/ns/user")
        made.without_mount("/dev/pts")
        assert runtime.report(made)["uid"] == [0, 0, 0]
        made.process["user"]["additionalGids"] = [0]
        runtime.run(made).failed("/process/user", "setgroups")
    finally:
        popen.kill()
        popen.wait()
        popen.stdout.close()


def test_a_network_of_the_host_with_a_user_namespace(runtime: Runtime, bundle: Workshop, sleeper: Path) -> None:
    """It can be joined only before the user namespace is entered: afterwards nothing there is ours."""
    made = bundle()
    made.user_namespace()
    made.without_mount("/sys")  # sysfs is mounted only by who owns the network
    made.namespace("network", str(sleeper / "net"))
    report = runtime.report(made)
    assert inside(report, "network") == os.readlink(sleeper / "net")
    assert inside(report, "user") != host("user")


def test_hostname_and_domainname(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.config["hostname"] = "h" * 64
    assert runtime.report(made)["hostname"] == "h" * 64
    made = bundle()
    del made.config["hostname"]
    assert runtime.report(made)["hostname"] == os.uname().nodename


@pytest.mark.differs("knows no domainname", before="1.4")
def test_domainname(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.config["domainname"] = "example.org"
    assert runtime.report(made)["domainname"] == "example.org"


def test_hostname_without_its_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.without_namespace("uts")
    runtime.run(made).failed()
    assert os.uname().nodename != "probed"


@pytest.mark.differs("knows no user.*, and writes to a file that is the host's root's")
def test_sysctls_of_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.user_namespace()
    before = Path("/proc/sys/user/max_net_namespaces").read_text()
    made.linux["sysctl"] = {
        "user.max_net_namespaces": "77",
        "kernel/domainname": "example.org\n",
        "net.ipv4.conf.lo.rp_filter": "2",
    }
    paths = ["/proc/sys/user/max_net_namespaces", "/proc/sys/net/ipv4/conf/lo/rp_filter"]
    report = runtime.report(made, *(f"path={path}" for path in paths))
    assert [report["paths"][path]["content"] for path in paths] == ["77\n", "2\n"]
    assert report["domainname"] == "example.org"
    assert Path("/proc/sys/user/max_net_namespaces").read_text() == before


def test_sysctl(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/ip_unprivileged_port_start": "77",
        "kernel.shm_rmid_forced": "1",
        "kernel.msgmax": "4242",
        "fs.mqueue.msg_max": "20",
    }
    paths = {name: "/proc/sys/" + name.replace(".", "/") for name in made.linux["sysctl"]}
    report = runtime.report(made, *(f"path={path}" for path in paths.values()))
    got = {name: report["paths"][path].get("content", "").strip() for name, path in paths.items()}
    assert got == made.linux["sysctl"]
    for name in ("kernel.panic", "vm.swappiness", "kernel.hostname"):
        made = bundle()
        made.linux["sysctl"] = {name: "1"}
        runtime.run(made).failed()
    made = bundle()
    made.without_namespace("network")
    made.without_mount("/sys")
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    runtime.run(made).failed()
    made.namespace("network", "/proc/self/ns/net")  # and so is this no namespace of its own
    runtime.run(made).failed("net.ipv4.ip_forward")
    made = bundle()
    made.linux["sysctl"] = {"net.ipv4.no_such_thing": "1"}
    runtime.run(made).failed("no_such_thing", "no such file")
