"""Every test here runs containers: as root, and leaving nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from warm import Warm

FOLDERS = ("spec", "plan", "cgroup", "seccomp", "native", "run")


@pytest.fixture(autouse=True)
def _nothing_left(leftovers: harness.Leftovers) -> None:
    assert os.geteuid() == 0, "these tests need root"


@pytest.fixture(scope="module")
def warm(isolated: None) -> Iterator[Warm]:
    """A pytest that runs other tests with a faulty runtime."""
    with tempfile.TemporaryDirectory(prefix="ocirun-warm-") as scratch:
        Path(scratch).chmod(0o755)
        server = Warm(Path(scratch), *(f"tests/{folder}" for folder in FOLDERS))
        yield server
        server.close()
