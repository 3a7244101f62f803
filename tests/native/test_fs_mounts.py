"""mount, bind, setattr, mask and readonly of the native init, with each of the newer system calls missing in turn."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fsdriver import (
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    COPY_UP,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    NUMBERS,
    ORDINARY,
    Driven,
    Failed,
    bind,
    device,
    enter,
    mask,
    mount,
    pivot,
    setattr,
)

from ocirun.plan import ops

WITHOUT = (
    "",
    "openat2",
    "fsopen",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "fsopen,open_tree,move_mount,mount_setattr",
    "fsopen,open_tree,move_mount,mount_setattr,openat2",
)
OLD = "fsopen,open_tree,move_mount,mount_setattr,openat2"

MS_SYNCHRONOUS, MS_REMOUNT, MS_DIRSYNC, MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME = 16, 32, 128, 256, 1024, 2048
MS_RELATIME, MS_STRICTATIME, MS_LAZYTIME, MS_SILENT, MS_I_VERSION = 1 << 21, 1 << 24, 1 << 25, 1 << 15, 1 << 23


@pytest.fixture
def rootfs(scratch: Path) -> Iterator[Path]:
    path = scratch / "rootfs"
    path.mkdir(mode=0o755)
    yield path


FILTERS = [*((name,) for name in NUMBERS), tuple(NUMBERS), tuple(name for name in NUMBERS if name != "fsopen")]
LACKING = [*((name, ()) for name in WITHOUT), *(("", names) for names in FILTERS)]


@pytest.mark.parametrize(("without", "forbidden"), LACKING)
def test_a_whole_container(rootfs: Path, scratch: Path, without: str, forbidden: Sequence[str]) -> None:
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "secret").write_text("secret")
    (scratch / "data").mkdir()
    (scratch / "data" / "file").write_text("data")
    (scratch / "hosts").write_text("hosts")
    plan = [
        *enter(rootfs),
        mount("proc", "/proc", target_flags=ORDINARY),
        mount("tmpfs", "/dev", "mode=755", "size=65536k", source="tmpfs", flags=MS_NOSUID | MS_STRICTATIME),
        mount("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620", flags=MS_NOSUID | MS_NOEXEC),
        mount("mqueue", "/dev/mqueue", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC),
        mount("sysfs", "/sys", flags=MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, target_flags=ORDINARY),
        bind(scratch / "hosts", "/etc/hosts", set=ATTR_RDONLY),
        bind(scratch / "data", "/srv/data", recursive=True, set=ATTR_NOEXEC, propagation=MS_PRIVATE | MS_REC),
        device("/dev/null", 1, 3),
        ops.symlink("init", "", text="/proc/self/fd", target="/dev/fd", replace=0),
        pivot(),
        ops.root_readonly("init", ""),
        *mask(
            "/proc/kcore", "/proc/acpi", "/proc/fs", "/sys/firmware", "/etc/secret", "/missing", "/etc/hosts/missing"
        ),
        ops.readonly("init", "", target="/proc/sys"),
        ops.readonly("init", "", target="/missing"),
    ]
    with Driven(plan, without=without, forbidden=forbidden) as driven:
        assert driven.mount("/").options >= {"ro"}
        assert driven.mount("/proc").fstype == "proc"
        assert driven.mount("/dev").options == {"rw", "nosuid"}
        assert driven.mount("/dev").super_options >= {"mode=755", "size=65536k"}
        assert driven.mount("/dev/pts").super_options >= {"mode=620", "ptmxmode=666"}
        assert driven.mount("/dev/mqueue").options >= {"nosuid", "nodev", "noexec"}
        assert driven.mount("/sys").options >= {"ro", "nosuid", "nodev", "noexec"}
        assert driven.mount("/etc/hosts").options >= {"ro"}
        assert (driven.root / "etc" / "hosts").read_text() == "hosts"
        assert driven.mount("/srv/data").options >= {"rw", "noexec"}
        assert (driven.root / "srv" / "data" / "file").read_text() == "data"
        assert os.stat(driven.root / "dev" / "null").st_rdev == os.makedev(1, 3)
        assert os.readlink(driven.root / "dev" / "fd") == "/proc/self/fd"
        for target in ("/proc/acpi", "/proc/fs", "/sys/firmware"):
            assert driven.mount(target).fstype == "tmpfs"
            assert driven.mount(target).options >= {"ro"}
            assert os.listdir(f"{driven.root}{target}") == []
        assert (driven.root / "etc" / "secret").read_bytes() == b""
        assert driven.mount("/proc/sys").options >= {"ro"}
        assert all(str(rootfs) not in line.target for line in driven.mounts()), "the old root is still there"
        assert [name for name in driven.descriptors().values() if name != "/"] == []
    assert stat.S_IMODE((rootfs / "srv").stat().st_mode) == 0o755


@pytest.mark.parametrize("without", ["", OLD])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, {"rw", "relatime"}),
        (MS_RDONLY, {"ro", "relatime", "sb:ro"}),
        (MS_NOSUID | MS_NODEV | MS_NOEXEC, {"rw", "nosuid", "nodev", "noexec", "relatime"}),
        (MS_NOATIME, {"rw", "noatime"}),
        (MS_STRICTATIME, {"rw"}),
        (MS_RELATIME | MS_NODIRATIME, {"rw", "relatime", "nodiratime"}),
        (MS_SYNCHRONOUS | MS_DIRSYNC, {"rw", "relatime", "sb:sync", "sb:dirsync"}),
        (MS_LAZYTIME | MS_SILENT, {"rw", "relatime", "sb:lazytime"}),
        (MS_NOSYMFOLLOW, {"rw", "relatime", "nosymfollow"}),
        (MS_I_VERSION, {"rw", "relatime"}),
    ],
)
def test_flags_are_divided_between_mount_and_file_system(
    rootfs: Path, flags: int, expected: set[str], without: str
) -> None:
    with Driven([*enter(rootfs), mount("tmpfs", "/mnt", flags=flags)], without=without) as driven:
        found = driven.mount(f"{rootfs}/mnt")
        of_file_system = {f"sb:{name}" for name in found.super_options & {"ro", "sync", "dirsync", "lazytime"}}
        assert found.options | of_file_system == expected


def test_the_kernel_says_which_option_is_wrong(rootfs: Path) -> None:
    with pytest.raises(Failed) as failed, Driven([*enter(rootfs), mount("tmpfs", "/mnt", "mode=755", "size=lots")]):
        pass
    assert failed.value.errno == errno.EINVAL
    assert failed.value.words == "tmpfs: Bad value for 'size'"
    with pytest.raises(Failed) as failed, Driven([*enter(rootfs), mount("proc", "/mnt", "colour=red")]):
        pass
    assert "colour" in failed.value.words


def test_an_unknown_file_system_is_enodev(rootfs: Path) -> None:
    for without in ("", OLD):
        with pytest.raises(Failed) as failed, Driven([*enter(rootfs), mount("nonesuch", "/mnt")], without=without):
            pass
        assert failed.value.errno == errno.ENODEV


@pytest.mark.parametrize("without", ["", OLD])
def test_a_tmpfs_takes_the_mode_of_its_place_unless_it_has_one(rootfs: Path, without: str) -> None:
    for name in ("tmp", "given"):
        (rootfs / name).mkdir()
        (rootfs / name).chmod(0o1770)
    plan = [
        *enter(rootfs),
        mount("tmpfs", "/tmp"),
        mount("tmpfs", "/given", "mode=700"),
        mount("tmpfs", "/new"),
    ]
    with Driven(plan, without=without) as driven:
        found = {name: stat.S_IMODE(os.stat(f"{driven.root}{rootfs}/{name}").st_mode) for name in os.listdir(rootfs)}
        assert found == {"tmp": 0o1770, "given": 0o700, "new": 0o1777}


@pytest.mark.parametrize("without", ["", OLD])
@pytest.mark.parametrize("flags", [0, MS_RDONLY])
def test_copy_up(rootfs: Path, without: str, flags: int) -> None:
    place = rootfs / "etc"
    (place / "deep" / "er").mkdir(parents=True)
    (place / "file").write_bytes(b"x" * 300_000)
    (place / "deep" / "er" / "setuid").write_text("s")
    os.chown(place / "deep" / "er" / "setuid", 12, 34)
    os.chmod(place / "deep" / "er" / "setuid", 0o4711)
    os.setxattr(place / "file", "trusted.note", b"kept")
    os.symlink("../../outside", place / "link")
    os.chown(place / "link", 5, 6, follow_symlinks=False)
    os.mkfifo(place / "fifo")
    os.chmod(place / "deep", 0o2750)
    os.utime(place / "deep", ns=(1_000_000_001, 2_000_000_002))
    with Driven([*enter(rootfs), mount("tmpfs", "/etc", flags=flags, target_flags=COPY_UP)], without=without) as driven:
        copy = Path(f"{driven.root}{rootfs}/etc")
        assert driven.mount(f"{rootfs}/etc").fstype == "tmpfs"
        assert ("ro" in driven.mount(f"{rootfs}/etc").options) == bool(flags)
        assert (copy / "file").read_bytes() == b"x" * 300_000
        assert os.getxattr(copy / "file", "trusted.note") == b"kept"
        setuid = (copy / "deep" / "er" / "setuid").stat()
        assert (setuid.st_uid, setuid.st_gid, stat.S_IMODE(setuid.st_mode)) == (12, 34, 0o4711)
        assert os.readlink(copy / "link") == "../../outside"
        assert ((copy / "link").lstat().st_uid, (copy / "link").lstat().st_gid) == (5, 6)
        assert stat.S_IMODE((copy / "deep").stat().st_mode) == 0o2750
        assert (copy / "deep").stat().st_mtime_ns == 2_000_000_002
        assert stat.S_ISFIFO((copy / "fifo").stat().st_mode)


@pytest.mark.parametrize("without", ["", OLD])
def test_options_too_long_for_fsconfig(rootfs: Path, scratch: Path, without: str) -> None:
    """A value of fsconfig(2) has at most 255 bytes, those of mount(2) a page."""
    lower = []
    for name in "abcd":
        directory = scratch / (name * 100)
        directory.mkdir()
        (directory / name).touch()
        lower.append(str(directory))
    option = "lowerdir=" + ":".join(lower)
    assert len(option) > 256
    with Driven([*enter(rootfs), mount("overlay", "/mnt", option, source="overlay")], without=without) as driven:
        assert sorted(os.listdir(f"{driven.root}{rootfs}/mnt")) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("without", ["", OLD])
def test_several_options_in_one_string(rootfs: Path, without: str) -> None:
    """runc joins them with commas anyway."""
    with Driven([*enter(rootfs), mount("tmpfs", "/mnt", "mode=700,size=16k", "uid=5")], without=without) as driven:
        assert driven.mount(f"{rootfs}/mnt").super_options >= {"mode=700", "size=16k", "uid=5"}


def test_too_many_options_for_mount_are_refused_not_cut(rootfs: Path) -> None:
    options = [f"x{number}={'y' * 100}" for number in range(60)]
    with pytest.raises(Failed) as failed, Driven([*enter(rootfs), mount("tmpfs", "/mnt", *options)], without="fsopen"):
        pass
    assert failed.value.words == "the options are longer than the 4095 bytes that mount(2) takes"


@pytest.mark.parametrize("without", WITHOUT)
def test_bind_makes_what_the_source_is(rootfs: Path, scratch: Path, without: str) -> None:
    (scratch / "file").write_text("file")
    (scratch / "directory").mkdir()
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "resolv.conf").symlink_to("../run/stub/resolv.conf")
    plan = [
        *enter(rootfs),
        bind(scratch / "file", "/a/b/file"),
        bind(scratch / "directory", "/c/directory"),
        bind(scratch / "file", "/etc/resolv.conf"),
    ]
    old = os.umask(0o077)
    try:
        with Driven(plan, without=without) as driven:
            assert Path(f"{driven.root}{rootfs}/a/b/file").read_text() == "file"
            assert Path(f"{driven.root}{rootfs}/run/stub/resolv.conf").read_text() == "file"
            assert driven.mount(f"{rootfs}/c/directory")
    finally:
        os.umask(old)
    assert (rootfs / "a" / "b" / "file").is_file()
    assert stat.S_IMODE((rootfs / "a" / "b").stat().st_mode) == 0o755, "whatever the caller's umask is"


@pytest.mark.parametrize("without", ["", OLD])
def test_bind_of_a_directory_on_a_file_is_not_a_directory(rootfs: Path, scratch: Path, without: str) -> None:
    (scratch / "directory").mkdir()
    (rootfs / "file").touch()
    with (
        pytest.raises(Failed) as failed,
        Driven([*enter(rootfs), bind(scratch / "directory", "/file")], without=without),
    ):
        pass
    assert failed.value.errno == errno.ENOTDIR  # engines explain "not a directory"


def nested(scratch: Path) -> list[ops.Operation]:
    """Operations that make scratch/source a mount with another one below."""
    for name in ("source", "source/below"):
        (scratch / name).mkdir()
    return [
        ops.enter_root("init", "", path="/"),
        ops.propagation("init", "", flags=MS_PRIVATE | MS_REC),
        ops.use_root("init", ""),
        mount("tmpfs", f"{scratch}/source", flags=MS_NOSUID),
        mount("tmpfs", f"{scratch}/source/below", flags=MS_NODEV),
    ]


@pytest.mark.parametrize("without", ["", "openat2", "fsopen", "open_tree", "move_mount"])
def test_recursion_and_attributes_of_one_or_all(rootfs: Path, scratch: Path, without: str) -> None:
    plan = [
        *nested(scratch),
        *enter(rootfs),
        bind(scratch / "source", "/alone"),
        bind(scratch / "source", "/one", recursive=True, set=ATTR_RDONLY),
        bind(scratch / "source", "/all", recursive=True, rec_set=ATTR_RDONLY | ATTR_NOEXEC, clear=ATTR_NOSUID),
    ]
    with Driven(plan, without=without) as driven:
        assert driven.mount(f"{rootfs}/alone").options >= {"rw", "nosuid"}
        assert f"{rootfs}/alone/below" not in [found.target for found in driven.mounts()]
        assert driven.mount(f"{rootfs}/one").options >= {"ro", "nosuid"}
        assert driven.mount(f"{rootfs}/one/below").options >= {"rw", "nodev"}
        assert driven.mount(f"{rootfs}/all").options == {"ro", "noexec", "relatime"}
        assert driven.mount(f"{rootfs}/all/below").options == {"ro", "noexec", "nodev", "relatime"}


def test_recursive_attributes_without_mount_setattr_say_what_they_need(rootfs: Path, scratch: Path) -> None:
    plan = [*enter(rootfs), bind(scratch, "/mnt", recursive=True, rec_set=ATTR_RDONLY)]
    with pytest.raises(Failed) as failed, Driven(plan, without="mount_setattr"):
        pass
    assert (failed.value.errno, failed.value.words) == (
        errno.ENOSYS,
        "recursive mount attributes need mount_setattr(2) (Linux 5.12)",
    )


@pytest.mark.parametrize("without", ["", "mount_setattr"])
def test_attributes_of_a_mount_that_is_there(rootfs: Path, without: str) -> None:
    plan = [
        *enter(rootfs),
        mount("tmpfs", "/mnt", flags=MS_NOSUID | MS_NOATIME),
        setattr("/mnt", set=ATTR_RDONLY | ATTR_NODEV, clear=ATTR_NOSUID),
    ]
    with Driven(plan, without=without) as driven:
        assert driven.mount(f"{rootfs}/mnt").options == {"ro", "nodev", "noatime"}
        assert "rw" in driven.mount(f"{rootfs}/mnt").super_options


@pytest.mark.parametrize("source", ["/dev/null", "/nonesuch", "tmpfs"])
@pytest.mark.parametrize("without", ["", OLD])
def test_only_of_block_devices_the_mount_is_made_before(rootfs: Path, without: str, source: str) -> None:
    plan = [
        ops.new_mount("init", "", fstype="tmpfs", source=source, options=("size=16k",), ms_flags=MS_NOSUID, slot=3),
        *enter(rootfs),
        mount("tmpfs", "/mnt", "size=16k", source=source, flags=MS_NOSUID, slot=3),
    ]
    with Driven(plan, without=without) as driven:
        found = driven.mount(f"{rootfs}/mnt")
        assert (found.source, found.options) == (source, {"rw", "nosuid", "relatime"})
        assert set(driven.descriptors().values()) == {str(rootfs)}


@pytest.mark.parametrize("without", ["", OLD])
def test_remounting_keeps_attributes(rootfs: Path, without: str) -> None:
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_NOSYMFOLLOW | MS_SYNCHRONOUS
    plan = [
        *enter(rootfs),
        mount("tmpfs", "/mnt", "size=16k", flags=flags),
        mount("", "/mnt", "size=32k", flags=MS_REMOUNT | MS_LAZYTIME),
    ]
    with Driven(plan, without=without) as driven:
        found = driven.mount(f"{rootfs}/mnt")
        assert found.options == {"rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"}
        assert {"size=32k", "lazytime"} <= found.super_options and "sync" not in found.super_options
    plan[-2:] = [mount("tmpfs", "/mnt", flags=MS_RDONLY | MS_STRICTATIME), mount("", "/mnt", flags=MS_REMOUNT)]
    with Driven(plan, without=without) as driven:
        found = driven.mount(f"{rootfs}/mnt")
        assert found.options == {"rw"} and "rw" in found.super_options


def test_attributes_of_what_is_no_mount_are_refused(rootfs: Path) -> None:
    (rootfs / "plain").mkdir()
    with pytest.raises(Failed) as failed, Driven([*enter(rootfs), setattr("/plain", set=ATTR_RDONLY)]):
        pass
    assert failed.value.errno == errno.EINVAL


@pytest.mark.parametrize("without", ["", "mount_setattr", OLD])
def test_propagation_of_a_mount(rootfs: Path, scratch: Path, without: str) -> None:
    plan = [
        *nested(scratch),
        *enter(rootfs),
        bind(scratch / "source", "/private", recursive=True, propagation=MS_PRIVATE | MS_REC),
        bind(scratch / "source", "/shared", recursive=True, propagation=MS_SHARED | MS_REC),
        bind(scratch / "source", "/one", recursive=True, propagation=MS_SHARED),
        setattr("/shared", propagation=MS_SLAVE),
        mount("tmpfs", "/tmpfs", propagation=MS_SHARED),
    ]
    with Driven(plan, without=without) as driven:
        kinds = {
            found.target.removeprefix(str(rootfs)): {tag.partition(":")[0] for tag in found.tags}
            for found in driven.mounts()
        }
        assert kinds["/private"] == kinds["/private/below"] == set()
        assert kinds["/shared/below"] == {"shared"}
        assert kinds["/shared"] == set()  # a slave of nobody is private
        assert (kinds["/one"], kinds["/one/below"]) == ({"shared"}, set())
        assert kinds["/tmpfs"] == {"shared"}


@pytest.mark.parametrize("without", ["", "mount_setattr", "open_tree", "move_mount"])
def test_a_source_opened_before_the_namespaces(rootfs: Path, scratch: Path, without: str) -> None:
    """As in a plan with a user namespace: open_tree by the outer stage, then unshare, then bind."""
    (scratch / "source").mkdir()
    (scratch / "source" / "file").write_text("text")
    plan = [
        ops.open_tree("init", "", path=str(scratch / "source"), from_slot=ops.NO_SLOT, recursive=1, slot=7),
        ops.unshare("init", "", flags=0x00020000),
        *enter(rootfs),
        bind(scratch / "source", "/mnt", slot=7, recursive=True, set=ATTR_RDONLY),
    ]
    with Driven(plan, without=without, propagation="shared") as driven:
        assert driven.mount(f"{rootfs}/mnt").options >= {"ro"}
        assert not any(tag.startswith("shared") for tag in driven.mount(f"{rootfs}/mnt").tags)
        assert Path(f"{driven.root}{rootfs}/mnt/file").read_text() == "text"
        assert set(driven.descriptors().values()) == {str(rootfs)}


def test_a_detached_tree_can_be_copied_from_a_slot(rootfs: Path, scratch: Path) -> None:
    (scratch / "source").mkdir()
    plan = [
        ops.open_tree("init", "", path=str(scratch), from_slot=ops.NO_SLOT, recursive=0, slot=1),
        ops.open_tree("init", "", path="", from_slot=1, recursive=0, slot=2),
        *enter(rootfs),
        bind("", "/mnt", slot=2),
    ]
    try:
        with Driven(plan) as driven:
            assert os.listdir(f"{driven.root}{rootfs}/mnt")
    except Failed as failed:
        assert failed.errno == errno.EINVAL  # before Linux 6.15


@pytest.mark.parametrize("without", ["", "mount_setattr"])
def test_locked_flags_of_a_user_namespace_stay(rootfs: Path, scratch: Path, without: str) -> None:
    """A source that is nosuid, nodev, read-only for the user namespace's owner stays so below."""
    (scratch / "source").mkdir()
    outer = [
        ops.enter_root("init", "", path="/"),
        ops.propagation("init", "", flags=MS_PRIVATE | MS_REC),
        ops.use_root("init", ""),
        mount("tmpfs", f"{scratch}/source", flags=MS_NOSUID | MS_NODEV | MS_RDONLY | MS_NOATIME),
        ops.unshare("init", "", flags=0x10000000 | 0x00020000),  # user and mount
    ]
    kept = [*outer, *enter(rootfs), bind(scratch / "source", "/mnt", set=ATTR_NOEXEC)]
    # No id maps: the overflow user makes no directories.
    (rootfs / "mnt").mkdir()
    with Driven(kept, without=without) as driven:
        assert driven.mount(f"{rootfs}/mnt").options == {"ro", "nosuid", "nodev", "noexec", "noatime"}
    cleared = [*outer, *enter(rootfs), bind(scratch / "source", "/mnt", clear=ATTR_NODEV)]
    with pytest.raises(Failed) as failed, Driven(cleared, without=without):
        pass
    assert failed.value.errno == errno.EPERM, "what was asked for by name is not left out silently"


