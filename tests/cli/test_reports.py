"""What the command line prints: errors, help, the version, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import harness
import pytest

from ocirun.cli.table import COMMANDS, GLOBAL
from ocirun.cli.version import RUNC_VERSION, SPEC_VERSION, VERSION

pytestmark = pytest.mark.ocirun
RUNC = shutil.which("runc")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
Done = subprocess.CompletedProcess[str]


def call(*words: str, program: str = harness.PROGRAM, **options) -> Done:
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=30, **options)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def test_text_on_standard_error(root: str) -> None:
    done = call("--root", root, "state", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf'time="{TIME}" level=error msg="container does not exist: none"\n', done.stderr)


def test_json_on_standard_error(root: str) -> None:
    done = call("--root", root, "--log-format", "json", "state", "none")
    assert re.fullmatch(rf'{{"level":"error","msg":"container does not exist: none","time":"{TIME}"}}\n', done.stderr)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_file_is_appended_to_and_the_bare_error_is_on_standard_error(
    root: str, tmp_path: Path, form: str
) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    done = call("--root", root, "--log", str(log), "--log-format", form, "state", "none")
    assert done.stderr == "container does not exist: none\n"
    before, line = log.read_text().splitlines()
    assert before == "before"
    assert "container does not exist" in line
    assert (line[0] == "{") is (form == "json")


@pytest.mark.skipif(RUNC is None, reason="runc is what it is compared with")
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb\tc", "<&>", "\x01\x7f", "grüße", "a b"])
def test_quoting_as_runc(root: str, form: str, name: str) -> None:
    """An unknown signal is repeated in the error."""
    bundle = Path(root).parent / name.replace("/", "")
    words = ["--root", root, "--log-format", form, "create", "--bundle", str(bundle), "x"]
    ours, theirs = call(*words), call(*words, program=str(RUNC))

    def bare(done: Done) -> str:
        text = re.sub(TIME, "T", done.stderr).replace("runc create", "ocirun create")
        return text.replace("ocirun create failed: ", "")

    assert bare(ours) == bare(theirs)
    assert ours.returncode == theirs.returncode == 1


def test_no_log_is_written_by_what_succeeds(root: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = call("--root", root, "--log", str(log), "delete", "--force", "none")
    assert (done.returncode, done.stderr, log.read_text()) == (0, "", "")


@pytest.mark.parametrize(
    "words, code, text",
    [
        (["state", "none"], 1, "container does not exist: none"),
        (["start", "none"], 1, "container does not exist: none"),
        (["kill", "none"], 1, "container does not exist: none"),
        (["kill", "none", "NOSUCH"], 1, "container does not exist: none"),
        (["delete", "none"], 1, "container does not exist: none"),
        (["ps", "none"], 1, "container does not exist: none"),
        (["exec", "none", "true"], 255, "exec failed: container does not exist"),
        (["exec"], 1, "requires a minimum of 1 argument(s)"),
        (["state", ".."], 1, "invalid container ID format"),
        (["state", ""], 1, "container id cannot be empty"),
        (["list", "--format", "xml"], 1, "invalid format option"),
        (["create", "--bundle", "/nowhere", "x"], 1, "ocirun create failed: chdir /nowhere: no such file or directory"),
        (["run", "--bundle", "/proc", "x"], 1, "ocirun run failed: JSON specification file config.json not found"),
        (["--log-format", "xml", "state", "x"], 1, "invalid log-format: xml"),
        (["--log", "/nowhere/log", "state", "x"], 1, "open /nowhere/log: no such file or directory"),
        (["frobnicate"], 3, "No help topic for 'frobnicate'"),
        (["checkpoint", "--help"], 3, "No help topic for 'checkpoint'"),
        (["help", "frobnicate"], 3, "No help topic for 'frobnicate'\""),
        (["crate"], 3, "No help topic for 'crate'; did you mean create?"),
        (["help", "creat"], 3, "No help topic for 'creat'; did you mean create?"),
        (["create", "--bundel", "x"], 1, "flag provided but not defined: -bundel; did you mean --bundle?"),
        (["--sytemd-cgroup", "create"], 1, "-sytemd-cgroup; did you mean --systemd-cgroup?"),
    ],
)
def test_errors(root: str, words: list[str], code: int, text: str) -> None:
    done = call("--root", root, "--log-format", "json", *words)
    assert done.returncode == code
    assert text in done.stderr


@pytest.mark.parametrize("root", ["/", "", "/tmp/..", "//"])
def test_the_root_directory_is_no_root(root: str) -> None:
    done = call("--root", root, "list")
    assert done.returncode == 1
    assert "Option --root argument should not be set to /" in done.stderr


def test_a_relative_root(tmp_path: Path) -> None:
    done = call("--root", "some/../where", "list", cwd=tmp_path)
    assert done.returncode == 0


def test_wrong_usage(root: str) -> None:
    done = call("--root", root, "state", "--bogus", "x")
    assert done.returncode == 1
    assert done.stdout.startswith("Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:\n   ocirun state - ")
    assert done.stderr.endswith('msg="flag provided but not defined: -bogus"\n')
    done = call("--root", root, "state")
    assert done.stdout.startswith("Incorrect Usage.\n\nNAME:\n   ocirun state - ")
    assert done.stderr.endswith(f'msg="{harness.PROGRAM}: \\"state\\" requires exactly 1 argument(s)"\n')
    assert call("--bogus", "state").stdout.startswith("Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command(name: str) -> None:
    done = call(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == call("help", name).stdout == call(name, "-h").stdout
    for flag in COMMANDS[name].flags:
        assert (f"--{flag.name}" in done.stdout) is bool(flag.help), flag.name


def test_help() -> None:
    done = call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == call().stdout == call("help").stdout
    assert all(f"   {name} " in done.stdout for name in COMMANDS)
    assert all(f"--{flag.name}" in done.stdout for flag in GLOBAL)


def test_version() -> None:
    done = call("--version")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"runc version {RUNC_VERSION}", f"commit: {VERSION}", f"spec: {SPEC_VERSION}"]
    assert re.fullmatch(r"libseccomp: \d+\.\d+\.\d+", lines[3])
    assert call("-v").stdout == done.stdout
    assert sum("version" in line for line in lines) == 1  # dockerd takes the last line with that word


def test_as_a_module(tmp_path: Path) -> None:
    """`python -m ocirun` is the same program, of the same name."""
    for line in ("--help", "create --help", "--version", "create x", "what"):
        words = line.split()
        run = call("-m", "ocirun", *words, program=sys.executable, cwd=tmp_path)
        installed = call(*words, cwd=tmp_path)
        untimed = [re.sub(TIME, "", done.stderr) for done in (run, installed)]
        assert (run.returncode, run.stdout, untimed[0]) == (installed.returncode, installed.stdout, untimed[1])


def test_nobody_reads(root: str) -> None:
    """A broken pipe is no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([harness.PROGRAM, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


BROKEN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import ocirun.lifecycle.state
def broken(*_):
    raise {error}
ocirun.lifecycle.state.state = broken
from ocirun.cli import main
sys.argv[0] = "ocirun"
main()
"""


def broken(error: str, *words: str) -> Done:
    code = BROKEN.format(error=error)
    return call("-c", code, str(harness.PACKAGES), *words, program=sys.executable)


def test_a_bug_is_one_line() -> None:
    done = broken("TypeError('surprise')", "state", "x")
    assert done.returncode == 1
    assert re.search(r'level=error msg="internal error: TypeError: surprise \(.*:\d+\)"\n$', done.stderr)
    assert "Traceback" not in done.stderr


def test_a_bug_with_debug_has_a_traceback_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = broken("TypeError('surprise')", "--debug", "--log", str(log), "--log-format", "json", "state", "x")
    assert done.stderr.startswith("internal error: TypeError: surprise")
    _, debug, error = map(json.loads, log.read_text().splitlines())
    assert debug["level"] == "debug" and "Traceback" in debug["msg"]
    assert error["level"] == "error"


def test_an_interrupt_is_silent() -> None:
    done = broken("KeyboardInterrupt", "state", "x")
    assert (done.returncode, done.stderr) == (130, "")


def test_xdg_runtime_dir(tmp_path: Path) -> None:
    """An ordinary user's containers are below $XDG_RUNTIME_DIR, as runc has it."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]}
    done = call("list", user=65534, group=65534, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ocirun").stat().st_mode & 0o7777 == 0o1700
    assert call("list", env=environment).returncode == 0  # root: /run/ocirun


LOG = "--log {} --log-format json"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{LOG} frobnicate", "No help topic for 'frobnicate'"),
        (f"{LOG} help frobnicate", "No help topic for 'frobnicate'"),
        ("-log={} -log-format=json create --bogus", "flag provided but not defined: -bogus"),
        (f"--bogus {LOG} state", "flag provided but not defined: -bogus"),
        (f"state --bogus x {LOG}", "flag provided but not defined: -bogus"),
        (f"state {LOG}", "requires exactly 1 argument(s)"),
    ],
)
def test_wrong_usage_is_in_the_log(tmp_path: Path, words: str, said: str) -> None:
    """Engines show the last error of the log: without this one that is somebody else's."""
    log = tmp_path / "log"
    assert call(*words.format(log).split()).returncode in (1, 3)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert said in entry["msg"]


def on_terminal(*words: str) -> str:
    """What is on standard error, a terminal."""
    master, slave = pty.openpty()
    subprocess.run([harness.PROGRAM, *words], stderr=slave, stdout=subprocess.DEVNULL, timeout=30)
    os.close(slave)
    text = os.read(master, 65536).decode().replace("\r\n", "\n")
    os.close(master)
    return text


def test_one_readable_message_on_a_terminal(root: str) -> None:
    assert on_terminal("--root", root, "state", "none") == "container does not exist: none\n"
    assert on_terminal("--root", root, "state") == f'{harness.PROGRAM}: "state" requires exactly 1 argument(s)\n'
    assert 'level=error msg="container does not exist: none"' in call("--root", root, "state", "none").stderr
    assert on_terminal("\33[2Jnonesuch") == "No help topic for '\\x1b[2Jnonesuch'\n"
    log = on_terminal("--root", root, "--log-format", "json", "state", "none")
    assert json.loads(log)["msg"] == "container does not exist: none", "asked for"


def test_several_errors_on_a_terminal(root: str, tmp_path: Path) -> None:
    """One line for each of them, and no second copy."""
    (tmp_path / "config.json").write_text("{}")
    first, *rest = on_terminal("--root", root, "create", "--bundle", str(tmp_path), "id").split("\n")
    assert first == "ocirun create failed: config.json: 2 errors"
    assert rest == [*(f"  /{key}: required property is missing" for key in ("ociVersion", "root")), ""]
