"""The report as TAP (testanything.org, version 13): a line for each case and requirement.

A SHOULD that is not met is ``not ok … # TODO``, which a harness shows and does not count as a failure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ..model import Outcome, RuntimeReport
from ..register import Register, link


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """TAP of all runtimes, one after the other, numbered through."""
    lines = ["TAP version 13", f"1..{sum(len(report.outcomes) for report in reports)}"]
    number = 0
    for report in reports:
        host = f"Linux {_line(report.kernel)}, cgroup {report.cgroup}"
        lines.append(f"# {_line(report.name)}: {_line(report.version)}, {host}")
        for outcome in report.outcomes:
            number += 1
            lines.extend(_outcome(number, report.name, outcome, register))
    return "\n".join(lines) + "\n"


def _outcome(number: int, name: str, outcome: Outcome, register: Register) -> Iterator[str]:
    description = f"{number} - {_line(f'{name} {outcome.case} {outcome.code}')}"
    if outcome.verdict == "pass":
        yield f"ok {description}"
    elif outcome.verdict in ("skip", "impossible"):
        yield f"ok {description} # SKIP {outcome.verdict}: {_line(outcome.reason)}"
    else:
        yield f"not ok {description}" + (f" # TODO {outcome.level}" if outcome.verdict == "warning" else "")
        requirement = register.requirements.get(outcome.code)
        yield "  ---"
        if requirement:
            yield f"  requirement: {json.dumps(requirement.text, ensure_ascii=False)}"
            yield f"  link: {link(requirement.section)}"
        yield f"  level: {outcome.level}"
        yield f"  expected: {json.dumps(outcome.expected, ensure_ascii=False)}"
        yield f"  found: {json.dumps(outcome.found, ensure_ascii=False)}"
        yield f"  commands: {json.dumps(outcome.commands, ensure_ascii=False)}"
        if outcome.bundle:
            yield f"  bundle: {json.dumps(outcome.bundle, ensure_ascii=False)}"
        yield "  ..."


def _line(text: str) -> str:
    """One line, in which # means nothing."""
    return " ".join(text.split()).replace("#", "\\#")
