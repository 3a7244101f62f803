"""What list, state and ps print, letter by letter as runc does for the same container."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop

from ocirun.cli.kill import signal_number
from ocirun.cli.list import table
from ocirun.errors import UsageError

RUNC = shutil.which("runc")
pytestmark = [pytest.mark.ocirun, pytest.mark.skipif(RUNC is None, reason="runc is what it is compared with")]

VARIABLE = [
    (r'"ociVersion": ?"[^"]*"', '"ociVersion"'),  # each prints its own
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "TIME"),
    (r"\s\d\d:\d\d(:\d\d)?\b", " TIME"),
]


@pytest.fixture(autouse=True)
def _nothing_left(leftovers: harness.Leftovers) -> None:
    pass


@pytest.fixture
def runc(leftovers: harness.Leftovers, scratch: Path) -> Iterator[Runtime]:
    """runc, which gets the same bundle when ours is done with it."""
    (scratch / "runc").mkdir()
    other = Runtime(str(RUNC), scratch / "runc")
    yield other
    other.clean()


COMMANDS = (
    ("state", "ID"),
    ("list",),
    ("list", "--format", "json"),
    ("list", "--quiet"),
    ("ps", "--format", "json", "ID"),
    ("ps", "ID", "-o", "pid,args"),
)


def shown(runtime: Runtime, made: Bundle) -> dict[tuple[str, ...], str]:
    """What each command prints for a running and then for the stopped container, without what must differ."""
    pid = runtime.started(made)
    texts = {}
    for status in ("running", "stopped"):
        for words in COMMANDS:
            done = runtime(*(made.id if word == "ID" else word for word in words)).ok()
            text = done.out.replace(f"{pid:>7}", "    PID").replace(str(pid).ljust(12), "PID".ljust(12))
            text = re.sub(rf"\b{pid}\b", "PID", text)
            if words[0] == "ps":  # a pid may be one digit longer than the other's
                text = re.sub("(?m)^ +", "", text)
            for pattern, replacement in VARIABLE:
                text = re.sub(pattern, replacement, text)
            texts[(status, *words)] = text
        runtime.kill(made)
        if status == "running":
            harness.reap(pid)
    runtime.delete(made).ok()
    return texts


@pytest.mark.parametrize(
    "annotations",
    [None, {}, {"b": "2", "a": "1"}, {"org.example/<&>": 'q"\\\n\t\x01\u2028é', "empty": ""}],
    ids=["none", "empty", "two", "odd"],
)
def test_as_runc(runtime: Runtime, runc: Runtime, bundle: Workshop, annotations: dict[str, str] | None) -> None:
    made = bundle("pause")
    if annotations is not None:
        made.config["annotations"] = annotations
    ours, theirs = shown(runtime, made), shown(runc, made)
    for words in ours:
        text = theirs[words]
        if "TIME" in text and words[1:] == ("list",):  # the last digits of the time move the last column
            text, ours[words] = re.sub(" +", " ", text), re.sub(" +", " ", ours[words])
        assert ours[words] == text, words


def test_nothing_to_list(runtime: Runtime, runc: Runtime) -> None:
    for words in (("list",), ("list", "--format", "json"), ("list", "-q")):
        assert runtime(*words).ok().out == runc(*words).ok().out


def test_columns() -> None:
    assert table([("A", "B", "LAST"), ("a" * 10, "", "x")]) == (
        "A            B           LAST\naaaaaaaaaa               x\n"
    )


@pytest.mark.parametrize(
    "name, number",
    [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigkill", 9), ("kill", 9), ("0", 0), ("TERM", 15), ("WINCH", 28)],
)
def test_names_of_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["", "SIG", "KILLED", "_DFL", "SIG_IGN", "9x", "0x9"])
def test_no_names_of_signals(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        signal_number(name)
    assert str(caught.value) == f'unknown signal "{name}"'


def test_errors_of_kill_as_runc(runtime: Runtime, runc: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    errors = []
    for one in (runtime, runc):
        pid = one.started(made)
        errors.append([one("kill", made.id, signal).failed().error for signal in ("NOSUCH", "999", "-3")])
        one.end(made, pid)
    assert errors[0] == errors[1]


def test_errors_of_ps(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    runtime("ps", made.id, "-o", "user").failed("couldn't find PID field in ps output")
    runtime("ps", made.id, "--nonsense").failed("exit status 1: ")
    runtime.end(made, pid)
