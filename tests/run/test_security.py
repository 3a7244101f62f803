"""What went wrong in this field before, tried on us: the rootfs and what runs in it are hostile, config.json is not.

Each test names the advisories that it repeats.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import harness
import pytest
from harness import CAPABILITIES, NAMESPACES, REPOSITORY, Bundle, Runtime, Workshop, eventually, mounts, reap


@pytest.fixture
def victim(scratch: Path) -> Path:
    """A directory of the host that must stay as it is."""
    path = scratch / "victim"
    path.mkdir()
    (path / "file").write_text("untouched")
    return path


def untouched(victim: Path) -> bool:
    file = victim / "file"
    status = file.stat()
    return (
        [path.name for path in victim.iterdir()] == ["file"]
        and file.read_text() == "untouched"
        and (status.st_uid, status.st_mode & 0o7777) == (0, 0o644)
        and not (victim / "file").is_symlink()
    )


def replace(path: Path, target: Path | str) -> None:
    """Put a symlink in the place of a directory of the rootfs."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("where", ["proc", "sys"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_symlink_in_the_place_of_proc(
    runtime: Runtime, bundle: Workshop, victim: Path, where: str, relative: bool
) -> None:
    """CVE-2019-18837, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642."""
    targets: list[Path | str] = ["../" * 20 + str(victim).lstrip("/")] if relative else [victim, "/tmp", "/"]
    for target in targets:
        made = bundle("true")
        replace(made.rootfs / where, target)
        for run in (runtime.run, runtime.create):
            result = run(made)
            result.failed(where)
            if runtime.name == "ocirun":
                result.failed("must be mounted on ordinary directory")
        assert untouched(victim)


BEFORE_THE_FIX = pytest.mark.differs("is from before the fix", before="1.4")


@BEFORE_THE_FIX
@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_a_symlink_in_the_place_of_dev(
    runtime: Runtime, bundle: Workshop, victim: Path, mounted: bool, relative: bool
) -> None:
    """CVE-2026-41579, CVE-2026-47766: the default devices and symlinks, with and without a mount on /dev."""
    made = bundle("pause")
    if not mounted:
        made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    replace(made.rootfs / "dev", "../" * 20 + str(victim).lstrip("/") if relative else victim)
    result = runtime.create(made)
    assert untouched(victim)
    if result.code == 0:
        pid = runtime.state(made)["pid"]
        runtime("start", made.id).ok()
        runtime.end(made, pid)
    result = runtime.run(made.args("true"))
    assert result.code in (0, 1)
    assert untouched(victim)


@pytest.mark.parametrize("name", ["null", "ptmx", "fd", "stdin", "console", "tty", "pts", "shm"])
def test_symlinks_in_dev(runtime: Runtime, bundle: Workshop, victim: Path, name: str) -> None:
    """CVE-2026-88264, CVE-2026-88265: no mount on /dev, and what the runtime makes there exists as a symlink."""
    made = bundle("true")
    made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    # Existing host files, by a path that means something on both sides of the root.
    inside = made.rootfs / str(victim).lstrip("/")
    inside.mkdir(parents=True)
    (inside / "file").write_text("inside")
    (made.rootfs / "dev" / name).symlink_to(victim / "file")
    result = runtime.run(made)
    assert result.code in (0, 1)
    assert untouched(victim)


@pytest.mark.ocirun  # runc 1.1.5 makes /dev/console through the symlink: fixed later
def test_a_console_that_is_a_symlink(runtime: Runtime, bundle: Workshop, victim: Path, scratch: Path) -> None:
    """CVE-2026-88264, with a terminal."""
    import socket

    made = bundle("true")
    made.process["terminal"] = True
    made.without_mount("/dev", "/dev/shm", "/dev/mqueue")
    (made.rootfs / "dev" / "console").symlink_to(victim / "new")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scratch / "console.sock"))
        listener.listen()
        result = runtime.create(made, "--console-socket", str(scratch / "console.sock"))
    assert result.code in (0, 1)
    runtime.delete(made, "--force").ok()
    assert untouched(victim)


