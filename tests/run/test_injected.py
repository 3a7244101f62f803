"""A system call of the runtime fails: an error in words, nothing left, no false success.

    python tests/drivers/injected.py

does so with each of them, here it is one in some twenty.
"""

from __future__ import annotations

import harness
import injected
import pytest
from harness import Runtime, Workshop

pytestmark = pytest.mark.ocirun


@pytest.mark.parametrize("verb", injected.VERBS)
def test_some_of_its_system_calls(
    runtime: Runtime, bundle: Workshop, leftovers: harness.Leftovers, verb: str
) -> None:
    calls = injected.calls(runtime, bundle(), verb)
    assert len(calls) > 10
    sample = calls[:: max(1, len(calls) // 10)]
    errors = injected.ERRORS
    failed = [
        injected.fail_once(runtime, bundle(), leftovers, verb, call, errors[number % len(errors)])
        for number, call in enumerate(sample)
    ]
    assert any(failed), "what strace injects arrives"
