"""Three opinions about the same configurations: the reader, our JSON Schema, and the official one.

The first two must never differ. Where they differ from the third is listed in DIFFERENCES, with the reason.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from spec import official
from spec.strategies import VALUES, Tree, at, changed, configurations, cut, full, places, removed

from ocirun.errors import Problem
from ocirun.spec import read, validate
from ocirun.spec.pointer import child
from ocirun.spec.rules.check import check

EXAMPLES = int(os.environ.get("OCIRUN_SPEC_EXAMPLES", "10000"))


def refused_by_reader(tree: Tree) -> set[str]:
    problems: list[Problem] = []
    read.read_tree(tree, problems)
    return {problem.pointer for problem in problems}


def refused_by_all(tree: Tree) -> set[str]:
    problems: list[Problem] = []
    spec = read.read_tree(tree, problems)
    return {problem.pointer for problem in [*problems, *check(spec, problems)]}


schema_validator = cache(validate.schema_validator)


def refused_by_schema(tree: Tree) -> set[str]:
    return {problem.pointer for problem in validate.schema_problems(tree, schema_validator())}


class Absent:
    """What is at a pointer where nothing is."""


def value_at(tree: Tree, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(tree, dict):
            tree = tree.get(key, Absent)
        elif isinstance(tree, list) and key.isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return Absent
    return tree


# (whose refusal, pattern of the pointer, condition on the value, why)
DIFFERENCES: list[tuple[str, str, Callable[[Any], bool], str]] = [
    (
        "ours",
        r"/root",
        lambda v: v is Absent,
        "create needs it, as runc's; for the specification start does",
    ),
    ("ours", r".*", lambda v: isinstance(v, str) and "\0" in v, "no system call takes a NUL in a string"),
    ("ours", r".*\0.*", lambda v: True, "nor in a key"),
    (
        "ours",
        r"/process/rlimits/\d+/type",
        lambda v: isinstance(v, str) and re.match("RLIMIT_[A-Z]+$", v) is not None,
        "an unknown limit cannot be set",
    ),
    (
        "ours",
        r"/process/oomScoreAdj|/hooks/\w+/\d+/timeout",
        lambda v: isinstance(v, int) and not -(2**63) <= v < 2**63,
        "numbers have 64 bits",
    ),
    (
        "ours",
        r"/linux/(memoryPolicy/mode|personality/domain)",
        lambda v: v is Absent,
        "REQUIRED in config-linux.md, forgotten in the schema",
    ),
    (
        "ours",
        r"/linux/timeOffsets/.*",
        lambda v: True,
        "the schema says nothing of other clocks; a rule refuses them all",
    ),
    (
        "ours",
        r"/(annotations|linux/sysctl|linux/resources/unified)/\n*",
        lambda v: not isinstance(v, str),
        'the pattern ".{1,}" for keys does not match an empty one, nor a line break',
    ),
    ("official", r".*", lambda v: v is None, "null is absent, since engines in Go write nil so"),
    (
        "official",
        r"/linux/devices/\d+/fileMode",
        lambda v: isinstance(v, int) and 511 < v < 2**32,
        "Docker writes the type's bits too; the schema of 1.3 also forbids setuid, the text does not",
    ),
    (
        "official",
        r"/linux/rootfsPropagation",
        lambda v: v in ("", "rprivate", "rshared", "rslave", "runbindable"),
        "runc takes the recursive ones, and engines write them",
    ),
    (
        "official",
        r"/linux/resources/pids/limit",
        lambda v: v is Absent,
        "OPTIONAL since 1.3 of the specification, whose schema has not followed",
    ),
    ("official", r"/linux/intelRdt/memBwSchema", lambda v: v == "", "empty is absent for runc"),
]


def reasons(tree: Tree, whose: str, pointer: str) -> set[str]:
    """The entries of DIFFERENCES that account for one refusal."""
    value = value_at(tree, pointer)
    return {
        reason
        for side, pattern, condition, reason in DIFFERENCES
        if side == whose and re.fullmatch(pattern, pointer, re.DOTALL) and condition(value)
    }


def compare_with_official(tree: Tree) -> set[str]:
    """Fails where the official schema and ours differ without a reason; returns the reasons that were needed."""
    theirs = official.refused(tree)
    needed = set()
    for whose, pointers in (("ours", refused_by_reader(tree) - theirs), ("official", theirs - refused_by_all(tree))):
        for pointer in pointers:
            found = reasons(tree, whose, pointer)
            assert found, f"only {whose}: {pointer}"
            needed |= found
    return needed


def everywhere() -> list[tuple[str, Tree]]:
    """Every value of VALUES in every place of the full configuration, and every place removed."""
    found = []
    whole = full()
    for path in places(whole):
        small = cut(path)
        name = "".join(child("", str(step)) for step in path)
        found.extend((name, changed(small, path, value)) for value in VALUES)
        if path:
            found.append((name, removed(small, path)))
    return found


def test_the_reader_and_the_schema_agree_everywhere() -> None:
    differing = [
        (name, value_at(tree, name), reader, schema)
        for name, tree in everywhere()
        if (reader := refused_by_reader(tree)) != (schema := refused_by_schema(tree))
    ]
    assert not differing


def agree_on_others(examples: int, more: Callable[[Tree], object]) -> None:
    """The reader and our schema, and perhaps more, on other configurations at each run, of which a good part is
    valid."""
    verdicts: Counter[bool] = Counter()

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(configurations())
    def agree(tree: Tree) -> None:
        refused = refused_by_reader(tree)
        verdicts[not refused] += 1
        assert refused == refused_by_schema(tree)
        more(tree)

    agree()
    assert sum(verdicts.values()) >= examples
    assert min(verdicts[True], verdicts[False]) > examples // 20, verdicts


def test_the_reader_and_the_schema_agree_on_others() -> None:
    agree_on_others(EXAMPLES, lambda _: None)


@official.needed
def test_they_agree_with_the_official_schema_on_others() -> None:
    agree_on_others(EXAMPLES // 5, compare_with_official)  # the slowest of the three


@official.needed
def test_they_agree_with_the_official_schema_everywhere() -> None:
    needed = set()
    for _, tree in everywhere():
        needed |= compare_with_official(tree)
    # A reason that nothing needs any more is struck off the list.
    assert {reason for *_, reason in DIFFERENCES} - needed == set()


def _schema_properties(schema: Any, root: Any) -> Any:
    """The properties of a schema as a tree of dicts; "*" is any item or key."""
    while "$ref" in schema:
        schema = at(root, ("$defs", schema["$ref"].removeprefix("#/$defs/")))
    tree = {key: _schema_properties(value, root) for key, value in schema.get("properties", {}).items()}
    for word in ("items", "additionalProperties"):
        if word in schema:
            tree["*"] = _schema_properties(schema[word], root)
    return tree


def test_the_full_configuration_has_every_property_of_the_schema() -> None:
    """So what is tried everywhere is tried at every property."""
    schema = schema_validator().schema

    def missing(properties: Any, tree: Any, path: str) -> list[str]:
        found = []
        for key, inner in properties.items():
            if key == "*":
                items = list(tree.values()) if isinstance(tree, dict) else tree
                found += missing(inner, items[0], f"{path}/*") if items else [f"{path}/*"]
            elif key not in tree:
                found.append(f"{path}/{key}")
            else:
                found += missing(inner, tree[key], f"{path}/{key}")
        return found

    assert missing(_schema_properties(schema, schema), full(), "") == []
