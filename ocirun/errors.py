"""Everything that ocirun raises on purpose.

    Error
     ├── UsageError          the command line or an argument of the API is wrong
     ├── ConfigError         config.json (or another input file) is invalid; carries every problem found
     ├── ContainerNotFound   no container of that id
     ├── ContainerExists     the id is taken
     ├── StateError          the container is in the wrong state for this command
     ├── OperationError      one operation of a plan failed; names it, its JSON pointer and the kernel's reason
     ├── HookError           a hook failed or ran out of time
     └── HostError           the host lacks something, or a system call outside of any plan failed

Messages are lower case, without a full stop: *verb object: reason*. The library raises; the command line reports once.
"""

from __future__ import annotations

import posix

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")


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
    they are: who prints it escapes them."""

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

    def lines(self) -> list[str]:
        if len(self.problems) == 1:
            return [f"{self.path}: {self.problems[0]}"]
        return [f"{self.path}: {len(self.problems)} errors", *(f"  {problem}" for problem in self.problems)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class ContainerNotFound(Error):
    """No container of that id below the root directory. Engines match "container does not exist"."""

    def __init__(self, id: str) -> None:
        super().__init__(f"container does not exist: {id}")
        self.id = id


class ContainerExists(Error):
    """The id is taken, or is being taken by another runtime at this moment."""

    def __init__(self, id: str) -> None:
        super().__init__("container with given ID already exists")
        self.id = id


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


class OperationError(Error):
    """One operation failed.

    ``what`` is the operation in words, ``pointer`` the JSON pointer of the property it comes from ("" for none),
    ``errno`` the kernel's error number (0 when it is not the kernel's), ``reason`` the text.
    """

    def __init__(self, what: str, pointer: str, errno: int, reason: str = "") -> None:
        super().__init__(what, pointer, errno, reason)
        self.what = what
        self.pointer = pointer
        self.errno = errno
        self.reason = reason or reason_of(errno)

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        return f"{where}{self.what}: {self.reason}"


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
        except OSError as error:
            what = f"{error.filename}: " if isinstance(error.filename, str) else ""
            raise HostError(f"{what}{reason_of(error.errno or 0)}") from error
        except MemoryError as error:
            raise HostError("out of memory") from error
        except ImportError as error:  # of an extension, which is a file like others
            raise HostError(f"load a part of the runtime: {error}") from error

    return inner
