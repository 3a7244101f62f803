"""The six kinds of hooks: order, moment, namespaces, state, environment, arguments, timeout and failure."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import harness
import pytest
from harness import NAMESPACES, Bundle, Runtime, Workshop, mounts
from hooks_of_tests import KINDS, OF_THE_RUNTIME, everywhere, hook, shell, writable

POSTSTART = pytest.mark.differs("runs poststart hooks at the end of create", before="1.5")
STARTCONTAINER = pytest.mark.differs("start returns before the startContainer hooks have run")


@POSTSTART
def test_order_over_a_life(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("append", "/seen", "process\n")
    shell(made)
    everywhere(made, "echo % >> @")
    for kind in KINDS:
        made.config["hooks"][kind].append(hook(f"echo {kind}-second >> {writable(made, kind)}"))
    pid = runtime.created(made)
    seen = made.rootfs / "seen"
    order = [f"{kind}{which}" for kind in KINDS for which in ("", "-second")]
    assert seen.read_text().split() == order[:6]
    runtime("start", made.id).ok()
    assert harness.reap(pid) == 0
    after_start = seen.read_text().split()
    assert after_start[:8] == order[:8]
    assert sorted(after_start[8:]) == sorted(["process", *order[8:10]])
    assert [line for line in after_start if line.startswith("poststart")] == order[8:10]
    runtime.delete(made).ok()
    assert seen.read_text().split()[11:] == order[10:]


@POSTSTART
@pytest.mark.parametrize(
    "types", [(), ("mount",), ("mount", "network"), ("user", "mount", "pid", "network"), ("pid", "uts", "cgroup")]
)
def test_order_in_any_namespaces(runtime: Runtime, bundle: Workshop, types: tuple[str, ...]) -> None:
    """Every kind, whatever the container has of its own."""
    made = bundle("append", "/seen", "process\n")
    shell(made)
    made.linux["namespaces"] = [{"type": type} for type in types if type != "user"]
    del made.config["hostname"]
    if "mount" not in types:
        made.config["mounts"] = []
        del made.linux["maskedPaths"], made.linux["readonlyPaths"]
    else:
        made.without_mount("/dev/mqueue", "/sys")
    if "user" in types:
        made.user_namespace()
    (made.rootfs / "seen").touch(0o666)
    (made.rootfs / "seen").chmod(0o666)
    everywhere(made, "echo % >> @")
    runtime.run(made).ok()
    seen = (made.rootfs / "seen").read_text().split()
    assert [line for line in seen if line != "process"] == list(KINDS)


@POSTSTART
def test_order_of_run(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("append", "/seen", "process\n")
    shell(made)
    everywhere(made, "echo % >> @")
    runtime.run(made).ok()
    seen = (made.rootfs / "seen").read_text().split()
    assert [line for line in seen if line != "process"] == list(KINDS)
    assert seen.index("process") > seen.index("startContainer")


@POSTSTART
def test_state_on_standard_input(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    shell(made)
    made.config["annotations"] = {"org.example.key": 'a "quoted" välue', "b": ""}
    made.config["hooks"] = {kind: [hook(f"cat > {writable(made, kind)}.{kind}")] for kind in KINDS}
    pid = runtime.started(made)
    runtime.end(made, pid)
    statuses = dict(zip(KINDS, ("creating", "creating", "creating", "created", "running", "stopped"), strict=True))
    for kind, status in statuses.items():
        state = json.loads((made.rootfs / f"seen.{kind}").read_text())
        assert state["id"] == made.id, kind
        assert state["bundle"] == str(made.path), kind
        assert state["annotations"] == made.config["annotations"], kind
        assert state["ociVersion"].startswith("1."), kind
        assert state["status"] == status, kind
        if kind == "poststop":
            assert state.get("pid", 0) == 0
        elif kind in OF_THE_RUNTIME:
            assert state["pid"] == pid, kind
        else:  # "the pid as seen by the container" (runtime.md, State)
            assert state["pid"] == 1, kind


def test_environment_arguments_and_streams(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    shell(made)
    script = 'IFS="|"; { echo "$*"; /usr/bin/env 2>/dev/null || /bin/env; } > @'
    made.config["hooks"] = {
        kind: [
            hook(script.replace("@", writable(made, kind) + "." + kind), "one", "two words", "", env=["A=1", "B=x y"])
        ]
        for kind in KINDS
    }
    runtime.run(made, env={**os.environ, "SECRET": "1"}).ok()
    for kind in KINDS:
        first, *env = (made.rootfs / f"seen.{kind}").read_text().splitlines()
        assert first == "one|two words|", kind
        env = [one for one in env if not one.startswith(("PWD=", "SHLVL=", "_="))]
        assert sorted(env) == ["A=1", "B=x y", "PATH=/usr/bin:/bin"], kind


def test_no_args_means_the_path(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    script = scratch / "a-hook"
    script.write_text(f'#!/bin/sh\necho "$0 $#" > {scratch}/said\n')
    script.chmod(0o755)
    made = bundle("true")
    made.config["hooks"] = {"createRuntime": [{"path": str(script)}]}
    runtime.run(made).ok()
    assert (scratch / "said").read_text() == f"{script} 0\n"


def test_namespaces_and_working_directory(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    shell(made)
    names = ("mnt", "net", "uts", "ipc")
    reads = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
    made.config["hooks"] = {kind: [hook(f"{{ {reads}; }} > {writable(made, kind)}.{kind}")] for kind in KINDS}
    pid = runtime.started(made)
    container = [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
    runtime.end(made, pid)
    own = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    for kind in KINDS:
        seen = (made.rootfs / f"seen.{kind}").read_text().split()
        assert seen == (own if kind in OF_THE_RUNTIME else container), kind


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_the_mounts_are_there_and_more_can_be_added(
    runtime: Runtime, bundle: Workshop, scratch: Path, kind: str
) -> None:
    """What GPU hooks do: enter by pid (those of the runtime), find every mount of config.json below root.path, and
    bind more there; the container sees it."""
    (scratch / "driver").mkdir()
    (scratch / "driver" / "library").write_text("of the hook\n")
    made = bundle()
    made.mount("/data", "tmpfs", "hook-data")
    (made.rootfs / "driver").mkdir()
    root = made.rootfs
    inner = f"grep -c {root}/data /proc/self/mountinfo > {scratch}/count; mount --bind {scratch}/driver {root}/driver"
    if kind == "createContainer":
        script = inner
    else:
        script = (
            """pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); """
            f"""nsenter --mount=/proc/$pid/ns/mnt sh -c '{inner}'"""
        )
    made.config["hooks"] = {kind: [hook(script)]}
    report = runtime.report(made, "path=/driver/library", "path=/data")
    assert (scratch / "count").read_text() == "1\n"
    assert report["paths"]["/driver/library"]["content"] == "of the hook\n"
    assert mounts(report)["/data"].source == "hook-data"
    assert not list((made.rootfs / "driver").iterdir()), "not on the host"


def test_a_network_device_moved_in_by_a_hook(runtime: Runtime, bundle: Workshop) -> None:
    """What Docker's prestart hook does: set up the network of the process by its pid."""
    made = bundle()
    script = """pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net cat /proc/net/dev > @"""
    made.config["hooks"] = {"prestart": [hook(script.replace("@", str(made.path / "seen")))]}
    assert runtime.report(made)["lo"] == "up"
    assert "lo:" in (made.path / "seen").read_text()


