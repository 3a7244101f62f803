"""The runtime is killed after a system call, anywhere: `delete --force` leaves nothing.

    python tests/drivers/killed.py

does so after each of them, here it is one in some thirty.
"""

from __future__ import annotations

import harness
import killed
import pytest
from harness import Runtime, Workshop

pytestmark = pytest.mark.ocirun
SAMPLES = 12


@pytest.mark.parametrize("verb", killed.VERBS)
def test_at_some_of_its_system_calls(
    runtime: Runtime, bundle: Workshop, leftovers: harness.Leftovers, verb: str
) -> None:
    # Twice: the first one may have a filter to compile.
    calls = [killed.kill_once(runtime, bundle(), leftovers, verb, 1 << 30) for _ in range(2)][1]
    assert calls > 150, "a command that was killed and traced to its end"
    # The first half is mostly Python's start.
    points = range(calls // 3, calls, max(1, (calls - calls // 3) // SAMPLES))
    assert not any(killed.kill_once(runtime, bundle(), leftovers, verb, count) for count in points[:-1])
