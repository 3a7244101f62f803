"""The parser: runc's syntax (urfave/cli v3), and what it makes of the table."""

from __future__ import annotations

import pytest

from ocirun.cli.call import Call
from ocirun.cli.parse import UnknownCommand, WrongCount, parse
from ocirun.cli.table import COMMANDS, GLOBAL
from ocirun.errors import UsageError


def parsed(line: str) -> Call:
    call = Call("ocirun")
    parse(line.split(), call)
    return call


ALL = [(name, flag) for name, command in COMMANDS.items() for flag in command.flags]


@pytest.mark.parametrize("name, flag", ALL, ids=[f"{name}-{flag.name}" for name, flag in ALL])
def test_every_flag_in_every_form(name: str, flag) -> None:
    arguments = " ".join(["x"] * COMMANDS[name].minimum)
    given = {"bool": "true", "int": "7", "string": "word", "list": "word", "duration": "1m2.5s"}[flag.kind]
    wanted = {"bool": True, "int": 7, "string": "word", "list": ["word"], "duration": 62.5}[flag.kind]
    value = "" if flag.kind == "bool" else f" {given}"
    names = [flag.name, *([flag.short] if flag.short else [])]
    for word in names:
        for dashes in ("-", "--"):
            for form in (f"{dashes}{word}{value}", f"{dashes}{word}={given}"):
                call = parsed(f"{name} {form} {arguments}")
                assert call.flags[flag.name] == wanted, form
                assert flag.name in call.given
    assert parsed(f"{name} {arguments}").flags[flag.name] == ([] if flag.kind == "list" else flag.default)


@pytest.mark.parametrize(
    "flag", [flag for flag in GLOBAL if flag.name not in ("help", "version")], ids=lambda f: f.name
)
def test_every_global_flag_before_and_after_the_command(flag) -> None:
    value = "=true" if flag.kind == "bool" else " /x"
    wanted = True if flag.kind == "bool" else "/x"
    assert parsed(f"--{flag.name}{value} state x").options[flag.name] == wanted
    if flag.name != "rootless":
        assert parsed(f"state --{flag.name}{value} x").options[flag.name] == wanted


def test_names_are_unique() -> None:
    for name, command in COMMANDS.items():
        names = [word for flag in command.flags for word in (flag.name, flag.short) if word]
        assert len(names) == len(set(names)), name


def test_flags_and_arguments_mix_where_no_other_program_is_meant() -> None:
    call = parsed("delete id --force")
    assert (call.arguments, call.flags["force"]) == (["id"], True)
    call = parsed("run id -b /bundle --keep")
    assert (call.arguments, call.flags["bundle"], call.flags["keep"]) == (["id"], "/bundle", True)


@pytest.mark.parametrize(
    "line, arguments",
    [
        ("exec -d id ls -la --env", ["id", "ls", "-la", "--env"]),
        ("exec id -- ls", ["id", "--", "ls"]),
        ("exec -- id ls -t", ["id", "ls", "-t"]),
        ("kill id -9", ["id", "-9"]),
        ("kill --all id 9", ["id", "9"]),
        ("ps id -o pid", ["id", "-o", "pid"]),
        ("delete -- -id", ["-id"]),
        ("state -", ["-"]),
    ],
)
def test_where_flags_end(line: str, arguments: list[str]) -> None:
    assert parsed(line).arguments == arguments


def test_spec_has_a_rootless_of_its_own() -> None:
    call = parsed("--rootless true spec --rootless")
    assert (call.options["rootless"], call.flags["rootless"]) == ("true", True)


def test_a_list_keeps_order_and_commas() -> None:
    assert parsed("exec -e A=1,2 --env B=3 id x").flags["env"] == ["A=1,2", "B=3"]


def test_no_single_dash_bundling() -> None:
    """-no-subreaper is one flag, as go-runc sends it, and not seven."""
    assert parsed("run -no-subreaper id").flags["no-subreaper"] is True
    with pytest.raises(UsageError, match="flag provided but not defined: -dt"):
        parsed("exec -dt id x")


@pytest.mark.parametrize(
    "line, text",
    [
        ("--bogus state x", "flag provided but not defined: -bogus"),
        ("state --bogus x", "flag provided but not defined: -bogus"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("run --keep=maybe x", 'invalid boolean value "maybe" for -keep: parse error'),
        ("run --preserve-fds many x", 'invalid value "many" for flag -preserve-fds: parse error'),
        ("run --preserve-fds 9223372036854775808 x", "parse error"),
    ],
)
def test_wrong_flags(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(line)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_numbers_of_arguments(name: str) -> None:
    command = COMMANDS[name]
    least, most = command.minimum, command.maximum
    if least:
        with pytest.raises(WrongCount):
            parsed(" ".join([name, *["x"] * (least - 1)]))
    if most is not None:
        with pytest.raises(WrongCount):
            parsed(" ".join([name, *["x"] * (most + 1)]))
        assert len(parsed(" ".join([name, *["x"] * most])).arguments) == most
    assert parsed(f"{name} --help").flags["help"]


def test_texts_of_wrong_counts() -> None:
    with pytest.raises(WrongCount, match=r'^ocirun: "state" requires exactly 1 argument\(s\)$'):
        parsed("state")
    with pytest.raises(WrongCount, match=r'^ocirun: "exec" requires a minimum of 1 argument\(s\)$'):
        parsed("exec")
    with pytest.raises(WrongCount, match=r'^ocirun: "kill" requires a maximum of 2 argument\(s\)$'):
        parsed("kill a 1 2")


def test_unknown_commands() -> None:
    for line in ("checkpoint --help", "frobnicate", "init"):
        with pytest.raises(UnknownCommand):
            parsed(line)


def test_no_command() -> None:
    assert parsed("").command == ""
    assert parsed("--debug").options["debug"] is True
    assert parsed("help create").arguments == ["create"]
