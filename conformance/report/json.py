"""The report for programs: everything that is known, as one JSON document, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from ..model import Outcome, RuntimeReport
from ..register import VERSION, Register, link
from . import standings, tally

FORMAT = 1
"""Goes up when the document changes so that a reader must change."""


class ReportError(ValueError):
    """A document is no report of ours: what is wrong with it."""


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """{"format", "specification", "requirements": {code: …}, "runtimes": [{…, "standings", "tally", "outcomes"}]}."""
    document = {
        "format": FORMAT,
        "specification": VERSION,
        "requirements": {
            code: {
                "level": one.level, "keyword": one.keyword, "section": one.section, "link": link(one.section),
                "text": one.text, "tested": code in tested, "untestable": one.untestable,
            }
            for code, one in register.requirements.items()
        },
        "runtimes": [
            {
                **{key: value for key, value in asdict(report).items() if key != "outcomes"},
                "tally": {one.level: dict(one.counts) for one in tally(report, register)},
                "standings": standings(report, register),
                "outcomes": [asdict(outcome) for outcome in report.outcomes],
            }
            for report in reports
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse(text: str) -> tuple[tuple[RuntimeReport, ...], frozenset[str]]:
    """The runtimes of a document that render() made, and the codes that had cases. Raises ReportError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ReportError(f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ReportError(f"not a report of format {FORMAT}")
    try:
        reports = tuple(_runtime(one) for one in document["runtimes"])
        return reports, frozenset(code for code, one in document["requirements"].items() if one["tested"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ReportError(f"not a whole report: {error}") from None


def _runtime(one: dict[str, Any]) -> RuntimeReport:
    names = {field.name for field in fields(RuntimeReport)} - {"outcomes"}
    outcomes = tuple(Outcome(**{**outcome, "commands": tuple(outcome["commands"])}) for outcome in one["outcomes"])
    return RuntimeReport(**{name: one[name] for name in names}, outcomes=outcomes)
