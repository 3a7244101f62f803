"""`features`: valid, and true to what the code does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import PROGRAM, REPOSITORY, Runtime

from ocirun.cli.version import RUNC_VERSION, SPEC_VERSION, VERSION
from ocirun.features import document
from ocirun.plan import tables

SCHEMAS = REPOSITORY.parent / "shared" / "oci-schema"


def test_document() -> None:
    features = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert features["ociVersionMin"] == "1.0.0"
    assert features["ociVersionMax"] == "1.3.0"
    assert {"ro", "rbind", "rprivate", "rro", "tmpcopyup", "idmap", "ridmap"} <= set(features["mountOptions"])
    assert features["mountOptions"] == sorted(set(features["mountOptions"]))
    assert set(features["mountOptions"]) <= {*tables.FLAGS, *tables.PROPAGATION, *tables.RECURSIVE, *tables.EXTENSIONS}
    seccomp = features["linux"]["seccomp"]
    assert "SCMP_ACT_NOTIFY" not in seccomp["actions"]
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(seccomp["archs"])
    assert set(seccomp["supportedFlags"]) < set(seccomp["knownFlags"])
    assert len(features["linux"]["namespaces"]) == 8
    assert len(features["linux"]["capabilities"]) == 41
    assert features["linux"]["cgroup"] == {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True}
    assert features["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    for feature in ("apparmor", "selinux", "intelRdt"):
        assert features["linux"][feature]["enabled"] is False
    assert features["linux"]["netDevices"]["enabled"] is True
    assert features["annotations"]["io.github.seccomp.libseccomp.version"].startswith("2.")
    assert features["potentiallyUnsafeConfigAnnotations"] == ["bundle", "org.systemd.property.", "org.criu.config"]


def test_against_the_official_schema() -> None:
    if not SCHEMAS.exists():
        pytest.skip("no official schemas here")
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    from referencing.jsonschema import DRAFT4

    def resource(uri: str) -> object:
        return DRAFT4.create_resource(json.loads((SCHEMAS / Path(uri).name).read_text()))

    registry = referencing.Registry(retrieve=resource)
    schema = json.loads((SCHEMAS / "features-schema.json").read_text())
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    features = document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert [error.message for error in validator.iter_errors(features)] == []
    features["linux"]["seccomp"]["operators"].append("SCMP_CMP_LIKE")
    assert list(validator.iter_errors(features))


def test_command(tmp_path: Path) -> None:
    result = Runtime(PROGRAM, tmp_path)("features").ok()
    assert json.loads(result.out) == document(RUNC_VERSION, VERSION, SPEC_VERSION)
    assert result.out.startswith('{\n    "ociVersionMin": "1.0.0",\n')
