from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import harness
import pytest

import ocirun


@pytest.fixture
def runtime(leftovers: harness.Leftovers, scratch: Path) -> Iterator[ocirun.Runtime]:
    """The library's, with a root directory of its own. Containers that a test leaves are deleted by force."""
    runtime = ocirun.Runtime(root=str(scratch / "root"))
    yield runtime
    # Counted before anybody reaps them: only the containers' own processes are for the caller to wait for.
    assert [line for line in harness.zombies() if not line.endswith(" probe")] == []
    for state in runtime.list():
        runtime.get(state.id).delete(force=True)
