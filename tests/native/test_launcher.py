"""The installed `ocirun`, with the interpreter in it and without, in an installation of its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Runtime, Workshop
from launchers import KINDS, VERSION, build, call, install


@pytest.fixture(scope="module", params=KINDS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp(request.param), request.param)


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
        assert ("linked" in opened) == installation.name.startswith("embed"), verb
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


LIMITS = {
    "RLIMIT_AS 64 MB": lambda: resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20)),
    "RLIMIT_DATA 32 MB": lambda: resource.setrlimit(resource.RLIMIT_DATA, (32 << 20, 32 << 20)),
    "no limit of the stack": lambda: resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY,) * 2),
    "a small stack": lambda: resource.setrlimit(resource.RLIMIT_STACK, (512 << 10, 512 << 10)),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits(limit: str, installation: Path, tmp_path: Path) -> None:
    """Of the caller, whose child we are."""
    root = ["--root", str(tmp_path)]
    result = call(installation, *root, "state", "nobody", preexec_fn=LIMITS[limit])
    assert "container does not exist" in result.stderr
    assert call(installation, *root, "list", preexec_fn=LIMITS[limit]).stdout.startswith("ID ")


@pytest.mark.parametrize("layout", ["-R", "-L"])
def test_layouts_of_the_address_space(layout: str, installation: Path, tmp_path: Path) -> None:
    """Not randomized; growing upwards, as it was of old."""
    command = ["setarch", layout, str(installation / "bin" / "ocirun"), "--root", str(tmp_path), "state", "nobody"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "container does not exist" in result.stderr


def test_every_layout_of_the_address_space(installation: Path, tmp_path: Path) -> None:
    for _ in range(40):
        assert "container does not exist" in call(installation, "--root", str(tmp_path), "state", "nobody").stderr


@pytest.mark.parametrize(
    "environ",
    [{}, {f"NAME{number}": "x" * 1000 for number in range(1500)}, {"A": "=", "B": "\udcff", "HOME": ""}],
    ids=["none", "1.5 MB", "strange"],
)
def test_environments(environ: dict[str, str], installation: Path, tmp_path: Path) -> None:
    result = call(installation, "--root", str(tmp_path), "state", "nobody", env=environ)
    assert "container does not exist" in result.stderr


def test_many_arguments(installation: Path, tmp_path: Path) -> None:
    words = ["y" * 100] * 10000
    assert "exactly 1 argument" in call(installation, "--root", str(tmp_path), "state", *words).stderr
    assert "invalid container ID format" in call(installation, "--root", str(tmp_path), "state", "y/" * 50000).stderr


def ordinary_user() -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="cannot become somebody else")
def test_an_ordinary_user(installation: Path, scratch: Path) -> None:
    scratch.chmod(0o777)
    prefix = scratch / "prefix"
    shutil.copytree(installation, prefix)
    prefix.chmod(0o755)  # what pytest makes, its user alone may enter
    result = call(prefix, "--root", str(scratch / "root"), "state", "nobody", preexec_fn=ordinary_user, cwd="/")
    assert "container does not exist" in result.stderr


def ignoring(*numbers: int) -> Callable[[], None]:
    def prepare() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return prepare


def test_signals_that_the_caller_ignores(installation: Path) -> None:
    """They stay ignored; what is not, interrupts. Here a command that writes to somebody who does not read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    for prepare, expected in ((ignoring(signal.SIGINT), None), (ignoring(), 130)):
        words = [str(installation / "bin" / "ocirun"), "run", "--help"]
        process = subprocess.Popen(words, preexec_fn=prepare, stdout=writer, stderr=subprocess.DEVNULL)
        try:
            until_writing(process.pid)
            process.send_signal(signal.SIGINT)
            if expected is None:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
            else:
                assert process.wait(10) == expected
        finally:
            process.kill()
            process.wait()
    os.close(reader)
    os.close(writer)


def until_writing(pid: int) -> None:
    """Until a process waits for room in a pipe."""
    deadline = time.monotonic() + 20
    while "pipe_write" not in Path(f"/proc/{pid}/wchan").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_moved_installation(installation: Path, runtime: Runtime, bundle: Workshop) -> None:
    moved = installation.with_name(installation.name + "-moved")
    installation.rename(moved)
    try:
        runtime.program = str(moved / "bin" / "ocirun")
        assert runtime.run(bundle("exit", "7")).code == 7
        assert json.loads(call(moved, "features").stdout)["ociVersionMin"] == "1.0.0"
    finally:
        moved.rename(installation)


if "embed" in KINDS:

    def test_the_standard_library_is_gone(tmp_path: Path) -> None:
        program = tmp_path / "bin" / "ocirun"
        real = sysconfig.get_path
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build.sysconfig, "get_path", lambda name: "/nowhere" if name == "stdlib" else real(name))
            assert build.build_embedded(program)
        site = tmp_path / "lib" / VERSION / "site-packages" / "ocirun" / "cli"
        site.mkdir(parents=True)
        (site / "__init__.py").touch()
        result = call(tmp_path, "features")
        assert result.returncode == 1
        assert "no standard library of Python" in result.stderr and "/nowhere" in result.stderr
