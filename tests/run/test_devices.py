"""linux.devices: type, numbers, mode and owner, in any container (config-linux.md, "Devices")."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts

DEVICES = [
    {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 12, "gid": 34},
    {"path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
    {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 7, "fileMode": 0o711},
    {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 5, "gid": 6},
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o622, "uid": 5},
    {"path": "/out/side", "type": "c", "major": 1, "minor": 5, "fileMode": 0o444},
    {"path": "/dev/default", "type": "c", "major": 1, "minor": 5},
]
AS_ASKED = {
    "/dev/mine": ("c", 0o640, 12, 34, 1, 3),
    "/dev/deep/er/block": ("b", 0o600, 0, 0, 7, 200),
    "/dev/unbuffered": ("c", 0o711, 0, 0, 1, 7),
    "/dev/pipe": ("p", 0o622, 5, 6, 0, 0),
    "/dev/null": ("c", 0o622, 5, 0, 1, 3),
    "/out/side": ("c", 0o444, 0, 0, 1, 5),
    "/dev/default": ("c", 0o666, 0, 0, 1, 5),
}
ORDINARY = pytest.mark.differs("binds the host's node of that path, whatever else is asked for")


def allow(made: Bundle) -> None:
    made.linux["resources"]["devices"].append({"allow": True, "access": "rwm"})


def nodes(report: Any, *paths: str) -> dict[str, tuple[object, ...]]:
    """Type, mode, owner and numbers, without opening any."""
    found = {}
    for path in paths:
        directory, name = path.rsplit("/", 1)
        one = report["trees"][directory].get(name, {}).get("stat")
        found[path] = one and tuple(one[key] for key in ("type", "mode", "uid", "gid", "major", "minor"))
    return found


def look(runtime: Runtime, made: Bundle, *paths: str, **options: Any) -> dict[str, tuple[object, ...]]:
    directories = sorted({path.rsplit("/", 1)[0] for path in paths})
    return nodes(runtime.report(made, *(f"tree={directory}" for directory in directories), **options), *paths)


UMASK = pytest.mark.differs("makes the directories with the caller's umask", since="1.4")


@pytest.mark.parametrize("umask", [0o022, pytest.param(0o777, marks=UMASK)])
def test_made_as_asked_for(runtime: Runtime, bundle: Workshop, umask: int) -> None:
    made = bundle()
    allow(made)
    made.linux["devices"] = DEVICES
    old = os.umask(umask)
    try:
        made.write()
        running = runtime.spawn("run", "--bundle", str(made.path), made.id) if umask == 0o777 else None
        if running is not None:
            running.result()
    finally:
        os.umask(old)
    assert look(runtime, made, *AS_ASKED) == AS_ASKED


@ORDINARY
def test_in_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """As without one, although mknod(2) is forbidden there, and they work."""
    made = bundle()
    made.user_namespace()
    allow(made)
    made.linux["devices"] = DEVICES
    report = runtime.report(
        made,
        "tree=/dev",
        "tree=/dev/deep/er",
        "tree=/out",
        "write=/dev/null",
        "path=/out/side",
        "write=/dev/unbuffered",
    )
    assert nodes(report, *AS_ASKED) == AS_ASKED
    assert report["writes"] == {"/dev/null": "", "/dev/unbuffered": ""}
    got = mounts(report)
    assert got["/dev/mine"].options >= {"nosuid", "noexec"} and "nodev" not in got["/dev/mine"].options
    assert not [path for path, one in got.items() if one.source == "devices" and path not in AS_ASKED]


@ORDINARY
def test_the_users_of_the_container_have_the_rights_that_the_mode_gives(runtime: Runtime, bundle: Workshop) -> None:
    for uid, gid, expected in ((12, 0, ""), (13, 34, "EACCES"), (13, 35, "EACCES")):
        made = bundle()
        made.user_namespace()
        made.capabilities()
        allow(made)
        made.linux["devices"] = DEVICES
        made.process["user"] = {"uid": uid, "gid": gid}
        report = runtime.report(made, "write=/dev/mine", "path=/dev/mine")
        assert report["writes"]["/dev/mine"] == expected
        readable = gid != 35
        assert ("content" in report["paths"]["/dev/mine"]) is readable


@ORDINARY
def test_in_a_user_namespace_that_is_joined(runtime: Runtime, bundle: Workshop) -> None:
    """With its mappings in config.json, as containerd and CRI-O write them; without, the ids that the devices get are
    not known, and the host's nodes are bound."""
    first = bundle("pause")
    first.user_namespace()
    pid = runtime.started(first)
    for mapped in (True, False):
        made = bundle()
        made.user_namespace()
        allow(made)
        made.namespace("user", f"/proc/{pid}/ns/user")
        made.linux["devices"] = [
            {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o400, "uid": 9}
        ]
        if not mapped:
            del made.linux["uidMappings"], made.linux["gidMappings"]
        found = look(runtime, made, "/dev/full")["/dev/full"]
        host = os.stat("/dev/full")
        assert found == (("c", 0o400, 9, 0, 1, 7) if mapped else ("c", stat.S_IMODE(host.st_mode), 65534, 65534, 1, 7))
    runtime.end(first, pid)


