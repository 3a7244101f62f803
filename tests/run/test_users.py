"""Started by an ordinary user, and by root of somebody else's user namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, eventually, mounts, reap
from ordinary import AS_ROOT_OF_A_NAMESPACE, AS_USER, USER, as_user, check_report, give, own, rootless


@pytest.fixture
def users(runtime: Runtime) -> Runtime:
    return own(runtime)


def test_a_single_mapping(users: Runtime, bundle: Workshop) -> None:
    made = bundle("report", "tree=/dev", "write=/dev/null", "write=/etc")
    rootless(made)
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    made.process["oomScoreAdj"] = 500
    made.linux["maskedPaths"] = ["/proc/keys"]
    made.linux["readonlyPaths"] = ["/proc/sys"]
    report = as_user(users, "run", made).json
    check_report(report)
    assert report["rlimits"]["RLIMIT_NOFILE"] == [100, 200]
    assert report["oom_score_adj"].strip() == "500"
    assert report["writes"]["/etc"] == "", "the user's own files are root's in there"


def test_a_whole_life(users: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("trap", "/seen")
    rootless(made)
    as_user(users, "create", made).ok()
    state = users("state", made.id, prefix=AS_USER).json
    assert state["status"] == "created"
    pid = state["pid"]
    assert Path(f"/proc/{pid}").stat().st_uid in (0, USER)
    users("start", made.id, prefix=AS_USER).ok()
    seen = made.rootfs / "seen"
    eventually(lambda: seen.exists() and "ready" in seen.read_text(), "ready")
    report = users("exec", made.id, "/probe", "report", prefix=AS_USER).json
    assert report["uid"] == [0, 0, 0]
    assert report["namespaces"]["user"] == os.readlink(f"/proc/{pid}/ns/user")
    assert report["namespaces"]["mnt"] == os.readlink(f"/proc/{pid}/ns/mnt")
    listed = users("list", "--format", "json", prefix=AS_USER).json
    assert [one["id"] for one in listed] == [made.id]
    users("kill", made.id, "USR1", prefix=AS_USER).ok()
    eventually(lambda: "10" in seen.read_text().split(), "the signal")
    users("kill", made.id, "KILL", prefix=AS_USER).ok()
    assert reap(pid) == 137
    users("delete", made.id, prefix=AS_USER).ok()


def test_hooks(users: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    rootless(made)
    script = f"id -u > {made.path}/seen-$0; cat > {made.path}/state-$0"
    made.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind], "env": ["PATH=/usr/bin:/bin"]}]
        for kind in ("createRuntime", "createContainer", "poststop")
    }
    as_user(users, "run", made).ok()
    assert (made.path / "seen-createRuntime").read_text() == f"{USER}\n"
    assert (made.path / "seen-createContainer").read_text() == "0\n", "in the container's user namespace"
    assert json.loads((made.path / "state-poststop").read_text())["status"] == "stopped"


def test_what_is_refused(users: Runtime, bundle: Workshop) -> None:
    """Told with the reason, and nothing is left."""
    made = bundle("true")
    rootless(made, mapped=False)
    as_user(users, "run", made).failed()  # no user namespace: nothing is allowed
    made = bundle("true")
    rootless(made)
    made.linux["uidMappings"] = [{"containerID": 0, "hostID": USER + 1, "size": 1}]
    as_user(users, "run", made).failed()
    made = bundle("true")
    rootless(made)
    made.linux["cgroupsPath"] = f"/{made.id}"
    made.linux["resources"] = {"pids": {"limit": 10}}
    as_user(users, "run", made).failed("cgroup")
    assert not list(users.root.glob("[!@]*"))


@pytest.fixture
def subordinate_ids(scratch: Path, leftovers: harness.Leftovers) -> Iterator[None]:
    """The user exists and has ranges of ids: for this process's mount namespace, and its children, alone."""
    texts = {
        "passwd": Path("/etc/passwd").read_text() + f"prober:x:{USER}:{USER}::/:/bin/sh\n",
        "group": Path("/etc/group").read_text() + f"prober:x:{USER}:\n",
        "subuid": f"prober:200000:65536\n{USER}:200000:65536\n",
        "subgid": f"prober:200000:65536\n{USER}:200000:65536\n",
    }
    bound = []
    try:
        for name, text in texts.items():
            if not Path("/etc", name).exists():
                pytest.skip(f"no /etc/{name} that could be covered")
            (scratch / name).write_text(text)
            (scratch / name).chmod(0o644)
            harness.mount(str(scratch / name), f"/etc/{name}", None, 4096)  # MS_BIND
            bound.append(name)
        yield
    finally:
        for name in bound:
            harness.unmount(f"/etc/{name}")


