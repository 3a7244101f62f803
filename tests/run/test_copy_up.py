"""tmpcopyup: a tmpfs that begins with what the image has at its place."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Bundle, Runtime, Workshop, mounts


def copied(bundle: Workshop, *options: str) -> tuple[Bundle, Path]:
    """A bundle with a tmpfs over /copied, and that directory of its image."""
    made = bundle()
    place = made.rootfs / "copied"
    place.mkdir()
    made.mount("/copied", "tmpfs", "tmpfs", "tmpcopyup", *options)
    return made, place


def status(node: Any, *keys: str) -> list[Any]:
    return [node["stat"][key] for key in keys]


@pytest.mark.differs("loses the sticky bit of the place itself", before="1.4")
def test_owners_modes_times_and_attributes(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    place.chmod(0o1751)
    (place / "deep" / "er").mkdir(parents=True)
    (place / "deep" / "er" / "setuid").write_text("s")
    os.chown(place / "deep" / "er" / "setuid", 12, 34)
    (place / "deep" / "er" / "setuid").chmod(0o6711)
    os.chown(place / "deep", 5, 6)
    (place / "deep").chmod(0o2750)
    os.setxattr(place / "deep" / "er" / "setuid", "trusted.note", b"kept")
    os.utime(place / "deep", (1_000_000_000, 1_100_000_000))
    (place / "absolute").symlink_to("/etc/passwd")
    (place / "out").symlink_to("../../../../../etc/passwd")
    os.chown(place / "out", 7, 8, follow_symlinks=False)
    made.capabilities("DAC_READ_SEARCH")
    report = runtime.report(made, *(f"tree=/copied{part}" for part in ("", "/deep", "/deep/er")), "path=/copied")
    top, deep, deeper = (report["trees"][f"/copied{part}"] for part in ("", "/deep", "/deep/er"))
    assert status(report["paths"]["/copied"], "mode", "uid", "gid") == [0o1751, 0, 0]
    assert mounts(report)["/copied"].fstype == "tmpfs"
    assert status(top["deep"], "type", "mode", "uid", "gid") == ["d", 0o2750, 5, 6]
    assert status(deeper["setuid"], "type", "mode", "uid", "gid") == ["f", 0o6711, 12, 34]
    assert status(deep["er"], "mode", "uid") == [0o755, 0]
    assert (top["absolute"]["link"], top["out"]["link"]) == ("/etc/passwd", "../../../../../etc/passwd")
    assert status(top["out"], "type", "uid", "gid") == ["l", 7, 8]


@pytest.mark.differs("fails: it opens them")
def test_what_is_neither_file_nor_directory(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    os.mkfifo(place / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(place / "socket"))
    os.mknod(place / "character", 0o020604, os.makedev(1, 3))
    os.mknod(place / "block", 0o060600, os.makedev(7, 1))
    os.chown(place / "block", 3, 4)
    tree = runtime.report(made, "tree=/copied")["trees"]["/copied"]
    assert status(tree["fifo"], "type", "mode") == ["p", 0o640]
    assert tree["socket"]["stat"]["type"] == "s"
    assert status(tree["character"], "type", "mode", "major", "minor") == ["c", 0o604, 1, 3]
    assert status(tree["block"], "type", "major", "minor", "uid", "gid") == ["b", 7, 1, 3, 4]


@pytest.mark.differs("copies them several times")
def test_several_names_of_one_file(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    (place / "sub").mkdir()
    (place / "one").write_text("same\n")
    os.link(place / "one", place / "sub" / "two")
    os.link(place / "one", place / "three")
    (place / "other").write_text("other\n")
    os.link(place / "other", place.parent / "outside")
    paths = ("one", "sub/two", "three", "other")
    report = runtime.report(made, *(f"path=/copied/{path}" for path in paths))
    found = [report["paths"][f"/copied/{path}"] for path in paths]
    assert len({one["stat"]["ino"] for one in found[:3]}) == 1
    assert found[3]["stat"]["ino"] != found[0]["stat"]["ino"]
    assert [one["content"] for one in found] == ["same\n"] * 3 + ["other\n"]


@pytest.mark.differs("fills the holes")
def test_a_file_with_holes(runtime: Runtime, bundle: Workshop) -> None:
    """It costs what is in it, not what it could hold."""
    made, place = copied(bundle, "size=1m")
    with (place / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)
    (place / "end").write_bytes(b"x" + bytes(8191) + b"y")
    report = runtime.report(made, "path=/copied/sparse", "path=/copied/end")
    assert report["paths"]["/copied/end"]["stat"]["size"] == 8193
    assert report["paths"]["/copied/sparse"]["stat"]["size"] == 1 << 40


def test_a_big_tree(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    for number in range(50):
        (place / str(number)).mkdir()
        for file in range(60):
            (place / str(number) / str(file)).write_text(f"{number} {file}\n")
    (place / "large").write_bytes(os.urandom(5_000_000))
    report = runtime.report(made, "tree=/copied", "tree=/copied/49", "path=/copied/49/59")
    assert set(report["trees"]["/copied"]) == {*map(str, range(50)), "large"}
    assert report["trees"]["/copied"]["large"]["stat"]["size"] == 5_000_000
    assert len(report["trees"]["/copied/49"]) == 60
    assert report["paths"]["/copied/49/59"]["content"] == "49 59\n"


def test_a_deep_tree_with_few_descriptors(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    path = Path(*["d"] * 100)
    (place / path).mkdir(parents=True)
    (place / path / "file").write_text("deep\n")
    report = runtime.report(made, f"path=/copied/{path}/file", prefix=["prlimit", "--nofile=256:256"])
    assert report["paths"][f"/copied/{path}/file"]["content"] == "deep\n"
    if runtime.name != "ocirun":
        return
    prefix = ["prlimit", "--nofile=64:64"]
    runtime.run(made, prefix=prefix).failed("/mounts/6", "copying d/d/d/d/d/d/d/d", "too many open files")


@pytest.mark.parametrize("options", [("size=8k",), ("nr_inodes=10",)], ids=lambda options: options[0])
def test_no_room(runtime: Runtime, bundle: Workshop, options: tuple[str, ...]) -> None:
    made, place = copied(bundle, *options)
    (place / "dir").mkdir()
    for number in range(30):
        (place / "dir" / f"file{number}").write_bytes(b"x" * 1000)
    result = runtime.run(made)
    result.failed("/copied", "no space left on device")
    if runtime.name == "ocirun":
        result.failed(f"/mounts/6: mount tmpfs on /copied ({options[0]},tmpcopyup): copying dir/file")
    assert not list(runtime.root.iterdir())


def test_read_only(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle, "ro", "noexec")
    (place / "file").write_text("kept\n")
    report = runtime.report(made, "path=/copied/file", "write=/copied", "write=/copied/file")
    assert report["paths"]["/copied/file"]["content"] == "kept\n"
    assert set(report["writes"].values()) == {"EROFS"}
    assert mounts(report)["/copied"].options >= {"ro", "noexec"}


def test_nothing_there(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.mount("/new/place", "tmpfs", "tmpfs", "tmpcopyup")
    assert runtime.report(made, "path=/new/place")["paths"]["/new/place"]["list"] == []


def test_what_is_mounted_below(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """It is copied too, as it would be seen."""
    (scratch / "source").mkdir()
    (scratch / "source" / "file").write_text("of the mount\n")
    made = bundle()
    (made.rootfs / "copied").mkdir()
    made.mount("/copied/below", "bind", str(scratch / "source"), "bind")
    made.mount("/copied", "tmpfs", "tmpfs", "tmpcopyup")
    report = runtime.report(made, "path=/copied/below/file")
    assert report["paths"]["/copied/below/file"]["content"] == "of the mount\n"
    assert "/copied/below" not in list(mounts(report))[-1]


@pytest.mark.ocirun  # runc fails at owners that are not mapped
def test_in_a_user_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made, place = copied(bundle)
    (place / "mine").write_text("mine\n")
    (place / "other").write_text("other\n")
    (place / "foreign").write_text("foreign\n")
    os.mknod(place / "device", 0o020666, os.makedev(1, 3))
    made.user_namespace()
    os.chown(place / "other", 100_005, 100_006)
    os.chown(place / "foreign", 7, 8)
    for name in ("mine", "other", "foreign"):
        (place / name).chmod(0o4755)
    tree = runtime.report(made, "tree=/copied")["trees"]["/copied"]
    assert status(tree["mine"], "mode", "uid", "gid") == [0o4755, 0, 0]
    assert status(tree["other"], "mode", "uid", "gid") == [0o4755, 5, 6]
    assert tree["foreign"]["stat"]["uid"] in (0, 65534)
    assert tree["foreign"]["stat"]["mode"] & 0o777 == 0o755
    assert "device" not in tree, "it would not work there"


def test_few_ids(runtime: Runtime, bundle: Workshop) -> None:
    """An owner that the user namespace has no id for, and none for the overflow user: what it gets has no set-user-ID
    bit, or everybody would become the container's root by it."""
    made, place = copied(bundle)
    (place / "foreign").write_text("foreign\n")
    made.user_namespace(size=1000)
    os.chown(place / "foreign", 7, 8)
    (place / "foreign").chmod(0o6755)
    result = runtime.run(made.args("report", "tree=/copied"))
    if runtime.name != "ocirun":
        assert result.code == 1
        return
    node = result.json["trees"]["/copied"]["foreign"]
    assert status(node, "mode", "uid", "gid") == [0o755, 0, 0]