@pytest.mark.differs("asks the host for its node of that path, and takes what it finds")
def test_who_may_make_none_gets_the_hosts(runtime: Runtime, bundle: Workshop) -> None:
    """An ordinary user: of the same type and number, under any name that is known; else it is an error."""
    runtime.root.mkdir(mode=0o700)
    os.chown(runtime.root, 7777, 7777)
    user = ["setpriv", "--reuid=7777", "--regid=7777", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]

    def rootless(device: dict[str, Any]) -> Bundle:
        made = bundle()
        made.user_namespace(7777, 1)
        del made.linux["cgroupsPath"], made.linux["resources"]
        made.without_namespace("cgroup")
        os.chown(made.path, 7777, 7777)
        made.linux["devices"] = [device, {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
        return made

    made = rootless({"path": "/dev/full", "type": "c", "major": 1, "minor": 7})
    assert look(runtime, made, "/dev/full", "/dev/pipe", prefix=user) == {
        "/dev/full": ("c", stat.S_IMODE(os.stat("/dev/full").st_mode), 65534, 65534, 1, 7),
        "/dev/pipe": ("p", 0o600, 0, 0, 0, 0),
    }
    made = rootless({"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600})
    warning = runtime.run(made.args("true"), prefix=user).warning
    assert "/linux/devices/0: binding the host's own node, with the mode and owner that it has" in warning
    for path, type in (("/dev/zero", "c"), ("/dev/no-such-device", "c"), ("/dev/full", "b")):
        made = rootless({"path": path, "type": type, "major": 1, "minor": 4095})
        runtime.create(made, prefix=user).failed(
            "/linux/devices/0", path, "the host has no such device at this path", code=1
        )


def test_what_is_there_already(runtime: Runtime, bundle: Workshop) -> None:
    """The same device of the image is kept as it is; anything else is an error."""
    device = {"path": "/here/it", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600}
    made = bundle()
    made.linux["devices"] = [device]
    (made.rootfs / "here").mkdir()
    os.mknod(made.rootfs / "here" / "it", 0o020640, os.makedev(1, 5))
    os.chown(made.rootfs / "here" / "it", 3, 4)
    assert look(runtime, made, "/here/it") == {"/here/it": ("c", 0o640, 3, 4, 1, 5)}


TEXT = "something else than this device is already there"


@pytest.mark.differs("takes whatever it finds, against the specification, or binds over it")
@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "other", "link"])
def test_something_else_is_there_already(
    runtime: Runtime, bundle: Workshop, scratch: Path, kind: str, user_namespace: bool
) -> None:
    made = bundle()
    made.linux["devices"] = [{"path": "/here/it", "type": "c", "major": 1, "minor": 5}]
    path = made.rootfs / "here" / "it"
    path.parent.mkdir()
    if kind == "file":
        path.write_text("of the image\n")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "other":
        os.mknod(path, 0o020666, os.makedev(1, 3))
    else:
        path.symlink_to("../etc/passwd")
    if user_namespace:
        made.user_namespace()
    runtime.create(made).failed("/linux/devices/0", "/here/it", TEXT)
    assert not list(runtime.root.iterdir())


@ORDINARY
def test_the_same_rootfs_again(runtime: Runtime, bundle: Workshop) -> None:
    """Without a mount on /dev, files are made there to bind the devices over; the next container may find them."""
    made = bundle()
    made.user_namespace()
    made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    made.linux["devices"] = DEVICES[:2]
    for _ in range(2):
        assert look(runtime, made, "/dev/mine", "/dev/zero")["/dev/mine"] == AS_ASKED["/dev/mine"]
    assert stat.S_ISREG((made.rootfs / "dev" / "mine").stat().st_mode)


@pytest.mark.differs("leaves the special bits out")
def test_directories_with_a_group_or_an_acl_of_their_own(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    allow(made)
    directory = made.rootfs / "out"
    directory.mkdir()
    os.chown(directory, 0, 77)
    directory.chmod(0o2777)
    entries = b"".join(struct.pack("<HHI", tag, bits, 2**32 - 1) for tag, bits in ((1, 7), (4, 0), (0x20, 0)))
    os.setxattr(directory, "system.posix_acl_default", struct.pack("<I", 2) + entries)
    made.linux["devices"] = [device | {"path": f"/out{device['path']}"} for device in DEVICES[:4]]
    made.linux["devices"].append({"path": "/out/special", "type": "c", "major": 1, "minor": 3, "fileMode": 0o6755})
    expected = {f"/out{path}": wanted for path, wanted in list(AS_ASKED.items())[:4]}
    expected["/out/special"] = ("c", 0o6755, 0, 0, 1, 3)
    assert look(runtime, made, *expected) == expected


def test_ptmx_is_the_containers_own(runtime: Runtime, bundle: Workshop) -> None:
    """Whatever the configuration says: the host's would open the host's terminals."""
    for user_namespace in (False, True):
        made = bundle()
        if user_namespace:
            made.user_namespace()
        made.linux["devices"] = [{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]
        assert runtime.report(made, "tree=/dev")["trees"]["/dev"]["ptmx"]["link"] == "pts/ptmx"


@pytest.mark.ocirun  # 1.1.5 checks none of this
@pytest.mark.parametrize(
    ("devices", "text"),
    [
        ([{"type": "c", "path": "/dev/a", "minor": 1}], "/linux/devices/0/major: expected a number"),
        ([{"type": "b", "path": "/dev/a", "major": 1}], "/linux/devices/0/minor: expected a number"),
        ([{"type": "p", "path": "a"}], "/linux/devices/0/path: expected an absolute path"),
        ([{"type": "x", "path": "/a"}], "/linux/devices/0/type: expected one of c, u, b, p"),
        ([DEVICES[0], DEVICES[0] | {"uid": 13}], "/linux/devices/1/path: expected a path that no other device has"),
    ],
)
def test_what_is_refused(runtime: Runtime, bundle: Workshop, devices: list[dict[str, Any]], text: str) -> None:
    made = bundle("true")
    made.linux["devices"] = devices
    runtime.create(made).failed(text)


@pytest.mark.ocirun
def test_ids_that_are_not_mapped(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.user_namespace(size=20)
    made.linux["devices"] = [DEVICES[0]]
    runtime.create(made).failed("/linux/devices/0/gid: expected an id that /linux/gidMappings maps, found 34")


@pytest.fixture
def victim(scratch: Path) -> Iterator[Path]:
    """A directory of the host in which nothing may appear."""
    path = scratch / "victim"
    path.mkdir()
    yield path
    assert list(path.iterdir()) == []


@pytest.mark.parametrize(
    "user_namespace", [False, pytest.param(True, marks=pytest.mark.differs("asks the host for its node of that path"))]
)
def test_a_path_through_symlinks_of_the_image(
    runtime: Runtime, bundle: Workshop, victim: Path, user_namespace: bool
) -> None:
    """They lead to places in the container, absolute ones and those with too many ".." too, which are made there."""
    up = "../" * 20
    made = bundle()
    (made.rootfs / "inside").mkdir()
    for name, text in (("absolute", str(victim)), ("relative", up + str(victim).lstrip("/")), ("fine", "/inside")):
        (made.rootfs / name).symlink_to(text)
    if user_namespace:
        made.user_namespace()
    full = {"type": "c", "major": 1, "minor": 7}
    made.linux["devices"] = [full | {"path": f"/{name}/full"} for name in ("absolute", "relative", "fine")]
    allow(made)
    runtime.run(made).ok()
    for path in (made.rootfs / "inside", Path(f"{made.rootfs}{victim}")):
        assert (path / "full").exists()


def test_a_target_that_is_exchanged(runtime: Runtime, bundle: Workshop, probe: Path, victim: Path) -> None:
    """In a rootfs that somebody else writes to, the directory of a device becomes a symlink to the host and back."""
    made = bundle("true")
    volume = made.rootfs / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 20 + str(victim).lstrip("/"))
    made.user_namespace()
    made.linux["devices"] = [DEVICES[0] | {"path": f"/volume/dir/{n}"} for n in range(10)]
    popen = harness.subprocess.Popen([str(probe), "swap", str(volume / "dir"), str(volume / "link")])
    try:
        for _ in range(20):
            made.id += "x"
            made.linux["cgroupsPath"] = f"/{made.id}"
            runtime.run(made)
    finally:
        popen.kill()
        popen.wait()
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(victim) in line]
