"""tests/mutants.toml: each mistake can still be made, and the tests that have to notice it are there."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache

import pytest
from harness import REPOSITORY
from mutation import Mutant, mutants

MUTANTS = mutants()
ROOMS = ("ocirun/plan", "ocirun/lifecycle", "ocirun/launch", "ocirun/cgroup", "ocirun/store", "native/init")


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((REPOSITORY / "tests" / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.why}")
def test_it_can_be_made(mutant: Mutant) -> None:
    assert (REPOSITORY / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old and mutant.why and mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert not name or name.partition("[")[0] in functions(path), test


def test_every_room_has_some() -> None:
    assert len(MUTANTS) >= 60
    of_room = Counter(mutant.file.rpartition("/")[0] for mutant in MUTANTS)
    assert min(of_room[room] for room in ROOMS) >= 5
    for (file, why), count in Counter((mutant.file, mutant.why) for mutant in MUTANTS).items():
        assert count == 1, (file, why)
