"""Fixtures for tests of the native init."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import initdriver
import pytest
from initdriver import Driver, clone

from ocirun.plan import ops
from ocirun.plan.ops import Operation

CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
MS_REC_PRIVATE = 0x4000 | 1 << 18


@pytest.fixture(scope="session")
def init_program() -> Path:
    """The tests' build of the init."""
    return initdriver.build_init()


@pytest.fixture
def init(init_program: Path, leftovers: harness.Leftovers) -> Driver:
    """An init to give operations to."""
    return Driver(init_program)


@pytest.fixture
def rootfs(scratch: Path, probe: Path) -> Path:
    """A directory to be the container's root, with the probe in it."""
    path = scratch / "rootfs"
    for name in ("bin", "etc", "proc", "tmp"):
        (path / name).mkdir(parents=True)
    shutil.copy(probe, path / "probe")
    return path


@pytest.fixture
def container(rootfs: Path) -> Callable[..., list[Operation]]:
    """The operations that lead into rootfs as PID 1 of new mount and pid namespaces; those of `before` come before
    pivot_root."""

    def build(before: list[Operation] | None = None, proc: bool = False) -> list[Operation]:
        mount_proc = ops.mount(
            "init",
            "",
            fstype="proc",
            source="proc",
            target="/proc",
            options=(),
            ms_flags=0,
            propagation=0,
            target_flags=0,
            slot=ops.NO_SLOT,
        )
        return [
            ops.enter_root("outer", "", path=str(rootfs)),
            ops.unshare("outer", "", flags=CLONE_NEWNS | CLONE_NEWPID),
            clone(),
            ops.propagation("init", "", flags=MS_REC_PRIVATE),
            ops.mount_root("init", "", path=str(rootfs), slot=ops.NO_SLOT, private=1),
            *([mount_proc] if proc else []),
            *(before or []),
            ops.pivot_root("init", ""),
        ]

    return build


@pytest.fixture
def report(init: Driver, probe: Path) -> Callable[..., Any]:
    """Perform operations without any new root, then the probe: what its process really has."""

    def run(*operations: Operation, passed: tuple[int, ...] = (), words: tuple[str, ...] = (), **last: Any) -> Any:
        argv = (str(probe), "report", *words)
        outcome = init.run(*operations, *initdriver.finish(*argv, **last), passed=passed)
        assert outcome.failure is None and outcome.status == 0, outcome
        return outcome.json()

    return run


@pytest.fixture
def as_user() -> Callable[[], None]:
    """Become an ordinary user: for Driver.in_child."""

    def become() -> None:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)

    return become
