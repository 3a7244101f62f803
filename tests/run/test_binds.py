"""Bind mounts: every kind of source at every kind of target."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, mounts

MS_RDONLY = 1


@pytest.fixture
def source(scratch: Path) -> Path:
    """A directory of the host with a file in it."""
    path = scratch / "source"
    path.mkdir()
    (path / "file").write_text("of the host\n")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# Targets


@pytest.mark.differs("makes them with the caller's umask")
@pytest.mark.parametrize("user_namespace", [False, True])
def test_missing_targets_are_made(runtime: Runtime, bundle: Workshop, source: Path, user_namespace: bool) -> None:
    """Whatever the caller's umask is, and owned by the container's root."""
    made = bundle()
    made.mount("/new/directory", "bind", str(source), "bind")
    made.mount("/newer/deep/file", "bind", str(source / "file"), "bind")
    made.mount("/newest", "tmpfs", "tmpfs")
    if user_namespace:
        made.user_namespace()
    paths = ("/new/directory/file", "/newer/deep/file")
    report = runtime.report(
        made, *(f"path={path}" for path in paths), prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"]
    )
    assert all(report["paths"][path]["content"] == "of the host\n" for path in paths)
    owner = 100000 if user_namespace else 0
    directories = ("new", "new/directory", "newer", "newer/deep", "newest")
    assert {mode(made.rootfs / path) for path in directories} == {0o755}
    assert mode(made.rootfs / "newer" / "deep" / "file") == 0o755
    assert (made.rootfs / "newer" / "deep" / "file").stat().st_size == 0
    assert {(made.rootfs / path).stat().st_uid for path in (*directories, "newer/deep/file")} == {owner}


def test_missing_targets_in_a_read_only_root(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle()
    made.config["root"]["readonly"] = True
    made.mount("/new/deep", "bind", str(source), "bind")
    made.mount("/new/file", "bind", str(source / "file"), "bind")
    report = runtime.report(made, "path=/new/deep/file", "path=/new/file", "write=/new", "write=/new/deep")
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}
    assert report["writes"] == {"/new": "EROFS", "/new/deep": ""}


def test_missing_targets_in_another_mount(runtime: Runtime, bundle: Workshop, source: Path, scratch: Path) -> None:
    other = scratch / "other"
    other.mkdir()
    made = bundle()
    made.mount("/tmpfs", "tmpfs", "tmpfs", "mode=755")
    made.mount("/tmpfs/a/b", "bind", str(source), "bind")
    made.mount("/other", "bind", str(other), "bind")
    made.mount("/other/c/file", "bind", str(source / "file"), "bind")
    report = runtime.report(made, "path=/tmpfs/a/b/file", "path=/other/c/file")
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}
    assert not list((made.rootfs / "tmpfs").iterdir())
    assert (other / "c" / "file").read_bytes() == b""


@pytest.mark.parametrize("where", ["read-only bind", "read-only tmpfs", "sysfs"])
def test_missing_targets_in_a_read_only_mount(
    runtime: Runtime, bundle: Workshop, source: Path, scratch: Path, where: str
) -> None:
    """They cannot be made there; but a read-only tmpfs is filled first."""
    made = bundle()
    place = {"read-only bind": "/there", "read-only tmpfs": "/there", "sysfs": "/sys"}[where]
    if where == "read-only bind":
        made.mount("/there", "bind", str(source), "bind", "ro")
    if where == "read-only tmpfs":
        made.mount("/there", "tmpfs", "tmpfs", "ro")
    made.mount(f"{place}/missing", "bind", str(source), "bind")
    result = runtime.run(made.args("report", f"path={place}/missing/file", f"write={place}"))
    if where == "read-only tmpfs":
        assert result.json["paths"][f"{place}/missing/file"]["content"] == "of the host\n"
        assert result.json["writes"][place] == "EROFS"
    else:
        result.failed(f"{place}/missing", "read-only file system")


def test_missing_targets_where_the_root_may_not_write(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """A user namespace whose root does not own the rootfs: what is there will do, what is missing is an error."""
    made = bundle()
    made.user_namespace()
    made.without_mount("/dev/pts", "/dev/shm", "/dev/mqueue")
    (made.rootfs / "data").mkdir()
    os.chown(made.rootfs, 0, 0)
    made.mount("/data", "bind", str(source), "bind")
    assert runtime.report(made, "path=/data/file")["paths"]["/data/file"]["content"] == "of the host\n"
    made.mount("/missing", "bind", str(source), "bind")
    result = runtime.run(made)
    result.failed("/missing", "permission denied")
    if runtime.name == "ocirun":
        result.failed("/mounts/4: bind")
    assert not list(runtime.root.iterdir())


LINKS = {
    "absolute": "/var/real",
    "relative": "var/real",
    "climbing": "../../../../../../../../var/real",
    "dangling": "/var/not/yet",
    "two": "absolute",
}


@pytest.mark.parametrize("kind", ["directory", "file"])
@pytest.mark.parametrize("link", LINKS)
def test_symlinks_as_targets(runtime: Runtime, bundle: Workshop, source: Path, link: str, kind: str) -> None:
    """They are followed, and never out of the root; one that leads nowhere is completed."""
    made = bundle()
    real = made.rootfs / "var" / "real"
    real.parent.mkdir()
    real.mkdir() if kind == "directory" else real.touch()
    for name, target in LINKS.items():
        (made.rootfs / name).symlink_to(target)
    made.mount(f"/{link}", "bind", str(source if kind == "directory" else source / "file"), "bind")
    where = "/var/not/yet" if link == "dangling" else "/var/real"
    path = where + ("/file" if kind == "directory" else "")
    report = runtime.report(made, f"path={path}")
    assert report["paths"][path]["content"] == "of the host\n"
    assert where in mounts(report)
    assert not Path("/var/real").exists() and not Path("/var/not").exists()


def test_links_that_lead_nowhere(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle("true")
    (made.rootfs / "loop").symlink_to("loop")
    made.mount("/loop", "bind", str(source), "bind")
    runtime.run(made).failed("/loop", "too many levels of symbolic links" if runtime.name == "ocirun" else "loop")
    made = bundle("true")
    made.mount("/etc/passwd/below", "bind", str(source), "bind")
    runtime.run(made).failed("/etc/passwd/below", "not a directory")


def test_a_target_of_the_other_type(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Engines look for "not a directory" and explain it."""
    made = bundle("true")
    made.mount("/etc", "bind", str(source / "file"), "bind")
    runtime.run(made).failed("/etc", "not a directory")
    made = bundle("true")
    made.mount("/etc/passwd", "bind", str(source), "bind")
    runtime.run(made).failed("/etc/passwd", "not a directory")
    made = bundle("true")
    made.mount("/etc/passwd", "tmpfs", "tmpfs")
    runtime.run(made).failed("/etc/passwd", "not a directory")


