"""Descriptors that are put away and fetched again."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from initdriver import Driver, clone

from ocirun.plan import ops
from ocirun.plan.ops import Operation


def opened(path: Path, *slots: int) -> list[Operation]:
    return [ops.open("outer", "", path=f"{path}/{slot}", flags=os.O_PATH, slot=slot) for slot in slots]


def away(first: int, count: int) -> Operation:
    return ops.put_away("outer", "", first=first, count=count)


def fetch(last: int, who: str = "init") -> Operation:
    return ops.fetch(who, "", last=last)


@pytest.fixture
def files(scratch: Path) -> Path:
    for number in range(4096):
        (scratch / str(number)).touch()
    return scratch


def test_groups_come_back_in_order(init: Driver, files: Path) -> None:
    """Into the slots that they had, empty ones in between and all; they are empty meanwhile."""
    plan = [*opened(files, 0, 2), away(0, 4), *opened(files, 5), away(4, 2), *opened(files, 0), clone(), fetch(0)]
    outcome = init.run(*plan)
    assert outcome.failure is not None and outcome.failure[2] == "slot 0 is taken"
    plan.remove(opened(files, 0)[0])
    used = [ops.setns("init", "", slot=slot, flags=0, attempt=0) for slot in (0, 2)]
    for slot in (0, 2):
        outcome = init.run(*opened(files, 0, 2), away(0, 4), clone(), fetch(1), used[slot // 2])
        assert outcome.failure is not None
        assert outcome.failure[1] == errno.EBADF and outcome.failure[2] == "", "the slot has a descriptor of a file"
    outcome = init.run(*opened(files, 0), away(0, 4), clone(), used[0])
    assert outcome.failure is not None and outcome.failure[2] == "slot 0 is empty"


def test_none_is_left_open(report: Callable[..., Any], files: Path) -> None:
    got = report(*opened(files, 1, 3), away(0, 4), *opened(files, 2), away(0, 3), clone(), fetch(0), fetch(1))
    assert set(got["fds"]) == {"0", "1", "2"}


def test_more_than_may_be_open(init: Driver, files: Path) -> None:
    """4096 descriptors where 32 are allowed: at most 16 of them are open at any time."""
    init.in_child = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    plan: list[Operation] = []
    for first in range(0, 4096, 16):
        plan += [*opened(files, *range(first, first + 16)), away(first, 16)]
    outcome = init.run(*plan, clone(), fetch(0), slots=4096)
    assert outcome.failure is None
    outcome = init.run(*plan, clone(), fetch(0), fetch(0), fetch(0), slots=4096)
    assert outcome.failure is not None and outcome.failure[1] == errno.EMFILE


def test_what_cannot_be(init: Driver, files: Path) -> None:
    for operations, number in (
        ([away(0, 254)], errno.EINVAL),
        ([away(4000, 253)], errno.EINVAL),
        ([away(4097, 0)], errno.EINVAL),
        ([away(2**32 - 2, 3)], errno.EINVAL),
        ([fetch(0, "outer")], errno.EBADF),
        ([*opened(files, 0), away(0, 1), fetch(0, "outer"), fetch(0, "outer")], errno.EAGAIN),
    ):
        outcome = init.run(*operations, slots=4096)
        assert outcome.failure is not None and outcome.failure[1] == number, operations
    plan = [operation for slot in range(4096) for operation in (*opened(files, slot), away(slot, 1))]
    outcome = init.run(*plan, slots=4096)
    assert outcome.failure is not None and outcome.failure[1] == errno.EAGAIN, "a full queue is an error, and no wait"
