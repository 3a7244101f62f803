"""Everything that is wrong is listed at once: what types and rules refuse with what only a plan would."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from spec.strategies import Tree, configurations, json_values, minimal

from ocirun.errors import ConfigError
from ocirun.lifecycle import refused
from ocirun.spec.read import read_spec
from ocirun.spec.warnings import warnings


def listed(tree: Tree) -> list[str]:
    data = json.dumps(tree).encode()
    try:
        try:
            warnings(read_spec("c", data))
        except ConfigError as error:
            refused.check("c", data, error.problems)
            raise AssertionError("what was known is forgotten") from None
        refused.check("c", data)
    except ConfigError as error:
        return [problem.pointer for problem in error.problems]
    return []


def test_both_in_the_order_of_the_document() -> None:
    tree = minimal()
    tree["process"] = {"apparmorProfile": "a", **tree["process"], "cwd": "b", "selinuxLabel": "c"}
    assert listed(tree) == ["/process/apparmorProfile", "/process/cwd", "/process/selinuxLabel"]


def test_nothing_follows_from_what_is_wrong_by_itself() -> None:
    tree = minimal() | {"mounts": [{"destination": "", "type": "tmpfs"}, {"destination": 5}, 7]}
    assert listed(tree) == ["/mounts/0/destination", "/mounts/1/destination", "/mounts/2"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}'])
def test_no_document(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_spec("c", text.encode())
    with pytest.raises(ConfigError) as again:
        refused.check("c", text.encode(), error.value.problems)
    assert str(again.value) == str(error.value)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configurations())
def test_whatever_it_is(tree: Tree) -> None:
    """No value leads to another exception, nor does what stands for a wrong one; in the warnings neither."""
    listed(tree)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_document(tree: Tree) -> None:
    assert listed(tree)