def test_stdio_of_dev_null(runtime: Runtime, bundle: Workshop, victim: Path) -> None:
    """CVE-2026-88265: /dev/null of the image is a symlink or a file, and stdio is the host's /dev/null."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        for kind in ("symlink", "file", "wrong device"):
            made = bundle("report", "to=/tmp/report")
            made.process["user"] = {"uid": 1000, "gid": 1000}
            made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
            path = made.rootfs / "dev" / "null"
            if kind == "symlink":
                path.symlink_to(victim / "file")
            elif kind == "file":
                path.write_text("image")
            else:
                os.mknod(path, 0o20666, os.makedev(1, 5))
            result = runtime.run(made, stdin=null, stdout=null, stderr=null)
            if result.code == 0:
                report = json.loads((made.rootfs / "tmp" / "report").read_text())
                for fd in ("0", "1", "2") if runtime.name == "ocirun" else ():  # runc copies through pipes
                    stat = report["fds"][fd]["stat"]
                    assert stat["type"] == "c" and (stat["major"], stat["minor"]) == (1, 3), kind
            assert untouched(victim)
        assert os.fstat(null).st_uid == 0
    finally:
        os.close(null)


def test_working_directory_by_descriptor(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2024-21626: a descriptor of the host's, left open in the runtime or its init."""
    for number in range(3, 21):
        made = bundle("report", "path=.")
        made.process["cwd"] = f"/proc/self/fd/{number}"
        runtime.run(made).failed()
    made = bundle("pause")
    pid = runtime.started(made)
    for number in range(3, 21):
        result = runtime("exec", "--cwd", f"/proc/self/fd/{number}", made.id, "/probe", "getcwd")
        assert result.code == 255, result.out
    assert runtime.end(made, pid) == 137


def test_working_directory_through_links_of_the_image(runtime: Runtime, bundle: Workshop, victim: Path) -> None:
    """The same by a symlink, and by ways out that are not there."""
    for target in ("/proc/self/fd/7", "/proc/1/root/..", "../" * 20 + str(victim).lstrip("/"), "/proc/self/cwd/../.."):
        made = bundle("report")
        (made.rootfs / "cwd").symlink_to(target)
        made.process["cwd"] = "/cwd"
        result = runtime.run(made)
        if result.code == 0:
            report = json.loads(result.out)
            assert report["cwd"].startswith("/"), "inside the root (getcwd(2) says `(unreachable)` otherwise)"
            assert (made.rootfs / report["cwd"].lstrip("/")).exists() or report["cwd"].startswith("/proc")
        assert untouched(victim)


# What runs on the host for a container, by digest: a container must never get at it for writing.


def host_programs(runtime: Runtime) -> dict[str, str]:
    paths = {Path(runtime.program), Path("/usr/sbin/runc"), Path(sys.executable).resolve()}
    paths |= set((REPOSITORY / "ocirun").glob("*.so")) | {REPOSITORY / "ocirun" / "ocirun-init"}
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.exists()}


@contextmanager
def chasing(runtime: Runtime, made: Bundle) -> Iterator[Path]:
    """A process in the container that looks at every new one; the file that it writes."""
    made.write()
    running = runtime.spawn("exec", made.id, "/probe", "chase", "/tmp/chase")
    log = made.rootfs / "tmp" / "chase"
    eventually(lambda: log.exists() and "ready" in log.read_text(), "the chaser is ready")
    yield log
    assert running.popen.poll() is None, running.result().err
    pids = [pid for pid in runtime("ps", "--format", "json", made.id).json]
    for pid in pids:
        if b"chase" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, 9)
    running.result()


@dataclass(frozen=True)
class Had:
    """What the chaser had of a process."""

    process: str  # its name
    what: str  # "looked", "mem", "exe", "fd/7" (opened), "fd-seen/7" (only its link), "ptrace" ...
    target: str
    foreign: bool = False  # not the file of that name in the container


def chased(log: Path) -> list[Had]:
    lines = [line.split("\t") for line in log.read_text().splitlines() if line != "ready"]
    return [Had(line[0], line[1], line[2], line[3:] == ["foreign"]) for line in lines if len(line) >= 3]


def privileged(made: Bundle) -> None:
    made.process["noNewPrivileges"] = False
    made.capabilities(*(name for bit, name in enumerate(CAPABILITIES) if own_bounding() >> bit & 1))


def own_bounding() -> int:
    return next(
        int(line.split()[1], 16) for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line
    )


