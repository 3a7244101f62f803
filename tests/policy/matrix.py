"""What there is to be tested, and the tests that do: tests/matrix.toml against the tables that the program itself uses.

    python tests/policy/matrix.py        prints it

The kinds of cells are the properties of our JSON Schema, the options of mounts, the commands and flags, and the
advisories of this field. test_matrix.py fails for a cell without a test.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ocirun
from ocirun.cli.table import COMMANDS, GLOBAL
from ocirun.plan import tables

TESTS = Path(__file__).resolve().parents[1]

# What went wrong in other runtimes: the advisories of runc, crun and youki that a low-level runtime can repeat, and
# what was mended without one: crun's release notes of 1.31, and how Go programs call bpf(2). SECURITY.md has them all.
ADVISORIES = """
CVE-2016-9962 CVE-2019-5736 CVE-2019-16884 CVE-2019-18837 CVE-2019-19921 CVE-2021-30465 CVE-2021-43784 CVE-2022-24769
CVE-2022-27650 CVE-2022-29162 CVE-2023-25809 CVE-2023-27561 CVE-2023-28642 CVE-2024-21626 CVE-2024-45310 CVE-2025-24965
CVE-2025-27612 CVE-2025-31133 CVE-2025-52565 CVE-2025-52881 CVE-2025-54867 CVE-2025-62161 CVE-2025-62596 CVE-2026-30892
CVE-2026-18107 CVE-2026-31431 CVE-2026-41579 CVE-2026-47766 CVE-2026-61801 CVE-2026-78409 CVE-2026-78410 CVE-2026-84042
CVE-2026-88264 CVE-2026-88265 CVE-2026-115520 CVE-2026-115521 CVE-2026-119101 CVE-2026-119614 CVE-2026-133553
CVE-2026-135844 crun-1.31 runc-5479 BPF_PROG_QUERY
"""

STATES = {
    "done": "has its effect",
    "refused": "a clear error: this version does not have it",
    "ignored": "taken and without effect, and why is in the table",
    "absent": "what it would be about does not exist here",
}


def properties() -> Iterator[str]:
    """Every property without properties of its own, as a JSON pointer in which * is any item or key."""
    path = Path(ocirun.__path__[0], "spec", "schema", "config.json")
    schema = json.loads(path.read_text())
    yield from _leaves(schema, schema["$defs"], "")


def _leaves(schema: Any, definitions: Any, pointer: str) -> Iterator[str]:
    schema = _resolved(schema, definitions)
    inner = dict(schema.get("properties", {}))
    for word in ("items", "additionalProperties"):
        if word in schema:
            inner["*"] = schema[word]
    found = [leaf for name, one in inner.items() for leaf in _leaves(one, definitions, f"{pointer}/{name}")]
    yield from [pointer] if found in ([], [f"{pointer}/*"]) else found  # a list or map of plain values is one leaf


def values() -> Iterator[tuple[str, str]]:
    """Every word that a property with a fixed set of them can have, or (a list) have in it, as (property, word)."""
    path = Path(ocirun.__path__[0], "spec", "schema", "config.json")
    schema = json.loads(path.read_text())
    for pointer in properties():
        part = schema
        for step in pointer.split("/")[1:]:
            part = _resolved(part, schema["$defs"])
            part = part["properties"][step] if step != "*" else part.get("items") or part["additionalProperties"]
        part = _resolved(part, schema["$defs"])
        part = _resolved(part.get("items") or part, schema["$defs"])
        yield from ((pointer, word) for word in part.get("enum", ()) if word)


def _resolved(schema: Any, definitions: Any) -> Any:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return schema


def flags() -> Iterator[str]:
    """Every command, and every flag as "create --bundle" or, of them all, "--root"."""
    yield from (f"--{flag.name}" for flag in GLOBAL)
    for name, command in COMMANDS.items():
        yield name
        yield from (f"{name} --{flag.name}" for flag in command.flags)


def cells() -> dict[str, list[str]]:
    """All that there is, by its kind."""
    return {
        "property": list(properties()),
        "option": [*tables.FLAGS, *tables.PROPAGATION, *tables.RECURSIVE, *tables.EXTENSIONS],
        "flag": list(flags()),
        "advisory": ADVISORIES.split(),
    }


@dataclass(frozen=True)
class Row:
    """What matrix.toml says of some cells."""

    kind: str
    state: str  # a key of STATES
    key: str
    tests: tuple[str, ...]  # patterns (fnmatch) of "run/test_x.py::test_name"

    @property
    def names(self) -> list[str]:
        """The key with its alternatives "{a,b}" written out; one that begins with "=" is no pattern."""
        return _alternatives(self.key)

    def has(self, cell: str) -> bool:
        """Whether the row is about the cell: by name, or (of what is not done) everything below that property."""
        return any(cell == name or (self.state != "done" and cell.startswith(f"{name}/")) for name in self.names)


def _alternatives(key: str) -> list[str]:
    found = re.search(r"\{([^{}]*)\}", key)
    if not found:
        return [key]
    head, tail = key[: found.start()], key[found.end() :]
    return [name for word in found[1].split(",") for name in _alternatives(f"{head}{word}{tail}")]


def rows() -> list[Row]:
    """The table."""
    with (TESTS / "matrix.toml").open("rb") as file:
        table = tomllib.load(file)
    return [
        Row(kind, state, key, tuple(tests))
        for kind, states in table.items()
        for state, entries in states.items()
        for key, tests in entries.items()
    ]


def test_names() -> dict[str, str]:
    """Every test as "run/test_x.py::test_name" -> its text, with that of what it names in its file, and of comments
    right above it."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        body = ast.parse(text).body
        parts: dict[str, str] = {}
        end = 0
        for node in body:
            lines = text.splitlines()[end : node.end_lineno]  # decorators and comments are before the node
            end = node.end_lineno or end
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in [getattr(node, "name", ""), *names]:
                parts[name] = "\n".join(lines)
        for name, part in parts.items():
            if name.startswith("test_"):
                named = set(re.findall(r"\w+", part)) & parts.keys() - {name}
                found[f"{path.relative_to(TESTS).as_posix()}::{name}"] = "\n".join(
                    [part, *(parts[one] for one in sorted(named) if not one.startswith("test_"))]
                )
    return found


def report() -> str:
    """The matrix to read: cell, state, tests."""
    known = list(test_names())
    lines = []
    table = rows()
    for kind, names in cells().items():
        states = {state: 0 for state in STATES}
        body = []
        for cell in names:
            for row in table:
                if row.kind == kind and row.has(cell):
                    tests = [name for pattern in row.tests for name in fnmatch.filter(known, pattern)]
                    states[row.state] += 1
                    body.append(f"{cell:58} {row.state:8} {' '.join(tests) or '; '.join(row.tests)}")
        counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        lines += ["", f"{kind}: {len(names)} cells, {counts}", "", *body]
    lines += ["", *(f"{state}: {meaning}" for state, meaning in STATES.items())]
    return "\n".join(lines[1:])


if __name__ == "__main__":
    print(report())