@pytest.mark.parametrize("without", WITHOUT)
def test_mask_and_readonly_of_nested_places(rootfs: Path, without: str) -> None:
    for name in ("a", "b", "c/d"):
        (rootfs / name).mkdir(parents=True)
        (rootfs / name / "file").write_text("text")
    (rootfs / "link").symlink_to("/b")
    plan = [
        *enter(rootfs),
        mount("proc", "/proc"),
        mount("tmpfs", "/c/below", flags=MS_NOSUID),
        mount("tmpfs", "/dev"),
        device("/dev/null", 1, 3),
        pivot(),
        *mask("/a", "/link", "/c/d/file"),
        ops.readonly("init", "", target="/c"),
    ]
    with Driven(plan, without=without) as driven:
        assert os.listdir(driven.root / "a") == os.listdir(driven.root / "b") == []
        with pytest.raises(OSError, match="Read-only"):
            (driven.root / "a" / "new").touch()
        assert (driven.root / "c" / "d" / "file").stat().st_rdev == os.makedev(1, 3)
        assert driven.mount("/c").options >= {"ro"}
        assert driven.mount("/c/below").options >= {"rw", "nosuid"}, "as in runc, mounts below stay as they are"
        if not without:
            super_blocks = {os.stat(driven.root / name).st_dev for name in ("a", "b")}
            assert len(super_blocks) == 1, "all masked directories share one file system"