def test_file_over_what_is_no_directory(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Whatever the file is."""
    made = bundle()
    os.mkfifo(made.rootfs / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(made.rootfs / "socket"))
    os.mknod(made.rootfs / "device", 0o020666, os.makedev(1, 3))
    names = ("fifo", "socket", "device", "probe-link", "etc/passwd")
    (made.rootfs / "probe-link").symlink_to("etc/group")
    for name in names:
        made.mount(f"/{name}", "bind", str(source / "file"), "bind")
    report = runtime.report(made, *(f"path=/{name}" for name in names))
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}


DESTINATIONS = {
    "relative/path": "/relative/path",
    "./relative": "/relative",
    "../../up": "/up",
    "/a/../b": "/b",
    "/../../c": "/c",
    "//d///e/.//f/": "/d/e/f",
}


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_destinations_by_their_text(runtime: Runtime, bundle: Workshop, source: Path, destination: str) -> None:
    """A relative one is taken from the root (config.md: deprecated)."""
    made = bundle()
    made.mount(destination, "bind", str(source), "bind")
    report = runtime.report(made, f"path={DESTINATIONS[destination]}/file")
    assert report["paths"][f"{DESTINATIONS[destination]}/file"]["content"] == "of the host\n"
    assert not (made.rootfs / "a").exists()


@pytest.mark.differs("refuses it", since="1.2")
@pytest.mark.parametrize("destination", ["/", "//", "/.", "/tmp/..", "..", "."])
def test_over_the_root(runtime: Runtime, bundle: Workshop, destination: str) -> None:
    made = bundle()
    made.mount(destination, "bind", str(made.rootfs), "rbind", "nosuid")
    made.mount("/later", "tmpfs", "tmpfs")
    report = runtime.report(made)
    assert "nosuid" in mounts(report)["/"].options
    assert {"/", "/later"} <= mounts(report).keys()


def test_mounts_over_each_other(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """In their order: one destination twice, one below another, one that hides others."""
    made = bundle()
    made.mount("/twice", "tmpfs", "first")
    made.mount("/twice", "bind", str(source), "bind")
    made.mount("/twice", "tmpfs", "last", "mode=755")
    made.mount("/twice/file", "bind", str(source / "file"), "bind")
    made.mount("/file", "bind", str(source / "file"), "bind")
    (source / "other").write_text("other\n")
    made.mount("/file", "bind", str(source / "other"), "bind")
    made.mount("/hidden/below", "bind", str(source), "bind")
    made.mount("/hidden", "tmpfs", "tmpfs")
    report = runtime.report(made, "path=/twice", "path=/twice/file", "path=/file", "path=/hidden")
    assert report["paths"]["/twice"]["list"] == ["file"]
    assert report["paths"]["/twice/file"]["content"] == "of the host\n"
    assert report["paths"]["/file"]["content"] == "other\n"
    assert report["paths"]["/hidden"]["list"] == []
    assert mounts(report)["/twice"].source == "last"


# Sources


@pytest.mark.differs("says no more than EOF with a user namespace", before="1.4")
def test_a_missing_source(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    (scratch / "dangling").symlink_to("nowhere")
    for name in ("nowhere", "dangling"):
        for user_namespace in (False, True):
            made = bundle("true")
            made.mount("/data", "bind", str(scratch / name), "bind")
            if user_namespace:
                made.user_namespace()
            result = runtime.run(made)
            result.failed(str(scratch / name), "no such file or directory")
            if runtime.name == "ocirun":
                result.failed("/mounts/6: ")
    assert not list(runtime.root.iterdir())


@pytest.mark.parametrize("user_namespace", [False, True])
def test_sources_of_every_kind(runtime: Runtime, bundle: Workshop, source: Path, user_namespace: bool) -> None:
    made = bundle()
    made.capabilities("DAC_READ_SEARCH")
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(source / "socket"))
    (source / "link").symlink_to("file")
    (source / "to-directory").symlink_to(".")
    kinds = {"fifo": "p", "socket": "s", "link": "f", "to-directory": "d"}
    for name in kinds:
        made.mount(f"/bound/{name}", "bind", str(source / name), "bind")
    made.mount("/bound/device", "bind", "/dev/zero", "bind")
    if user_namespace:
        made.user_namespace()
    report = runtime.report(made, "tree=/bound", "path=/bound/link", "path=/bound/to-directory/file")
    found = {name: node["stat"]["type"] for name, node in report["trees"]["/bound"].items()}
    assert found == {**kinds, "device": "c"}
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}


@pytest.mark.parametrize("user_namespace", [False, True])
def test_relative_sources(runtime: Runtime, bundle: Workshop, source: Path, user_namespace: bool) -> None:
    """From the bundle, wherever the runtime is called (config.md, "Mounts")."""
    made = bundle()
    for name in ("in", "in/bundle"):
        (made.path / name).mkdir()
    (made.path / "in" / "bundle" / "file").write_text("of the bundle\n")
    made.mount("/one", "bind", "in/bundle", "bind")
    made.mount("/two", "bind", "./in/../in/bundle/file", "bind")
    made.mount("/three", "bind", "../source", "bind")
    made.mount("/four", "bind", ".", "rbind")
    if user_namespace:
        made.user_namespace()
    paths = ("/one/file", "/two", "/three/file", "/four/in/bundle/file")
    report = runtime.report(made, *(f"path={path}" for path in paths), cwd="/")
    contents = [report["paths"][path]["content"] for path in paths]
    assert contents == ["of the bundle\n", "of the bundle\n", "of the host\n", "of the bundle\n"]


def test_the_rootfs_as_a_source(runtime: Runtime, bundle: Workshop) -> None:
    """All of it, with what is mounted there by then, and a part of it."""
    made = bundle()
    made.mount("/again", "bind", str(made.rootfs), "rbind")
    made.mount("/part", "bind", str(made.rootfs / "etc"), "bind", "ro")
    report = runtime.report(made, "path=/again/etc/passwd", "path=/part/passwd", "write=/part")
    assert "root:x:0" in report["paths"]["/again/etc/passwd"]["content"]
    assert "root:x:0" in report["paths"]["/part/passwd"]["content"]
    assert "/again/proc" in mounts(report) and "/again/again" not in mounts(report)
    assert report["writes"]["/part"] == "EROFS"


def test_a_source_with_mounts_below(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """rbind takes them, bind does not."""
    (source / "one").mkdir()
    harness.mount("one", str(source / "one"), "tmpfs")
    try:
        (source / "one" / "two").mkdir()
        harness.mount("two", str(source / "one" / "two"), "tmpfs")
        made = bundle()
        made.mount("/all", "bind", str(source), "rbind", "ro")
        made.mount("/top", "bind", str(source), "bind")
        made.mount("/deep", "bind", str(source / "one"), "rbind")
        report = runtime.report(made, "write=/all", "write=/all/one", "write=/deep/two", "write=/top/one")
        got = mounts(report)
        assert {path for path in got if path.startswith(("/all", "/top", "/deep"))} == {
            "/all", "/all/one", "/all/one/two", "/top", "/deep", "/deep/two",
        }  # fmt: skip
        assert report["writes"] == {"/all": "EROFS", "/all/one": "", "/deep/two": "", "/top/one": ""}
    finally:
        harness.unmount(str(source / "one"))


@pytest.mark.differs("binds the bundle")
def test_no_source(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.mount("/data", "bind", "", "bind")
    runtime.create(made).failed("/mounts/6", "expected a source for a bind mount")
    del made.config["mounts"][-1]["source"]
    runtime.create(made).failed("/mounts/6", "expected a source for a bind mount")


def test_the_type_says_nothing(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """What has the option is a bind mount, whatever its type is or is not (config.md, "Mounts")."""
    made = bundle()
    for number, type in enumerate(("none", "bind", "", "tmpfs", "proc", "nonesuch", "cgroup")):
        made.mount(f"/{number}", type, str(source), "bind")
    del made.config["mounts"][-7]["type"]
    report = runtime.report(made, *(f"path=/{number}/file" for number in range(7)))
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}


@pytest.mark.differs("leaves them out, or says less")
def test_options_of_a_file_system_are_refused(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    for options in (("bind", "size=1m"), ("rbind", "acl", "mode=755"), ("uid=0", "bind")):
        made = bundle("true")
        made.mount("/data", "bind", str(source), *options)
        data = ",".join(option for option in options if not option.endswith("bind"))
        runtime.create(made).failed(
            "/mounts/6/options", "bind mounts cannot have any filesystem-specific options applied", data
        )


@pytest.mark.ocirun  # runc takes everything away that no option is about
@pytest.mark.parametrize("user_namespace", [False, True])
def test_restrictions_of_the_source_stay(
    runtime: Runtime, bundle: Workshop, source: Path, user_namespace: bool
) -> None:
    """A read-only source is not writable by "nosuid", one without set-user-ID programs has none by "ro"; but options
    that say so take it away."""
    harness.mount("strict", str(source), "tmpfs", MS_RDONLY | 2 | 4 | 8 | 1024)
    try:
        made = bundle()
        for number, options in enumerate((("nosuid",), ("ro",), ("rw", "exec"), ("suid", "dev", "atime"))):
            made.mount(f"/{number}", "bind", str(source), "bind", *options)
        if user_namespace:
            made.user_namespace()
        got = mounts(runtime.report(made))
        strict = {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert got["/0"].options == got["/1"].options == strict
        assert got["/3"].options == {"ro", "noexec", "relatime"}
        assert got["/2"].super_options == {"ro"} or got["/2"].options == {"rw", "nosuid", "nodev", "noatime"}
    finally:
        harness.unmount(str(source))


# Places that are the container's own


def test_over_devices(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """The same device of the host may be bound over one; something else in the place of a default device is an error,
    since a mask would hide files by it."""
    made = bundle()
    made.mount("/dev/zero", "bind", "/dev/zero", "bind")
    made.mount("/dev/extra", "bind", "/dev/full", "bind")
    made.mount("/dev/deep/file", "bind", str(source / "file"), "bind")
    made.mount("/dev/shm", "bind", str(source), "bind")
    report = runtime.report(made, "tree=/dev", "path=/dev/deep/file", "path=/dev/shm/file", "write=/dev/zero")
    tree = report["trees"]["/dev"]
    assert [tree["zero"]["stat"][key] for key in ("type", "major", "minor")] == ["c", 1, 5]
    assert [tree["extra"]["stat"][key] for key in ("type", "major", "minor")] == ["c", 1, 7]
    assert report["paths"]["/dev/deep/file"]["content"] == "of the host\n"
    assert report["paths"]["/dev/shm/file"]["content"] == "of the host\n"


@pytest.mark.ocirun  # runc 1.1.5 opens it instead of its standard output; 1.4 refuses the null device alone
@pytest.mark.parametrize("name", ["null", "tty"])
def test_something_else_in_the_place_of_a_device(runtime: Runtime, bundle: Workshop, source: Path, name: str) -> None:
    made = bundle("true")
    made.mount(f"/dev/{name}", "bind", str(source / "file"), "bind")
    runtime.create(made).failed(f"/dev/{name}", "something else than this device is already there")


def test_dev_of_the_user(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """A bind mount on /dev is nobody else's: no device or symlink is put into it."""
    dev = scratch / "dev"
    (dev / "pts").mkdir(parents=True)
    os.mknod(dev / "null", 0o020666, os.makedev(1, 3))
    made = bundle()
    made.without_mount("/dev", "/dev/shm", "/dev/mqueue", "/dev/pts")
    made.config["mounts"].insert(1, {"destination": "/dev/", "type": "none", "source": str(dev), "options": ["rbind"]})
    report = runtime.report(made, "path=/dev")
    assert sorted(report["paths"]["/dev"]["list"]) == ["null", "pts"]
    assert sorted(path.name for path in dev.iterdir()) == ["null", "pts"]


IN_PROC = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
]


