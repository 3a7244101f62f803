"""The report as JUnit's XML, which every CI shows: a suite for each runtime, a test case for each case and requirement.

JUnit knows no warnings: a SHOULD that is not met is a passed test case with the finding as its output.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from ..model import Outcome, RuntimeReport
from ..register import Register, link
from . import commands

# What no document of XML 1.0 can hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """The document with its XML declaration."""
    root = ET.Element("testsuites", name="OCI runtime conformance")
    for report in reports:
        verdicts = [outcome.verdict for outcome in report.outcomes]
        suite = ET.SubElement(
            root, "testsuite", name=_text(report.name), tests=str(len(verdicts)), failures=str(verdicts.count("fail")),
            errors="0", skipped=str(verdicts.count("skip") + verdicts.count("impossible")),
            time=f"{sum({outcome.case: outcome.seconds for outcome in report.outcomes}.values()):.3f}",
            timestamp=_text(report.date),
        )  # fmt: skip
        properties = ET.SubElement(suite, "properties")
        for name in ("path", "version", "kernel", "cgroup", "user"):
            ET.SubElement(properties, "property", name=name, value=_text(getattr(report, name)))
        seen: set[str] = set()
        for outcome in report.outcomes:
            # What a case took counts once, however many requirements it decides.
            seconds = 0.0 if outcome.case in seen else outcome.seconds
            seen.add(outcome.case)
            suite.append(_case(report.name, outcome, seconds, register))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(name: str, outcome: Outcome, seconds: float, register: Register) -> ET.Element:
    case = ET.Element(
        "testcase", classname=_text(f"{name}.{outcome.case}"), name=_text(outcome.code), time=f"{seconds:.3f}"
    )
    message = f"expected {outcome.expected}, found {outcome.found}"
    requirement = register.requirements.get(outcome.code)
    lines = [f"{outcome.level}: {requirement.text}", link(requirement.section)] if requirement else [outcome.level]
    lines += [f"expected: {outcome.expected}", f"found: {outcome.found}", *commands(outcome)]
    lines += [f"bundle: {outcome.bundle}"] if outcome.bundle else []
    if outcome.verdict == "fail":
        ET.SubElement(case, "failure", message=_text(message), type=outcome.level).text = _text("\n".join(lines))
    elif outcome.verdict == "warning":
        ET.SubElement(case, "system-out").text = _text("\n".join(["warning", *lines]))
    elif outcome.verdict in ("skip", "impossible"):
        ET.SubElement(case, "skipped", message=_text(f"{outcome.verdict}: {outcome.reason}"))
    return case


def _text(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
