"""JSON text → tree of dict, list, str, int, float, bool and None.

Stricter than `json` and than Go's decoder, since what they do with it silently would start another container than the
one described: a key may stand only once in an object, text must be UTF-8 without a byte order mark, half a surrogate
pair is no character, NaN and Infinity are no JSON, nothing may follow the document. Why a text is refused, and where,
is found in unsound.py.
"""

from __future__ import annotations

from ..errors import ConfigError, Problem
from .scan import MAX_DEPTH, scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 16 << 20
"""Bytes. Ten thousand mounts are two megabytes; the tree takes ten times its text."""

_SPACE = " \t\n\r"


def parse(path: str, data: bytes) -> Any:
    """The tree of a JSON text; ``path`` is only for the messages.

    :raises ConfigError: it is not JSON (one problem, with line and column), or not sound (every place, by pointer)
    """
    check_size(path, len(data))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        from . import unsound

        raise unsound.no_utf8(path, data, error) from None
    if text[:1] == "\ufeff":
        from . import unsound

        raise unsound.byte_order_mark(path)
    begin = len(text) - len(text.lstrip(_SPACE))
    try:
        tree, end = scanner(_unique, _no_constant)(text, begin)
    except (ValueError, StopIteration, RecursionError, SystemError):
        from . import unsound

        unsound.refuse(path, text, begin)
        tree, end = scanner(_unique, _no_constant, unsound.integer)(text, begin)
    if text[end:].strip(_SPACE):
        from . import unsound

        raise unsound.no_end(path, text, end + len(text[end:]) - len(text[end:].lstrip(_SPACE)))
    # Most files have fewer brackets than the limit and no surrogates: two counts and two searches, no walk.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(tree):
        from . import unsound

        raise unsound.too_deep(path, text)
    if "\\ud" in text or "\\uD" in text:
        from . import unsound

        problems = tuple(unsound.places(tree))
        if problems:
            raise ConfigError(path, problems)
    return tree


def check_size(path: str, size: int) -> None:
    """Refuse a file, before it is read, that is larger than parse() takes.

    :raises ConfigError: it is
    """
    if size > MAX_SIZE:
        problem = Problem(
            pointer="", expected=f"expected at most {MAX_SIZE >> 20} MiB", found=f"{size / (1 << 20):.1f} MiB"
        )
        raise ConfigError(path, (problem,))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError
    return tree


def _no_constant(name: str) -> Any:
    raise ValueError


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
