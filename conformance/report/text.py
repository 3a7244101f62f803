"""The report for a terminal or a log: what failed and why, then the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..model import Outcome, RuntimeReport
from ..register import VERSION, Register, link
from . import STANDINGS, Tally, by_code, commands, tally


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """All runtimes, one after the other, and a table of them where there are several."""
    blocks = ["\n".join(_report(report, register)) for report in reports]
    if len(reports) > 1:
        blocks.append("\n".join(_table(reports, register)))
    return "\n\n".join(blocks) + "\n"


def _report(report: RuntimeReport, register: Register) -> Iterator[str]:
    yield f"{report.name}: {' '.join(report.version.split())} ({report.path})"
    yield f"Linux {report.kernel}, cgroup {report.cgroup}, as {report.user}, {report.date}, runtime-spec {VERSION}"
    for verdict, title in (("fail", "not fulfilled (MUST)"), ("warning", "not met (SHOULD)")):
        found = {
            code: bad for code, all_ in by_code(report).items() if (bad := [o for o in all_ if o.verdict == verdict])
        }
        if found:
            yield f"\n{len(found)} {title}:"
        for code, outcomes in found.items():
            yield from _finding(code, outcomes, register)
    for verdict, title in (("skip", "skipped"), ("impossible", "cannot be tested here")):
        reasons: dict[str, list[str]] = {}
        for outcome in report.outcomes:
            if outcome.verdict == verdict and outcome.case not in reasons.setdefault(outcome.reason, []):
                reasons[outcome.reason].append(outcome.case)
        if reasons:
            yield f"\n{title}:"
        for reason, cases in sorted(reasons.items(), key=lambda item: -len(item[1])):
            names = ", ".join(cases[:4]) + (f" and {len(cases) - 4} more" if len(cases) > 4 else "")
            yield f"  {reason or 'no reason given'} ({names})"
    yield ""
    for one in tally(report, register):
        yield _numbers(one)


def _finding(code: str, outcomes: Sequence[Outcome], register: Register) -> Iterator[str]:
    requirement = register.requirements.get(code)
    yield f"\n  {code}" + (f": {requirement.text}" if requirement else "")
    if requirement:
        yield f"    {link(requirement.section)}"
    for outcome in outcomes:
        yield f"    {outcome.case}: expected {outcome.expected or '?'}, found {outcome.found or '?'}"
        yield from (f"      $ {command}" for command in commands(outcome))
        if outcome.bundle:
            yield f"      bundle: {outcome.bundle}"


def _numbers(one: Tally) -> str:
    parts = [f"{one.counts[what]} {what}" for what in STANDINGS if one.counts[what]]
    return f"{one.level:6} {one.counts['pass']} of {one.decided} fulfilled ({', '.join(parts)})"


def _table(reports: Sequence[RuntimeReport], register: Register) -> Iterator[str]:
    width = max(len(report.name) for report in reports)
    for level in (0, 1):
        for report in reports:
            yield f"{report.name:{width}}  {_numbers(tally(report, register)[level])}"
