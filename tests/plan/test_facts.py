"""Facts about the host: the files that they are read from, and this host's own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from plandriver import HERE

from ocirun.host import facts
from ocirun.host.files import read_file
from ocirun.plan.host import Hierarchy
from ocirun.spec.model import Capabilities, Linux, Namespace, Process, Root, Spec
from ocirun.spec.tuning import Scheduler


def test_a_file_of_several_pages() -> None:
    """procfs gives less than a page at once where the next line would not fit."""
    path = "/proc/crypto"
    assert len(read_file(path)) == len(Path(path).read_bytes()) > 4096


def test_namespaces_that_are_the_callers_own() -> None:
    joined = (Namespace(type="network", path="/proc/self/ns/net"), Namespace(type="ipc", path="/proc/self/ns/net"))
    others = (Namespace(type="mount"), Namespace(type="uts", path="/nothing"))
    spec = Spec(
        oci_version="1.3.0",
        root=Root(path="rootfs"),
        process=Process(cwd="/"),
        linux=Linux(namespaces=(*joined, *others), sysctl={"net.a": "1"}),
    )
    assert facts.host(spec).shared == ("network",)
    assert facts.host().shared == ()


LEGACY = b"""\
12:cpu,cpuacct:/user.slice
4:memory:/
3:pids:/a:b
1:name=systemd:/user.slice/session
0::/user.slice/session
"""
LEGACY_MOUNTS = b"""\
23 1 8:1 / / rw shared:1 - ext4 /dev/root rw
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 /sub /sys/fs/cgroup/with\\040blank rw - cgroup cgroup rw,memory
35 30 0:30 / /elsewhere rw - cgroup cgroup rw,memory
"""


def test_legacy_hierarchies() -> None:
    unified, found = facts.cgroup_hierarchies(LEGACY, LEGACY_MOUNTS)
    assert not unified
    by_name = {hierarchy.controllers: hierarchy for hierarchy in found}
    assert by_name[("cpu", "cpuacct")] == Hierarchy(
        mountpoint="/sys/fs/cgroup/cpu,cpuacct", controllers=("cpu", "cpuacct"), own="/user.slice"
    )
    assert by_name[("name=systemd",)].own == "/user.slice/session"
    assert by_name[("memory",)].mountpoint == "/sys/fs/cgroup/with blank"
    assert by_name[("memory",)].root == "/sub"
    assert ("pids",) not in by_name  # not mounted


def test_unified_hierarchy() -> None:
    mounts = b"31 30 0:27 / /sys/fs/cgroup rw shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"
    assert facts.cgroup_hierarchies(b"0::/user.slice/session\n", mounts) == (
        True,
        (Hierarchy(mountpoint="/sys/fs/cgroup", controllers=(), own="/user.slice/session"),),
    )


def test_no_hierarchy() -> None:
    assert facts.cgroup_hierarchies(b"", b"") == (False, ())


@pytest.mark.parametrize(
    ("root", "own", "directory"),
    [
        ("/", "/", "/cg"),
        ("/", "/a/b", "/cg/a/b"),
        ("/a", "/a/b", "/cg/b"),
        ("/a", "/a", "/cg"),
        ("/a", "/ab", "/cg"),
        ("/a", "/", "/cg"),
    ],
)
def test_own_directory(root: str, own: str, directory: str) -> None:
    assert Hierarchy(mountpoint="/cg", controllers=(), own=own, root=root).own_directory == directory


def test_this_host() -> None:
    host = facts.host()
    assert (host.euid, host.egid, host.groups) == (os.geteuid(), os.getegid(), tuple(os.getgroups()))
    limits = [resource.getrlimit(number)[1] for number in range(16)]
    assert host.hard_limits == tuple(2**64 - 1 if limit == resource.RLIM_INFINITY else limit for limit in limits)
    assert host.kcore == os.path.exists("/proc/kcore")
    for hierarchy in host.hierarchies:
        assert os.path.isdir(hierarchy.own_directory)


def test_capabilities() -> None:
    status = Path("/proc/self/status").read_bytes()
    assert facts.permitted(b"Name:\tCapPrm:\nCapInh:\t0\nCapPrm:\t000001fffeffffff\nCapEff:\t0\n") == 0x1FFFEFFFFFF
    some = Process(cwd="/", capabilities=Capabilities())
    assert facts.host(process=some).capabilities == facts.permitted(status)


def test_who_may_schedule() -> None:
    assert facts.may_schedule(b"Name:\tx\nCapInh:\t0000000000800000\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n")
    assert not facts.may_schedule(b"Name:\tCapEff:\nCapPrm:\tffffffffffffffff\nCapEff:\tffffffffff7fffff\n")
    nobody, scheduled = Process(cwd="/"), Process(cwd="/", scheduler=Scheduler(policy="SCHED_OTHER"))
    assert facts.host(process=nobody).may_schedule, "not asked"
    expected = facts.may_schedule(Path("/proc/self/status").read_bytes())
    assert facts.host(process=scheduled).may_schedule == (expected and not facts.host().in_user_namespace)


SHOW = (
    "from ocirun.host.facts import host; h = host();"
    " print(h.euid, h.in_user_namespace, h.may_mount, h.setgroups_denied)"
)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--map-root-user"], "0 True False True"),
        (["--map-root-user", "--mount"], "0 True True True"),
        (["--map-user=1000", "--mount"], "1000 True False False"),
    ],
)
def test_in_a_user_namespace(flags: list[str], found: str) -> None:
    command = ["unshare", *flags, sys.executable, "-c", SHOW]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent.parent).stdout.strip()
        == found
    )
