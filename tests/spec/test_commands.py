"""`ocirun validate` and `ocirun spec`, as commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engineconfigs import CONFIGS
from spec.strategies import minimal

import ocirun
from ocirun.cli.version import SPEC_VERSION
from ocirun.spec import default, read

PROGRAM = (
    "import sys\n"
    "sys.path[:0] = sys.argv[1].split(':')\n"
    "sys.argv[:2] = ['ocirun']\n"
    "from ocirun.cli import main\n"
    "main()\n"
)


def run(*arguments: str, directory: Path, paths: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command, in an interpreter as the installed program starts it.

    :param paths: where it may find modules, by default where we do
    """
    package = str(ocirun.__path__[0]).removesuffix("/ocirun")
    found = [package, *(path for path in sys.path if path.endswith("site-packages"))] if paths is None else paths
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, ":".join(found), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)


def write(path: Path, tree: Any) -> Path:
    path.write_text(json.dumps(tree))
    return path


def test_valid(tmp_path: Path) -> None:
    write(tmp_path / "config.json", minimal())
    for arguments, name in (
        ((), "config.json"),
        (("config.json",), "config.json"),
        (("-b", "."), "./config.json"),
        (("--bundle", str(tmp_path)), f"{tmp_path}/config.json"),
    ):
        result = run("validate", *arguments, directory=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (0, f"{name}: valid\n", "")


def test_every_error_is_printed(tmp_path: Path) -> None:
    """Once: the schema and the reader find the same ones."""
    tree = minimal()
    tree["process"].update(cwd="srv", terminal=1, args=["sh", None], rlimits=[{"type": "RLIMIT_X", "soft": 1.0}])
    tree["linux"] = {"namespaces": [{"type": "uts"}, {"type": "uts"}]}
    write(tmp_path / "config.json", tree)
    result = run("validate", directory=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [
        "config.json",
        "  /process/cwd",
        "  /process/args/1",
        "  /process/terminal",
        "  /process/rlimits/0/type",
        "  /process/rlimits/0/soft",
        "  /process/rlimits/0/hard",
        "  /linux/namespaces/1/type",
    ]
    assert result.stdout.startswith("config.json: 7 errors\n")


def test_warnings_are_no_errors(tmp_path: Path) -> None:
    write(tmp_path / "config.json", {**minimal(), "mounts": [{"destination": "data", "type": "tmpfs"}]})
    result = run("validate", directory=tmp_path)
    assert result.returncode == 0
    warning = "/mounts/0/destination: taking a relative path from /, found data"
    assert result.stdout == f"config.json: valid\n  warning: {warning}\n"


def test_unknown_properties_are_warned_of(tmp_path: Path) -> None:
    """A runtime has to ignore them: nobody else will tell of a wrong letter."""
    tree = minimal()
    tree |= {"hostName": "a", "windows": {"x": 1}, "annotations": {"any": "key"}, "linux": {"sysctl": {"net.a": "1"}}}
    tree["process"] |= {"noNewPrivs": True, "user": {"UID": 5}}
    tree["linux"]["namespaces"] = [{"type": "network", "paths": "/a"}]
    write(tmp_path / "config.json", tree)
    result = run("validate", directory=tmp_path)
    assert (result.returncode, result.stdout) == (
        0,
        "config.json: valid\n"
        "  warning: /process/noNewPrivs: ignoring an unknown property\n"
        "  warning: /process/user/UID: ignoring an unknown property; is uid meant?\n"
        "  warning: /hostName: ignoring an unknown property; is hostname meant?\n"
        "  warning: /linux/namespaces/0/paths: ignoring an unknown property\n",
    )


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"process":\n  {"args": ["sh" "x"]}}')
    result = run("validate", directory=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout == 'config.json: line 2 column 18: expected a comma or a closing bracket, found "x"]}}\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.json",), "JSON specification file absent.json not found"),
        (("/dev/zero",), "open /dev/zero: not a regular file"),
        (("-b", "absent"), "JSON specification file absent/config.json not found"),
        (("-b", ".", "config.json"), "validate takes a file or a bundle, not both"),
    ],
)
def test_nothing_to_validate(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("validate", *arguments, directory=tmp_path)
    assert result.returncode == 1
    assert f'msg="{message}"' in result.stderr


def test_without_jsonschema(tmp_path: Path) -> None:
    write(tmp_path / "config.json", minimal())
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "ocirun").symlink_to(ocirun.__path__[0])
    result = run("validate", directory=tmp_path, paths=[str(tmp_path / "alone")])
    assert result.returncode == 1
    assert "the Python package jsonschema is needed" in result.stderr


@pytest.mark.parametrize("name", CONFIGS)
def test_what_engines_write_is_valid(tmp_path: Path, name: str) -> None:
    write(tmp_path / "config.json", CONFIGS[name])
    result = run("validate", directory=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "config.json: valid\n", "")


# spec


@pytest.mark.parametrize("rootless", [False, True])
def test_spec_writes_a_valid_config(tmp_path: Path, rootless: bool) -> None:
    flags = ["--rootless"] if rootless else []
    result = run("spec", *flags, directory=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    spec, data = read.read_config(str(tmp_path))
    assert spec.oci_version == SPEC_VERSION
    user = any(namespace.type == "user" for namespace in spec.linux.namespaces)
    assert user == rootless
    if rootless:
        assert [m.host_id for m in (*spec.linux.uid_mappings, *spec.linux.gid_mappings)] == [os.geteuid(), os.getegid()]
    again = run("spec", *flags, directory=tmp_path)
    assert again.returncode == 1
    assert 'msg="File config.json exists. Remove it first"' in again.stderr
    assert (tmp_path / "config.json").read_bytes() == data


def test_spec_writes_into_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert run("spec", "-b", "bundle", directory=tmp_path).returncode == 0
    assert os.listdir(tmp_path) == ["bundle"] and os.listdir(tmp_path / "bundle") == ["config.json"]
    absent = run("spec", "--bundle", "absent", directory=tmp_path)
    assert absent.returncode == 1
    assert 'msg="chdir absent: no such file or directory"' in absent.stderr


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere")
    assert run("spec", directory=tmp_path).returncode == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("unified", [False, True])
def test_the_default_of_cgroup_v2(unified: bool) -> None:
    """There the container has a cgroup namespace, as with runc."""
    for text in (
        default.default("1.3.0", "box", unified),
        default.rootless("1.3.0", "box", unified, 1000, 1001),
    ):
        spec = read.read_spec("config.json", text.encode())
        assert unified == any(namespace.type == "cgroup" for namespace in spec.linux.namespaces)
        assert text == json.dumps(json.loads(text), indent="\t")


@pytest.mark.skipif(shutil.which("runc") is None, reason="compares with runc")
@pytest.mark.parametrize("rootless", [False, True])
def test_as_runc_writes_it(tmp_path: Path, rootless: bool) -> None:
    """The same text, but for what runc 1.5 writes otherwise than the 1.1 of Debian 12, or 1.3 of Debian 13."""
    subprocess.run(["runc", "spec", *(["--rootless"] if rootless else [])], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    run("spec", *(["--rootless"] if rootless else []), directory=tmp_path)
    ours = json.loads((tmp_path / "config.json").read_text())
    for tree in (theirs, ours):
        del tree["ociVersion"], tree["hostname"]
        tree["process"]["capabilities"].pop("ambient", None)  # gone since 1.2
        masked = tree["linux"]["maskedPaths"]
        tree["linux"]["maskedPaths"] = [path for path in masked if path != "/sys/devices/virtual/tpm"]
    assert list(ours.items()) == list(theirs.items())