def test_files_that_lxcfs_has(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle()
    there = [path for path in IN_PROC if Path(path).exists()]
    for path in there:
        made.mount(path, "bind", str(source / "file"), "bind", "ro")
    report = runtime.report(made, *(f"path={path}" for path in there))
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}
    assert len(there) >= 6


@pytest.mark.parametrize(
    "path",
    ["/proc/1", "/proc/self/attr", "/proc/sys", "/proc/sys/kernel", "/proc/cpuinfo/..", "/proc/net/dev", "/proc/x"],
)
@pytest.mark.parametrize("fstype", ["bind", "tmpfs"])
@pytest.mark.ocirun  # runc 1.1.5 looks at bind mounts only
def test_nothing_else_in_proc(runtime: Runtime, bundle: Workshop, source: Path, path: str, fstype: str) -> None:
    made = bundle("true")
    made.mount(path, fstype, str(source), *(["bind"] if fstype == "bind" else []))
    result = runtime.create(made)
    if runtime.name != "ocirun":
        assert result.code == 1
    elif path.endswith(".."):
        result.failed("/mounts/6", '"/proc" cannot be mounted because it is not of type proc')
    else:
        result.failed("/mounts/6", f'"{path}" cannot be mounted because it is inside /proc')


def test_proc_of_another_place(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """A procfs may be bound on /proc, wherever it is from; nothing else may, whatever its name is."""
    procfs = scratch / "procfs"
    procfs.mkdir()
    harness.mount("proc", str(procfs), "proc")
    try:
        made = bundle()
        made.without_mount("/proc")
        made.config["mounts"].insert(0, {"destination": "/proc", "source": str(procfs), "options": ["rbind"]})
        assert mounts(runtime.report(made))["/proc"].fstype == "proc"
    finally:
        harness.unmount(str(procfs))
    (scratch / "proc").mkdir()
    made = bundle("true")
    made.without_mount("/proc")
    made.mount("/proc", "bind", str(scratch / "proc"), "bind")
    result = runtime.create(made)
    assert result.code == 1
    if runtime.name == "ocirun":
        result.failed('"/proc" cannot be mounted because it is not of type proc')


def test_below_sys(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """/sys is read-only, but has directories to mount on."""
    made = bundle()
    made.mount("/sys/fs", "tmpfs", "tmpfs", "mode=755")
    made.mount("/sys/fs/mine", "bind", str(source), "bind")
    made.mount("/sys/kernel", "bind", str(source), "bind", "ro")
    report = runtime.report(made, "path=/sys/fs/mine/file", "path=/sys/kernel/file")
    assert {one["content"] for one in report["paths"].values()} == {"of the host\n"}


def test_a_mount_at_a_file_of_the_host_that_is_replaced(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """As editors do: the container keeps the file that was bound."""
    made = bundle("pause")
    made.mount("/file", "bind", str(source / "file"), "bind")
    pid = runtime.started(made)
    (source / "new").write_text("new\n")
    (source / "new").replace(source / "file")
    assert runtime.probe(made, "path=/file")["paths"]["/file"]["content"] == "of the host\n"
    runtime.end(made, pid)


# Sources that an earlier mount makes


@pytest.mark.ocirun  # runc looks for them by their path from outside, and 1.1.5 knows no idmapped mounts
@pytest.mark.parametrize(("user", "idmapped"), [(False, False), (True, False), (False, True)])
def test_a_source_that_an_earlier_mount_makes(
    runtime: Runtime, bundle: Workshop, source: Path, user: bool, idmapped: bool
) -> None:
    """The directory that a tmpfs gets, what is mounted there, and what a bind brings."""
    made = bundle()
    made.path.chmod(0o700)  # root of the user namespace may not come in from outside
    if user:
        made.user_namespace()
    made.mount("/first/tmpfs", "tmpfs", "tmpfs", "mode=0700", "size=64k")
    made.mount("/first/bound", "bind", str(source), "bind")
    options = ["rbind", *(["ridmap"] if idmapped else [])]
    for name in ("first", "first/tmpfs", "first/bound"):
        made.mount(f"/again/{name}", "bind", str(made.rootfs / name), *options)
        if idmapped:
            both = [{"containerID": 0, "hostID": 7, "size": 1000}]
            made.config["mounts"][-1] |= {"uidMappings": both, "gidMappings": both}
    if idmapped:
        made.config["mounts"] = [m for m in made.config["mounts"] if not m["destination"].startswith("/again/first/")]
        del made.config["mounts"][-1]
        made.mount("/again/first/tmpfs", "bind", str(made.rootfs / "first/tmpfs"), *options)
        made.config["mounts"][-1] |= {"uidMappings": both, "gidMappings": both}
    report = runtime.report(made, "path=/again/first/tmpfs", "path=/again/first/bound/file")
    node = report["paths"]["/again/first/tmpfs"]["stat"]
    assert (node["mode"], node["uid"]) == (0o700, 7 if idmapped else 0)
    if not idmapped:
        assert report["paths"]["/again/first/bound/file"]["stat"]["size"] == len("of the host\n")
    assert mounts(report)["/again/first/tmpfs"].fstype == "tmpfs"


# Targets that are the root


@pytest.mark.differs("refuses it", since="1.2")
@pytest.mark.parametrize("no_pivot", [False, True])
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_mount_on_the_root(runtime: Runtime, bundle: Workshop, kind: str, user: bool, no_pivot: bool) -> None:
    """It is the root from there on, for what is mounted later and for the program."""
    made = bundle()
    if user:
        made.user_namespace()
    root = bundle("pause").rootfs  # has a probe of its own
    own = {"destination": "/", "type": "bind", "source": str(root), "options": ["rbind"]}
    if kind == "tmpfs":
        own = {"destination": "/", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
        made.mount("/probe", "bind", str(bundle.probe), "bind")
    else:
        (root / "mark").touch()
    made.config["mounts"].insert(0, own)
    made.config["root"]["readonly"] = True
    flags = ["--no-pivot"] if no_pivot else []
    report = runtime.report(made, "path=/", "path=/mark", "write=/", flags=flags)
    found = mounts(report)
    assert found["/"].fstype == "tmpfs" or kind == "bind"
    assert ("stat" in report["paths"]["/mark"]) == (kind == "bind")
    assert report["writes"]["/"] == "EROFS"
    assert found["/proc"].fstype == "proc" and "null" in os.listdir("/dev")
    again = bundle("pause")
    again.config["mounts"].insert(0, own | ({"source": str(root)} if kind == "bind" else {}))
    if kind == "bind":
        pid = runtime.started(again)
        assert "stat" in runtime.probe(again, "path=/mark")["paths"]["/mark"], "for exec too"
        runtime.end(again, pid)


@pytest.mark.ocirun  # runc 1.1.5 does not make it
@pytest.mark.parametrize("below", ["/inside", "", "//./inside/"])
def test_a_target_that_begins_with_the_roots_own_path(
    runtime: Runtime, bundle: Workshop, source: Path, below: str
) -> None:
    """As engines have written it that mounted for themselves."""
    made = bundle()
    if not below:
        made.config["mounts"].insert(
            0, {"destination": str(made.rootfs), "type": "bind", "source": str(made.rootfs), "options": ["rbind"]}
        )
        assert "/probe" in runtime.report(made, "path=/probe")["paths"]
    else:
        made.mount(f"{made.rootfs}{below}", "bind", str(source), "bind")
        report = runtime.report(made, "path=/inside/file")
        assert report["paths"]["/inside/file"]["stat"]["size"] == len("of the host\n")
    assert not (made.rootfs / str(made.rootfs).lstrip("/")).exists()
    made.mount(f"{made.rootfs}2/inside", "bind", str(source), "bind")
    assert f"{made.rootfs}2/inside" in mounts(runtime.report(made)), "only whole names count"
