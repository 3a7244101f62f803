"""Reads ops.def and writes ocirun/plan/ops.py and fields.py from it: ``python3 native/ops.py``."""

from __future__ import annotations

import re
from pathlib import Path

TYPES = {"u32": "int", "i32": "int", "u64": "int", "i64": "int", "str": "str", "strv": "Sequence[str]", "blob": "bytes"}
# Of the module struct. Strings, lists and bytes are references: {offset, length or count} in the string area.
CODES = {"u32": "I", "i32": "i", "u64": "Q", "i64": "q", "str": "II", "strv": "II", "blob": "II"}
STAGES = ("Outer stage", "PID 1")

Field = tuple[str, str]


def read(path: Path) -> list[tuple[str, str, list[Field]]]:
    """(name, comment, fields) of every operation, in order."""
    text = path.read_text()
    found = []
    for match in re.finditer(r"/\*(.*?)\*/|^OP\((\w+)(?:, ([^\n]*))?\)$", text, re.S | re.M):
        if match[1] is not None:
            comment = " ".join(line.strip().lstrip("*").strip() for line in match[1].splitlines()).strip()
            continue
        fields = [(name, kind) for kind, name in re.findall(r"F\((\w+), (\w+)\)", match[3] or "")]
        found.append((match[2], comment, fields))
        comment = ""
    return found


def write(operations: list[tuple[str, str, list[Field]]]) -> str:
    """The text of ocirun/plan/ops.py."""
    out = [HEAD, LAYOUTS]
    for number, (name, _, fields) in enumerate(operations):
        out.append(f'    "{name}": {layout(number, fields)},')
    out.append("}\n")
    for name, comment, fields in operations:
        values = "".join(f"{field}, " for field, _ in fields)
        arguments = "".join(f", {field}: {TYPES[kind]}" for field, kind in fields)
        star = ", *" if fields else ""
        out.append(f"\ndef {name}(who: str, pointer: str{star}{arguments}) -> Operation:")
        if comment:
            out.append(f'    """{comment}"""')
        listed = values.rstrip() if len(fields) == 1 else values.rstrip(", ")
        out.append(f'    return Operation((who, pointer, "{name}", ({listed})))\n')
    return "\n".join(out).rstrip("\n") + "\n"


def write_fields(operations: list[tuple[str, str, list[Field]]]) -> str:
    """The text of ocirun/plan/fields.py."""
    out = [FIELDS]
    for name, _, fields in operations:
        inner = ", ".join(f'("{field}", "{kind}")' for field, kind in fields)
        out.append(f'    "{name}": ({inner}{"," if len(fields) == 1 else ""}),')
    return "\n".join([*out, "}\n"])


def layout(number: int, fields: list[Field]) -> str:
    """An entry of LAYOUTS."""
    # The header is kind, size and index, aligned as the C compiler does; "0Q" pads the end to 8.
    form = "HHI" + "".join(CODES[kind] for _, kind in fields) + "0Q"
    references = []
    position = 3
    for _, kind in fields:
        if CODES[kind] == "II":
            references.append(f'({position}, "{kind}")')
        position += len(CODES[kind])
    return f'({number}, "{form}", ({", ".join(references)}{"," if len(references) == 1 else ""}))'


LAYOUTS = """\
# How encode.py packs a record: its kind, the format, and where references are among the numbers, and to what.
LAYOUTS: dict[str, tuple[int, str, tuple[tuple[int, str], ...]]] = {"""

HEAD = '''"""The operations of a plan. Written by native/ops.py from native/ops.def: change it there.

An operation is a frozen record (who, pointer, name, values). ``who`` is "outer" or "init" for what the native init
performs and "parent" for what the runtime itself does; ``pointer`` is the JSON pointer of the property of
config.json that it comes from, "" for none. Operations of the parent (see parent.py) have a name and values too,
but no entry here: they are never encoded.
"""

# ruff: noqa: E501
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

NO_SLOT = 0xFFFFFFFF


class Operation(tuple):  # type: ignore[type-arg]
    """One thing that somebody does for a container."""

    __slots__ = ()

    @property
    def who(self) -> str:
        return self[0]  # type: ignore[no-any-return]

    @property
    def pointer(self) -> str:
        return self[1]  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        return self[2]  # type: ignore[no-any-return]

    @property
    def values(self) -> tuple[Any, ...]:
        return self[3]  # type: ignore[no-any-return]

    def fields(self) -> dict[str, Any]:
        """The values by field name."""
        from .fields import FIELDS

        return {name: value for (name, _), value in zip(FIELDS[self[2]], self[3], strict=True)}

'''

FIELDS = '''"""The operations' fields and their kinds. Written by native/ops.py from native/ops.def: change it there.

For messages, hooks and tests; what is needed to pack a record is in LAYOUTS of ops.py.
"""

# ruff: noqa: E501
from __future__ import annotations

FIELDS: dict[str, tuple[tuple[str, str], ...]] = {'''

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    found = read(here / "ops.def")
    plan = here.parent / "ocirun" / "plan"
    (plan / "ops.py").write_text(write(found))
    (plan / "fields.py").write_text(write_fields(found))
