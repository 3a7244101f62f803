"""Makes the mistakes of tests/mutants.toml, one at a time, each in a copy of the package: do the tests notice?

    python tests/drivers/mutation.py [WORD...]       all, or those in whose file or reason one of the words is

As root. Every mistake is a line of the table: what caught it, or that nothing did. Exit code 1 if one survives that is
not said to, or is caught that is said to survive, or if a test that caught one fails without any mistake too.
tests/run/test_mutants.py does so with some of them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
from harness import PACKAGES, REPOSITORY, native_build
from initdriver import build_init

LIST = REPOSITORY / "tests" / "mutants.toml"
LIMIT = 60.0  # seconds of the tests of one mistake: a runtime that hangs is noticed
COMMAND = "15"  # and of one command in them

DOOR = """#!{python}
import sys
sys.path.insert(0, {packages!r})
from ocirun.cli import main
main()
"""


@dataclass(frozen=True)
class Mutant:
    """A mistake: `old` occurs once in the file, `new` is in its place."""

    file: str
    old: str
    new: str
    why: str  # what goes wrong then
    tests: tuple[str, ...]  # one of these has to fail
    survives: str = ""  # why none can


def mutants() -> list[Mutant]:
    with LIST.open("rb") as file:
        return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in tomllib.load(file)["mutant"]]


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    kind: str  # "caught", "survived", "broken" (no test could be run)
    words: str  # which test, or why


class Copy:
    """A copy of the checkout as it is built, in which mistakes are made and unmade."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        unwanted = shutil.ignore_patterns("__pycache__", "*.so", "ocirun-init")
        for name in ("ocirun", "native", "tests", "docs"):
            shutil.copytree(REPOSITORY / name, directory / name, ignore=unwanted)
        shutil.copy(REPOSITORY / "pyproject.toml", directory)
        for path in (PACKAGES / "ocirun").iterdir():
            if path.suffix == ".so" or path.name == "ocirun-init":
                shutil.copy(path, directory / "ocirun")
        (directory / "build" / "tests").mkdir(parents=True)
        for program in (harness.build_probe(), build_init()):
            shutil.copy(program, directory / "build" / "tests")
        self.program = directory / "bin" / "ocirun"
        self.program.parent.mkdir()
        self.program.write_text(DOOR.format(python=sys.executable, packages=str(directory)))
        self.program.chmod(0o755)

    def judge(self, mutant: Mutant) -> Verdict:
        path = self.directory / mutant.file
        right = path.read_text()
        path.write_text(right.replace(mutant.old, mutant.new))
        try:
            if path.suffix != ".py":
                self.build()
            return Verdict(mutant, *self.tested(mutant.tests))
        except SystemExit as error:
            return Verdict(mutant, "broken", str(error))
        finally:
            path.write_text(right)
            if path.suffix != ".py":
                self.build()

    def build(self) -> None:
        native_build(self.directory).build_init(self.directory / "ocirun")

    def tested(self, tests: Sequence[str]) -> tuple[str, str]:
        """Run them up to the first that fails."""
        words = ["-q", "-x", "-rfE", "--tb=line", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
        environ = os.environ | {
            "OCIRUN_TEST_RUNTIME": str(self.program),
            "OCIRUN_TEST_TIMEOUT": COMMAND,
            "PYTHONPATH": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.directory.parent),  # short: command lines are told in errors, and not to their ends
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "caught", f"the tests hang for {LIMIT:.0f} s"
        finally:
            end_all(process.pid)
        if process.returncode == 0:
            return "survived", ""
        failed = re.search(r"^(?:FAILED|ERROR) tests/(.+?)(?: - .*)?$", output, re.MULTILINE)
        if process.returncode == 1 and failed:
            return "caught", failed[1]
        return "broken", output[-2000:]


def end_all(pid: int) -> None:
    """What a faulty runtime has left running, or frozen, below the cgroups of that process's tests or as our children,
    since their parents have ended; and these cgroups."""
    left = [
        path
        for root in harness.cgroup_roots().values()
        for pattern in (f"ot{pid}-*", f"ocirun-driver-{pid}")
        for top in root.glob(pattern)
        for path in (top, *(one for one in top.rglob("*") if one.is_dir()))
    ]
    for path in left:
        with contextlib.suppress(OSError):
            for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if (path / name).exists():
                    (path / name).write_text(text)
            for member in (path / "cgroup.procs").read_text().split():
                os.kill(int(member), signal.SIGKILL)
    end = time.monotonic() + 10
    while (children := harness.children()) and time.monotonic() < end:
        for child in children:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    for path in reversed(left):
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()


copy: Copy | None = None  # of each worker


def _work(scratch: str) -> None:
    global copy
    harness.isolate()
    directory = Path(scratch, str(os.getpid()))
    directory.mkdir()
    copy = Copy(directory)


def _judge(mutant: Mutant) -> Verdict:
    assert copy is not None
    return copy.judge(mutant)


def _tested(tests: Sequence[str]) -> tuple[str, str]:
    assert copy is not None
    return copy.tested(tests)


def verdicts(wanted: Iterable[Mutant], workers: int = 1) -> Iterator[Verdict]:
    """Make these mistakes, in their order; the last one is of no mistake at all, if all of the tests that have caught
    something do not pass then."""
    with tempfile.TemporaryDirectory(prefix="om") as scratch:
        Path(scratch).chmod(0o755)
        caught: list[str] = []
        with multiprocessing.get_context("fork").Pool(workers, _work, (scratch,)) as pool:
            for verdict in pool.imap(_judge, wanted):
                if verdict.kind == "caught" and "::" in verdict.words:
                    caught.append(verdict.words)
                yield verdict
            for part in [caught[start : start + 20] for start in range(0, len(caught), 20)]:
                kind, words = pool.apply(_tested, (sorted(set(part)),))
                if kind != "survived":
                    yield Verdict(Mutant("", "", "", "no mistake at all", ()), "broken", words)


def is_expected(verdict: Verdict) -> bool:
    return verdict.kind == ("survived" if verdict.mutant.survives else "caught")


def main(words: Sequence[str]) -> int:
    wanted = [one for one in mutants() if not words or any(word in one.file + one.why for word in words)]
    count = {"caught": 0, "survived": 0, "broken": 0}
    bad = 0
    for number, verdict in enumerate(verdicts(wanted, workers=2), 1):
        mutant = verdict.mutant
        count[verdict.kind] += 1
        bad += not is_expected(verdict)
        mark = " " if is_expected(verdict) else "!"
        said = verdict.words or mutant.survives
        print(f"{number:3}/{len(wanted)} {mark} {verdict.kind:8} {mutant.file}: {mutant.why}: {said}", flush=True)
    print(", ".join(f"{number} {kind}" for kind, number in count.items()), f"; {bad} not as expected")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
