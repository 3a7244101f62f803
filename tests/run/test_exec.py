"""exec: a further process in a container that runs, with the same care as its first one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import NAMESPACES, Bundle, Runtime, Workshop, capability_mask, eventually, reap

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


@pytest.fixture
def running(runtime: Runtime, bundle: Workshop) -> Iterator[Bundle]:
    """A container that only sleeps."""
    made = bundle("pause")
    made.process["env"].append("OF_THE_CONTAINER=1")
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    made.process["oomScoreAdj"] = 300
    pid = runtime.started(made)
    yield made
    runtime.end(made, pid)


def capabilities(report: Any) -> dict[str, int]:
    return {kind: int(report["capabilities"][kind], 16) for kind in SETS}


def process_file(scratch: Path, **properties: Any) -> list[str]:
    process = {"user": {"uid": 0, "gid": 0}, "args": ["/probe", "report"], "cwd": "/", "env": ["PATH=/"]} | properties
    path = scratch / "process.json"
    path.write_text(json.dumps(process))
    return ["--process", str(path)]


def test_a_process_like_the_first(runtime: Runtime, running: Bundle) -> None:
    pid = runtime.state(running)["pid"]
    report = runtime.probe(running)
    for type, name in NAMESPACES.items():
        assert report["namespaces"][name] == os.readlink(f"/proc/{pid}/ns/{name}"), type
    assert report["uid"] == report["gid"] == [0, 0, 0]
    assert report["cwd"] == "/"
    assert report["env"] == ["PATH=/bin:/", "TERM=xterm", "OF_THE_CONTAINER=1", "HOME=/root"]
    assert report["comm"] == "probe"
    assert report["pid"] != 1 and report["pid"] == report["sid"] == report["pgrp"]
    assert report["ppid"] == 0, "its parent is outside"
    assert report["umask"] == 0o022
    assert report["hostname"] == "probed"
    assert report["no_new_privs"] == 1
    assert report["rlimits"]["RLIMIT_NOFILE"] == [100, 200]
    assert report["oom_score_adj"].strip() == "300"
    assert sorted(report["fds"]) == ["0", "1", "2"]
    assert report["signals"] == {"blocked": [], "pending": [], "ignored": []}
    assert report["lo"] == "up"
    assert all(line.endswith(":/") for line in report["cgroup"].splitlines() if not line.startswith("0::") or V2)
    wanted = capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])
    assert capabilities(report) == {kind: wanted for kind in SETS[:3]} | {"inheritable": 0, "ambient": 0}
    assert "ot" in report["keyring"]


V2 = set(harness.cgroup_roots()) == {""}


def test_exit_codes(runtime: Runtime, running: Bundle) -> None:
    for code in (0, 1, 42, 255):
        assert runtime("exec", running.id, "/probe", "exit", str(code)).code == code
    assert runtime("exec", running.id, "/probe", "raise", "9").code == 128 + 9
    assert runtime("exec", running.id, "/probe", "raise", "15").code == 128 + 15


def test_streams(runtime: Runtime, running: Bundle) -> None:
    read, write = os.pipe()
    os.write(write, b"in and out")
    os.close(write)
    assert runtime("exec", running.id, "/probe", "cat", stdin=read).ok().out == "in and out"
    os.close(read)
    assert "unknown command" in runtime("exec", running.id, "/probe", "nonsense").err


def test_user_and_groups(runtime: Runtime, running: Bundle) -> None:
    """CVE-2026-30892: `-u 1` was root. A number is that number, and anything else an error."""
    cases = {
        "0": (0, 0),
        "1": (1, 0),
        "1000": (1000, 0),
        "1:2": (1, 2),
        "1000:1000": (1000, 1000),
        "2147483647:5": (2147483647, 5),
    }
    for text, (uid, gid) in cases.items():
        report = runtime.probe(running, flags=["--user", text])
        assert (report["uid"], report["gid"]) == ([uid] * 3, [gid] * 3), text
        if uid:
            assert capabilities(report)["effective"] == 0
    for text in ("x", "1:x", "-1", "1:", ":1", "1:2:3", "4294967296", "0x10", " 1", "1 ", "root", "1e3", "٣"):
        result = runtime("exec", "--user", text, running.id, "/probe", "report")
        if runtime.name == "runc" and result.code == 0:
            assert text in ("1:2:3", "1:", "4294967296", "-1")  # 1.1.5 takes what it can make of it
            continue
        assert result.code == 255, text
        assert result.error
        assert result.out == ""
    report = runtime.probe(running, flags=["--user", "7:8", "-g", "9", "-g", "10"])
    assert sorted(report["groups"]) == [9, 10]
    assert "HOME=/home/user" in runtime.probe(running, flags=["-u", "1000"])["env"]


def test_cwd_env_and_caps(runtime: Runtime, running: Bundle) -> None:
    """Nothing is inheritable for that: CVE-2022-29162, CVE-2022-24769, CVE-2022-27650, CVE-2025-27612."""
    report = runtime.probe(
        running,
        flags=["--cwd", "/etc", "-e", "A=1", "-e", "B=two words", "-e", "OF_THE_CONTAINER=2", "--cap", "CAP_NET_RAW"],
    )
    assert report["cwd"] == "/etc"
    env = [one for one in report["env"] if not one.startswith("HOME")]
    assert "A=1" in env and "B=two words" in env
    assert [one for one in env if one.startswith("OF_THE_CONTAINER")][-1] == "OF_THE_CONTAINER=2"
    got = capabilities(report)
    wanted = capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE", "NET_RAW"])
    assert got["bounding"] == got["effective"] == got["permitted"] == wanted
    assert got["inheritable"] == got["ambient"] == 0
    result = runtime("exec", "--cwd", "/no/such/place", running.id, "/probe", "report")
    result.failed("/no/such/place", "no such file or directory", code=255)  # made by create only


def test_no_new_privs(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.process["noNewPrivileges"] = False
    pid = runtime.started(made)
    assert runtime.probe(made)["no_new_privs"] == 0
    assert runtime.probe(made, flags=["--no-new-privs"])["no_new_privs"] == 1
    runtime.end(made, pid)


def test_process_file(runtime: Runtime, running: Bundle, scratch: Path) -> None:
    flags = process_file(
        scratch,
        user={"uid": 1000, "gid": 1000, "additionalGids": [7], "umask": 0o027},
        cwd="/tmp",
        env=["PATH=/", "ONLY=this"],
        capabilities={
            "bounding": ["CAP_CHOWN"],
            "permitted": ["CAP_CHOWN"],
            "inheritable": ["CAP_CHOWN"],
            "ambient": ["CAP_CHOWN"],
            "effective": ["CAP_CHOWN"],
        },
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
        noNewPrivileges=False,
        oomScoreAdj=500,
    )
    report = runtime("exec", *flags, running.id).json
    assert report["uid"] == [1000] * 3
    assert report["groups"] == [7]
    assert report["cwd"] == "/tmp"
    assert report["env"] == ["PATH=/", "ONLY=this", "HOME=/home/user"]
    assert report["rlimits"]["RLIMIT_NOFILE"] == [50, 60]
    assert report["no_new_privs"] == 0
    assert set(capabilities(report).values()) == {capability_mask(["CHOWN"])}
    if runtime.name != "runc":  # 1.1.5 takes it from the container's config, and its umask not at all
        assert report["umask"] == 0o027
        assert report["oom_score_adj"].strip() == "500"


def test_process_file_that_is_wrong(runtime: Runtime, running: Bundle, scratch: Path) -> None:
    (scratch / "broken.json").write_text("{")
    runtime("exec", "--process", str(scratch / "broken.json"), running.id).failed(code=255)
    runtime("exec", "--process", str(scratch / "none.json"), running.id).failed("no such file or directory", code=255)
    runtime("exec", *process_file(scratch, args=[]), running.id).failed("args", code=255)
    if runtime.name != "runc":
        runtime("exec", "--process", "/dev/zero", running.id).failed("/dev/zero", "at most 16 MiB", code=255)
        runtime("exec", "--process", str(scratch), running.id).failed("is a directory", code=255)
        whole = {"process": {"args": ["/probe"], "cwd": "/"}}
        (scratch / "config.json").write_text(json.dumps(whole))
        runtime("exec", "--process", str(scratch / "config.json"), running.id).failed("2 errors", "/cwd", code=255)
        refused = process_file(scratch, selinuxLabel="system_u:system_r:container_t:s0")
        runtime("exec", *refused, running.id).failed("process: /selinuxLabel: ", code=255)
    runtime("exec", *process_file(scratch, cwd="relative"), running.id).failed("cwd", code=255)


@pytest.mark.ocirun
def test_flags_that_are_wrong(runtime: Runtime, running: Bundle) -> None:
    for flags, text in (
        (["--env", "A"], "expected NAME=VALUE, found A"),
        (["--env", "=A"], "expected NAME=VALUE, found =A"),
        (["--user", "root"], "parsing root as int for uid failed"),
        (["--user", "0:-1"], "parsing -1 as int for gid failed"),
        (["--cwd", "relative"], "Cwd must be an absolute path"),
    ):
        runtime("exec", *flags, running.id, "/probe", "true").failed(text, code=255)
    for gid in ("4294967295", "9999999999", "x"):
        result = runtime("exec", "--additional-gids", gid, running.id, "/probe", "true")
        assert result.code == 255 and f'invalid value "{gid}" for flag -additional-gids' in result.error


@pytest.mark.ocirun
def test_a_user_that_the_user_namespace_does_not_have(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    made.user_namespace(size=65536)
    pid = runtime.started(made)
    text = "process: /user/uid: expected an id that /linux/uidMappings maps, found 65536"
    runtime("exec", "--user", "65536", made.id, "/probe", "true").failed(text, code=255)
    runtime("exec", *process_file(scratch, user={"uid": 65536, "gid": 0}), made.id).failed(text, code=255)
    runtime("exec", "--user", "65535:65535", made.id, "/probe", "true").ok()
    assert runtime.end(made, pid) == 137


def test_detach_and_pid_file(runtime: Runtime, running: Bundle, scratch: Path) -> None:
    pid_file = scratch / "exec.pid"
    flags = ["--detach", "--pid-file", str(pid_file)]
    runtime("exec", *flags, running.id, "/probe", "exit", "6").ok()
    assert pid_file.read_text().isdigit()
    assert reap(int(pid_file.read_text())) == 6
    runtime("exec", *flags, *process_file(scratch, args=["/probe", "trap", "/seen"]), running.id).ok()
    pid = int(pid_file.read_text())
    seen = running.rootfs / "seen"
    eventually(lambda: seen.exists() and "ready" in seen.read_text(), "ready")
    assert pid in runtime("ps", "--format", "json", running.id).json, "in the container's cgroup"
    os.kill(pid, signal.SIGTERM)
    assert reap(pid) == 15


def test_cgroup(runtime: Runtime, running: Bundle, scratch: Path) -> None:
    """Every hierarchy: what is started by exec counts to the container."""
    pid_file = scratch / "exec.pid"
    runtime("exec", "--detach", "--pid-file", str(pid_file), running.id, "/probe", "pause").ok()
    pid = int(pid_file.read_text())
    init = runtime.state(running)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path(f"/proc/{init}/cgroup").read_text()
    os.kill(pid, signal.SIGKILL)
    reap(pid)


def test_ends_with_the_container(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    for shared in (False, True):
        made = bundle("pause")
        if shared:
            made.without_namespace("pid")
        container = runtime.started(made)
        pid_file = scratch / "exec.pid"
        runtime("exec", "--detach", "--pid-file", str(pid_file), made.id, "/probe", "pause").ok()
        words = ["--all"] if shared and runtime.name == "runc" else []  # 1.1.5 needs it, 1.5 does not
        runtime("kill", *words, made.id, "KILL").ok()
        # In this order: PID 1 of a pid namespace ends only when all others have been reaped by their parents.
        assert reap(int(pid_file.read_text())) == 137
        assert reap(container) == 137
        runtime.delete(made).ok()


def test_foreground_passes_signals_on(runtime: Runtime, running: Bundle) -> None:
    exec = runtime.spawn("exec", running.id, "/probe", "trap")
    eventually(lambda: "ready" in exec.out, "ready")
    exec.popen.send_signal(signal.SIGUSR1)
    eventually(lambda: "10" in exec.out.split(), "SIGUSR1")
    exec.popen.send_signal(signal.SIGTERM)
    assert exec.result().code == 15


def test_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.user_namespace()
    pid = runtime.started(made)
    report = runtime.probe(made, flags=["--user", "1000:1000"])
    for name in NAMESPACES.values():
        assert report["namespaces"][name] == os.readlink(f"/proc/{pid}/ns/{name}")
    assert report["uid"] == [1000] * 3
    assert report["uid_map"].split() == ["0", "100000", "65536"]
    assert runtime.probe(made)["uid"] == [0] * 3
    runtime.end(made, pid)


@pytest.mark.differs("knows no time namespaces", before="1.4")
def test_time_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.namespace("time")
    made.linux["timeOffsets"] = {"boottime": {"secs": 1000, "nanosecs": 0}}
    pid = runtime.started(made)
    report = runtime.probe(made)
    assert report["namespaces"]["time"] == os.readlink(f"/proc/{pid}/ns/time")
    runtime.end(made, pid)


def test_namespaces_of_the_host(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["namespaces"] = [{"type": "mount"}]
    del made.config["hostname"]
    made.without_mount("/dev/mqueue", "/sys")
    pid = runtime.started(made)
    report = runtime.probe(made)
    for name in NAMESPACES.values():
        assert report["namespaces"][name] == os.readlink(f"/proc/{pid}/ns/{name}"), name
    runtime.end(made, pid)


@pytest.mark.parametrize("user", [False, True])
def test_in_a_created_container(runtime: Runtime, bundle: Workshop, user: bool) -> None:
    made = bundle("true")
    if user:
        made.user_namespace()
    pid = runtime.created(made)
    assert runtime.probe(made)["hostname"] == "probed"
    assert runtime.status(made) == "created"
    runtime("start", made.id).ok()
    assert reap(pid) == 0
    runtime.delete(made).ok()


def test_errors(runtime: Runtime, running: Bundle) -> None:
    """exec fails with 255, and with the words that engines look for."""
    (running.rootfs / "data").write_text("no program")
    cases = {
        "/none": "no such file or directory",
        "none": "executable file not found in $PATH",
        "/data": "permission denied",
        "/etc": "is a directory",
    }
    for word, text in cases.items():
        result = runtime("exec", running.id, word)
        if runtime.name == "runc" and word == "/etc":  # 1.1.5 says "permission denied"
            continue
        result.failed(text, f'"{word}"', code=255)
    assert runtime("exec", running.id).code in (1, 255)
    assert runtime("exec").code in (1, 255)
    runtime("exec", "nobody", "/probe").failed("container does not exist", code=255)
    assert runtime.status(running) == "running"


@pytest.mark.controllers
def test_a_full_cgroup(runtime: Runtime, bundle: Workshop) -> None:
    """No room for one process more: an error, no hanging."""
    made = bundle("children", "3")
    made.linux["resources"]["pids"] = {"limit": 4}
    pid = runtime.started(made)
    procs = harness.cgroup_directory("pids", made.id) / "cgroup.procs"
    eventually(lambda: len(procs.read_text().split()) == 4, "all children")
    result = runtime("exec", made.id, "/probe", "true")
    assert result.code in (0, 255), "on v1 joining is not counted as a fork"
    runtime.end(made, pid)


def test_many_at_once(runtime: Runtime, running: Bundle) -> None:
    commands = [runtime.spawn("exec", running.id, "/probe", "exit", str(number)) for number in range(20)]
    assert [command.result().code for command in commands] == list(range(20))


def test_the_container_ends_meanwhile(runtime: Runtime, bundle: Workshop) -> None:
    for _ in range(5):
        made = bundle("pause")
        pid = runtime.started(made)
        commands = [runtime.spawn("exec", made.id, "/probe", "true") for _ in range(4)]
        os.kill(pid, signal.SIGKILL)
        for command in commands:
            assert command.result().code in (0, 1, 137, 255)
        eventually(lambda pid=pid: pid not in harness.children(), "it ends")  # type: ignore[misc]
        runtime.delete(made).ok()
        eventually(lambda: not harness.children(), "nothing goes on")
