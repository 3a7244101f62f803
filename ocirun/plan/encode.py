"""A plan as the bytes that the init reads: native/init/wire.h."""

from __future__ import annotations

from _struct import Struct, error  # type: ignore[attr-defined]

from ..errors import ConfigError, Problem
from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .build import Plan

MAGIC = 0x6E75726F
VERSION = 1
_HEADER = Struct("=8I")
_REFERENCE = Struct("=2I")  # {offset, length or count}
_LIMIT = 0xFFFFFFFF

# Natural alignment, as the C compiler's; "0Q" pads the end to 8.
_CODES = {"u32": "I", "i32": "i", "u64": "Q", "i64": "q", "str": "II", "strv": "II", "blob": "II"}
_KINDS = {name: number for number, name in enumerate(ops.FIELDS)}
_formats: dict[str, Struct] = {}


def encode(plan: Plan) -> bytes:
    """The plan's bytes, without the parent's operations.

    :raises ConfigError: a string holds a NUL character, or a number or the whole is too big for its field
    """
    strings = _Strings()
    outer: list[bytes] = []
    init: list[bytes] = []
    for index, (who, pointer, name, values) in enumerate(plan.operations):
        if who == "parent":
            continue
        record = _formats.get(name) or _format(name)
        arguments: list[int] = []
        try:
            for (_, kind), value in zip(ops.FIELDS[name], values, strict=True):
                if kind == "str":
                    arguments += strings.text(value)
                elif kind == "strv":
                    arguments += strings.list(value)
                elif kind == "blob":
                    arguments += strings.blob(value)
                else:
                    arguments.append(value)
            packed = record.pack(_KINDS[name], record.size, index, *arguments)
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


def _format(name: str) -> Struct:
    record = Struct("@HHI" + "".join(_CODES[kind] for _, kind in ops.FIELDS[name]) + "0Q")
    _formats[name] = record
    return record


class _Strings:
    """The string area. Equal strings and equal lists are stored once."""

    def __init__(self) -> None:
        self.area = bytearray()
        self._known: dict[object, tuple[int, int]] = {"": (0, 0), (): (0, 0)}

    def text(self, value: str) -> tuple[int, int]:
        found = self._known.get(value)
        if found is None:
            data = value.encode("utf-8", "surrogateescape")
            if b"\0" in data:
                raise ValueError("expected no NUL character")
            found = self._known[value] = len(self.area), len(data)
            self.area += data + b"\0"
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
