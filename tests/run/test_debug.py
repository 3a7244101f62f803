"""--debug: each step and each operation with its duration, in the log's format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Result, Runtime, Workshop
from hooks_of_tests import hook
from ordinary import AS_USER, give, own, rootless

from ocirun.steps import STEPS

pytestmark = pytest.mark.ocirun
UNTIMED = ("ready", "wait_start", "exec")  # they end when the runtime looks no more
DURATION = r": \d+\.\d{3} ms"


def log_of(result: Result) -> list[dict[str, Any]]:
    log = Path(result.argv[result.argv.index("--log") + 1])
    return [json.loads(line) for line in log.read_text().splitlines()]


def messages(result: Result) -> list[str]:
    found = log_of(result.ok())
    assert {entry["level"] for entry in found} == {"debug"}
    return [entry["msg"] for entry in found]


def performed(said: list[str], who: str) -> list[str]:
    """Operations without their durations, as the plan shows them."""
    found = [line for line in said if line.startswith(f"{who}: ")]
    assert all(re.search(f"{DURATION}$", line) for line in found), found
    return [re.sub(f"{DURATION}$", "", line) for line in found]


def test_the_steps(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.config["hooks"] = {"createRuntime": [hook("exit 0")]}
    made.write()
    for words in (["create", "--bundle", str(made.path), made.id], ["start", made.id], ["delete", "--force", made.id]):
        said = messages(runtime(*words, flags=["--debug"]))
        assert said[0].startswith(f"command: {words[0]} ") and made.id in said[0]
        assert re.fullmatch(r"exit code 0 after \d+\.\d{3} ms", said[-1])
        steps = [match[1] for line in said if (match := re.fullmatch(r"step (\S+) after \d+\.\d{3} ms", line))]
        assert [step for step in STEPS if step in steps] == steps, "in their order"
        assert {
            "create": {"create.claim", "create.spawn", "create.hooks", "create.created"},
            "start": {"start.fifo"},
            "delete": {"delete.kill", "delete.cgroup", "delete.directory"},
        }[words[0]] <= {*steps}


def test_a_container_without_a_cgroup(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    rootless(made)
    give(made)
    said = messages(own(runtime)("run", "-b", str(made.path), made.id, flags=["--debug"], prefix=AS_USER))
    assert "the container has no cgroup: none can be made here, and it asks for no limits" in said


@pytest.mark.parametrize("user", [False, True])
def test_the_operations(runtime: Runtime, bundle: Workshop, user: bool) -> None:
    made = bundle("true")
    if user:
        made.user_namespace()
    made.config["hooks"] = {"createRuntime": [hook("exit 0")]}
    said = messages(runtime.create(made, flags=["--debug"]))
    planned = json.loads(runtime("plan", "--json", "--bundle", str(made.path)).ok().out)
    for who in ("outer", "init"):
        operations = [one for one in planned if one["who"] == who and one["operation"] not in UNTIMED]
        wanted = [(one["pointer"], one["description"].replace("of ID", f"of {made.id}")) for one in operations]
        found = performed(said, who)
        assert len(found) == len(wanted) + (who == "outer"), "and the one that notes the times"
        assert found[-1] == f"{who}: {f'{wanted[-1][0]}: ' if wanted[-1][0] else ''}{wanted[-1][1]}"
    assert any("/hooks/createRuntime/0" in line for line in performed(said, "parent"))
    assert any("/linux/resources/devices" in line for line in performed(said, "parent"))
    runtime.delete(made, "--force").ok()


def test_exec_and_a_failure(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    said = messages(runtime("exec", made.id, "/probe", "true", flags=["--debug"]))
    assert any("join" in line for line in performed(said, "outer"))
    result = runtime("exec", made.id, "/nonesuch", flags=["--debug"])
    result.failed("no such file", code=255)
    last = log_of(result)[-2:]
    assert [entry["level"] for entry in last] == ["error", "debug"]
    runtime.end(made, pid)


def test_with_a_filter(runtime: Runtime, bundle: Workshop) -> None:
    """Which may forbid to ask for the time."""
    made = bundle("true")
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["clock_gettime"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    messages(runtime.run(made, flags=["--debug"]))


def test_on_standard_error(runtime: Runtime, bundle: Workshop) -> None:
    import subprocess

    words = [harness.PROGRAM, "--debug", "--root", str(runtime.root), "state", "none"]
    lines = subprocess.run(words, capture_output=True, text=True).stderr.splitlines()
    assert all(re.match(r'time="[^"]*" level=(debug|error) msg=', line) for line in lines)
    assert len(lines) >= 3


def test_nothing_of_it_is_loaded_without_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = "import sys; from ocirun.cli import command; command(['ocirun', *sys.argv[1:]]); print(*sys.modules)"
    for flags, there in ([], False), (["--debug"], True):
        words = [sys.executable, "-c", script, *flags, "--root", str(tmp_path), "list"]
        loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert ("ocirun.cli.debug" in loaded) == there
        assert ("ocirun.plan.show" in loaded) == there
