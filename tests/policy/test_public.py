"""The public surface of the library, as a text that a change has to change: OCIRUN_UPDATE_PUBLIC=1 writes it."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import ocirun
from ocirun import aio

PINNED = Path(__file__).with_name("public.txt")


def members(kind: type[Any]) -> dict[str, Any]:
    """The public attributes of a class, its bases' included."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("ocirun"):
            found |= {name: value for name, value in vars(base).items() if not name.startswith("_")}
    return {name: value for name, value in found.items() if name not in ("args", "sync") or kind.__name__ == "Result"}


def described(name: str, value: Any) -> list[str]:
    if isinstance(value, type):
        fields = getattr(value, "_fields", None)
        made = fields is None and value.__init__ is not Exception.__init__
        lines = [f"{name}{inspect.signature(value) if made else ''}"]
        lines += [f"{name}.{field}" for field in fields or ()]
        for one, member in sorted(members(value).items()):
            if one not in (fields or ()):
                lines.append(f"{name}.{one}{_signature(member)}")
        return lines
    return [f"{name}{_signature(value)}"]


def _signature(value: Any) -> str:
    value = getattr(value, "__func__", value)
    if callable(value):
        text = str(inspect.signature(value))
        return ("  async " if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value) else "") + text
    return "" if isinstance(value, property) or inspect.ismemberdescriptor(value) else f" = {value!r}"


def surface() -> str:
    lines = [line for name in ocirun.__all__ for line in described(name, getattr(ocirun, name))]
    lines += [line for name in sorted(aio.__all__) for line in described(f"aio.{name}", getattr(aio, name))]
    return "\n".join(lines) + "\n"


def test_the_surface() -> None:
    if os.environ.get("OCIRUN_UPDATE_PUBLIC"):
        PINNED.write_text(surface())
    assert surface() == PINNED.read_text()


def test_every_name_says_what_it_is() -> None:
    """And every parameter that has no type that says all is in the docstring of its function."""
    silent = []
    for name in ocirun.__all__:
        value = getattr(ocirun, name)
        if not callable(value):
            continue
        if not inspect.getdoc(value):
            silent.append(name)
        if isinstance(value, type):
            for one, member in members(value).items():
                member = getattr(member, "__func__", member)
                if (callable(member) or isinstance(member, property)) and not inspect.getdoc(member):
                    silent.append(f"{name}.{one}")
    assert silent == []
