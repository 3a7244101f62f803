"""Everything that ocirun raises on purpose.

    Error
     ├── UsageError          the command line or an argument of the API is wrong
     ├── ConfigError         config.json (or another input file) is invalid; carries every problem found
     ├── ContainerNotFound   no container of that id
     ├── ContainerExists     the id is taken
     ├── StateError          the container is in the wrong state for this command
     ├── OperationError      one operation of a plan failed; names it, its JSON pointer and the kernel's reason
     ├── HookError           a hook failed or ran out of time
     ├── RunError            a program that was run with check failed; carries the result (process/result.py)
     └── HostError           the host lacks something, or a system call outside of any plan failed

Messages are lower case, without a full stop: *verb object: reason*. The library raises; the command line reports once.
"""

from __future__ import annotations

import posix

from .record import Record


class Problem(Record):
    """One thing wrong in an input file."""

    pointer: str  # RFC 6901 JSON pointer, "" for the whole document
    expected: str  # what would have been right
    found: str = ""  # what is there, shortened

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        found = f", found {self.found}" if self.found else ""
        return f"{where}{self.expected}{found}"


class Error(Exception):
    """Base of all errors; str() is the text for the user, on one line but for ConfigError. All can be pickled.

    Four attributes are there for every error, and empty where they have nothing to say: ``pointer``, the JSON pointer
    of the property that asked for it; ``operation``, what was tried, in words; ``errno``, the kernel's error number;
    ``hint``, what is behind it or what to do about it.
    """

    pointer: str = ""
    operation: str = ""
    errno: int = 0
    hint: str = ""


class UsageError(Error):
    """The command line or an argument of the API is wrong."""


class ConfigError(Error):
    """An input file is invalid.

    ``path`` is the file; ``problems`` has every error found, in document order.
    """

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = problems
        self.pointer = problems[0].pointer if problems else ""

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.path}: {self.problems[0]}"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        return f"{self.path}: {len(self.problems)} errors\n{lines}"


class ContainerNotFound(Error):
    """No container of that id below the root directory. Engines match "does not exist"."""

    def __init__(self, id: str) -> None:
        super().__init__("container does not exist")
        self.id = id


class ContainerExists(Error):
    """The id is taken, or is being taken by another runtime at this moment."""

    def __init__(self, id: str) -> None:
        super().__init__("container with given ID already exists")
        self.id = id


class StateError(Error):
    """The container is in the wrong state for what was asked."""


class HookError(Error):
    """A hook failed, could not be run, or ran out of time."""


class HostError(Error):
    """The host lacks something, or a system call that belongs to no plan failed."""

    def __init__(self, text: str = "", hint: str = "") -> None:
        super().__init__(*((text, hint) if hint else (text,)))
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.hint})" if self.hint else str(self.args[0])


class OperationError(Error):
    """One operation failed.

    ``what`` is the operation in words (``operation`` too), ``pointer`` the JSON pointer of the property it comes from
    ("" for none), ``errno`` the kernel's error number (0 when it is not the kernel's), ``reason`` the text, ``hint``
    what is behind it.
    """

    def __init__(self, what: str, pointer: str, errno: int, reason: str = "", hint: str = "") -> None:
        super().__init__(what, pointer, errno, reason, hint)
        self.what = self.operation = what
        self.pointer = pointer
        self.errno = errno
        self.reason = reason or reason_of(errno)
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.what}: {self.reason}{hint}"


def reported_reason(text: str, errno: int) -> str:
    """Why the init says that an operation failed: its own words, if any, then the kernel's."""
    return ": ".join(filter(None, (text, reason_of(errno) if errno else "")))


def reason_of(errno: int) -> str:
    """The kernel's reason in words, lower case as Go and so runc print it."""
    text = posix.strerror(errno)
    return text[:1].lower() + text[1:]
