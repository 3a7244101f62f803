"""Why a text is no JSON, or JSON that could be misread, and where: what json.py says of it. It may be slow."""

from __future__ import annotations

from ..errors import ConfigError, Problem
from .pointer import child
from .scan import MAX_DEPTH, scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


# The scanner's messages in ours, and whether what is there says more.
_WORDS = {
    "Expecting ',' delimiter": ("expected a comma or a closing bracket", True),
    "Expecting ':' delimiter": ("expected a colon", True),
    "Expecting property name enclosed in double quotes": ("expected a property's name in double quotes", True),
    "Illegal trailing comma before end of object": ("expected nothing more after a comma that is the last", False),
    "Illegal trailing comma before end of array": ("expected nothing more after a comma that is the last", False),
    "Invalid control character at": ("expected a string without control characters", False),
    "Unterminated string starting at": ("expected the end of the string that begins here", False),
    "Invalid \\escape": ("expected one of the escapes of JSON", True),
    "Invalid \\uXXXX escape": ("expected four hexadecimal digits", True),
}


def byte_order_mark(path: str) -> ConfigError:
    """It begins with one."""
    return _refusal(path, "line 1 column 1: expected JSON", "a byte order mark")


def no_utf8(path: str, data: bytes, error: UnicodeDecodeError) -> ConfigError:
    """It is in another encoding, or in none."""
    if data.startswith(b"\xef\xbb\xbf"):
        return byte_order_mark(path)
    before = data[: error.start].decode()
    found = " ".join(f"0x{byte:02x}" for byte in data[error.start : error.end])
    return _refusal(path, f"{_place(before, len(before))}: expected UTF-8", found)


def no_end(path: str, text: str, position: int) -> ConfigError:
    """Something follows the document."""
    return _refusal(path, f"{_place(text, position)}: expected the end of the file", _next(text, position))


def refuse(path: str, text: str, begin: int) -> None:
    """Parse again and say what is wrong, and where. Returns if it was only a number of very many digits.

    :raises ConfigError: as parse()
    """
    # The scanner raises json's own exception, but only if that is loaded; else SystemError, "returned NULL".
    from json import JSONDecodeError

    try:
        tree, _ = scanner(_Pairs, _Constant, integer)(text, begin)
    except StopIteration as stop:
        raise _refusal(path, f"{_place(text, stop.value)}: expected a value", _next(text, stop.value)) from None
    except RecursionError:
        raise too_deep(path, text) from None
    except JSONDecodeError as error:
        expected, shows_found = _WORDS.get(error.msg, (f"{error.msg[0].lower()}{error.msg[1:]}", True))
        found = _next(text, error.pos) if shows_found else ""
        raise _refusal(path, f"{_place(text, error.pos)}: {expected}", found) from None
    problems = tuple(places(tree))
    if problems:
        raise ConfigError(path, problems)


def integer(digits: str) -> int:
    """int() refuses more than some thousand digits (CVE-2020-10735); nobody asks for the exact value of these."""
    return int(digits) if len(digits) < 600 else 1 << 2000


def places(tree: Any) -> Iterator[Problem]:
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


def too_deep(path: str, text: str) -> ConfigError:
    """There are too many objects and arrays in each other."""
    depth = position = 0
    while position < len(text) and depth <= MAX_DEPTH:
        character = text[position]
        if character == '"':
            position = _end_of_string(text, position)
        depth += (character in "{[") - (character in "]}")
        position += 1
    place = f"{_place(text, position - 1)}: " if depth > MAX_DEPTH else ""
    return _refusal(path, f"{place}expected at most {MAX_DEPTH} objects and arrays in each other")


class _Pairs(list):  # type: ignore[type-arg]
    """An object with all its members, those with the same key too."""


class _Constant(str):
    """NaN, Infinity or -Infinity."""


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _end_of_string(text: str, position: int) -> int:
    """Where the closing quote is of a string that opens at ``position``."""
    position += 1
    while position < len(text) and text[position] != '"':
        position += 2 if text[position] == "\\" else 1
    return position


def _next(text: str, position: int) -> str:
    """What is there, in short."""
    return text[position : position + 10].split("\n")[0] or (
        "the end of the line" if text[position:] else "the end of the file"
    )


def _place(text: str, position: int) -> str:
    """Line and column, counted from 1; a column is a character."""
    line = text.count("\n", 0, position) + 1
    return f"line {line} column {position - text.rfind(chr(10), 0, position)}"


def _refusal(path: str, expected: str, found: str = "") -> ConfigError:
    return ConfigError(path, (Problem(pointer="", expected=expected, found=found),))
