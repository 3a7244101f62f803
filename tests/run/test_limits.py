"""process.rlimits and process.oomScoreAdj beyond what the caller has: raised and lowered.

Raising takes CAP_SYS_RESOURCE in the initial user namespace, which root of a container's own has not got. Where the
caller has it neither, the error says what could not be done.
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest
from harness import CAPABILITIES, Bundle, Runtime, Workshop

# A caller has these, which are low, but not too low for a runtime.
LIMITS = {
    "as": 1 << 40, "core": 4096, "cpu": 3600, "data": 1 << 39, "fsize": 1 << 33, "locks": 100, "memlock": 1 << 16,
    "msgqueue": 100_000, "nice": 0, "nofile": 256, "nproc": 5000, "rss": 1 << 33, "rtprio": 0, "rttime": 1 << 20,
    "sigpending": 500, "stack": 1 << 23,
}  # fmt: skip
LOWERED = ["prlimit", *(f"--{name}={value}:{value}" for name, value in LIMITS.items())]
RAISED = {f"RLIMIT_{name.upper()}": [value + 1, 2 * value + 2] for name, value in LIMITS.items()}


def may_raise() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> CAPABILITIES.index("SYS_RESOURCE") & 1)


def rlimits(limits: dict[str, list[int]]) -> list[dict[str, object]]:
    return [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in limits.items()]


def spaces(made: Bundle, user_namespace: bool) -> Bundle:
    if user_namespace:
        made.user_namespace()
    return made


@pytest.mark.parametrize("user_namespace", [False, True])
def test_every_rlimit_raised(runtime: Runtime, bundle: Workshop, user_namespace: bool) -> None:
    if not may_raise():
        for name, limits in RAISED.items():
            made = spaces(bundle(), user_namespace)
            made.process["rlimits"] = rlimits({name: limits})
            result = runtime.run(made, prefix=LOWERED).failed("operation not permitted")
            if runtime.name == "ocirun":
                assert f"/process/rlimits/0: raise the hard limit {name} to {limits[1]}" in result.error
        return
    made = spaces(bundle(), user_namespace)
    made.process["rlimits"] = rlimits(RAISED)
    assert runtime.report(made, prefix=LOWERED)["rlimits"] == RAISED
    made.args("pause")
    pid = runtime.started(made, prefix=LOWERED)
    assert runtime.probe(made, prefix=LOWERED)["rlimits"] == RAISED
    file = made.path / "process.json"
    process = {"user": {"uid": 1, "gid": 1}, "cwd": "/", "args": ["/probe", "report"], "rlimits": rlimits(RAISED)}
    file.write_text(json.dumps(process))
    assert runtime("exec", "--process", str(file), made.id, prefix=LOWERED).json["rlimits"] == RAISED
    runtime.end(made, pid)


def test_every_rlimit_lowered(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    wanted = {}
    for name, value in LIMITS.items():
        hard = resource.prlimit(os.getpid(), getattr(resource, f"RLIMIT_{name.upper()}", 10))[1]  # 10: RLIMIT_LOCKS
        wanted[f"RLIMIT_{name.upper()}"] = [value, value + 1] if hard < 0 or hard > value else [0, hard]
    made.process["rlimits"] = rlimits(wanted)
    assert runtime.report(made)["rlimits"] == wanted


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("value", [-1000, -1])
def test_oom_score_adj_lowered(runtime: Runtime, bundle: Workshop, user_namespace: bool, value: int) -> None:
    made = spaces(bundle("pause"), user_namespace)
    made.process["oomScoreAdj"] = value
    if not may_raise():
        result = runtime.run(made).failed()
        if runtime.name == "ocirun":
            assert f"/process/oomScoreAdj: set oom_score_adj to {value}: permission denied" in result.error
        return
    pid = runtime.started(made)
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == str(value)
    assert runtime.probe(made, flags=["--user", "1000"])["oom_score_adj"].strip() == str(value)
    runtime.end(made, pid)


def test_oom_score_adj_of_the_caller(runtime: Runtime, bundle: Workshop) -> None:
    """config.md: "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj"."""
    made = bundle("pause")
    pid = runtime.started(made, prefix=["choom", "-n", "444", "--"])
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "444"
    assert runtime.probe(made, prefix=["choom", "-n", "555", "--"])["oom_score_adj"].strip() == "555"
    runtime.end(made, pid)
