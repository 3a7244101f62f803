"""The RFC 2119 sentences of the specification's text: what the register of requirements is checked against.

The text itself is never part of this package: it is read from a folder that the caller names (a checkout of
https://github.com/opencontainers/runtime-spec at v1.3.0), and what remains of a sentence is its digest.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The files of the specification that bind a Linux runtime, in reading order.
FILES = (
    "bundle.md", "runtime.md", "runtime-linux.md", "config.md", "config-linux.md", "features.md", "features-linux.md",
)  # fmt: skip

# RFC 2119 and its levels. MAY and OPTIONAL bind nobody, so they are not looked for. Longer ones first.
KEYWORDS = (
    "MUST NOT", "SHALL NOT", "SHOULD NOT", "NOT RECOMMENDED", "MUST", "SHALL", "REQUIRED", "SHOULD", "RECOMMENDED",
)  # fmt: skip
_KEYWORD = re.compile(r"\b(" + "|".join(KEYWORDS) + r")\b")

_FENCE = re.compile(r"^\s*```")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*$")
_ITEM = re.compile(r"^\s*([-*+]|\d+\.)\s+(.*)$")
_RULE = re.compile(r"^\s*\|?[\s:|-]+\|?\s*$")
_TAG = re.compile(r"</?a\b[^<>]*>")
_LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])")
# A sentence ends at a full stop (or a question mark …) which an upper-case word or a quoted one follows.
_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\)?\s+(?=[\"'(]*[A-Z]|[`\[_*(]+\w)")


@dataclass(frozen=True)
class Sentence:
    """One sentence that contains at least one of KEYWORDS.

    section is "file.md#anchor" (GitHub's anchor of the heading), keywords what it contains (each once, in order of
    appearance), digest 12 hexadecimal digits of SHA-256 of text, which is the sentence without markup.
    """

    section: str
    keywords: tuple[str, ...]
    text: str
    digest: str


def digest(text: str) -> str:
    """12 hexadecimal digits of SHA-256 of a sentence as plain() leaves it."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def plain(markdown: str) -> str:
    """Markdown without links, tags and emphasis, and with single spaces."""
    text = _TAG.sub("", markdown)
    previous = ""
    while text != previous:
        previous, text = text, _LINK.sub(r"\1", text)
    return " ".join(text.replace("*", "").replace("`", "").split())


def anchor(heading: str) -> str:
    """GitHub's anchor of a heading: lower case, blanks as hyphens, no punctuation."""
    return re.sub(r"[^\w\- ]", "", plain(heading).lower()).replace(" ", "-")


def _blocks(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(anchor, text) of each paragraph, list item and table row, in order, and of each heading with no text."""
    taken: Counter[str] = Counter()
    section = ""
    block: list[str] = []
    fenced = False
    for line in [*lines, ""]:
        item = heading = None
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            heading, item = _HEADING.match(line), _ITEM.match(line)
        row = " | " in line
        outside = fenced or not line.strip() or bool(_FENCE.match(line) or _RULE.match(line))
        if outside or heading or item or row:
            if block:
                yield section, " ".join(block)
            block = []
        if outside:
            continue
        if heading:
            name = anchor(heading.group(2))
            section = f"{name}-{taken[name]}" if taken[name] else name
            taken[name] += 1
            yield section, ""
        elif row:
            yield section, " | ".join(cell.strip() for cell in line.strip().strip("|").split(" | "))
        else:
            block.append(item.group(2) if item else line.strip().removeprefix("> "))


def extract(folder: Path, file: str) -> list[Sentence]:
    """The sentences of one file of the specification, in its order.

    Raises OSError where the file cannot be read, UnicodeDecodeError where it is not UTF-8.
    """
    found = []
    for section, block in _blocks((folder / file).read_text(encoding="utf-8").splitlines()):
        for part in _END.split(block):
            text = plain(part)
            keywords = tuple(dict.fromkeys(_KEYWORD.findall(text)))
            if keywords:
                found.append(Sentence(f"{file}#{section}", keywords, text, digest(text)))
    return found


def anchors(folder: Path, file: str) -> set[str]:
    """The sections of one file, as "file.md#anchor". Raises what extract() does."""
    return {f"{file}#{name}" for name, _ in _blocks((folder / file).read_text(encoding="utf-8").splitlines())}


def extract_all(folder: Path) -> list[Sentence]:
    """The sentences of all of FILES."""
    return [sentence for file in FILES for sentence in extract(folder, file)]


def counts(sentences: list[Sentence]) -> dict[str, int]:
    """How many sentences each section holds: what is committed in place of the text."""
    return dict(Counter(sentence.section for sentence in sentences))
