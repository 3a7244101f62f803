"""The bytes of a plan (native/init/wire.h); the init's own decoder is tested in tests/native."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plandriver import HERE, decode, plan_of, spec_of

from ocirun.errors import ConfigError
from ocirun.plan import ops, parent, show
from ocirun.plan.draft import Plan
from ocirun.plan.encode import encode
from ocirun.plan.fields import FIELDS

BUNDLES = sorted(path.stem for path in (HERE / "bundles").glob("*.json"))

NUMBERS = {
    "u32": st.integers(0, 2**32 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
}
# surrogateescape: bytes of a path that are no UTF-8
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from([chr(c) for c in range(0xDC80, 0xDD00)]),
    max_size=20,
).filter(lambda text: text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text)
VALUES = NUMBERS | {"str": TEXT, "strv": st.lists(TEXT, max_size=5).map(tuple), "blob": st.binary(max_size=40)}


@st.composite
def operations(draw: Any, who: str) -> ops.Operation:
    """An operation with any values."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    return ops.Operation((who, "/x", name, tuple(draw(VALUES[kind]) for _, kind in FIELDS[name])))


@st.composite
def plans(draw: Any) -> Plan:
    """A plan of any operations, some of them the parent's."""
    by_parent = st.just(parent.uid_map("/y", text="0 0 1\n"))
    outer = draw(st.lists(operations("outer") | by_parent, max_size=8))
    init = draw(st.lists(operations("init") | by_parent, max_size=8))
    return Plan(operations=(*outer, *init), inherited=(), slots=draw(NUMBERS["u32"]))


def expected(plan: Plan) -> list[tuple[int, ops.Operation]]:
    return [
        (index, ops.Operation((op.who, "", op.name, op.values)))
        for index, op in enumerate(plan.operations)
        if op.who != "parent"
    ]


@settings(max_examples=300, deadline=None)
@given(plans())
def test_round_trip(plan: Plan) -> None:
    slots, outer, found = decode(encode(plan))
    assert slots == plan.slots
    assert outer == sum(op.who == "outer" for op in plan.operations)
    assert found == expected(plan)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_what_is_printed_is_what_is_encoded(bundle: str) -> None:
    """Every record is a line of the table and the other way round, but for the parent's."""
    plan = plan_of(spec_of(bundle))
    _, _, found = decode(encode(plan))
    assert found == expected(plan)
    lines = show.table(plan).splitlines()[1:]
    printed = [int(line.split()[0]) for line in lines if line.split()[1] != "parent"]
    assert [index for index, _ in found] == printed


def test_slots() -> None:
    """Every slot is filled once, by the parent or by an operation, before it is used; none is for nothing."""
    for bundle in BUNDLES:
        plan = plan_of(spec_of(bundle))
        filled = set(range(len(plan.inherited)))
        used = set()
        for operation in plan.operations:
            fields = operation.fields()
            if operation.name in ("open", "open_tree", "open_cgroup", "user_namespace", "make_node"):
                assert fields["slot"] not in filled
                filled.add(fields["slot"])
                continue
            for name in ("slot", "namespace_slot", "cgroup_slot", "procs_slot"):
                slot = fields.get(name, ops.NO_SLOT)
                if slot != ops.NO_SLOT:
                    assert slot in filled
                    used.add(slot)
        assert filled == used == set(range(plan.slots))


def test_equal_strings_are_stored_once() -> None:
    one = ops.sysctl("init", "", path="a" * 1000, value="b")
    size = len(encode(Plan(operations=(one,), inherited=(), slots=0)))
    assert len(encode(Plan(operations=(one, one), inherited=(), slots=0))) < size + 100


@pytest.mark.parametrize(
    "operation",
    [
        ops.hostname("init", "/hostname", name="a\0b"),
        ops.exec("init", "/hostname", args=("a", "b\0"), env=(), preserve=0, uid=0),
        ops.umask("init", "/hostname", mask=2**32),
        ops.umask("init", "/hostname", mask=-1),
        ops.oom_score_adj("init", "/hostname", value=2**31),
        ops.bounding("init", "/hostname", keep=2**64),
        ops.hostname("init", "/hostname", name="\ud800"),
    ],
)
def test_what_does_not_fit_is_refused(operation: ops.Operation) -> None:
    """CVE-2021-43784: never cut off."""
    with pytest.raises(ConfigError) as caught:
        encode(Plan(operations=(operation,), inherited=(), slots=0))
    assert [problem.pointer for problem in caught.value.problems] == ["/hostname"]


def test_more_than_the_header_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocirun.plan.encode._LIMIT", 100)
    assert encode(Plan(operations=(), inherited=(), slots=0))
    with pytest.raises(ConfigError, match="less than 4 GiB"):
        encode(Plan(operations=(ops.hostname("init", "", name="a" * 80),), inherited=(), slots=0))


def test_fast_enough() -> None:
    """A usual configuration takes a third of a millisecond; ten times that is allowed, since others work here too."""
    spec = spec_of("usual")
    best = min(_time(spec) for _ in range(20))
    assert best < 0.003


def _time(spec: Any) -> float:
    start = time.perf_counter()
    encode(plan_of(spec))
    return time.perf_counter() - start
