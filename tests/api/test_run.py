"""ocirun.run(): one program in a container of its own, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import harness
import pytest
from ordinary import AS_USER, USER

import ocirun
from ocirun import Limits, Mount, Rootfs

pytestmark = pytest.mark.ocirun

PYTHON = "/usr/bin/python3"


@pytest.fixture
def run(leftovers: harness.Leftovers, scratch: Path) -> Iterator[partial[ocirun.Result]]:
    """ocirun.run with a root directory that is to be empty afterwards."""
    root = scratch / "root"
    yield partial(ocirun.run, root=str(root))
    left = {path.name for path in root.iterdir()} if root.exists() else set()
    assert left <= {"@seccomp", "@sandbox"}
    assert "@sandbox" not in left or not list((root / "@sandbox").iterdir())


@pytest.fixture
def system(scratch: Path, probe: Path) -> Path:
    """A root directory with the probe and busybox."""
    path = scratch / "system"
    for name in ("bin", "etc"):
        (path / name).mkdir(parents=True)
    os.link(probe, path / "probe") if os.stat(probe).st_dev == os.stat(path).st_dev else (path / "probe").write_bytes(
        probe.read_bytes()
    )
    (path / "probe").chmod(0o755)
    (path / "etc" / "motd").write_text("as it was\n")
    (path / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (path / "bin" / "busybox").chmod(0o755)
    (path / "bin" / "sh").symlink_to("busybox")
    return path


def test_output_and_exit_code(run: partial[ocirun.Result]) -> None:
    result = run([PYTHON, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (result.exit_code, result.signal, result.reason) == (3, None, "exited")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    assert not result.ok and result.returncode == 3
    with pytest.raises(ocirun.RunError, match="exit code 3") as caught:
        run([PYTHON, "-c", "raise SystemExit(3)"], check=True)
    assert caught.value.result.exit_code == 3
    assert run([Path("/bin/true")], check=True).ok


def test_streams(run: partial[ocirun.Result], scratch: Path) -> None:
    text = run(["cat"], input="grüße", text=True).stdout
    assert text == "grüße"
    big = os.urandom(3_000_000)
    assert run(["cat"], input=big).stdout == big, "more than a pipe holds, both ways"
    assert run(["cat"]).stdout == b"", "standard input is /dev/null"
    assert run(["true"], input=big).ok, "who does not read its input is no error"
    both = run(["sh", "-c", "echo a; echo b >&2"], stderr=ocirun.STDOUT)
    assert (both.stdout, both.stderr) == (b"a\nb\n", None)
    parts: list[bytes] = []
    passed = run(["sh", "-c", "echo a; sleep 0.2; echo b"], stdout=parts.append)
    assert (passed.stdout, parts) == (None, [b"a\n", b"b\n"])
    with (scratch / "file").open("wb") as file:
        assert run(["echo", "x"], stdout=file, stderr=ocirun.DEVNULL).stdout is None
    assert (scratch / "file").read_bytes() == b"x\n"
    with pytest.raises(ocirun.UsageError, match="may not both be used"):
        run(["true"], input=b"x", stdin=ocirun.PIPE)


def test_what_a_callback_raises_ends_the_container(run: partial[ocirun.Result]) -> None:
    def refuse(data: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(["sh", "-c", "echo x; sleep 100"], stdout=refuse)


def test_what_is_kept_has_a_bound(run: partial[ocirun.Result]) -> None:
    result = run(["cat", "/dev/zero"], max_output="64K", timeout=20)
    assert (result.reason, result.stdout) == ("output", bytes(65536))


def test_a_timeout_ends_every_process(run: partial[ocirun.Result]) -> None:
    begun = time.monotonic()
    result = run(["sh", "-c", "trap '' TERM; setsid sleep 4321 & setsid sleep 4321"], timeout=0.5)
    assert (result.reason, result.signal, result.exit_code) == ("timeout", 9, None)
    assert 0.5 <= result.usage.wall < time.monotonic() - begun < 5
    assert b"4321" not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, check=True).stdout


def test_time_that_is_over_before_the_program_runs(run: partial[ocirun.Result]) -> None:
    assert run(["sleep", "100"], timeout=0).reason == "timeout"


def test_signal(run: partial[ocirun.Result]) -> None:
    # PID 1 is spared by signals that it does not handle, but not by those of its own faults.
    result = run([PYTHON, "-c", "import ctypes; ctypes.string_at(0)"])
    assert (result.reason, result.signal, result.returncode) == ("signal", signal.SIGSEGV, -signal.SIGSEGV)
    assert run(["sh", "-c", "exit 137"]).reason == "exited"


@pytest.mark.controllers
def test_memory(run: partial[ocirun.Result]) -> None:
    code = "x = bytearray(1 << 28)"
    result = run([PYTHON, "-c", code], limits=Limits(memory="48M"))
    assert (result.reason, result.signal) == ("memory", 9)
    assert result.oom_kills >= 1
    assert [Path(path).name.startswith("run-") for path in result.limits] == [True]
    assert "out of memory" in str(result)
    child = run(["sh", "-c", f"{PYTHON} -c '{code}'; exit 5"], limits=Limits(memory="48M"))
    assert (child.reason, child.exit_code, child.oom_kills) == ("memory", 5, 1), "it failed, as its child was killed"
    well = run(["sh", "-c", f"{PYTHON} -c '{code}'; exit 0"], limits=Limits(memory="48M"))
    assert (well.reason, well.oom_kills) == ("exited", 1), "it did not mind"
    enough = run([PYTHON, "-c", code], limits=Limits(memory="1G"))
    assert (enough.reason, enough.oom_kills, enough.limits) == ("exited", 0, ())
    assert (enough.usage.memory or 0) > 1 << 28


@pytest.mark.controllers
def test_pids(run: partial[ocirun.Result]) -> None:
    code = "import os, time\nfor _ in range(20):\n  if not os.fork(): time.sleep(100)"
    result = run([PYTHON, "-c", code], limits=Limits(pids=8))
    assert (result.reason, result.exit_code, result.forks_refused) == ("pids", 1, 1)
    assert result.limits and "pids" in result.limits[0]


@pytest.mark.controllers
def test_cpus(run: partial[ocirun.Result]) -> None:
    code = "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"
    result = run([PYTHON, "-c", code], limits=Limits(cpus=0.2))
    assert result.ok
    assert result.usage.cpu is not None and result.usage.cpu < 0.75


def test_file_size(run: partial[ocirun.Result]) -> None:
    code = "f = open('/tmp/f', 'wb', 0)\nf.write(bytes(1 << 20))\nf.write(b'x')"
    result = run([PYTHON, "-c", code], limits=Limits(file_size="1M"), text=True)
    assert "File too large" in result.stderr


def test_it_is_closed(run: partial[ocirun.Result], system: Path) -> None:
    os.environ["SECRET_OF_TESTS"] = "x"
    try:
        result = run(["/probe", "report"], rootfs=Rootfs.directory(system), text=True, check=True)
    finally:
        del os.environ["SECRET_OF_TESTS"]
    report = json.loads(result.stdout)
    assert report["uid"] == report["gid"] == [65534] * 3
    assert not any(int(mask, 16) for mask in report["capabilities"].values())
    assert report["no_new_privs"] == 1
    assert report["seccomp"] == 2
    assert report["pid"] == 1
    assert sorted(report["fds"]) == ["0", "1", "2"]
    assert sorted(variable.partition("=")[0] for variable in report["env"]) == ["HOME", "PATH"]
    assert report["hostname"] == "sandbox"
    for space in harness.NAMESPACES.values():
        if space != "time":
            assert report["namespaces"][space] != os.readlink(f"/proc/self/ns/{space}"), space


def test_the_machines_own_programs(run: partial[ocirun.Result]) -> None:
    code = """
