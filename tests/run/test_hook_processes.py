"""What the process of a hook is given and what it is free to do: descriptors, signals, environment, daemons, time."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, files, passing
from hooks_of_tests import KINDS, OF_THE_RUNTIME, hook, shell, writable


def reporting(made: Bundle, *words: str, **more: Any) -> None:
    """The probe as a hook of every kind, which writes down what it finds."""
    made.config["hooks"] = {}
    for kind in KINDS:
        path = "/probe" if kind == "startContainer" else str(made.rootfs / "probe")
        args = ["probe", "report", f"to={writable(made, kind)}.{kind}", *words]
        made.config["hooks"][kind] = [{"path": path, "args": args, "env": [], **more}]


def reports(made: Bundle) -> dict[str, Any]:
    return {kind: json.loads((made.rootfs / f"seen.{kind}").read_text()) for kind in KINDS}


def life(runtime: Runtime, made: Bundle, *flags: str, **options: Any) -> int:
    """create, start, kill and delete, each with the options; the pid of the container's process."""
    made.write()
    runtime("create", "--bundle", str(made.path), *flags, made.id, **options).ok()
    pid = int(runtime.state(made)["pid"])
    runtime("start", made.id, **options).ok()
    runtime.kill(made).ok()
    harness.reap(pid)
    runtime("delete", made.id, **options).ok()
    return pid


@pytest.mark.differs("a hook gets every descriptor that the caller of runc has left open")
@pytest.mark.parametrize("number", ["", "EPERM", "ENOSYS"])
def test_no_descriptor_but_three(runtime: Runtime, bundle: Workshop, scratch: Path, number: str) -> None:
    """Neither those that the container gets (--preserve-fds, LISTEN_FDS) nor others of the caller; with close_range(2)
    and without."""
    made = bundle("pause")
    reporting(made)
    with files(scratch, 4) as prepare:
        options = passing(prepare, LISTEN_FDS="1")
        options["prefix"] = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
        if number:
            options["prefix"] += [sys.executable, str(Path(harness.__file__).with_name("withhold.py")), number]
            options["prefix"] += ["close_range"]
        life(runtime, made, "--preserve-fds", "2", **options)
    for kind, report in reports(made).items():
        assert sorted(report["fds"]) == ["0", "1", "2"], kind
        assert not any(str(scratch / "file") in fd["target"] for fd in report["fds"].values()), kind


@pytest.mark.differs("a hook has runc's process group, and ignores what runc's caller ignores")
def test_signals_group_and_session(runtime: Runtime, bundle: Workshop) -> None:
    """A group of its own, for its timeout; no session of its own; no signal blocked or ignored, whoever calls."""
    made = bundle("pause")
    reporting(made)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)

    life(runtime, made, preexec_fn=prepare)
    for kind, report in reports(made).items():
        assert report["signals"] == {"blocked": [], "pending": [], "ignored": []}, kind
        assert report["pgrp"] == report["pid"], kind
        assert report["sid"] != report["pid"], kind


