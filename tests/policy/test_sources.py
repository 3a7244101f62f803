"""What holds for every file of the repository, and the linters."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.prefix, "bin", name)), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_ruff() -> None:
    result = tool("ruff", "check", ".")
    assert result.returncode == 0, result.stdout


def test_mypy() -> None:
    result = tool("mypy")
    assert result.returncode == 0, result.stdout


def test_names_say_what_is_inside() -> None:
    vague = re.compile(r"(^|/)(utils?|helpers?|common|misc)\.(py|c|h)$")
    assert [name for name in tracked() if vague.search(name)] == []


@pytest.mark.parametrize("pattern", [r"/(work|farm)/(main|steering|in|shared)\b", r"/root/\.pyenv"])
def test_no_path_of_one_machine(pattern: str) -> None:
    own = Path(__file__).relative_to(REPOSITORY).as_posix()
    found = []
    for name in tracked():
        path = REPOSITORY / name
        if name != own and path.is_file() and re.search(pattern, path.read_text(errors="replace")):
            found.append(name)
    assert found == []


def test_no_binaries() -> None:
    found = [name for name in tracked() if (REPOSITORY / name).is_file() and b"\0" in (REPOSITORY / name).read_bytes()]
    assert found == []


def test_top_level_stays_small() -> None:
    """What tools expect there, the five folders, and the files that people look for at the top."""
    assert {name.partition("/")[0] for name in tracked()} <= {
        ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "conformance",
        "docs", "native", "ocirun", "pyproject.toml", "setup.py", "tests",
    }  # fmt: skip