# Somebody changes it meanwhile: another container, with the same volume.


@contextmanager
def meanwhile(*argv: str) -> Iterator[None]:
    popen = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        popen.kill()
        popen.wait()


@pytest.mark.ocirun  # runc 1.4.3 sometimes follows it
def test_exchanged_for_a_link_to_the_host(runtime: Runtime, bundle: Workshop, scratch: Path, probe: Path) -> None:
    """A file and a directory that are symlinks to the host's every other moment: nothing of the host gets in."""
    (scratch / "secret").mkdir()
    (scratch / "secret" / "file").write_text("secret")
    made, place = copied(bundle)
    (place / "a").mkdir()
    (place / "a" / "file").write_text("plain")
    (place / "b").symlink_to(scratch / "secret")
    (place / "c").write_text("plain")
    (place / "d").symlink_to(scratch / "secret" / "file")
    with (
        meanwhile(str(probe), "swap", str(place / "a"), str(place / "b")),
        meanwhile(str(probe), "swap", str(place / "c"), str(place / "d")),
    ):
        for _ in range(10):
            words = [f"path=/copied/{path}" for path in ("a/file", "b/file", "c", "d")]
            result = runtime.run(made.args("report", *words))
            if result.code == 0:
                assert "secret" not in [one.get("content") for one in result.json["paths"].values()]


