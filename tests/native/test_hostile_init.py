"""The runtime's side of the wire against an init that says what it likes (native/init/wire.h)."""

from __future__ import annotations

import ast
import ctypes
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsdriver
import harness
import hostile
import pytest
from hostile import ERROR, MAPS, MOUNTS, PID, READY, message

from ocirun.errors import HostError
from ocirun.launch import console, run

DRIVER = Path(harness.__file__).with_name("hostile.py")
SCRIPTS = int(os.environ.get("OCIRUN_TEST_SCRIPTS", "10000"))


@pytest.fixture(scope="module")
def program() -> Path:
    return fsdriver.build_program((), "hostile_init.c")
PR_GET_CHILD_SUBREAPER = 37


def played(program: Path, count: int, seed: int) -> subprocess.Popen[str]:
    # The shell is PID 1, so that orphans are not the driver's children.
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", '"$@"; exit $?', "sh"]
    command = [*alone, sys.executable, str(DRIVER), str(program), str(count), str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(harness.PACKAGES)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_random_scripts(program: Path) -> None:
    """Whatever it says, the runtime ends with a success that is one or with an error of ours, signals nobody but its
    children, and leaves nothing."""
    seed = int(os.environ.get("OCIRUN_TEST_SEED", str(time.time_ns() % 1_000_000)))
    share = SCRIPTS // 2  # there are two processors at least
    results: dict[str, int] = {}
    for running in [played(program, share, seed + number) for number in range(2)]:
        printed, _ = running.communicate(timeout=250)
        assert running.returncode == 0, f"seed {seed}: {printed}"
        for word, count in ast.literal_eval(printed).items():
            results[word] = results.get(word, 0) + count
    assert sum(results.values()) == 2 * share
    assert min(results.get(word, 0) for word in ("executed", "refused", "failed")) > share // 50, results


@pytest.fixture
def hostile_init(program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(run, "init_program", lambda: str(program))
    monkeypatch.setattr(run, "ENVIRONMENT", {})
    # Orphans of the hostile init are nobody's children here, though other tests want to have them (harness.isolate).
    was = ctypes.c_int()
    harness.libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(was))
    harness.libc.prctl(harness.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    yield
    harness.libc.prctl(harness.PR_SET_CHILD_SUBREAPER, was.value, 0, 0, 0)


def ended(outer: list[str], init: list[str], asks_for_maps: bool = False) -> str:
    """The error that it ends with, within seconds and with nobody left; "" for a success."""
    before = set(harness.children())
    begin = time.monotonic()
    launch = hostile.launched(asks_for_maps, outer, init)
    try:
        list(launch.running(lambda pid: None, lambda: None, lambda listener: None))
        list(launch.releasing(wait_for_exec=True))
        said = ""
    except HostError as error:
        said = str(error)
    finally:
        launch.abandon()
    assert time.monotonic() - begin < 5
    # Without harness.children(), which reaps what has ended.
    left = {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
    assert left <= before
    return said


@pytest.mark.usefixtures("hostile_init")
def test_an_honest_one() -> None:
    for asks_for_maps in (False, True):
        outer, init = hostile.right(asks_for_maps)
        assert ended(outer, init, asks_for_maps) == ""


@pytest.mark.usefixtures("hostile_init")
def test_the_outer_stage_dies_right_after_its_clone() -> None:
    """Nobody has said who PID 1 is, and PID 1 holds the socket: it is found, killed and reaped."""
    for init in (["y"], ["w", "w", "y"], []):
        assert "was killed by signal 9" in ended(["c", "k"], init)
    assert "exited with status 3" in ended(["c"], ["y"])


@pytest.mark.usefixtures("hostile_init")
def test_pid_1_dies_or_hangs_up() -> None:
    hold = ["c", "p"]
    assert "was killed by signal 9" in ended(hold, ["w", "s", "k"])
    assert "was killed by signal 9" in ended(hold, ["w", f"m{message(READY)}", "w", "k"])
    assert "hung up" in ended(hold, ["w", "s", "h1", "y"])
    assert "hung up" in ended(hold, ["w", "s", "m", "y"]), "an empty packet looks like an end of file"


@pytest.mark.usefixtures("hostile_init")
@pytest.mark.parametrize(
    ("outer", "init", "said"),
    [
        (["c", "v1"], ["y"], "process 1, which is no child of ours"),
        (["c", "v0"], ["y"], "process 0, which is no child"),
        (["c", "v-1"], ["y"], "process -1, which is no child"),
        (["c", "v4194304"], ["y"], "exited with status 3"),
        (["c", "g"], ["y"], "which is no child of ours"),
        ([f"m{message(MAPS)}"], [], "MAPS where PID is due"),
        ([f"m{message(READY)}"], [], "READY where PID is due"),
        ([f"m{message(77)}"], [], "a message of type 77 where PID is due"),
        (["c", "p"], ["w", f"m{message(MOUNTS)}", "y"], "MOUNTS where READY is due"),
        (["c", "p"], ["w", f"m{message(PID, 1)}", "y"], "PID where READY is due"),
        (["c", f"o{message(PID, 1)}", "y"], ["y"], "a message of process"),
        (["c", "p"], ["w", f"o{message(READY)}", "y"], "a message of process"),
        (["c", "p"], ["w", f"m{message(READY)[:30]}", "y"], "too short"),
        (["c", "p"], ["w", f"m{message(READY)}00", "y"], "too long"),
        (["c", "p"], ["w", f"m{message(ERROR, text=b'x' * 4097)}", "y"], "too long"),
        (["c", "p"], ["w", f"m{message(ERROR, errno=-1)}", "y"], "the error number -1"),
        (["c", "p"], ["w", f"m{message(ERROR, errno=4096)}", "y"], "the error number 4096"),
        (["c", "p"], ["w", f"m{message(READY)}", "w", f"m{message(READY)}", "y"], "READY where the exec is due"),
    ],
)
def test_what_is_not_believed(outer: list[str], init: list[str], said: str) -> None:
    assert re.search(said, ended(outer, init)), ended(outer, init)


@pytest.mark.usefixtures("hostile_init")
def test_words_of_others_do_not_hinder_the_exec() -> None:
    outer, init = hostile.right(False)
    for words in ([f"o{message(READY)}"], [f"o{message(ERROR, errno=1)}"], ["o"], ["h1"], ["h2"]):
        assert ended(outer, [*init[:-1], *words, "e"]) == ""


@pytest.mark.usefixtures("hostile_init")
def test_descriptors_that_come_along_are_dropped() -> None:
    outer, init = hostile.right(False)
    before = sorted(os.listdir("/proc/self/fd"))
    assert ended(outer, [init[0], init[1], f"f{message(READY)}", *init[3:]]) == ""
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_terminal_that_never_comes() -> None:
    """Who says READY without it, or sends something else, makes nobody wait."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        for send in (lambda: None, lambda: theirs.send(b"x"), lambda: socket.send_fds(theirs, [b"x"], [ours.fileno()])):
            send()
            with pytest.raises(HostError, match="sent no terminal"):
                console.receive_descriptor(ours)
        assert len(os.listdir("/proc/self/fd")) == before