def test_a_chaser_during_exec(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2016-9962: root of a container with a user namespace, with every capability there, CAP_SYS_PTRACE among
    them, looks at each process that enters, and gets nothing of it."""
    made = bundle("pause")
    made.user_namespace()
    privileged(made)
    pid = runtime.started(made)
    with chasing(runtime, made) as log:
        for _ in range(50):
            runtime("exec", made.id, "/probe", "true").ok()
    had = chased(log)
    assert runtime.end(made, pid) == 137
    assert any(one.what == "looked" for one in had), "it saw the processes"
    assert [one for one in had if one.what != "looked"] == []


@pytest.mark.differs("has descriptors of the host's /proc open", since="1.4")
def test_a_privileged_chaser_during_exec(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2016-9962, CVE-2019-5736, CVE-2024-21626: without a user namespace nothing can keep CAP_SYS_PTRACE from
    looking. So there is nothing to find: no file or directory of the host that is not the container's own already."""
    before = host_programs(runtime)
    made = bundle("pause")
    privileged(made)
    pid = runtime.started(made)
    with chasing(runtime, made) as log:
        for _ in range(50):
            runtime("exec", made.id, "/probe", "true").ok()
        for _ in range(5):
            assert runtime("exec", made.id, "/proc/self/exe", "--help").code
    had = chased(log)
    assert runtime.end(made, pid) == 137
    assert host_programs(runtime) == before
    assert [one for one in had if one.what == "exe-overwritten"] == []
    stdio = ("fd/0", "fd/1", "fd/2")
    found = {
        (one.process, one.what, one.target)
        for one in had
        if (one.foreign or one.what in ("root", "cwd")) and not one.what.startswith("fd-seen") and one.what not in stdio
    }
    # By the name that it has in the container, root and cwd are the container's; what is foreign is a memfd.
    # (And the files through which the container's own cgroup is joined; a directory of the host would lead out.)
    own = {f"{path}/{made.id}/{name}" for path in harness.cgroup_roots().values() for name in ("tasks", "cgroup.procs")}
    left = [one for one in found if not one[2].startswith("/memfd:") and one[2] != "/" and one[2] not in own]
    assert left == []
    roots = [one for one in had if one.what in ("root", "cwd") and one.foreign]
    assert roots == [], "the host's root, by a process that is already in the container's pid namespace"


def test_a_chaser_during_create(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """The same while containers are made in its own pid and user namespaces: a pod. Some of them hold mounts and device
    nodes of the host until they are attached."""
    (scratch / "source").mkdir()
    first = bundle("pause")
    first.user_namespace()
    privileged(first)
    pid = runtime.started(first)
    with chasing(runtime, first) as log:
        for number in range(40):
            second = bundle("true")
            second.user_namespace()
            privileged(second)
            for type in ("user", "pid"):
                second.namespace(type, f"/proc/{pid}/ns/{NAMESPACES[type]}")
            if runtime.name != "runc" and number % 2:
                second.mount("/data", "bind", str(scratch / "source"), "bind", "idmap")
                second.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 5}]
            elif runtime.name != "runc":
                del second.linux["uidMappings"], second.linux["gidMappings"]
            runtime.run(second).ok()
    had = chased(log)
    assert runtime.end(first, pid) == 137
    assert any(one.what == "looked" for one in had), "it saw the processes"
    assert [one for one in had if one.what != "looked"] == []


