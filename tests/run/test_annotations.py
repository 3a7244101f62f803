"""annotations (config.md): passed to the state and to every hook as they are, and of no effect otherwise."""

from __future__ import annotations

import json

import pytest
from harness import Runtime, Workshop

ANNOTATIONS = {
    "com.example.plain": "value",
    "com.example.empty": "",
    "com.example/a~b c": "quotes \" and ' and \\ and \n, \t, \x7f, \u2028",
    "com.example.\u00e4\u20ac\U0001f600": "\u00fc \u4e2d \U0001f600",
    "com.example." + "k" * 2000: "long name",
    "com.example.long": "v" * 1_000_000,
    "org.opencontainers.image.title": "reserved for the project's own",
    "io.example.json": json.dumps({"structured": [1, "2"]}),
    # Other runtimes do something with these.
    "bundle": "/elsewhere",
    "org.systemd.property.CPUWeight": "no variant",
    "org.criu.config": "/nowhere",
    "run.oci.keep_original_groups": "1",
    "module.wasm.image/variant": "compat",
}


@pytest.mark.ocirun  # "bundle" is the bundle in runc's state
def test_state_and_hooks(runtime: Runtime, bundle: Workshop) -> None:
    """Those in the container get the same: test_hook_processes.py::test_input_and_output_of_any_length."""
    made = bundle("pause")
    made.config["annotations"] = ANNOTATIONS
    runtimes = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    made.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{made.path}/{kind}"]}] for kind in runtimes
    }
    pid = runtime.started(made)
    state = runtime.state(made)
    assert state["annotations"] == ANNOTATIONS
    assert state["bundle"] == str(made.path)
    assert runtime.end(made, pid) == 137
    for kind in runtimes:
        assert json.loads((made.path / kind).read_text())["annotations"] == ANNOTATIONS, kind


@pytest.mark.ocirun
@pytest.mark.parametrize(
    ("annotations", "text"),
    [
        ({"": "x"}, "/annotations/: expected a key"),
        ({"a": 1}, "/annotations/a: expected a string, found 1"),
        ({"a": None}, "/annotations/a: expected a string, found null"),
        ({"a": {"b": "c"}}, "/annotations/a: expected a string, found an object"),
        (["a"], "/annotations: expected an object, found an array"),
    ],
)
def test_what_is_none(runtime: Runtime, bundle: Workshop, annotations: object, text: str) -> None:
    made = bundle()
    made.config["annotations"] = annotations
    runtime.create(made).failed(text)


def test_none_at_all(runtime: Runtime, bundle: Workshop) -> None:
    for none in ({}, None):
        made = bundle("true")
        made.config["annotations"] = none
        runtime.run(made).ok()
