"""docs/architecture.md: what it names is there, and what is there is named."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/architecture.md", "README.md", "CONTRIBUTING.md")
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


def test_what_is_named_is_there() -> None:
    for document in DOCUMENTS:
        found = named(document)
        assert found, document
        assert [one for one in found if missing(*one)] == [], document


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
