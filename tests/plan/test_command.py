"""`ocirun plan`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from plandriver import HERE


def plan(bundle: Path, *flags: str, user: int | None = None, code: int = 0) -> str:
    command = [harness.PROGRAM, "plan", *flags]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, user=user, group=user)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def scene(scratch: Path) -> Iterator[Path]:
    """A bundle without even a root."""
    shutil.copy(HERE / "bundles" / "usual.json", scratch / "config.json")
    os.chmod(scratch / "config.json", 0o644)
    yield scratch
    assert os.listdir(scratch) == ["config.json"]


def test_table(scene: Path) -> None:
    lines = plan(scene).splitlines()
    assert lines[0].split() == ["#", "who", "operation", "from"]
    assert f"enter the root {scene}/rootfs" in plan(scene, "-b", str(scene))
    assert lines[-1].split()[1:4] == ["init", "exec", "/bin/true"]


def test_json(scene: Path) -> None:
    rows = json.loads(plan(scene, "--json"))
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert {row["operation"] for row in rows} >= {"enter_root", "clone", "mount", "pivot_root", "exec", "wait_start"}


def test_flags_of_create(scene: Path) -> None:
    names = {row["operation"] for row in json.loads(plan(scene, "--json", "--no-pivot", "--no-new-keyring"))}
    assert "move_root" in names
    assert not names & {"pivot_root", "keyring"}
    rows = json.loads(plan(scene, "--json", "--preserve-fds", "4"))
    assert rows[-1]["fields"]["preserve"] == 4


def test_an_ordinary_user_needs_no_root_to_look(scene: Path) -> None:
    shutil.copy(HERE / "bundles" / "own-id.json", scene / "config.json")
    assert "make the user namespace" in plan(scene, user=1000)


def test_what_only_root_can_create_is_planned_as_for_root(scene: Path) -> None:
    assert plan(scene, user=1000) == plan(scene)
    command = [harness.PROGRAM, "plan"]
    done = subprocess.run(command, cwd=scene, capture_output=True, text=True, user=1000, group=1000, check=True)
    assert "only root can create this container" in done.stderr


def test_an_invalid_configuration(scene: Path) -> None:
    (scene / "config.json").write_text('{"ociVersion": "1.0.0", "process": {"cwd": 3}}')
    text = plan(scene, code=1)
    assert "/process/cwd" in text
    assert "/root" in text


def test_no_bundle(scene: Path) -> None:
    assert "no such file or directory" in plan(scene, "-b", "/no/such/place", code=1)
