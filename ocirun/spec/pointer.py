"""JSON pointers (RFC 6901)."""

from __future__ import annotations


def child(pointer: str, key: str) -> str:
    """The pointer of a member of what ``pointer`` is of."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
