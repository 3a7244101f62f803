"""A runtime inside a container: as root and as an ordinary user, in one with all rights and in one with the usual."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts
from ordinary import AS_USER, USER, give, rootless

USUAL = [
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
]  # fmt: skip


@pytest.fixture
def outer(bundle: Workshop) -> Bundle:
    """A container with the host's programs, this repository, the bundles of the tests, and a /run of its own."""
    made = bundle()
    for directory in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"):
        if Path(directory).exists():
            made.mount(directory, "bind", os.path.realpath(directory), "rbind", "ro")
    for place in {Path(harness.PROGRAM).parents[1], harness.REPOSITORY}:
        made.mount(str(place), "bind", str(place), "rbind", "ro")
    made.mount("/run", "tmpfs", "tmpfs", "mode=755")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    made.process["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    made.process["noNewPrivileges"] = False
    return made


def privileged(outer: Bundle) -> Bundle:
    """As `docker run --privileged`."""
    held = int(harness.Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    outer.capabilities(*(name for number, name in enumerate(harness.CAPABILITIES) if held >> number & 1))
    outer.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    sys_mount = next(one for one in outer.config["mounts"] if one["destination"] == "/sys")
    sys_mount["options"].remove("ro")
    return outer


def usual(outer: Bundle) -> Bundle:
    """As `docker run`."""
    outer.capabilities(*USUAL)
    outer.linux["maskedPaths"] = ["/proc/keys", "/proc/timer_list", "/sys/firmware"]
    outer.linux["readonlyPaths"] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"]
    next(one for one in outer.config["mounts"] if one["destination"] == "/sys/fs/cgroup")["options"] = ["ro"]
    return outer


def inside(runtime: Runtime, outer: Bundle, inner: Bundle, script: str, user: bool = False) -> harness.Result:
    """Run a script in the outer container; $O is the runtime with a --root of its own."""
    outer.mount(str(inner.path), "bind", str(inner.path), "rbind", "rw")
    root = "/run/root"
    prepare = f"mkdir -m 700 {root} || exit 99; chown {USER if user else 0} {root}; "
    prefix = " ".join(AS_USER[:4]) if user else ""
    outer.process["args"] = ["/bin/sh", "-c", f"{prepare} O='{prefix} {runtime.program} --root {root}'; {script}"]
    return runtime.run(outer)


RUN = "$O run -b {0.path} {0.id}"
LIFE = (
    "set -e; $O create -b {0.path} {0.id} </dev/null >/run/out 2>&1; $O start {0.id}; $O exec {0.id} /probe report; "
    "test $($O list -q) = {0.id}; $O kill {0.id} KILL; "
    "while $O state {0.id} | grep -q running; do sleep 0.01; done; $O delete {0.id}"
)


def report_of(result: harness.Result) -> Any:
    return json.loads(result.ok().out)


@pytest.mark.controllers
def test_root_in_a_privileged_container(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    inner = bundle("report", "tree=/dev")
    del inner.linux["cgroupsPath"]
    inner.linux["resources"]["pids"] = {"limit": 20}
    inner.linux["maskedPaths"] = ["/proc/keys"]
    inner.write()
    report = report_of(inside(runtime, privileged(outer), inner, RUN.format(inner)))
    assert report["pid"] == 1
    assert report["hostname"] == "probed"
    assert report["trees"]["/dev"]["null"]["stat"]["type"] == "c"
    assert {"/proc", "/sys", "/dev"} <= mounts(report).keys()
    assert sorted(report["fds"]) == ["0", "1", "2"]


def test_a_life_in_a_privileged_container(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    inner = bundle("pause")
    del inner.linux["cgroupsPath"]
    inner.write()
    assert report_of(inside(runtime, privileged(outer), inner, LIFE.format(inner)))["hostname"] == "probed"


def test_three_deep(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    """The container in the middle is made like the outer one, inside of it."""
    inner, middle = bundle("report"), bundle()
    del inner.linux["cgroupsPath"]
    inner.write()
    script = f"mkdir -m 700 /run/root; {runtime.program} --root /run/root run -b {inner.path} {inner.id}"
    middle.config = json.loads(json.dumps(privileged(outer).config))
    del middle.linux["cgroupsPath"]
    middle.process["args"] = ["/bin/sh", "-c", script]
    middle.mount(str(inner.path), "bind", str(inner.path), "rbind", "rw")
    middle.write()
    outer.mount(str(inner.path), "bind", str(inner.path), "rbind", "rw")
    assert report_of(inside(runtime, outer, middle, RUN.format(middle)))["pid"] == 1


@pytest.mark.parametrize("script", [RUN, LIFE], ids=["run", "life"])
def test_an_ordinary_user_in_a_privileged_container(
    runtime: Runtime, bundle: Workshop, outer: Bundle, script: str
) -> None:
    inner = bundle("report" if script == RUN else "pause")
    rootless(inner)
    give(inner)
    report = report_of(inside(runtime, privileged(outer), inner, script.format(inner), user=True))
    assert report["uid"] == [0, 0, 0]
    assert report["uid_map"].split() == ["0", str(USER), "1"]


def test_root_in_a_container_with_the_usual_rights(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    """What is missing is told: first a cgroup that can be written to, then the right to make namespaces."""
    inner = bundle("true")
    del inner.linux["cgroupsPath"]
    inner.write()
    usual(outer)
    result = inside(runtime, outer, inner, f"{RUN.format(inner)}; echo $? $(ls /run/root)")
    assert "cgroup" in result.err and "read-only file system" in result.err
    assert result.out == "1\n", "and nothing is left"


@pytest.mark.ocirun
def test_the_missing_capability_is_named(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    inner = bundle("true")
    del inner.linux["cgroupsPath"]
    inner.write()
    script = f'O="$O --rootless=true"; {RUN.format(inner)}; echo $? $(ls /run/root)'
    result = inside(runtime, usual(outer), inner, script)
    assert "the runtime lacks CAP_SYS_ADMIN" in result.err
    assert result.out == "1\n"


def test_an_ordinary_user_in_a_container_with_the_usual_rights(
    runtime: Runtime, bundle: Workshop, outer: Bundle
) -> None:
    """A new procfs would show what the outer container's masks hide: the kernel refuses it (mount_too_revealing)."""
    inner = bundle("report")
    rootless(inner)
    give(inner)
    script = f"{RUN.format(inner)}; echo $? $(ls /run/root)"
    result = inside(runtime, usual(outer), inner, script, user=True)
    assert result.out == "1\n"
    assert "operation not permitted" in result.err
    if runtime.name != "runc":
        assert "covers a part" in result.err and "/mounts/0" in result.err


def test_the_outer_procfs_instead(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    """What can be done about it: bind that /proc, and live in that pid namespace."""
    inner = bundle("report")
    rootless(inner)
    inner.without_mount("/proc", "/sys")
    inner.without_namespace("pid")
    inner.mount("/proc", "bind", "/proc", "rbind")
    give(inner)
    report = report_of(inside(runtime, usual(outer), inner, RUN.format(inner), user=True))
    assert report["uid"] == [0, 0, 0]


@pytest.mark.ocirun
def test_a_filter_of_the_outer_container(runtime: Runtime, bundle: Workshop, outer: Bundle) -> None:
    """As Docker's, which keeps unshare(2) and mount(2) from those without CAP_SYS_ADMIN."""
    inner = bundle("report")
    rootless(inner)
    give(inner)
    outer.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["unshare", "mount", "setns", "keyctl"], "action": "SCMP_ACT_ERRNO"}],
    }
    script = f"{RUN.format(inner)}; echo $? $(ls /run/root)"
    result = inside(runtime, usual(outer), inner, script, user=True)
    assert result.out == "1\n"
    assert "/linux/namespaces/" in result.err and "a seccomp filter around the runtime" in result.err