@pytest.mark.parametrize(
    "kind",
    [
        *KINDS[:3],
        pytest.param("startContainer", marks=STARTCONTAINER),
        pytest.param("poststart", marks=POSTSTART),
        "poststop",
    ],
)
def test_failure(runtime: Runtime, bundle: Workshop, leftovers: harness.Leftovers, kind: str) -> None:
    made = bundle("pause")
    shell(made)
    made.config["hooks"] = {
        kind: [
            hook(f"echo first >> {writable(made, kind)}"),
            hook("echo no luck today >&2; exit 3"),
            hook(f"echo third >> {writable(made, kind)}"),
        ]
    }
    seen = made.rootfs / "seen"
    if kind in ("prestart", "createRuntime", "createContainer"):
        result = runtime.create(made)
        result.failed(*(() if kind == "createContainer" else ("3", "no luck today")))
        assert seen.read_text().split() == ["first"]
        leftovers.check()
        return
    pid = runtime.created(made)
    result = runtime("start", made.id)
    if kind == "poststop":
        result.ok()
        runtime.kill(made).ok()
        harness.reap(pid)
        result = runtime.delete(made)
        assert seen.read_text().split()[0] == "first"
        assert runtime("state", made.id).code == 1, "gone all the same"
        return
    if kind == "startContainer":
        result.failed()
    else:
        result.failed("3", "no luck today")
    assert seen.read_text().split() == ["first"]
    assert harness.reap(pid) != 0
    runtime.delete(made, "--force").ok()


