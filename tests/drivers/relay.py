"""Reports of a pytest that runs elsewhere, in a machine or another mount namespace, as if they were our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


class Relay:
    """What is known of the tests elsewhere, and their reports on the way to pytest."""

    def __init__(self, item: pytest.Item, place: str, say: Callable[[str], None], source: str) -> None:
        """
        :param item: the test that has started them
        :param place: what their names are to begin with, "vm"
        :param say: shows a line of progress
        :param source: the repository's directory there
        """
        self.item, self.place, self.say, self.source = item, place, say, source
        self.waiting: dict[str, None] = {}
        self.running = "nothing yet"
        self.finished = False

    def handle(self, event: dict[str, object]) -> None:
        """One event of reporter.py."""
        getattr(self, f"on_{event.pop('event')}")(**event)

    def on_begun(self, uptime: float) -> None:
        self.say(f"the tests begin, {uptime:.0f} s after power on")

    def on_collected(self, uptime: float, tests: list[str]) -> None:
        self.waiting = dict.fromkeys(tests)
        self.item.session.testscollected += len(tests)

    def on_uncollected(self, uptime: float, nodeid: str, text: str) -> None:
        report = self.report(nodeid, (nodeid, 0, nodeid), "call", "failed", text, 0.0, [])
        self.item.ihook.pytest_runtest_logreport(report=report)

    def on_started(self, uptime: float, nodeid: str) -> None:
        self.running = nodeid

    def on_report(
        self,
        uptime: float,
        nodeid: str,
        location: tuple[str, int | None, str],
        when: str,
        outcome: str,
        longrepr: str | list[object] | None,
        duration: float,
        sections: list[list[str]],
        wasxfail: str | None,
    ) -> None:
        self.waiting.pop(nodeid, None)
        if isinstance(longrepr, list):  # of a skip: where, which line, why
            longrepr = (str(longrepr[0]).replace(self.source, str(REPOSITORY)), *longrepr[1:])
        report = self.report(nodeid, tuple(location), when, outcome, longrepr, duration, [tuple(s) for s in sections])
        if wasxfail is not None:
            report.wasxfail = wasxfail
        self.item.ihook.pytest_runtest_logreport(report=report)

    def report(
        self, nodeid: str, location: tuple, when: str, outcome: str, longrepr: object, duration: float, sections: list
    ) -> pytest.TestReport:
        """A report for pytest of a test there."""
        return pytest.TestReport(
            nodeid=f"{self.place}:{nodeid}",
            location=(f"{self.place}:{location[0]}", location[1], location[2]),
            keywords={self.place: 1},
            outcome=outcome,
            longrepr=longrepr,
            when=when,
            sections=sections,
            duration=duration,
        )

    def on_finished(self, uptime: float, exitstatus: int) -> None:
        self.finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        self.say(f"the tests end, {uptime:.0f} s after power on, with status {exitstatus}")
