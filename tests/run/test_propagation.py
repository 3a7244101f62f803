"""What is mounted later, on the host or in the container, and who sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop

MS_SHARED = 1 << 20


@pytest.fixture
def volume(scratch: Path, leftovers: harness.Leftovers) -> Iterator[Path]:
    """A mount of the host that is shared, with another one below, as systemd makes them."""
    path = scratch / "volume"
    path.mkdir()
    harness.mount("volume", str(path), "tmpfs")
    harness.mount("", str(path), None, MS_SHARED)
    for name in ("sub", "late", "inside"):
        (path / name).mkdir()
    harness.mount("sub", str(path / "sub"), "tmpfs")
    yield path
    harness.unmount(str(path))


@pytest.fixture(params=["private", "shared"])
def made(request: pytest.FixtureRequest, bundle: Workshop, scratch: Path) -> Iterator[Bundle]:
    """A bundle on a mount of its own, which is shared with the host or not."""
    place = scratch / "place"
    place.mkdir()
    harness.mount("place", str(place), "tmpfs")
    if request.param == "shared":
        harness.mount("", str(place), None, MS_SHARED)
    workshop = Workshop(bundle.prefix, place, bundle.probe)
    result = workshop("pause")
    (result.rootfs / "late").mkdir()
    yield result
    harness.unmount(str(place))


def mount_inside(pid: int, path: str) -> None:
    """A tmpfs with the source "inside", by a process that enters the container's mount namespace."""
    child = os.fork()
    if child == 0:
        try:
            root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
            namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
            assert harness.libc.setns(namespace, 0) == 0
            os.fchdir(root)
            os.chroot(".")
            harness.mount("inside", path, "tmpfs")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def is_private(place: Path) -> bool:
    """Whether a mount of ours has no peers."""
    line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] == str(place))
    return "shared:" not in line


def sources(text: str) -> list[str]:
    """The sources of the mounts of a mountinfo."""
    return [line.partition(" - ")[2].split(" ")[1] for line in text.splitlines()]


# rootfsPropagation -> the tags of the root, of /proc (a new file system) and of the bound volume; whether the container
# sees what the host mounts on the volume later, and the host what the container does.
KINDS = {
    None: (set(), set(), {"master"}, True, False),
    "rslave": ({"master"}, set(), {"master"}, True, False),
    "rprivate": (set(), set(), set(), False, False),
    "shared": ({"shared"}, set(), {"shared"}, True, True),
    "rshared": ({"shared"}, {"shared"}, {"shared"}, True, True),
    # For the root alone. Host and container share nothing else either: runc makes the host's root such a mount, and no
    # other of its mounts, with which the container is shared then.
    "slave": ({"master"}, set(), {"master"}, True, False),
    "private": (set(), set(), set(), False, False),
    "unbindable": ({"unbindable"}, set(), set(), False, False),
    "runbindable": ({"unbindable"}, {"unbindable"}, {"unbindable"}, False, False),
}


@pytest.mark.ocirun  # runc 1.4.3 is the same but for the last four and a root that is a slave, as 1.1.5 has
@pytest.mark.parametrize("kind", KINDS)
def test_rootfs_propagation(runtime: Runtime, made: Bundle, volume: Path, kind: str | None) -> None:
    made.mount("/volume", "bind", str(volume), "rbind")
    if kind:
        made.linux["rootfsPropagation"] = kind
    pid = runtime.started(made)
    harness.mount("late", str(volume / "late"), "tmpfs")
    harness.mount("rootfs", str(made.rootfs / "late"), "tmpfs")
    mount_inside(pid, "/volume/inside")
    mount_inside(pid, "/tmp")
    report = runtime.probe(made)
    tags = harness.propagation(report)
    root, proc, bound, down, up = KINDS[kind]
    if is_private(made.path.parent):
        root = root - {"master"}  # there is nobody whose slave it could be
    assert (tags["/"], tags["/proc"], tags["/volume"], tags["/volume/sub"]) == (root, proc, bound, bound)
    seen = sources(report["mountinfo"])
    assert ("late" in seen) == down
    assert ("rootfs" in seen) == ("master" in root), "what the host mounts in the rootfs directory"
    of_host = sources(Path("/proc/self/mountinfo").read_text())
    assert of_host.count("inside") == int(up), "on the volume, and never what is mounted elsewhere in the container"
    runtime.end(made, pid)


