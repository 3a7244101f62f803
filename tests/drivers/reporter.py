"""A plugin of pytest: everything that happens, as JSON lines into the file that OCIRUN_TEST_REPORT names.

For a pytest that another one has started elsewhere: see relay.py.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import IO

import pytest


class Reporter:
    def __init__(self, port: IO[str]) -> None:
        self.port = port

    def say(self, event: str, **fields: object) -> None:
        self.port.write(
            json.dumps({"event": event, "uptime": time.clock_gettime(time.CLOCK_BOOTTIME), **fields}) + "\n"
        )
        self.port.flush()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.say("collected", tests=[item.nodeid for item in session.items])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say("uncollected", nodeid=report.nodeid, text=report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.say("started", nodeid=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        reason = list(report.longrepr) if isinstance(report.longrepr, tuple) else report.longreprtext
        self.say(
            "report",
            nodeid=report.nodeid,
            location=report.location,
            when=report.when,
            outcome=report.outcome,
            longrepr=reason or None,
            duration=report.duration,
            sections=report.sections,
            wasxfail=getattr(report, "wasxfail", None),
        )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.say("finished", exitstatus=int(exitstatus))


def pytest_configure(config: pytest.Config) -> None:
    reporter = Reporter(Path(os.environ["OCIRUN_TEST_REPORT"]).open("w"))  # noqa: SIM115 - until the end
    reporter.say("begun")
    config.pluginmanager.register(reporter, "ocirun-reporter")
