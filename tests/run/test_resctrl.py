"""linux.intelRdt on a host without the hardware, as all of ours: see tests/plan/test_resctrl.py for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Runtime, Workshop

MOUNTED = " - resctrl " in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif(MOUNTED, reason="resctrl is mounted")
@pytest.mark.differs("starts, and does without", before="1.2")
def test_without_resctrl(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.linux["intelRdt"] = {"closID": "gold", "enableMonitoring": False}
    refused = runtime.create(made).failed()
    if runtime.name == "ocirun":
        assert "/linux/intelRdt: intelRdt is specified in config, but Intel RDT is not enabled" in refused.error
