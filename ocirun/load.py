"""JSON text → tree of dict, list, str, int, float, bool and None.

The scanner is CPython's own C one, which the `json` package wraps: `json` itself imports `re`, six milliseconds.
Stricter than `json` and than Go's decoder, since what they do with it silently would start another container than the
one described: a key may stand only once in an object, text must be UTF-8 without a byte order mark, half a surrogate
pair is no character, NaN and Infinity are no JSON, nothing may follow the document.
"""

from __future__ import annotations

from .errors import ConfigError, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]

MAX_SIZE = 16 << 20
"""Bytes. Ten thousand mounts are two megabytes; the tree takes ten times its text."""

MAX_DEPTH = 200
"""Objects and arrays in each other. The specification has eight."""

_SPACE = " \t\n\r"


def parse(path: str, data: bytes) -> Any:
    """The tree of a JSON text; ``path`` is only for the messages.

    :raises ConfigError: it is not JSON (one problem, with line and column), or not sound (every place, by pointer)
    """
    check_size(path, len(data))
    text = _decode(path, data)
    begin = len(text) - len(text.lstrip(_SPACE))
    try:
        tree, end = _scanner(_unique, _no_constant)(text, begin)
    except (_Unsound, ValueError, StopIteration, RecursionError, SystemError):
        _refuse(path, text, begin)
        tree, end = _scanner(_unique, _no_constant, _integer)(text, begin)
    if text[end:].strip(_SPACE):
        rest = end + len(text[end:]) - len(text[end:].lstrip(_SPACE))
        raise _refusal(path, f"{_place(text, rest)}: expected the end of the file", text[rest : rest + 10])
    # Most files have fewer brackets than the limit and no surrogates: two counts and two searches, no walk.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(tree):
        raise _too_deep(path, text)
    if "\\ud" in text or "\\uD" in text:
        problems = tuple(_unsound(tree))
        if problems:
            raise ConfigError(path, problems)
    return tree


def check_size(path: str, size: int) -> None:
    """Refuse a file, before it is read, that is larger than parse() takes.

    :raises ConfigError: it is
    """
    if size > MAX_SIZE:
        raise _refusal(path, f"expected at most {MAX_SIZE >> 20} MiB", f"{size / (1 << 20):.1f} MiB")


class _Unsound(Exception):
    """JSON by its grammar, but not sound: to be parsed again for the places."""


class _Context:
    """What the scanner asks for."""

    strict = True  # no control characters in strings
    object_hook = None
    parse_float = float

    def __init__(
        self,
        pairs: Callable[[list[tuple[str, Any]]], Any],
        constant: Callable[[str], Any],
        integer: Callable[[str], int],
    ) -> None:
        self.object_pairs_hook = pairs
        self.parse_constant = constant
        self.parse_int = integer


def _scanner(
    pairs: Callable[[list[tuple[str, Any]]], Any],
    constant: Callable[[str], Any],
    integer: Callable[[str], int] = int,
) -> Scan:
    try:
        from _json import make_scanner
    except ImportError:  # an interpreter without CPython's accelerators
        from json import JSONDecoder

        decoder = JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_int=integer)
        return decoder.scan_once  # type: ignore[attr-defined, no-any-return]
    return make_scanner(_Context(pairs, constant, integer))  # type: ignore[arg-type]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise _Unsound
    return tree


def _no_constant(name: str) -> Any:
    raise _Unsound


def _decode(path: str, data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise _refusal(path, "line 1 column 1: expected JSON", "a byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        found = " ".join(f"0x{byte:02x}" for byte in data[error.start : error.end])
        raise _refusal(path, f"{_place(before, len(before))}: expected UTF-8", found) from None


# What follows is for texts that are refused: it may be slow.


class _Pairs(list):  # type: ignore[type-arg]
    """An object with all its members, those with the same key too."""


class _Constant(str):
    """NaN, Infinity or -Infinity."""


def _refuse(path: str, text: str, begin: int) -> None:
    """Parse again and say what is wrong, and where. Returns if it was only a number of very many digits.

    :raises ConfigError: as parse()
    """
    # The scanner raises json's own exception, but only if that is loaded; else SystemError, "returned NULL".
    from json import JSONDecodeError

    try:
        tree, _ = _scanner(_Pairs, _Constant, _integer)(text, begin)
    except StopIteration as stop:
        place = _place(text, stop.value)
        found = text[stop.value : stop.value + 10].split("\n")[0] or "the end of the file"
        raise _refusal(path, f"{place}: expected a value", found) from None
    except RecursionError:
        raise _too_deep(path, text) from None
    except JSONDecodeError as error:
        raise _refusal(path, f"{_place(text, error.pos)}: {error.msg[0].lower()}{error.msg[1:]}") from None
    problems = tuple(_unsound(tree))
    if problems:
        raise ConfigError(path, problems)


def _integer(digits: str) -> int:
    """int() refuses more than some thousand digits (CVE-2020-10735); nobody asks for the exact value of these."""
    return int(digits) if len(digits) < 600 else 1 << 2000


def _unsound(tree: Any) -> Iterator[Problem]:
    """Every duplicate key, constant and lone surrogate, in the order of the document."""
    left: list[tuple[str, Any]] = [("", tree)]
    while left:
        pointer, value = left.pop()
        if isinstance(value, _Constant):
            yield Problem(pointer=pointer, expected="expected JSON", found=str(value))
        elif isinstance(value, str):
            if _has_surrogate(value):
                yield Problem(pointer=pointer, expected="expected Unicode text", found=f"half a character: {value!a}")
        elif isinstance(value, (_Pairs, dict)):
            seen = set()
            for key, _ in value.items() if isinstance(value, dict) else value:
                if key in seen:
                    yield Problem(pointer=child(pointer, key), expected="expected the key once, found it again")
                elif _has_surrogate(key):
                    yield Problem(pointer=pointer, expected="expected Unicode text", found=f"half a character: {key!a}")
                seen.add(key)
            items = list(value.items() if isinstance(value, dict) else value)
            left.extend((child(pointer, key), item) for key, item in reversed(items))
        elif isinstance(value, list):
            left.extend((f"{pointer}/{index}", value[index]) for index in reversed(range(len(value))))


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _is_too_deep(tree: Any) -> bool:
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            if type(value) is list or type(value) is dict
            for item in (value.values() if type(value) is dict else value)
        ]
    return any(type(value) is list or type(value) is dict for value in level)


def _too_deep(path: str, text: str) -> ConfigError:
    depth = position = 0
    while position < len(text) and depth <= MAX_DEPTH:
        character = text[position]
        if character == '"':
            position = _end_of_string(text, position)
        depth += (character in "{[") - (character in "]}")
        position += 1
    place = f"{_place(text, position - 1)}: " if depth > MAX_DEPTH else ""
    return _refusal(path, f"{place}expected at most {MAX_DEPTH} objects and arrays in each other")


def _end_of_string(text: str, position: int) -> int:
    """Where the closing quote is of a string that opens at ``position``."""
    position += 1
    while position < len(text) and text[position] != '"':
        position += 2 if text[position] == "\\" else 1
    return position


def child(pointer: str, key: str) -> str:
    """The JSON pointer of a member, RFC 6901."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def _place(text: str, position: int) -> str:
    """Line and column, counted from 1; a column is a character."""
    line = text.count("\n", 0, position) + 1
    return f"line {line} column {position - text.rfind(chr(10), 0, position)}"


def _refusal(path: str, expected: str, found: str = "") -> ConfigError:
    return ConfigError(path, (Problem(pointer="", expected=expected, found=found),))
