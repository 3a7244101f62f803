"""The register of requirements: that it is complete, and that a gap in it would be seen."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocirun_conformance import cases, sentences
from ocirun_conformance.model import Case
from ocirun_conformance.register import (
    RegisterError,
    Unbinding,
    check,
    check_cases,
    coverage,
    level,
    link,
    load,
    parse,
)

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = Path(os.environ.get("OCIRUN_RUNTIME_SPEC", REPOSITORY.parent / "shared" / "runtime-spec"))

needs_text = pytest.mark.skipif(
    not TEXT.is_dir(), reason="the specification's text is not here: OCIRUN_RUNTIME_SPEC names its directory"
)


# The real thing.


@needs_text
def test_every_sentence_of_the_specification_is_accounted_for() -> None:
    assert check(load(), TEXT) == []


@needs_text
def test_every_option_of_the_table_is_a_requirement_under_its_own_name_and_level() -> None:
    texts = {one.digest: one for one in sentences.extract(TEXT, "config.md")}
    found = 0
    for requirement in load().requirements.values():
        row = texts[requirement.sentence].text.split(" | ") if requirement.sentence in texts else []
        if len(row) == 3 and requirement.section == "config.md#linux-mount-options":
            found += 1
            assert re.split(r"[.]", requirement.code)[3].removesuffix("-applied") == row[0].strip()
            assert requirement.keyword == row[1] or requirement.code.endswith("-applied")
    assert found == 60


def test_every_case_has_requirements_that_are_there() -> None:
    assert check_cases(load(), cases.load()) == []


def test_nearly_all_that_can_be_tested_is() -> None:
    lines = coverage(load(), {code for case in cases.load() for code in case.codes})
    for name, least in (("MUST", 0.95), ("SHOULD", 0.9)):
        tested = sum(len(one.tested) for one in lines if one.level == name)
        untested = [code for one in lines if one.level == name for code in one.untested]
        assert tested >= least * (tested + len(untested)), untested


def test_codes_begin_with_their_file() -> None:
    for requirement in load().requirements.values():
        assert requirement.code.split(".")[0] == requirement.section.split(".md#")[0], requirement.code


def test_reasons_are_reasons() -> None:
    register = load()
    for reason in [one.untestable for one in register.requirements.values()] + [
        one.reason for one in register.unbinding
    ]:
        assert reason == "" or len(reason) > 20, reason
    assert not any(one.text.endswith(".") for one in register.requirements.values())


def test_levels_and_links() -> None:
    assert [level(word) for word in ("MUST NOT", "REQUIRED", "SHALL")] == ["MUST"] * 3
    assert [level(word) for word in ("SHOULD NOT", "NOT RECOMMENDED")] == ["SHOULD"] * 2
    assert link("runtime.md#create") == "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/runtime.md#create"


# Extraction.

DOCUMENT = """\
# <a name="x" />Things

