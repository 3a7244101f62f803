"""The scanner of JSON: CPython's own C one, which `json` wraps; that package imports `re`, six milliseconds."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]

MAX_DEPTH = 200
"""Objects and arrays in each other. The specification has eight."""


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


def scanner(
    pairs: Callable[[list[tuple[str, Any]]], Any],
    constant: Callable[[str], Any],
    integer: Callable[[str], int] = int,
) -> Scan:
    """scan(text, begin) → (tree, end).

    :param pairs: makes an object of its members
    :param constant: makes a value of NaN, Infinity and -Infinity
    """
    try:
        from _json import make_scanner
    except ImportError:  # an interpreter without CPython's accelerators
        from json import JSONDecoder

        decoder = JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_int=integer)
        return decoder.scan_once  # type: ignore[attr-defined, no-any-return]
    return make_scanner(_Context(pairs, constant, integer))  # type: ignore[arg-type]
