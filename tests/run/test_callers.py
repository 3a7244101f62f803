"""A clean process reaches the container, whoever starts the runtime and in whatever condition."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop
from ordinary import AS_USER, give, own, rootless

CLEAN = {"blocked": [], "pending": [], "ignored": []}


def by_fork(prepare: Callable[[], None], argv: list[str]) -> int:
    """The exit code of a program that was started by a process which has prepared itself."""
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.execv(argv[0], argv)
        finally:
            os._exit(126)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def report_to_file(runtime: Runtime, made: Bundle, prepare: Callable[[], None]) -> Any:
    """What the probe tells when the runtime starts in that condition (its stdout may be closed)."""
    import json

    target = made.rootfs / "report"
    made.args("report", "to=/report").write()
    log = made.path / "log"
    argv = runtime.argv("run", "--bundle", str(made.path), made.id, flags=["--log", str(log), "--log-format", "json"])
    assert by_fork(prepare, argv) == 0, harness.last(log, "error")
    return json.loads(target.read_text())


def test_nohup(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    report = runtime.run(made.args("report"), prefix=["nohup"]).json
    # What nohup(1) is for: its child ignores SIGHUP. runc's Go hands that on, and so must we.
    assert report["signals"] == CLEAN | {"ignored": report["signals"]["ignored"]}
    assert set(report["signals"]["ignored"]) <= {signal.SIGHUP}


def test_detached_under_nohup(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.write()
    runtime("create", "--bundle", str(made.path), made.id, prefix=["nohup"]).ok()
    runtime("start", made.id, prefix=["nohup"]).ok()
    pid = runtime.state(made)["pid"]
    runtime("exec", made.id, "/probe", "true", prefix=["nohup"]).ok()
    assert runtime.end(made, pid) == 137


def test_sigchld_ignored(runtime: Runtime, bundle: Workshop) -> None:
    """The kernel reaps our children then, and the exit code would be lost."""

    def prepare() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    made = bundle()
    report = report_to_file(runtime, made, prepare)
    assert signal.SIGCHLD not in report["signals"]["ignored"] or runtime.name == "runc"
    made = bundle("exit", "42")
    made.write()
    argv = runtime.argv("run", "--bundle", str(made.path), made.id)
    assert by_fork(prepare, argv) == 42
    made = bundle("pause")
    made.write()
    assert by_fork(prepare, runtime.argv("create", "--bundle", str(made.path), made.id)) == 0
    assert by_fork(prepare, runtime.argv("start", made.id)) == 0
    assert by_fork(prepare, runtime.argv("exec", made.id, "/probe", "exit", "7")) == 7
    runtime.end(made, runtime.state(made)["pid"])


@pytest.mark.differs("hands the caller's signal mask on")
def test_everything_blocked(runtime: Runtime, bundle: Workshop) -> None:
    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))

    assert report_to_file(runtime, bundle(), prepare)["signals"]["blocked"] == []
    made = bundle("exit", "3")
    made.write()
    assert by_fork(prepare, runtime.argv("run", "--bundle", str(made.path), made.id)) == 3


def test_everything_ignored(runtime: Runtime, bundle: Workshop) -> None:
    """Python ignores SIGPIPE and SIGXFSZ by itself: these must not reach the container in any case."""

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)

    report = report_to_file(runtime, bundle(), prepare)
    if runtime.name != "runc":
        assert report["signals"] == CLEAN


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_streams(runtime: Runtime, bundle: Workshop, closed: list[int]) -> None:
    """No descriptor of ours may land on 0, 1 or 2 and so reach the container."""

    def prepare() -> None:
        for fd in closed:
            os.close(fd)

    report = report_to_file(runtime, bundle(), prepare)
    assert set(report["fds"]) <= {"0", "1", "2"}
    for fd in closed:
        if str(fd) in report["fds"]:
            assert report["fds"][str(fd)]["target"] == "/dev/null" or runtime.name == "runc"
    made = bundle("pause")
    made.write()
    assert by_fork(prepare, runtime.argv("create", "--bundle", str(made.path), made.id)) == 0
    assert by_fork(prepare, runtime.argv("start", made.id)) == 0
    pid = runtime.state(made)["pid"]
    for fd in closed:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        assert target == "/dev/null" or runtime.name == "runc"
    assert by_fork(prepare, runtime.argv("exec", made.id, "/probe", "exit", "4")) == 4
    assert runtime.end(made, pid) == 137


def test_further_descriptors(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """An engine's open files stay with the engine: in the container, and in the waiting process before."""
    left, right = socket.socketpair()
    read, write = os.pipe()
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    high = os.dup2(directory, 900)
    passed = [left.fileno(), right.fileno(), read, write, directory, high]
    try:
        made = bundle()
        report = runtime.run(made.args("report"), pass_fds=passed).json
        assert sorted(report["fds"]) == ["0", "1", "2"]
        made = bundle("pause")
        pid = runtime.created(made, pass_fds=passed)
        waiting = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        ours = {os.readlink(f"/proc/self/fd/{fd}") for fd in passed} - {"/"}
        assert not ours & set(waiting.values())
        if runtime.name == "ocirun":
            foreign = {target for name, target in waiting.items() if int(name) > 2 and "exec.fifo" not in target}
            assert all(Path(target).name == "probe" for target in foreign), "the executable to come, and no more"
        runtime("start", made.id).ok()
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        assert sorted(runtime.probe(made, pass_fds=passed)["fds"]) == ["0", "1", "2"]
        assert runtime.end(made, pid) == 137
    finally:
        for fd in {read, write, directory, high}:
            os.close(fd)
        left.close()
        right.close()


