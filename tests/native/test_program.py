"""The init as a program: sealed, and in every way that there is to have it so."""

from __future__ import annotations

import errno
import fcntl
import os
import posix
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocirun.host import procfs
from ocirun.launch import program, run


@pytest.fixture
def source() -> Iterator[int]:
    """A program that is there anyway, as the init is."""
    fd = os.open("/bin/true", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("way", program.WAYS, ids=lambda way: way.__name__.strip("_"))
def test_each_way_alone(way: object, source: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be executed, holds the same bytes, and nothing that is opened through it can be written to."""
    monkeypatch.setattr(program, "WAYS", (way,))
    fd = program.sealed_copy(source, str(tmp_path))
    try:
        assert os.pread(fd, 1 << 24, 0) == Path("/bin/true").read_bytes()
        pid = program.execute(fd, (b"true",), {}, (0, 1, 2), 3, ())
        assert os.waitpid(pid, 0)[1] == 0
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        if way is not program.WAYS[-1]:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
            with pytest.raises(PermissionError):
                os.pwrite(again, b"x", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(again, 0)
            os.close(again)
        else:
            assert os.fstat(fd).st_nlink == 0
            assert list(tmp_path.iterdir()) == []
    finally:
        os.close(fd)


def test_seals_of_an_older_kernel(source: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.3 there is no F_SEAL_EXEC, which comes with the others."""
    monkeypatch.setattr(program, "_F_SEAL_EXEC", 1 << 20)
    fd = program.sealed_copy(source, str(tmp_path))
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", 0)
        for size in (0, 1 << 24):
            with pytest.raises(PermissionError):
                os.ftruncate(again, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(again, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    finally:
        os.close(again)
        os.close(fd)


def test_the_next_way_when_one_is_refused(source: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: int, directory: str) -> int:
        raise OSError(22, "as an old kernel says")

    monkeypatch.setattr(program, "WAYS", (refuse, refuse, program.WAYS[-1]))
    fd = program.sealed_copy(source, str(tmp_path))
    assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path))
    os.close(fd)


def test_a_file_system_without_unnamed_files(source: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """overlayfs before Linux 6.3: the file has a name for a moment."""
    real = posix.open

    def refuse(path: str, flags: int, *more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "")
        return real(path, flags, *more)

    monkeypatch.setattr(posix, "open", refuse)
    monkeypatch.setattr(program, "WAYS", (program.WAYS[-1],))
    fd = program.sealed_copy(source, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert os.waitpid(program.execute(fd, (b"true",), {}, (0, 1, 2), 3, ()), 0)[1] == 0
    os.close(fd)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a filter that answers EPERM to clone3(2)."""

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(1, "")

    monkeypatch.setattr(posix, "posix_spawn", refuse)


def test_by_fork(forked: None, isolated: None, tmp_path: Path) -> None:
    """As posix_spawn(3) would: descriptors, group, signals, environment."""
    # A shell blocks all signals while it starts a program: the last one takes its place.
    script = "echo $V; ls /proc/$$/fd; ps -o pgid= $$; exec grep -E 'SigBlk|SigIgn' /proc/self/status"
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        pid = program.spawn(
            "/bin/sh",
            ("sh", "-c", script),
            {"V": "value", "PATH": "/usr/bin:/bin"},
            file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 9)],
            setpgroup=0,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert os.waitpid(pid, 0)[1] == 0
    os.close(out)
    value, *fds, group, blocked, ignored = (tmp_path / "out").read_text().split("\n")[:-1]
    assert value == "value"
    assert {"0", "1", "2", "9"} <= set(fds)
    assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) == 0
    assert int(group) == pid


def test_what_cannot_be_executed_by_fork(forked: None, tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        program.spawn(str(tmp_path / "nothing"), ("x",), {})
    (tmp_path / "data").write_text("")
    with pytest.raises(PermissionError):
        program.spawn(str(tmp_path / "data"), ("x",), {})
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_waiting_without_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(1, "")

    monkeypatch.setattr(posix, "pidfd_open", refuse)
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        process = procfs.open_process(sleeper.pid)
        assert not procfs.is_pidfd(process)
        assert not procfs.wait_for_end(process, 20)
        procfs.send_signal(process, sleeper.pid, signal.SIGKILL)
        assert procfs.wait_for_end(process, 5000), "a zombie has ended"
        sleeper.wait()
        assert procfs.wait_for_end(process, None), "and so has who is gone"
        os.close(process)
    with pytest.raises(ProcessLookupError):
        procfs.open_process(sleeper.pid)


def test_nothing_is_left_open_by_a_refusal(source: int) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for way in program.WAYS:
        with pytest.raises(OSError):
            way(source, "/proc/nowhere") if way is program.WAYS[-1] else way(-1, "/")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_descriptors_come_where_they_belong() -> None:
    """Whatever their own numbers are: here each is the other's target."""
    shell, name, zero = (os.open(path, os.O_RDONLY) for path in ("/bin/sh", "/etc/hostname", "/dev/zero"))
    os.dup2(name, 101)
    os.dup2(zero, 100)
    with tempfile.TemporaryFile() as out:
        script = b"readlink /proc/self/fd/100 /proc/self/fd/101"
        pid = program.execute(shell, (b"sh", b"-c", script), {}, (0, out.fileno(), 2), 100, (101, 100))
        assert os.waitpid(pid, 0)[1] == 0
        out.seek(0)
        assert out.read() == b"/etc/hostname\n/dev/zero\n"
    for fd in (shell, name, zero, 100, 101):
        os.close(fd)


@pytest.mark.parametrize("value", ["1", "2"])
def test_the_sysctl(value: str) -> None:
    """vm.memfd_noexec of a pid namespace of our own: 1 asks for MFD_EXEC, 2 forbids memory and leaves the file."""
    script = (
        f"echo {value} > /proc/sys/vm/memfd_noexec || exit 77; exec {sys.executable} -c '"
        "import os; from ocirun.launch import program;"
        'fd = program.sealed_copy(os.open("/bin/true", os.O_RDONLY), "/tmp");'
        "print(os.readlink(f\"/proc/self/fd/{fd}\"));"
        "print(os.waitpid(program.execute(fd, (b\"true\",), {}, (0, 1, 2), 3, ()), 0)[1])'"
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    where, status = result.stdout.split("\n")[:2]
    assert status == "0", result.stderr
    assert where.startswith("/memfd:" if value == "1" else "/tmp/")


def test_what_is_said_when_there_is_none(tmp_path: Path) -> None:
    text = run._why_not_executable(PermissionError(13, ""), str(tmp_path))
    assert text == "execute the container's init: permission denied"
