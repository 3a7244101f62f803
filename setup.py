"""The native parts of the build; everything else is in pyproject.toml."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

_spec = importlib.util.spec_from_file_location("build", Path("native", "build.py"))
assert _spec is not None and _spec.loader is not None
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

LAUNCHER = Path("build", "bin")


class BuildNative(build_ext):
    """The extensions, and the two static programs beside them."""

    def run(self) -> None:
        super().run()
        package = Path("ocirun") if self.inplace else Path(self.build_lib, "ocirun")
        build.build_init(package)
        build.build_launcher(LAUNCHER)


# The launcher is data, not a script: scripts have their first line rewritten, and a program has none.
setup(
    cffi_modules=build.extensions(),
    cmdclass={"build_ext": BuildNative},
    data_files=[("bin", [str(LAUNCHER / "ocirun")])],
)
