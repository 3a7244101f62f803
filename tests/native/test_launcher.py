"""The installed `ocirun`, with the interpreter in it and without, in an installation of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness import Runtime, Workshop

REPOSITORY = Path(__file__).resolve().parents[2]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def native(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "native" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build, link = native("build"), native("link")
LAUNCHER = REPOSITORY / "native" / "launcher"
KINDS = ["embed", "exec"] if sys.version_info[:2] in build.EMBEDDABLE else ["exec"]
DEFINES = [f'-DPYTHON_VERSION="{VERSION.removeprefix("python")}"']


@pytest.fixture(scope="module", params=KINDS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix with bin/ocirun and the package, linked as an installation's is."""
    import ocirun

    prefix = tmp_path_factory.mktemp(request.param)
    site = prefix / "lib" / VERSION / "site-packages"
    site.mkdir(parents=True)
    shutil.copytree(Path(ocirun.__file__).parent, site / "ocirun")
    backend = importlib.util.find_spec("_cffi_backend")
    assert backend is not None and backend.origin is not None
    shutil.copy(backend.origin, site)
    (prefix / "pyvenv.cfg").write_text(f"home = {sysconfig.get_config_var('BINDIR')}\n")
    link.link(site / "ocirun")
    program = prefix / "bin" / "ocirun"
    sources = [LAUNCHER / "install.c", LAUNCHER / f"{request.param}.c"]
    if request.param == "exec":
        build.build_static(sources, program, DEFINES)
    else:
        assert build._embed(sources, program, DEFINES), "Debian's python3-dev has the archive"
    return prefix


def call(installation: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(installation / "bin" / "ocirun"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_commands(installation: Path, tmp_path: Path) -> None:
    """Linked ones, and those that need all of Python."""
    root = ["--root", str(tmp_path / "root")]
    assert call(installation, "--version").stdout.startswith("runc version 1.5")
    state = call(installation, *root, "state", "nobody")
    assert (state.returncode, state.stdout) == (1, "")
    assert state.stderr.endswith('level=error msg="container does not exist: nobody"\n')
    assert call(installation, *root, "list").stdout.startswith("ID ")
    assert "--no-pivot" in call(installation, "run", "--help").stdout
    assert json.loads(call(installation, "features").stdout)["ociVersionMin"] == "1.0.0"
    (tmp_path / "rootfs").mkdir()
    assert call(installation, "spec", cwd=tmp_path).returncode == 0
    plan = call(installation, "plan", cwd=tmp_path)
    assert "exec sh" in plan.stdout, plan.stderr
    assert call(installation, "nonsense").returncode == 3


def test_a_whole_life(installation: Path, runtime: Runtime, bundle: Workshop) -> None:
    runtime.program = str(installation / "bin" / "ocirun")
    made = bundle("pause")
    pid = runtime.started(made)
    assert runtime.probe(made)["ppid"] == 0
    assert runtime.end(made, pid) == 137
    assert runtime.run(bundle("exit", "7")).code == 7


def test_what_is_not_linked_comes_later(installation: Path, runtime: Runtime, bundle: Workshop) -> None:
    """A filter that is not in the cache yet needs libseccomp, and so cffi: in the middle of a linked command."""
    runtime.program = str(installation / "bin" / "ocirun")
    made = bundle("syscall", str(39))
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}],
    }
    if os.uname().machine == "x86_64":
        assert runtime.run(made).ok().out.strip() == "5"


def test_texts_that_are_no_unicode(installation: Path, runtime: Runtime, bundle: Workshop) -> None:
    """An error handler is looked for in the registry of codecs, which belongs to the main phase."""
    runtime.program = str(installation / "bin" / "ocirun")
    made = bundle("true")
    made.write()
    (made.path / "config.json").write_bytes(b'{"ociVersion": "\xff"}')
    runtime("create", "--bundle", str(made.path), made.id).failed("expected UTF-8", "0xff")
    command = [os.fsencode(runtime.program), b"--root", os.fsencode(runtime.root), b"state", b"\xff\xfe"]
    result = subprocess.run(command, capture_output=True, check=False)
    assert (result.returncode, b"invalid container ID format" in result.stderr) == (1, True)


def test_a_linked_command_needs_no_more(installation: Path, runtime: Runtime, bundle: Workshop, tmp_path: Path) -> None:
    """No command of a plain container's life looks for modules or codecs on disk."""
    if installation.name.startswith("exec"):
        return
    runtime.program = str(installation / "bin" / "ocirun")
    trace = tmp_path / "trace"
    prefix = ["strace", "-o", str(trace), "-e", "trace=open,openat"]
    made = bundle("pause")
    pid = 0

    def quiet(verb: str, *words: str) -> None:
        runtime(verb, *words, prefix=prefix).ok()
        opened = trace.read_text()
        assert "linked" in opened, verb
        assert "encodings" not in opened and ".pyc" not in opened, verb

    made.write()
    quiet("create", "--bundle", str(made.path), made.id)
    pid = runtime.state(made)["pid"]
    quiet("state", made.id)
    quiet("start", made.id)
    quiet("exec", made.id, "/probe", "true")
    quiet("list")
    quiet("kill", made.id, "KILL")
    os.waitpid(pid, 0)
    quiet("delete", made.id)
    again = bundle("true")
    again.write()
    quiet("run", "--bundle", str(again.path), again.id)


def test_closed_standard_streams(installation: Path) -> None:
    """Whatever is opened first must not become standard error."""
    program = installation / "bin" / "ocirun"
    script = f'exec 0<&- 1>&- 2>&-; "{program}" --version; echo $? > "{installation}/code"'
    subprocess.run(["sh", "-c", script], check=False)
    assert (installation / "code").read_text() == "0\n"


def test_no_package(installation: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(installation / "bin" / "ocirun", tmp_path / "bin")
    result = call(tmp_path, "state", "x")
    assert result.returncode == 1
    assert "no package ocirun for Python" in result.stderr and str(tmp_path) in result.stderr


def test_hostile_environment(installation: Path, tmp_path: Path) -> None:
    """Nothing of the environment or of the working directory takes part."""
    for name in ("posix", "ocirun", "encodings", "json"):
        (tmp_path / f"{name}.py").write_text("import os; os._exit(99)")
    environ = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "x", "PYTHONINSPECT": "1"}
    result = call(installation, "features", cwd=tmp_path, env=environ)
    assert result.returncode == 0, result.stderr


if "embed" in KINDS:

    def test_the_standard_library_is_gone(tmp_path: Path) -> None:
        program = tmp_path / "bin" / "ocirun"
        real = sysconfig.get_path
        sources = [LAUNCHER / "install.c", LAUNCHER / "embed.c"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build.sysconfig, "get_path", lambda name: "/nowhere" if name == "stdlib" else real(name))
            assert build._embed(sources, program, DEFINES)
        site = tmp_path / "lib" / VERSION / "site-packages" / "ocirun" / "cli"
        site.mkdir(parents=True)
        (site / "__init__.py").touch()
        result = call(tmp_path, "features")
        assert result.returncode == 1
        assert "no standard library of Python" in result.stderr and "/nowhere" in result.stderr
