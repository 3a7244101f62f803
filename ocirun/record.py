"""Frozen records: what dataclass(frozen=True, slots=True) gives, at a twentieth of its import cost.

Annotations become slots, assigned values become defaults. Modules that define records begin with
``from __future__ import annotations``, which keeps the annotations in the class namespace on every Python.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    R = TypeVar("R", bound="Record")
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls


_set = object.__setattr__


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _RecordMeta(type):
    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        fields: dict[str, Any] = {}
        for base in bases:
            fields.update(getattr(base, "_fields", {}))
        own = namespace.get("__annotations__", {})
        for field in own:
            fields[field] = namespace.pop(field, _RecordMeta)  # the metaclass itself stands for "required"
        namespace["__slots__"] = tuple(own)
        namespace["_fields"] = fields
        return super().__new__(mcls, name, bases, namespace)


class Record(metaclass=_RecordMeta):
    """Base of all records. Keyword arguments only; equality, repr and replace() by field."""

    if TYPE_CHECKING:
        _fields: ClassVar[dict[str, Any]]

    __slots__ = ()

    def __init__(self, **values: Any) -> None:
        for field, default in self._fields.items():
            if field in values:
                _set(self, field, values.pop(field))
            elif default is _RecordMeta:
                raise TypeError(f"{type(self).__name__} needs {field}")
            else:
                _set(self, field, default)
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(values)}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, f) == getattr(other, f) for f in self._fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f) for f in self._fields)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in self._fields)})"


def replace(record: R, **changes: Any) -> R:
    """A copy with other values in the fields named.

    :raises TypeError: no such field
    """
    values = {field: getattr(record, field) for field in record._fields}
    values.update(changes)
    return type(record)(**values)
