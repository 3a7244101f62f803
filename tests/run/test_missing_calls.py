"""Kernels and seccomp filters around the runtime that do not know the newer system calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts
from ordinary import AS_USER, USER, check_report, give, own, rootless

WITHHOLD = [sys.executable, str(Path(harness.__file__).with_name("withhold.py"))]
AFTER_5_10 = ["mount_setattr", "fchmodat2", "statmount", "listmount"]
NEW = [
    "clone3",
    "close_range",
    "openat2",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "mount_setattr",
    "pidfd_open",
    "pidfd_send_signal",
    "faccessat2",
    "memfd_create",
    "execveat",
    "statx",
    "getrandom",
    "prlimit64",
    "seccomp",
    "add_key",
]
MOUNTS = ["open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr"]
HOOKS = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
TOGETHER = {"Linux 5.10": AFTER_5_10, "the new mount calls": MOUNTS, "all": NEW}
# runc 1.4.3 depends on what its C library does when clone3 is forbidden, which gives up, and asks before Linux 5.10.
FORBIDDEN = {"ENOSYS": [], "EPERM": [pytest.mark.ocirun]}
WITHHELD = [
    pytest.param(calls, number, id=f"{name}-{number}", marks=FORBIDDEN[number] if name in ("clone3", *TOGETHER) else [])
    for name, calls in ({name: [name] for name in NEW} | TOGETHER).items()
    for number in FORBIDDEN
]
# Both answers are the same to us: for users one of them is enough where a call is missing alone.
WITHHELD_FROM_USERS = [one for one in WITHHELD if one.values[1] == "ENOSYS" or len(one.values[0]) > 1]


def without(number: str, calls: list[str]) -> list[str]:
    return [*WITHHOLD, number, ",".join(calls)]


def all_kinds(made: Bundle) -> Bundle:
    """With a mount, a mask and a device of each kind."""
    (made.path / "data").mkdir()
    (made.path / "data" / "file").write_text("data\n")
    made.mount("/data", "bind", str(made.path / "data"), "rbind", "ro", "nosuid")
    made.mount("/etc/one", "bind", str(made.path / "data" / "file"), "bind")
    made.config["root"]["readonly"] = True
    made.linux["maskedPaths"] = ["/proc/keys", "/sys/firmware"]
    made.linux["readonlyPaths"] = ["/proc/sys"]
    return made


def check(report: Any) -> None:
    found = mounts(report)
    assert {"ro", "nosuid"} <= found["/data"].options
    assert "rw" in found["/etc/one"].options
    assert "ro" in found["/"].options
    assert report["writes"]["/etc"] != ""
    assert report["writes"]["/etc/one"] == ""
    assert report["trees"]["/dev"]["null"]["stat"]["type"] == "c"
    assert "/proc/keys" in found or not Path("/proc/keys").exists()
    assert "ro" in found["/proc/sys"].options
    assert sorted(report["fds"]) == ["0", "1", "2"]


def hooks(made: Bundle) -> Bundle:
    """One of each kind, which notes the state that it gets."""
    script = f"cat > {made.path}/state-$0"
    made.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind], "env": ["PATH=/usr/bin:/bin"], "timeout": 10}]
        for kind in HOOKS
    }
    return made


def check_hooks(made: Bundle) -> None:
    for kind in HOOKS:
        assert json.loads((made.path / f"state-{kind}").read_text())["id"] == made.id


def life(runtime: Runtime, made: Bundle, prefix: list[str]) -> None:
    """Every command."""
    made.args("pause")
    give(made, USER if AS_USER[0] in prefix else 0)
    runtime("create", "--bundle", str(made.path), made.id, prefix=prefix).ok()
    runtime("start", made.id, prefix=prefix).ok()
    state = runtime("state", made.id, prefix=prefix).json
    assert state["status"] == "running"
    assert runtime("exec", made.id, "/probe", "exit", "9", prefix=prefix).code == 9
    runtime("kill", made.id, "KILL", prefix=prefix).ok()
    assert harness.reap(state["pid"]) == 137
    runtime("delete", made.id, prefix=prefix).ok()


@pytest.mark.parametrize(("calls", "number"), WITHHELD)
def test_root(runtime: Runtime, bundle: Workshop, calls: list[str], number: str) -> None:
    made = hooks(all_kinds(bundle("report", "tree=/dev", "write=/etc", "write=/etc/one")))
    check(runtime.run(made, prefix=without(number, calls)).json)
    check_hooks(made)
    life(runtime, made, without(number, calls))


@pytest.mark.parametrize(("calls", "number"), WITHHELD_FROM_USERS)
def test_an_ordinary_user(runtime: Runtime, bundle: Workshop, calls: list[str], number: str) -> None:
    own(runtime)
    made = hooks(all_kinds(bundle("report", "tree=/dev", "write=/dev/null", "write=/etc", "write=/etc/one")))
    rootless(made)
    give(made)
    prefix = [*without(number, calls), *AS_USER]
    report = runtime("run", "--bundle", str(made.path), made.id, prefix=prefix).json
    check(report)
    check_report(report)
    check_hooks(made)
    life(runtime, made, prefix)


@pytest.mark.ocirun  # runc 1.4.3 waits for what the hook has started
@pytest.mark.parametrize("number", ["ENOSYS", "EPERM"])
def test_a_hook_that_fails(runtime: Runtime, bundle: Workshop, number: str) -> None:
    """What it printed is told, and its time is limited."""
    made = bundle("true")
    for kind in ("createRuntime", "createContainer"):
        hook = {"path": "/bin/sh", "args": ["sh", "-c", "yes | head -c 100000; exit 3"]}
        made.config["hooks"] = {kind: [hook]}
        result = runtime.run(made, prefix=without(number, NEW)).failed("exit status 3")
        if runtime.name == "ocirun":
            result.failed("output: y")
        made.config["hooks"] = {kind: [hook | {"args": ["sh", "-c", "sleep 30"], "timeout": 1}]}
        runtime.run(made, prefix=without(number, NEW)).failed("timeout of 1 s")


def test_no_keyring(runtime: Runtime, bundle: Workshop) -> None:
    """Filters of containers mostly forbid keyctl(2): the flag that does without is named."""
    made = bundle("true")
    result = runtime.run(made, prefix=without("EPERM", ["keyctl"])).failed("keyring", "operation not permitted")
    assert "--no-new-keyring" in result.error or runtime.name == "runc"
    runtime.run(made, "--no-new-keyring", prefix=without("EPERM", ["keyctl"])).ok()
    runtime.run(made, prefix=without("ENOSYS", ["keyctl"])).ok()