# newuidmap is a set-user-ID program: the bounding set must leave it its capabilities.
AS_PROBER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def test_ranges_by_newuidmap(users: Runtime, bundle: Workshop, subordinate_ids: None) -> None:
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    ranges = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 65536}]
    made.linux["uidMappings"] = made.linux["gidMappings"] = ranges
    groups = [] if users.name == "runc" else [5, 6]  # 1.1.5 allows none to an ordinary user
    made.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": groups}
    report = as_user(users, "run", made, prefix=AS_PROBER).json
    assert [line.split() for line in report["uid_map"].splitlines()] == [
        ["0", str(USER), "1"],
        ["1", "200000", "65536"],
    ]
    assert report["uid"] == [1000] * 3
    assert sorted(report["groups"]) == groups
    assert report["setgroups"] == "allow\n"
    # What is not granted.
    made = bundle("true")
    rootless(made)
    made.linux["uidMappings"] = made.linux["gidMappings"] = [
        {"containerID": 0, "hostID": USER, "size": 1},
        {"containerID": 1, "hostID": 300000, "size": 65536},
    ]
    refused = as_user(users, "run", made, prefix=AS_PROBER).failed()
    if users.name != "runc":
        refused.failed("/linux/uidMappings/1", "newuidmap", "[300000-365536)")


@pytest.mark.differs("has no scheduler", before="1.4")
def test_scheduling_of_another_id_of_the_ranges(users: Runtime, bundle: Workshop, subordinate_ids: None) -> None:
    """It is none of the user's own processes, which alone he may schedule, when it has become that."""
    made = bundle("report")
    rootless(made)
    ranges = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 65536}]
    made.linux["uidMappings"] = made.linux["gidMappings"] = ranges
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 4}
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 7}
    report = as_user(users, "run", made, prefix=AS_PROBER).json
    assert report["uid"] == [1000] * 3
    assert (report["sched_attr"]["policy"], report["nice"], report["ioprio"]) == (3, 4, 2 << 13 | 7)


@pytest.mark.differs("fails at so many")
def test_as_many_ranges_as_there_can_be_by_newuidmap(users: Runtime, bundle: Workshop, subordinate_ids: None) -> None:
    made = bundle()
    rootless(made)
    ranges = [{"containerID": 0, "hostID": USER, "size": 1}]
    ranges += [{"containerID": n, "hostID": 200000 + 2 * n, "size": 1} for n in range(1, 240)]
    made.linux["uidMappings"] = made.linux["gidMappings"] = ranges
    report = as_user(users, "run", made, prefix=AS_PROBER).json
    for kind in ("uid_map", "gid_map"):
        assert [[int(word) for word in line.split()] for line in report[kind].splitlines()] == [
            [one["containerID"], one["hostID"], one["size"]] for one in ranges
        ]


def test_root_in_a_user_namespace(users: Runtime, bundle: Workshop) -> None:
    """`unshare -r`: a container without a user namespace of its own. Nothing of the host is root's here."""
    made = bundle("report", "tree=/dev", "write=/dev/null", "write=/etc")
    rootless(made, mapped=False)
    os.chown(users.root, USER, USER)
    report = as_user(users, "run", made, prefix=[*AS_PROBER, *AS_ROOT_OF_A_NAMESPACE]).json
    check_report(report)


def test_root_of_the_host_in_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """The same by root: files and cgroups are ours by their owner, and yet most is refused."""
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made, mapped=False)
    made.write()
    report = runtime("run", "--bundle", str(made.path), made.id, prefix=AS_ROOT_OF_A_NAMESPACE).json
    assert report["uid_map"].split() == ["0", "0", "1"]
    assert report["uid"] == [0, 0, 0]
    assert report["trees"]["/dev"]["null"]["stat"]["type"] == "c"


def test_nested_in_a_namespace_with_its_own_user_namespace(users: Runtime, bundle: Workshop) -> None:
    """unshare -r, and in it a container with a user namespace."""
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    made.linux["uidMappings"] = made.linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    report = as_user(users, "run", made, prefix=[*AS_PROBER, *AS_ROOT_OF_A_NAMESPACE]).json
    assert report["uid"] == [0, 0, 0]
    assert report["uid_map"].split() == ["0", "0", "1"]
    assert report["lo"] == "up"


