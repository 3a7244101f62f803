"""The native parts of the build; everything else is in pyproject.toml."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py


def _module(path: Path) -> ModuleType:
    """The module in a file: pip does not put the project into sys.path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _module(Path("native", "build.py"))
link = _module(Path("native", "link.py"))
probe = _module(Path("conformance", "probe", "build.py"))

LAUNCHER = Path("build", "bin")


class BuildNative(build_ext):
    """The extensions, and the static programs: two beside them, and the probe of the conformance suite."""

    def run(self) -> None:
        super().run()
        package = Path("ocirun") if self.inplace else Path(self.build_lib, "ocirun")
        build.build_init(package)
        if self.inplace:
            build.build_launcher(LAUNCHER)
        else:
            self.run_command("build_py")
            build.build_launcher(LAUNCHER, package)
            # A checkout builds its own when it is needed.
            probe.build(Path(self.build_lib, "ocirun_conformance", "probe", "probe"))


class LinkModules(build_py):
    """The modules, and the files that hold those of a command together."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            link.link(Path(self.build_lib, "ocirun"))


conformance = [f"ocirun_{name}" for name in find_packages(include=["conformance", "conformance.*"])]

# The launcher is data, not a script: scripts have their first line rewritten, and a program has none.
setup(
    packages=find_packages(include=["ocirun", "ocirun.*"]) + conformance,
    package_dir={"ocirun_conformance": "conformance"},
    cffi_modules=build.extensions(),
    cmdclass={"build_ext": BuildNative, "build_py": LinkModules},
    data_files=[("bin", [str(LAUNCHER / "ocirun")])],
)
