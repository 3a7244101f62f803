"""Idmapped mounts: the files of a source with other owners than on disk (config.md, "idmap" and "ridmap")."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts

MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]
OTHER = [{"containerID": 0, "hostID": 300000, "size": 10}, {"containerID": 1000, "hostID": 400000, "size": 1}]
OVERFLOW = 65534  # who owns what is not mapped

pytestmark = pytest.mark.ocirun  # Debian's runc 1.1 has mappings only, and only those of the container


@pytest.fixture
def source(scratch: Path) -> Path:
    """On disk: files of root, of user 7 (group 8) and of user 1000."""
    path = scratch / "source"
    path.mkdir(mode=0o777)
    for name, uid, gid in (("root", 0, 0), ("seven", 7, 8), ("thousand", 1000, 1000)):
        (path / name).write_text(f"{name}\n")
        os.chown(path / name, uid, gid)
    (path / "sub").mkdir()
    return path


@pytest.fixture
def below(source: Path, leftovers: harness.Leftovers) -> Iterator[Path]:
    """Another mount in the source, with a file of user 7."""
    harness.mount("below", str(source / "sub"), "tmpfs")
    (source / "sub" / "seven").touch()
    os.chown(source / "sub" / "seven", 7, 8)
    yield source / "sub"
    harness.unmount(str(source / "sub"))


def idmapped(made: Bundle, source: Path, *options: str, uids: Any = None, gids: Any = None, at: str = "/data") -> None:
    made.mount(at, "bind", str(source), *options)
    made.config["mounts"][-1] |= {"uidMappings": uids} if uids else {}
    made.config["mounts"][-1] |= {"gidMappings": gids or uids} if gids or uids else {}


def owners(report: Any, directory: str = "/data") -> dict[str, list[int]]:
    tree = report["trees"][directory]
    return {name: [tree[name]["stat"]["uid"], tree[name]["stat"]["gid"]] for name in tree if name != "sub"}


ON_DISK = {"root": [0, 0], "seven": [7, 8], "thousand": [1000, 1000]}


def maps(base: int) -> dict[str, list[int]]:
    """Where MAPPING and others like it put them, as seen from outside."""
    return {name: [base + id for id in ids] for name, ids in ON_DISK.items()}


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_with_the_mapping_of_the_container(runtime: Runtime, bundle: Workshop, source: Path, option: str) -> None:
    """What is root's on disk is the container's root's, and what it makes there is root's on disk."""
    made = bundle()
    made.user_namespace()
    made.mount("/plain", "bind", str(source), "bind")
    idmapped(made, source, "rbind", option)
    report = runtime.report(made, "tree=/data", "tree=/plain", "write=/data/root", "write=/data", "write=/plain/root")
    assert owners(report) == ON_DISK
    assert owners(report, "/plain") == {name: [OVERFLOW, OVERFLOW] for name in ON_DISK}
    assert report["writes"] == {"/data/root": "", "/data": "", "/plain/root": "EACCES"}
    assert "idmapped" in mounts(report)["/data"].options
    made = bundle("mkdir", "/data/new")
    made.user_namespace()
    idmapped(made, source, "rbind", option)
    runtime.run(made).ok()
    assert (source / "new").stat().st_uid == 0


def test_with_mappings_of_its_own(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Users and groups apart, in ranges; without a user namespace too, and with no option but the mappings."""
    made = bundle()
    idmapped(made, source, "bind", uids=MAPPING)
    idmapped(made, source, "bind", "idmap", uids=OTHER, gids=MAPPING, at="/other")
    idmapped(made, source / "seven", "bind", uids=MAPPING, at="/etc/file")
    report = runtime.report(made, "tree=/data", "tree=/other", "path=/etc/file")
    assert owners(report) == maps(100000)
    assert owners(report, "/other") == {
        "root": [300000, 100000],
        "seven": [300007, 100008],
        "thousand": [400000, 101000],
    }
    assert report["paths"]["/etc/file"]["stat"]["uid"] == 100007
    assert report["paths"]["/etc/file"]["content"] == "seven\n"
    few = bundle()
    idmapped(few, source, "bind", uids=[{"containerID": 7, "hostID": 0, "size": 2}])
    assert owners(runtime.report(few, "tree=/data")) == {
        "root": [OVERFLOW, OVERFLOW],
        "seven": [0, 1],
        "thousand": [OVERFLOW, OVERFLOW],
    }