import os, socket
print(sorted(os.listdir("/")), sorted(os.listdir("/etc")))
for path in ("/usr/x", "/x", "/etc/x", "/proc/sys/kernel/hostname", "/dev/../x"):
    try:
        open(path, "w")
    except OSError as error:
        print(path, error.errno)
open("/tmp/x", "w"); open("/dev/shm/x", "w")
for family in (38, 40):
    try:
        socket.socket(family, socket.SOCK_SEQPACKET)
    except PermissionError:
        print("family", family)
try:
    socket.create_connection(("1.1.1.1", 53), 1)
except OSError as error:
    print("network", error.errno)
"""
    result = run([PYTHON, "-c", code], text=True, check=True)
    lines = result.stdout.splitlines()
    assert "'home'" in lines[0] and "shadow" not in lines[0]
    assert lines[1:-1] == [
        *[f"{path} 30" for path in ("/usr/x", "/x", "/etc/x", "/proc/sys/kernel/hostname", "/dev/../x")],
        "family 38",
        "family 40",
    ]
    assert lines[-1] == "network 101"  # ENETUNREACH


def test_loosened_by_name(run: partial[ocirun.Result], scratch: Path, system: Path) -> None:
    data = scratch / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    (data / "in").write_text("given")
    read = run(["sh", "-c", "cat /data/in; echo x > /data/out"], mounts=[Mount.bind(data, "/data")], text=True)
    assert read.stdout == "given" and "Read-only" in read.stderr
    run(["sh", "-c", "echo x > /data/out"], mounts=[Mount.bind(data, "/data", read_only=False)], check=True)
    assert (data / "out").stat().st_uid == 65534
    writable = [Mount.bind(data, "/data", read_only=False)]
    run(["sh", "-c", "echo x > /data/own"], mounts=writable, user=(7, 8), check=True)
    assert ((data / "own").stat().st_uid, (data / "own").stat().st_gid) == (7, 8)
    assert run(["sh", "-c", "echo $A; pwd"], env={"A": "b"}, cwd="/usr").stdout == b"b\n/usr\n"
    network = run(["readlink", "/proc/self/ns/net"], network=True, text=True)
    assert network.stdout.strip() == os.readlink("/proc/self/ns/net")
    status = run(["cat", "/proc/self/status"], text=True, seccomp=None, new_privileges=True).stdout
    assert "Seccomp:\t0" in status and "NoNewPrivs:\t0" in status
    able = run(["grep", "CapEff", "/proc/self/status"], text=True, capabilities=["CAP_NET_RAW"], user=(0, 0)).stdout
    assert int(able.split()[1], 16) == harness.capability_mask(["NET_RAW"])
    size = run(["df", "-k", "/tmp"], text=True, tmp_size="1M").stdout
    assert " 1024 " in size


def test_directory(run: partial[ocirun.Result], system: Path) -> None:
    there = Rootfs.directory(system)
    assert run(["/bin/sh", "-c", "busybox echo x > /etc/motd"], rootfs=there).exit_code == 1
    run(["/bin/sh", "-c", "busybox echo x > /etc/motd"], rootfs=Rootfs.directory(system, read_only=False), user=(0, 0))
    assert (system / "etc" / "motd").read_text() == "x\n"
    with pytest.raises(ocirun.UsageError, match="no such file or directory"):
        run(["true"], rootfs=Rootfs.directory("/no/such"))


def test_a_layer_that_goes_away(run: partial[ocirun.Result], system: Path) -> None:
    code = "busybox cat /etc/motd; busybox echo new > /etc/motd; busybox cat /etc/motd; busybox ls /.layer"
    rootfs = Rootfs.overlay(system, size="1M")
    for _ in range(2):
        result = run(["/bin/sh", "-c", code], rootfs=rootfs, user=(0, 0), text=True)
        assert (result.stdout, result.stderr) == ("as it was\nnew\n", "")
    assert (system / "etc" / "motd").read_text() == "as it was\n"
    full = run(["/bin/sh", "-c", "busybox head -c 2000000 /dev/zero > /etc/x"], rootfs=rootfs, user=(0, 0), text=True)
    assert full.exit_code == 1, "it is full"


@pytest.mark.parametrize(
    "arguments",
    [
        {"args": "true"},
        {"args": []},
        {"args": ["true", 5]},
        {"args": [b"true"]},
        {"args": ["true"], "limits": Limits(memory="much")},
        {"args": ["true"], "limits": Limits(pids=0)},
        {"args": ["true"], "limits": Limits(cpus=0)},
        {"args": ["true"], "max_output": 0},
        {"args": ["true"], "stdout": -7},
        {"args": ["true"], "stdout": object()},
    ],
    ids=str,
)
def test_wrong_arguments(run: partial[ocirun.Result], arguments: dict[str, object]) -> None:
    with pytest.raises(ocirun.UsageError):
        run(**arguments)
    with pytest.raises(ocirun.UsageError):
        Mount.bind("/usr", "relative")


def test_wrong_programs(run: partial[ocirun.Result]) -> None:
    with pytest.raises(ocirun.OperationError, match="/nosuch") as caught:
        run(["/nosuch"])
    assert caught.value.pointer == "/process/args/0"
    with pytest.raises(ocirun.ConfigError):
        run(["true"], env={"A": "a\0b"})
    with pytest.raises(ocirun.OperationError, match="/no/such"):
        run(["true"], mounts=[Mount.bind("/no/such")])


def test_a_result_is_a_value(run: partial[ocirun.Result]) -> None:
    result = run(["echo", "x"])
    assert pickle.loads(pickle.dumps(result)) == result
    assert result.usage.wall > 0 and result.usage.cpu is not None


# Ordinary users

_AS_USER = """
import sys, ocirun
from ocirun import Limits
result = ocirun.run(["/usr/bin/id", "-u"], text=True, root=sys.argv[1])
assert result.stdout == "0\\n", result
ocirun.run(["sh", "-c", "sleep 100 & sleep 100"], timeout=0.2, root=sys.argv[1]).reason == "timeout" or 1 / 0
r = ocirun.run(["/usr/bin/python3", "-c", "open('/tmp/x','w'); print(open('/proc/self/uid_map').read())"],
    root=sys.argv[1], text=True, check=True)
