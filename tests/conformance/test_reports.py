"""The reports of the suite: that they say what was found, in forms that their readers understand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ocirun_conformance.model import VERDICTS, Outcome, RuntimeReport
from ocirun_conformance.register import link
from ocirun_conformance.report import FILE_NAMES, FORMATS, commands, failed, render, standing, standings, tally
from ocirun_conformance.report.json import ReportError, parse
from results_of_tests import HOSTILE, MUSTS, REGISTER, SHOULDS, outcome, report, two

TESTED = [*MUSTS, *SHOULDS[1:]]


def made(form: str, *reports: RuntimeReport) -> str:
    return render(form, reports or two(), REGISTER, TESTED)


# How outcomes add up.


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "fail", "skip"], "fail"),
        (["pass", "warning"], "warning"),
        (["impossible", "pass", "skip"], "pass"),
        (["impossible", "skip"], "skip"),
        (["impossible"], "impossible"),
        ([], "untested"),
    ],
)
def test_several_cases_of_one_requirement(verdicts: list[str], expected: str) -> None:
    outcomes = [outcome(MUSTS[0], verdict) for verdict in verdicts if verdict in VERDICTS]
    assert len(outcomes) == len(verdicts)
    assert standing(outcomes) == standing(reversed(outcomes)) == expected


def test_what_no_case_can_test() -> None:
    assert standing([], "there is no way") == "untestable"
    assert standing([outcome(MUSTS[0], "pass")], "there is no way") == "pass"


def test_a_tally_counts_every_requirement_once() -> None:
    good, bad = two()
    must, should = tally(bad, REGISTER)
    assert must.counts["fail"] == 1 and must.counts["skip"] == 1 and must.counts["impossible"] == 1
    assert must.counts["pass"] == 47 and must.decided == 48
    assert should.counts["warning"] == 1 and should.decided == 1
    assert sum(must.counts.values()) + sum(should.counts.values()) == len(REGISTER.requirements)
    assert tally(good, REGISTER)[0].counts["pass"] == len(MUSTS)


def test_only_a_broken_must_fails_the_run() -> None:
    good, bad = two()
    assert failed([bad]) and failed([good, bad]) and not failed([good])
    assert not failed([report("x", outcome(SHOULDS[0], "warning"), outcome(MUSTS[0], "skip"))])


def test_every_form_has_a_file_name_of_its_own() -> None:
    assert set(FILE_NAMES) == set(FORMATS) and len(set(FILE_NAMES.values())) == len(FORMATS)
    with pytest.raises(KeyError):
        made("pdf")


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_without_outcomes_has_a_report(form: str) -> None:
    assert "empty" in made(form, report("empty"))


def test_a_command_that_is_given_again_and_again_stands_once() -> None:
    one = outcome(MUSTS[0], "fail", commands=("create", "state", "state", "state", "kill", "state"))
    assert commands(one) == ("create", "state  # again and again", "kill", "state")
    for form in ("text", "html", "junit"):
        assert made(form, report("x", one)).count("state  # again and again") == 1


# JSON.


def test_json_says_all() -> None:
    document = json.loads(made("json"))
    good, bad = document["runtimes"]
    assert good["tally"]["MUST"] == {"pass": len(MUSTS), "untestable": good["tally"]["MUST"]["untestable"]}
    assert bad["standings"] == standings(two()[1], REGISTER)
    assert bad["outcomes"][0]["found"] == HOSTILE and bad["outcomes"][0]["commands"] == ["mkdir b", HOSTILE]
    one = document["requirements"][SHOULDS[0]]
    assert one["level"] == "SHOULD" and one["tested"] is False and one["link"].endswith(one["section"])


TEXTS = st.text(max_size=20)


RUNTIMES = (
    st.builds(
        RuntimeReport, TEXTS, TEXTS, TEXTS, TEXTS, st.sampled_from(["v1", "hybrid", "v2"]), TEXTS, TEXTS,
        st.lists(
            st.builds(
                Outcome, TEXTS, st.sampled_from(MUSTS), st.just("MUST"), st.sampled_from(VERDICTS), TEXTS, TEXTS, TEXTS,
                st.lists(TEXTS, max_size=2).map(tuple), TEXTS, st.floats(0, 100),
            ),
            max_size=4,
        ).map(tuple),
    )
)  # fmt: skip


@given(RUNTIMES)
def test_json_can_be_read_back(one: RuntimeReport) -> None:
    assert parse(made("json", one)) == ((one,), frozenset(TESTED))


@settings(max_examples=25, deadline=None)
@given(RUNTIMES)
def test_every_form_takes_every_text(one: RuntimeReport) -> None:
    for form in FORMATS:
        made(form, one)
    ET.fromstring(made("junit", one))
    tap(made("tap", one))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a report of format 1"),
        ('{"format": 2}', "not a report of format 1"),
        ('{"format": 1}', "not a whole report: 'runtimes'"),
        ('{"format": 1, "runtimes": [{"outcomes": []}]}', "not a whole report"),
        ('{"format": 1, "runtimes": [], "requirements": []}', "not a whole report"),
    ],
)
def test_json_that_is_no_report(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=re.escape(message)):
        parse(text)


# TAP.


def tap(text: str) -> list[tuple[bool, str, str]]:
    """(ok, description, directive) of each test line. Asserts that the numbers are right and that YAML is only YAML."""
    version, plan, *lines = text.split("\n")
    assert version == "TAP version 13"
    tests = []
    for line in lines:
        match = re.fullmatch(r"(ok|not ok) (\d+) - (.*?)(?: # (SKIP .*|TODO .*))?", line, re.DOTALL)
        if match:
            assert int(match[2]) == len(tests) + 1
            tests.append((match[1] == "ok", match[3], match[4] or ""))
        else:
            assert line == "" or line[0] in " #", line
    assert plan == f"1..{len(tests)}"
    return tests


def test_tap() -> None:
    lines = tap(made("tap", two()[1]))
    assert lines[0] == (False, f"bad made.up {MUSTS[0]}", "")
    assert lines[1] == (True, f"bad other.case {MUSTS[0]}", "")
    assert lines[2] == (False, f"bad made.up {SHOULDS[0]}", "TODO SHOULD")
    assert lines[3][0] and lines[3][2].startswith("SKIP skip: ")
    assert lines[4][2] == f"SKIP impossible: reason of {MUSTS[2]}"
    text = made("tap", two()[1])
    assert f"  link: {link(REGISTER.requirements[MUSTS[0]].section)}\n" in text and '  bundle: "/kept/b"\n' in text


# JUnit.


def test_junit() -> None:
    root = ET.fromstring(made("junit"))
    good, bad = root.findall("testsuite")
    assert (good.get("failures"), good.get("tests")) == ("0", str(len(MUSTS) + len(SHOULDS)))
    assert (bad.get("failures"), bad.get("skipped"), bad.get("tests")) == ("1", "2", "52")
    # A case that decides fifty requirements took its time once.
    assert bad.get("time") == "0.500"
    assert sum(float(case.get("time", "")) for case in bad.findall("testcase")) == pytest.approx(0.5)
    failure, passed, warned, skipped, impossible = bad.findall("testcase")[:5]
    assert failure.get("classname") == "bad.made.up" and failure.get("name") == MUSTS[0]
    told = failure.find("failure")
    assert told is not None and told.get("type") == "MUST" and "expected an error" in (told.get("message") or "")
    assert link(REGISTER.requirements[MUSTS[0]].section) in (told.text or "") and "mkdir b" in (told.text or "")
    assert passed.find("*") is None
    assert "nothing of the kind" in (warned.findtext("system-out") or "")
    for case, word in ((skipped, "skip: "), (impossible, "impossible: ")):
        element = case.find("skipped")
        assert element is not None and (element.get("message") or "").startswith(word)
    names = {one.get("name"): one.get("value") for one in bad.iter("property")}
    assert names["kernel"] == "6.1.0" and names["path"] == "/opt/bad"


# Text.


def test_text_says_why_and_how_to_see_it_again() -> None:
    text = made("text", two()[1])
    requirement = REGISTER.requirements[MUSTS[0]]
    for part in (MUSTS[0], requirement.text, link(requirement.section), "expected an error", "$ mkdir b", "/kept/b"):
        assert part in text
    assert "1 not fulfilled (MUST)" in text and "1 not met (SHOULD)" in text and "cannot be tested here" in text
    assert "MUST   47 of 48 fulfilled" in text
    assert MUSTS[5] not in text  # what is well is a number


# Markdown.


def test_markdown_tables_keep_their_shape() -> None:
    width = None
    rows = 0
    for line in made("markdown").split("\n"):
        if not line.startswith("|"):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line))
        width = width or cells
        assert cells == width, line
        assert "<script" not in line
        rows += 1
    assert rows > 50
    assert f"`{SHOULDS[0]}`" in made("markdown")


def test_markdown_is_short_and_says_nothing_of_the_directories_of_the_run() -> None:
    found = f"{'x' * 300}: cannot mount /var/tmp/ocirun-conformance-ab12/mounts.one/bundle-1: no"
    text = made("markdown", report("x", outcome(MUSTS[0], "fail", found=found)))
    assert "xxx: cannot mount mounts.one/bundle-1: no |" in text and "x" * 200 not in text


# HTML. How it looks and works in a browser is in test_page.py.


class Elements(HTMLParser):
    """The elements of a page and the texts of those that are scripts or styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def test_html_is_well_formed_and_holds_every_requirement() -> None:
    page = Elements(made("html"))
    assert page.open == []
    ids = [attributes["id"] for tag, attributes in page.starts if tag == "details"]
    assert ids == sorted(ids, key=list(map(str, ids)).index) and set(ids) == set(REGISTER.requirements)
    assert len(ids) == len(set(ids))


