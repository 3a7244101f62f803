"""events: what a container uses, and the kernel's kills for its memory limit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import Runtime, Workshop, cgroup_roots, eventually, reap

import ocirun

V1 = "memory" in cgroup_roots()


def shape(value: Any) -> Any:
    """Names and kinds, without what changes; "raw" as the kernel has it."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items() if key != "cache"}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


@pytest.mark.controllers
def test_stats_once(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("spin")
    made.linux["resources"]["pids"] = {"limit": 23}
    pid = runtime.started(made)
    event = runtime("events", "--stats", made.id).json
    assert (event["type"], event["id"]) == ("stats", made.id)
    data = event["data"]
    assert data["pids"] == {"current": 1, "limit": 23}
    assert data["memory"]["usage"]["usage"] > 0

    def total() -> int:
        number: int = runtime("events", "--stats", made.id).json["data"]["cpu"]["usage"]["total"]
        return number

    first = total()
    eventually(lambda: total() > first + 10_000_000, "10 ms of a CPU more")
    runtime.end(made, pid)


@pytest.mark.controllers
@pytest.mark.ocirun
@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is what it is compared with")
def test_stats_have_the_form_of_runcs(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    (scratch / "runc").mkdir()
    runc = Runtime(str(shutil.which("runc")), scratch / "runc")
    shapes = []
    for one in (runtime, runc):
        pid = one.started(made)
        shapes.append(shape(one("events", "--stats", made.id).json["data"]))
        one.end(made, pid)
    for part in ("psi",):  # runc has it since 1.2
        for key in ("cpu", "memory", "blkio"):
            shapes[0][key].pop(part, None)
            shapes[1][key].pop(part, None)
    if not V1:
        for each in shapes:
            # On v2 runc 1.1 tells nothing of these two, and nothing of memory.peak.
            del each["cpuset"], each["hugetlb"]
            for key in ("usage", "swap"):
                each["memory"].get(key, {}).pop("max", None)
    if not all(each["blkio"] for each in shapes):  # one of them has read nothing from a disk
        for each in shapes:
            del each["blkio"]
    assert shapes[0] == shapes[1]


def test_at_intervals_until_the_container_ends(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    running = runtime.spawn("events", "--interval", "100ms", made.id)
    eventually(lambda: running.out.count("\n") >= 3, "three events")
    assert running.popen.poll() is None
    runtime.kill(made).ok()
    reap(pid)
    if runtime.name == "ocirun":  # it watches PID 1; runc waits for the cgroup to be removed
        assert running.result().code == 0
        runtime.delete(made).ok()
    else:
        runtime.delete(made).ok()
        running.result()
    assert {json.loads(line)["type"] for line in running.out.splitlines()} == {"stats"}


@pytest.mark.controllers
def test_out_of_memory(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["resources"]["memory"] = {"limit": 32 << 20}
    pid = runtime.started(made)
    running = runtime.spawn("events", "--interval", "100ms", made.id)
    eventually(lambda: "stats" in running.out, "it watches")
    result = runtime("exec", made.id, "/probe", "eat", str(256 << 20))
    assert result.code == 137
    eventually(lambda: '"oom"' in running.out, "an event of type oom")
    events = [json.loads(line) for line in running.out.splitlines()]
    assert [event for event in events if event["type"] != "stats"] == [{"type": "oom", "id": made.id}]
    runtime.kill(made).ok()
    reap(pid)
    runtime.delete(made).ok()
    running.result()


def test_what_is_wrong(runtime: Runtime, bundle: Workshop) -> None:
    runtime("events", "nobody").failed("does not exist")
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("events", "--interval", "0", made.id).failed("duration interval must be greater than 0")
    runtime("events", "--interval", "-5s", made.id).failed("duration interval must be greater than 0")
    result = runtime("events", "--interval", "soon", made.id)
    assert result.code == 1
    assert 'invalid value "soon" for flag -interval: parse error' in result.out + result.err
    runtime.kill(made).ok()
    reap(pid)
    runtime("events", "--stats", made.id).failed(f"container with id {made.id} is not running")
    runtime.delete(made).ok()


@pytest.mark.ocirun
def test_from_python(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    container = ocirun.Runtime(str(runtime.root)).get(made.id)
    assert set(container.stats()) == {
        "blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids",
    }  # fmt: skip
    events = container.events(interval=0.01)
    assert next(events)["type"] == "stats"
    container.kill(9)
    assert {event["type"] for event in events} <= {"stats"}
    reap(pid)
    runtime.delete(made).ok()