def test_the_init_as_an_interpreter(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2019-5736: the entrypoint is a script whose interpreter is /proc/self/exe."""
    before = host_programs(runtime)
    for word in ("/script", "/proc/self/exe"):
        made = bundle()
        privileged(made)
        (made.rootfs / "script").write_text("#!/proc/self/exe\n")
        (made.rootfs / "script").chmod(0o755)
        made.process["args"] = [word]
        result = runtime.run(made, timeout=20)
        assert result.code != 0
    assert host_programs(runtime) == before


@contextmanager
def swapping(probe: Path, one: Path, other: Path) -> Iterator[None]:
    """Something that exchanges two names as fast as it can."""
    popen = subprocess.Popen([str(probe), "swap", str(one), str(other)])
    try:
        yield
    finally:
        popen.kill()
        popen.wait()


@pytest.mark.ocirun  # runc 1.1.5 is from before the fix of CVE-2024-45310: it sometimes fails here
def test_symlink_exchange_race_of_mount_targets(
    runtime: Runtime, bundle: Workshop, probe: Path, victim: Path, scratch: Path
) -> None:
    """CVE-2021-30465, CVE-2024-45310: in a shared volume, a directory on the way to a mount target becomes a symlink
    to the host and back. The mount is inside the root or not at all, and nothing is made outside."""
    volume = scratch / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 20 + str(victim).lstrip("/"))
    inside = 0
    with swapping(probe, volume / "dir", volume / "link"):
        for _ in range(40):
            made = bundle("report")
            made.mount("/volume", "bind", str(volume), "bind")
            made.mount("/volume/dir/deep/target", "tmpfs", "the-race")
            result = runtime.run(made)
            if result.code == 0:
                inside += 1
                found = [path for path, mount in mounts(json.loads(result.out)).items() if mount.source == "the-race"]
                assert len(found) == 1
            assert untouched(victim)
            shutil.rmtree(made.path)
    assert inside


@pytest.mark.ocirun  # runc 1.1.5 sometimes runs with a mask that hides another file
def test_symlink_exchange_race_of_proc(
    runtime: Runtime, bundle: Workshop, probe: Path, victim: Path, scratch: Path
) -> None:
    """CVE-2019-19921: /proc of a shared rootfs is exchanged meanwhile. A container that runs has its masks in place."""
    made = bundle()
    (made.rootfs / "other").symlink_to("tmp")
    made.linux["maskedPaths"] = ["/proc/keys"]
    with swapping(probe, made.rootfs / "proc", made.rootfs / "other"):
        for _ in range(60):
            result = runtime.run(made.args("report", "path=/proc/keys"))
            if result.code == 0:
                report = json.loads(result.out)
                if report["mountinfo"] is not None:  # which may still be exchanged while the probe looks
                    assert not report["paths"]["/proc/keys"].get("content")
            else:
                assert "proc" in result.error
    assert untouched(victim)


def test_masks_when_dev_null_is_a_symlink(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2025-31133: what is bound over a masked file must be the null device, or the mask opens what it hides."""
    made = bundle("report", "path=/proc/keys", "write=/proc/keys")
    made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    (made.rootfs / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern")
    made.linux["maskedPaths"] = ["/proc/keys"]
    result = runtime.run(made)
    if result.code == 0:
        if runtime.name == "runc":  # 1.1.5 is from before the fix
            return
        path = json.loads(result.out)["paths"]["/proc/keys"]
        assert path["content"] == "" and path["stat"]["type"] == "c"


def test_mounts_inside_proc(runtime: Runtime, bundle: Workshop, victim: Path) -> None:
    """CVE-2019-16884: no volume where the runtime writes to /proc; what lxcfs needs is allowed."""
    for target in ("/proc/self/attr", "/proc/sys", "/proc/1", "/proc/../proc/sys/kernel", "/proc/sysrq-trigger"):
        made = bundle("true")
        made.mount(target, "bind", str(victim), "bind")
        runtime.run(made).failed("proc")
    made = bundle("true")
    made.mount("/proc/uptime", "bind", str(victim / "file"), "bind", "ro")
    runtime.run(made).ok()
    made = bundle("true")
    made.without_mount("/proc")
    made.mount("/proc", "bind", str(victim), "bind")
    runtime.run(made).failed("proc")
    assert untouched(victim)


def test_long_data_is_not_cut(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2021-43784: more than fits into 16 bits, everywhere; done or refused, never shortened."""
    made = bundle()
    env = [f"VARIABLE_{number}={'x' * 1000}" for number in range(300)]
    made.process["env"] = [*env, "PATH=/", "HOME=/"]
    made.linux["maskedPaths"] = [f"/missing/{number}/{'y' * 200}" for number in range(1000)]
    report = runtime.report(made)
    assert report["env"] == made.process["env"]

    made = bundle()
    made.process["args"] = ["/probe", "echo", "x" * (200 << 10)]
    if runtime.name == "runc":  # it says so on the container's stderr
        assert "argument list too long" in runtime.run(made).err
    else:
        runtime.run(made).failed("argument list too long")

    made = bundle()
    made.user_namespace()
    lines = [{"containerID": number, "hostID": 100000 + number, "size": 1} for number in range(300)]
    made.linux["uidMappings"] = made.linux["gidMappings"] = lines
    assert len(runtime.report(made)["uid_map"].splitlines()) == 300
    made.linux["uidMappings"] = made.linux["gidMappings"] = [
        {"containerID": number, "hostID": 100000 + number, "size": 1} for number in range(5000)
    ]
    assert len(runtime.run(made.args("true")).failed().error) < 1000, "told without all of them"

    made = bundle("true")
    made.namespace("network", "/proc/" + "a/" * 40_000)
    runtime.run(made).failed()


def test_nothing_of_the_host_in_the_environment_or_memory_of_the_waiting_process(
    runtime: Runtime, bundle: Workshop
) -> None:
    """The environment of the caller may hold secrets: not even the process that waits for `start` has it."""
    made = bundle("pause")
    pid = runtime.created(made, env={**os.environ, "SECRET": "do-not-leak"})
    assert b"do-not-leak" not in Path(f"/proc/{pid}/environ").read_bytes()
    if runtime.name == "ocirun":
        names = {os.readlink(f"/proc/{pid}/exe")}
        assert all(re.match(r"/memfd:", name) for name in names)
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "python" not in maps and ".so" not in maps
        assert os.readlink(f"/proc/{pid}/root") == "/" or os.readlink(f"/proc/{pid}/root") == str(made.rootfs)
    runtime.delete(made, "--force").ok()
    reap(pid)


@pytest.mark.ocirun
def test_the_waiting_process_is_small(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.created(made)
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    assert private <= 768
    runtime.delete(made, "--force").ok()
    reap(pid)
