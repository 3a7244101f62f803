"""mkdir, symlink, mknod and bind_device of the native init."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from fsdriver import Driven, Failed, bind, device, enter, mount

from ocirun.plan import ops


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    path = scratch / "rootfs"
    path.mkdir()
    return path


def symlink(text: str, target: str, replace: int = 0) -> ops.Operation:
    return ops.symlink("init", "", text=text, target=target, replace=replace)


@pytest.mark.parametrize("without", ["", "openat2"])
def test_nodes(rootfs: Path, without: str) -> None:
    plan = [
        *enter(rootfs),
        device("/dev/null", 1, 3),
        device("/dev/deep/er/loop", 7, 200, mode=0o060640, uid=5, gid=6),
        device("/dev/fifo", 0, 0, mode=0o010604),
    ]
    old = os.umask(0o077)
    try:
        with Driven(plan, without=without):
            pass
    finally:
        os.umask(old)
    null, loop, fifo = (os.lstat(rootfs / "dev" / name) for name in ("null", "deep/er/loop", "fifo"))
    assert (null.st_rdev, null.st_mode) == (os.makedev(1, 3), 0o020666)
    assert (loop.st_rdev, loop.st_mode, loop.st_uid, loop.st_gid) == (os.makedev(7, 200), 0o060640, 5, 6)
    assert fifo.st_mode == 0o010604


def test_the_same_node_stays(rootfs: Path) -> None:
    os.mknod(rootfs / "null", 0o020600, os.makedev(1, 3))
    os.chown(rootfs / "null", 7, 8)
    with Driven([*enter(rootfs), device("/null", 1, 3)]):
        pass
    found = os.lstat(rootfs / "null")
    assert (found.st_mode, found.st_uid, found.st_gid) == (0o020600, 7, 8)


def test_another_file_in_its_place_is_an_error(rootfs: Path, scratch: Path) -> None:
    """config-linux.md, Devices: "the runtime MUST generate an error"."""
    (rootfs / "file").touch()
    (rootfs / "link").symlink_to(scratch / "victim")
    os.mknod(rootfs / "zero", 0o020666, os.makedev(1, 5))
    os.mknod(rootfs / "block", 0o060666, os.makedev(1, 3))
    for name in ("file", "link", "zero", "block"):
        with pytest.raises(Failed) as failed, Driven([*enter(rootfs), device(f"/{name}", 1, 3)]):
            pass
        assert (failed.value.errno, failed.value.words) == (0, "something else than this device is already there")
    assert not (scratch / "victim").exists()


@pytest.mark.parametrize("without", ["", "open_tree"])
def test_where_mknod_is_forbidden_the_same_node_of_the_host_is_bound(rootfs: Path, without: str) -> None:
    plan = [
        *enter(rootfs),
        mount("tmpfs", "/dev"),
        device("/dev/null", 1, 3),
        ops.bind_device("init", "", source="/dev/zero", slot=ops.NO_SLOT, target="/dev/sub/zero"),
        ops.bind_device("init", "", source="", slot=0, target="/dev/full"),
    ]
    full = os.open("/dev/full", os.O_PATH)
    try:
        if without:  # a descriptor of another mount namespace can only be cloned
            plan.pop()
        with Driven(plan, user=True, without=without, slots=() if without else (full,)) as driven:
            dev = Path(f"{driven.root}{rootfs}/dev")
            assert os.stat(dev / "null").st_rdev == os.makedev(1, 3)
            assert (dev / "null").read_bytes() == b""
            assert os.stat(dev / "sub" / "zero").st_rdev == os.makedev(1, 5)
    except Failed as failed:
        assert failed.index == 6 and failed.errno == errno.EINVAL
    finally:
        os.close(full)


def test_only_devices_are_bound_as_devices(rootfs: Path) -> None:
    plan = [*enter(rootfs), ops.bind_device("init", "", source="/etc/passwd", slot=ops.NO_SLOT, target="/dev/x")]
    with pytest.raises(Failed) as failed, Driven(plan):
        pass
    assert failed.value.errno == errno.ENODEV


@pytest.mark.parametrize("without", ["", "openat2"])
def test_symlinks(rootfs: Path, without: str) -> None:
    (rootfs / "dev").mkdir()
    (rootfs / "dev" / "kept").touch()
    (rootfs / "dev" / "ptmx").touch()
    (rootfs / "dev" / "again").symlink_to("old")
    plan = [
        *enter(rootfs),
        symlink("/proc/self/fd", "/dev/fd"),
        symlink("new", "/dev/kept"),
        symlink("pts/ptmx", "/dev/ptmx", 1),
        symlink("new", "/dev/again", 1),
        symlink("x", "/not/there/yet"),
    ]
    with Driven(plan, without=without):
        pass
    assert os.readlink(rootfs / "dev" / "fd") == "/proc/self/fd"
    assert (rootfs / "dev" / "kept").is_file()
    assert os.readlink(rootfs / "dev" / "ptmx") == "pts/ptmx"
    assert os.readlink(rootfs / "dev" / "again") == "new"
    assert os.readlink(rootfs / "not" / "there" / "yet") == "x"


@pytest.mark.parametrize("without", ["", "openat2"])
def test_directories(rootfs: Path, without: str) -> None:
    (rootfs / "real").mkdir(mode=0o700)
    (rootfs / "link").symlink_to("/real/./missing/../made")
    (rootfs / "loop").symlink_to("loop")
    plan = [
        *enter(rootfs),
        ops.mkdir("init", "", target="/real", mode=0o777),
        ops.mkdir("init", "", target="/a/b//c/", mode=0o1777),
        ops.mkdir("init", "", target="/link/x", mode=0o755),
        ops.mkdir("init", "", target="../../up/../over", mode=0o755),
    ]
    with Driven(plan, without=without):
        pass
    assert stat.S_IMODE((rootfs / "real").stat().st_mode) == 0o700
    assert stat.S_IMODE((rootfs / "a" / "b").stat().st_mode) == 0o755
    assert stat.S_IMODE((rootfs / "a" / "b" / "c").stat().st_mode) == 0o1777
    assert (rootfs / "real" / "made" / "x").is_dir()
    assert (rootfs / "over").is_dir()
    assert not (rootfs.parent / "over").exists()
    for target, expected in (("/loop/x", errno.ELOOP), ("/" + "x" * 256, errno.ENAMETOOLONG)):
        with pytest.raises(Failed) as failed, Driven([*plan[:3], ops.mkdir("init", "", target=target, mode=0o755)]):
            pass
        assert failed.value.errno == expected


def test_an_empty_slot_is_no_descriptor_of_something_else(rootfs: Path) -> None:
    with pytest.raises(Failed) as failed, Driven([*enter(rootfs), bind("/etc", "/x", slot=9)]):
        pass
    assert failed.value.errno == errno.EBADF
