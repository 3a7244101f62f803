"""exec --cgroup: a process in a cgroup below the container's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Bundle, Runtime, Workshop, cgroup_roots, reap

V1 = "pids" in cgroup_roots()


def directories(id: str) -> list[Path]:
    """The container's own, one for each hierarchy."""
    return [root / id for root in sorted(set(cgroup_roots().values())) if (root / id).is_dir()]


def where(pid: int) -> dict[str, str]:
    """/proc/PID/cgroup: path by controllers."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":")[1]: line.split(":", 2)[2] for line in lines}


@pytest.fixture
def made(runtime: Runtime, bundle: Workshop) -> Iterator[Bundle]:
    """A running container with a cgroup "inner" below its own."""
    one = bundle("pause")
    pid = runtime.started(one)
    for directory in directories(one.id):
        (directory / "inner").mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if V1 and (directory / file).exists():
                (directory / "inner" / file).write_text((directory / file).read_text())
    yield one
    runtime.end(one, pid)


def executed(runtime: Runtime, made: Bundle, *flags: str) -> dict[str, str]:
    """Where a process of exec is."""
    pid_file = made.path / "exec.pid"
    runtime("exec", *flags, "--detach", "--pid-file", str(pid_file), made.id, "/probe", "pause").ok()
    pid = int(pid_file.read_text())
    found = where(pid)
    os.kill(pid, signal.SIGKILL)
    reap(pid)
    return found


def test_everywhere(runtime: Runtime, made: Bundle) -> None:
    found = executed(runtime, made, "--cgroup", "inner")
    assert {path for path in found.values() if made.id in path} == {f"/{made.id}/inner"}


def test_a_leading_slash_is_the_containers_own(runtime: Runtime, made: Bundle) -> None:
    found = executed(runtime, made, "--cgroup", "/inner")
    assert {path for path in found.values() if made.id in path} == {f"/{made.id}/inner"}


@pytest.mark.skipif(not V1, reason="v2 has one hierarchy: no controller can be named")
def test_some_controllers(runtime: Runtime, made: Bundle) -> None:
    found = executed(runtime, made, "--cgroup", "pids,devices:inner", "--cgroup", "memory:/")
    assert found["pids"] == found["devices"] == f"/{made.id}/inner"
    assert found["memory"] == found["freezer"] == f"/{made.id}"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--cgroup", "nowhere"], "no such file or directory"),
        (["--cgroup", ".."], "is not a sub cgroup path"),
        (["--cgroup", "a:b:c"], "invalid --cgroup argument: a:b:c"),
        (["--cgroup", "inner", "--cgroup", "inner"], "missing <controller>: prefix"),
        (["--cgroup", "nobody:inner"], "controller"),
    ],
)
def test_what_is_wrong(runtime: Runtime, made: Bundle, flags: list[str], text: str) -> None:
    if V1 or flags[1] != "nobody:inner":
        runtime("exec", *flags, made.id, "/probe", "true").failed(text, code=255)


@pytest.mark.ocirun
def test_a_sibling_whose_name_begins_alike(runtime: Runtime, made: Bundle) -> None:
    """runc (5403) takes "../ID-other" for a path below "ID"."""
    siblings = [directory.with_name(f"{made.id}-other") for directory in directories(made.id)]
    for sibling in siblings:
        sibling.mkdir()
    try:
        result = runtime("exec", "--cgroup", f"../{made.id}-other", made.id, "/probe", "true")
        result.failed("is not a sub cgroup path", code=255)
    finally:
        for sibling in siblings:
            sibling.rmdir()