OPTIONS = {
    "rshared": ({"shared", "master"}, True, False),
    "rslave": ({"master"}, True, False),
    "rprivate": (set(), False, False),
}


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("option", OPTIONS)
def test_of_one_mount(runtime: Runtime, bundle: Workshop, volume: Path, option: str, user_namespace: bool) -> None:
    """Within a container that shares nothing, "rshared" shares with other mounts of the container."""
    made = bundle("pause")
    made.mount("/volume", "bind", str(volume), "rbind", option)
    if user_namespace:
        made.user_namespace()
    pid = runtime.started(made)
    harness.mount("late", str(volume / "late"), "tmpfs")
    report = runtime.probe(made)
    tags, down, up = OPTIONS[option]
    found = harness.propagation(report)
    assert found["/volume"] == found["/volume/sub"] == tags
    assert ("late" in sources(report["mountinfo"])) == down
    if not user_namespace:
        mount_inside(pid, "/volume/inside")
        assert ("inside" in sources(Path("/proc/self/mountinfo").read_text())) == up
    runtime.end(made, pid)


def test_shared_with_the_host(runtime: Runtime, bundle: Workshop, volume: Path) -> None:
    """As storage drivers have it, which mount for their host: rootfsPropagation shared and the option rshared."""
    made = bundle("pause")
    made.linux["rootfsPropagation"] = "rshared"
    made.mount("/volume", "bind", str(volume), "rbind", "rshared")
    pid = runtime.started(made)
    mount_inside(pid, "/volume/inside")
    assert (volume / "inside").stat().st_dev != volume.stat().st_dev
    runtime.end(made, pid)
    assert (volume / "inside").stat().st_dev != volume.stat().st_dev, "it outlives the container"


@pytest.mark.parametrize("kind", ["private", "rprivate"])
def test_private_without_pivot_root(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    """The host's mounts below the container's root would stay there, busy, whatever the host unmounts."""
    made = bundle("true")
    made.linux["rootfsPropagation"] = kind
    result = runtime.run(made, "--no-pivot")
    result.failed("rootfsPropagation of [r]private is not safe without pivot_root")
    if runtime.name == "ocirun":
        result.failed("/linux/rootfsPropagation")


SHARED = pytest.mark.differs("makes the root private before it is bound", before="1.4")


@pytest.mark.parametrize("kind", ["slave", "rslave", pytest.param("rshared", marks=SHARED)])
def test_others_without_pivot_root(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    made = bundle()
    made.linux["rootfsPropagation"] = kind
    before = Path("/proc/self/mountinfo").read_text()
    report = runtime.report(made, flags=["--no-pivot"])
    assert harness.propagation(report)["/"] == ({"shared"} if kind == "rshared" else set())
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize("where", ["mount", "root"])
def test_nothing_comes_out_while_it_is_created(runtime: Runtime, bundle: Workshop, scratch: Path, where: str) -> None:
    """A hook that looks at the host while everything is mounted and the root is not entered yet: mounts of a container
    do not show on the host, not even for a moment."""
    place = scratch / "place"
    place.mkdir()
    harness.mount("place", str(place), "tmpfs")
    try:
        harness.mount("", str(place), None, MS_SHARED)
        made = Workshop(bundle.prefix, place, bundle.probe)("true")
        seen = scratch / "seen"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat /proc/self/mountinfo > {seen}"]}
        made.config["hooks"] = {"createRuntime": [hook]}
        if where == "root":
            made.linux["rootfsPropagation"] = "rslave"
        made.mount("/volume", "tmpfs", "of-the-container")
        runtime.run(made).ok()
        assert "of-the-container" not in sources(seen.read_text())
    finally:
        harness.unmount(str(place))