def test_html_loads_nothing_and_runs_only_its_own_script() -> None:
    page = Elements(made("html"))
    assert [tag for tag, _ in page.starts].count("script") == 1
    for tag, attributes in page.starts:
        assert tag not in ("link", "img", "iframe", "object")
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attributes)
        if "href" in attributes:
            assert tag == "a" and re.match(r"https://github\.com/opencontainers/|#", attributes["href"] or "")
    assert "url(" not in made("html") and "@import" not in made("html")


# The command that joins results of several hosts.


def test_results_of_two_hosts_side_by_side(tmp_path: Path) -> None:
    good, bad = two()
    (tmp_path / "a.json").write_text(made("json", good))
    (tmp_path / "b.json").write_text(made("json", report("good", *bad.outcomes)))
    command = [sys.executable, "-m", "ocirun_conformance.report", "--format", "json", "a.json", "b.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    reports, tested = parse(done.stdout)
    assert [one.name for one in reports] == ["good (hybrid)", "good (hybrid)"] and tested == frozenset(TESTED)
    assert reports[1].outcomes == bad.outcomes


@pytest.mark.parametrize("content", [None, "{}", b"\xff"])
def test_a_file_that_is_no_result(tmp_path: Path, content: str | bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    command = [sys.executable, "-m", "ocirun_conformance.report", "a.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("a.json: ") and done.stdout == ""
    assert done.stderr.count("\n") == 1
