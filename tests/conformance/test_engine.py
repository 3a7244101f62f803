"""How cases are run: selected, in time, judged, and with nothing left, whatever the runtime does."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ocirun_conformance
import pytest
from ocirun_conformance import cases, host, register
from ocirun_conformance.cases import refused
from ocirun_conformance.engine import Engine, Trial, select
from ocirun_conformance.model import Case, Outcome
from ocirun_conformance.probe.build import probe

RUNTIME = os.environ.get("OCIRUN", str(Path(sys.executable).with_name("ocirun")))
PACKAGE = Path(ocirun_conformance.__file__).parent
BOOK = register.load()


def judged(runtime: str, *words: str, timeout: float = 120) -> tuple[int, list[dict[str, Any]], str]:
    """The exit code, the outcomes and the complaints of the suite about a runtime, which must leave nothing behind."""
    argv = [sys.executable, "-m", "ocirun_conformance", "--runtime", f"it={runtime}", "--quiet", "--format", "json"]
    suite = subprocess.Popen([*argv, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, told = suite.communicate(timeout=timeout)
    assert leavings(suite.pid) == set()
    return suite.returncode, json.loads(out)["runtimes"][0]["outcomes"] if out else [], told


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str], str]:
    """A runtime that is a shell script: what it does before it executes the sound one with its own words."""

    def make(script: str) -> str:
        path = tmp_path / "broken"
        path.write_text(f'#!/bin/sh\n{script}\nexec {shlex.quote(RUNTIME)} "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


def leavings(pid: int) -> set[str]:
    """What a suite of that pid has left on this host: cgroups, sockets and processes of its trials."""
    found = {str(path) for point in host.cgroups().points() for path in point.glob(f"ocf{pid}x*")}
    found |= {str(path) for path in Path("/tmp").glob(f"ocf{pid}x*")}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"OCIRUN_CONFORMANCE_TRIAL=ocf{pid}x".encode() in (entry / "environ").read_bytes():
                    found.add(f"{entry.name}: {(entry / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
    return found


# What the suite is made of.


def test_it_imports_nothing_of_the_runtime_that_it_judges() -> None:
    allowed = sys.stdlib_module_names | {"hypothesis"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in allowed, f"{path}: {name}"


def test_every_case_says_what_it_is_about_and_needs_what_is_known() -> None:
    for case in cases.load():
        assert len(case.doc) > 10, case.name
        assert re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", case.name)
        for need in case.needs:
            host.lacks(need)  # KeyError for one that host.py does not know


def test_an_unknown_need_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        host.lacks("moonlight")


# Selection.


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("runtime.create.unique-id", "runtime.create.unique-id"),
        ("runtime.create", "runtime.create.unique-id"),
        ("runtime.md#create", "runtime.create.unique-id"),
        ("runtime.md", "runtime.create.unique-id"),
        ("lifecycle", "runtime.create.unique-id"),
        ("lifecycle.duplicate_id", "runtime.create.unique-id"),
        ("uniq.e-id$", "runtime.create.unique-id"),
        ("SHOULD", "config-linux.namespaces.pid"),
    ],
)
def test_selection(pattern: str, code: str) -> None:
    chosen = select(cases.load(), [pattern], BOOK.requirements)
    assert code in {one for case in chosen for one in case.selected}
    every = {one for case in cases.load() for one in case.codes}
    assert {one for case in chosen for one in case.selected} < every


def test_a_case_of_several_levels_is_reported_for_the_selected_one_alone() -> None:
    for level in ("MUST", "SHOULD"):
        for case in select(cases.load(), [], BOOK.requirements, level):
            assert {BOOK.requirements[code].level for code in case.selected} == {level}


def test_nothing_selected_is_an_error() -> None:
    code, _, told = judged(RUNTIME, "--select", "no-such-thing")
    assert code == 2 and "no-such-thing" in told


def test_a_pattern_that_is_no_regular_expression_is_an_error() -> None:
    code, _, told = judged(RUNTIME, "--select", "(")
    assert code == 2 and "(" in told and "Traceback" not in told


def test_a_program_that_is_not_there_is_an_error() -> None:
    code, _, told = judged("/no/such/runtime")
    assert code == 2 and "/no/such/runtime" in told


# Judgements.


def judge(run: Callable[[Trial], None], *codes: str, needs: tuple[str, ...] = (), tmp: Path) -> dict[str, Outcome]:
    """The outcomes of a case that is made for the test."""
    case = Case("made.up", codes, run, "It does as it should.", needs)
    engine = Engine(BOOK.requirements, probe(), 1, 10)
    from ocirun_conformance.engine import Target

    return {one.code: one for one in engine.judge(Target("it", (RUNTIME,)), [case]).outcomes}


MUST, SHOULD = "runtime.state.id", "config-linux.namespaces.pid"


def test_the_first_failure_counts(tmp_path: Path) -> None:
    def run(trial: Trial) -> None:
        trial.check(MUST, True, "a", "b")
        trial.check(MUST, False, "first", "found first")
        trial.check(MUST, False, "second", "found second")
        trial.check(MUST, True, "c", "d")
        trial.check(SHOULD, False, "e", "f")

    found = judge(run, MUST, SHOULD, tmp=tmp_path)
    assert (found[MUST].verdict, found[MUST].expected, found[MUST].found) == ("fail", "first", "found first")
    assert found[SHOULD].verdict == "warning"


def test_what_a_case_does_not_decide_is_no_pass(tmp_path: Path) -> None:
    assert judge(lambda trial: None, MUST, tmp=tmp_path)[MUST].verdict == "fail"


def test_a_mistake_of_a_case_is_told_as_one(tmp_path: Path) -> None:
    def run(trial: Trial) -> None:
        raise ZeroDivisionError("of the test")

    found = judge(run, MUST, tmp=tmp_path)[MUST]
    assert found.verdict == "fail" and "mistake of the suite" in found.found and "of the test" in found.found


def test_what_the_host_lacks_is_impossible(tmp_path: Path) -> None:
    found = judge(lambda trial: None, MUST, needs=("tool:no-such-tool",), tmp=tmp_path)[MUST]
    assert found.verdict == "impossible" and "no-such-tool" in found.reason


def test_a_failure_has_its_command_lines(tmp_path: Path) -> None:
    def run(trial: Trial) -> None:
        trial.create(trial.bundle().args("pause"))
        trial.check(MUST, False, "a", "b")

    (command,) = judge(run, MUST, tmp=tmp_path)[MUST].commands
    assert shlex.split(command)[0] == RUNTIME and "create" in shlex.split(command)


# Runtimes that crash, hang and lie.


def test_a_runtime_that_hangs_is_ended_in_time(broken: Callable[[str], str]) -> None:
    hangs = broken('case " $* " in *" start "*) sleep 1000 & sleep 1000;; esac')
    begin = time.monotonic()
    code, outcomes, _ = judged(hangs, "--timeout", "3", "--select", "^lifecycle.program_at_start$")
    assert time.monotonic() - begin < 30
    assert code == 1 and all(
        "did not end in time" in one["found"] for one in outcomes if one["code"] == "runtime.lifecycle.run"
    )


def test_a_runtime_that_dies_after_create_leaves_nothing(broken: Callable[[str], str]) -> None:
    dies = broken(
        f'case " $* " in *" create "*) {shlex.quote(RUNTIME)} "$@"; kill -KILL $$;; *" delete "*) kill -SEGV $$;; esac'
    )
    code, outcomes, _ = judged(dies, "--select", "^lifecycle.state_status$", "--select", "^cgroups.pids_limit$")
    assert code == 1 and {one["verdict"] for one in outcomes} <= {"fail", "warning", "impossible"}


def test_a_runtime_that_prints_nonsense_is_not_believed(broken: Callable[[str], str]) -> None:
    nonsense = broken('case " $* " in *" state "*) printf "\\377{[not json"; exit 0;; esac')
    code, outcomes, told = judged(nonsense, "--select", "runtime.state")
    assert code == 1 and "Traceback" not in told
    assert not [one for one in outcomes if "mistake of the suite" in one["found"]]


def test_a_runtime_that_does_nothing_passes_nothing_that_is_seen(tmp_path: Path) -> None:
    does_nothing = tmp_path / "nothing"
    does_nothing.write_text("#!/bin/sh\nexit 0\n")
    does_nothing.chmod(0o755)
    code, outcomes, _ = judged(str(does_nothing), timeout=280)
    assert code == 1
    assert [one for one in outcomes if one["verdict"] == "pass"] == []


def test_a_runtime_that_always_fails_passes_only_refusals(tmp_path: Path) -> None:
    """What wants an error, or wants that nothing is left of one."""
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    fails.chmod(0o755)
    _, outcomes, _ = judged(str(fails), timeout=280)
    wanted = re.compile(r"\berror\b|is left of the failed|is left as it was|is still outside")
    assert [one for one in outcomes if one["verdict"] == "pass" and not wanted.search(one["expected"])] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number: signal.Signals) -> None:
    argv = [sys.executable, "-m", "ocirun_conformance", "--runtime", RUNTIME, "--select", "hooks", "--select", "mounts"]
    suite = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert suite.stderr is not None
    for _ in range(5):
        suite.stderr.readline()
    suite.send_signal(number)
    _, told = suite.communicate(timeout=60)
    assert suite.returncode == 130 and "Traceback" not in told
    assert leavings(suite.pid) == set()


def test_a_kept_bundle_shows_the_failure_again(broken: Callable[[str], str]) -> None:
    """Its config.json is there, the command lines name it, and nothing of the container is left beside it."""
    import shutil

    wrong = broken('case " $* " in *" kill "*) exit 0;; esac')
    _, outcomes, _ = judged(wrong, "--keep", "--select", "^lifecycle.kill_created$")
    (one,) = outcomes
    kept = Path(one["bundle"])
    try:
        assert one["verdict"] == "fail" and (kept / "bundle-1" / "config.json").is_file()
        assert all(str(kept) in command for command in one["commands"])
    finally:
        shutil.rmtree(kept.parent)


# The probe, the differential mode, the package.


def test_self_check() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocirun_conformance", "--self-check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "wrong" not in done.stdout


def test_self_check_does_not_trust_any_program(tmp_path: Path) -> None:
    other = tmp_path / "probe"
    other.write_text("#!/bin/sh\necho '{}'\n")
    other.chmod(0o755)
    environment = os.environ | {"OCIRUN_CONFORMANCE_PROBE": str(other)}
    argv = [sys.executable, "-m", "ocirun_conformance", "--self-check"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2 and "wrong" in done.stdout


def test_the_probe_is_built_for_arm64(tmp_path: Path) -> None:
    """And says there what it says here, in an emulator of its processor."""
    from ocirun_conformance.probe import build

    built = tmp_path / "probe"
    environment = os.environ | {"CC": "aarch64-linux-gnu-gcc"}
    script = f"from pathlib import Path; from {build.__name__} import build; build(Path({str(built)!r}))"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert built.read_bytes()[18:20] == b"\xb7\0"  # EM_AARCH64
    done = subprocess.run(
        ["qemu-aarch64", str(built), "report", "stat=/dev/null"], capture_output=True, text=True, check=True
    )
    facts = json.loads(done.stdout)
    assert facts["machine"] == "aarch64" and facts["actions"]["stat=/dev/null"]["major"] == 1


def test_two_runtimes_that_are_the_same_do_not_differ() -> None:
    argv = [sys.executable, "-m", "ocirun_conformance", "--differential", RUNTIME, RUNTIME, "--examples", "15"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_difference_is_made_small(tmp_path: Path) -> None:
    """A runtime that drops the umask: what is printed has a umask and nothing else of what was tried."""
    other = tmp_path / "other"
    other.write_text(
        "#!/bin/sh\n"
        'bundle=; last=\nfor word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done\n'
        f"""[ -z "$bundle" ] || {shlex.quote(sys.executable)} -c '
