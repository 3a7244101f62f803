"""A configuration in the hands of a program: Spec, config.json as a value.

What it holds is the JSON tree itself, so that nothing is lost between reading and writing, unknown properties and
those of other platforms included. The typed records of model.py are a view of it.
"""

from __future__ import annotations

from ..errors import ConfigError, Problem, UsageError
from ..record import Record
from . import model
from .json import parse
from .pointer import tokens
from .read import in_order, read_bytes, read_tree
from .readers import pointer_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .readers import Place

VERSION = "1.3.0"  # of the runtime-spec

_NAME = "config.json"
_ABSENT = object()


class Validation(Record):
    """What is wrong with a configuration, and what is hardly meant. True if nothing is wrong."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems


class Spec:
    """A container's configuration (runtime-spec config.md and config-linux.md). Never changed: what changes something
    returns another.

        spec = Spec.default(["/bin/sh"], rootfs="/srv/alpine")
        spec = spec.replace(hostname="one", env={"A": "1"}).set("/linux/resources/pids/limit", 32)

    It may be invalid, as a file may; ``validate`` says so, and who uses it refuses it.
    """

    __slots__ = ("_checked", "_tree")

    def __init__(self, tree: Mapping[str, object]) -> None:
        """
        :param tree: config.json as json.loads() gives it; copied
        :raises ConfigError: something in it is no JSON
        """
        self._tree: dict[str, Any] = _copy(tree)
        self._checked: model.Spec | None = None

    @classmethod
    def from_dict(cls, tree: Mapping[str, object]) -> Spec:
        """The same as ``Spec(tree)``."""
        return cls(tree)

    @classmethod
    def adopted(cls, tree: dict[str, Any]) -> Spec:
        """Of a tree that is JSON, and that nobody will change: without a copy."""
        spec = cls.__new__(cls)
        spec._tree = tree
        spec._checked = None
        return spec

    @classmethod
    def from_json(cls, data: bytes | str, name: str = _NAME) -> Spec:
        """
        :param data: the text of a config.json
        :param name: for messages
        :raises ConfigError: it is no JSON, or no object
        """
        tree = parse(name, data.encode() if isinstance(data, str) else data)
        if type(tree) is not dict:
            raise ConfigError(name, (Problem(pointer="", expected="expected an object"),))
        return cls.adopted(tree)

    @classmethod
    def read(cls, path: str) -> Spec:
        """
        :param path: a config.json, or the bundle that has one. A relative root.path is made absolute
        :raises Error: there is none
        :raises ConfigError: it is no JSON
        """
        if not path.endswith(".json"):
            path = f"{path}/{_NAME}"
        spec = cls.from_json(read_bytes(path, path), path)
        where = spec.get("/root/path")
        if isinstance(where, str) and where[:1] != "/":
            from posix import getcwd

            bundle = path.rpartition("/")[0] or "."
            bundle = bundle if bundle[:1] == "/" else f"{getcwd()}/{bundle}"
            spec = spec.set("/root/path", f"{bundle}/{where}")
        return spec

    @classmethod
    def default(cls, args: Iterable[str], rootfs: str, *, ids: tuple[int, int] | None = None) -> Spec:
        """What `ocirun spec` writes, but without a terminal.

        :param args: the program and its arguments
        :param rootfs: the directory that becomes its root
        :param ids: of an ordinary user: its uid and gid, which become root's in a user namespace
        """
        from .default import default, rootless

        text = rootless(VERSION, "ocirun", False, *ids) if ids else default(VERSION, "ocirun", False)
        return cls.from_json(text).replace(args=args, rootfs=rootfs, terminal=False)

    # Looking

    def to_dict(self) -> dict[str, Any]:
        """A copy of the tree, as json.loads() would give it."""
        tree: dict[str, Any] = _copy(self._tree)
        return tree

    def to_json(self, indent: int | str | None = "\t") -> str:
        """The text of a config.json. Reading it again gives an equal Spec."""
        import json

        return json.dumps(self._tree, indent=indent, ensure_ascii=False, separators=None if indent else (",", ":"))

    def get(self, pointer: str, default: object = None) -> Any:
        """A copy of what is at a JSON pointer (RFC 6901), "/process/args/0"; the default when nothing is."""
        at: Any = self._tree
        for step in _steps(pointer):
            at = _below(at, step)
            if at is _ABSENT:
                return default
        return _copy(at)

    def validate(self) -> Validation:
        """All that is wrong with it, and what is hardly meant: as create, but for what depends on the host."""
        from .rules.check import check
        from .warnings import warnings

        problems: list[Problem] = []
        spec = read_tree(self._tree, problems)
        problems += check(spec, problems)
        if problems:
            return Validation(problems=in_order(self._tree, problems))
        return Validation(warnings=tuple(in_order(self._tree, warnings(spec))))

    @property
    def model(self) -> model.Spec:
        """The same as typed records.

        :raises ConfigError: it is invalid; ``problems`` has all of it
        """
        if self._checked is None:
            from .rules.check import check

            problems: list[Problem] = []
            spec = read_tree(self._tree, problems)
            problems += check(spec, problems)
            if problems:
                raise ConfigError(_NAME, in_order(self._tree, problems))
            self._checked = spec
        return self._checked

    # Changing

    def set(self, pointer: str, value: object) -> Spec:
        """With another value at a JSON pointer. Objects on the way are made; "-" is the end of an array.

        :raises UsageError: the pointer leads nowhere
        """
        return self._with(pointer, value)

    def remove(self, pointer: str) -> Spec:
        """Without what is at a JSON pointer; what is not there need not be.

        :raises UsageError: the pointer is none
        """
        return self if self.get(pointer, _ABSENT) is _ABSENT else self._with(pointer, _ABSENT)

    def _with(self, pointer: str, value: object) -> Spec:
        steps = _steps(pointer)
        if not steps:
            raise UsageError("expected the JSON pointer of a property, found that of the whole document")
        tree = self.to_dict()
        if value is not _ABSENT:
            value = _copy(value)
        at: Any = tree
        for step in steps[:-1]:
            below = _below(at, step)
            if below is _ABSENT and type(at) is dict:
                below = at[step] = {}
            at = below
        last = steps[-1]
        if type(at) is dict:
            if value is _ABSENT:
                del at[last]
            else:
                at[last] = value
        elif type(at) is list and value is not _ABSENT and last in ("-", str(len(at))):
            at.append(value)
        elif type(at) is list and _below(at, last) is not _ABSENT:
            if value is _ABSENT:
                del at[int(last)]
            else:
                at[int(last)] = value
        else:
            raise UsageError(f"the JSON pointer {pointer} leads nowhere in this configuration")
        return Spec.adopted(tree)

    def replace(
        self,
        *,
        args: Iterable[str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: tuple[int, int] | None = None,
        terminal: bool | None = None,
        hostname: str | None = None,
        rootfs: str | None = None,
        read_only: bool | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Spec:
        """With other values in what changes most often; None leaves it.

        :param env: the whole environment
        :param user: uid and gid
        :param rootfs: root.path
        :param read_only: root.readonly
        """
        if isinstance(args, str):
            raise UsageError(f"expected a sequence of arguments, found the string {args!r}")
        changes: dict[str, object] = {
            "/process/args": None if args is None else list(args),
            "/process/env": None if env is None else [f"{name}={value}" for name, value in env.items()],
            "/process/cwd": cwd,
            "/process/terminal": terminal,
            "/process/user/uid": user[0] if user else None,
            "/process/user/gid": user[1] if user else None,
            "/hostname": hostname,
            "/root/path": rootfs,
            "/root/readonly": read_only,
            "/annotations": annotations,
        }
        spec = self
        for pointer, value in changes.items():
            if value is not None:
                spec = spec.set(pointer, value)
        return spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and other._tree == self._tree

    def __hash__(self) -> int:
        return hash(self.to_json(None))

    def __repr__(self) -> str:
        return f"Spec({self._tree!r})"

    def __reduce__(self) -> tuple[type[Spec], tuple[dict[str, Any]]]:
        return Spec, (self._tree,)


def _copy(value: Any, place: Place = None) -> Any:
    """A deep copy of what JSON can say.

    :raises ConfigError: it is something else
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None or kind is float:
        return value
    if kind is list or kind is tuple:
        return [_copy(item, (place, index)) for index, item in enumerate(value)]
    if kind is dict or hasattr(value, "items"):
        copied = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _no_json("expected strings as keys", repr(key), place)
            copied[str(key)] = _copy(item, (place, key))
        return copied
    for base in (str, int, float):  # of classes derived from them
        if isinstance(value, base):
            return base(value)
    raise _no_json("expected what JSON can say", f"a Python {kind.__name__}", place)


def _no_json(expected: str, found: str, place: Place) -> ConfigError:
    return ConfigError(_NAME, (Problem(pointer=pointer_to(place), expected=expected, found=found),))


def _steps(pointer: str) -> list[str]:
    if pointer and pointer[0] != "/":
        raise UsageError(f"expected a JSON pointer such as /process/args, found {pointer!r}")
    return tokens(pointer)


def _below(at: Any, step: str) -> Any:
    if type(at) is dict:
        return at.get(step, _ABSENT)
    if type(at) is list and step.isdecimal() and int(step) < len(at):
        return at[int(step)]
    return _ABSENT
