"""The snapshot of the interpreter: that it holds nothing of the process that made it, that the build finds out where it
does, and what each repair is for (native/launcher/dump.c)."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from launchers import KINDS, REPOSITORY, Dumps, build, call, install, link, snapshot

if "snapshot" not in KINDS:
    pytest.skip("no snapshot of this Python", allow_module_level=True)

SECRET = bytes(range(24))
REPAIRS = re.findall(r'^\t\{ "([a-z ]+)", ', (REPOSITORY / "native/launcher/repairs.c").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Dumps:
    return Dumps(tmp_path_factory.mktemp("dumps"))


# What is in a dump.


def test_two_dumps_are_equal(dumps: Dumps) -> None:
    """Of the real package; and they are not equal where something differs, here the secret of hashes."""
    import ocirun

    linked = dumps.directory / "real"
    link.write_all(Path(ocirun.__file__).parent, linked)
    one = snapshot.dump(dumps.dumper, linked, dumps.directory, SECRET).read_bytes()
    (dumps.directory / "one").unlink(), (dumps.directory / "other").unlink()
    assert snapshot.dump(dumps.dumper, linked, dumps.directory, SECRET).read_bytes() == one
    (dumps.directory / "one").unlink(), (dumps.directory / "other").unlink()
    assert snapshot.compare(snapshot.dump(dumps.dumper, linked, dumps.directory, SECRET[::-1]).read_bytes(), one)


PRINTS = 'import posix\ndef main(blocked):\n    posix.write(1, str(VALUE).encode())\n    posix._exit(0)\n'


@pytest.mark.parametrize(
    "statement",
    [
        "import time; VALUE = time.time()",
        "import time; VALUE = [str(time.monotonic_ns())]",
        "import posix; VALUE = posix.getpid()",
        "import posix; VALUE = {'uptime': posix.times()}",
        "import posix; VALUE = posix.getcwd()",
        "import posix; VALUE = posix.umask(0o77)",
        "import _thread; VALUE = _thread.get_ident()",
        "import posix; VALUE = posix.urandom(8)",
        "import posix; VALUE = posix.open('/dev/null', posix.O_RDONLY)",
        "import _signal; VALUE = _signal.signal(_signal.SIGTERM, lambda *a: None)",
        "import _thread; VALUE = _thread.start_new_thread(lambda: None, ()) and 1",
        "VALUE = __import__('_ctypes')",
        "VALUE = __import__('json')",
    ],
)
def test_what_is_true_of_one_process_is_found(statement: str, dumps: Dumps, request: pytest.FixtureRequest) -> None:
    prefix = dumps.package(re.sub(r"\W", "_", request.node.name), {"cli/__init__.py": f"{statement}\n{PRINTS}"})
    with pytest.raises(snapshot.Unsound) as error:
        dumps.install(prefix)
    assert re.search("words differ|the dump failed", str(error.value))


def test_what_is_not_built_in_is_left_for_later(dumps: Dumps) -> None:
    program = "import sys\n" + PRINTS.replace("VALUE", "[n in sys.modules for n in ('ocirun.a', 'ocirun.b')]")
    files = {"cli/__init__.py": program, "a.py": "import _ctypes", "b.py": "from . import c", "c.py": ""}
    prefix = dumps.package("later", files)
    assert call(dumps.install(prefix)).stdout == "[False, True]"


def test_a_difference_has_a_name(dumps: Dumps) -> None:
    symbols = snapshot.Symbols(dumps.dumper)
    assert symbols.name(symbols.address("heap") + 16) == "heap+0x10"


def test_the_dump_asks_the_host_for_nothing(dumps: Dumps, tmp_path: Path) -> None:
    """From the modules' first line to the last no system call tells of the host."""
    import ocirun

    linked, output, trace = tmp_path / "linked", tmp_path / "output", tmp_path / "trace"
    link.write_all(Path(ocirun.__file__).parent, linked)
    command = ["strace", "-o", str(trace), str(dumps.dumper), str(linked), str(output)]
    subprocess.run(command, input=SECRET, check=True, stdout=subprocess.DEVNULL)
    calls = trace.read_text().splitlines()
    begin = next(index for index, line in enumerate(calls) if "openat" in line and str(linked) in line)
    end = next(index for index, line in enumerate(calls) if "/proc/self/exe" in line)
    between = {line.partition("(")[0] for line in calls[begin + 1 : end]}
    # The linked file is mapped; sysinfo is qsort()'s, which asks how much memory there is; at the end descriptors and
    # signals are looked at, and addresses printed.
    memory = {"newfstatat", "fstat", "mmap", "munmap", "close", "brk", "sysinfo"}
    checks = {"fcntl", "rt_sigaction", "rt_sigprocmask", "ioctl", "lseek", "write"}
    assert between <= memory | checks | {"openat"}
    opened = [line for line in calls[begin + 1 : end] if line.startswith("openat")]
    assert all("/UTC0" in line and "ENOENT" in line for line in opened)  # libc takes a name of a time zone for a file