def test_in_a_user_namespace_with_other_mappings(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle()
    made.user_namespace()
    idmapped(made, source, "bind", "idmap", uids=[{"containerID": 7, "hostID": 100000, "size": 2}])
    found = owners(runtime.report(made, "tree=/data"))
    assert found["seven"] == [0, 1]
    assert found["root"] == [OVERFLOW, OVERFLOW]


def test_with_the_mapping_of_a_user_namespace_that_is_joined(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    first = bundle("pause")
    first.user_namespace(200000)
    pid = runtime.started(first)
    made = bundle()
    made.user_namespace(200000)
    made.namespace("user", f"/proc/{pid}/ns/user")
    del made.linux["uidMappings"], made.linux["gidMappings"]
    idmapped(made, source, "bind", "idmap")
    assert owners(runtime.report(made, "tree=/data")) == ON_DISK
    runtime.end(first, pid)


def test_in_the_mount_namespace_of_the_host(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle()
    made.config["mounts"] = []
    made.without_namespace("mount")
    del made.linux["maskedPaths"], made.linux["readonlyPaths"]
    made.config["root"]["path"] = "rootfs"
    idmapped(made, source, "bind", uids=MAPPING)
    try:
        assert owners(runtime.report(made, "tree=/data")) == maps(100000)
    finally:
        harness.unmount(str(made.rootfs / "data"))


@pytest.mark.parametrize(("option", "base"), [("idmap", 0), ("ridmap", 100000)])
def test_mounts_below(runtime: Runtime, bundle: Workshop, source: Path, below: Path, option: str, base: int) -> None:
    made = bundle()
    idmapped(made, source, "rbind", option, uids=MAPPING)
    report = runtime.report(made, "tree=/data", "tree=/data/sub")
    assert owners(report) == maps(100000)
    assert owners(report, "/data/sub") == {"seven": [base + 7, base + 8]}
    assert ("idmapped" in mounts(report)["/data/sub"].options) is (option == "ridmap")
    made = bundle()
    idmapped(made, source, "bind", option, uids=MAPPING)
    assert owners(runtime.report(made, "tree=/data/sub"), "/data/sub") == {}, "bind is not recursive"


@pytest.mark.parametrize("user_namespace", [False, True])
def test_together_with_other_options(
    runtime: Runtime, bundle: Workshop, source: Path, below: Path, user_namespace: bool
) -> None:
    made = bundle()
    if user_namespace:
        made.user_namespace()
    one = ("bind", "ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow", "idmap", "private")
    idmapped(made, source, *one, uids=MAPPING)
    idmapped(made, source, "ridmap", "rbind", "rro", "rnosuid", "rslave", uids=MAPPING, at="/all")
    got = mounts(runtime.report(made, "write=/data", "write=/all/sub"))
    assert got["/data"].options == {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow", "idmapped"}
    assert got["/data"].propagation == "private"
    for path in ("/all", "/all/sub"):
        assert got[path].options - {"relatime"} == {"ro", "nosuid", "idmapped"}


def test_what_cannot_be_idmapped(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """By the kernel: said of which mount, before anything of the container is there."""
    made = bundle("true")
    idmapped(made, Path("/proc/sys"), "bind", "idmap", uids=MAPPING)
    text = "the file system does not support idmapped mounts with this kernel"
    runtime.create(made).failed("/mounts/6", "map the owners in /proc/sys", text)
    made = bundle("true")
    idmapped(made, Path("/proc"), "rbind", "ridmap", uids=MAPPING, at="/data")
    runtime.create(made).failed("/mounts/6", "the file system, or one mounted below, does not support idmapped mounts")
    made = bundle("true")
    idmapped(made, source / "nothing", "bind", uids=MAPPING)
    runtime.create(made).failed("/mounts/6", "source/nothing", "no such file or directory")
    assert not list(runtime.root.iterdir())


LINES = [{"containerID": n, "hostID": n, "size": 1} for n in range(70_000)]  # CVE-2021-43784: 64 KiB overflowed
BOTH = {"uidMappings": MAPPING, "gidMappings": MAPPING}


@pytest.mark.parametrize(
    ("mount", "texts"),
    [
        (
            {"type": "tmpfs", "source": "tmpfs", **BOTH},
            ["/mounts/6: idmapped mounts are only supported for bind mounts, found tmpfs"],
        ),
        (
            {"options": ["remount", "bind", "idmap"], **BOTH},
            ["/mounts/6/options: a mount that is there already cannot be idmapped, found remount"],
        ),
        (
            {"options": ["bind", "idmap"]},
            ["/mounts/6: expected uidMappings and gidMappings, as there is no user namespace to take them from"],
        ),
        (
            {"options": ["bind"], "gidMappings": MAPPING},
            ["/mounts/6/uidMappings: expected mappings along with /mounts/6/gidMappings, found none"],
        ),
        (
            {"options": ["bind"], "uidMappings": MAPPING, "gidMappings": [MAPPING[0] | {"size": 0}]},
            ["/mounts/6/gidMappings/0/size: expected at least 1, found 0"],
        ),
        (
            {"options": ["bind", "ridmap"], "uidMappings": MAPPING * 2, "gidMappings": MAPPING},
            ["/mounts/6/uidMappings/1/containerID: expected ids that no other mapping has"],
        ),
        (
            {"options": ["bind"], "uidMappings": LINES, "gidMappings": [*LINES, *LINES]},
            ["/mounts/6/uidMappings: expected at most 340 mappings", "/mounts/6/gidMappings: expected at most 340"],
        ),
    ],
)
def test_what_is_refused(
    runtime: Runtime, bundle: Workshop, source: Path, mount: dict[str, Any], texts: list[str]
) -> None:
    made = bundle("true")
    made.config["mounts"].append({"destination": "/data", "source": str(source), **mount})
    runtime.create(made).failed(*texts)


def test_rootless(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """An ordinary user is refused as by runc; the root of his user namespace by the kernel, whose file system it is
    not."""
    made = bundle("true")
    made.namespace("user")
    made.linux["uidMappings"] = made.linux["gidMappings"] = [{"containerID": 0, "hostID": 7777, "size": 1}]
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    idmapped(made, source, "bind", "idmap")
    runtime.root.mkdir(mode=0o700)
    os.chown(runtime.root, 7777, 7777)
    user = ["setpriv", "--reuid=7777", "--regid=7777", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    text = "/mounts/6: idmapped mounts are not supported for rootless containers"
    runtime.create(made, prefix=user).failed(text)
    made.without_namespace("user")
    del made.linux["uidMappings"], made.linux["gidMappings"]
    idmapped(made, source, "bind", uids=[{"containerID": 0, "hostID": 0, "size": 1}])
    del made.config["mounts"][-2]
    os.chown(runtime.root, 0, 0)
    root = ["unshare", "--user", "--map-root-user"]
    runtime.create(made, prefix=root).failed("/mounts/6", "mount_setattr(2) takes CAP_SYS_ADMIN")
    runtime.create(made, prefix=[*root, "--mount"]).failed("/mounts/6", "belongs to another user namespace")
    idmapped(made, source, "bind", uids=[{"containerID": 0, "hostID": 5, "size": 1}])
    del made.config["mounts"][-2]
    text = "/mounts/6/uidMappings/0: 5 to 5 are not all mapped in the caller's own user namespace"
    runtime.create(made, prefix=[*root, "--mount"]).failed(text)


def test_what_the_runtime_lacks(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Each capability is told by its name."""
    for name in ("sys_ptrace", "setuid", "setgid", "setfcap"):
        made = bundle("true")
        idmapped(made, source, "bind", uids=[{"containerID": 0, "hostID": 0, "size": 10}])
        prefix = ["setpriv", f"--bounding-set=-{name}", "--inh-caps=-all"]
        runtime.create(made, prefix=prefix).failed("/mounts/6", f"CAP_{name.upper()}")


def test_nothing_of_the_host_is_left_open(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Neither the mounts that were taken along nor the namespaces that have mapped them, in a created container."""
    made = bundle("true")
    made.user_namespace()
    idmapped(made, source, "bind", "idmap")
    idmapped(made, source, "bind", uids=OTHER, at="/other")
    pid = runtime.created(made)
    opened = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    assert not [one for one in opened if "user:" in one or str(source) in one or one == "/"], opened
    runtime("start", made.id).ok()
    harness.reap(pid)
    runtime.delete(made).ok()


def test_the_plan_tells(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    made = bundle("true")
    made.user_namespace()
    idmapped(made, source, "rbind", "ridmap")
    made.write()
    lines = runtime("plan", "--bundle", str(made.path)).ok().out.splitlines()
    told = [" ".join(line.split()[1:]) for line in lines if line.rstrip().endswith("/mounts/6")]
    assert told == [
        f"outer take {source} and all below along /mounts/6",
        "outer make a user namespace for idmapped mounts: user ids 65536 from 0 to 100000; group ids 65536 from 0 to "
        "100000 /mounts/6",
        f"outer map the owners in {source} and all below /mounts/6",
        f"init bind {source} and all below, taken along, on /data /mounts/6",
    ]


@pytest.fixture
def overlay(scratch: Path, leftovers: harness.Leftovers) -> Iterator[Path]:
    for name in ("lower", "upper", "work", "merged"):
        (scratch / name).mkdir()
    (scratch / "lower" / "seven").touch()
    os.chown(scratch / "lower" / "seven", 7, 8)
    layers = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
    harness.mount("overlay", str(scratch / "merged"), "overlay", 0, layers)
    yield scratch / "merged"
    harness.unmount(str(scratch / "merged"))


def test_on_file_systems(runtime: Runtime, bundle: Workshop, below: Path, overlay: Path) -> None:
    """A disk's, a tmpfs (Linux 6.3); not an overlay, but what it is made of."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as disk:
        Path(disk).chmod(0o755)
        Path(disk, "seven").touch()
        os.chown(Path(disk, "seven"), 7, 8)
        kinds = {"disk": Path(disk), "tmpfs": below, "layer": overlay.parent / "lower"}
        for user_namespace in (False, True):
            made = bundle()
            if user_namespace:
                made.user_namespace()
            for name, path in kinds.items():
                idmapped(made, path, "bind", uids=MAPPING, at=f"/{name}")
            report = runtime.report(made, *(f"tree=/{name}" for name in kinds))
            base = 0 if user_namespace else 100000
            assert {name: owners(report, f"/{name}") for name in kinds} == {
                name: {"seven": [base + 7, base + 8]} for name in kinds
            }
            assert mounts(report)["/disk"].fstype in ("ext4", "xfs", "btrfs")
    made = bundle("true")
    idmapped(made, overlay, "bind", "idmap", uids=MAPPING)
    text = "the file system does not support idmapped mounts with this kernel"
    runtime.create(made).failed("/mounts/6", f"map the owners in {overlay}", text)


def test_more_than_a_few(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """Sources that are put away until they are used, and maps that are shared by some of them."""
    made = bundle()
    made.user_namespace()
    for number in range(50):
        base = 100000 + number % 3
        mapping = [{"containerID": 7, "hostID": base, "size": 2}] if number % 3 else None
        idmapped(made, source, "bind", *(() if mapping else ("idmap",)), uids=mapping, at=f"/data/{number}")
        made.mount(f"/plain/{number}", "bind", str(source), "bind")
    report = runtime.report(made, *(f"tree=/{kind}/{number}" for number in range(50) for kind in ("data", "plain")))
    for number in range(50):
        seven = [7, 8] if number % 3 == 0 else [number % 3, number % 3 + 1]
        assert owners(report, f"/data/{number}")["seven"] == seven
        assert owners(report, f"/plain/{number}")["seven"] == [OVERFLOW, OVERFLOW]
