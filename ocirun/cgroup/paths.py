"""Where cgroups may be."""

from __future__ import annotations

import posix

from ..plan.path import clean


def below(path: str) -> str:
    """A cgroupsPath without "." and "..", which lead nowhere above, and without outer slashes."""
    return clean(path)[1:]


def may_make(path: str) -> bool:
    """Whether the caller may make that directory and join it. What exists must be writable itself."""
    if posix.access(path, posix.F_OK):
        return posix.access(f"{path}/cgroup.procs", posix.W_OK, effective_ids=True)
    while path and not posix.access(path, posix.F_OK):
        path = path.rpartition("/")[0]
    return posix.access(path or "/", posix.W_OK, effective_ids=True)