import json, sys
path = sys.argv[1] + "/config.json"
config = json.load(open(path))
config["process"]["user"].pop("umask", None)
json.dump(config, open(path, "w"))' "$bundle"\n"""
        f'exec {shlex.quote(RUNTIME)} "$@"\n'
    )
    other.chmod(0o755)
    argv = [
        sys.executable,
        "-m",
        "ocirun_conformance",
        "--differential",
        RUNTIME,
        f"other={other}",
        "--examples",
        "300",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 1, done.stdout + done.stderr
    config = json.loads(done.stdout[done.stdout.index("{") : done.stdout.index("\n}\n") + 2])
    assert "umask" in config["process"]["user"]
    assert not {"rlimits", "oomScoreAdj"} & set(config["process"]) and "seccomp" not in config["linux"]
    assert "umask:" in done.stdout


def test_every_requirement_that_wants_an_error_has_its_own_invalid_configuration() -> None:
    """Each change of refused.py really changes the configuration, and the unchanged one is taken."""
    from ocirun_conformance.bundle import Bundle, minimal

    for code, why, change in refused.INVALID:
        bundle = Bundle("id", Path("/nowhere"), Path("/nowhere/probe"), minimal("/id"))
        before = json.dumps(bundle.config)
        change(bundle)
        assert json.dumps(bundle.config) != before, (code, why)
