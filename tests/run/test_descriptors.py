"""Descriptors that are meant for the container: --preserve-fds and LISTEN_FDS (sd_listen_fds(3))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from harness import Runtime, Workshop, files, passing


def targets(report: Any) -> dict[str, str]:
    return {fd: Path(one["target"]).name for fd, one in report["fds"].items() if int(fd) > 2}


def test_preserve_fds(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    with files(scratch, 3) as prepare:
        report = runtime.report(bundle(), flags=["--preserve-fds", "2"], **passing(prepare))
        assert targets(report) == {"3": "file-0", "4": "file-1"}
        assert not any(one.startswith("LISTEN") for one in report["env"])
        assert targets(runtime.report(bundle(), **passing(prepare))) == {}
        made = bundle("pause")
        pid = runtime.started(made, "--preserve-fds", "1", **passing(prepare))
        assert os.readlink(f"/proc/{pid}/fd/3").endswith("file-0")
        assert not os.path.exists(f"/proc/{pid}/fd/4")
        report = runtime.probe(made, flags=["--preserve-fds=3"], **passing(prepare))
        assert targets(report) == {"3": "file-0", "4": "file-1", "5": "file-2"}
        assert targets(runtime.probe(made, **passing(prepare))) == {}
        runtime.end(made, pid)


@pytest.mark.ocirun  # runc 1.1.5 mistakes its own descriptors for those
def test_descriptors_that_are_not_there(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    with files(scratch, 1) as prepare:
        result = runtime.run(bundle("true"), "--preserve-fds", "4", **passing(prepare))
        result.failed("unable to stat preserved-fd")
    assert not runtime.root.exists() or not list(runtime.root.iterdir())


def test_listen_fds(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    with files(scratch, 3) as prepare:
        # As sd_listen_fds(3) wants it, LISTEN_PID has to be the runtime's own.
        options = passing(prepare, LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
        options["prefix"] = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh"]
        report = runtime.report(bundle(), **options)
        assert targets(report) == {"3": "file-0", "4": "file-1"}
        assert "LISTEN_FDS=2" in report["env"]
        assert "LISTEN_PID=1" in report["env"]
        report = runtime.report(bundle(), flags=["--preserve-fds", "1"], **options)
        assert targets(report) == {"3": "file-0", "4": "file-1", "5": "file-2"}
        assert "LISTEN_FDS=2" in report["env"]
        report = runtime.report(bundle(), **passing(prepare, LISTEN_FDS="2", LISTEN_PID="999999"))
        assert targets(report) == {}, "meant for another process"
        assert not any(one.startswith("LISTEN") for one in report["env"])
