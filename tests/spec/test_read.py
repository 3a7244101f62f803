"""The reader: every property arrives, every wrong value is reported, at its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engineconfigs import CONFIGS
from spec import official
from spec.strategies import VALUES, at, changed, full, minimal, places

import ocirun
from ocirun.errors import ConfigError, Problem
from ocirun.record import Record
from ocirun.spec import default, devices, limits, model, namespaces, read, seccomp, tuning, validate
from ocirun.spec.rules.check import check


def read_tree(tree: Any) -> tuple[model.Spec, list[Problem]]:
    problems: list[Problem] = []
    return read.read_tree(tree, problems), problems


def refusal(tree: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read.read_spec("config.json", json.dumps(tree).encode())
    return caught.value


def records(value: Any) -> list[Record]:
    """Every record in a record, itself too."""
    if isinstance(value, Record):
        return [value, *[inner for field in value._fields for inner in records(getattr(value, field))]]
    if isinstance(value, tuple):
        return [inner for item in value for inner in records(item)]
    if isinstance(value, dict):
        return [inner for item in value.values() for inner in records(item)]
    return []


def test_every_property_arrives_in_its_field() -> None:
    """No record of the model is left out, and no field of any record keeps its default."""
    spec, problems = read_tree(full())
    assert problems == []
    arrived = {
        (type(record).__name__, field)
        for record in records(spec)
        for field, default in record._fields.items()
        if getattr(record, field) != default
    }
    homes = (model, devices, limits, namespaces, seccomp, tuning)
    found = [value for home in homes for value in vars(home).values()]
    classes = [c for c in found if isinstance(c, type) and issubclass(c, Record) and c is not Record]
    assert arrived == {(cls.__name__, field) for cls in classes for field in cls._fields}


def test_values_arrive_as_they_are() -> None:
    spec, _ = read_tree(full())
    process, linux = spec.process, spec.linux
    assert spec.oci_version == "1.3.0"
    assert process.console_size == model.ConsoleSize(height=24, width=80)
    assert process.user == model.User(uid=1, gid=2, umask=18, additional_gids=(3, 4), username="someone")
    assert process.rlimits == (model.Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=2048),)
    assert process.capabilities == model.Capabilities(
        bounding=("CAP_KILL", "CAP_MKNOD"),
        effective=("CAP_CHOWN",),
        inheritable=("CAP_MKNOD",),
        permitted=("CAP_SETUID", "CAP_CHOWN"),
        ambient=("CAP_SETGID",),
    )
    assert process.io_priority == tuning.IoPriority(class_="IOPRIO_CLASS_BE", priority=4)
    assert linux.time_offsets == {"monotonic": namespaces.TimeOffset(secs=172800, nanosecs=5)}
    assert linux.resources is not None and linux.resources.cpu is not None
    assert (linux.resources.cpu.realtime_runtime, linux.resources.cpu.realtime_period) == (950000, 1000000)
    assert linux.seccomp is not None and linux.seccomp.raw == full()["linux"]["seccomp"]
    assert linux.seccomp.syscalls[0].args[0].value_two == 3
    assert spec.hooks.poststop[0].timeout == 5


def test_absent_is_the_default_and_null_is_absent() -> None:
    spec, problems = read_tree(minimal())
    assert problems == []
    assert spec.linux == model.Linux() and spec.hooks == model.Hooks() and spec.mounts == ()
    assert spec.process == model.Process(cwd="/", args=("sh",))
    nulls = {key: None for key in full() if key not in minimal()}
    linux = {key: None for key in full()["linux"]}
    process = {key: None for key in full()["process"] if key not in minimal()["process"]}
    tree = {**minimal(), **nulls, "process": {**minimal()["process"], **process}}
    assert read_tree(tree) == (spec, [])
    assert read_tree({**tree, "linux": linux}) == (spec, [])


def test_unknown_properties_and_other_platforms_are_ignored() -> None:
    tree = full()
    for path in list(places(tree)):
        value = at(tree, path)
        # In these every key is a name of something.
        is_map = path[-1:] in (
            ("annotations",),
            ("sysctl",),
            ("unified",),
            ("rdma",),
            ("netDevices",),
            ("timeOffsets",),
        )
        if isinstance(value, dict) and not is_map:
            value["org.example.unknown"] = [{"a": 1.5}]
    for platform in ("windows", "solaris", "vm", "zos", "freebsd"):
        tree[platform] = 5
    spec, problems = read_tree(tree)
    assert problems == []
    assert spec.process == read_tree(full())[0].process


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("process/oomScoreAdj", "high", '/process/oomScoreAdj: expected an integer, found "high"'),
        ("process/user/uid", -1, "/process/user/uid: expected an integer from 0 to 4294967295, found -1"),
        ("process/user/uid", 2**32, "/process/user/uid: expected an integer from 0 to 4294967295, found 4294967296"),
        ("process/user/uid", 1.0, "/process/user/uid: expected an integer from 0 to 4294967295, found 1.0"),
        ("process/user/uid", True, "/process/user/uid: expected an integer from 0 to 4294967295, found true"),
        ("process/user/uid", "0", '/process/user/uid: expected an integer from 0 to 4294967295, found "0"'),
        ("process/terminal", 1, "/process/terminal: expected true or false, found 1"),
        ("process/args", "sh", '/process/args: expected an array, found "sh"'),
        ("process/args", ["sh", None], "/process/args/1: expected a string, found null"),
        ("process/env", ["A=\0"], '/process/env/0: expected a string without NUL characters, found "A=\\x00"'),
        ("process/cwd", None, "/process/cwd: required property is missing"),
        ("process", [], "/process: expected an object, found an empty array"),
        ("hostname", {}, "/hostname: expected a string, found an object"),
        ("annotations", {"a/b": 5}, "/annotations/a~1b: expected a string, found 5"),
        (
            "linux/namespaces",
            [{"type": "net"}],
            '/linux/namespaces/0/type: expected one of user, mount, pid, network, uts, ipc, cgroup, time, found "net"',
        ),
        (
            "linux/devices",
            [{"type": "cu", "path": "/a", "major": 1, "minor": 3}],
            '/linux/devices/0/type: expected one of c, u, b, p, found "cu"',
        ),
        (
            "linux/seccomp",
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]},
            "/linux/seccomp/syscalls/0/names: expected at least one name, found an empty array",
        ),
        (
            "linux/resources",
            {"hugepageLimits": [{"pageSize": "2mB", "limit": 1}]},
            '/linux/resources/hugepageLimits/0/pageSize: expected a page size such as "2MB", found "2mB"',
        ),
        ("linux/cgroupsPath", 10**500, "/linux/cgroupsPath: expected a string, found a number of very many digits"),
        (
            "hostname",
            "x" * 50 + "\0",
            '/hostname: expected a string without NUL characters, found "' + "x" * 40 + '..."',
        ),
    ],
)
def test_messages(path: str, value: Any, message: str) -> None:
    tree = {**minimal(), "linux": {"namespaces": [{"type": "uts"}]}}
    tree["process"]["user"] = {}
    *parents, last = path.split("/")
    at(tree, tuple(parents))[last] = value
    assert str(refusal(tree)) == f"config.json: {message}"


@pytest.mark.parametrize("tree", [None, True, 5, 1.5, "x", [], [[]]])
def test_a_document_that_is_no_object(tree: Any) -> None:
    assert [problem.pointer for problem in refusal(tree).problems] == [""]


def test_fifty_wrong_values_at_once() -> None:
    """All of them, and only they, in the order of the document; rules about them are silent."""
    tree = full()
    leaves = [p for p in places(tree) if not isinstance(at(tree, p), (dict, list))]
    maps = ("annotations", "unified", "sysctl")
    wrong = [path for path in leaves if path[-2:-1] not in [(name,) for name in maps]]
    assert len(wrong) > 150
    for path in wrong:
        tree = changed(tree, path, [1.5])
    error = refusal(tree)
    expected = ["/" + "/".join(str(step) for step in path) for path in wrong]
    assert [problem.pointer for problem in error.problems] == expected
    assert str(error).startswith(f"config.json: {len(wrong)} errors\n  /ociVersion: expected a string")


def test_types_and_rules_are_reported_together() -> None:
    tree = minimal()
    tree["process"].update(cwd="srv", args=5, oomScoreAdj=5000)
    tree["hostname"] = "box"
    assert [problem.pointer for problem in refusal(tree).problems] == [
        "/process/cwd",
        "/process/args",
        "/process/oomScoreAdj",
        "/hostname",
    ]


def test_no_value_anywhere_breaks_the_rules() -> None:
    """The records of a wrong tree are good enough for the rules to run over them."""
    whole = full()
    for path in places(whole):
        for value in VALUES:
            spec, problems = read_tree(changed(whole, path, value))
            check(spec, problems)
            validate.warnings(spec)


def test_order_is_that_of_the_document() -> None:
    tree = {"linux": {"sysctl": {"b": 1, "a": 1}, "cgroupsPath": 1}, "ociVersion": 1, "process": {"args": [0] * 11}}
    assert [problem.pointer for problem in refusal(tree).problems] == [
        "/linux/sysctl/b",
        "/linux/sysctl/a",
        "/linux/cgroupsPath",
        "/ociVersion",
        *[f"/process/args/{index}" for index in range(11)],
        "/process/cwd",
        "/root",
    ]


def test_a_process_alone() -> None:
    process = read.read_process("process.json", b'{"cwd": "/", "args": ["id"], "user": {"uid": 5}}')
    assert process == model.Process(cwd="/", args=("id",), user=model.User(uid=5))
    with pytest.raises(ConfigError) as caught:
        read.read_process("process.json", b'{"args": [], "env": ["A"], "user": {"uid": "x"}}')
    assert [problem.pointer for problem in caught.value.problems] == ["/args", "/env/0", "/user/uid", "/cwd"]


# Files


def test_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(minimal()))
    spec, data = read.read_config(str(tmp_path))
    assert spec.process.args == ("sh",)
    assert data == (tmp_path / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "JSON specification file config.json not found"),
        ("directory", "open config.json: is a directory"),
        ("fifo", "open config.json: not a regular file"),
        ("device", "open config.json: not a regular file"),
        ("loop", "open config.json: too many levels of symbolic links"),
        ("socket", "open config.json: no such device or address"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "config.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    with pytest.raises(read.BundleError) as caught:
        read.read_config(str(tmp_path))
    assert str(caught.value) == message


def test_a_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(ConfigError, match=r"config.json: expected at most 16 MiB, found 100.0 MiB"):
        read.read_config(str(tmp_path))


# What engines write


@pytest.mark.parametrize("name", CONFIGS)
def test_what_engines_write_is_taken(name: str) -> None:
    spec = read.read_spec(name, json.dumps(CONFIGS[name]).encode())
    assert spec.process.args and validate.warnings(spec) == []


@official.needed
def test_the_examples_of_the_official_schema() -> None:
    """Each with all that is wrong for `create`."""
    found = {}
    for path in sorted((official.SCHEMA / "examples").glob("*/*.json")):
        try:
            read.read_spec(path.name, path.read_bytes())
            found[f"{path.parent.name}/{path.name}"] = []
        except ConfigError as error:
            found[f"{path.parent.name}/{path.name}"] = [problem.pointer for problem in error.problems]
    assert found == {
        "bad/invalid-json.json": [""],
        "bad/linux-hugepage.json": ["/linux/resources/hugepageLimits/0/pageSize"],
        "bad/linux-netdevice.json": ["/linux/netDevices/eth0/name"],
        "bad/linux-rdma.json": ["/linux/resources/rdma/mlx5_1/hcaHandles"],
        "good/linux-netdevice.json": ["/linux/netDevices"],
        "good/linux-rdma.json": [],
        "good/minimal-for-start.json": [],
        "good/minimal.json": [],
        "good/spec-example.json": ["/ociVersion"],  # 0.5.0-dev
    }


# Speed


ALWAYS = "json model pointer read readers rules rules.breach rules.check scan tables"
COMMON = {"errors", "record", "spec", *(f"spec.{name}" for name in ALWAYS.split())}
SELDOM = {
    f"spec.{room}{name}" for name in ("devices", "limits", "namespaces", "seccomp", "tuning") for room in ("", "rules.")
}


@pytest.mark.parametrize("size", ["usual", "full"])
def test_what_the_reader_loads(size: str) -> None:
    """Every module is paid for by every container: see the layers and HEAVY in tests/policy."""
    root = str(ocirun.__path__[0]).removesuffix("/ocirun")
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "before = set(sys.modules)\n"
        "from ocirun.spec.read import read_spec\n"
        "read_spec('c', sys.stdin.read().encode())\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code, root]
    text = default.default("1.3.0", "box", False) if size == "usual" else json.dumps(full_and_valid())
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    ours = COMMON if size == "usual" else COMMON | SELDOM
    assert result.stderr == ""
    assert set(result.stdout.split()) - {"__future__", "_stat"} == {
        "_json",
        "ocirun",
        *(f"ocirun.{name}" for name in ours),
    }


def full_and_valid() -> Any:
    """The full configuration without what its rules refuse together."""
    tree = full()
    del tree["process"]["scheduler"]
    tree["linux"]["namespaces"] = [{"type": t} for t in ("network", "mount", "uts", "user", "time")]
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    tree["linux"]["uidMappings"] = tree["linux"]["gidMappings"] = mapping
    return tree


def test_the_full_configuration_can_be_valid() -> None:
    read.read_spec("config.json", json.dumps(full_and_valid()).encode())
