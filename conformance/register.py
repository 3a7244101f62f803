"""The register: what runtime-spec 1.3 asks of a Linux runtime, read from register/*.toml and checked.

Each file of the specification has one file here, which accounts for every sentence of it that has a keyword of RFC
2119: the sentence is a requirement (or several), says again what another requirement says, or binds somebody else than
a runtime. check() compares that with the specification's text.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from .model import Case, Level, Requirement
from .sentences import FILES, KEYWORDS, anchors, counts, extract_all

VERSION = "1.3.0"
"""The version of the specification that the register is made from."""

SHOULD_LEVEL = ("SHOULD", "SHOULD NOT", "RECOMMENDED", "NOT RECOMMENDED")
OUT_OF_SCOPE = (
    "config-freebsd.md", "config-solaris.md", "config-vm.md", "config-windows.md", "config-zos.md",
)  # fmt: skip
"""Files of the specification that bind no Linux runtime; what the others say of such platforms is in [[unbinding]]."""

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+")
_DIGEST = re.compile(r"[0-9a-f]{12}")
_FIELDS = {
    "requirement": ({"code", "keyword", "section", "text", "sentence"}, {"from", "untestable"}),
    "restated": ({"code", "section", "sentence"}, {"keywords"}),
    "unbinding": ({"section", "sentence", "reason"}, {"keywords"}),
}


class RegisterError(ValueError):
    """A file of the register cannot be read: which file and entry, and what is wrong with it."""


@dataclass(frozen=True)
class Restated:
    """A sentence that says again what the requirement ``code`` says. Empty ``keywords`` means all that it has."""

    code: str
    section: str
    sentence: str
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unbinding:
    """A sentence that asks nothing of a Linux runtime, and the reason. Empty ``keywords`` means all that it has."""

    section: str
    sentence: str
    reason: str
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Register:
    """The requirements by code, in the specification's order, and the accounts of all other sentences.

    ``origins`` holds, for a requirement on a property that has no keyword of its own, the section of the general
    sentence that it follows from. ``sentences`` is how many sentences with a keyword each section has.
    """

    requirements: Mapping[str, Requirement]
    origins: Mapping[str, str] = field(default_factory=dict)
    restated: tuple[Restated, ...] = ()
    unbinding: tuple[Unbinding, ...] = ()
    sentences: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Coverage:
    """How the requirements of one section and level stand: codes that cases test, that none can, that none does."""

    section: str
    level: Level
    tested: tuple[str, ...]
    untestable: tuple[str, ...]
    untested: tuple[str, ...]


def level(keyword: str) -> Level:
    """MUST or SHOULD, as RFC 2119 groups its keywords."""
    return "SHOULD" if keyword in SHOULD_LEVEL else "MUST"


def link(section: str) -> str:
    """Where a section, "runtime.md#create", can be read."""
    return f"https://github.com/opencontainers/runtime-spec/blob/v{VERSION}/{section}"


def load() -> Register:
    """The register of this package. Raises RegisterError."""
    folder = resources.files(__package__) / "register"
    return parse({file: (folder / file.replace(".md", ".toml")).read_text(encoding="utf-8") for file in FILES})


def parse(texts: Mapping[str, str]) -> Register:
    """The register of {"runtime.md": TOML …}. Raises RegisterError."""
    requirements: dict[str, Requirement] = {}
    origins: dict[str, str] = {}
    restated: list[Restated] = []
    unbinding: list[Unbinding] = []
    sentences: dict[str, int] = {}
    for file, text in texts.items():
        name = file.replace(".md", ".toml")
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RegisterError(f"register/{name}: {error}") from None
        for key in document.keys() - {"file", "sentences", *_FIELDS}:
            raise RegisterError(f"register/{name}: unknown table {key!r}")
        if document.get("file") != file:
            raise RegisterError(f"register/{name}: file is {document.get('file')!r}, expected {file!r}")
        sentences |= {f"{file}#{section}": count for section, count in document.get("sentences", {}).items()}
        for kind in _FIELDS:
            for number, entry in enumerate(document.get(kind, ())):
                where = f"register/{name}: {kind}[{number}] {entry.get('code', '')}".rstrip()
                _validate(kind, entry, where)
                section, keywords = f"{file}#{entry['section']}", tuple(entry.get("keywords", ()))
                if kind == "restated":
                    restated.append(Restated(entry["code"], section, entry["sentence"], keywords))
                elif kind == "unbinding":
                    unbinding.append(Unbinding(section, entry["sentence"], entry["reason"], keywords))
                elif entry["code"] in requirements:
                    raise RegisterError(f"{where}: the code is there twice")
                else:
                    requirements[entry["code"]] = Requirement(
                        entry["code"], level(entry["keyword"]), entry["keyword"], section, entry["text"],
                        entry["sentence"], entry.get("untestable", ""),
                    )  # fmt: skip
                    origins |= {entry["code"]: entry["from"]} if "from" in entry else {}
    for other in restated:
        if other.code not in requirements:
            raise RegisterError(f"restated in {other.section}: no requirement has the code {other.code!r}")
    return Register(requirements, origins, tuple(restated), tuple(unbinding), sentences)


def _validate(kind: str, entry: Mapping[str, Any], where: str) -> None:
    required, optional = _FIELDS[kind]
    for key in sorted(required - entry.keys()):
        raise RegisterError(f"{where}: {key} is missing")
    for key in sorted(entry.keys() - required - optional):
        raise RegisterError(f"{where}: unknown field {key!r}")
    for key, value in entry.items():
        if key == "keywords":
            if not isinstance(value, list) or not set(value) <= set(KEYWORDS):
                raise RegisterError(f"{where}: keywords is {value!r}, expected a list of keywords of RFC 2119")
        elif not isinstance(value, str) or not value:
            raise RegisterError(f"{where}: {key} is {value!r}, expected a text")
    if "code" in entry and not _CODE.fullmatch(entry["code"]):
        raise RegisterError(f"{where}: a code is lower-case words with hyphens, joined by dots")
    if not _DIGEST.fullmatch(entry["sentence"]):
        raise RegisterError(f"{where}: sentence is {entry['sentence']!r}, expected 12 hexadecimal digits")
    if "keyword" in entry and entry["keyword"] not in KEYWORDS:
        raise RegisterError(f"{where}: keyword is {entry['keyword']!r}, expected one of {', '.join(KEYWORDS)}")


def check(register: Register, folder: Path) -> list[str]:
    """What does not agree between the register and the specification's text in folder; nothing, if all is well.

    Every sentence must be accounted for with each of its keywords, every account must have its sentence, and the
    sections and counts must be those of the text. Raises OSError where the text cannot be read.
    """
    found = extract_all(folder)
    accounts: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for requirement in register.requirements.values():
        where = register.origins.get(requirement.code, requirement.section)
        accounts.setdefault((where, requirement.sentence), []).append((requirement.keyword,))
    others: tuple[Restated | Unbinding, ...] = (*register.restated, *register.unbinding)
    for account in others:
        accounts.setdefault((account.section, account.sentence), []).append(account.keywords)
    problems = []
    for sentence in found:
        entries = accounts.get((sentence.section, sentence.digest), [])
        known = set(sentence.keywords) if () in entries else {keyword for entry in entries for keyword in entry}
        for keyword in sentence.keywords:
            if keyword not in known:
                problems.append(f"{sentence.section}: {sentence.digest} {keyword}: not accounted for: {sentence.text}")
    present = {(sentence.section, sentence.digest): set(sentence.keywords) for sentence in found}
    for (section, digest), entries in accounts.items():
        if (section, digest) not in present:
            problems.append(f"{section}: {digest}: stale: the text has no such sentence")
        elif wrong := {keyword for entry in entries for keyword in entry} - present[section, digest]:
            problems.append(f"{section}: {digest}: stale: the sentence has no {' and no '.join(sorted(wrong))}")
    known_sections = {section for file in FILES for section in anchors(folder, file)}
    for requirement in register.requirements.values():
        if requirement.section not in known_sections:
            problems.append(f"{requirement.code}: the text has no section {requirement.section}")
    actual = counts(found)
    for section in sorted(actual.keys() | register.sentences.keys()):
        there, counted = actual.get(section, 0), register.sentences.get(section, 0)
        if there != counted:
            problems.append(f"{section}: {there} sentences in the text, and the register counts {counted}")
    return problems


def check_cases(register: Register, cases: Iterable[Case]) -> list[str]:
    """What does not agree between the register and the cases: unknown codes, and codes said to be untestable."""
    problems = []
    for case in cases:
        for code in case.codes:
            if code not in register.requirements:
                problems.append(f"case {case.name}: no requirement has the code {code}")
            elif not register.requirements[code].observable:
                problems.append(f"case {case.name}: {code} is said to be untestable")
    return problems


def coverage(register: Register, tested: Iterable[str]) -> list[Coverage]:
    """By section and level, in the specification's order, which requirements are tested: those of the given codes."""
    tested = set(tested)
    groups: dict[tuple[str, Level], list[Requirement]] = {}
    for requirement in register.requirements.values():
        groups.setdefault((requirement.section, requirement.level), []).append(requirement)
    order = {file: number for number, file in enumerate(FILES)}
    first: Counter[str] = Counter()
    for number, requirement in enumerate(register.requirements.values()):
        first.setdefault(requirement.section, number)
    return [
        Coverage(
            section, level_,
            tuple(r.code for r in group if r.observable and r.code in tested),
            tuple(r.code for r in group if not r.observable),
            tuple(r.code for r in group if r.observable and r.code not in tested),
        )
        for (section, level_), group in sorted(
            groups.items(), key=lambda item: (order[item[0][0].split("#")[0]], first[item[0][0]], item[0][1])
        )
    ]  # fmt: skip