assert r.stdout.split() == ["0", "7777", "1"], r
assert r.usage.cpu > 0 and r.usage.memory > 1 << 20
try:
    ocirun.run(["true"], limits=Limits(memory="64M", pids=5), root=sys.argv[1])
except ocirun.HostError as error:
    assert "cgroup" in str(error) and "Delegate" in error.hint, error
else:
    raise AssertionError
r = ocirun.run(["true"], limits=Limits(memory="64M", pids=5, required=False), root=sys.argv[1])
assert r.ok and r.without == ("memory", "pids"), r
try:
    ocirun.run(["true"], user=(5, 5), root=sys.argv[1])
except ocirun.UsageError as error:
    assert "ordinary user" in str(error)
else:
    raise AssertionError
"""


def test_an_ordinary_user(leftovers: harness.Leftovers, scratch: Path) -> None:
    root = scratch / "root"
    root.mkdir()
    os.chown(root, USER, USER)
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES)}
    words = [*AS_USER, sys.executable, "-P", "-c", _AS_USER, str(root)]
    result = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Guests


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_in_many_threads(run: partial[ocirun.Result]) -> None:
    results: list[ocirun.Result] = []

    def work(number: int) -> None:
        for _ in range(3):
            results.append(run(["sh", "-c", f"echo {number}"], timeout=60))

    run(["true"])
    before = open_descriptors()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(result.stdout) for result in results) == sorted([*range(8)] * 3)
    assert open_descriptors() == before


def test_other_children_are_not_touched(run: partial[ocirun.Result]) -> None:
    """Whatever ends meanwhile, it is still there for who started it; and a SIGCHLD handler that reaps all takes nothing
    from us that we cannot do without."""
    other = subprocess.Popen(["false"])
    assert run(["sleep", "0.3"]).ok
    assert other.wait() == 1


def test_nothing_is_left_after_many(run: partial[ocirun.Result], system: Path) -> None:
    """A hundred more leave no descriptor, no page and no process more than the first ones."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    rootfs = Rootfs.directory(system)
    for _ in range(20):
        run(["/probe", "true"], rootfs=rootfs)
    before, size, children = open_descriptors(), resident(), harness.children()
    for _ in range(int(os.environ.get("OCIRUN_MANY", "100"))):
        assert run(["/probe", "true"], rootfs=rootfs).ok
    assert open_descriptors() == before
    assert harness.children() == children
    assert resident() - size < 1 << 20
