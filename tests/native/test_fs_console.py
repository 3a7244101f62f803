"""console and reopen_dev_null of the native init."""

from __future__ import annotations

import array
import fcntl
import os
import re
import socket
import stat
import struct
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from fsdriver import Driven, Failed, bind, build_driver, device, enter, mount, pivot

from ocirun.plan import ops

OLD = "fsopen,open_tree,move_mount,mount_setattr,openat2"


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    path = scratch / "rootfs"
    path.mkdir()
    return path


@pytest.fixture
def victim(scratch: Path) -> Path:
    """A file of the host."""
    path = scratch / "victim"
    path.write_text("the host's")
    return path


def with_console(rootfs: Path, more: Sequence[ops.Operation] = (), bind_console: int = 1) -> list[ops.Operation]:
    return [
        *enter(rootfs),
        mount("proc", "/proc"),
        mount("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620"),
        *more,
        pivot(),
        ops.console("init", "", slot=0, rows=33, columns=99, bind_console=bind_console),
    ]


class Terminal:
    """Performs operations with a console socket in slot 0."""

    def __init__(self, operations: Sequence[ops.Operation], **options: object) -> None:
        self.ours, self.theirs = socket.socketpair()
        options["slots"] = (self.theirs.fileno(),)
        self.driven = Driven(operations, **options)  # type: ignore[arg-type]
        self.master = -1
        self.name = b""

    def __enter__(self) -> Terminal:
        try:
            self.driven.__enter__()
        finally:
            self.theirs.close()
        self.name, ancillary, _, _ = self.ours.recvmsg(100, socket.CMSG_SPACE(4))
        descriptors = array.array("i")
        descriptors.frombytes(ancillary[0][2])
        self.master = descriptors[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.driven.close()
        self.ours.close()
        if self.master >= 0:
            os.close(self.master)


@pytest.mark.parametrize("without", ["", "openat2", "open_tree", OLD])
def test_the_slave_becomes_stdio_and_dev_console(rootfs: Path, without: str) -> None:
    with Terminal(with_console(rootfs), without=without) as terminal:
        assert terminal.name == b"/dev/ptmx"
        size = fcntl.ioctl(terminal.master, termios.TIOCGWINSZ, bytes(8))
        assert struct.unpack("HHHH", size)[:2] == (33, 99)
        process = Path(f"/proc/{terminal.driven.pid}")
        standard = [os.stat(process / "fd" / str(fd)) for fd in range(3)]
        console = os.stat(terminal.driven.root / "dev" / "console")
        slave = os.stat(terminal.driven.root / "dev" / "pts" / "0")
        assert {(found.st_dev, found.st_ino) for found in (*standard, console)} == {(slave.st_dev, slave.st_ino)}
        assert os.readlink(process / "fd" / "0") == "/dev/pts/0"
        assert terminal.driven.mount("/dev/console").fstype == "devpts"
        controlling = int((process / "stat").read_text().rpartition(")")[2].split()[4])
        assert controlling == os.makedev(136, 0)
        descriptors = terminal.driven.descriptors().values()
        assert list(descriptors) == ["/"], "neither the master, nor the slave, nor the socket stays"
        with open(process / "fd" / "1", "wb", buffering=0) as out:
            out.write(b"hello\n")
        assert os.read(terminal.master, 100) == b"hello\r\n"


def test_exec_leaves_dev_console_alone(rootfs: Path) -> None:
    with Terminal(with_console(rootfs, bind_console=0)) as terminal:
        assert not (terminal.driven.root / "dev" / "console").exists()


def failure(operations: Sequence[ops.Operation], **options: object) -> Failed:
    with pytest.raises(Failed) as failed, Terminal(operations, **options):
        pass
    return failed.value


# CVE-2025-52565, CVE-2026-88264: /dev/console or the pty's name lead elsewhere.


@pytest.mark.parametrize("without", ["", OLD])
def test_dev_console_is_not_made_through_a_symlink(rootfs: Path, scratch: Path, without: str) -> None:
    (rootfs / "dev").mkdir()
    (rootfs / "dev" / "console").symlink_to("/made")
    assert failure(with_console(rootfs), without=without).words == "/dev/console of the container is a symlink"
    assert not (rootfs / "made").exists()


def test_dev_console_is_made_through_a_symlink_by_paths(rootfs: Path) -> None:
    (rootfs / "dev").mkdir()
    (rootfs / "dev" / "console").symlink_to("/made")
    with Terminal(with_console(rootfs), driver=build_driver(["naive_inroot.c"])):
        assert (rootfs / "made").exists()


@pytest.mark.parametrize("without", ["", "openat2"])
@pytest.mark.parametrize("kind", ["file", "ptmx", "symlink", "tty"])
def test_ptmx_must_be_of_a_devpts(rootfs: Path, kind: str, without: str) -> None:
    pts = rootfs / "dev" / "pts"
    pts.mkdir(parents=True)
    if kind == "file":
        (pts / "ptmx").touch()
    elif kind == "ptmx":  # that of no devpts; opening it would open /dev/pts/ptmx beside it
        os.mknod(pts / "ptmx", 0o020666, os.makedev(5, 2))
    elif kind == "tty":
        os.mknod(pts / "ptmx", 0o020666, os.makedev(5, 0))
    else:
        (pts / "ptmx").symlink_to("/dev/ptmx")
    plan = [*enter(rootfs), pivot(), ops.console("init", "", slot=0, rows=0, columns=0, bind_console=1)]
    assert failure(plan, without=without).words == "/dev/pts/ptmx of the container is not of a devpts file system"


def test_something_mounted_over_the_slave_is_not_used(rootfs: Path, victim: Path) -> None:
    """CVE-2025-52565: the slave comes by its master (TIOCGPTPEER), whatever /dev/pts/0 is."""
    hide = [device("/dev/null", 1, 3), bind(victim, "/dev/pts/ptmx")]
    assert "devpts" in failure(with_console(rootfs, hide)).words
    assert victim.read_text() == "the host's"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644


# CVE-2026-88265: the container's /dev/null is something else, and becomes stdio.


def null_device(rootfs: Path, kind: str, victim: Path) -> None:
    (rootfs / "dev").mkdir()
    null = rootfs / "dev" / "null"
    if kind == "symlink":
        null.symlink_to(victim)
        (rootfs / victim.relative_to("/")).parent.mkdir(parents=True)
        (rootfs / victim.relative_to("/")).touch()
    elif kind == "file":
        null.touch()
    elif kind == "zero":
        os.mknod(null, 0o020666, os.makedev(1, 5))
    elif kind == "fifo":
        os.mkfifo(null)
    else:
        os.mknod(null, 0o020666, os.makedev(1, 3))


def reopened(rootfs: Path) -> list[ops.Operation]:
    return [*enter(rootfs), mount("proc", "/proc"), pivot(), ops.reopen_dev_null("init", "")]


@pytest.mark.parametrize("without", ["", "openat2"])
def test_stdio_that_is_null_is_the_containers(rootfs: Path, victim: Path, without: str) -> None:
    null_device(rootfs, "null", victim)
    with Driven(reopened(rootfs), without=without, null_error=True) as driven:
        found = os.stat(f"/proc/{driven.pid}/fd/2")
        assert (found.st_dev, found.st_ino) == (
            (rootfs / "dev" / "null").stat().st_dev,
            (rootfs / "dev" / "null").stat().st_ino,
        )
        flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{driven.pid}/fdinfo/2").read_text())
        assert flags and int(flags[1], 8) & (os.O_ACCMODE | os.O_NONBLOCK | os.O_CLOEXEC) == os.O_RDWR
        assert os.readlink(f"/proc/{driven.pid}/fd/0").startswith("pipe:"), "other descriptors stay"
        assert set(driven.descriptors().values()) == {"/"}


@pytest.mark.parametrize("without", ["", "openat2"])
@pytest.mark.parametrize("kind", ["symlink", "file", "zero", "fifo"])
def test_stdio_becomes_nothing_but_the_null_device(rootfs: Path, victim: Path, kind: str, without: str) -> None:
    null_device(rootfs, kind, victim)
    with pytest.raises(Failed) as failed, Driven(reopened(rootfs), without=without, null_error=True):
        pass
    assert failed.value.words == "/dev/null of the container is not the null device"


def test_stdio_becomes_a_chosen_file_by_name(rootfs: Path, victim: Path) -> None:
    null_device(rootfs, "symlink", victim)
    with Driven(reopened(rootfs), driver=build_driver(["naive_op_device.c"]), null_error=True) as driven:
        assert os.readlink(f"/proc/{driven.pid}/fd/2") == str(victim)


def test_a_fake_null_device_does_not_matter_to_who_does_not_use_it(rootfs: Path, victim: Path) -> None:
    null_device(rootfs, "file", victim)
    with Driven(reopened(rootfs)) as driven:
        assert os.readlink(f"/proc/{driven.pid}/fd/0").startswith("pipe:")