A first one MUST be
on two lines. Nothing here. `args` SHOULD NOT follow (see [the *other*](a.md#b) part), e.g. `x` or so.

```json
"MUST": "not be seen"
```

* **`name`** (string, REQUIRED) is [linked][ref].
    It **MUST NOT** be empty.
    1. An inner item which MAY be.
  > A quoted one is NOT RECOMMENDED here.

## Example

 Option | Requirement | Description
--------|-------------|---
 `a`    | MUST        | [^1]
| `b` | SHOULD | This SHOULD. That MUST. |

## Example

It SHALL.
"""


def test_extraction(tmp_path: Path) -> None:
    (tmp_path / "config.md").write_text(DOCUMENT)
    found = [(one.section, one.keywords, one.text) for one in sentences.extract(tmp_path, "config.md")]
    assert found == [
        ("config.md#things", ("MUST",), "A first one MUST be on two lines."),
        ("config.md#things", ("SHOULD NOT",), "args SHOULD NOT follow (see the other part), e.g. x or so."),
        ("config.md#things", ("REQUIRED",), "name (string, REQUIRED) is linked."),
        ("config.md#things", ("MUST NOT",), "It MUST NOT be empty."),
        ("config.md#things", ("NOT RECOMMENDED",), "A quoted one is NOT RECOMMENDED here."),
        ("config.md#example", ("MUST",), "a | MUST | [^1]"),
        ("config.md#example", ("SHOULD",), "b | SHOULD | This SHOULD."),
        ("config.md#example", ("MUST",), "That MUST."),
        ("config.md#example-1", ("SHALL",), "It SHALL."),
    ]
    assert sentences.anchors(tmp_path, "config.md") == {
        f"config.md#{name}" for name in ("things", "example", "example-1")
    }


WORDS = st.lists(st.sampled_from(["a", "`b`", "**c**", "[d](e)", "[f][g]", "i.e.", *sentences.KEYWORDS]), min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["", "* ", "1. ", "    - ", "| "]), WORDS), max_size=8))
def test_no_keyword_is_lost_whatever_stands_around_it(blocks: list[tuple[str, list[str]]]) -> None:
    lines = [mark + " ".join(words) + (" | x |" if mark == "| " else ".") for mark, words in blocks]
    text = "\n\n".join(lines)
    found = [one for _, block in sentences._blocks(text.split("\n")) for one in sentences._END.split(block)]
    expected = sorted(word for line in lines for word in re.findall(r"MUST|SHALL|SHOULD|REQUIRED|RECOMMENDED", line))
    assert (
        sorted(re.findall(r"MUST|SHALL|SHOULD|REQUIRED|RECOMMENDED", " ".join(map(sentences.plain, found)))) == expected
    )


# The check finds what is wrong.


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A specification of three sentences."""
    for file in sentences.FILES:
        (tmp_path / file).write_text("")
    (tmp_path / "bundle.md").write_text(
        "## Format\n\nIt MUST be and MUST NOT not be.\n\n## Rest\n\nYou SHOULD. It SHALL.\n"
    )
    return tmp_path


def entry(said: str, **fields: str) -> str:
    lines = {
        "code": "bundle.a",
        "keyword": "MUST",
        "section": "format",
        "text": "It is",
        "sentence": sentences.digest(said),
    }
    return "[[requirement]]\n" + "".join(f'{key} = "{value}"\n' for key, value in {**lines, **fields}.items())


FIRST = "It MUST be and MUST NOT not be."
GOOD = {
    "head": 'file = "bundle.md"\n',
    "counts": "[sentences]\nformat = 1\nrest = 2\n",
    "a": entry(FIRST),
    "b": entry(FIRST, code="bundle.b", keyword="MUST NOT"),
    "c": f'[[unbinding]]\nsection = "rest"\nsentence = "{sentences.digest("You SHOULD.")}"\nreason = "binds you"\n',
    "d": f'[[restated]]\nsection = "rest"\nsentence = "{sentences.digest("It SHALL.")}"\ncode = "bundle.a"\n',
}


def problems(text: Path, **changes: str) -> list[str]:
    return check(parse({"bundle.md": "\n".join({**GOOD, **changes}.values())}), text)


def test_a_register_that_fits(text: Path) -> None:
    assert problems(text) == []


def test_a_sentence_without_an_account(text: Path) -> None:
    assert [one.partition(": ")[2] for one in problems(text, c="")] == [
        f"{sentences.digest('You SHOULD.')} SHOULD: not accounted for: You SHOULD."
    ]


def test_a_keyword_without_an_account(text: Path) -> None:
    (problem,) = problems(text, b="")
    assert "MUST NOT: not accounted for" in problem and "bundle.md#format" in problem


def test_an_account_without_its_sentence(text: Path) -> None:
    (text / "bundle.md").write_text(
        "## Format\n\nIt MUST be and MUST NOT not be.\n\n## Rest\n\nYou SHOULD now. It SHALL.\n"
    )
    found = problems(text)
    assert len(found) == 2 and "not accounted for: You SHOULD now." in found[0] and "stale" in found[1]


def test_a_keyword_that_the_sentence_does_not_have(text: Path) -> None:
    assert ["no SHALL" in one for one in problems(text, e=entry(FIRST, code="bundle.e", keyword="SHALL"))] == [True]


def test_a_section_that_is_not_there(text: Path) -> None:
    fields = {"code": "bundle.e", "section": "nowhere", "from": "bundle.md#format"}
    assert problems(text, e=entry(FIRST, **fields)) == ["bundle.e: the text has no section bundle.md#nowhere"]


def test_a_count_that_is_wrong(text: Path) -> None:
    assert problems(text, counts="[sentences]\nformat = 1\nrest = 3\n") == [
        "bundle.md#rest: 2 sentences in the text, and the register counts 3"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": "[[requirement]"}, "register/bundle.toml: "),
        ({"head": 'file = "config.md"\n'}, "file is 'config.md', expected 'bundle.md'"),
        ({"a": "[[requirements]]\n"}, "unknown table 'requirements'"),
        ({"a": entry(FIRST, code="Bundle_A")}, "requirement[0] Bundle_A: a code is lower-case words"),
        ({"a": entry(FIRST, keyword="MAY")}, "keyword is 'MAY', expected one of MUST NOT"),
        ({"a": entry(FIRST, sentence="xyz")}, "sentence is 'xyz', expected 12 hexadecimal digits"),
        ({"a": entry(FIRST, text="")}, "text is '', expected a text"),
        ({"a": entry(FIRST, colour="red")}, "unknown field 'colour'"),
        ({"a": entry(FIRST, code="bundle.b")}, "requirement[1] bundle.b: the code is there twice"),
        ({"d": GOOD["d"].replace("bundle.a", "bundle.x")}, "no requirement has the code 'bundle.x'"),
        ({"c": GOOD["c"].replace("reason", "excuse")}, "unbinding[0]: reason is missing"),
        ({"c": GOOD["c"] + 'keywords = ["MAY"]\n'}, "keywords is ['MAY']"),
    ],
)
def test_a_register_that_cannot_be_read(changes: dict[str, str], message: str) -> None:
    with pytest.raises(RegisterError, match=re.escape(message)):
        parse({"bundle.md": "\n".join({**GOOD, **changes}.values())})


def test_cases_that_do_not_fit() -> None:
    register = parse(
        {"bundle.md": "\n".join({**GOOD, "b": entry(FIRST, code="bundle.b", untestable="never")}.values())}
    )
    odd = Case("odd.one", ("bundle.a", "bundle.b", "bundle.x"), lambda trial: None, "")
    assert check_cases(register, [odd]) == [
        "case odd.one: bundle.b is said to be untestable",
        "case odd.one: no requirement has the code bundle.x",
    ]


def test_coverage() -> None:
    parts = {**GOOD, "e": entry(FIRST, code="bundle.e", untestable="never"), "f": entry(FIRST, code="bundle.f")}
    (one,) = coverage(parse({"bundle.md": "\n".join(parts.values())}), ["bundle.a", "bundle.b"])
    assert (one.section, one.level) == ("bundle.md#format", "MUST")
    assert (one.tested, one.untestable, one.untested) == (("bundle.a", "bundle.b"), ("bundle.e",), ("bundle.f",))


def test_a_sentence_that_binds_others_says_whom() -> None:
    assert parse({"bundle.md": "\n".join(GOOD.values())}).unbinding == (
        Unbinding("bundle.md#rest", sentences.digest("You SHOULD."), "binds you"),
    )
