"""A thousand mounts: in time, and with few descriptors."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest
from harness import Bundle, Runtime, Workshop, mounts

MANY = 1000


def with_mounts(bundle: Workshop, scratch: Path, count: int, *options: str) -> Bundle:
    """A bundle with that many bind mounts, each of a source of its own whose targets exist."""
    made = bundle("true")
    for number in range(count):
        source = scratch / "sources" / str(number)
        source.mkdir(exist_ok=True, parents=True)
        (made.rootfs / "many" / str(number)).mkdir(parents=True)
        made.mount(f"/many/{number}", "bind", str(source), "rbind", *options)
    return made


def seconds(runtime: Runtime, made: Bundle) -> float:
    """How long `run` takes."""
    argv = runtime.argv("run", "--bundle", str(made.path), made.id)
    started = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    return time.monotonic() - started


def test_time_of_a_thousand(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """At most three times as much for each mount as ten cost; in pairs, since other programs run meanwhile."""
    few, many = with_mounts(bundle, scratch, 10), with_mounts(bundle, scratch, MANY)
    for made in (few, many):
        made.write()
    found = []
    for _ in range(4):
        pairs = [(seconds(runtime, few) / 10, seconds(runtime, many) / MANY) for _ in range(3)]
        found.append(statistics.median(large / small for small, large in pairs))
        if found[-1] <= 3:
            return
    pytest.fail(f"a mount of a thousand takes {found} times as long as one of ten")


def test_time_grows_with_the_number(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """The second thousand costs what the first one did, not more and more."""
    bundles = [with_mounts(bundle, scratch, count, "ro") for count in (0, MANY, 2 * MANY)]
    for made in bundles:
        made.write()
    found = []
    for _ in range(4):
        none, one, two = (statistics.median(seconds(runtime, made) for _ in range(3)) for made in bundles)
        found.append((two - one) / max(one - none, 0.001))
        if found[-1] <= 3:
            return
    pytest.fail(f"the second thousand mounts take {found} times as long as the first")


OPENED = pytest.mark.differs("opens them all", before="1.4")


@pytest.mark.parametrize("files", [64, 256])
@pytest.mark.parametrize("user_namespace", [False, pytest.param(True, marks=OPENED)])
def test_with_few_descriptors(
    runtime: Runtime, bundle: Workshop, scratch: Path, files: int, user_namespace: bool
) -> None:
    """Sources are opened before the user namespace is entered, all of them: still a limit of open files that is far
    below their number is enough, and it is the container's limit too."""
    made = with_mounts(bundle, scratch, MANY, "ro")
    sources = scratch / "sources"
    (sources / "7" / "file").write_text("seventh\n")
    (sources / "999" / "file").write_text("last\n")
    if user_namespace:
        made.user_namespace()
        sources.chmod(0o700)  # nothing that the container's root could open by itself
    paths = [f"path=/many/{number}/file" for number in (7, 999)]
    prefix = ["prlimit", f"--nofile={files}:{files}"]
    report = runtime.report(made, *paths, prefix=prefix)
    got = mounts(report)
    assert all("ro" in got[f"/many/{number}"].options for number in range(MANY))
    assert [report["paths"][path.removeprefix("path=")]["content"] for path in paths] == ["seventh\n", "last\n"]
    assert set(report["fds"]) == {"0", "1", "2"}
    assert report["rlimits"]["RLIMIT_NOFILE"] == [files, files] or runtime.name == "runc"


@pytest.mark.ocirun  # runc asks its parent for one after the other
def test_for_the_root_of_a_user_namespace(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """What is under way counts for it (unix(7)): as many as RLIMIT_NOFILE are still possible, and the rest is clear."""
    made = with_mounts(bundle, scratch, 250, "ro")
    made.namespace("user")
    one = [{"containerID": 0, "hostID": 0, "size": 1}]
    made.linux.update(uidMappings=one, gidMappings=one)
    del made.linux["cgroupsPath"], made.linux["resources"]
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
    runtime.run(made, prefix=[*prefix, "prlimit", "--nofile=256:256"]).ok()
    result = runtime.run(made, prefix=[*prefix, "prlimit", "--nofile=64:64"])
    result.failed("/mounts/", "too many references", "more sources of bind mounts than RLIMIT_NOFILE allows")


@pytest.mark.differs("has them in a message of netlink, where they do not fit", before="1.4")
def test_more_than_a_plan_usually_has(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Long lists of everything: mounts, masked and read-only paths."""
    made = with_mounts(bundle, scratch, 10)
    made.user_namespace()
    source = scratch / "sources" / "0"
    for number in range(6000):
        made.mount(f"/many/{number % 10}", "bind", str(source), "bind")
        made.linux["maskedPaths"].append(f"/missing/{number}")
        made.linux["readonlyPaths"].append(f"/many/{number % 10}")
    result = runtime.run(made.args("cat", "/proc/self/mountinfo")).ok()
    assert len(result.out.splitlines()) > 6000
