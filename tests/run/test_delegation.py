"""An ordinary user who has been given a part of the cgroup hierarchies: limits hold."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop, cgroup_roots, reap
from ordinary import AS_USER, USER, give, own, rootless

V2 = set(cgroup_roots()) == {""}
GIVEN = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks")  # cgroups(7), "Delegation"


@pytest.fixture
def users(runtime: Runtime) -> Runtime:
    return own(runtime)


class Part:
    """A directory in each hierarchy that belongs to the user, and a prefix to be in it."""

    def __init__(self, name: str) -> None:
        self.top = [root / name for root in dict.fromkeys(cgroup_roots().values())]
        # On v2 controllers are only for those who have no process beside their children: one more below for us.
        self.inner = [top / "me" for top in self.top] if V2 else self.top
        for top in self.top:
            top.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (top / file).exists() and not V2:
                    (top / file).write_text((top.parent / file).read_text())
        for directory in {*self.top, *self.inner}:
            directory.mkdir(exist_ok=True)
            for path in (directory, *(directory / file for file in GIVEN)):
                if path.exists():
                    os.chown(path, USER, USER)
        words = "; ".join(f"echo 0 > {directory}/cgroup.procs" for directory in self.inner)
        self.prefix = ["sh", "-c", f'{words}; exec "$@"', "sh", *AS_USER]

    def remove(self) -> None:
        for directory in (*self.inner, *self.top):
            if directory.exists():
                directory.rmdir()


@pytest.fixture
def part(leftovers: harness.Leftovers) -> Iterator[Part]:
    made = Part(f"{leftovers.prefix}-delegated")
    yield made
    made.remove()


def limited(made: Bundle, **resources: object) -> Bundle:
    rootless(made)
    made.linux["resources"] = resources
    give(made)
    return made


@pytest.mark.controllers
def test_pids(users: Runtime, bundle: Workshop, part: Part) -> None:
    made = limited(bundle("children", "20"), pids={"limit": 5})
    result = users("run", "-b", str(made.path), made.id, prefix=part.prefix)
    assert (result.code, result.error) == (1, "")
    assert "fork: Resource temporarily unavailable" in result.err
    assert not any((top / made.id).exists() for top in part.top)


@pytest.mark.controllers
def test_memory(users: Runtime, bundle: Workshop, part: Part) -> None:
    made = limited(bundle("eat", str(128 << 20)), memory={"limit": 32 << 20, "swap": 32 << 20})
    assert users("run", "-b", str(made.path), made.id, prefix=part.prefix).code == 137
    made = limited(bundle("eat", str(4 << 20)), memory={"limit": 32 << 20})
    assert users("run", "-b", str(made.path), made.id, prefix=part.prefix).ok().code == 0


@pytest.mark.controllers
def test_a_whole_life(users: Runtime, bundle: Workshop, part: Part) -> None:
    made = limited(bundle("pause"), pids={"limit": 30}, memory={"limit": 64 << 20}, cpu={"shares": 512})
    users("create", "-b", str(made.path), made.id, prefix=part.prefix).ok()
    pid = users("state", made.id, prefix=AS_USER).json["pid"]
    cgroups = Path(f"/proc/{pid}/cgroup").read_text()
    assert cgroups.count(f"/{part.top[0].name}/{made.id}\n") >= (1 if V2 else 8), cgroups
    users("start", made.id, prefix=part.prefix).ok()
    report = users("exec", made.id, "/probe", "report", prefix=part.prefix).json
    assert report["uid"] == [0, 0, 0]
    assert users("ps", "--format", "json", made.id, prefix=AS_USER).json == [pid]
    assert str(pid) in users("ps", made.id, prefix=AS_USER).ok().out
    users("kill", made.id, "KILL", prefix=AS_USER).ok()
    assert reap(pid) == 137
    users("delete", made.id, prefix=AS_USER).ok()
    assert not any((top / made.id).exists() for top in part.top)


@pytest.mark.ocirun  # runc cannot use what it has made
@pytest.mark.controllers
def test_umask_of_the_caller(users: Runtime, bundle: Workshop, part: Part) -> None:
    made = limited(bundle("children", "20"), pids={"limit": 5})
    prefix = ["sh", "-c", 'umask 777; exec "$@"', "sh", *part.prefix]
    result = users("run", "-b", str(made.path), made.id, prefix=prefix)
    assert "fork: Resource temporarily unavailable" in result.err, result


@pytest.mark.controllers
def test_a_path_of_its_own(users: Runtime, bundle: Workshop, part: Part) -> None:
    """An absolute cgroupsPath inside of what is the user's; one outside is refused, and named."""
    made = limited(bundle("true"), pids={"limit": 5})
    made.linux["cgroupsPath"] = f"/{part.top[0].name}/deep/{made.id}"
    give(made)
    users("run", "-b", str(made.path), made.id, prefix=part.prefix).ok()
    for top in part.top:
        if (top / "deep").exists():
            (top / "deep").rmdir()
    made.linux["cgroupsPath"] = f"/{made.id}"
    give(made)
    result = users("run", "-b", str(made.path), made.id, prefix=part.prefix).failed("permission denied", "cgroup")
    if users.name != "runc":
        assert "/linux/cgroupsPath" in result.error


@pytest.mark.skipif(not V2 or not Path("/run/systemd/system").exists(), reason="needs cgroup v2 and systemd")
def test_a_service_of_systemd(users: Runtime, bundle: Workshop) -> None:
    """Delegate=yes gives the cgroup of a unit to its user, who moves aside in it (systemd.resource-control(5))."""
    user = 1  # systemd wants one that has a name
    made = limited(bundle("children", "20"), pids={"limit": 5})
    for kind in ("uidMappings", "gidMappings"):
        made.linux[kind][0]["hostID"] = user
    give(made, user)
    os.chown(users.root, user, user)
    log = users.scratch / "log"
    run = " ".join(users.argv("run", "-b", str(made.path), made.id, flags=["--log", str(log), "--log-format", "json"]))
    log.touch()
    log.chmod(0o666)
    script = (
        "C=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $C/me && echo 0 > $C/me/cgroup.procs; "
        f"{run}; echo $? $(ls -d $C/{made.id})"
    )
    unit = ["systemd-run", "--quiet", "--expand-environment=no", "--pipe", "--wait"]
    unit += [f"--uid={user}", "--property=Delegate=yes"]
    done = subprocess.run([*unit, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", (done, harness.last(log, "error"))
    assert "fork: Resource temporarily unavailable" in done.stderr
    # Without moving aside no controller can be had for the container: said so.
    done = subprocess.run([*unit, "sh", "-c", f"{run}; echo $?"], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n"
    assert "/linux/resources/pids" in harness.last(log, "error") or users.name == "runc"
