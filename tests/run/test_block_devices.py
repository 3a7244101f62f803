"""File systems on block devices: what a tmpfs does not know, or does not show."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, mounts


@pytest.fixture
def device(scratch: Path, leftovers: harness.Leftovers) -> Iterator[str]:
    """A block device with an empty ext4."""
    image = scratch / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"no loop device: {found.stderr.strip()}")
    path = found.stdout.strip()
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


# Options -> words of mountinfo that they are seen by, and those that may not be there.
OPTIONS: dict[tuple[str, ...], tuple[set[str], set[str]]] = {
    (): (set(), {"sync", "dirsync", "lazytime", "mand"}),
    ("sync",): ({"sync"}, {"dirsync"}),
    ("sync", "async"): (set(), {"sync"}),
    ("dirsync",): ({"dirsync"}, {"sync"}),
    ("lazytime",): ({"lazytime"}, set()),
    ("lazytime", "nolazytime"): (set(), {"lazytime"}),
    ("iversion",): (set(), {"noiversion"}),
    ("iversion", "noiversion"): (set(), set()),
    ("mand",): (set(), set()),  # since Linux 5.15 nothing but a warning of the kernel
    ("mand", "nomand"): (set(), {"mand"}),
    ("silent",): (set(), set()),
    ("loud", "silent", "loud"): (set(), set()),
    ("noatime", "nodiratime", "nosuid"): ({"noatime", "nodiratime", "nosuid"}, {"relatime"}),
    ("strictatime",): (set(), {"relatime", "noatime"}),
    ("ro",): ({"ro"}, {"rw"}),
    ("errors=remount-ro", "data=journal"): ({"errors=remount-ro", "data=journal"}, set()),
    ("nobarrier,commit=30", "stripe=4"): ({"nobarrier", "commit=30", "stripe=4"}, set()),
}


def test_options(runtime: Runtime, bundle: Workshop, device: str) -> None:
    for options, (wanted, unwanted) in OPTIONS.items():
        made = bundle()
        made.mount("/disk", "ext4", device, *options)
        got = mounts(runtime.report(made, "write=/disk"))["/disk"]
        assert (got.fstype, got.source) == ("ext4", device)
        words = got.options | got.super_options
        assert words >= wanted and not words & unwanted, options


@pytest.mark.differs("mounts it in the user namespace, where nobody may")
def test_in_a_user_namespace(runtime: Runtime, bundle: Workshop, device: str) -> None:
    made = bundle()
    made.user_namespace()
    made.mount("/disk", "ext4", device, "noexec", "rprivate", "ro")
    got = mounts(runtime.report(made))["/disk"]
    assert got.options >= {"ro", "noexec"} and got.fstype == "ext4"


def test_remount(runtime: Runtime, bundle: Workshop, device: str) -> None:
    made = bundle()
    made.mount("/disk", "ext4", device, "ro", "noexec")
    made.mount("/disk", "ext4", device, "remount", "rw", "sync", "lazytime", "commit=60", "noexec")
    report = runtime.report(made, "write=/disk")
    got = mounts(report)["/disk"]
    assert report["writes"]["/disk"] == ""
    assert got.options >= {"rw", "noexec"} and got.super_options >= {"rw", "sync", "lazytime", "commit=60"}


@pytest.mark.ocirun  # runc has no words but the errno's
def test_what_the_kernel_has_against_it(runtime: Runtime, bundle: Workshop, device: str, scratch: Path) -> None:
    def refused(type: str, source: str, *options: str) -> harness.Result:
        made = bundle("true")
        made.mount("/disk", type, source, *options)
        return runtime.run(made)

    refused("ext4", device, "colour=red").failed(f"/mounts/6: mount ext4 from {device} (colour=red)", "colour")
    refused("ext4", device, "data=none").failed("invalid argument")
    refused("ext4", "/dev/nonesuch").failed("/dev/nonesuch", "no such file or directory")
    refused("ext4", str(scratch / "image")).failed("block device required")
    refused("xfs", device).failed(f"mount xfs from {device}")
    refused("nonesuch", device).failed(f"mount nonesuch from {device}: no such device")
    refused("nonesuch", "none").failed("mount nonesuch on /disk: no such device")
    assert not list(runtime.root.iterdir())


def test_bound_and_shared_with_the_host(runtime: Runtime, bundle: Workshop, device: str, scratch: Path) -> None:
    """Options of the file system are the host's; those of the mount are the container's own."""
    place = scratch / "place"
    place.mkdir()
    harness.mount(device, str(place), "ext4", 1 << 25)  # MS_LAZYTIME
    try:
        made = bundle()
        made.mount("/disk", "none", str(place), "bind", "ro", "sync", "nolazytime", "noatime")
        report = runtime.report(made, "write=/disk")
        got = mounts(report)["/disk"]
        assert got.options >= {"ro", "noatime"} and "sync" not in got.super_options
        assert "lazytime" in got.super_options and "rw" in got.super_options
        assert report["writes"]["/disk"] == "EROFS"
        (place / "file").touch()
    finally:
        harness.unmount(str(place))
