"""Hosts in bad condition: a working container, or an error that names the cause and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, mounts, reap
from ordinary import AS_USER, USER, as_user, check_report, give, own, rootless

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096


def within(script: str) -> list[str]:
    """A prefix: in a mount namespace of its own, after a script."""
    script = f'{script} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def without_root(runtime: Runtime, *words: str, prefix: list[str], **options: object) -> harness.Result:
    """A command without --root."""
    result = subprocess.run(
        [*prefix, runtime.program, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        **options,  # type: ignore[call-overload]
    )  # fmt: skip
    return harness.Result([], result.returncode, result.stdout, result.stderr, result.stderr)


@pytest.fixture
def filled(scratch: Path) -> Iterator[Path]:
    """A directory that is a file system of 256 KiB."""
    path = scratch / "small"
    path.mkdir(mode=0o700)
    harness.mount("tmpfs", str(path), "tmpfs", 0, "size=256k,mode=700")
    yield path
    harness.unmount(str(path))


def fill(path: Path) -> Path:
    """Not a byte is left."""
    with (path / "filler").open("wb", 0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path / "filler"


# /run


def test_a_readonly_run(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.write()
    prefix = within("mount -t tmpfs -o ro none /run")
    result = without_root(runtime, "run", "-b", str(made.path), made.id, prefix=prefix)
    result.failed("read-only file system", f"/run/{runtime.name}", *([] if runtime.name == "runc" else ["--root"]))
    runtime.run(made, prefix=prefix).ok()


@pytest.mark.ocirun  # runc makes the directory for every command
def test_no_containers_on_a_readonly_run(runtime: Runtime) -> None:
    prefix = within("mount -t tmpfs -o ro none /run")
    assert without_root(runtime, "list", "-q", prefix=prefix).ok().out == ""
    without_root(runtime, "state", "nobody", prefix=prefix).failed("container does not exist")


@pytest.mark.ocirun  # 1.1.5's delete succeeds and leaves the directory
def test_a_readonly_root_directory(runtime: Runtime, bundle: Workshop) -> None:
    """What is there can be looked at, and ends; what would have to be written is refused."""
    made, other = bundle("pause"), bundle("true")
    pid = runtime.started(made)
    prefix = within(f"mount --bind {runtime.root} {runtime.root} && mount -o remount,bind,ro {runtime.root}")
    assert runtime("state", made.id, prefix=prefix).json["status"] == "running"
    assert runtime("exec", made.id, "/probe", "exit", "3", prefix=prefix).code == 3
    runtime.run(other, prefix=prefix).failed("read-only file system")
    runtime("delete", "--force", made.id, prefix=prefix).failed("remove", "read-only file system")
    assert reap(pid) == 137
    runtime.delete(made).ok()


@pytest.mark.ocirun
def test_a_root_directory_of_somebody_else(runtime: Runtime, bundle: Workshop) -> None:
    """What may not be read, entered or removed is told as that."""
    made = bundle("pause")
    pid = runtime.started(made)
    for mode, texts in ((0o700, ["permission denied", str(runtime.root)]), (0o755, [])):
        runtime.root.chmod(mode)
        for words in (["list"], ["state", made.id], ["kill", made.id], ["delete", "--force", made.id]):
            result = runtime(*words, prefix=AS_USER)
            assert (result.code, result.out) != (0, "") or mode == 0o755, words
            assert "internal error" not in result.err
            if mode == 0o700:
                result.failed(*texts)
    runtime("delete", "--force", made.id, prefix=AS_USER).failed("permission denied")
    assert runtime.end(made, pid) == 137


@pytest.mark.ocirun
def test_a_file_as_root_directory(runtime: Runtime, bundle: Workshop) -> None:
    runtime.root.write_text("")
    runtime("list").failed("not a directory", str(runtime.root))
    runtime.run(bundle("true")).failed("not a directory")
    runtime("state", "nobody").failed("container does not exist")
    runtime.root.unlink()


@pytest.mark.ocirun
@pytest.mark.parametrize("text", ["", "x\0", "ocirun=2\0id=x\0", "ocirun=1\0", "ocirun=1\0late=x\0", "\xff\0" * 9])
def test_a_damaged_state_file(runtime: Runtime, bundle: Workshop, text: str) -> None:
    """Others are listed, and nobody is taken for its processes."""
    made, other = bundle("pause"), bundle("pause")
    pids = [runtime.started(made), runtime.started(other)]
    state = runtime.root / made.id / "state"
    whole = state.read_bytes()
    state.write_bytes(text.encode("latin-1"))
    assert runtime("list", "-q").ok().out == f"{other.id}\n"
    for words in (["state"], ["kill"], ["start"], ["delete"]):
        runtime(*words, made.id).failed(str(state))
    state.write_bytes(whole)
    for one, pid in zip((made, other), pids, strict=True):
        assert runtime.end(one, pid) == 137


# A full disk


@pytest.mark.ocirun  # 1.1.5 leaves processes and cgroups behind
def test_a_full_disk(runtime: Runtime, bundle: Workshop, filled: Path) -> None:
    runtime.root = filled / "root"
    waiting, running, other = bundle("pause"), bundle("pause"), bundle("true")
    pids = [runtime.created(waiting), runtime.started(running)]
    filler = fill(filled)
    runtime.run(other).failed("no space left on device")
    runtime.create(other).failed("no space left on device")
    assert sorted(os.listdir(runtime.root)) == sorted([waiting.id, running.id])
    assert runtime.status(waiting) == "created"
    assert runtime.status(running) == "running"
    assert runtime.exec(running, running.id, "/probe", "exit", "3").code == 3
    runtime("start", waiting.id).ok()
    assert runtime.status(waiting) == "running"
    for made, pid in zip((waiting, running), pids, strict=True):
        assert runtime.end(made, pid) == 137
    assert os.listdir(runtime.root) == []
    filler.unlink()
    runtime.run(other).ok()


@pytest.mark.ocirun
@pytest.mark.parametrize("room", [0, 1000])
def test_a_full_disk_for_spec(runtime: Runtime, filled: Path, room: int) -> None:
    filler = fill(filled)
    os.truncate(filler, filler.stat().st_size - room)
    if room:  # tmpfs gives whole pages: have all but one
        os.truncate(filler, filler.stat().st_size - 4096 + 1)
    result = runtime("spec", "--bundle", str(filled))
    if result.code:
        result.failed("no space left on device", "config.json")
        assert os.listdir(filled) == ["filler"], "nothing, rather than a half"


@pytest.mark.ocirun
@pytest.mark.parametrize("words", [["list"], ["features"], ["--version"], ["--help"], ["state"]], ids=" ".join)
def test_a_full_disk_for_the_output(runtime: Runtime, bundle: Workshop, words: list[str]) -> None:
    made = bundle("pause")
    pid = runtime.created(made)
    with open("/dev/full", "wb") as full:
        running = runtime.spawn(*words, *([made.id] if words == ["state"] else []), stdout=full)
        running.result().failed("write /dev/stdout: no space left on device")
    runtime("delete", "--force", made.id).ok()
    assert reap(pid) == 137


def test_no_inodes_left(runtime: Runtime, bundle: Workshop, filled: Path) -> None:
    harness.mount("tmpfs", str(filled), "tmpfs", MS_REMOUNT, "nr_inodes=3")
    runtime.root = filled / "root"
    runtime.root.mkdir(mode=0o700)
    runtime.run(bundle("true")).failed("no space left on device")
    assert os.listdir(runtime.root) == []


@pytest.mark.ocirun  # runc leaves the temporary file
def test_a_full_disk_for_the_pid_file(runtime: Runtime, bundle: Workshop, filled: Path) -> None:
    fill(filled)
    runtime.run(bundle("true"), "--pid-file", str(filled / "pid")).failed("no space left on device")
    assert os.listdir(filled) == ["filler"]


def test_a_full_disk_for_the_log(runtime: Runtime, bundle: Workshop, filled: Path) -> None:
    """The log is not what matters."""
    fill(filled)
    (filled / "filler").rename(filled / "log")
    made = bundle("exit", "3")
    made.write()
    assert runtime("run", "-b", str(made.path), made.id, flags=["--log", str(filled / "log")]).code == 3


FILTER = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}


@pytest.mark.ocirun
def test_a_full_disk_for_the_cache_of_filters(runtime: Runtime, bundle: Workshop) -> None:
    cache = Path("/run/ocirun/@seccomp")
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    harness.mount("tmpfs", str(cache), "tmpfs", 0, "size=4096,mode=700")
    try:
        fill(cache)
        made = bundle("true")
        made.linux["seccomp"] = FILTER
        runtime.run(made).ok()
        assert [path.name for path in cache.iterdir()] == ["filler"]
    finally:
        harness.unmount(str(cache))


@pytest.mark.ocirun
def test_the_cache_of_filters_is_in_no_root_directory(runtime: Runtime, bundle: Workshop) -> None:
    """Which is an engine's, and whose other users take all that is in it for containers."""
    made = bundle("pause")
    made.linux["seccomp"] = FILTER
    pid = runtime.created(made)
    runtime("exec", made.id, "/probe", "true").ok()
    assert [path.name for path in runtime.root.iterdir()] == [made.id]
    runtime.delete(made).ok()
    assert harness.reap(pid) == 137


