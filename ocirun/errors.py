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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")
    Y = TypeVar("Y")


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
    """Base of all errors; str() is the text for the user. It repeats names and words of others, of the image too, as
    they are: who prints it escapes them. All can be pickled.

    Four attributes are there for every error, and empty where they have nothing to say: ``pointer``, the JSON pointer
    of the property that asked for it; ``operation``, what was tried, in words; ``errno``, the kernel's error number;
    ``hint``, what is behind it or what to do about it.
    """

    pointer: str = ""
    operation: str = ""
    errno: int = 0
    hint: str = ""

    def lines(self) -> list[str]:
        """str(), where it has several lines of our own. (A line end in one of these is somebody else's.)"""
        return [str(self)]


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

    def lines(self) -> list[str]:
        if len(self.problems) == 1:
            return [f"{self.path}: {self.problems[0]}"]
        return [f"{self.path}: {len(self.problems)} errors", *(f"  {problem}" for problem in self.problems)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class ContainerNotFound(Error):
    """No container of that id below the root directory. Engines match "container does not exist"."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"container does not exist: {self.id}"


class ContainerExists(Error):
    """The id is taken, or is being taken by another runtime at this moment."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return "container with given ID already exists"


class StateError(Error):
    """The container is in the wrong state for what was asked."""


class HookError(Error):
    """A hook failed, could not be run, or ran out of time.

    ``pointer`` is its JSON pointer. The first words are runc's, which its users and engines know.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(pointer, reason)
        self.pointer = pointer
        self.reason = reason

    def __str__(self) -> str:
        _, _, kind, number = self.pointer.split("/")
        return f"error running {kind} hook #{number}: {self.pointer}: {self.reason}"


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


def worded(function: Callable[P, R]) -> Callable[P, R]:
    """Have it raise HostError where a system call that belongs to no plan fails and nobody has better words: no
    descriptor or memory is left, mostly."""

    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except _WORDLESS as error:
            raise _in_words(error) from error

    return inner


def worded_work(function: Callable[P, Generator[Y, None, R]]) -> Callable[P, Generator[Y, None, R]]:
    """worded() for a generator."""

    def inner(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, None, R]:
        try:
            return (yield from function(*args, **kwargs))
        except _WORDLESS as error:
            raise _in_words(error) from error

    return inner


_WORDLESS = (OSError, MemoryError, ImportError)


def _in_words(error: Exception) -> HostError:
    if isinstance(error, OSError):
        what = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return HostError(f"{what}{reason_of(error.errno or 0)}")
    if isinstance(error, MemoryError):
        return HostError("out of memory")
    return HostError(f"load a part of the runtime: {error}")  # of an extension, which is a file like others
