"""The text of --help, made from the table."""

from __future__ import annotations

from .table import COMMANDS, GLOBAL, HELP
from .version import RUNC_VERSION, SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .table import Flag


def text(program: str, command: str) -> str:
    """The help of a command, or with "" of the program.

    :param program: as it was called
    """
    if not command:
        commands = _columns([(name, COMMANDS[name].usage) for name in sorted(COMMANDS)] + [_HELP])
        return (
            f"NAME:\n   {program} - run containers as the Open Container Initiative specifies them\n\n"
            f"USAGE:\n   {program} [global options] command [command options] [arguments...]\n\n"
            f"VERSION:\n   {RUNC_VERSION}\n   spec: {SPEC_VERSION}\n\n"
            f"COMMANDS:\n{commands}\nGLOBAL OPTIONS:\n{_options(GLOBAL)}"
        )
    entry = COMMANDS[command]
    return (
        f"NAME:\n   {program} {command} - {entry.usage}\n\n"
        f"USAGE:\n   {' '.join(filter(None, (program, command, '[command options]', entry.arguments)))}\n\n"
        f"OPTIONS:\n{_options((*entry.flags, HELP))}"
    )


_HELP = ("help, h", "show this list, or help for one command")


def _options(flags: Sequence[Flag]) -> str:
    return _columns([(_names(flag), _described(flag)) for flag in flags if flag.help])


def _names(flag: Flag) -> str:
    value = "" if flag.kind == "bool" else " value"
    return f"--{flag.name}{value}" + (f", -{flag.short}{value}" if flag.short else "")


def _described(flag: Flag) -> str:
    if flag.default in ("", None, False):
        return flag.help
    default = f'"{flag.default}"' if isinstance(flag.default, str) else flag.default
    if flag.kind == "duration":
        default = f"{flag.default:g}s"
    return f"{flag.help} (default: {default})"


def _columns(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows) + 2
    return "".join(f"   {left:{width}}{right}\n" for left, right in rows)
