"""The speed that is asked for, as a test: `pytest -m bench`. The figures are printed with -s."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench
import library

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers are created as root"),
]


def test_targets() -> None:
    """Every target of bench.py, with and without pauses, with and without a seccomp profile like Docker's."""
    programs = bench.runtimes(["ocirun", "runc", "crun"])
    assert "ocirun" in programs, "ocirun is not installed"
    assert "runc" in programs, "runc is what ocirun is compared with"
    results = bench.measure(
        programs,
        rounds=int(os.environ.get("OCIRUN_BENCH_ROUNDS", "15")),
        profiles=["spec", "docker"],
        pauses=[0.0, 0.1],
        sections=set(bench.SECTIONS),
        verbs=set(bench.VERBS),
    )
    print(bench.report(results, list(programs)))
    failed = bench.misses(results)
    assert not failed, "\n".join(failed)


def test_targets_of_the_library() -> None:
    """Every target of library.py."""
    values = library.ratios(library.measure(int(os.environ.get("OCIRUN_BENCH_ROUNDS", "30"))))
    print(values)
    failed = [f"{name}: {value:.2f}" for name, value in values.items() if value > library.TARGETS[name]]
    assert not failed
