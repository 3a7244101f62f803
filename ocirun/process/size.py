"""Sizes as people write them."""

from __future__ import annotations

from ..errors import UsageError

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def in_bytes(size: int | str, what: str) -> int:
    """``65536``, ``"64K"``, ``"256M"``, ``"1.5G"``: powers of 1024, as in docker run --memory; "B", "iB" may follow.

    :param what: that it is of, for messages
    :raises UsageError: it is none, or not above 0
    """
    if isinstance(size, str):
        text = size.strip().lower().removesuffix("b").removesuffix("i")
        number, unit = (text[:-1], text[-1]) if text[-1:] in ("k", "m", "g", "t") else (text, "")
        try:
            found = int(float(number) * (1 << _UNITS[unit]))
        except (ValueError, OverflowError):
            found = 0
    else:
        found = size
    if found <= 0:
        raise UsageError(f'{what}: expected a size in bytes such as 65536 or "64K", found {size!r}')
    return found
