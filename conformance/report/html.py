"""The report as one page of HTML that needs nothing else: runtimes side by side, each reason one click away.

The page is complete without its script, which only filters. Texts of runtimes are escaped, and the page's policy
forbids it to load anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources

from ..model import Outcome, Requirement, RuntimeReport
from ..register import VERSION, Coverage, Register, coverage, link
from . import STANDINGS, Standing, Tally, by_code, commands, standings, tally

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)

_MEANING: Mapping[Standing, str] = {
    "pass": "fulfilled",
    "fail": "a MUST that is not fulfilled",
    "warning": "a SHOULD that is not met",
    "skip": "not applicable to this runtime",
    "impossible": "cannot be tested on this host",
    "untested": "no case was run",
    "untestable": "no case can be",
}


def render(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> str:
    """The page."""
    return "\n".join(_page(reports, register, tested)) + "\n"


def _page(reports: Sequence[RuntimeReport], register: Register, tested: frozenset[str]) -> Iterator[str]:
    stands = [standings(report, register) for report in reports]
    yield "<!doctype html>"
    yield f'<html lang="en" style="--runtimes: {len(reports)}"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    names = ", ".join(report.name for report in reports)
    yield f"<title>{escape(names)}: OCI runtime conformance</title>"
    yield f"<style>\n{_resource('page.css')}</style></head><body>"
    yield "<header><h1>OCI runtime conformance</h1>"
    yield f'<p class="soft">What <a href="{link("spec.md")}">runtime-spec {VERSION}</a> asks of a Linux runtime, and'
    yield f"what {escape(names) or 'no runtime'} did.</p>"
    yield '<p><a href="#requirements">To the requirements</a>, each with its reasons, and filters.</p></header>'
    yield '<div class="runtimes">'
    for report in reports:
        yield from _runtime(report, tally(report, register))
    yield "</div>"
    yield from _coverage(reports, stands, register, tested)
    yield '<h2 id="requirements">Requirements</h2>'
    yield from _filters(reports, register)
    yield '<main style="display: block">'
    yield from _requirements(reports, stands, register)
    yield '<p id="nothing" hidden>No requirement matches these filters.</p></main>'
    meanings = "; ".join(f"<b>{word}</b>: {text}" for word, text in _MEANING.items())
    yield f"<footer>{meanings}.</footer>"
    yield f"<script>\n{_resource('page.js')}</script></body></html>"


def _resource(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _runtime(report: RuntimeReport, tallies: Sequence[Tally]) -> Iterator[str]:
    yield f'<section class="runtime"><h2>{escape(report.name)}</h2>'
    host = f"Linux {report.kernel}, cgroup {report.cgroup}"
    yield from _terms(Version=report.version, Program=report.path, Host=host, User=report.user, Date=report.date)
    for one in tallies:
        parts = ", ".join(f"{one.counts[word]} {word}" for word in STANDINGS if one.counts[word])
        yield f'<p class="level"><span>{one.level}</span> <b>{one.counts["pass"]} of {one.decided}</b></p>'
        yield _bar(one.counts)
        yield f'<p class="soft">{parts}</p>'
    yield "</section>"


def _terms(**terms: str) -> Iterator[str]:
    yield "<dl>"
    for title, text in terms.items():
        if text:
            yield f"<dt>{title}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"


def _bar(counts: Mapping[Standing, int]) -> str:
    title = ", ".join(f"{counts[word]} {word}" for word in STANDINGS if counts.get(word))
    parts = "".join(f'<i class="{word}" style="flex: {counts[word]}"></i>' for word in STANDINGS if counts.get(word))
    return f'<div class="bar" role="img" aria-label="{title}" title="{title}">{parts}</div>'


def _coverage(
    reports: Sequence[RuntimeReport],
    stands: Sequence[Mapping[str, Standing]],
    register: Register,
    tested: frozenset[str],
) -> Iterator[str]:
    yield "<h2>Coverage by section</h2>"
    yield '<div class="wide"><table><thead><tr><th scope="col">Section</th>'
    for title in ("Requirements", "Tested", "Untestable", "Not tested", *(escape(report.name) for report in reports)):
        yield f'<th scope="col">{title}</th>'
    yield "</tr></thead><tbody>"
    rows: dict[str, list[Coverage]] = {}  # of a file and of each of its sections, with both levels
    for one in coverage(register, tested):
        rows.setdefault(one.section.split("#")[0], []).append(one)
        rows.setdefault(one.section, []).append(one)
    for section, group in rows.items():
        parts = [
            [code for one in group for code in getattr(one, part)] for part in ("tested", "untestable", "untested")
        ]
        codes = [code for part in parts for code in part]
        file, _, anchor = section.partition("#")
        yield f"<tr{'' if anchor else ' class=file'}>"
        yield f'<th scope="row"><a href="{link(section)}">{anchor or file}</a></th>'
        yield f"<td>{len(codes)}</td>" + "".join(f"<td>{len(part) or ''}</td>" for part in parts)
        for stand in stands:
            counts = {word: sum(stand[code] == word for code in codes) for word in STANDINGS}
            yield f'<td class="meter">{_bar(counts)}</td>'
        yield "</tr>"
    yield "</tbody></table></div>"


def _filters(reports: Sequence[RuntimeReport], register: Register) -> Iterator[str]:
    files = dict.fromkeys(requirement.section.split("#")[0] for requirement in register.requirements.values())
    yield "<noscript><p>Without scripts there are no filters; everything else is here.</p></noscript>"
    yield '<form class="filters" role="search" autocomplete="off" hidden>'
    yield '<label class="find">Search'
    yield '<input type="search" name="find" placeholder="code, text, case or reason"></label>'
    yield _select("level", "Level", {"": "all", "MUST": "MUST", "SHOULD": "SHOULD"})
    yield _select("file", "Document", {"": "all", **{file: file for file in files}})
    yield _select("verdict", "Verdict", {"": "all", **{word: word for word in STANDINGS}})
    if len(reports) > 1:
        yield _select("runtime", "of", {"": "any", **{str(i): report.name for i, report in enumerate(reports)}})
        yield '<label class="line"><input type="checkbox" name="differ"> only where they differ</label>'
    yield '<output id="shown"></output></form>'


def _select(name: str, title: str, options: Mapping[str, str]) -> str:
    inner = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
    return f'<label>{title} <select name="{name}">{inner}</select></label>'


def _requirements(
    reports: Sequence[RuntimeReport], stands: Sequence[Mapping[str, Standing]], register: Register
) -> Iterator[str]:
    outcomes = [by_code(report) for report in reports]
    sections: dict[str, list[Requirement]] = {}
    for requirement in register.requirements.values():
        sections.setdefault(requirement.section, []).append(requirement)
    for section, requirements in sections.items():
        file, _, anchor = section.partition("#")
        yield '<section class="group">'
        yield f'<div class="heading"><h3><a href="{link(section)}">{escape(file)} § {escape(anchor)}</a></h3>'
        yield "<span></span>" + "".join(f"<span>{escape(report.name)}</span>" for report in reports) + "</div>"
        for one in requirements:
            found = [(report.name, stand[one.code], by.get(one.code, []))
                     for report, stand, by in zip(reports, stands, outcomes, strict=True)]  # fmt: skip
            yield from _requirement(one, found)
        yield "</section>"


def _requirement(one: Requirement, found: Sequence[tuple[str, Standing, Sequence[Outcome]]]) -> Iterator[str]:
    file = one.section.split("#")[0]
    words = [one.code, one.text, one.untestable]
    for _, _, outcomes in found:
        words += [text for outcome in outcomes for text in (outcome.case, outcome.found, outcome.reason)]
    text = escape(" ".join(dict.fromkeys(filter(None, words))).lower())
    verdicts = " ".join(stand for _, stand, _ in found)
    yield f'<details class="requirement" id="{one.code}" data-level="{one.level}" data-file="{file}"'
    yield f'data-verdicts="{verdicts}" data-text="{text}"><summary>'
    yield f'<span class="what">{escape(one.text)}<code>{one.code}</code></span>'
    yield f'<span class="of">{one.keyword}</span><span class="verdicts">'
    for name, stand, _ in found:
        meaning = f"{escape(name)}: {_MEANING[stand]}"
        yield f'<span class="verdict {stand}" title="{meaning}">{stand} <b>{escape(name)}</b></span>'
    yield '</span></summary><div class="reason">'
    yield f'<p>{one.keyword} in <a href="{link(one.section)}">{escape(one.section)}</a></p>'
    if one.untestable:
        yield f"<p>No case can test it: {escape(one.untestable)}.</p>"
    elif not any(outcomes for _, _, outcomes in found):
        yield "<p>No case was run.</p>"
    for name, _, outcomes in found:
        for outcome in outcomes:
            yield from _outcome(name, outcome)
    yield "</div></details>"


def _outcome(name: str, outcome: Outcome) -> Iterator[str]:
    yield f'<div class="outcome {outcome.verdict}"><p><span class="verdict {outcome.verdict}">{outcome.verdict}</span>'
    yield f"{escape(name)} <code>{escape(outcome.case)}</code> <span class=soft>{outcome.seconds:.2f} s</span></p>"
    yield from _terms(Expected=outcome.expected, Found=outcome.found, Reason=outcome.reason, Bundle=outcome.bundle)
    if outcome.commands and outcome.verdict in ("fail", "warning"):
        yield f"<pre>{escape(chr(10).join(commands(outcome)))}</pre>"
    yield "</div>"