# Where --root, the bundle and the root file system are


def assert_it_serves_as_root(runtime: Runtime, bundle: Workshop, place: Path) -> None:
    """A whole life with that --root."""
    runtime.root = place
    made = bundle("pause")
    pid = runtime.started(made)
    assert runtime.exec(made, made.id, "/probe", "exit", "3").code == 3
    assert runtime.end(made, pid) == 137


@pytest.mark.parametrize("options", ["noexec", "nosuid,nodev,noexec,size=1m"])
def test_the_root_directory_on_a_tmpfs(runtime: Runtime, bundle: Workshop, scratch: Path, options: str) -> None:
    place = scratch / "place"
    place.mkdir()
    flags = {"noexec": MS_NOEXEC, "nosuid": MS_NOSUID, "nodev": MS_NODEV}
    words = options.split(",")
    data = ",".join(word for word in words if word not in flags)
    harness.mount("none", str(place), "tmpfs", sum(flags.get(word, 0) for word in words), data)
    try:
        assert_it_serves_as_root(runtime, bundle, place / "root")
    finally:
        harness.unmount(str(place))


def overlay(scratch: Path, lower: Path) -> Path:
    """A writable overlay over that directory."""
    place = scratch / "overlay"
    for name in ("upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    data = f"lowerdir={lower},upperdir={place / 'upper'},workdir={place / 'work'}"
    harness.mount("overlay", str(place / "merged"), "overlay", 0, data)
    return place / "merged"


def test_the_root_directory_on_an_overlay(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    (scratch / "lower").mkdir()
    place = overlay(scratch, scratch / "lower")
    try:
        assert_it_serves_as_root(runtime, bundle, place / "root")
    finally:
        harness.unmount(str(place))


def test_a_bundle_on_a_readonly_file_system(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("report", "write=/etc")
    made.process["cwd"] = "/tmp"
    made.write()
    prefix = within(f"mount --bind {made.path} {made.path} && mount -o remount,bind,ro {made.path}")
    report = runtime("run", "-b", str(made.path), made.id, prefix=prefix).json
    assert report["writes"]["/etc"] != ""
    assert "ro" in mounts(report)["/"].options


def test_a_mount_point_that_cannot_be_made_on_a_readonly_file_system(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.mount("/not/there", "tmpfs", "tmpfs")
    made.write()
    prefix = within(f"mount --bind {made.path} {made.path} && mount -o remount,bind,ro {made.path}")
    result = runtime("run", "-b", str(made.path), made.id, prefix=prefix).failed("read-only file system")
    if runtime.name != "runc":
        assert "/mounts/6" in result.error and "/not/there" in result.error


@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "nosuid"])
def test_the_root_file_system(runtime: Runtime, bundle: Workshop, scratch: Path, kind: str) -> None:
    made = bundle("report", "write=/etc", "tree=/dev")
    made.linux["maskedPaths"] = ["/proc/keys"]
    made.config["root"]["readonly"] = True
    made.mount("/etc/new", "tmpfs", "tmpfs")
    if kind == "overlay":
        place = overlay(scratch, made.rootfs)
    else:
        place = scratch / "place"
        place.mkdir()
        harness.mount("none", str(place), "tmpfs", MS_NOSUID | MS_NODEV if kind == "nosuid" else 0, "mode=755")
        shutil.copytree(made.rootfs, place, dirs_exist_ok=True)
    made.config["root"]["path"] = str(place)
    try:
        report = runtime.run(made).json
    finally:
        harness.unmount(str(place))
    assert {"/", "/etc/new", "/proc"} <= mounts(report).keys()
    assert report["writes"]["/etc"] != ""
    # runc's remount for readonly brings set-user-ID programs back.
    assert "nosuid" in mounts(report)["/"].options or kind != "nosuid" or runtime.name == "runc"
    assert report["trees"]["/dev"]["null"]["stat"]["type"] == "c"


# /proc


@pytest.mark.parametrize("hide", ["hidepid=1", "hidepid=2", "hidepid=2,gid=7777"])
def test_hidden_processes(runtime: Runtime, bundle: Workshop, hide: str) -> None:
    """Root sees them all the same; an ordinary user sees what is its own, and so must the runtime."""
    prefix = within(f"mount -t proc -o {hide} proc /proc")
    runtime.run(bundle("true"), prefix=prefix).ok()
    own(runtime)
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    check_report(as_user(runtime, "run", made, prefix=[*prefix, *AS_USER]).json)
    made = bundle("trap", "/seen")
    rootless(made)
    prefix += AS_USER
    as_user(runtime, "create", made, prefix=prefix).ok()
    state = runtime("state", made.id, prefix=prefix).json
    assert state["status"] == "created"
    assert runtime("exec", made.id, "/probe", "exit", "3", prefix=prefix).code == 3
    runtime("start", made.id, prefix=prefix).ok()
    assert runtime("state", made.id, prefix=prefix).json["status"] == "running"
    assert runtime("exec", made.id, "/probe", "exit", "3", prefix=prefix).code == 3
    runtime("kill", made.id, "KILL", prefix=prefix).ok()
    assert reap(state["pid"]) == 137
    assert runtime("state", made.id, prefix=prefix).json["status"] == "stopped"
    runtime("delete", made.id, prefix=prefix).ok()


def test_a_created_container_is_deleted_where_processes_are_hidden(runtime: Runtime, bundle: Workshop) -> None:
    prefix = [*within("mount -t proc -o hidepid=2 proc /proc"), *AS_USER]
    own(runtime)
    made = bundle("true")
    rootless(made)
    as_user(runtime, "create", made, prefix=prefix).ok()
    pid = runtime("state", made.id, prefix=prefix).json["pid"]
    runtime("delete", made.id, prefix=prefix).ok()
    assert reap(pid) == 137


@pytest.mark.ocirun
def test_no_proc(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.write()
    result = without_root(
        runtime, "--root", str(runtime.root), "run", "-b", str(made.path), made.id, prefix=within("umount -l -R /proc")
    )
    result.failed("/proc/self", "no such file")
    assert "is /proc mounted?" in result.err


# Cgroups

NO_CGROUPS = within("umount -l -R /sys/fs/cgroup")
READ_ONLY = within('grep " /sys/fs/cgroup" /proc/self/mounts | while read _ d _; do mount -o remount,bind,ro $d; done')


def test_no_cgroups(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    runtime.run(made, prefix=NO_CGROUPS).failed("no cgroup")
    if runtime.name == "runc":
        return
    del made.linux["cgroupsPath"], made.linux["resources"]
    runtime.run(made, prefix=NO_CGROUPS).failed("no cgroup", "/sys/fs/cgroup", "--rootless=true")
    runtime.run(made, prefix=NO_CGROUPS, flags=["--rootless=true"]).ok()


@pytest.mark.ocirun
def test_an_ordinary_user_without_cgroups(runtime: Runtime, bundle: Workshop) -> None:
    own(runtime)
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    check_report(as_user(runtime, "run", made, prefix=[*NO_CGROUPS, *AS_USER]).json)
    made.linux["resources"] = {"pids": {"limit": 10}}
    as_user(runtime, "run", made, prefix=[*NO_CGROUPS, *AS_USER]).failed("/linux/resources/pids", "cgroup")


def test_readonly_cgroups(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("report")
    del made.linux["cgroupsPath"]
    runtime.run(made, prefix=READ_ONLY).failed("cgroup", "read-only file system")
    del made.linux["resources"]
    runtime.run(made, prefix=READ_ONLY, flags=["--rootless=true"]).ok()
    made.linux["resources"] = {"pids": {"limit": 10}}
    runtime.run(made, prefix=READ_ONLY, flags=["--rootless=true"]).failed("cgroup")


def test_limits_for_an_ordinary_user_without_a_cgroup(runtime: Runtime, bundle: Workshop) -> None:
    """Nothing has been delegated here: without limits that is no failure, and limits are never forgotten."""
    own(runtime)
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    check_report(as_user(runtime, "run", made).json)
    for name, value in (("pids", {"limit": 10}), ("memory", {"limit": 1 << 26}), ("cpu", {"shares": 100})):
        made.linux["resources"] = {name: value}
        result = as_user(runtime, "run", made).failed("cgroup")
        assert f"/linux/resources/{name}" in result.error or runtime.name == "runc"


@pytest.mark.ocirun  # runc moves its init there, whose threads then die of it
@pytest.mark.controllers
def test_no_room_for_a_process(runtime: Runtime, bundle: Workshop, leftovers: harness.Leftovers) -> None:
    """pids.max of a cgroup above is reached. It limits forks and not moves: the first process may be moved there.

    On v2 it is born there, and where that fails in a new pid namespace the kernel gives the namespace up.
    """
    v2 = set(harness.cgroup_roots()) == {""}
    above = harness.cgroup_directory("pids", f"{leftovers.prefix}-full")
    above.mkdir()
    try:
        (above / "pids.max").write_text("0")
        for pids in ("new", "own"):
            made = bundle("true")
            made.linux["cgroupsPath"] = f"/{above.name}/{made.id}"
            if pids == "own":
                made.without_namespace("pid")
                made.without_mount("/proc")
            result = runtime.run(made)
            if v2 and pids == "new":
                result.failed("resource temporarily unavailable", "pids.max")
            else:
                result.ok()
            assert not (above / made.id).exists()
    finally:
        for root in set(harness.cgroup_roots().values()):
            if (root / above.name).exists():
                (root / above.name).rmdir()


# The user's place for containers


def test_where_an_ordinary_user_keeps_containers(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("report", "tree=/dev", "write=/dev/null")
    rootless(made)
    give(made)
    place = scratch / "runtime-dir"
    place.mkdir(mode=0o700)
    os.chown(place, USER, USER)
    words = ["run", "-b", str(made.path), made.id]
    environment = {"PATH": "/usr/bin:/bin"}  # without HOME and all the rest

    def run(directory: Path | None) -> harness.Result:
        more = {"XDG_RUNTIME_DIR": str(directory)} if directory else {}
        return without_root(runtime, *words, prefix=AS_USER, env=environment | more)

    assert run(place).json["uid"] == [0, 0, 0]
    assert list((place / runtime.name).iterdir()) == []
    assert (place / runtime.name).stat().st_mode & 0o7777 == 0o1700
    hint = [] if runtime.name == "runc" else ["XDG_RUNTIME_DIR"]
    run(None).failed("permission denied", f"/run/{runtime.name}", *hint)
    foreign = scratch / "foreign"
    foreign.mkdir(mode=0o700)
    run(foreign).failed("permission denied", str(foreign), *hint)
    (foreign / runtime.name).mkdir()
    foreign.chmod(0o755)
    run(foreign).failed(str(foreign))
    place.chmod(0o500)
    shutil.rmtree(place / runtime.name)
    run(place).failed("permission denied", *hint)
    if runtime.name != "runc":  # which makes its parents, too, where it may
        run(scratch / "nowhere").failed("no such file or directory", str(scratch / "nowhere"), "XDG_RUNTIME_DIR")