@pytest.mark.ocirun
@pytest.mark.parametrize("kind", KINDS)
def test_failure_is_told_with_the_hook(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """Which hook, and what it said."""
    made = bundle("pause")
    shell(made)
    made.config["hooks"] = {kind: [hook("true"), hook("echo no luck today >&2; exit 3")]}
    result = runtime.create(made)
    pid = 0
    if kind in ("startContainer", "poststart", "poststop"):
        pid = runtime.state(made)["pid"]
        result = runtime("start", made.id)
        if kind == "poststop":
            runtime.kill(made).ok()
            harness.reap(pid)
            pid = 0
            result = runtime.delete(made)
    where = f"error running {kind} hook #1: /hooks/{kind}/1: "
    if kind == "poststop":  # a warning: the container is gone (runtime.md, "Lifecycle", 13)
        assert where in result.ok().warning
        assert "no luck today" in result.warning
    else:
        result.failed(where, "3")
    if pid:
        harness.reap(pid)
        runtime.delete(made, "--force").ok()


@pytest.mark.ocirun  # runc kills the hook alone, and then waits for the rest of it
@pytest.mark.parametrize("kind", KINDS)
def test_timeout_kills_the_group(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """Not only the hook, but also what it has started in its group."""
    made = bundle("pause")
    shell(made)
    made.config["hooks"] = {kind: [hook("sleep 1000 & sleep 1000", timeout=1)]}
    before = time.monotonic()
    result = runtime.create(made)
    if kind in ("startContainer", "poststart", "poststop"):
        pid = runtime.state(made)["pid"]
        result = runtime("start", made.id)
        if kind == "poststop":
            runtime.kill(made).ok()
            harness.reap(pid)
            result = runtime.delete(made)
        else:
            harness.reap(pid)
    assert 0.9 < time.monotonic() - before < 5
    if kind == "poststop":
        assert "timeout" in result.ok().warning
    else:
        result.failed()
    runtime.delete(made, "--force").ok()
    harness.eventually(
        lambda: not any("sleep 1000" in harness.command_line(child) for child in harness.children()),
        "the whole group is killed",
    )


def test_a_hook_that_cannot_be_executed(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    for kind in ("createRuntime", "createContainer", "startContainer"):
        made = bundle("true")
        made.config["hooks"] = {kind: [{"path": "/no/such/hook"}]}
        result = runtime.run(made)
        if kind == "startContainer" and runtime.name == "runc":  # it says so on the container's stderr
            continue
        result.failed("/no/such/hook", "no such file or directory")
    made = bundle("true")
    made.config["hooks"] = {"createRuntime": [{"path": "relative"}]}
    assert runtime.run(made).code == 1


def test_a_hook_that_reads_nothing_and_one_that_floods(runtime: Runtime, bundle: Workshop) -> None:
    """A large state that nobody reads, and a large output that nobody wants, block nothing."""
    made = bundle("true")
    made.config["annotations"] = {f"org.example.{number}": "x" * 1000 for number in range(200)}
    flood = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"
    made.config["hooks"] = {"createRuntime": [hook("exit 0"), hook(flood)], "createContainer": [hook("exit 0")]}
    runtime.run(made).ok()


def test_hooks_have_a_clean_process(runtime: Runtime, bundle: Workshop) -> None:
    """Signals, descriptors, as for the container itself."""
    made = bundle("true")
    for kind in ("createRuntime", "createContainer", "startContainer"):
        path = "/probe" if kind == "startContainer" else str(made.rootfs / "probe")
        target = f"to={writable(made, kind)}.{kind}"
        made.config.setdefault("hooks", {})[kind] = [{"path": path, "args": ["probe", "report", target]}]
    runtime.run(made).ok()
    for kind in made.config["hooks"]:
        report = json.loads((made.rootfs / f"seen.{kind}").read_text())
        assert report["signals"]["blocked"] == [], kind
        if runtime.name != "runc":
            assert sorted(report["fds"]) == ["0", "1", "2"], kind
            assert report["signals"]["ignored"] == [], kind
            path = made.config["hooks"][kind][0]["path"]
            assert report["comm"] == Path(path).name[:15], kind


def test_the_names_of_namespaces() -> None:
    assert set(NAMESPACES.values()) == {
        path.name for path in Path("/proc/self/ns").iterdir() if "_for_" not in path.name
    }


def poststop(made: Bundle) -> Path:
    """A poststop hook that counts."""
    made.config.setdefault("hooks", {})["poststop"] = [hook(f"cat >> {made.path}/ended; echo >> {made.path}/ended")]
    return made.path / "ended"


def ends(file: Path) -> list[str]:
    """The states that poststop hooks were told."""
    return [json.loads(line)["status"] for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_poststop_after_a_failed_creation(runtime: Runtime, bundle: Workshop, verb: str, kind: str) -> None:
    """The lifecycle goes on with its last steps, once: the container is gone, and the hooks know."""
    made = bundle("pause")
    ended = poststop(made)
    made.config["hooks"][kind] = [hook(f"exit {7}")]
    getattr(runtime, verb)(made).failed("7")
    assert ends(ended) == ["stopped"]
    runtime("delete", "--force", made.id).ok()
    assert ends(ended) == ["stopped"]


@pytest.mark.differs("leaves a container whose hook has failed at start, for `delete`")
@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_poststop_after_a_failed_start(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """runtime.md, "Lifecycle": the container is stopped and destroyed, and poststop hooks run; likewise by `run`."""
    made = bundle("pause")
    shell(made)
    ended = poststop(made)
    made.config["hooks"][kind] = [hook("exit 7")]
    pid = runtime.created(made)
    runtime("start", made.id).failed("7")
    assert harness.reap(pid) != 0
    runtime("state", made.id).failed("does not exist")
    assert ends(ended) == ["stopped"]
    runtime("delete", "--force", made.id).ok()
    assert ends(ended) == ["stopped"]
    ended.unlink()
    runtime.run(made).failed("7")
    assert ends(ended) == ["stopped"]
    runtime("state", made.id).failed("does not exist")


@pytest.mark.parametrize("how", ["delete", "delete --force", "run", "run --keep", "run --detach"])
@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_poststop_once(runtime: Runtime, bundle: Workshop, how: str, state: str) -> None:
    made = bundle("pause")
    ended = poststop(made)
    pid = 0
    if how.startswith("run"):
        if state != "stopped":
            return
        made.args("true")
        runtime.run(made, *how.split()[1:]).ok()
        if how != "run":
            if how == "run --detach":
                harness.eventually(lambda: runtime.status(made) == "stopped", "it ends")
            assert ends(ended) == []
            runtime.delete(made).ok()
    else:
        pid = runtime.created(made)
        if state != "created":
            runtime("start", made.id).ok()
        if state == "stopped":
            runtime.kill(made).ok()
            harness.reap(pid)
        if state == "running" and how == "delete":
            runtime.delete(made).failed("not stopped")
            assert ends(ended) == []
            runtime.kill(made).ok()
            harness.reap(pid)
        runtime.delete(made, *how.split()[1:]).ok()
    assert ends(ended) == ["stopped"]
    runtime("delete", "--force", made.id).ok()
    assert ends(ended) == ["stopped"]


@pytest.mark.differs("stops at the first that fails, and says nothing")
def test_all_poststop_hooks_run_and_each_failure_is_told(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.config["hooks"] = {
        "poststop": [hook("exit 3"), {"path": "/nonesuch"}, hook("sleep 100", timeout=1), hook(f"> {made.path}/last")]
    }
    result = runtime.run(made).ok()
    assert (made.path / "last").exists()
    log = Path(result.argv[result.argv.index("--log") + 1])
    warnings = [json.loads(line)["msg"] for line in log.read_text().splitlines()]
    assert [warning.split(": ")[:2] for warning in warnings] == [
        [f"error running poststop hook #{number}", f"/hooks/poststop/{number}"] for number in range(3)
    ]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_kills_the_container(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """Its own, before it is created: an error, and no hang."""
    made = bundle("pause")
    made.without_namespace("pid")
    made.config["hooks"] = {kind: [hook("""kill -9 $(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')""")]}
    runtime.create(made).failed()
    runtime("state", made.id).failed("does not exist")


@pytest.mark.parametrize("kind", KINDS)
def test_a_very_long_timeout(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    made = bundle("true")
    shell(made)
    for seconds in (2_147_483, 2_147_484, 2**31 - 1, 2**31, 2**33) + ((2**63 - 1,) if runtime.name != "runc" else ()):
        made.config["hooks"] = {kind: [hook("exit 0", timeout=seconds)]}
        runtime.run(made).ok()


@pytest.mark.parametrize("kind", KINDS[:4])
def test_both_outputs_are_told(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """What a hook wrote is in the error, however it is split; its bytes may be no text."""
    if runtime.name == "runc" and kind in ("createContainer", "startContainer"):
        return  # it logs them elsewhere
    made = bundle("pause")
    shell(made)
    made.config["hooks"] = {kind: [hook("echo to-stdout; echo to-stderr >&2; printf '\\377\\001'; exit 4")]}
    runtime.run(made).failed("4", "to-stdout", "to-stderr")


@pytest.mark.ocirun
def test_the_state_is_what_the_specification_says(runtime: Runtime, bundle: Workshop) -> None:
    """Every required property, and no other."""
    made = bundle("pause")
    shell(made)
    everywhere(made, "cat > @.%")
    pid = runtime.started(made)
    runtime.end(made, pid)
    for kind in KINDS:
        state = json.loads((made.rootfs / f"seen.{kind}").read_text())
        assert set(state) == {"ociVersion", "id", "status", "pid", "bundle"}, kind
        assert (state["ociVersion"], state["bundle"]) == ("1.3.0", str(made.path)), kind
