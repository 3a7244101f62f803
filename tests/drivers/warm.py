"""A pytest that has collected once and then runs tests on demand, each time in a process of its own and with a fault.

    python warm.py FOLDER...

Reads requests as lines of JSON, {"fault": one of faults.py or "", "tests": names as "run/test_x.py::test_name", with
or without "[parameters]", "first": words}, runs these tests up to the first that fails, beginning with those in whose
parameters one of the words is, and answers {"pid": whose process it was, "passed": node ids, "failed": a node id or
null, "text": why}. Most of a small test's time is pytest's start, which so
is paid once for hundreds of runs. The runtime under test has to be a program that heeds OCIRUN_TEST_FAULT.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

HERE = Path(__file__).resolve().parent
LIMIT = 90.0  # seconds of one request


class Server:
    """The plugin: takes the place of the loop over all collected tests."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self.requests = requests
        self.answers = answers

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.say(ready=len(session.items))
        for line in self.requests:
            request = json.loads(line)
            names, first = request["tests"], set(request["first"])
            items = [item for name in names for item in session.items if name in (where(item), plain(item))]
            items.sort(key=lambda item: first.isdisjoint(parameters(item)))
            self.say(**self.forked(items, request["fault"]))
        return True

    def say(self, **answer: Any) -> None:
        self.answers.write(json.dumps(answer) + "\n")
        self.answers.flush()

    def forked(self, items: list[pytest.Item], fault: str) -> dict[str, Any]:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            with os.fdopen(writer, "w") as file:
                json.dump(results(items, fault), file)
            os._exit(0)
        os.close(writer)
        pidfd = os.pidfd_open(pid)
        try:
            if not select.select([pidfd], [], [], LIMIT)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
        finally:
            os.close(pidfd)
        end_children()
        with os.fdopen(reader) as file:
            text = file.read()
        died = {"passed": [], "failed": where(items[-1]) if items else None, "text": "its process died, or hung"}
        return {"pid": pid, **(json.loads(text) if text else died)}


def end_children() -> None:
    """What a faulty runtime has left running."""
    import harness

    while left := harness.children():
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        os.wait()


class Recorder:
    """The plugin that sees how a test ends."""

    def __init__(self) -> None:
        self.failed: pytest.TestReport | None = None
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)


def results(items: list[pytest.Item], fault: str) -> dict[str, Any]:
    """Run tests, in a process that is for nothing else."""
    import faults
    import harness

    if fault:
        os.environ["OCIRUN_TEST_FAULT"] = fault
        harness.TIMEOUT = 3.0  # some of them are waited for in vain
        if fault.partition(":")[0] in ("ignore", "ignore-option", "mistake-option"):
            faults.arrange(*fault.split(":", 1))  # for the tests that call the reader themselves
    recorder = Recorder()
    for item in items:
        item.config.pluginmanager.register(recorder)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        item.config.pluginmanager.unregister(recorder)
        if recorder.failed is not None:
            break
    failed = recorder.failed
    return {
        "passed": [nodeid.removeprefix("tests/") for nodeid in recorder.passed],
        "failed": failed.nodeid.removeprefix("tests/") if failed is not None else None,
        "text": failed.longreprtext if failed is not None else "",
    }


def where(item: pytest.Item) -> str:
    """run/test_x.py::test_name[parameters]"""
    return item.nodeid.removeprefix("tests/")


def plain(item: pytest.Item) -> str:
    """The same without parameters."""
    return where(item).partition("[")[0]


def parameters(item: pytest.Item) -> set[str]:
    return {str(value) for value in item.callspec.params.values()} if hasattr(item, "callspec") else set()


class Warm:
    """The client: such a pytest, for a runtime `ocirun` with the fault that is asked for."""

    def __init__(self, scratch: Path, *folders: str) -> None:
        program = scratch / "ocirun"
        fault = '"${OCIRUN_TEST_FAULT:-list:/dev/null}"'
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "faults.py"} {fault} ocirun "$@"\n')
        program.chmod(0o755)
        self.log = scratch / "log"
        environ = os.environ | {"OCIRUN_TEST_RUNTIME": str(program), "TMPDIR": str(scratch)}
        command = [sys.executable, str(HERE / "warm.py"), *folders]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.good: set[str] = set()
        assert self.answer()["ready"]

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)

    def ask(self, fault: str, tests: list[str], first: Sequence[str] = ()) -> Any:
        """Run tests; see above."""
        import harness

        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"fault": fault, "tests": tests, "first": first}) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        # What a faulty runtime leaves where the test itself can clean up nothing any more.
        for directory in harness.cgroup_roots().values():
            for left in directory.glob(f"ot{answer['pid']}-*"):
                left.rmdir()
        return answer

    def notices(self, fault: str, tests: list[str], first: Sequence[str] = ()) -> None:
        """One of these tests has to fail with that fault, and to pass without it."""
        answer = self.ask(fault, tests, first)
        assert answer["failed"], f"none of {tests} notices {fault}; passed: {len(answer['passed'])}"
        if answer["failed"] not in self.good:
            without = self.ask("", [answer["failed"]])
            assert not without["failed"], f"{answer['failed']} fails without a fault too:\n{without['text']}"
            self.good.add(answer["failed"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.chdir(HERE.parents[1])
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    words = ["-q", "-p", "no:cacheprovider", f"--basetemp={os.environ['TMPDIR']}/pytest", *sys.argv[1:]]
    raise SystemExit(pytest.main(words, plugins=[Server(requests, answers)]))


if __name__ == "__main__":
    main()
