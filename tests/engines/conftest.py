"""Engines with the runtime in runc's place: OCIRUN_TEST_RUNTIME, by default the installed ocirun."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import busybox


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def runtime() -> str:
    """The absolute path of the runtime under test."""
    path = os.environ.get("OCIRUN_TEST_RUNTIME") or str(Path(sys.prefix, "bin", "ocirun"))
    assert os.access(path, os.X_OK), f"no runtime at {path}"
    return os.path.abspath(path)


@pytest.fixture(scope="session")
def territories() -> Iterator[Path]:
    """Where engines live: a short path, because sockets have room for 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="ocirun-engines-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture(scope="session")
def image_tree(territories: Path) -> Path:
    """busybox as a directory."""
    return busybox.rootfs(territories / "busybox")


@pytest.fixture(scope="session")
def image_tar(territories: Path, image_tree: Path) -> Path:
    """busybox as the tar of a root file system."""
    path = territories / "busybox.tar"
    path.write_bytes(busybox.archive(image_tree))
    return path


@pytest.fixture(scope="session")
def image_layout(territories: Path, image_tar: Path) -> Path:
    """busybox as the tar of an OCI layout."""
    return busybox.layout(territories, image_tar.read_bytes())