def test_argv_is_kept(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    reporting(made)
    for kind in KINDS:
        made.config["hooks"][kind][0]["args"][0] = "any name"
        made.config["hooks"][kind][0]["args"].append("")
    life(runtime, made)
    for kind, report in reports(made).items():
        assert report["argv"] == ["any name", "report", f"to={writable(made, kind)}.{kind}", ""], kind


def test_environment(runtime: Runtime, bundle: Workshop) -> None:
    """An empty one is empty; an odd one is kept."""
    made = bundle("pause")
    reporting(made)
    life(runtime, made)
    for kind, report in reports(made).items():
        if runtime.name != "runc" or kind != "startContainer":  # runc takes an empty one for none
            assert report["env"] == [], kind
    odd = ["A=1", "B=x=y\nz", "C=", "=D"]
    for kind in KINDS:
        made.config["hooks"][kind][0]["env"] = odd
    life(runtime, made)
    for kind, report in reports(made).items():
        assert report["env"] == odd, kind


@pytest.mark.differs("has the container's environment for createContainer hooks, too", before="1.4")
def test_without_env_it_is_inherited(runtime: Runtime, bundle: Workshop) -> None:
    """Hooks of the runtime get its environment, startContainer hooks what the container's process gets."""
    made = bundle("pause")
    reporting(made)
    for kind in KINDS:
        del made.config["hooks"][kind][0]["env"]
    made.process["env"] = ["PATH=/bin:/", "OF=container"]
    life(runtime, made, env={**os.environ, "OF": "runtime"})
    for kind, report in reports(made).items():
        if kind in OF_THE_RUNTIME:
            assert "OF=runtime" in report["env"], kind
        elif kind == "startContainer":
            assert report["env"] == ["PATH=/bin:/", "OF=container", "HOME=/root"]
        else:
            assert report["env"] == []


def test_working_directories(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Of `create`: the bundle. In the container: its root, later the process's. Else: where the runtime is called."""
    made = bundle("pause")
    (made.rootfs / "work").mkdir()
    made.process["cwd"] = "/work"
    reporting(made)
    life(runtime, made, cwd=str(scratch))
    expected = {
        "prestart": str(made.path),
        "createRuntime": str(made.path),
        "createContainer": str(made.rootfs),
        "startContainer": "/work",
        "poststart": str(scratch),
        "poststop": str(scratch),
    }
    if runtime.name == "runc":
        expected["poststart"] = str(made.path)  # at the end of create
    assert {kind: report["cwd"] for kind, report in reports(made).items()} == expected


def test_all_namespaces(runtime: Runtime, bundle: Workshop) -> None:
    """Of the runtime or of the container, every kind of them."""
    made = bundle("pause")
    made.user_namespace()
    made.rootfs.chmod(0o777)
    reporting(made)
    made.write()
    pid = runtime.started(made)
    container = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in harness.NAMESPACES.values()}
    runtime.end(made, pid)
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in harness.NAMESPACES.values()}
    for kind, report in reports(made).items():
        expected = own if kind in OF_THE_RUNTIME else container
        if runtime.name == "runc" and kind == "createContainer":
            expected = {**expected, "cgroup": report["namespaces"]["cgroup"]}
        assert report["namespaces"] == expected, kind
        assert report["uid"] == [0, 0, 0], kind


def test_startcontainer_is_confined_as_the_process(runtime: Runtime, bundle: Workshop) -> None:
    """The user, capabilities and limits of the container's process."""
    made = bundle("pause")
    (made.rootfs / "seen").touch()
    made.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    made.config["hooks"] = {
        "startContainer": [{"path": "/probe", "args": ["probe", "report", "to=/tmp/seen"], "env": []}]
    }
    pid = runtime.started(made)
    report = json.loads((made.rootfs / "tmp" / "seen").read_text())
    runtime.end(made, pid)
    assert report["uid"] == [1000] * 3 and report["groups"] == [7]
    assert report["capabilities"]["effective"] == "0"
    assert report["rlimits"]["RLIMIT_NOFILE"][0] == 77
    assert report["no_new_privs"] == 1


