"""The suite sees every mutant of mutants.py, and says what is broken about it and nothing else.

The tests run, for a third of the mutants (OCIRUN_TEST_MUTANTS=all: for each), the cases of what it breaks and a few
others. The whole matrix, every mutant against
every case, takes hours and is printed by

    .venv/bin/python tests/conformance/test_mutants.py [MUTANT ...]
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from ocirun_conformance import cases
from ocirun_conformance.model import Case
from ocirun_conformance.register import load

sys.path.insert(0, str(Path(__file__).parent))

import mutants

RUNTIME = os.environ.get("OCIRUN", str(Path(sys.executable).with_name("ocirun")))
SHIM = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import mutants; mutants.main()"
OTHERS = 3
"""How many cases that have nothing to do with a mutant are run on it."""

CHOSEN = list(mutants.MUTANTS.values())[:: 1 if os.environ.get("OCIRUN_TEST_MUTANTS") == "all" else 3]

Found = dict[tuple[str, str], str]
"""The verdict on each (case, code)."""


def judged(command: list[str], selected: Iterable[Case]) -> Found:
    """The suite's verdicts on a runtime."""
    words = [word for case in selected for word in ("--select", f"^{case.name}$".replace(".", r"\."))]
    name = "mutant=" if len(command) > 1 else ""
    argv = [sys.executable, "-m", "ocirun_conformance", "--runtime", f"{name}{shlex.join(command)}", "--quiet"]
    done = subprocess.run([*argv, "--format", "json", *words], capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    (runtime,) = json.loads(done.stdout)["runtimes"]
    return {(one["case"], one["code"]): one["verdict"] for one in runtime["outcomes"]}


@cache
def every() -> tuple[Case, ...]:
    return cases.load()


@cache
def sound() -> Found:
    """What the suite finds about the runtime that the mutants are made of."""
    return judged([RUNTIME], every())


def broken(mutant: mutants.Mutant, selected: list[Case]) -> dict[str, set[str]]:
    """The codes that the mutant fails and its runtime does not, with their cases."""
    result: dict[str, set[str]] = {}
    found = judged([sys.executable, "-I", "-S", "-c", SHIM, mutant.name, RUNTIME], selected)
    for (case, code), verdict in found.items():
        if verdict in ("fail", "warning") and sound()[case, code] not in ("fail", "warning"):
            result.setdefault(code, set()).add(case)
    return result


def concerned(mutant: mutants.Mutant) -> list[Case]:
    """The cases of what the mutant breaks."""
    return [case for case in every() if set(case.codes) & set(mutant.breaks)]


def unconcerned(mutant: mutants.Mutant) -> list[Case]:
    """A few others, always the same ones."""
    rest = [case for case in every() if case.seconds == 0 and not any(mutant.explains(code) for code in case.codes)]
    return sorted(rest, key=lambda case: hashlib.sha256(f"{mutant.name} {case.name}".encode()).digest())[:OTHERS]


def undecidable(mutant: mutants.Mutant) -> dict[str, str]:
    """The codes which the mutant breaks that cannot be seen broken, with the verdict on the runtime itself.

    No case of theirs could be run here, or the runtime that the mutants are made of breaks them itself.
    """
    by_code: dict[str, set[str]] = {}
    for (_, code), verdict in sound().items():
        by_code.setdefault(code, set()).add(verdict)
    return {code: min(by_code[code]) for code in mutant.breaks if "pass" not in by_code[code]}


def test_there_are_many_mutants_of_requirements_that_exist() -> None:
    assert len(mutants.MUTANTS) >= 80
    for mutant in mutants.MUTANTS.values():
        assert mutant.breaks and set(mutant.breaks) <= set(load().requirements), mutant.name
        assert concerned(mutant), mutant.name


@pytest.mark.skipif(os.geteuid() != 0, reason="containers of root take root")
@pytest.mark.parametrize("mutant", CHOSEN, ids=lambda mutant: mutant.name)
def test_mutant(mutant: mutants.Mutant) -> None:
    missing = undecidable(mutant)
    if len(missing) == len(mutant.breaks):
        pytest.skip(f"cannot be told from the runtime itself here: {missing}")
    for last in (False, True):
        found = broken(mutant, concerned(mutant) + unconcerned(mutant))
        escaped = set(mutant.breaks) - set(missing) - set(found)
        wrong = {code: names for code, names in found.items() if not mutant.explains(code)}
        if not escaped and not wrong:
            return
        if last:
            assert not escaped, f"not seen: {escaped}"
            assert not wrong, f"broken beside it: {wrong}"


def main() -> None:
    """Prints, for each mutant, what the whole suite finds broken about it."""
    for name in sys.argv[1:] or mutants.MUTANTS:
        mutant = mutants.MUTANTS[name]
        found = broken(mutant, list(every()))
        print(f"{name}: {'seen' if set(mutant.breaks) <= set(found) else 'ESCAPED'}", flush=True)
        for code, names in sorted(found.items()):
            how = "breaks" if code in mutant.breaks else "touches" if mutant.explains(code) else "WRONG"
            print(f"    {how:7} {code} ({', '.join(sorted(names))})", flush=True)


if __name__ == "__main__":
    main()
