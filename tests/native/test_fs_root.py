"""mount_root, pivot_root, move_root, chroot and use_root of the native init."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fsdriver import (
    ATTR_RDONLY,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    Driven,
    bind,
    enter,
    mount,
    pivot,
    setattr,
)

from ocirun.plan import ops

OLD = "fsopen,open_tree,move_mount,mount_setattr,openat2"


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    path = scratch / "rootfs"
    (path / "below").mkdir(parents=True)
    (path / "file").write_text("file of the rootfs")
    return path


def prepared(*more: ops.Operation) -> list[ops.Operation]:
    """Mounts made before the rootfs is entered."""
    return [
        ops.enter_root("init", "", path="/"),
        ops.propagation("init", "", flags=MS_PRIVATE | MS_REC),
        ops.use_root("init", ""),
        *more,
    ]


@pytest.mark.parametrize("without", ["", "open_tree", "move_mount", OLD])
@pytest.mark.parametrize("last", ["pivot_root", "move_root", "chroot"])
def test_the_rootfs_becomes_the_root(rootfs: Path, last: str, without: str) -> None:
    plan = [
        *prepared(mount("tmpfs", f"{rootfs}/below", flags=MS_NOSUID)),
        *enter(rootfs),
        getattr(ops, last)("init", ""),
    ]
    with Driven(plan, without=without) as driven:
        assert (driven.root / "file").read_text() == "file of the rootfs"
        assert driven.mount("/below").options >= {"nosuid"}, "mounts below the rootfs come along"
        assert os.readlink(f"/proc/{driven.pid}/cwd") == os.readlink(f"/proc/{driven.pid}/root")
        assert len(driven.descriptors()) == 1, "only the root descriptor is left"
        if last == "pivot_root":
            assert [found.target for found in driven.mounts()] == ["/", "/below"]


@pytest.mark.parametrize("without", ["", "open_tree"])
def test_pivot_root_in_a_user_namespace(rootfs: Path, without: str) -> None:
    plan = [
        *prepared(mount("tmpfs", f"{rootfs}/below")),
        ops.unshare("init", "", flags=0x10020000),
        *enter(rootfs),
        pivot(),
    ]
    with Driven(plan, without=without) as driven:
        assert [found.target for found in driven.mounts()] == ["/", "/below"]


@pytest.mark.parametrize("without", ["", OLD])
def test_nothing_travels_to_the_caller(rootfs: Path, scratch: Path, without: str) -> None:
    """The rootfs lies on a shared mount, as everything does under systemd, and the container asks for a shared root."""
    plan = [
        *prepared(mount("tmpfs", str(scratch), propagation=MS_SHARED)),
        ops.mkdir("init", "", target=f"{scratch}/rootfs/below", mode=0o755),
        ops.unshare("init", "", flags=0x00020000),
        *enter(scratch / "rootfs", MS_SHARED | MS_REC),
        mount("tmpfs", "/below"),
    ]
    with Driven(plan, without=without) as driven:
        tags = {found.target: found.tags for found in driven.mounts()}
        assert tags[str(scratch)] == set(), "the parent is private"
    with Driven([*plan, pivot()], without=without) as driven:
        assert [found.target for found in driven.mounts()] == ["/", "/below"]


def test_a_detached_tree_as_the_root(rootfs: Path) -> None:
    plan = [
        ops.open_tree("init", "", path=str(rootfs), from_slot=ops.NO_SLOT, recursive=1, slot=3),
        ops.enter_root("init", "", path=str(rootfs)),
        ops.propagation("init", "", flags=MS_SLAVE | MS_REC),
        ops.mount_root("init", "", path=str(rootfs), slot=3, private=1),
        pivot(),
    ]
    with Driven(plan) as driven:
        assert (driven.root / "file").read_text() == "file of the rootfs"
        assert len(driven.descriptors()) == 1


@pytest.mark.parametrize("user", [False, True])
def test_move_root_leaves_no_whole_proc_or_sysfs_behind(rootfs: Path, user: bool) -> None:
    """Else the container mounts a procfs without the masks of its own (mount_too_revealing)."""
    with Driven([*enter(rootfs), mount("tmpfs", "/below"), ops.move_root("init", "")], user=user) as driven:
        visible = {}
        for found in driven.mounts():
            visible[found.target] = found.fstype
        assert "proc" not in visible.values() or visible["/proc"] == "tmpfs"
        assert [found.target for found in driven.mounts() if found.fstype == "sysfs" and found.root == "/"] == []


@pytest.mark.parametrize("without", ["", "mount_setattr", OLD])
def test_read_only_root_leaves_mounts_below_alone(rootfs: Path, without: str) -> None:
    plan = [*enter(rootfs), mount("tmpfs", "/below"), pivot(), ops.root_readonly("init", "")]
    with Driven(plan, without=without) as driven:
        assert "ro" in driven.mount("/").options
        assert "rw" in driven.mount("/below").options


@pytest.mark.parametrize(
    ("flags", "kinds"), [(MS_PRIVATE, set()), (MS_SHARED, {"shared"}), (MS_SHARED | MS_REC, {"shared"})]
)
def test_propagation_of_the_root(rootfs: Path, flags: int, kinds: set[str]) -> None:
    plan = [*enter(rootfs), mount("tmpfs", "/below"), pivot(), ops.root_propagation("init", "", flags=flags)]
    with Driven(plan) as driven:
        assert {tag.partition(":")[0] for tag in driven.mount("/").tags} == kinds
        assert {tag.partition(":")[0] for tag in driven.mount("/below").tags} == (kinds if flags & MS_REC else set())


def test_use_root_is_the_own_root(rootfs: Path) -> None:
    plan = [
        *enter(rootfs),
        pivot(),
        ops.use_root("init", ""),
        bind("/file", "/other"),
        setattr("/other", set=ATTR_RDONLY),
    ]
    with Driven(plan) as driven:
        assert (driven.root / "other").read_text() == "file of the rootfs"
        assert "ro" in driven.mount("/other").options
