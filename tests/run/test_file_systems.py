"""New file systems: of the usual types, overlays, and what the kernel has none of."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Bundle, Runtime, Workshop, mounts


def layers(scratch: Path, count: int, length: int) -> list[Path]:
    """Directories with a file each, of long names."""
    found = []
    for number in range(count):
        path = scratch / f"{number:x<{length}}"
        path.mkdir()
        (path / f"file{number}").write_text(f"{number}\n")
        found.append(path)
    return found


def test_overlay(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle()
    lower, upper, work = layers(scratch, 3, 8)
    (work / "file2").unlink()
    options = (f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}", "noexec")
    made.mount("/overlay", "overlay", "overlay", *options)
    report = runtime.report(made, "path=/overlay/file0", "path=/overlay/file1", "write=/overlay/file0")
    assert [report["paths"][f"/overlay/file{number}"]["content"] for number in (0, 1)] == ["0\n", "1\n"]
    assert report["writes"] == {"/overlay/file0": ""}
    assert mounts(report)["/overlay"].options >= {"noexec"}
    assert (upper / "file0").exists(), "copied up"


@pytest.mark.parametrize(("count", "length"), [(4, 100), (25, 120)], ids=["400 bytes", "3 kB"])
def test_overlay_of_many_layers(runtime: Runtime, bundle: Workshop, scratch: Path, count: int, length: int) -> None:
    """fsconfig(2) takes 255 bytes of a value, mount(2) a page of all."""
    made = bundle()
    lower = ":".join(map(str, layers(scratch, count, length)))
    made.mount("/overlay", "overlay", "overlay", f"lowerdir={lower}")
    assert len(runtime.report(made, "tree=/overlay")["trees"]["/overlay"]) == count


def test_options_longer_than_mount_takes(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Refused, and not cut at a page: what is behind it would be left out."""
    made = bundle("true")
    lower = ":".join(map(str, layers(scratch, 40, 120)))
    assert len(lower) > 4096
    made.mount("/overlay", "overlay", "overlay", f"lowerdir={lower}")
    result = runtime.run(made)
    result.failed("overlay")
    if runtime.name == "ocirun":
        result.failed("/mounts/6", "the options are longer than the 4095 bytes that mount(2) takes")


def test_overlay_of_relative_layers(runtime: Runtime, bundle: Workshop) -> None:
    """They are the file system's options, and nobody's paths: the kernel finds none."""
    made = bundle("true")
    (made.path / "lower").mkdir()
    made.mount("/overlay", "overlay", "overlay", "lowerdir=lower")
    runtime.run(made).failed("overlay", "no such file or directory")


@pytest.mark.differs("sets the mode of the place in any case", before="1.4")
def test_a_tmpfs_has_the_mode_of_its_place(runtime: Runtime, bundle: Workshop) -> None:
    """Unless it has one by its options; what has to be made first is 1777."""
    made = bundle()
    for name in ("one", "two"):
        (made.rootfs / name).mkdir()
        (made.rootfs / name).chmod(0o751)
    made.mount("/one", "tmpfs", "tmpfs")
    made.mount("/two", "tmpfs", "tmpfs", "mode=0700")
    made.mount("/three", "tmpfs", "tmpfs")
    made.mount("/four", "tmpfs", "tmpfs", "size=1m,mode=0710", "uid=7")
    names = ("one", "two", "three", "four")
    report = runtime.report(made, *(f"path=/{name}" for name in names))
    found = {name: report["paths"][f"/{name}"]["stat"]["mode"] for name in names}
    assert found == {"one": 0o751, "two": 0o700, "three": 0o1777, "four": 0o710}


@pytest.mark.parametrize("user_namespace", [False, True])
def test_the_usual_ones_at_other_places(runtime: Runtime, bundle: Workshop, user_namespace: bool) -> None:
    made = bundle()
    usual = {"proc": "proc", "sysfs": "sysfs", "tmpfs": "tmpfs", "mqueue": "mqueue", "devpts": "devpts"}
    if not user_namespace:
        usual["ramfs"] = "ramfs"
    for name, type in usual.items():
        for number in range(2):
            options = ["newinstance", "ptmxmode=0666"] if type == "devpts" else ["nosuid"]
            made.mount(f"/more/{name}/{number}", type, f"{name}-{number}", *options)
    if user_namespace:
        made.user_namespace()
    got = mounts(runtime.report(made))
    for name, type in usual.items():
        for number in range(2):
            mount = got[f"/more/{name}/{number}"]
            assert (mount.fstype, mount.source) == (type, f"{name}-{number}")


def test_mqueue_and_sysfs_of_the_host(runtime: Runtime, bundle: Workshop) -> None:
    """Without namespaces of its own."""
    made = bundle()
    made.without_namespace("ipc", "network")
    got = mounts(runtime.report(made))
    assert got["/dev/mqueue"].fstype == "mqueue" and got["/sys"].fstype == "sysfs"


def refused(runtime: Runtime, made: Bundle, type: str, *options: str, source: str = "none") -> str:
    made.without_mount("/disk")
    made.mount("/disk", type, source, *options)
    result = runtime.run(made)
    assert result.code == 1
    assert not list(runtime.root.iterdir())
    return result.error


@pytest.mark.ocirun  # runc has only the errno's words
def test_what_the_kernel_has_against_it(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    assert "/mounts/6: mount nonesuch on /disk: no such device" in refused(runtime, made, "nonesuch")
    assert 'expected a type, or the option "bind" or "rbind"' in refused(runtime, made, "")
    assert "(size=lots): tmpfs: Bad value for 'size': invalid argument" in refused(runtime, made, "tmpfs", "size=lots")
    assert "tmpfs: Unknown parameter 'colour'" in refused(runtime, made, "tmpfs", "nosuid", "colour=red")
    assert "proc: Unknown parameter 'sub'" in refused(runtime, made, "proc", "sub=pid")
    assert "mount overlay on /disk" in refused(runtime, made, "overlay")
    assert "Can't lookup blockdev" in refused(runtime, made, "ext4")
    del made.config["mounts"][-1]["type"]
    runtime.run(made).failed("/mounts/6", "expected a type")


def test_unknown_options_are_the_file_systems(runtime: Runtime, bundle: Workshop) -> None:
    """Words that no table has go to the kernel as they are: huge=, an empty value, one with an equals sign."""
    made = bundle()
    made.mount("/one", "tmpfs", "tmpfs", "huge=never", "nr_inodes=50", "uid=5,gid=6,size=64k")
    made.mount("/two", "proc", "proc", "hidepid=2", "subset=pid")
    got = mounts(runtime.report(made))
    assert got["/one"].super_options >= {"nr_inodes=50", "uid=5", "gid=6", "size=64k"}
    assert {word.replace("invisible", "2") for word in got["/two"].super_options} >= {"hidepid=2", "subset=pid"}


def test_read_only_ones_are_filled_first(runtime: Runtime, bundle: Workshop) -> None:
    """A read-only /dev still gets its devices, a read-only tmpfs what is mounted in it."""
    made = bundle()
    for mount in made.config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append("ro")
    made.mount("/run", "tmpfs", "tmpfs", "ro")
    made.mount("/run/user", "tmpfs", "tmpfs", "mode=755")
    report = runtime.report(made, "write=/dev", "write=/dev/shm", "write=/run", "write=/run/user", "write=/dev/null")
    assert report["writes"] == {"/dev": "EROFS", "/dev/shm": "", "/run": "EROFS", "/run/user": "", "/dev/null": ""}
    assert "ro" in mounts(report)["/dev"].options
