"""docs/differences.md: every test that it names is there, and every test that runc fails is in it."""

from __future__ import annotations

import re
from pathlib import Path

from policy import matrix

TESTS = Path(__file__).resolve().parents[1]
TEXT = (TESTS.parent / "docs" / "differences.md").read_text()
NEWEST = "1.4.3"  # what it speaks of


def test_the_tests_that_it_names() -> None:
    known = matrix.test_names()
    named = re.findall(r"`(?:(\w+)/)?(test_\w+\.py::test_\w+)`", TEXT)
    assert len(named) > 50
    assert [name for folder, name in named if f"{folder or 'run'}/{name}" not in known] == []


def test_what_runc_fails() -> None:
    """A mark by itself is followed by its reason, and by `before` where newer versions are like ocirun."""
    missing = []
    for name, text in matrix.test_names().items():
        marks = re.findall(r"mark\.differs\(\s*(?:\"[^\"]*\"|\w+)((?:, \w+=\"[\d.]+\")*)", text)
        if any(differs(mark) for mark in marks) and name.startswith("run/") and name.partition("/")[2] not in TEXT:
            missing.append(name)
    assert missing == []


def differs(versions: str) -> bool:
    before = re.search(r"before=\"([\d.]+)\"", versions)
    return before is None or numbers(before[1]) > numbers(NEWEST)


def numbers(version: str) -> list[int]:
    return [int(word) for word in version.split(".")]