def test_modules_ask_the_environment_for_nothing() -> None:
    """It is empty in the process that dumps, so no comparison would tell."""
    import ocirun

    package = Path(ocirun.__file__).parent
    for path in package.rglob("*.py"):
        for statement in link.outermost(ast.parse(path.read_text()).body):
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                assert ".environ" not in ast.unparse(statement), path


def test_the_secret_of_hashes_is_made_by_each_build(dumps: Dumps) -> None:
    program = "VALUE = lambda: 0\nclass Shown:\n    __str__ = lambda self: str(hash('x'))\nVALUE = Shown()\n" + PRINTS
    one = dumps.install(dumps.package("hashes-1", {"cli/__init__.py": program}))
    other = dumps.install(dumps.package("hashes-2", {"cli/__init__.py": program}))
    assert call(one).stdout == call(one).stdout != call(other).stdout
    assert SECRET not in dumps.install(dumps.package("hashes-3", {}), SECRET).joinpath("linked").read_bytes()


def test_hardening(dumps: Dumps) -> None:
    """As of the launcher without a snapshot: relocations are read-only then, and nothing writable is executable."""
    prefix = dumps.install(dumps.package("hardening", {"cli/__init__.py": "VALUE = 1\n" + PRINTS}))
    assert build.build_embedded(prefix / "embedded")
    headers = {}
    for program in (prefix / "bin" / "ocirun", prefix / "embedded"):
        text = subprocess.run(["readelf", "-lW", str(program)], capture_output=True, text=True, check=True).stdout
        headers[program.name] = re.findall(r"^  ([A-Z_]+) .* 0x\w+ (R?[ W]?[ E]?) +0x\w+$", text, re.MULTILINE)
    assert headers["ocirun"] == headers["embedded"]
    assert ("GNU_RELRO", "R  ") in headers["ocirun"] and not any("WE" in flags for _, flags in headers["ocirun"])
    symbols = subprocess.run(["nm", str(dumps.dumper)], capture_output=True, text=True, check=True).stdout
    assert "__stack_chk_fail" in symbols


# What the build does without one.


def test_no_snapshot_that_is_unsound(tmp_path: Path, dumps: Dumps, capfd: pytest.CaptureFixture[str]) -> None:
    """The launcher that initializes Python at each start takes its place, and works."""
    prefix = install(tmp_path / "prefix", "embed")
    site = next((prefix / "lib").glob("*/site-packages/ocirun"))
    with (site / "steps.py").open("a") as file:
        file.write("import posix\nPID = posix.getpid()\n")
    build.build_launcher(prefix / "bin", site)
    assert re.search("ocirun will initialize it at each start: .* words? differ.* in .*heap", capfd.readouterr().err)
    assert "container does not exist" in call(prefix, "--root", str(tmp_path), "state", "nobody").stderr


