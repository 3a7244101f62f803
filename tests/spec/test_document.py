"""Spec: a configuration as a value, without loss."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec.strategies import full, minimal

import ocirun
from ocirun import Spec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(max_codepoint=0xD7FF)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(max_codepoint=0xD7FF)), JSON, max_size=5))
def test_nothing_is_lost(tree: dict[str, Any]) -> None:
    spec = Spec(tree)
    assert spec.to_dict() == tree
    assert Spec.from_dict(tree) == spec
    try:
        again = Spec.from_json(spec.to_json())
    except ocirun.ConfigError:  # what no file may have either: lone surrogates in keys, numbers beyond all bounds
        return
    assert again == spec and hash(again) == hash(spec)
    assert json.loads(spec.to_json(None)) == tree


def test_unknown_properties_stay() -> None:
    tree = full() | {"later": {"x": [1, None, 2.5]}, "windows": {"layerFolders": ["a"]}}
    spec = Spec(tree).replace(hostname="other")
    assert spec.to_dict() == tree | {"hostname": "other"}
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_it_never_changes() -> None:
    tree = minimal()
    spec = Spec(tree)
    text = spec.to_json()
    tree["process"]["cwd"] = "changed"
    spec.to_dict()["process"]["cwd"] = "changed"
    spec.get("/process")["cwd"] = "changed"
    spec.set("/process/cwd", "changed")
    spec.remove("/process/cwd")
    assert spec.to_json() == text


def test_pointers() -> None:
    spec = Spec(minimal())
    assert spec.get("/process/args/0") == minimal()["process"]["args"][0]
    assert spec.get("/nothing/here", 5) == 5 and spec.get("") == spec.to_dict()
    assert spec.set("/linux/resources/pids/limit", 5).get("/linux/resources") == {"pids": {"limit": 5}}
    assert spec.set("/annotations/a~1b~0c", "d").to_dict()["annotations"] == {"a/b~c": "d"}
    more = spec.set("/process/args/-", "one").set("/process/args/1", "two")
    assert more.get("/process/args")[1:] == ["two"]
    assert more.remove("/process/args/1").get("/process/args") == spec.get("/process/args")
    assert spec.remove("/nothing/here") is spec
    for pointer in ("", "process", "/process/args/7", "/process/args/x", "/ociVersion/x"):
        with pytest.raises(ocirun.UsageError, match="JSON pointer"):
            spec.set(pointer, 1)


def test_replace() -> None:
    spec = Spec(minimal()).set("/linux/namespaces", [{"type": "uts"}])
    spec = spec.replace(
        args=("a", "b"), env={"A": "1"}, cwd="/tmp", user=(5, 6), terminal=True, hostname="h", rootfs="/r",
        read_only=True, annotations={"x": "y"},
    )  # fmt: skip
    model = spec.model
    assert (model.process.args, model.process.env, model.process.cwd) == (("a", "b"), ("A=1",), "/tmp")
    assert (model.process.user.uid, model.process.user.gid, model.process.terminal) == (5, 6, True)
    assert (model.hostname, model.root.path, model.root.readonly) == ("h", "/r", True)
    assert model.annotations == {"x": "y"}
    with pytest.raises(ocirun.UsageError):
        spec.replace(args="ls")


def test_default_is_valid() -> None:
    for ids in (None, (1000, 1000)):
        spec = Spec.default(["/bin/true"], "/srv/root", ids=ids)
        assert spec.validate() == ocirun.Validation()
        assert spec.model.process.args == ("/bin/true",) and not spec.model.process.terminal


def test_what_is_no_json() -> None:
    for value in ({"a": {1}}, {"a": [b"x"]}, {1: "a"}, {"a": object()}):
        with pytest.raises(ocirun.ConfigError):
            Spec(value)  # type: ignore[dict-item]
    with pytest.raises(ocirun.ConfigError, match="expected an object"):
        Spec.from_json("[]")
    with pytest.raises(ocirun.ConfigError):
        Spec.from_json("{")


def test_read(tmp_path: Path) -> None:
    tree = minimal() | {"root": {"path": "rootfs"}}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    for path in (tmp_path, tmp_path / "config.json"):
        assert Spec.read(str(path)).to_dict() == tree | {"root": {"path": f"{tmp_path}/rootfs"}}
    with pytest.raises(ocirun.Error, match="not found"):
        Spec.read("/nowhere")