def test_a_life_in_a_user_namespace(users: Runtime, bundle: Workshop) -> None:
    """All commands in one such namespace, which lives as long as its shell."""
    made = bundle("pause")
    rootless(made, mapped=False)
    give(made)
    command = f"{users.program} --root {users.root}"
    script = (
        f"set -e; {command} create -b {made.path} {made.id} </dev/null >/dev/null 2>&1; {command} start {made.id}; "
        f"{command} exec {made.id} /probe report; {command} kill {made.id} KILL; "
        f"while {command} state {made.id} | grep -q running; do sleep 0.01; done; {command} delete {made.id}"
    )
    prefix = [*AS_PROBER, *AS_ROOT_OF_A_NAMESPACE, "sh", "-c", script]
    read, write = os.pipe()
    pid = os.posix_spawnp(prefix[0], prefix, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    with os.fdopen(read) as file:
        report = json.loads(file.read())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert report["uid"] == [0, 0, 0]
    assert report["hostname"] == "probed"


def test_newuidmap_where_processes_are_hidden(users: Runtime, bundle: Workshop, subordinate_ids: None) -> None:
    made = of_ranges(bundle)
    made.args("report")
    script = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *AS_PROBER]
    report = as_user(users, "run", made, prefix=prefix).json
    assert report["uid_map"].split() == ["0", str(USER), "1", "1", "200000", "65536"]


def of_ranges(bundle: Workshop) -> harness.Bundle:
    made = bundle("true")
    rootless(made)
    ranges = [{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 65536}]
    made.linux["uidMappings"] = made.linux["gidMappings"] = ranges
    return made


@pytest.mark.ocirun
def test_newuidmap_is_missing(users: Runtime, bundle: Workshop, subordinate_ids: None, scratch: Path) -> None:
    for name in ("upper", "work"):
        (scratch / name).mkdir()
    script = (
        f"mount -t overlay -o lowerdir=/usr/bin,upperdir={scratch}/upper,workdir={scratch}/work none /usr/bin &&"
        ' rm /usr/bin/newuidmap && exec "$@"'
    )
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *AS_PROBER]
    result = as_user(users, "run", of_ranges(bundle), prefix=prefix)
    result.failed("/linux/uidMappings", "newuidmap not found", "uidmap package")
    assert not list(users.root.glob("[!@]*"))


@pytest.mark.ocirun
def test_newuidmap_without_its_rights(users: Runtime, bundle: Workshop, subordinate_ids: None, scratch: Path) -> None:
    """As in images whose files have been copied without set-user-ID bits and file capabilities."""
    shutil.copy("/usr/bin/newuidmap", scratch / "newuidmap")
    (scratch / "newuidmap").chmod(0o755)
    script = f'mount --bind {scratch}/newuidmap /usr/bin/newuidmap && exec "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *AS_PROBER]
    result = as_user(users, "run", of_ranges(bundle), prefix=prefix)
    result.failed("/linux/uidMappings", "newuidmap", "operation not permitted")


def test_no_user_namespaces(users: Runtime, bundle: Workshop) -> None:
    """user.max_user_namespaces=0, in a user namespace of its own, as hardened hosts have it for all."""
    made = bundle("true")
    rootless(made)
    made.linux["uidMappings"] = made.linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    prefix = [*AS_PROBER, *AS_ROOT_OF_A_NAMESPACE, "sh", "-c", script, "sh"]
    result = as_user(users, "run", made, prefix=prefix).failed()
    if users.name != "runc":
        assert "/linux/namespaces/" in result.error and "user.max_user_namespaces=0" in result.error


def test_exec_in_a_created_container(users: Runtime, bundle: Workshop) -> None:
    """PID 1 waits for `start`, and everything of it can be joined: by `exec`, and by who connects its network."""
    made = bundle("pause")
    rootless(made)
    as_user(users, "create", made).ok()
    pid = users("state", made.id, prefix=AS_USER).json["pid"]
    assert users("exec", made.id, "/probe", "exit", "4", prefix=AS_USER).code == 4
    join = ["nsenter", "--user", "--net", "--preserve-credentials", f"--target={pid}", "cat", "/proc/net/dev"]
    joined = subprocess.run([*AS_USER, *join], capture_output=True, text=True, check=False)
    assert "lo:" in joined.stdout, joined.stderr
    users("start", made.id, prefix=AS_USER).ok()
    users("kill", made.id, "KILL", prefix=AS_USER).ok()
    assert reap(pid) == 137
    users("delete", made.id, prefix=AS_USER).ok()


def test_the_process_that_waits_has_nothing_of_the_host(users: Runtime, bundle: Workshop) -> None:
    """Its owner may look at it, and its siblings in the container: no file of the host is behind it."""
    made = bundle("pause")
    rootless(made)
    as_user(users, "create", made).ok()
    pid = users("state", made.id, prefix=AS_USER).json["pid"]
    report = users("exec", made.id, "/probe", "report", prefix=AS_USER).json
    assert report["hostname"] == "probed"
    targets = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    if users.name != "runc":
        foreign = {target for name, target in targets.items() if int(name) > 2}
        assert all("exec.fifo" in target or Path(target).name == "probe" for target in foreign), targets
        assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    users("delete", "--force", made.id, prefix=AS_USER).ok()
    assert reap(pid) == 137


