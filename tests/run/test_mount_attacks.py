"""A hostile image, or another container that shares a volume with it, against every kind of mount and restriction:
nothing is made, mounted, shown or hidden outside of the root (CVE-2021-30465, CVE-2024-45310, CVE-2019-19921)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts


@pytest.fixture
def victim(scratch: Path) -> Path:
    """A directory of the host that must stay as it is, and be nowhere in a container."""
    path = scratch / "victim"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("secret of the host")
    (path / "sub" / "file").write_text("secret of the host")
    return path


def untouched(victim: Path) -> bool:
    files = sorted(str(path.relative_to(victim)) for path in victim.rglob("*"))
    return files == ["file", "sub", "sub/file"] and (victim / "file").read_text() == "secret of the host"


# What is done at a target.


def bind(made: Bundle, target: str) -> None:
    (made.path / "source").mkdir(exist_ok=True)
    made.mount(target, "bind", "source", "rbind", "ro")


def bind_file(made: Bundle, target: str) -> None:
    (made.path / "source-file").touch()
    made.mount(target, "bind", "source-file", "bind")


def tmpfs(made: Bundle, target: str) -> None:
    made.mount(target, "tmpfs", "of-ours", "mode=755")


def copy_up(made: Bundle, target: str) -> None:
    made.mount(target, "tmpfs", "of-ours", "tmpcopyup")


def others(made: Bundle, target: str) -> None:
    for type in ("mqueue", "ramfs", "devpts"):
        made.mount(target, type, "of-ours")


def cgroup(made: Bundle, target: str) -> None:
    made.mount(target, "cgroup", "cgroup", "ro")


def overlay(made: Bundle, target: str) -> None:
    for name in ("lower", "upper", "work"):
        (made.path / name).mkdir(exist_ok=True)
    layers = [f"{name}dir={made.path / name}" for name in ("lower", "upper", "work")]
    made.mount(target, "overlay", "of-ours", *layers)


def remount(made: Bundle, target: str) -> None:
    made.mount(target, "none", "", "remount", "bind", "ro")


def mask(made: Bundle, target: str) -> None:
    made.linux["maskedPaths"] = [target]


def read_only(made: Bundle, target: str) -> None:
    made.linux["readonlyPaths"] = [target]


def device(made: Bundle, target: str) -> None:
    made.linux["devices"] = [{"path": f"{target}/device", "type": "p", "fileMode": 0o600}]


def working_directory(made: Bundle, target: str) -> None:
    made.process["cwd"] = f"{target}/below"


KINDS = (
    bind, bind_file, tmpfs, copy_up, others, cgroup, overlay, remount, mask, read_only, device, working_directory,
)  # fmt: skip
Kind = Callable[[Bundle, str], None]


def links(made: Bundle, victim: Path) -> dict[str, str]:
    """Targets that lead to the victim by a symlink of the image: absolute or climbing, at the end or on the way, by
    several, and by what only the kernel's magic links would be."""
    climbing = "../" * 25 + str(victim).lstrip("/")
    (made.rootfs / "absolute").symlink_to(victim)
    (made.rootfs / "climbing").symlink_to(climbing)
    (made.rootfs / "two").symlink_to("one-more")
    (made.rootfs / "one-more").symlink_to(climbing)
    (made.rootfs / "magic").symlink_to(f"/proc/self/root{victim}")
    (made.rootfs / "cwd").symlink_to("/proc/self/cwd/../..")
    return {
        "absolute": "/absolute",
        "climbing": "/climbing",
        "several": "/two",
        "on the way": "/climbing/sub",
        "beside it": "/absolute/new",
        "magic": "/magic",
        "working directory": f"/cwd{victim}",
    }


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=kind.__name__, marks=[pytest.mark.ocirun] if kind is cgroup else []) for kind in KINDS],
)
def test_links_that_lead_out(
    runtime: Runtime, bundle: Workshop, victim: Path, kind: Kind, user_namespace: bool
) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    ran = 0
    for name in links(bundle("true"), victim):
        made = bundle("report", f"path={victim}/file", f"path={victim}/sub/file", f"path={victim}")
        kind(made, links(made, victim)[name])
        if user_namespace:
            made.user_namespace()
        result = runtime.run(made)
        assert untouched(victim), name
        assert Path("/proc/self/mountinfo").read_text() == before
        if result.code == 0:
            ran += 1
            assert "secret of the host" not in result.out
        shutil.rmtree(made.path)
    assert ran or kind in (remount, others) or runtime.name == "runc", "some of them are completed inside of the root"


