"""Operations in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plandriver import HERE, plan_of, spec_of

from ocirun.plan import ops, parent, show, tables
from ocirun.plan.fields import FIELDS
from ocirun.plan.ops import NO_SLOT, Operation
from ocirun.spec.tables import CAPABILITIES


def bind(**changes: int) -> Operation:
    values: dict[str, int] = dict.fromkeys(
        ("recursive", "attr_set", "attr_clear", "rec_set", "rec_clear", "propagation", "target_flags"), 0
    )
    values |= {"slot": NO_SLOT} | changes
    return ops.bind("init", "/mounts/3", source="/data", target="/srv/data", **values)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (
            ops.mount(
                "init",
                "",
                fstype="proc",
                source="proc",
                target="/proc",
                options=(),
                ms_flags=0,
                propagation=0,
                target_flags=2,
                slot=ops.NO_SLOT,
            ),
            "mount proc on /proc",
        ),
        (bind(), "bind /data on /srv/data"),
        (bind(attr_set=tables.ATTR_RDONLY), "bind /data on /srv/data (ro)"),
        (
            bind(recursive=1, slot=2, rec_set=tables.ATTR_NODEV, propagation=tables.MS_SLAVE | tables.MS_REC),
            "bind /data and all below, taken along, on /srv/data (rnodev,rslave)",
        ),
        (
            ops.mknod("init", "", target="/dev/null", mode=0o020666, major=1, minor=3, uid=0, gid=0),
            "make the device /dev/null (character device 1:3, mode 0666)",
        ),
        (ops.exec("init", "", args=("sh", "-c", "a\nb\x1b"), env=(), preserve=0, uid=0), r"exec sh -c a\nb\x1b"),
        (ops.hostname("init", "", name="{0}{name}"), "set the host name {0}{name}"),
        (ops.unshare("outer", "", flags=0x80), "make the time namespace"),
        (ops.unshare("outer", "", flags=0x04020000), "make the mount and uts namespaces"),
        (
            ops.set_rlimit("init", "", resource=7, pad=0, soft=1, hard=2**64 - 1),
            "set RLIMIT_NOFILE to 1 (hard unlimited)",
        ),
        (parent.cgroup_write("", path="/c/devices.allow", value="a\nb", optional=0), "write a, b to /c/devices.allow"),
        (parent.uid_map("", text="0 1000 1\n1 5 6\n"), "map user ids: 1 from 0 to 1000, 6 from 1 to 5"),
        (
            parent.hook("", kind="prestart", path="/h", args=("h",), env=(), timeout=3),
            "run prestart hook /h, at most 3 s",
        ),
        (ops.bounding("init", "", keep=2 ** len(CAPABILITIES) - 1), "limit the capabilities to all"),
    ],
)
def test_words(operation: Operation, words: str) -> None:
    assert show.describe(operation) == words


def test_slots_by_what_they_hold() -> None:
    plan = plan_of(spec_of("pod"))
    joined = [show.describe(op, plan) for op in plan.operations if op.name == "setns"]
    assert "join the network namespace of /run/netns/pod" in joined
    cgroups = [show.describe(op, plan) for op in plan.operations if op.name == "join_cgroup"]
    assert cgroups[0] == "join the cgroup of /sys/fs/cgroup/cpu,cpuacct/test/box"


def _any(kind: str) -> st.SearchStrategy[object]:
    number = st.integers(0, 2**31 - 1)
    text = st.text(max_size=8)
    return {"str": text, "strv": st.lists(text, max_size=3).map(tuple), "blob": st.binary(max_size=8)}.get(kind, number)


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_there_are_words_for_all_values(name: str, data: st.DataObject) -> None:
    values = tuple(data.draw(_any(kind)) for _, kind in FIELDS[name])
    text = show.describe(Operation(("init", "", name, values)))
    assert text
    assert text.isprintable()


@pytest.mark.parametrize("name", sorted(parent.FIELDS))
def test_there_are_words_for_the_parents_operations(name: str) -> None:
    texts = {"text": "0 0 1\n", "timeout": 1, "rules": "deny a", "value": "1", "optional": 0, "flags": 1, "existing": 0}
    values = tuple(texts.get(field, "/x") for field in parent.FIELDS[name])
    assert show.describe(parent.ParentOperation(("parent", "", name, values)))


def test_json() -> None:
    for bundle in (HERE / "bundles").glob("*.json"):
        plan = plan_of(spec_of(bundle.stem))
        rows = json.loads(show.to_json(plan))
        assert [row["index"] for row in rows] == list(range(len(plan.operations)))
        assert [(row["who"], row["operation"], row["pointer"]) for row in rows] == [
            (op.who, op.name, op.pointer) for op in plan.operations
        ]
        assert all(set(row["fields"]) == set(op.fields()) for row, op in zip(rows, plan.operations, strict=True))


def test_table_has_a_line_for_each_operation() -> None:
    plan = plan_of(spec_of("process"))  # with a newline in args
    lines = show.table(plan).splitlines()
    assert len(lines) == len(plan.operations) + 1
    assert lines[0].split() == ["#", "who", "operation", "from"]