def test_what_spec_writes(users: Runtime, bundle: Workshop) -> None:
    """`spec --rootless` and nothing else: with the host's network, and its /sys."""
    made = bundle()
    give(made)
    (made.path / "config.json").unlink()
    users("spec", "--rootless", "--bundle", str(made.path), prefix=AS_USER).ok()
    made.config = json.loads((made.path / "config.json").read_text())
    made.process["terminal"] = False
    made.args("report", "write=/sys/kernel")
    report = as_user(users, "run", made).json
    assert report["uid"] == [0, 0, 0] and report["uid_map"].split() == ["0", str(USER), "1"]
    assert report["namespaces"]["net"] == os.readlink("/proc/self/ns/net")
    assert report["namespaces"]["pid"] != os.readlink("/proc/self/ns/pid")
    assert report["writes"]["/sys/kernel"] != ""
    for target in ("/sys", "/proc/sys", "/sys/fs/cgroup"):
        if target in mounts(report) and not (users.name == "runc" and mounts(report)[target].fstype == "tmpfs"):
            assert "ro" in mounts(report)[target].options, f"{target} (CVE-2023-25809)"


@pytest.mark.parametrize("network", ["host", "new", "none"])
def test_networks(users: Runtime, bundle: Workshop, network: str) -> None:
    """A new sysfs takes a network namespace of the user's own: with the host's, /sys is bound, and else said so."""
    made = bundle("report")
    rootless(made)
    if network != "new":
        made.without_namespace("network")
    result = as_user(users, "run", made)
    if network == "new":
        assert result.json["namespaces"]["net"] != os.readlink("/proc/self/ns/net")
        return
    result.failed("operation not permitted")
    if users.name != "runc":
        assert "/mounts/5" in result.error and "needs a new network namespace" in result.error
    made.without_mount("/sys")
    if network == "host":
        made.mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    report = as_user(users, "run", made).json
    assert report["namespaces"]["net"] == os.readlink("/proc/self/ns/net")
    assert ("/sys" in mounts(report)) == (network == "host")


@pytest.mark.ocirun
def test_groups_are_denied(users: Runtime, bundle: Workshop) -> None:
    """setgroups(2) is off with a single id (user_namespaces(7)): groups cannot be had, and none are forgotten."""
    made = bundle("true")
    rootless(made)
    made.process["user"]["additionalGids"] = [0]
    as_user(users, "run", made).failed("/process/user/additionalGids", "rootless")
    made = bundle("pause")
    rootless(made)
    as_user(users, "create", made).ok()
    pid = users("state", made.id, prefix=AS_USER).json["pid"]
    users("start", made.id, prefix=AS_USER).ok()
    result = users("exec", "--additional-gids", "0", made.id, "/probe", "true", prefix=AS_USER)
    result.failed("additionalGids", code=255)
    users("kill", made.id, "KILL", prefix=AS_USER).ok()
    assert reap(pid) == 137
    users("delete", made.id, prefix=AS_USER).ok()


@pytest.mark.ocirun
@pytest.mark.parametrize("who", ["uid", "gid"])
def test_ids_that_are_not_mapped(users: Runtime, bundle: Workshop, who: str) -> None:
    made = bundle("true")
    rootless(made)
    made.process["user"][who] = 1000
    result = as_user(users, "run", made).failed("/process/user")
    assert "1000" in result.error
    assert not list(users.root.glob("[!@]*"))


def test_umask_of_the_caller(users: Runtime, bundle: Workshop) -> None:
    """What the runtime makes for itself it can read and write, whatever the umask."""
    made = bundle("pause")
    rootless(made)
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    give(made)
    os.umask(0o777)
    try:
        if users.name == "runc":
            users("run", "--bundle", str(made.path), made.id, prefix=AS_USER).failed("permission denied")
            return
        users.root /= "below/another"
        users("create", "--bundle", str(made.path), made.id, prefix=AS_USER).ok()
        pid = users("state", made.id, prefix=AS_USER).json["pid"]
        users("start", made.id, prefix=AS_USER).ok()
        assert users("exec", made.id, "/probe", "exit", "4", prefix=AS_USER).code == 4
        users("kill", made.id, "KILL", prefix=AS_USER).ok()
        assert reap(pid) == 137
        users("delete", made.id, prefix=AS_USER).ok()
    finally:
        os.umask(0o022)
        shutil.rmtree(users.scratch / "root" / "below", ignore_errors=True)
