"""Where the newer calls are missing (an old kernel), or a seccomp filter around us forbids what it does not know:
mount(2) has to do the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop, mounts

from ocirun.plan.tables import FLAGS

WITHHOLD = [sys.executable, str(Path(harness.__file__).with_name("withhold.py"))]
CALLS = ("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "openat2", "mount_setattr")
pytestmark = pytest.mark.ocirun  # runc needs some of them


def without(answer: str, *calls: str) -> list[str]:
    """Words before a command, to which these calls answer that errno."""
    return [*WITHHOLD, answer, ",".join(calls)]


@pytest.fixture
def source(scratch: Path, leftovers: harness.Leftovers) -> Iterator[Path]:
    """A mount with another one below it."""
    path = scratch / "source"
    path.mkdir()
    harness.mount("source", str(path), "tmpfs", 2)  # MS_NOSUID
    (path / "file").write_text("of the host\n")
    (path / "sub").mkdir()
    harness.mount("below", str(path / "sub"), "tmpfs")
    yield path
    harness.unmount(str(path))


# What a user namespace may not change of a mount of its parent's (mount_namespaces(7)): open_tree(2) takes the source
# before that, mount(2) cannot.
LOCKED = {"noatime", "strictatime", "nodiratime", "suid"}


def everything(made: Bundle, source: Path, scratch: Path) -> None:
    """A mount of every kind with every option, masks and all."""
    locked = LOCKED if any(space["type"] == "user" for space in made.linux["namespaces"]) else set()
    for option in sorted({*FLAGS} - {"bind", "rbind", "remount"}):
        if option not in locked:
            made.mount(f"/bind/{option}", "bind", str(source), "rbind", option)
        made.mount(f"/tmpfs/{option}", "tmpfs", "tmpfs", option)
    for option in ("rprivate", "rslave", "rshared", "unbindable"):
        made.mount(f"/propagation/{option}", "bind", str(source), "rbind", option)
    made.mount("/file", "bind", str(source / "file"), "bind", "ro", "noexec")
    made.mount("/data", "tmpfs", "tmpfs", "size=1m,nr_inodes=40", "mode=711", "sync", "lazytime", "nosuid")
    made.mount("/data", "tmpfs", "tmpfs", "remount", "size=2m", "noexec")
    (made.rootfs / "copied" / "deep").mkdir(parents=True)
    (made.rootfs / "copied" / "deep" / "file").write_text("copied\n")
    made.mount("/copied", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    made.mount("/link/below", "bind", str(source), "rbind")  # "bind" would uncover what is below: locked
    (made.rootfs / "link").symlink_to("../../../real")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    made.mount("/another/proc", "proc", "proc", "ro")
    made.linux["maskedPaths"] = ["/proc/keys", "/proc/acpi", "/etc", "/copied/deep/file", "/bind/ro/file"]
    made.linux["readonlyPaths"] = ["/proc/sys", "/data", "/bind/rw", "/"]
    made.process["cwd"] = "/made/on/the/way"
    if not locked:
        for name in ("lower", "upper", "work"):
            (scratch / name).mkdir(exist_ok=True)
        (scratch / "lower" / "file").write_text("lower\n")
        layers = (f"{name}dir={scratch / name}" for name in ("lower", "upper", "work"))
        made.mount("/overlay", "overlay", "overlay", *layers)


WORDS = [
    *(f"path={path}" for path in ("/file", "/copied/deep/file", "/link/below/file", "/etc", "/bind/ro/file", "/data")),
    *(f"write={path}" for path in ("/", "/data", "/bind/rw", "/bind/ro", "/copied", "/proc/sys/kernel/domainname")),
]


def seen(runtime: Runtime, made: Bundle, prefix: list[str]) -> Any:
    """What a container has of all this."""
    report = runtime.report(made, *WORDS, prefix=prefix)
    tags = harness.propagation(report)
    found = [
        (mount.path, sorted(mount.options), mount.fstype, mount.source, sorted(mount.super_options), tags[mount.path])
        for mount in mounts(report).values()
    ]
    contents = {path: (one.get("content"), one.get("list")) for path, one in report["paths"].items()}
    return sorted(found, key=str), contents, report["writes"], report["cwd"], sorted(report["fds"])


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("answer", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("calls", [CALLS, *((call,) for call in CALLS)], ids=lambda calls: "+".join(calls))
def test_everything_is_the_same(
    runtime: Runtime, bundle: Workshop, source: Path, scratch: Path, calls: tuple[str, ...], answer: str,
    user_namespace: bool,
) -> None:  # fmt: skip
    made = bundle()
    if user_namespace:
        made.user_namespace()
    everything(made, source, scratch)
    seen(runtime, made, [])  # makes what is missing in the root
    wanted, found = seen(runtime, made, []), seen(runtime, made, without(answer, *calls))
    for one, other in zip(wanted, found, strict=True):
        assert one == other


@pytest.mark.parametrize("flags", [1 << 10, 1 << 11, 1 << 10 | 1 << 11, 1 << 24])  # noatime, nodiratime, strictatime
def test_access_times_of_a_source(runtime: Runtime, bundle: Workshop, scratch: Path, flags: int) -> None:
    """To mount(2), no word on them means as they are."""
    path = scratch / "times"
    path.mkdir()
    harness.mount("times", str(path), "tmpfs", flags)
    made = bundle()
    for option in ("rw", "ro", *sorted(option for option in FLAGS if option.endswith("time") and "lazy" not in option)):
        made.mount(f"/{option}", "bind", str(path), "bind", option)
    try:
        wanted, found = (
            {path: mount.options for path, mount in mounts(runtime.report(made, prefix=prefix)).items()}
            for prefix in ([], without("ENOSYS", "mount_setattr"))
        )
    finally:
        harness.unmount(str(path))
    assert found == wanted


@pytest.mark.parametrize("answer", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("option", ["rro", "rnosuid", "ratime", "rnosymfollow"])
def test_what_only_the_newer_call_can_do(
    runtime: Runtime, bundle: Workshop, source: Path, option: str, answer: str
) -> None:
    """Attributes of all mounts of a tree at once: refused with what it needs."""
    made = bundle("true")
    made.mount("/data", "bind", str(source), "rbind", option)
    result = runtime.run(made, prefix=without(answer, "mount_setattr"))
    result.failed("/mounts/6: bind", "recursive mount attributes need mount_setattr(2) (Linux 5.12)")
    assert not list(runtime.root.iterdir())


def test_what_is_below_a_source(runtime: Runtime, bundle: Workshop, source: Path) -> None:
    """mount(2) may not uncover it in a user namespace, and says no more than EINVAL."""
    made = bundle("true")
    made.user_namespace()
    made.mount("/data", "bind", str(source), "bind")
    runtime.run(made).ok()
    result = runtime.run(made, prefix=without("ENOSYS", "open_tree"))
    result.failed("/mounts/6: bind", "invalid argument", f'{source}/sub is mounted below it, which "bind" may not')


@pytest.mark.parametrize("option", ["suid", "noatime"])
def test_what_is_locked(runtime: Runtime, bundle: Workshop, source: Path, option: str) -> None:
    made = bundle("true")
    made.user_namespace()
    made.mount("/data", "bind", str(source), "rbind", option)
    runtime.run(made).ok()
    result = runtime.run(made, prefix=without("ENOSYS", "open_tree"))
    result.failed("/mounts/6: bind", "operation not permitted", "a user namespace may not change access times, or take")