@pytest.mark.ocirun  # runc fails at the FIFO
@pytest.mark.parametrize("kind", ["fifo", "growing"])
def test_it_comes_to_an_end(runtime: Runtime, bundle: Workshop, probe: Path, kind: str) -> None:
    """A file that is a FIFO every other moment, which nobody writes to; and one that grows as fast as it is read."""
    made, place = copied(bundle, "size=64m")
    (place / "a").write_text("x")
    if kind == "fifo":
        os.mkfifo(place / "b")
        argv = [str(probe), "swap", str(place / "a"), str(place / "b")]
    else:
        argv = ["dd", "if=/dev/zero", f"of={place / 'a'}", "bs=64k", "count=4000"]
    with meanwhile(*argv):
        for _ in range(8):
            result = runtime.run(made.args("true"), timeout=20)
            assert result.code == 0 or "no space left" in result.error or "copying" in result.error


@pytest.mark.differs("copies no extended attributes")
def test_attributes_survive(runtime: Runtime, bundle: Workshop) -> None:
    """File capabilities, which are an extended attribute: read by running a copied program that has one."""
    made, place = copied(bundle)
    (place / "probe").write_bytes((made.rootfs / "probe").read_bytes())
    (place / "probe").chmod(0o755)
    # cap_net_raw in the permitted set, effective: revision 2 (linux/capability.h)
    os.setxattr(place / "probe", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    made.capabilities("NET_RAW")
    made.process["noNewPrivileges"] = False
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["args"] = ["/copied/probe", "report"]
    report = runtime.run(made).json
    assert int(report["capabilities"]["effective"], 16) == 1 << 13
