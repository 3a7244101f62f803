"""mkdir, symlink, mknod and bind_device of the native init."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Any

import harness
import pytest
from fsdriver import Driven, Failed, bind, bind_device, device, enter, mount

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


@pytest.mark.parametrize("without", ["", "fchmodat2"])
def test_mode_and_owner_whatever_the_directory_says(rootfs: Path, without: str) -> None:
    """The set-group-ID bit of the directory gives its group, a default ACL takes bits away."""
    dev = rootfs / "dev"
    dev.mkdir()
    os.chown(dev, 0, 77)
    os.chmod(dev, 0o2755)
    plan = [
        *enter(rootfs),
        device("/dev/zero", 1, 5, mode=0o020664, gid=0),
        device("/dev/special", 7, 9, mode=0o066755, uid=3, gid=4),
        device("/dev/fifo", 0, 0, mode=0o010666, uid=5),
    ]
    # user::rwx, group::---, other::---: <linux/posix_acl_xattr.h>
    entries = b"".join(struct.pack("<HHI", tag, bits, 2**32 - 1) for tag, bits in ((1, 7), (4, 0), (0x20, 0)))
    os.setxattr(dev, "system.posix_acl_default", struct.pack("<I", 2) + entries)
    with Driven(plan, without=without):
        pass
    found = {name: os.lstat(dev / name) for name in ("zero", "special", "fifo")}
    assert {name: (st.st_mode, st.st_uid, st.st_gid) for name, st in found.items()} == {
        "zero": (0o020664, 0, 0),
        "special": (0o066755, 3, 4),
        "fifo": (0o010666, 5, 0),
    }


@pytest.mark.parametrize("without", ["", "open_tree"])
def test_where_mknod_is_forbidden_the_same_node_of_the_host_is_bound(rootfs: Path, without: str) -> None:
    plan = [
        *enter(rootfs),
        mount("tmpfs", "/dev"),
        device("/dev/null", 1, 3),
        bind_device("/dev/zero", 1, 5),
        device("/dev/fifo", 0, 0, mode=0o010600),
    ]
    with Driven(plan, user=True, without=without) as driven:
        dev = Path(f"{driven.root}{rootfs}/dev")
        assert os.stat(dev / "null").st_rdev == os.makedev(1, 3)
        assert (dev / "null").read_bytes() == b""
        assert os.stat(dev / "zero").st_rdev == os.makedev(1, 5)
        assert stat.S_ISFIFO(os.stat(dev / "fifo").st_mode)


def test_a_node_of_the_host_by_its_number(rootfs: Path, scratch: Path) -> None:
    """Whatever its name, where udev has linked it; what has the name but is another device is not taken."""
    links = scratch / "char"
    links.mkdir()
    (links / "1:5").symlink_to("/dev/zero")
    (links / "1:7").symlink_to("/dev/zero")
    made = not Path("/dev/char").exists()
    if made:
        Path("/dev/char").mkdir()
    harness.mount(str(links), "/dev/char", None, 4096)
    try:
        with Driven([*enter(rootfs), bind_device("/dev/named", 1, 5), bind_device("/dev/null", 1, 5)]) as driven:
            for name in ("named", "null"):
                assert os.stat(f"{driven.root}{rootfs}/dev/{name}").st_rdev == os.makedev(1, 5)
        for target, minor in (("/dev/full", 5), ("/dev/random", 7), ("/dev/none", 8)):
            plan = [*enter(rootfs), bind_device(target, 1, minor, mode=0o060666 if minor == 5 else 0o020666)]
            with pytest.raises(Failed) as failed, Driven(plan):
                pass
            assert failed.value.errno == 0
            assert "the host has no such device at this path or in /dev/" in failed.value.words
    finally:
        harness.unmount("/dev/char")
        if made:
            Path("/dev/char").rmdir()


def make_node(
    target: str, major: int, minor: int, *, slot: int, mode: int, uid: int = 0, gid: int = 0
) -> ops.Operation:
    return ops.make_node("outer", "", target=target, mode=mode, major=major, minor=minor, uid=uid, gid=gid, slot=slot)


@pytest.mark.parametrize("without", ["", "clone_detached"])
def test_nodes_made_outside(rootfs: Path, without: str) -> None:
    """Before Linux 6.15 they are attached for a moment, to be cloned."""
    plan = [
        make_node("/dev/mine", 1, 3, mode=0o022604, uid=5, gid=6, slot=0),
        make_node("/dev/block", 7, 200, mode=0o060640, slot=1),
        *enter(rootfs),
        mount("tmpfs", "/dev"),
        bind_device("/dev/mine", 1, 3, slot=0),
        bind_device("/dev/block", 7, 200, mode=0o060640, slot=1),
    ]
    with Driven(plan, without=without) as driven:
        mine, block = (os.stat(f"{driven.root}{rootfs}/dev/{name}") for name in ("mine", "block"))
        assert (mine.st_mode, mine.st_uid, mine.st_gid, mine.st_rdev) == (0o022604, 5, 6, os.makedev(1, 3))
        assert (block.st_mode, block.st_rdev) == (0o060640, os.makedev(7, 200))
        assert driven.mount(f"{rootfs}/dev/mine").options >= {"nosuid", "noexec"}
        assert not [path for path in driven.descriptors().values() if "node" in path or path == "/"]
        assert not [one for one in driven.mounts() if one.source == "devices" and "/dev/" not in one.target]


@pytest.mark.parametrize("options", [{"user": True}, {"without": "fsopen"}, {"forbidden": ["fsopen"]}])
def test_where_none_can_be_made_the_hosts_is_bound(rootfs: Path, options: dict[str, Any]) -> None:
    plan = [
        make_node("/dev/zero", 1, 5, mode=0o020600, slot=0),
        *enter(rootfs),
        mount("tmpfs", "/tmp"),
        bind_device("/dev/zero", 1, 5, slot=0),
    ]
    with Driven(plan, **options) as driven:
        found = os.stat(f"{driven.root}{rootfs}/dev/zero")
        assert (found.st_rdev, found.st_mode) == (os.makedev(1, 5), os.stat("/dev/zero").st_mode)


@pytest.mark.parametrize("slot", [0, ops.NO_SLOT])
def test_what_is_in_the_place_of_a_device_that_is_bound(rootfs: Path, scratch: Path, slot: int) -> None:
    """As where it is made: something else is an error, the same device is not; nor is an empty file, which is what
    the last container has been bound over."""

    def place(name: str) -> list[ops.Operation]:
        made = [make_node(f"/{name}", 1, 5, mode=0o020600, slot=0)] if slot == 0 else []
        # Without a slot, the host's of the same name: "zero".
        return [*made, *enter(rootfs), bind_device(f"/{name}", 1, 5, slot=slot)]

    (rootfs / "dev").mkdir()
    name = "dev/zero"
    path = rootfs / name
    for kind in ("empty", "same"):
        if kind == "empty":
            path.touch()
        else:
            os.mknod(path, 0o020600, os.makedev(1, 5))
        with Driven(place(name)) as driven:
            assert os.stat(f"{driven.root}{path}").st_rdev == os.makedev(1, 5)
        path.unlink()
    for kind in ("file", "link", "null", "directory", "fifo"):
        if kind == "file":
            path.write_text("full\n")
        elif kind == "link":
            path.symlink_to(scratch / "victim")
        elif kind == "null":
            os.mknod(path, 0o020666, os.makedev(1, 3))
        elif kind == "directory":
            path.mkdir()
        else:
            os.mkfifo(path)
        with pytest.raises(Failed) as failed, Driven(place(name)):
            pass
        assert (failed.value.errno, failed.value.words) == (0, "something else than this device is already there"), kind
        if kind == "directory":
            path.rmdir()
        else:
            path.unlink()
    assert not (scratch / "victim").exists()


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
