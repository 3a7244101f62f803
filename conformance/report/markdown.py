"""The report as Markdown: the table that is committed to a repository and read in a browser there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from ..model import RuntimeReport
from ..register import VERSION, Register, coverage, link
from . import STANDINGS, by_code, standings, tally

LONGEST = 160
"""How many characters of a finding a cell of the table has."""


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """Numbers of all runtimes, every finding with its requirement, and the coverage by section."""
    return (
        "\n".join([*_numbers(reports, register), "", *_findings(reports, register), "", *_coverage(register, tested)])
        + "\n"
    )


def _numbers(reports: Sequence[RuntimeReport], register: Register) -> Iterator[str]:
    yield "# Results\n"
    yield f"What [runtime-spec {VERSION}]({link('spec.md')}) asks of a Linux runtime, found by\n"
    words = dict.fromkeys(shlex.quote(report.path) for report in reports)
    yield f"    ocirun-conformance --format markdown {' '.join(f'--runtime {word}' for word in words)}\n"
    yield (
        "| Runtime | Version | Host | Level | Fulfilled | " + " | ".join(word.capitalize() for word in STANDINGS) + " |"
    )
    yield "|---|---|---|---|---" + "|--:" * len(STANDINGS) + "|"
    for report in reports:
        for one in tally(report, register):
            where = f"Linux {report.kernel}, cgroup {report.cgroup}, {report.user}, {report.date}"
            share = f"{one.counts['pass']} of {one.decided}"
            numbers = " | ".join(str(one.counts[word]) for word in STANDINGS)
            runtime = f"{_cell(report.name)} | {_cell(report.version)} | {_cell(where)}"
            yield f"| {runtime} | {one.level} | {share} | {numbers} |"


def _findings(reports: Sequence[RuntimeReport], register: Register) -> Iterator[str]:
    found = [(report, standings(report, register), by_code(report)) for report in reports]
    yield "## What is not fulfilled\n"
    yield "| Requirement | Level | " + " | ".join(_cell(report.name) for report in reports) + " |"
    yield "|---|---" + "|---" * len(reports) + "|"
    for code, requirement in register.requirements.items():
        if not any(stands[code] in ("fail", "warning") for _, stands, _ in found):
            continue
        cells = []
        for _, stands, outcomes in found:
            bad = [one for one in outcomes.get(code, ()) if one.verdict in ("fail", "warning")]
            cells.append("; ".join(f"**{one.verdict}**: {_cell(_short(one.found))}" for one in bad) or stands[code])
        title = f"[`{code}`]({link(requirement.section)}) {_cell(requirement.text)}"
        yield f"| {title} | {requirement.level} | " + " | ".join(cells) + " |"


def _coverage(register: Register, tested: frozenset[str]) -> Iterator[str]:
    yield "## What is tested\n"
    yield "| Section | Level | Requirements | Tested | Untestable | Not tested |\n|---|---|--:|--:|--:|---|"
    for one in coverage(register, tested):
        count = len(one.tested) + len(one.untestable) + len(one.untested)
        missing = ", ".join(f"`{code}`" for code in one.untested)
        section = f"[{one.section}]({link(one.section)})"
        yield f"| {section} | {one.level} | {count} | {len(one.tested)} | {len(one.untestable)} | {missing} |"


def _short(text: str) -> str:
    """The end of a long finding, where its reason is, and no directory of this run: the other forms have all of it."""
    text = " ".join(re.sub(r"/\S*/ocirun-conformance-[^/\s]+/", "", text).split())
    return text if len(text) <= LONGEST else f"… {text[-LONGEST:]}"


def _cell(text: str) -> str:
    """Text that stays within its cell of a table and means nothing in Markdown or HTML."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    for sign in "*_`[]":
        text = text.replace(sign, "\\" + sign)
    return text
