"""Every test here runs containers: as root, and leaving nothing behind."""

from __future__ import annotations

import os

import harness
import pytest


@pytest.fixture(autouse=True)
def _nothing_left(leftovers: harness.Leftovers) -> None:
    assert os.geteuid() == 0, "these tests need root"
