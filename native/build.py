"""Builds everything that is C.

As a library it is what setup.py uses: ``sys_extension`` and ``seccomp_extension`` are cffi API-mode builders, and
``build_static`` compiles a static program. As a program it builds a checkout in place, for development::

    python native/build.py                  # ocirun/_sys*.so, _seccomp*.so, ocirun-init; build/bin/ocirun
    CC=aarch64-linux-gnu-gcc python native/build.py --static DIR     # only the static programs, into DIR
    python native/build.py --snapshot PACKAGE BIN                    # BIN/ocirun anew, from a snapshot of PACKAGE

The last is for who builds packages for others: a snapshot is made where it is used, since whoever has it knows the
secret of its hashes. OCIRUN_SNAPSHOT=0 in the environment leaves it out of what setup.py builds.

CC chooses the compiler of the static programs: musl-gcc where it is installed (a tenth of the memory that glibc's
start-up costs in every waiting container), else gcc. CFLAGS are appended.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cffi import FFI

# setuptools wants relative paths, and runs in the directory of setup.py.
NATIVE = Path(os.path.relpath(__file__)).parent
LAUNCHER = NATIVE / "launcher"

# Whose initialization in two phases native/launcher/embed.c is tested with.
EMBEDDABLE = ((3, 11), (3, 12), (3, 13))

WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
STATIC = ["-Os", "-fstack-protector-strong", "-fno-pie", "-no-pie", "-static", "-s"]
# Calls that heap.c and dump.c take for themselves in the program that dumps.
DUMPER = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "free", "strdup", "getrandom")]
# Library code inlined by the headers of cffi's output is not ours to keep free of conversions.
EXTENSION = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"]


def _extension(name: str, libraries: list[str]) -> FFI:
    """A builder of ocirun._NAME from native/NAME.c and NAME.h: one header, included by C and read by cffi."""
    from cffi import FFI  # needed at build time only; static programs are built without it

    header = NATIVE / f"{name}.h"
    builder = FFI()
    builder.cdef(header.read_text())
    builder.set_source(
        f"ocirun._{name}",
        f'#include "{header.name}"',
        sources=[str(NATIVE / f"{name}.c")],
        depends=[str(header)],
        libraries=libraries,
        extra_compile_args=[*EXTENSION, f"-iquote{NATIVE}"],  # not -I: <seccomp.h> is libseccomp's
    )
    return builder


def sys_extension() -> FFI:
    """ocirun._sys: the system calls that the runtime needs beside those of posix."""
    return _extension("sys", [])


def seccomp_extension() -> FFI:
    """ocirun._seccomp: libseccomp's compiler of filters."""
    return _extension("seccomp", ["seccomp"])


def extensions() -> list[str]:
    """What setup.py passes as cffi_modules."""
    return [f"native/build.py:{name}_extension" for name in ("sys", "seccomp") if (NATIVE / f"{name}.c").exists()]


def compiler() -> list[str]:
    """The command that compiles a static program."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    if shutil.which("musl-gcc"):
        # musl comes without the kernel's headers; glibc's directories are searched last, for <linux/...> and <asm/...>.
        multiarch = sysconfig.get_config_var("MULTIARCH") or ""
        return ["musl-gcc", "-idirafter", "/usr/include", "-idirafter", f"/usr/include/{multiarch}"]
    return ["gcc"]


def build_static(sources: list[Path], output: Path, defines: list[str]) -> None:
    """Compile a static program.

    Raises SystemExit with the compiler's name where it fails; its own messages are on stderr by then.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    command = [*compiler(), *WARNINGS, *STATIC, *defines, "-o", str(output), *map(str, sources), *flags]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"cannot build {output.name} with {command[0]}: {error}") from error


def build_init(directory: Path) -> Path:
    """ocirun-init, what every container starts as."""
    output = directory / "ocirun-init"
    sources = sorted((NATIVE / "init").glob("*.c"))
    if sources:
        build_static(sources, output, [])
    return output


def build_test_init(directory: Path) -> Path:
    """The init that tests can fail, kill and deprive of system calls (init/main.c, init/kernel.h); never installed."""
    output = directory / "ocirun-init"
    build_static(sorted((NATIVE / "init").glob("*.c")), output, ["-DOCIRUN_TEST_STEPS"])
    return output


def build_launcher(directory: Path, package: Path | None = None) -> Path:
    """The `ocirun` of a bin directory, for the Python that runs this.

    The interpreter is in it where its archive is installed (Debian: pythonX.Y-dev); else it is a static program that
    executes it. With a package it starts from a snapshot of the interpreter and of the package's modules, if it can:
    what is installed does; a checkout's, whose modules change, does not.
    """
    output = directory / "ocirun"
    if package is not None and os.environ.get("OCIRUN_SNAPSHOT") != "0" and build_snapshot(output, package):
        return output
    if not build_embedded(output):
        build_executing(output)
    return output


def build_executing(output: Path) -> None:
    """The launcher that executes python3."""
    build_static([LAUNCHER / "install.c", LAUNCHER / "exec.c"], output, [_version()])


