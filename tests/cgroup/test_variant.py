"""GVariant's text format: what annotations say of systemd's properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney.low_level import Endianness, parse_signature

from ocirun.cgroup.variant import INTEGERS, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", ("i", 1)),
        ("-1", ("i", -1)),
        ("uint64 5", ("t", 5)),
        ("byte 0xff", ("y", 255)),
        ("010", ("i", 8)),
        ("1.5", ("d", 1.5)),
        ("1e3", ("d", 1000.0)),
        ("double 1", ("d", 1.0)),
        ("true", ("b", True)),
        ("'it\\'s'", ("s", "it's")),
        ('"a\\tb\\u00e9"', ("s", "a\tbé")),
        ("b'raw\\x00'", ("ay", b"raw\0\0")),
        ("objectpath '/a'", ("o", "/a")),
        ("@as []", ("as", [])),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("[1, uint64 2]", ("at", [1, 2])),
        ("@ay [1, 2]", ("ay", b"\1\2")),
        ("<'a'>", ("v", ("s", "a"))),
        ("{'a': <1>, 'b': <'c'>}", ("a{sv}", {"a": ("i", 1), "b": ("s", "c")})),
        ("@a(ss) [('/dev/null', 'rw')]", ("a(ss)", [("/dev/null", "rw")])),
        ("(1,)", ("(i)", (1,))),
    ],
)
def test_values(text: str, expected: tuple[str, Any]) -> None:
    assert parse(text) == expected
    assert parse(f"  {text}\n") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "abc", "[", "[]", "{}", "'a", "1 2", "[1, 'a']", "uint64", "uint64 -1", "uint16 65536", "byte 'a'",
        "int32 uint32 1", "@", "@a 1", "@a{vs} {}", "@() ()", "<1", "'\\u12'", "'\\ud800'", "'\\x00'", "0b1", "1_0",
        "@as 5", "@(ss) ('a',)", "{1}", "(,)", "nothing", "just 1", "[" * 100,
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def _integers(signature: str) -> st.SearchStrategy[tuple[str, str, Any]]:
    bits, signed = INTEGERS[signature]
    low = -(1 << bits - 1) if signed else 0
    return st.integers(low, low + (1 << bits) - 1).map(lambda n: (signature, f"@{signature} {n}", n))


_STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
_BASIC = st.one_of(
    *map(_integers, INTEGERS),
    st.booleans().map(lambda b: ("b", str(b).lower(), b)),
    _STRINGS.map(lambda s: ("s", "'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'", s)),
)
_VALUES = st.recursive(
    _BASIC,
    lambda inner: st.one_of(
        inner.map(lambda v: ("v", f"<{v[1]}>", (v[0], v[2]))),
        inner.filter(lambda v: v[0] != "y").map(lambda v: (f"a{v[0]}", f"[{v[1]}, {v[1]}]", [v[2], v[2]])),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda several: (
                f"({''.join(v[0] for v in several)})",
                f"({', '.join(v[1] for v in several)},)",
                tuple(v[2] for v in several),
            )
        ),
    ),
    max_leaves=6,
)


@given(_VALUES)
def test_any_value(value: tuple[str, str, Any]) -> None:
    """As written, and as the bus takes it."""
    signature, text, expected = value
    assert parse(text) == (signature, expected)
    parse_signature(list(signature)).serialise(expected, 0, Endianness.little)


@given(st.text(alphabet="abisty@<>[](){}':,. 0123456789\\-", max_size=30))
def test_any_text(text: str) -> None:
    """Either a value that the bus takes, or a ValueError."""
    try:
        signature, value = parse(text)
    except ValueError:
        return
    parse_signature(list(signature)).serialise(value, 0, Endianness.little)
