"""How values of a configuration are read: what the tables of read.py and of the modules beside it consist of.

A reader takes the value, where it stands and the list of problems; when the value is wrong it adds a problem and
returns something of the right type.
"""

from __future__ import annotations

from ..errors import Problem
from .pointer import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from ..record import Record

    Int32 = int
    Int64 = int
    Uint16 = int
    Uint32 = int
    Uint64 = int

    # A place is (place of the parent, key or index), None at the top: made for every value, so it must be cheap.
    Place = tuple["Place", str | int] | None
    Reader = Callable[[Any, Place, list[Problem]], Any]
    Field = tuple[str, str, Reader]


def pointer_to(place: Place) -> str:
    """The JSON pointer of a place."""
    if place is None:
        return ""
    parent, key = place
    return child(pointer_to(parent), str(key))


def quoted(value: str) -> str:
    """A string for a message: short enough, on one line."""
    text = repr(value[:40])[1:-1]
    return f'"{text}"' if len(value) <= 40 else f'"{text}..."'


def is_number(text: str) -> bool:
    """Whether it has digits and nothing else."""
    return text.isascii() and text.isdigit()


def describe(value: Any) -> str:
    """A value of a tree, short enough for a message."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        text = repr(value[:40])[1:-1]
        return f'"{text}"' if len(value) <= 40 else f'"{text}..."'
    if type(value) is dict:
        return "an object"
    if type(value) is list:
        return "an array" if value else "an empty array"
    text = str(value)
    return text if len(text) <= 40 and text not in ("inf", "-inf") else "a number of very many digits"


def wrong(expected: str, value: Any, place: Place, problems: list[Problem]) -> None:
    problems.append(Problem(pointer=pointer_to(place), expected=f"expected {expected}", found=describe(value)))


# Readers of single values


def string(value: Any, place: Place, problems: list[Problem]) -> str:
    # A NUL would end it early in every system call.
    if type(value) is str and "\0" not in value:
        return value
    wrong("a string" if type(value) is not str else "a string without NUL characters", value, place, problems)
    return ""


def boolean(value: Any, place: Place, problems: list[Problem]) -> bool:
    if value is True or value is False:
        return value
    wrong("true or false", value, place, problems)
    return False


def integer(low: int, high: int) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> int:
        # As Go's decoder: 1.0 and 1e3 are no integers.
        if type(value) is int and low <= value <= high:
            return value
        # A range of 64 bits says nothing of what is no number at all.
        is_number = type(value) is int or high - low < 1 << 62
        wrong(f"an integer from {low} to {high}" if is_number else "an integer", value, place, problems)
        return 0

    return read


int32 = integer(-(1 << 31), (1 << 31) - 1)
int64 = integer(-(1 << 63), (1 << 63) - 1)
uint16 = integer(0, (1 << 16) - 1)
uint32 = integer(0, (1 << 32) - 1)
uint64 = integer(0, (1 << 64) - 1)


def one_of(names: Collection[str], what: str = "") -> Reader:
    """
    :param what: the first words of the error
    """

    def read(value: Any, place: Place, problems: list[Problem]) -> str:
        if type(value) is str and value in names:
            return value
        listed = ", ".join(sorted(names) if type(names) is frozenset else names)
        expected = f"{what}expected one of {listed}"
        problems.append(Problem(pointer=pointer_to(place), expected=expected, found=describe(value)))
        return ""

    return read


# Readers of compound values


def strings(value: Any, place: Place, problems: list[Problem]) -> tuple[str, ...]:
    if type(value) is list:
        try:  # join checks the types of all in one call
            if "\0" not in "".join(value):
                return tuple(value)
        except TypeError:
            pass
    return _slow_strings(value, place, problems)  # type: ignore[no-any-return]


def array(reader: Reader) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> tuple[Any, ...]:
        if type(value) is list:
            return tuple([reader(item, (place, index), problems) for index, item in enumerate(value)])
        wrong("an array", value, place, problems)
        return ()

    return read


_slow_strings = array(string)


def map_of(reader: Reader) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> dict[str, Any]:
        if type(value) is dict:
            for key in value:
                if "\0" in key:
                    wrong("a key without NUL characters", key, (place, key), problems)
            return {key: reader(item, (place, key), problems) for key, item in value.items()}
        wrong("an object", value, place, problems)
        return {}

    return read


string_map = map_of(string)


def record(cls: type[Record], *fields: Field) -> Reader:
    """The reader of an object: ``fields`` are (property, field of ``cls``, reader of the value)."""
    defaults = cls._fields
    required = type(cls)  # what stands for "no default", see record.py

    def read(value: Any, place: Place, problems: list[Problem]) -> Any:
        if type(value) is not dict:
            wrong("an object", value, place, problems)
            value = None
        get = (value or {}).get
        made = cls.__new__(cls)  # __init__ would look at every field again
        values = made.__dict__
        for key, field, reader in fields:
            item = get(key)
            if item is not None:
                values[field] = reader(item, (place, key), problems)
            elif defaults[field] is required:
                if value is not None:
                    missing = pointer_to((place, key))
                    problems.append(Problem(pointer=missing, expected="required property is missing"))
                values[field] = reader(None, None, [])
        return made

    return read


def later(module: str, name: str) -> Reader:
    """The reader of that name in another module of this package, which is loaded when there is such a property."""

    def read(value: Any, place: Place, problems: list[Problem]) -> Any:
        home = __import__(f"{__package__}.{module}", fromlist=(name,))
        return getattr(home, name)(value, place, problems)

    return read
