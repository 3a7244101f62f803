"""What the documents name is there, and docs/architecture.md names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from policy.test_layers import RANK

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix() for pattern in ("*.md", "docs/*.md") for path in REPOSITORY.glob(pattern)
)
FOLDERS = ("docs", "native", "ocirun", "tests")


def named(document: str) -> list[tuple[str, str]]:
    """The files of this repository that a document has between backticks or as a link, as (pattern, a name in it)."""
    text = (REPOSITORY / document).read_text()
    words = re.findall(r"`([^`\s]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    words += re.findall(r"\]\(([^():]+)\)", text)
    split = [word.partition("::") for word in words]
    return [(path, name) for path, _, name in split if path.startswith(tuple(f"{folder}/" for folder in FOLDERS))]


def missing(pattern: str, name: str) -> bool:
    """No such file, or none of them with that name in it."""
    files = [path for path in REPOSITORY.glob(pattern) if not name or path.is_file()]
    return not any(not name or re.search(rf"\b{re.escape(name)}\b", path.read_text()) for path in files)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_is_there(document: str) -> None:
    assert [one for one in named(document) if missing(*one)] == []


def test_lines() -> None:
    """Of text; tables of long sentences have no others."""
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md"):
        lines = (REPOSITORY / document).read_text().splitlines()
        assert [line for line in lines if len(line) > 120] == [], document


def test_what_is_there_is_named() -> None:
    """Each room, each module beside them, each file of the init and what else is at the top of native."""
    patterns = [pattern.rstrip("/") for pattern, _ in named("docs/architecture.md") if "*" not in pattern]
    paths = {path for pattern in patterns for path in REPOSITORY.glob(pattern)}
    wanted = [
        path
        for directory in ("ocirun", "native", "native/init")
        for path in sorted((REPOSITORY / directory).iterdir())
        if path.suffix in (".py", ".c", ".h", ".def", ".sh") or (path / "__init__.py").exists()
    ]
    generated = {"_sys.c", "_seccomp.c"}  # by cffi, in a checkout that is built in place
    assert [str(path) for path in wanted if path not in paths and path.name not in generated] == []


def test_the_rooms_stand_as_in_the_house() -> None:
    """Each on those further down."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    rooms = re.findall(r"^\|.*", text.partition("\n## Rooms\n")[2].partition("\n## ")[0], flags=re.MULTILINE)
    names = [name for row in rooms for name in re.findall(r"`ocirun/(\w+)(?:/|\.py)`", row)]
    assert sorted(names) == sorted(name for name in RANK if name not in ("_sys", "_seccomp"))
    assert [RANK[name] for name in names] == sorted(RANK[name] for name in names)


def test_the_page_on_the_tests() -> None:
    """tests/README.md has every folder, and names no file that is not there (below tests/, or here)."""
    tests = REPOSITORY / "tests"
    words = set(re.findall(r"`([^`\s=]+)`", (tests / "README.md").read_text()))
    folders = {path.parent.name for path in tests.glob("*/*.py")}
    assert sorted(folders - words) == []
    files = {word for word in words if re.fullmatch(r"[\w./-]+/[\w-]+\.\w+", word)}
    assert len(files) > 10
    assert sorted(word for word in files if not ((tests / word).exists() or (REPOSITORY / word).exists())) == []
