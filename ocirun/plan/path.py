"""Paths by their letters alone."""

from __future__ import annotations


def clean(path: str) -> str:
    """An absolute path without "", "." and "..", which lead nowhere above the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
