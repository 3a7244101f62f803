"""What came out, for people and for programs: text, TAP, JUnit, JSON, Markdown, and a page of HTML.

Each module here has ``render(reports, register, tested) -> str``; this one says how outcomes add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import Literal

from ..model import VERDICTS, Level, Outcome, RuntimeReport, Verdict
from ..register import Register

FORMATS = ("text", "tap", "junit", "json", "html", "markdown")
"""What render() can make; each is a module of this package."""

FILE_NAMES = {
    "text": "report.txt", "tap": "report.tap", "junit": "junit.xml", "json": "report.json", "html": "report.html",
    "markdown": "report.md",
}  # fmt: skip
"""What a report is called in the folder of --output."""

Standing = Verdict | Literal["untested", "untestable"]
"""How a runtime stands to a requirement: what its cases found; no case was run; none can be."""

STANDINGS: tuple[Standing, ...] = (*VERDICTS, "untested", "untestable")

# What a requirement's standing is where several cases decide it: the first of these that one of them found.
_WEIGHT: tuple[Verdict, ...] = ("fail", "warning", "pass", "skip", "impossible")


@dataclass(frozen=True)
class Tally:
    """How many requirements of one level have each standing."""

    level: Level
    counts: Mapping[Standing, int]

    @property
    def decided(self) -> int:
        """How many were found kept or not kept."""
        return self.counts["pass"] + self.counts["fail"] + self.counts["warning"]


def render(form: str, reports: Sequence[RuntimeReport], register: Register, tested: Iterable[str]) -> str:
    """The report in one of FORMATS; tested is the codes that have cases. Raises KeyError for any other form."""
    if form not in FORMATS:
        raise KeyError(form)
    make: Callable[[Sequence[RuntimeReport], Register, frozenset[str]], str] = import_module(
        f".{form}", __name__
    ).render
    return make(reports, register, frozenset(tested))


def by_code(report: RuntimeReport) -> dict[str, list[Outcome]]:
    """The outcomes of each requirement."""
    found: dict[str, list[Outcome]] = {}
    for outcome in report.outcomes:
        found.setdefault(outcome.code, []).append(outcome)
    return found


def standing(outcomes: Iterable[Outcome], untestable: str = "") -> Standing:
    """How a runtime stands to a requirement, from what its cases found about it."""
    verdicts = {outcome.verdict for outcome in outcomes}
    for verdict in _WEIGHT:
        if verdict in verdicts:
            return verdict
    return "untestable" if untestable else "untested"


def standings(report: RuntimeReport, register: Register) -> dict[str, Standing]:
    """How the runtime stands to each requirement of the register."""
    found = by_code(report)
    return {code: standing(found.get(code, ()), one.untestable) for code, one in register.requirements.items()}


def tally(report: RuntimeReport, register: Register) -> tuple[Tally, Tally]:
    """How many MUST and how many SHOULD requirements have each standing."""
    counts: dict[Level, Counter[Standing]] = {"MUST": Counter(), "SHOULD": Counter()}
    for code, what in standings(report, register).items():
        counts[register.requirements[code].level][what] += 1
    return Tally("MUST", counts["MUST"]), Tally("SHOULD", counts["SHOULD"])


def commands(outcome: Outcome) -> tuple[str, ...]:
    """The command lines for a reader: one that is repeated, as `state` until something is so, stands once."""
    return tuple(
        command if len(list(same)) == 1 else f"{command}  # again and again"
        for command, same in groupby(outcome.commands)
    )


def failed(reports: Iterable[RuntimeReport]) -> bool:
    """Whether a MUST is broken: what the exit code of the suite says."""
    return any(outcome.verdict == "fail" for report in reports for outcome in report.outcomes)
