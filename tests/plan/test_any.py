"""Whatever the reader takes, the planner plans or refuses, on any host."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plandriver import HOSTS, decode, directories, options_for, plan_of
from spec.strategies import Tree, changed, configurations, minimal

from ocirun.errors import ConfigError
from ocirun.plan import show
from ocirun.plan.encode import encode
from ocirun.plan.execute import build_exec
from ocirun.plan.tables import EXTENSIONS, FLAGS, PROPAGATION, RECURSIVE
from ocirun.spec.read import read_spec
from ocirun.spec.tables import NAMESPACES

OPTIONS = [*FLAGS, *PROPAGATION, *RECURSIVE, *EXTENSIONS, "size=1m", "unheard-of", ""]


def plan_and_look(tree: Tree, host: str) -> None:
    """:raises ConfigError: the reader or the planner refuses it"""
    spec = read_spec("config.json", json.dumps(tree).encode())
    plan = plan_of(spec, HOSTS[host])
    _, _, found = decode(encode(plan))
    assert [index for index, _ in found] == [n for n, op in enumerate(plan.operations) if op.who != "parent"]
    assert show.table(plan).count("\n") == len(plan.operations) + 1


@settings(max_examples=300, deadline=None)
@given(configurations(), st.sampled_from(sorted(HOSTS)))
def test_any_configuration(tree: Tree, host: str) -> None:
    try:
        plan_and_look(tree, host)
    except ConfigError as error:
        assert error.problems


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"destination": st.sampled_from(["/a", "/dev", "/sys/fs/cgroup", "b", "/proc/meminfo"])},
            optional={
                "type": st.sampled_from(["bind", "tmpfs", "cgroup", "sysfs", "devpts", "overlay", "none"]),
                "source": st.sampled_from(["/s", "s", "none"]),
                "options": st.lists(st.sampled_from(OPTIONS), max_size=6),
            },
        ),
        max_size=4,
    ),
    st.sampled_from(sorted(HOSTS)),
)
def test_any_mounts(wanted: list[Tree], host: str) -> None:
    try:
        plan_and_look({**minimal(), "mounts": wanted}, host)
    except ConfigError as error:
        assert error.problems


MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(NAMESPACES)), unique=True),
    st.sets(st.sampled_from(sorted(NAMESPACES))),
    st.sampled_from(sorted(HOSTS)),
)
def test_any_namespaces(kinds: list[str], by_path: set[str], host: str) -> None:
    tree = minimal()
    spaces = [{"type": kind} | ({"path": f"/ns/{kind}"} if kind in by_path else {}) for kind in kinds]
    maps = {"uidMappings": MAPS, "gidMappings": MAPS} if "user" in set(kinds) - by_path else {}
    tree = {**tree, "linux": {**tree.get("linux", {}), "namespaces": spaces, **maps}}
    try:
        plan_and_look(tree, host)
    except ConfigError as error:
        assert error.problems
        return
    spec = read_spec("config.json", json.dumps(tree).encode())
    facts = HOSTS[host]
    plan = build_exec(spec.process, spec, facts, options_for(spec), directories(facts), kinds, None)
    assert plan.slots >= len(plan.inherited)
    assert encode(plan)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("base", ["bind", "rbind", "tmpfs"])
def test_every_mount_option_does_something_or_is_refused(option: str, base: str) -> None:
    """None is silently lost: it changes the plan, is passed to the file system, or is refused."""
    mount: Tree = {"destination": "/a", "source": "/s", "options": [option]}
    mount |= {"type": "tmpfs"} if base == "tmpfs" else {"options": [base, option]}
    plain = {**mount, "options": [word for word in mount["options"] if word != option]}
    try:
        spec, other = (
            read_spec("config.json", json.dumps(changed({**minimal(), "mounts": []}, ("mounts",), [m])).encode())
            for m in (mount, plain)
        )
        differs = plan_of(spec).operations != plan_of(other).operations
    except ConfigError:
        return
    of_a_file_system = {"sync", "dirsync", "mand", "lazytime", "iversion", "silent"}
    already_so = {
        "",
        "defaults",
        "async",
        "loud",
        "nomand",
        "noiversion",
        "nolazytime",
        "norelatime",
        "rnorelatime",
        base,
    }
    unset = {"atime", "dev", "diratime", "exec", "nostrictatime", "rw", "suid", "symfollow"}
    if option in already_so or (base == "tmpfs" and option in unset):
        assert not differs  # what is cleared was not set
    elif base != "tmpfs" and option in of_a_file_system | {"tmpcopyup", "bind"}:
        assert not differs  # mount(2) ignores these for bind mounts
    else:
        assert differs
