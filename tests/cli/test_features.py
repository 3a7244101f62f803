"""`features`: valid, and true to what the code does."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import PROGRAM, Runtime
from plandriver import named, plan_of
from spec import official
from spec.strategies import minimal

from ocirun.cli.version import RUNC_VERSION, SPEC_VERSION, VERSION
from ocirun.features import document
from ocirun.plan import tables
from ocirun.spec.read import read_spec
from ocirun.spec.rules.check import is_doubtful


def test_document() -> None:
    features = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert features["ociVersionMin"] == "1.0.0"
    assert features["ociVersionMax"] == "1.3.0"
    assert {"ro", "rbind", "rprivate", "rro", "tmpcopyup", "idmap", "ridmap"} <= set(features["mountOptions"])
    assert features["mountOptions"] == sorted(set(features["mountOptions"]))
    assert set(features["mountOptions"]) <= {*tables.FLAGS, *tables.PROPAGATION, *tables.RECURSIVE, *tables.EXTENSIONS}
    seccomp = features["linux"]["seccomp"]
    assert "SCMP_ACT_NOTIFY" in seccomp["actions"]
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(seccomp["archs"])
    assert set(seccomp["supportedFlags"]) == set(seccomp["knownFlags"])
    assert len(features["linux"]["namespaces"]) == 8
    assert len(features["linux"]["capabilities"]) == 41
    assert features["linux"]["cgroup"] == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    assert features["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    assert features["linux"]["apparmor"] == features["linux"]["selinux"] == {"enabled": True}
    assert features["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert features["linux"]["netDevices"]["enabled"] is True
    assert features["annotations"]["io.github.seccomp.libseccomp.version"].startswith("2.")
    # run/test_annotations.py: no other one has an effect.
    assert features["potentiallyUnsafeConfigAnnotations"] == ["org.systemd.property."]


@official.needed
def test_against_the_official_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    from referencing.jsonschema import DRAFT4

    def resource(uri: str) -> object:
        return DRAFT4.create_resource(json.loads((official.SCHEMA / Path(uri).name).read_text()))

    registry = referencing.Registry(retrieve=resource)
    schema = json.loads((official.SCHEMA / "features-schema.json").read_text())
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    features = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert [error.message for error in validator.iter_errors(features)] == []
    features["linux"]["seccomp"]["operators"].append("SCMP_CMP_LIKE")
    assert list(validator.iter_errors(features))


def test_what_it_says_is_accepted() -> None:
    """By the reader, the rules and the plan: without a warning, and no option is taken for a file system's own."""
    features = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    linux = features["linux"]
    capabilities = {kind: linux["capabilities"] for kind in ("bounding", "effective", "inheritable", "permitted")}
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = {"destination": "/a", "type": "tmpfs", "source": "tmpfs"}
    options = [option for option in features["mountOptions"] if option not in ("bind", "rbind", "idmap", "ridmap")]
    tree = minimal() | {
        "mounts": [mount | {"options": [option]} for option in options if option != "remount"]
        + [{"destination": "/a", "source": "/", "options": [bind, *more]} for bind in ("bind", "rbind") for more in
           ([], ["idmap"], ["ridmap"], ["remount"])],
        "hooks": {kind: [{"path": "/bin/true"}] for kind in features["hooks"]},
    }  # fmt: skip
    tree["process"]["capabilities"] = capabilities | {"ambient": linux["capabilities"]}
    tree["linux"] = {
        "namespaces": [{"type": type} for type in linux["namespaces"]],
        "uidMappings": mapping,
        "gidMappings": mapping,
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": linux["seccomp"]["archs"],
            "flags": linux["seccomp"]["supportedFlags"],
            "listenerPath": "/run/agent.sock",
            "syscalls": [
                {"names": ["acct"], "action": action, "args": [{"index": 0, "value": 1, "op": operator}]}
                for action in linux["seccomp"]["actions"]
                for operator in linux["seccomp"]["operators"]
            ],
        },
    }
    for version in (features["ociVersionMin"], features["ociVersionMax"]):
        spec = read_spec("config.json", json.dumps(tree | {"ociVersion": version}).encode())
        assert not is_doubtful(spec)
        plan = plan_of(spec)
    assert {kind for operation in plan.operations if operation.name == "hook" for kind in operation.values[:1]} == set(
        features["hooks"]
    ) - {"poststart", "poststop"}
    assert not any(option in operation.fields()["options"] for operation in named(plan, "mount") for option in options)
    policy = {"nodes": "0"}
    for mode in linux["memoryPolicy"]["modes"]:
        tree["linux"]["memoryPolicy"] = {"mode": mode} | ({} if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else policy)
        read_spec("config.json", json.dumps(tree).encode())
    for flag in linux["memoryPolicy"]["flags"]:
        tree["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "flags": [flag], **policy}
        read_spec("config.json", json.dumps(tree).encode())


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is what it is compared with")
def test_against_runc() -> None:
    """Nothing that an older runc says is missing, but for what is refused, and for what runc says no more since 1.2."""
    theirs = json.loads(subprocess.run(["runc", "features"], capture_output=True, check=True).stdout)
    ours = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    later = {"acl", "noacl"}

    def missing(theirs: Any, ours: Any, path: str) -> Iterator[str]:
        if isinstance(theirs, dict):
            for key, value in theirs.items():
                if key not in later and not key.startswith(("org.", "io.")):
                    yield from missing(value, ours.get(key), f"{path}/{key}")
        elif isinstance(theirs, list):
            yield from (f"{path}/{item}" for item in theirs if item not in ours and item not in later)
        elif isinstance(theirs, bool) and theirs and not ours:
            yield path

    assert list(missing(theirs, ours, "")) == []
    assert ours["annotations"].keys() >= theirs["annotations"].keys()


def test_command(tmp_path: Path) -> None:
    result = Runtime(PROGRAM, tmp_path)("features").ok()
    assert json.loads(result.out) == document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert result.out.startswith('{\n    "ociVersionMin": "1.0.0",\n')