def broken(made: Bundle, kind: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Hooks that cannot be executed: for each what the kernel says."""
    inside = made.rootfs
    prefix = "" if kind == "startContainer" else str(inside)
    (inside / "plain").write_text("#!/bin/sh\n")
    (inside / "script").write_text("#!/no/such/interpreter\n")
    (inside / "script").chmod(0o755)
    (inside / "garbage").write_bytes(b"\x7fELF no program")
    (inside / "garbage").chmod(0o755)
    (inside / "loop").symlink_to("loop")
    return {
        "missing": ({"path": f"{prefix}/nonesuch"}, "no such file or directory"),
        "not executable": ({"path": f"{prefix}/plain"}, "permission denied"),
        "a directory": ({"path": f"{prefix}/etc"}, "permission denied"),
        "below a file": ({"path": f"{prefix}/plain/hook"}, "not a directory"),
        "no interpreter": ({"path": f"{prefix}/script"}, "no such file or directory"),
        "no program": ({"path": f"{prefix}/garbage"}, "exec format error"),
        "a loop": ({"path": f"{prefix}/loop"}, "too many levels of symbolic links"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_executed(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    for name in broken(bundle(), kind):
        made = bundle("true")
        one, reason = broken(made, kind)[name]
        made.config["hooks"] = {kind: [one]}
        result = runtime.run(made)
        if kind == "poststop":
            if runtime.name != "runc":
                assert reason in result.ok().warning, name
                assert f"/hooks/poststop/0: run poststop hook {one['path']}" in result.warning
        elif runtime.name == "runc" and kind == "startContainer":
            assert result.code != 0
        else:
            result.failed(reason)
            if runtime.name != "runc":
                assert f"/hooks/{kind}/0: run {kind} hook {one['path']}" in result.error, name


WAITS = "waits until nobody has a hook's standard output open"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.differs(WAITS, before="1.4" if kind == "startContainer" else "1000"))
        for kind in KINDS
    ],
)
def test_a_daemon_may_stay(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """A hook that ends and leaves a process with its streams, in its group or in a session of its own, holds up
    nobody, and ends with the container at the latest where it is inside."""
    made = bundle("pause")
    shell(made)
    (made.rootfs / "bin" / "setsid").symlink_to("busybox")
    script = "sleep 1001 & setsid sleep 1001 & echo $! > @; exit 0".replace("@", writable(made, kind))
    made.config["hooks"] = {kind: [hook(script, timeout=20)]}
    begin = time.monotonic()
    life(runtime, made)
    assert time.monotonic() - begin < 10

    def daemons() -> list[int]:
        return [pid for pid in harness.children() if "sleep 1001" in harness.command_line(pid)]

    if kind in OF_THE_RUNTIME:
        assert len(daemons()) == 2
        for pid in daemons():
            os.kill(pid, signal.SIGKILL)
    harness.eventually(lambda: not daemons(), "they are gone")


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_output_of_any_length(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """A state of 200 kB that nobody reads, half of which is read, or whose descriptor is closed; output of 1 MB."""
    made = bundle("true")
    shell(made)
    (made.rootfs / "bin" / "head").symlink_to("busybox")
    made.config["annotations"] = {f"org.example.{number}": "x" * 1000 for number in range(200)}
    flood = "i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done"
    made.config["hooks"] = {
        kind: [
            hook("exit 0"),
            hook("head -c 100000 > /dev/null"),
            hook("exec 0<&-; exit 0"),
            hook(f"cat > {writable(made, kind)}"),
            hook(flood),
            hook("exec 1>&- 2>&-; sleep .1"),
        ]
    }
    runtime.run(made).ok()
    assert json.loads((made.rootfs / "seen").read_text())["annotations"] == made.config["annotations"]


@pytest.mark.ocirun  # runc kills the hook alone
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_who_leaves_the_group_survives_its_timeout(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """A process in a session of its own is no longer the hook; the error comes in time all the same."""
    made = bundle("pause")
    made.without_namespace("pid")  # whose end would be its end, too
    made.config["hooks"] = {kind: [hook("setsid sleep 1002 & sleep 1003", timeout=1)]}
    begin = time.monotonic()
    runtime.create(made).failed(f"/hooks/{kind}/0", "timeout of 1 s")
    assert time.monotonic() - begin < 5
    lines = [harness.command_line(pid) for pid in harness.children()]
    left = [int(line.split()[0]) for line in lines if "sleep 100" in line]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not any("sleep 1003" in line for line in lines)


@pytest.mark.ocirun  # runc's `state` knows nothing of the container yet, or only by chance
@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "poststart"])
def test_a_hook_asks_the_runtime(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """`state` of the container answers a hook that its own command waits for."""
    made = bundle("pause")
    words = " ".join(runtime.argv("state", made.id))
    made.config["hooks"] = {kind: [hook(f"exec timeout 10 {words} > {made.rootfs}/seen", timeout=15)]}
    pid = runtime.started(made)
    state = json.loads((made.rootfs / "seen").read_text())
    assert state["id"] == made.id and state["pid"] == pid
    runtime.end(made, pid)


def test_limits_of_the_runtime(runtime: Runtime, bundle: Workshop) -> None:
    """Hooks of the runtime have its limits and oom score, not the container's."""
    made = bundle("pause")
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]
    made.process["oomScoreAdj"] = 500
    reporting(made, "path=/proc/self/oom_score_adj")
    life(runtime, made)
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for kind, report in reports(made).items():
        if kind in OF_THE_RUNTIME:
            assert report["rlimits"]["RLIMIT_NOFILE"][0] == own, kind
            assert report["paths"]["/proc/self/oom_score_adj"]["content"].strip() == "0", kind