@contextmanager
def swapping(probe: Path, one: Path, other: Path) -> Iterator[None]:
    """Something that exchanges two names as fast as it can."""
    popen = subprocess.Popen([str(probe), "swap", str(one), str(other)])
    try:
        yield
    finally:
        popen.kill()
        popen.wait()


@pytest.mark.ocirun  # runc 1.1.5 is from before some of the fixes
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exchanged_meanwhile(
    runtime: Runtime, bundle: Workshop, victim: Path, probe: Path, scratch: Path, kind: Kind
) -> None:
    """A directory of a shared volume is a symlink to the host's every other moment."""
    volume = scratch / "volume"
    (volume / "dir" / "sub").mkdir(parents=True)
    (volume / "dir" / "file").write_text("of the volume")
    (volume / "link").symlink_to("../" * 25 + str(victim).lstrip("/"))
    with swapping(probe, volume / "dir", volume / "link"):
        for _ in range(4):
            made = bundle("report", "path=/volume/dir/file", "path=/volume/link/file", "path=/volume/dir/sub/file")
            made.mount("/volume", "bind", str(volume), "bind")
            kind(made, "/volume/dir/sub")
            if kind is remount:
                made.mount("/volume/dir/sub", "tmpfs", "tmpfs")
            result = runtime.run(made)
            assert untouched(victim)
            if result.code == 0:
                assert "secret of the host" not in result.out
            shutil.rmtree(made.path)


def test_masks_hold_in_a_volume_that_is_exchanged(
    runtime: Runtime, bundle: Workshop, probe: Path, scratch: Path
) -> None:
    """What is hidden is what the path led to, and it is the container's own tree that changes: nothing of the host."""
    volume = scratch / "volume"
    for name in ("one", "two"):
        (volume / name).mkdir(parents=True)
        (volume / name / "file").write_text(name)
    with swapping(probe, volume / "one", volume / "two"):
        for _ in range(8):
            made = bundle("report")
            made.mount("/volume", "bind", str(volume), "bind")
            made.linux["maskedPaths"] = ["/volume/one/file", "/volume/two/file"]
            result = runtime.run(made)
            if result.code == 0:
                hidden = [path for path in mounts(json.loads(result.out)) if path.endswith("/file")]
                assert len(hidden) <= 2 and all(path.startswith("/volume/") for path in hidden)
    assert {(volume / name / "file").read_text() for name in ("one", "two")} == {"one", "two"}


def test_a_source_inside_of_the_rootfs_that_is_a_link(runtime: Runtime, bundle: Workshop, victim: Path) -> None:
    """config.json is trusted, and so are the host's paths in it, even where the image has made them symlinks: that is
    what the engine wants, or it would not name a source there. What counts is that no more than that is bound."""
    made = bundle()
    (made.rootfs / "volume").symlink_to(victim)
    made.mount("/data", "bind", str(made.rootfs / "volume"), "bind", "ro")
    report = runtime.report(made, "path=/data")
    assert sorted(report["paths"]["/data"]["list"]) == ["file", "sub"]
    assert untouched(victim)


@pytest.mark.differs("takes it for its standard output", before="1.4")
def test_the_null_device_of_a_mask_is_nobodys_else(runtime: Runtime, bundle: Workshop, victim: Path) -> None:
    """CVE-2025-31133 with a mount instead of a symlink: a file bound over /dev/null by the configuration itself."""
    made = bundle("report", "path=/etc/passwd")
    made.linux["maskedPaths"] = ["/etc/passwd"]
    made.mount("/dev/null", "bind", str(victim / "file"), "bind")
    result = runtime.run(made)
    assert result.code != 0 or "secret" not in result.out
    assert untouched(victim)


def test_what_the_first_mount_brings_is_not_followed_by_the_second(
    runtime: Runtime, bundle: Workshop, victim: Path, scratch: Path
) -> None:
    """A volume that brings symlinks with it, below which the next mounts have their targets."""
    volume = scratch / "volume"
    volume.mkdir()
    (volume / "out").symlink_to(victim)
    (volume / "up").symlink_to("../" * 25 + str(victim).lstrip("/"))
    made = bundle("report", f"path={victim}/new/file")
    made.mount("/volume", "bind", str(volume), "bind")
    for target in ("/volume/out/new", "/volume/up/new"):
        bind(made, target)
        tmpfs(made, target)
    report = runtime.run(made).json
    assert [path for path in mounts(report) if path.startswith(str(victim))]
    assert untouched(victim)
    assert harness.propagation(report)["/volume"] == set()
