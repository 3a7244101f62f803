"""A plan as the bytes that the init reads: native/init/wire.h."""

from __future__ import annotations

from _struct import Struct, error  # type: ignore[attr-defined]

from ..errors import ConfigError, Problem
from .ops import LAYOUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .draft import Plan

MAGIC = 0x6E75726F
VERSION = 1
_HEADER = Struct("=8I")
_REFERENCE = Struct("=2I")  # {offset, length or count}
_LIMIT = 0xFFFFFFFF

_formats: dict[str, Struct] = {}


def encode(plan: Plan) -> bytes:
    """The plan's bytes, without the parent's operations.

    :raises ConfigError: a string holds a NUL character, or a number or the whole is too big for its field
    """
    strings = _Strings()
    store: dict[str, Callable[[Any], tuple[int, int]]] = {
        "str": strings.text,
        "strv": strings.list,
        "blob": strings.blob,
    }
    outer: list[bytes] = []
    init: list[bytes] = []
    for index, (who, pointer, name, values) in enumerate(plan.operations):
        if who == "parent":
            continue
        number, form, references = LAYOUTS[name]
        record = _formats.get(name)
        if record is None:
            record = _formats[name] = Struct(form)
        arguments = [number, record.size, index, *values]
        try:
            for place, kind in references:
                arguments[place : place + 1] = store[kind](arguments[place])
            packed = record.pack(*arguments)
        except (error, ValueError) as reason:
            raise ConfigError("config.json", (Problem(pointer=pointer, expected=str(reason)),)) from None
        (outer if who == "outer" else init).append(packed)
    records = b"".join(outer) + b"".join(init)
    strings_offset = _HEADER.size + len(records)
    total = strings_offset + len(strings.area)
    if total > _LIMIT:
        raise ConfigError("config.json", (Problem(pointer="", expected="expected less than 4 GiB"),))
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        total,
        _HEADER.size,
        len(outer) + len(init),
        len(outer),
        strings_offset,
        plan.slots,
    )
    return header + records + strings.area


class _Strings:
    """The string area. Equal strings and equal lists are stored once."""

    def __init__(self) -> None:
        self.area = bytearray()
        self._known: dict[object, tuple[int, int]] = {"": (0, 0), (): (0, 0)}

    def text(self, value: str) -> tuple[int, int]:
        found = self._known.get(value)
        if found is None:
            if "\0" in value:
                raise ValueError("expected no NUL character")
            data = f"{value}\0".encode("utf-8", "surrogateescape")
            area = self.area
            found = self._known[value] = len(area), len(data) - 1
            area += data
        return found

    def list(self, values: tuple[str, ...]) -> tuple[int, int]:
        key = tuple(values)
        found = self._known.get(key)
        if found is None:
            references = b"".join([_REFERENCE.pack(*self.text(value)) for value in key])
            self._align(4)
            found = self._known[key] = len(self.area), len(key)
            self.area += references
        return found

    def blob(self, value: bytes) -> tuple[int, int]:
        if not value:
            return 0, 0
        self._align(8)
        offset = len(self.area)
        self.area += value
        return offset, len(value)

    def _align(self, to: int) -> None:
        self.area += bytes(-len(self.area) % to)
