"""The loader: it reads what json reads, and refuses what would be misread, with the place."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from spec.strategies import json_values

import ocirun
from ocirun.errors import ConfigError
from ocirun.spec.json import MAX_SIZE, parse
from ocirun.spec.scan import MAX_DEPTH


def refusal(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse("config.json", data)
    return str(caught.value)


def pointers(data: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse("config.json", data)
    return [problem.pointer for problem in caught.value.problems]


@settings(max_examples=300)
@given(json_values, st.booleans(), st.sampled_from([None, 1]))
def test_reads_what_json_writes(value: Any, ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    assert repr(parse("config.json", text.encode())) == repr(json.loads(text))


@settings(max_examples=1000)
@given(st.text(st.sampled_from('{}[]",:0123456789-+.eEtrufalsn \\\t\n'), max_size=24))
@example("-")
@example("01")
@example("1.")
@example('"\\u12"')
@example('{"a":1,}')
@example("[1,]")
def test_agrees_with_json_about_what_is_json(text: str) -> None:
    """Anything that json refuses is refused here, without another exception; and the other way round, but for keys."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("duplicate")
        return dict(pairs)

    try:
        expected = json.loads(text, object_pairs_hook=unique)
    except ValueError:
        refusal(text.encode())
    else:
        assert repr(parse("config.json", text.encode())) == repr(expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "config.json: line 1 column 1: expected a value, found the end of the file"),
        (b" \n ", "config.json: line 2 column 2: expected a value, found the end of the file"),
        (b"{]", "config.json: line 1 column 2: expected a property's name in double quotes, found ]"),
        (b'{"a": 1', "config.json: line 1 column 8: expected a comma or a closing bracket, found the end of the file"),
        (b'{"a"\n: \n tru}', "config.json: line 3 column 2: expected a value, found tru}"),
        (b'{"a": "x', "config.json: line 1 column 7: expected the end of the string that begins here"),
        (b'{"a": "x\ny"}', "config.json: line 1 column 9: expected a string without control characters"),
        (b"{} {}", "config.json: line 1 column 4: expected the end of the file, found {}"),
        (b"{}\n\x00", "config.json: line 2 column 1: expected the end of the file, found \x00"),
        (b"\xef\xbb\xbf{}", "config.json: line 1 column 1: expected JSON, found a byte order mark"),
        (b'{"\xc3\xa4": "\xff"}', "config.json: line 1 column 8: expected UTF-8, found 0xff"),
        (b'"\xed\xa0\x80"', "config.json: line 1 column 2: expected UTF-8, found 0xed"),
        (b'{"a": {"b": [0, NaN]}}', "config.json: /a/b/1: expected JSON, found NaN"),
        (b"[-Infinity]", "config.json: /0: expected JSON, found -Infinity"),
        (b'{"a": ["\\ud83d"]}', "config.json: /a/0: expected Unicode text, found half a character: '\\ud83d'"),
        (b'{"a": {"a": 1, "a": 1}}', "config.json: /a/a: expected the key once, found it again"),
    ],
)
def test_says_where_and_what(data: bytes, message: str) -> None:
    assert refusal(data) == message


def test_every_duplicate_key_is_reported() -> None:
    data = b'{"x": 1, "a/b": {"~": 1, "~": [{"z": 1, "z": 2, "z": 3}]}, "x": {"y": 1, "y": 2}}'
    assert pointers(data) == ["/x", "/a~1b/~0", "/a~1b/~0/0/z", "/a~1b/~0/0/z", "/x/y"]


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse("config.json", b'["\\ud83d\\ude00", "\\\\ud83d"]') == ["😀", "\\ud83d"]


def test_depth() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse("config.json", deepest)
    wide = b"[" + b"[]," * MAX_DEPTH + b"[]]"
    assert len(parse("config.json", wide)) == MAX_DEPTH + 1
    expected = f"expected at most {MAX_DEPTH} objects and arrays in each other"
    assert refusal(b"[" + deepest + b"]") == f"config.json: line 1 column {MAX_DEPTH + 1}: {expected}"
    for opening, place in ((b"[", 201), (b'{"a":', 1001), (b'{"]]]{{":', 1801)):
        assert refusal(opening * 100_000) == f"config.json: line 1 column {place}: {expected}"


def test_depth_does_not_depend_on_the_callers_stack() -> None:
    def deeper(levels: int) -> str:
        return deeper(levels - 1) if levels else refusal(b"[" * 100_000)

    assert "objects and arrays" in deeper(sys.getrecursionlimit() - 200)


def test_numbers() -> None:
    tree = parse("config.json", b"[1, -0, 1.0, 1e3, 18446744073709551616, -9223372036854775809, 1e999]")
    assert [type(value) for value in tree] == [int, int, float, float, int, int, float]
    assert tree[4] == 2**64 and tree[5] == -(2**63) - 1
    many = parse("config.json", b'{"unknown": ' + b"9" * 100_000 + b', "b": 1}')
    assert many["b"] == 1 and type(many["unknown"]) is int and many["unknown"] > 2**64


def test_size() -> None:
    assert parse("config.json", b" " * (MAX_SIZE - 2) + b"{}") == {}
    assert refusal(b" " * MAX_SIZE + b"{}") == "config.json: expected at most 16 MiB, found 16.0 MiB"
    started = time.monotonic()
    assert refusal(b"[" * 100_000_000) == "config.json: expected at most 16 MiB, found 95.4 MiB"
    assert time.monotonic() - started < 1


def test_without_the_accelerator() -> None:
    """An interpreter without _json: the same trees, the same refusals."""
    code = """
import sys
sys.modules["_json"] = None
sys.path.insert(0, sys.argv[1])
from ocirun.spec.json import parse
from ocirun.errors import ConfigError
assert parse("c", b'{"a": [1, 2.5, "x", null, true]}') == {"a": [1, 2.5, "x", None, True]}
for data in (b'{"a": 1, "a": 2}', b"[1 2]", b"[NaN]", b"tru", b"[" * 100000):
    try:
        parse("c", data)
    except ConfigError as error:
        print(error)
"""
    root = str(ocirun.__path__[0]).removesuffix("/ocirun")
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "c: /a: expected the key once, found it again",
        "c: line 1 column 4: expected a comma or a closing bracket, found 2]",
        "c: /0: expected JSON, found NaN",
        "c: line 1 column 1: expected a value, found tru",
        f"c: line 1 column {MAX_DEPTH + 1}: expected at most {MAX_DEPTH} objects and arrays in each other",
    ]


def test_an_error_needs_no_json_module_before() -> None:
    """The scanner raises json's exception only if that module is loaded, and breaks otherwise."""
    root = str(ocirun.__path__[0]).removesuffix("/ocirun")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ocirun.spec.json import parse\n"
        "assert 'json' not in sys.modules\n"
        "parse('c', b'{}')\n"
        "assert 'json' not in sys.modules\n"
        "try: parse('c', b'[1')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True)
    assert (
        result.stdout
        == "ConfigError c: line 1 column 3: expected a comma or a closing bracket, found the end of the file\n"
    ), result.stderr
