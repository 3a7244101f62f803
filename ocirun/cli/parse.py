"""The command line's syntax, that of runc 1.5 (urfave/cli v3).

``-flag`` and ``--flag`` are the same, ``--flag=value`` and ``--flag value`` too; a boolean takes a value only after
``=``. Flags and arguments mix freely, except where the arguments are another program's (see table.Command), and
``--`` ends the flags. The global flags stand before the command; after it they are taken as well.
"""

from __future__ import annotations

from ..errors import UsageError
from .table import BOOL, COMMANDS, DURATION, FLAGS_END_AT_FIRST_ARGUMENT, GLOBAL, HELP, INT, LIST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .call import Call
    from .table import Flag

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def parse(words: Sequence[str], call: Call) -> None:
    """Fill in ``call``, as far as it goes: ``command`` is known when a flag of the command is wrong.

    :raises UsageError: an unknown flag, a missing or wrong value, an unknown command, a wrong number of arguments
    """
    known = _by_name(GLOBAL)
    rest = _flags(words, 0, known, call.options, call.given, call.arguments, 1)
    if not call.arguments:
        return
    name = call.arguments.pop()
    if name not in COMMANDS and name not in ("help", "h"):
        raise UnknownCommand(name)
    call.command = name
    if name in ("help", "h"):
        call.arguments = list(words[rest:])
        return
    command = COMMANDS[name]
    own = (*command.flags, HELP)
    call.flags = {flag[0]: [] if flag[2] is LIST else flag[3] for flag in own}
    known.update(_by_name(own))
    del known["version"], known["v"]
    values = _Split(call.flags, call.options)
    stop = 1 if name in FLAGS_END_AT_FIRST_ARGUMENT else 0
    end = _flags(words, rest, known, values, call.given, call.arguments, stop)
    call.arguments.extend(words[end:])
    if not call.flags["help"]:
        _count(call, len(call.arguments), command.minimum, command.maximum)


class UnknownCommand(UsageError):
    """The first argument is no command; runc exits with 3 then."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class WrongCount(UsageError):
    """Too few or too many arguments."""


class _Split(dict):  # type: ignore[type-arg]
    """Stores a value where its flag belongs: with the command's, else with the global ones."""

    def __init__(self, own: dict[str, Any], other: dict[str, Any]) -> None:
        self.own, self.other = own, other

    def _place(self, name: str) -> dict[str, Any]:
        return self.own if name in self.own else self.other

    def __getitem__(self, name: str) -> Any:
        return self._place(name)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._place(name)[name] = value


def _by_name(flags: Sequence[Flag]) -> dict[str, Flag]:
    known = {flag[0]: flag for flag in flags}
    known.update({flag[1]: flag for flag in flags if flag[1]})
    return known


def _flags(
    words: Sequence[str],
    at: int,
    known: dict[str, Flag],
    values: dict[str, Any],
    given: set[str],
    arguments: list[str],
    stop: int,
) -> int:
    """Read flags and arguments from ``words[at:]`` until there are ``stop`` arguments (0: to the end, or ``--``).

    Returns the index of the first word that was not read.
    """
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            break
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if len(arguments) == stop:
                break
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        flag = known.get(name)
        if flag is None:
            from .nearest import offer

            longer = [one for one in known if len(one) > 1]
            raise UsageError(f"flag provided but not defined: -{name}{offer(name, longer, '--')}")
        if not equals and flag[2] is not BOOL:
            if at == len(words):
                raise UsageError(f"flag needs an argument: -{name}")
            value = words[at]
            at += 1
        _store(flag, name, value if equals or flag[2] is not BOOL else "true", values)
        given.add(flag[0])
    return at


def _store(flag: Flag, name: str, value: str, values: dict[str, Any]) -> None:
    kind = flag[2]
    if kind is BOOL:
        if value not in _TRUE and value not in _FALSE:
            raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')
        values[flag[0]] = value in _TRUE
    elif kind is INT:
        digits = value[1:] if value[:1] in ("-", "+") else value
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
        values[flag[0]] = int(value)
    elif kind is LIST:
        values[flag[0]].append(value)
    elif kind is DURATION:
        from .duration import duration

        try:
            values[flag[0]] = duration(value)
        except ValueError:
            raise UsageError(f'invalid value "{value}" for flag -{name}: parse error') from None
    else:
        values[flag[0]] = value


def _count(call: Call, found: int, minimum: int, maximum: int | None) -> None:
    if minimum == maximum and found != minimum:
        raise WrongCount(f'{call.program}: "{call.command}" requires exactly {minimum} argument(s)')
    if found < minimum:
        raise WrongCount(f'{call.program}: "{call.command}" requires a minimum of {minimum} argument(s)')
    if maximum is not None and found > maximum:
        raise WrongCount(f'{call.program}: "{call.command}" requires a maximum of {maximum} argument(s)')