def test_affinity_of_the_caller(runtime: Runtime, bundle: Workshop) -> None:
    def prepare() -> None:
        os.sched_setaffinity(0, {0})

    report = report_to_file(runtime, bundle(), prepare)
    if runtime.name != "runc":  # 1.1.5 hands it on, later ones reset it
        assert int(report["affinity"], 16) == sum(1 << cpu for cpu in range(os.cpu_count() or 1))


def test_limits_umask_and_nice_of_the_caller(runtime: Runtime, bundle: Workshop) -> None:
    def prepare() -> None:
        os.umask(0o777)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))
        os.nice(5)

    made = bundle()
    made.process["cwd"] = "/made"
    # CAP_DAC_OVERRIDE, or the umask of the caller would even hide the container's own report.
    made.capabilities("DAC_OVERRIDE")
    report = report_to_file(runtime, made, prepare)
    assert report["rlimits"]["RLIMIT_CORE"] == [0, 4096]
    assert report["nice"] == 5
    if runtime.name != "runc":  # it hands on the caller's umask
        assert report["umask"] == 0o022
    assert list(runtime.root.iterdir()) == []


def test_a_working_directory_that_is_gone(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    gone = scratch / "gone"
    gone.mkdir()

    def prepare() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    assert report_to_file(runtime, bundle(), prepare)["cwd"] == "/"


def test_relative_paths_and_the_bundle_as_working_directory(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    made.write()
    runtime("create", "--pid-file", "here.pid", made.id, cwd=made.path).ok()
    pid = runtime.state(made)["pid"]
    assert (made.path / "here.pid").read_text() == str(pid), "decimal, without a newline"
    assert runtime.state(made)["bundle"] == str(made.path)
    runtime("start", made.id, cwd="/").ok()
    runtime.end(made, pid)

    made = bundle("true")
    made.write()
    result = subprocess.run(
        [runtime.program, "--root", "relative-root", "run", "-b", made.id, made.id], cwd=scratch, check=False
    )
    assert result.returncode == 0
    assert (scratch / "relative-root").is_dir()
    assert not list((scratch / "relative-root").iterdir())


def test_an_environment_with_nothing(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    report = runtime.run(made.args("report"), env={}).json
    assert report["env"] == ["PATH=/bin:/", "TERM=xterm", "HOME=/root"]


def test_an_environment_against_python(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """PYTHONPATH and its like are the user's own business: they have no say over a runtime that is root."""
    (scratch / "posix.py").write_text("import sys; sys.exit('taken over')\n")
    (scratch / "json.py").write_text("import sys; sys.exit('taken over')\n")
    (scratch / "sitecustomize.py").write_text("import sys; sys.exit('taken over')\n")
    env = {
        **os.environ,
        "PYTHONPATH": str(scratch),
        "PYTHONHOME": str(scratch),
        "PYTHONINSPECT": "1",
        "PYTHONSTARTUP": "x",
    }
    runtime.run(bundle("true"), env=env, cwd=scratch).ok()


def test_a_caller_with_many_threads_and_no_standard_input(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("exit", "5")
    made.write()
    script = (
        "import subprocess, sys, threading\n"
        "def one(): sys.exit if subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL) == 5 else print('failed')\n"
        "threads = [threading.Thread(target=one)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
    argv = runtime.argv("run", "--bundle", str(made.path), made.id)
    result = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True)
    assert "failed" not in result.stdout


def test_fifty_at_once(runtime: Runtime, bundle: Workshop) -> None:
    bundles = [bundle("exit", str(number)) for number in range(50)]
    for made in bundles:
        made.write()
    running = [runtime.spawn("run", "--bundle", str(made.path), made.id) for made in bundles]
    assert [one.result(60).code for one in running] == list(range(50))
    assert not list(runtime.root.iterdir())


def limited(*limits: str) -> list[str]:
    return ["prlimit", *(f"--{limit}" for limit in limits)]


# 16 descriptors are the fewest; an address space of 20 MB holds the interpreter.
@pytest.mark.ocirun  # Go's runtime needs more of most
@pytest.mark.parametrize(
    "limits",
    [
        ["nofile=64"], ["nofile=20"], ["as=100000000"], ["as=30000000"], ["stack=131072"], ["core=0"], ["memlock=0"],
        ["msgqueue=0"], ["sigpending=0"], ["nproc=1"], ["cpu=2"], ["rtprio=0"], ["nofile=64", "as=50000000", "core=0"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_small_limits_of_the_caller(runtime: Runtime, bundle: Workshop, limits: list[str]) -> None:
    """A whole life below them. They are handed on to the container, as runc does."""
    made = bundle("pause")
    prefix = limited(*limits)
    pid = runtime.started(made, prefix=prefix)
    assert runtime.exec(made, made.id, "/probe", "exit", "3", prefix=prefix).code == 3
    if "nofile=20" in limits:
        assert runtime.probe(made, prefix=prefix)["rlimits"]["RLIMIT_NOFILE"] == [20, 20]
    runtime("kill", made.id, "KILL", prefix=prefix).ok()
    assert harness.reap(pid) == 137
    runtime("delete", made.id, prefix=prefix).ok()


@pytest.mark.ocirun
@pytest.mark.parametrize("count", range(5, 16))
def test_too_few_descriptors(runtime: Runtime, bundle: Workshop, count: int) -> None:
    """Some are too few even for the interpreter; whatever is refused leaves nothing."""
    made = bundle("true")
    result = runtime.run(made, prefix=limited(f"nofile={count}"))
    if result.code:
        assert "too many open files" in (result.error + result.err).lower()
    assert not runtime.root.exists() or list(runtime.root.iterdir()) == []


@pytest.mark.ocirun
def test_no_file_may_grow(runtime: Runtime, bundle: Workshop) -> None:
    """RLIMIT_FSIZE, whose SIGXFSZ Python ignores: told as what it is."""
    made = bundle("true")
    made.write()
    argv = runtime.argv("run", "--bundle", str(made.path), made.id)
    done = subprocess.run([*limited("fsize=0"), *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "file too large" in done.stderr
    assert list(runtime.root.iterdir()) == []


@pytest.mark.ocirun
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_processes_for_a_user(runtime: Runtime, bundle: Workshop, count: int) -> None:
    """RLIMIT_NPROC counts the user's processes everywhere: the runtime itself is one, and the init two for a moment."""
    own(runtime)
    made = bundle("true")
    rootless(made)
    give(made)
    prefix = [*AS_USER, *limited(f"nproc={count}")]
    result = runtime("run", "--bundle", str(made.path), made.id, prefix=prefix)
    if result.code:
        assert "resource temporarily unavailable" in result.error
        assert "RLIMIT_NPROC" in result.error
    assert list(runtime.root.iterdir()) == []


def test_sigchld_ignored_with_hooks(runtime: Runtime, bundle: Workshop) -> None:
    """The end of a hook would be nobody's to see."""

    def prepare() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    made = bundle("true")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exit 0"], "timeout": 5}
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    made.config["hooks"] = {kind: [hook] for kind in kinds}
    made.write()
    assert by_fork(prepare, runtime.argv("create", "--bundle", str(made.path), made.id)) == 0
    pid = runtime.state(made)["pid"]
    assert by_fork(prepare, runtime.argv("start", made.id)) == 0
    harness.reap(pid)
    assert by_fork(prepare, runtime.argv("delete", made.id)) == 0
    made.config["hooks"] = {"createRuntime": [hook | {"args": ["sh", "-c", "exit 3"]}]}
    runtime.create(made).failed("exit status 3")


@pytest.mark.ocirun
@pytest.mark.parametrize("value", [0, 1, 2])
def test_no_execution_of_memory(runtime: Runtime, bundle: Workshop, value: int, scratch: Path) -> None:
    """vm.memfd_noexec of a pid namespace: with 2 the init is a file without a name, below --root."""
    script = f'mount -t proc proc /proc && echo {value} > /proc/sys/vm/memfd_noexec && exec "$@"'
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", script, "sh"]
    made = bundle("exit", "5")
    made.write()
    assert runtime("run", "--bundle", str(made.path), made.id, prefix=prefix).code == 5
    if value < 2:
        return
    noexec = scratch / "noexec"
    noexec.mkdir()
    runtime.root = noexec / "root"
    script = f"mount -t tmpfs -o noexec none {noexec} && {script}"
    prefix = [*prefix[:-2], script, "sh"]
    result = runtime("run", "--bundle", str(made.path), made.id, prefix=prefix)
    result.failed("execute the container's init", "vm.memfd_noexec=2", str(noexec))
