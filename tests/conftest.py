"""Fixtures for containers (see harness.py), and the rule that no test is skipped unless skips.toml says so."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def probe() -> Path:
    """The static test program."""
    return harness.build_probe()


@pytest.fixture(scope="session")
def isolated() -> None:
    """A private mount namespace, and the role of subreaper; see harness.isolate."""
    harness.isolate()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory that every user can enter (pytest's tmp_path is the caller's alone)."""
    path = Path(tempfile.mkdtemp(prefix="ocirun-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def leftovers(isolated: None, scratch: Path, request: pytest.FixtureRequest) -> Iterator[harness.Leftovers]:
    """Fails the test if a process, mount, cgroup, socket, descriptor or file is there that was not there before."""
    left = harness.Leftovers(f"ot{os.getpid()}", scratch)
    yield left
    try:
        left.check()
    finally:
        left.remove()


@pytest.fixture
def runtime(leftovers: harness.Leftovers, scratch: Path) -> Iterator[harness.Runtime]:
    """The runtime under test. Containers that a test leaves are deleted by force."""
    tested = harness.Runtime(harness.PROGRAM, scratch)
    yield tested
    tested.clean()


@pytest.fixture
def bundle(leftovers: harness.Leftovers, scratch: Path, probe: Path) -> harness.Workshop:
    """Makes bundles: `bundle()` or `bundle("sleep", "10")`."""
    return harness.Workshop(leftovers.prefix, scratch, probe)


# Allowed skips.


def _allowed() -> list[dict[str, str]]:
    with (HERE / "skips.toml").open("rb") as file:
        entries: list[dict[str, str]] = tomllib.load(file).get("skip", [])
    return entries


class Skips:
    """Collects the skips that nothing allows."""

    def __init__(self) -> None:
        self.allowed = _allowed()
        self.refused: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        nodeid = report.nodeid.removeprefix("vm:").removeprefix("v2:")  # what the pytests of tests/vm and tests/v2 say
        if not any(fnmatch.fnmatchcase(nodeid, entry["test"]) for entry in self.allowed):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.refused.append(f"{report.nodeid}: {reason}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and not any(fnmatch.fnmatchcase(report.nodeid, entry["test"]) for entry in self.allowed):
            self.refused.append(f"{report.nodeid}: the whole module")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.refused:
            terminalreporter.section("skips that tests/skips.toml does not allow", red=True)
            for line in self.refused:
                terminalreporter.write_line(line)


class Surroundings:
    """Fails the run if the tests leave something in the directory that they are run from: of theirs are only what they
    build there, and the caches of their tools."""

    def __init__(self) -> None:
        self.directory = Path.cwd()
        self.before = self.now()

    def now(self) -> set[str]:
        return {name for name in os.listdir(self.directory) if name != "build" and not name.startswith(".")}

    def left(self) -> list[str]:
        return sorted(self.now() - self.before)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.left():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if left := self.left():
            terminalreporter.section(f"left in {self.directory}", red=True)
            for name in left:
                terminalreporter.write_line(name)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ocirun: about what only ocirun has; left out for another runtime under test")
    config.addinivalue_line(
        "markers", "differs(reason, since=0, before=1000): runc, of these versions, does not do this, and has to fail"
    )
    config.pluginmanager.register(Skips(), "skips")
    config.pluginmanager.register(Surroundings(), "surroundings")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if harness.NAME == "ocirun":
        return
    foreign = [item for item in items if item.get_closest_marker("ocirun")]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]
    for item in items:
        for marker in item.iter_markers("differs"):
            since, before = marker.kwargs.get("since", "0"), marker.kwargs.get("before", "1000")
            if numbers(since) <= version() < numbers(before):
                item.add_marker(pytest.mark.xfail(reason=marker.args[0], strict=True))


@functools.cache
def version() -> list[int]:
    """Of the runtime under test."""
    output = subprocess.run([harness.PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return numbers(output.split()[2])


def numbers(version: str) -> list[int]:
    """1.4.3+ds1 as [1, 4, 3]"""
    return [int(word) for word in re.findall(r"\d+", version.partition("+")[0])]
