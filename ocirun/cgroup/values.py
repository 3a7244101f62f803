"""Numbers in the files of a cgroup: None where there is no such file, or no such number in it."""

from __future__ import annotations

from ..host.files import read_file


def number(path: str) -> int | None:
    """Of a file that has one number."""
    try:
        return int(read_file(path))
    except (OSError, ValueError):
        return None


def value(path: str, key: bytes) -> int | None:
    """Of a file that has lines of a key and a number."""
    try:
        lines = read_file(path).splitlines()
    except OSError:
        return None
    return next((int(line[len(key) + 1 :]) for line in lines if line.startswith(key + b" ")), None)
