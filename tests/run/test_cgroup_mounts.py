"""Mounts of the type cgroup: the container's own part of each hierarchy, wherever it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Mount, Runtime, Workshop, mounts

RESTRICTED = {"nosuid", "nodev", "noexec"}


def unified() -> bool:
    return set(harness.cgroup_roots()) == {""}


def own(report: Any, target: str) -> list[tuple[str, Mount]]:
    """The mounts of the hierarchies below (or, v2, at) a target, with their paths."""
    if unified():
        return [(target, mounts(report)[target])]
    return [(path, mount) for path, mount in mounts(report).items() if path.startswith(f"{target}/")]


def listed(hierarchy: str) -> str:
    """The file with the processes of a cgroup."""
    return f"{hierarchy}/cgroup.procs"


@pytest.fixture
def made(bundle: Workshop) -> Bundle:
    return bundle()


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("namespace", [True, False])
@pytest.mark.parametrize("option", ["ro", "rw"])
def test_own_part_alone(
    runtime: Runtime, made: Bundle, option: str, namespace: bool, user_namespace: bool
) -> None:  # fmt: skip
    """With a cgroup namespace its root, without one the container's directory: never what is above or beside."""
    if not namespace:
        made.without_namespace("cgroup")
    if user_namespace:
        made.user_namespace()
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", *sorted(RESTRICTED), "relatime", option)
    roots = sorted({path.name for controller, path in harness.cgroup_roots().items() if controller})
    paths = [f"/sys/fs/cgroup/{name}" for name in roots] if not unified() else ["/sys/fs/cgroup"]
    report = runtime.report(made, *(f"path={listed(path)}" for path in paths), *(f"path={path}" for path in paths))
    hierarchies = own(report, "/sys/fs/cgroup")
    assert sorted(path for path, _ in hierarchies) == paths
    for path, mount in hierarchies:
        assert mount.fstype == ("cgroup2" if unified() else "cgroup")
        assert mount.root == ("/" if namespace else f"/{made.id}")
        assert mount.options >= {option, *RESTRICTED}
        assert report["paths"][listed(path)]["content"].split() == ["1"], "its own process alone"
        assert made.id not in report["paths"][path]["list"]


@pytest.mark.parametrize("namespace", [True, False])
def test_written_to(runtime: Runtime, made: Bundle, namespace: bool) -> None:
    if not namespace:
        made.without_namespace("cgroup")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    made.mount("/other", "cgroup", "cgroup", "ro")
    name = "" if unified() else "/pids"
    report = runtime.report(made, f"write=/sys/fs/cgroup{name}", f"write=/other{name}")
    assert report["writes"] == {f"/sys/fs/cgroup{name}": "", f"/other{name}": "EROFS"}


@pytest.mark.differs("leaves the directory above the hierarchies writable")
def test_read_only(runtime: Runtime, made: Bundle) -> None:
    """All of it; by "rro" too."""
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    made.mount("/one", "cgroup", "cgroup", "rro")
    name = "" if unified() else "/pids"
    places = ["/sys/fs/cgroup", "/one", f"/sys/fs/cgroup{name}", f"/one{name}"]
    report = runtime.report(made, *(f"write={place}" for place in places))
    assert set(report["writes"].values()) == {"EROFS"}


def test_without_sys(runtime: Runtime, made: Bundle) -> None:
    """At a place that is in no sysfs, and that is missing."""
    made.without_mount("/sys")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    made.mount("/elsewhere/cg", "cgroup", "cgroup", "ro")
    report = runtime.report(made)
    for target in ("/sys/fs/cgroup", "/elsewhere/cg"):
        assert own(report, target)
    assert (made.rootfs / "elsewhere" / "cg").is_dir()


def test_options_of_the_mount(runtime: Runtime, made: Bundle) -> None:
    """Propagation reaches all of it; what no option is about is restricted anyway on v1, whose hierarchies are ours."""
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rshared", "ro")
    report = runtime.report(made)
    tags = harness.propagation(report)
    assert tags["/sys/fs/cgroup"] == {"shared"}
    for path, mount in own(report, "/sys/fs/cgroup"):
        assert tags[path] == {"shared"}
        assert unified() or mount.options >= RESTRICTED


def test_names_as_on_the_host(runtime: Runtime, made: Bundle) -> None:
    """v1: a directory for each hierarchy, and symlinks for controllers that share one."""
    if unified():
        made.mount("/cg", "cgroup", "cgroup", "ro")
        assert "cgroup.controllers" in runtime.report(made, "path=/cg")["paths"]["/cg"]["list"]
        return
    made.mount("/cg", "cgroup", "cgroup", "ro")
    tree = runtime.report(made, "tree=/cg")["trees"]["/cg"]
    host = {controller: path.name for controller, path in harness.cgroup_roots().items() if controller}
    links = {part: name for name in host.values() if "," in name for part in name.split(",")}
    assert set(tree) == {*host.values(), *links}
    assert {name: tree[name].get("link") for name in links} == links


@pytest.mark.differs("looks for it twice", before="1.4")
def test_as_a_link_of_the_image(runtime: Runtime, made: Bundle, scratch: Path) -> None:
    """The target is looked up inside, as any other."""
    (scratch / "victim").mkdir()
    (made.rootfs / "cg").symlink_to(scratch / "victim")
    made.mount("/cg", "cgroup", "cgroup", "ro")
    report = runtime.report(made)
    assert own(report, str(scratch / "victim"))
    assert not list((scratch / "victim").iterdir())


@pytest.mark.parametrize("namespace", [True, False])
def test_in_a_joined_cgroup(runtime: Runtime, bundle: Workshop, namespace: bool) -> None:
    """Two containers in one cgroup, each with its mount."""
    first, second = bundle("pause"), bundle()
    pid = runtime.started(first)
    second.linux["cgroupsPath"] = f"/{first.id}/below"
    if not namespace:
        second.without_namespace("cgroup")
    second.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    report = runtime.report(second)
    for _, mount in own(report, "/sys/fs/cgroup"):
        assert mount.root == ("/" if namespace else f"/{first.id}/below")
    runtime.end(first, pid)


def test_several(runtime: Runtime, made: Bundle) -> None:
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    for number in range(5):
        made.mount(f"/cg/{number}", "cgroup", "cgroup", "ro")
    report = runtime.report(made)
    counts = {target: len(own(report, target)) for target in ("/sys/fs/cgroup", *(f"/cg/{n}" for n in range(5)))}
    assert len(set(counts.values())) == 1
