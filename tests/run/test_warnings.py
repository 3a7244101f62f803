"""What is taken though it is hardly meant, is told: in the log, at level warning, with its JSON pointer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Bundle, Runtime, Workshop, capability_mask

pytestmark = pytest.mark.ocirun  # runc says such things in words of its own


def warned(runtime: Runtime, *words: str, **options: Any) -> list[str]:
    """The warnings of a command that succeeds."""
    log = runtime.root.parent / "warnings.log"
    runtime(*words, flags=["--log", str(log), "--log-format", "json"], **options).ok()
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    log.unlink()
    return [entry["msg"] for entry in entries if entry["level"] == "warning"]


def doubtful(made: Bundle) -> Bundle:
    made.process["capabilities"]["bounding"].append("CAP_FUTURE")
    made.mount("srv", "tmpfs", "tmpfs")
    made.linux["resources"]["memory"] = {"kernel": 1 << 30}
    return made


WARNINGS = [
    "config.json: /process/capabilities/bounding/{0}: ignoring an unknown capability, found CAP_FUTURE",
    "config.json: /mounts/{1}/destination: taking a relative path from /, found srv",
    "config.json: /linux/resources/memory/kernel: ignoring a limit on kernel memory, found 1073741824",
]


def expected(made: Bundle) -> list[str]:
    places = len(made.process["capabilities"]["bounding"]) - 1, len(made.config["mounts"]) - 1
    return [text.format(*places) for text in WARNINGS]


def test_create_and_run(runtime: Runtime, bundle: Workshop) -> None:
    for verb in ("create", "run"):
        made = doubtful(bundle("true"))
        made.write()
        assert warned(runtime, verb, "--bundle", str(made.path), made.id) == expected(made)
        runtime("delete", "--force", made.id).ok()


def test_exec(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Of what the process has of its own; what the container has too was said when that was created."""
    made = doubtful(bundle("pause"))
    pid = runtime.started(made)
    assert warned(runtime, "exec", made.id, "/probe", "true") == []
    names = made.process["capabilities"]["bounding"]
    told = warned(runtime, "exec", "--cap", "CAP_LATER", made.id, "/probe", "true")
    assert f"process: /capabilities/bounding/{len(names)}: ignoring an unknown capability, found CAP_LATER" in told
    process: dict[str, Any] = {"args": ["/probe", "true"], "cwd": "/", "capabilities": {"effective": ["kill"]}}
    (scratch / "process.json").write_text(json.dumps(process))
    told = warned(runtime, "exec", "--process", str(scratch / "process.json"), made.id)
    assert told == ["process: /capabilities/effective/0: ignoring an unknown capability, found kill"]
    assert runtime.end(made, pid) == 137


def sets(report: Any) -> dict[str, int]:
    return {name: int(report["capabilities"][name], 16) for name in ("effective", "permitted")}


def test_a_capability_that_the_runtime_lacks(runtime: Runtime, bundle: Workshop) -> None:
    """config.md, "Linux Process": it is told, and done without."""
    lacking = ("setpriv", "--bounding-set=-audit_write,-chown")
    made = bundle()
    got = sets(runtime.report(made, prefix=lacking))
    assert got["permitted"] == got["effective"] == capability_mask(["KILL", "NET_BIND_SERVICE"])
    assert warned(runtime, "run", "--bundle", str(made.path), made.id, prefix=lacking) == [
        f"config.json: /process/capabilities/{name}/0: ignoring a capability that the runtime itself does not have,"
        " found CAP_AUDIT_WRITE"
        for name in ("effective", "permitted")
    ]
    made.args("pause")
    runtime.started(made, prefix=lacking)
    told = warned(runtime, "exec", "--cap", "CAP_CHOWN", made.id, "/probe", "true", prefix=lacking)
    places = [message.split(": ")[1] for message in told]
    assert "/capabilities/permitted/0" in places and "/capabilities/permitted/3" in places
    runtime.delete(made, "--force").ok()


def test_all_capabilities_of_a_user_namespace_are_there(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.user_namespace()
    report = runtime.report(made, prefix=("setpriv", "--bounding-set=-audit_write"))
    assert sets(report)["permitted"] == capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])


def test_nothing_to_say(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.write()
    assert warned(runtime, "run", "--bundle", str(made.path), made.id) == []