def build_embedded(output: Path) -> bool:
    """The launcher with the interpreter in it; False where that cannot be built."""
    return _embed([LAUNCHER / f"{name}.c" for name in ("install", "interpreter", "embed")], output, [_version()])


def build_snapshot(output: Path, package: Path) -> bool:
    """A launcher that starts from a snapshot; False, and why on stderr, where that cannot be."""
    with tempfile.TemporaryDirectory() as directory:
        dumper, wide = Path(directory, "dump"), Path(directory, "wide")
        if not build_dumper(dumper) or not build_dumper(wide, [f"-DHEAP_SIZE={256 << 20}u"]):
            return False
        # By its path: whoever loads this file need not have native/ in sys.path.
        spec = importlib.util.spec_from_file_location("snapshot", NATIVE / "snapshot.py")
        assert spec is not None and spec.loader is not None
        snapshot = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(snapshot)
        try:
            snapshot.make(dumper, wide, package, output)
        except (snapshot.Unsound, OSError, subprocess.SubprocessError) as error:
            print(f"no snapshot of Python, so ocirun will initialize it at each start: {error}", file=sys.stderr)
            return False
    return True


def build_dumper(output: Path, defines: Sequence[str] = ()) -> bool:
    """The program that makes a snapshot of itself (native/launcher/dump.c); False where that cannot be built."""
    sources = [LAUNCHER / f"{name}.c" for name in ("install", "interpreter", "dump", "repairs", "prefault")]
    # The heap is linked last: what is behind it in memory would be behind it in the file.
    return _embed(sources, output, [_version(), *defines, *DUMPER], [LAUNCHER / "heap.c"])


def _version() -> str:
    return f'-DPYTHON_VERSION="{sys.version_info.major}.{sys.version_info.minor}"'


def _embed(sources: list[Path], output: Path, defines: list[str], last: Sequence[Path] = ()) -> bool:
    """Compile a program with libpython linked into it; False where that cannot be.

    :param last: sources that are linked behind libpython
    """
    setting = {name: str(value or "") for name, value in sysconfig.get_config_vars().items()}
    archive = Path(setting["LIBPL"], setting["LIBRARY"])
    if sys.version_info[:2] not in EMBEDDABLE or not archive.is_file() or os.environ.get("CC"):
        return False
    defines = [
        *defines,
        f'-DPYTHON_STDLIB="{sysconfig.get_path("stdlib")}"',
        f'-DPYTHON_DYNLOAD="{setting["DESTSHARED"]}"',
        *("-isystem", sysconfig.get_path("include")),
        *("-isystem", sysconfig.get_path("platinclude")),
    ]
    named = (name for key in ("LIBS", "SYSLIBS", "MODLIBS") for name in setting[key].split())
    libraries = [_linked(name) for name in named if name.startswith("-")]  # others are archives of CPython's own build
    output.parent.mkdir(parents=True, exist_ok=True)
    libraries = [*map(str, last), *libraries]
    error = _link_python(sources, output, defines, archive, libraries)
    if "Hacl_Hash_SHA2" in error:
        with tempfile.TemporaryDirectory() as directory:
            reduced = Path(shutil.copy(archive, directory))
            subprocess.run(["ar", "d", str(reduced), "sha2module.o"], check=True)
            error = _link_python(sources, output, [*defines, "-DWITHOUT_SHA2"], reduced, libraries)
    if error:
        print(f"{archive} cannot be linked:\n{error}", file=sys.stderr)
    return not error


def _linked(option: str) -> str:
    """An option for the linker. The libraries of a few modules are linked statically where they can be: each shared one
    is found, mapped and relocated at every start."""
    if option.removeprefix("-l") not in ("z", "expat"):
        return option
    name = f"lib{option.removeprefix('-l')}.a"
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, check=False).stdout
    return f"-l:{name}" if found.startswith(b"/") else option


def _link_python(sources: list[Path], output: Path, defines: list[str], archive: Path, libraries: list[str]) -> str:
    """What the compiler has against it, "" for nothing."""
    # All of the archive, since extension modules look for their symbols in the program. Not position-independent, as
    # Debian's own python3 is not: relocating it would cost what this gains.
    python = ["-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive", *libraries, "-Wl,--export-dynamic"]
    flags = ["-O2", "-fstack-protector-strong", "-fno-pie", "-no-pie"]
    flags += [] if DUMPER[0] in defines else ["-s"]  # the dumper's symbols tell where things are; its dump has none
    command = ["gcc", *WARNINGS, *flags, *defines, "-o", str(output), *map(str, sources), *python]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr if result.returncode else ""


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--static"] and len(arguments) == 2:
        build_init(Path(arguments[1]))
        build_launcher(Path(arguments[1]))
        return
    if arguments[:1] == ["--snapshot"] and len(arguments) == 3:
        package, directory = map(Path, arguments[1:])
        raise SystemExit(not build_snapshot(directory / "ocirun", package))
    if arguments:
        raise SystemExit(__doc__)
    top = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=top, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
