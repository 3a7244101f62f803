"""Installations of `ocirun` to try launchers in, and dumps of the interpreter."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def native(name: str) -> ModuleType:
    """native/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "native" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, link, snapshot = native("build"), native("link"), native("snapshot")
KINDS = ["embed", "exec"] if sys.version_info[:2] in build.EMBEDDABLE else ["exec"]
# Builds of Python that have `fcntl` and others as files have nothing to take a snapshot of.
if "embed" in KINDS and link.builtin(REPOSITORY / "ocirun" / "launch" / "run.py"):
    KINDS.insert(0, "snapshot")


def install(prefix: Path, kind: str) -> Path:
    """Make a prefix with bin/ocirun and the package, linked as an installation's is."""
    import ocirun

    site = prefix / "lib" / VERSION / "site-packages"
    site.mkdir(parents=True)
    shutil.copytree(Path(ocirun.__file__).parent, site / "ocirun")
    backend = importlib.util.find_spec("_cffi_backend")
    assert backend is not None and backend.origin is not None
    shutil.copy(backend.origin, site)
    (prefix / "pyvenv.cfg").write_text(f"home = {sysconfig.get_config_var('BINDIR')}\n")
    link.link(site / "ocirun")
    program = prefix / "bin" / "ocirun"
    if kind == "exec":
        build.build_executing(program)
    elif kind == "embed":
        assert build.build_embedded(program), "Debian's python3-dev has the archive"
    else:
        assert build.build_snapshot(program, site / "ocirun"), "see above for the reason"
    return prefix


def call(prefix: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed program."""
    command = [str(prefix / "bin" / "ocirun"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Dumps:
    """Dumps of packages made up for a test. One build of native/launcher/dump.c."""

    def __init__(self, directory: Path, *defines: str) -> None:
        self.directory = directory
        self.dumper = directory / "dump"
        assert build.build_dumper(self.dumper, defines)

    def package(self, name: str, files: dict[str, str]) -> Path:
        """A prefix with a package `ocirun` of these files, and without a program."""
        prefix = self.directory / name
        site = prefix / "lib" / VERSION / "site-packages"
        for file, content in ({"__init__.py": "", "cli/__init__.py": ""} | files).items():
            path = site / "ocirun" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (prefix / "bin").mkdir()
        return prefix

    def linked(self, prefix: Path) -> Path:
        """All modules of the package in one file."""
        output = prefix / "linked"
        link.write_all(prefix / "lib" / VERSION / "site-packages" / "ocirun", output)
        return output

    def install(self, prefix: Path, secret: bytes | None = None) -> Path:
        """Make the prefix' program.

        :raises snapshot.Unsound: two dumps differ
        """
        made = snapshot.dump(self.dumper, self.linked(prefix), prefix, secret or os.urandom(24))
        shutil.move(made, prefix / "bin" / "ocirun")
        return prefix
