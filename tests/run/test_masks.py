"""maskedPaths and readonlyPaths: on whatever there may be."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts

NULL = ("c", 1, 3)
MS_SHARED = 1 << 20


def kind(report: Any, path: str) -> tuple[str, int, int]:
    node = report["paths"][path]["stat"]
    return node["type"], node["major"], node["minor"]


def furnish(made: Bundle, source: Path) -> None:
    """Something of every kind below /things, and a mount with another one in it."""
    things = made.rootfs / "things"
    (things / "directory" / "sub").mkdir(parents=True)
    (things / "directory" / "file").write_text("content\n")
    (things / "file").write_text("content\n")
    (things / "to-file").symlink_to("file")
    (things / "to-directory").symlink_to("/things/directory")
    (things / "dangling").symlink_to("nowhere")
    (things / "loop").symlink_to("loop")
    os.mkfifo(things / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(things / "socket"))
    os.mknod(things / "device", 0o020666, os.makedev(1, 5))
    (things / "empty").mkdir()
    (things / "new\nline").write_text("content\n")
    for part in ("", "inner"):
        (source / part).mkdir(exist_ok=True)
        (source / part / "file").write_text("content\n")
    made.mount("/things/mounted", "bind", str(source), "bind")
    made.mount("/things/mounted/inner", "tmpfs", "tmpfs", "mode=755")


@pytest.fixture(params=["plain", "read-only root", "user namespace"])
def made(request: pytest.FixtureRequest, bundle: Workshop, scratch: Path) -> Bundle:
    """A bundle with everything, in several surroundings."""
    result = bundle()
    (scratch / "source").mkdir()
    furnish(result, scratch / "source")
    if request.param == "read-only root":
        result.config["root"]["readonly"] = True
    if request.param == "user namespace":
        result.user_namespace()
        os.chown(scratch / "source" / "file", 100000, 100000)
    return result


MASKED = {
    "/things/file": "null",
    "/things/directory": "empty",
    "/things/fifo": "null",
    "/things/socket": "null",
    "/things/device": "null",
    "/things/empty": "empty",
    "/things/mounted": "empty",
    "/things/mounted/file": "below",
    "/things/mounted/inner": "below",
    "/things/to-directory/sub": "below",
    "/things/new\nline": "null",
}


def test_masked_paths_of_every_kind(runtime: Runtime, made: Bundle) -> None:
    made.linux["maskedPaths"] = [*MASKED, "/things/to-file", "/things/file", "/things/dangling", "/missing/parents/too"]
    report = runtime.report(
        made, *(f"path={path}" for path in MASKED), "write=/things/directory", "write=/things/empty"
    )
    for path, found in MASKED.items():
        if found == "null":
            assert kind(report, path) == NULL, path
            assert report["paths"][path]["content"] == ""
        elif found == "empty":
            assert report["paths"][path]["list"] == [], path
        else:
            assert report["paths"][path]["error"] == "ENOENT", path
    assert set(report["writes"].values()) == {"EROFS"}
    assert (made.rootfs / "things" / "file").read_text() == "content\n"
    assert "/missing" not in mounts(report) and not (made.rootfs / "missing").exists()
    assert not (made.rootfs / "things" / "nowhere").exists()


def test_masked_inside_of_a_mount(runtime: Runtime, made: Bundle) -> None:
    """The order is that of the list: a place below a masked one is masked first."""
    made.linux["maskedPaths"] = ["/things/mounted/file", "/things/mounted/inner", "/things/directory/sub"]
    report = runtime.report(
        made, *(f"path={path}" for path in made.linux["maskedPaths"]), "path=/things/directory/file"
    )
    assert kind(report, "/things/mounted/file") == NULL
    assert report["paths"]["/things/mounted/inner"]["list"] == []
    assert report["paths"]["/things/directory/sub"]["list"] == []
    assert report["paths"]["/things/directory/file"]["content"] == "content\n"


NOT_A_DIRECTORY = pytest.mark.differs("says that it is no directory")


@pytest.mark.parametrize(
    "path",
    [
        "/things/directory///",
        pytest.param("/things/file/", marks=NOT_A_DIRECTORY),
        pytest.param("//things//to-file//", marks=NOT_A_DIRECTORY),
    ],
)
def test_a_slash_at_the_end_hides_nothing_less(runtime: Runtime, bundle: Workshop, scratch: Path, path: str) -> None:
    made = bundle()
    furnish(made, scratch / "tmp")
    made.linux["maskedPaths"] = [path]
    seen = path.rstrip("/")
    report = runtime.report(made, f"path={seen}")
    assert report["paths"][seen].get("content", "") == "" and report["paths"][seen].get("list", []) == []


READ_ONLY = ["file", "directory", "to-file", "to-directory/sub", "mounted", "mounted/inner", "new\nline", "fifo"]


def test_read_only_paths_of_every_kind(runtime: Runtime, made: Bundle) -> None:
    paths = [f"/things/{name}" for name in READ_ONLY]
    made.linux["readonlyPaths"] = [*paths, "/things/dangling", "/missing/parents"]
    written = ["file", "directory", "directory/sub", "directory/file", "mounted", "mounted/file", "mounted/inner"]
    report = runtime.report(made, *(f"write=/things/{name}" for name in [*written, "new\nline"]))
    assert set(report["writes"].values()) == {"EROFS"}
    got = mounts(report)
    assert all("ro" in got[f"/things/{name}"].options for name in ("file", "directory", "mounted", "mounted/inner"))
    assert not (made.rootfs / "missing").exists()


@pytest.mark.differs("fails")
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_below_a_file_there_is_nothing(runtime: Runtime, bundle: Workshop, key: str) -> None:
    made = bundle("true")
    made.linux[key] = ["/etc/passwd/below", "/etc/passwd/be/low"]
    runtime.run(made).ok()


def test_read_only_with_mounts_below(runtime: Runtime, made: Bundle) -> None:
    """Only the place itself, as in runc: what is mounted below it stays as it is."""
    made.linux["readonlyPaths"] = ["/things/mounted"]
    report = runtime.report(made, "write=/things/mounted", "write=/things/mounted/inner", "write=/things/mounted/file")
    assert report["writes"] == {
        "/things/mounted": "EROFS",
        "/things/mounted/inner": "",
        "/things/mounted/file": "EROFS",
    }


def test_the_same_path_again_and_again(runtime: Runtime, made: Bundle) -> None:
    """Twice, read-only and masked, by several names."""
    made.linux["maskedPaths"] = ["/things/file", "/things/file", "/things/to-file", "/things/directory"]
    made.linux["readonlyPaths"] = ["/things/file", "/things/directory", "/things/directory", "/things/to-directory"]
    report = runtime.report(made, "path=/things/file", "path=/things/directory", "write=/things/directory")
    assert kind(report, "/things/file") == NULL
    assert report["paths"]["/things/directory"]["list"] == []
    assert report["writes"]["/things/directory"] == "EROFS"


@pytest.mark.differs("mounts as often as a path is there")
def test_hidden_once(runtime: Runtime, made: Bundle) -> None:
    made.linux["maskedPaths"] = ["/things/file", "//things/./file/", "/things/to-file", "/things/directory"] * 2
    made.linux["maskedPaths"] += ["/things/to-directory"]
    made.linux["readonlyPaths"] = ["/proc/sys", "/proc/sys/"] * 2
    lines = [line.split() for line in runtime.report(made)["mountinfo"].splitlines()]
    for path in ("/things/file", "/things/directory", "/proc/sys"):
        assert [line[4] for line in lines].count(path) == 1, path


def test_attributes_stay_with_read_only(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle()
    (scratch / "source").mkdir()
    made.mount("/data", "bind", str(scratch / "source"), "bind", "nosuid", "nodev", "noexec", "noatime", "nodiratime")
    made.linux["readonlyPaths"] = ["/data"]
    got = mounts(runtime.report(made))["/data"].options
    assert got == {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"}


def test_the_root_read_only_by_its_path(runtime: Runtime, bundle: Workshop) -> None:
    """Like root.readonly: mounts and devices below stay writable."""
    for path in ("/", "//", "/./"):
        made = bundle()
        made.linux["readonlyPaths"] = [path]
        report = runtime.report(made, "write=/", "write=/etc/passwd", "write=/dev/shm", "write=/dev/null")
        assert report["writes"] == {"/": "EROFS", "/etc/passwd": "EROFS", "/dev/shm": "", "/dev/null": ""}
        assert [line.split()[4] for line in report["mountinfo"].splitlines()].count("/") == 1 or runtime.name == "runc"


@pytest.mark.differs("covers it by a mount that nobody sees")
@pytest.mark.parametrize("path", ["/", "//", "/."])
def test_the_root_cannot_be_masked(runtime: Runtime, bundle: Workshop, path: str) -> None:
    made = bundle("true")
    made.linux["maskedPaths"] = ["/proc/keys", path]
    runtime.create(made).failed("/linux/maskedPaths/1", "expected a path below the root")


@pytest.mark.differs("takes it from the root")
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
@pytest.mark.parametrize("path", ["etc", "", "./etc"])
def test_relative_ones_are_refused(runtime: Runtime, bundle: Workshop, key: str, path: str) -> None:
    made = bundle("true")
    made.linux[key] = [path]
    runtime.create(made).failed(f"/linux/{key}/0", "expected an absolute path")


@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_through_links_of_the_image(runtime: Runtime, bundle: Workshop, scratch: Path, key: str) -> None:
    """Absolute and climbing ones stay inside the root; what is there is meant, and nothing of the host."""
    victim = scratch / "victim"
    victim.mkdir()
    (victim / "file").write_text("of the host\n")
    made = bundle()
    inside = made.rootfs / str(victim).lstrip("/")
    inside.mkdir(parents=True)
    (inside / "file").write_text("of the image\n")
    (made.rootfs / "absolute").symlink_to(victim)
    (made.rootfs / "climbing").symlink_to("../" * 20 + str(victim).lstrip("/"))
    (made.rootfs / "magic").symlink_to(f"/proc/self/root{victim}")
    made.linux[key] = ["/absolute/file", "/climbing"]
    report = runtime.report(made, "path=/climbing", "path=/climbing/file", "write=/climbing", "write=/absolute/file")
    assert report["writes"]["/climbing"] == "EROFS"
    if key == "maskedPaths":
        assert report["paths"]["/climbing"]["list"] == []
    else:
        assert report["paths"]["/climbing/file"]["content"] == "of the image\n"
        assert report["writes"]["/absolute/file"] == "EROFS"
    assert (victim / "file").read_text() == "of the host\n"
    assert os.access(victim, os.W_OK)


def test_mounts_that_are_shared_with_the_host(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """A mask in a volume that is shared with the host must not appear on the host."""
    source = scratch / "source"
    source.mkdir()
    harness.mount("volume", str(source), "tmpfs")
    try:
        harness.mount("", str(source), None, MS_SHARED)
        (source / "secret").write_text("secret\n")
        (source / "secrets").mkdir()
        (source / "secrets" / "file").write_text("secret\n")
        before = Path("/proc/self/mountinfo").read_text()
        made = bundle("pause")
        made.mount("/volume", "bind", str(source), "rbind", "rslave")
        made.linux["maskedPaths"] = ["/volume/secret", "/volume/secrets"]
        made.linux["readonlyPaths"] = ["/volume"]
        pid = runtime.started(made)
        report = runtime.probe(made, "path=/volume/secret", "path=/volume/secrets", "write=/volume")
        assert report["paths"]["/volume/secret"]["content"] == "" and report["paths"]["/volume/secrets"]["list"] == []
        assert Path("/proc/self/mountinfo").read_text() == before
        runtime.end(made, pid)
    finally:
        harness.unmount(str(source))


WITHOUT_DEV: dict[str, Callable[[Path], object]] = {
    "missing": lambda null: None,
    "a file": lambda null: null.write_text("content\n"),
}


@pytest.mark.ocirun  # runc 1.1.5 takes a file for its standard output
@pytest.mark.parametrize("state", WITHOUT_DEV)
def test_without_a_mount_on_dev(runtime: Runtime, bundle: Workshop, state: str) -> None:
    """The null device is then made in the image, unless something else is there."""
    made = bundle()
    made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    WITHOUT_DEV[state](made.rootfs / "dev" / "null")
    made.linux["maskedPaths"] = ["/etc/passwd"]
    result = runtime.run(made.args("report", "path=/etc/passwd"))
    if state == "missing":
        assert kind(result.json, "/etc/passwd") == NULL
    else:
        assert result.code == 1 or kind(result.json, "/etc/passwd") == NULL
