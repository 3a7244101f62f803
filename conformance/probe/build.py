"""Builds the probe: a static program of one file, for the machine that the containers run on."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("probe.c")
BUILT = Path(__file__).with_name("probe")
"""Where a wheel has it."""

FLAGS = ["-std=gnu11", "-Os", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-static", "-s", "-pthread"]


class NoProbeError(Exception):
    """There is no probe, and none can be built."""


def compiler() -> list[str]:
    """The command that compiles it: $CC, else musl-gcc, whose programs are a tenth of the size, else gcc or cc."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    if shutil.which("musl-gcc"):
        multiarch = sysconfig.get_config_var("MULTIARCH") or ""
        return ["musl-gcc", "-idirafter", "/usr/include", "-idirafter", f"/usr/include/{multiarch}"]
    for name in ("gcc", "cc"):
        if shutil.which(name):
            return [name]
    raise NoProbeError("the probe is not built, and there is no C compiler: install musl-gcc or gcc, or set CC")


def build(output: Path) -> None:
    """Compile the probe. NoProbeError, with what the compiler said, where that fails."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as directory:
        made = Path(directory, "probe")
        command = [*compiler(), *FLAGS, "-o", str(made), str(SOURCE)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise NoProbeError(f"the probe does not compile: {shlex.join(command)}\n{result.stderr}")
        made.chmod(0o755)
        os.replace(made, output)


def probe() -> Path:
    """The probe: the one that was built with the package, else one for this version of its source, built once.

    $OCIRUN_CONFORMANCE_PROBE names another. Raises :class:`NoProbeError`.
    """
    given = os.environ.get("OCIRUN_CONFORMANCE_PROBE")
    if given:
        if not os.access(given, os.X_OK):
            raise NoProbeError(f"OCIRUN_CONFORMANCE_PROBE: {given} cannot be executed")
        return Path(given)
    if BUILT.exists():
        return BUILT
    digest = hashlib.sha256(SOURCE.read_bytes() + platform.machine().encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ocirun-conformance")
    cached = cache / f"probe-{digest}"
    if not cached.exists():
        build(cached)
    return cached