def test_no_proof_no_snapshot(dumps: Dumps) -> None:
    """Where addresses are not random, equal dumps prove nothing."""
    prefix = dumps.package("fixed", {})
    code = (
        "import sys, launchers, pathlib\n"
        "try:\n"
        "    launchers.snapshot.dump(*map(pathlib.Path, sys.argv[1:]), bytes(24))\n"
        "except launchers.snapshot.Unsound as error:\n"
        "    print(error)\n"
    )
    command = ["setarch", "-R", sys.executable, "-c", code, str(dumps.dumper), str(dumps.linked(prefix)), str(prefix)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests" / "drivers")}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert "addresses are not random here" in result.stdout


def test_left_out_for_who_builds_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIRUN_SNAPSHOT", "0")
    monkeypatch.setattr(build, "build_snapshot", lambda *_: pytest.fail("it was asked to leave it out"))
    assert build.build_launcher(tmp_path, tmp_path / "package").exists()


def test_made_where_it_is_used(tmp_path: Path) -> None:
    """For who installs what others have built: the program is replaced, and has a secret of its own."""
    prefix = install(tmp_path / "prefix", "embed")
    package = next((prefix / "lib").glob("*/site-packages/ocirun"))
    command = [sys.executable, str(REPOSITORY / "native" / "build.py"), "--snapshot", str(package), str(prefix / "bin")]
    before = (prefix / "bin" / "ocirun").read_bytes()
    subprocess.run(command, check=True, cwd=REPOSITORY)
    assert (prefix / "bin" / "ocirun").read_bytes() != before
    shutil.rmtree(package / "linked")  # which only the other launchers need
    assert "container does not exist" in call(prefix, "--root", str(tmp_path), "state", "nobody").stderr


# What a restored interpreter has to be told.

CHECKS = r"""
import posix, sys, time, _signal, _thread
from .. import __path__ as places

def checks():
    yield "argv", sys.argv[1:] == ["one", "\udcff"]
    yield "environment", posix.environ == {b"A": b"1=", b"TZ": b"XYZ-5"}
    yield "inherited", _signal.getsignal(_signal.SIGHUP) == _signal.SIG_IGN
    yield "default", _signal.getsignal(_signal.SIGTERM) == _signal.SIG_DFL
    yield "handler", _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    try:
        posix.kill(posix.getpid(), _signal.SIGINT)
        for _ in range(100):
            pass
        yield "interrupt", False
    except KeyboardInterrupt:
        yield "interrupt", True
    reader, writer = posix.pipe()
    posix.close(reader)
    try:
        posix.write(writer, b"x")
        yield "pipe", False
    except BrokenPipeError:
        yield "pipe", True
    here = posix.readlink("/proc/self/exe").rpartition("/bin/")[0]
    yield "package", places == [f"{here}/lib/python3.%d/site-packages/ocirun" % sys.version_info[1]]
    from . import later  # which is not in the snapshot
    yield "later", later.__file__ == f"{places[0]}/cli/later.py"
    yield "zone", (time.timezone, time.tzname[0]) == (-5 * 3600, "XYZ")
    yield "prefix", sys.prefix == here
    yield "path", places[0].rpartition("/")[0] in sys.path and not any(p[:1] != "/" for p in sys.path)
    yield "arguments", sys.argv[1:] == ["one", "\udcff"] and sys.orig_argv[1:] == ["one", "\udcff"]
    import threading
    yield "ident", threading.main_thread().ident == _thread.get_ident() and _thread.get_ident() in sys._current_frames()
    yield "native", threading.main_thread().native_id == int(posix.readlink("/proc/thread-self").rpartition("/")[2])
    done = []
    thread = threading.Thread(target=lambda: done.append(_thread.get_ident()))
    thread.start()
    thread.join()
    yield "thread", len(done) == 1 and done[0] != _thread.get_ident()
    import ctypes
    yield "callback", ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)() == 7
    import json, subprocess
    yield "child", json.loads(subprocess.run(["/bin/echo", "[1]"], capture_output=True).stdout) == [1]
    import gc
    yield "collect", gc.collect() >= 0

def main(blocked):
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
    wrong = []
    try:
        for name, right in checks():
            if not right:
                wrong.append(name)
    except BaseException as error:
        wrong.append(repr(error))
    posix.write(1, repr(wrong).encode())
    posix._exit(0)
"""
# `json` is not built in, so this module is not in the snapshot.
FILES = {"cli/__init__.py": CHECKS, "cli/later.py": "import json\n"}


def checked(prefix: Path) -> str:
    """What the checks have found wrong."""
    result = subprocess.run(
        [str(prefix / "bin" / "ocirun"), "one", b"\xff"],
        env={"A": "1=", "TZ": "XYZ-5"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        capture_output=True,
        check=False,
        timeout=20,
    )
    return result.stdout.decode() or f"{result.returncode}: {result.stderr.decode()}"


def test_a_restored_interpreter_is_as_any(dumps: Dumps) -> None:
    prefix = dumps.install(dumps.package("whole", FILES))
    assert checked(prefix) == "[]"
    moved = prefix.with_name("elsewhere")
    prefix.rename(moved)
    assert checked(moved) == "[]"


# What goes wrong without a repair: a check of those above, or, where it writes words of its own, the comparison.
WRONG = {
    "thread": snapshot.Unsound,
    "storage": "-",  # a signal: abort() before 3.12, a null pointer after
    "environment": "'environment'",
    "signals": "-2: ",  # killed by the interrupt
    "arguments": "'argv'",
    "places": "'package'",
    "main phase": "'zone', 'prefix', 'path', 'arguments'",
}


def test_each_repair_has_its_check() -> None:
    assert {*REPAIRS, "main phase"} == set(WRONG)


@pytest.mark.parametrize("name", WRONG)
def test_without_a_repair(name: str, tmp_path: Path) -> None:
    """No repair is there for nothing: all checks pass with them, see above."""
    dumps = Dumps(tmp_path, f'-DWITHOUT_REPAIR="{name}"')
    prefix = dumps.package("broken", FILES)
    expected = WRONG[name]
    if isinstance(expected, str):
        dumps.install(prefix)
        assert expected in (found := checked(prefix)) and found != "[]"
    else:
        with pytest.raises(expected, match="words differ"):
            dumps.install(prefix)


# What stands where.


def test_blocks_that_are_written_to_stand_together() -> None:
    heap = 0x10040
    blocks = [(1, 32), (4, 8000), (7, 48), (9, 16)]
    spread = snapshot.spread_out(blocks, heap)
    places = dict(spread)
    assert [(heap + at - 8) % 4096 for at in places.values()] == [0] * 4
    pages = {block: (heap + at) // 4096 * 4096 for block, at in places.items()}
    assert len(set(pages.values())) == 4 and pages[(7, 48)] - pages[(4, 8000)] == 8192
    runs = {
        "state": [frozenset({pages[(9, 16)]})],
        "create": [frozenset({pages[(9, 16)], pages[(4, 8000)] + 4096, 0x1000})],
        "": [],
    }
    hot = snapshot.written_to(spread, heap, runs)
    assert hot == [(9, 16), (4, 8000)]  # the first by two, the second in its second page, the others by none
    placed = snapshot.together(hot, heap)
    assert placed[1][1] - placed[0][1] == 16
    assert len(snapshot.placement(placed)) == 3 * 12


def test_ranges_that_are_worth_a_call() -> None:
    runs = {"state": [frozenset({0x1000, 0x2000, 0x3000, 0x5000, 0x6000}), frozenset({0x1000, 0x2000, 0x3000})], "": []}
    table = snapshot.prefault_ranges(runs)
    assert table[:16] == (1).to_bytes(4, "little") + (3).to_bytes(4, "little") + bytes(8)
    assert len(table) == 2 * 32 * 8


def test_the_tables_agree() -> None:
    """Constants that C and Python share."""
    heap = (REPOSITORY / "native/launcher/heap.c").read_text()
    assert "struct header {\n\tuint32_t size;" in heap and snapshot.HEADER == 8
    prefault = (REPOSITORY / "native/launcher/prefault.c").read_text()
    assert f"#define RANGES {snapshot.RANGES}\n" in prefault
    install_c = (REPOSITORY / "native/launcher/install.c").read_text()
    verbs = re.search(r"VERBS\[.*?\] = \{(.*?), NULL \}", install_c, re.DOTALL)
    assert verbs is not None and json.loads(f"[{verbs[1]}]") == list(snapshot.VERBS) == sorted(link.VERBS)


def test_nothing_is_left_by_a_build(tmp_path: Path) -> None:
    """It is trained with containers."""
    before = traces()
    install(tmp_path / "prefix", "snapshot")
    assert traces() == before


def traces() -> tuple[set[str], ...]:
    return (
        {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        {str(path) for path in Path("/sys/fs/cgroup").glob("*/ocirun-snapshot-*")},
        {str(path) for path in Path("/sys/fs/cgroup").glob("ocirun-snapshot-*")},
        {path.name for path in Path(tempfile.gettempdir()).glob("ocirun-snapshot-*")},
    )
