"""Durations on the command line."""

from __future__ import annotations

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """Seconds of a duration as Go writes it: "5s", "1m30s", "1.5h".

    :raises ValueError: it is none
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total = 0.0
    while rest:
        end = 0
        while end < len(rest) and rest[end] in "0123456789.":
            end += 1
        unit = end
        while unit < len(rest) and rest[unit] not in "0123456789.":
            unit += 1
        number, word, rest = rest[:end], rest[end:unit], rest[unit:]
        if number.count(".") > 1 or not number.strip(".") or word not in _UNITS:
            total = -1.0
            break
        total += float(number) * _UNITS[word]
    if total < 0 or not text.strip("+-"):
        raise ValueError(text)
    return -total if text[:1] == "-" else total
