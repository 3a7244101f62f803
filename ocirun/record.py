"""Frozen records: what dataclass(frozen=True) gives, at a twentieth of its import cost.

Annotations become fields, assigned values their defaults. An instance holds the values that it was given; a default
is an attribute of the class, and found there. Modules that define records begin with
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


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _RecordMeta(type):
    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        fields: dict[str, Any] = {}
        for base in bases:
            fields.update(getattr(base, "_fields", ()))
        for field in namespace.get("__annotations__", ()):
            fields[field] = namespace.get(field, mcls)  # the metaclass itself stands for "required"
        namespace["_fields"] = fields
        return type.__new__(mcls, name, bases, namespace)


class Record(metaclass=_RecordMeta):
    """Base of all records. Keyword arguments only; equality, repr and replace() by field."""

    if TYPE_CHECKING:
        _fields: ClassVar[dict[str, Any]]

    def __init__(self, **values: Any) -> None:
        fields = self._fields
        if not fields.keys() >= values.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(values.keys() - fields.keys()))}")
        if len(values) < len(fields):
            for field, default in fields.items():
                if default is _RecordMeta and field not in values:
                    raise TypeError(f"{type(self).__name__} needs {field}")
        self.__dict__.update(values)

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
    return type(record)(**{**record.__dict__, **changes})
