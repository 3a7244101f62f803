"""JSON pointers (RFC 6901)."""

from __future__ import annotations


def child(pointer: str, key: str) -> str:
    """The pointer of a member of what ``pointer`` is of."""
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def tokens(pointer: str) -> list[str]:
    """The keys and indices on the way there."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
