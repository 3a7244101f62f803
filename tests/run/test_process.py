"""`process` of config.json: what the container's process really has."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import CAPABILITIES, Runtime, Workshop, capability_mask

MS_RDONLY, MS_REMOUNT = 1, 32

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def status_field(report: Any, name: str) -> str:
    line = next(line for line in report["status"].splitlines() if line.startswith(name + ":"))
    return str(line.split(":", 1)[1].strip())


def capabilities(report: Any) -> dict[str, int]:
    return {kind: int(report["capabilities"][kind], 16) for kind in SETS}


def test_a_plain_root_process(runtime: Runtime, bundle: Workshop) -> None:
    report = runtime.report(bundle())
    assert report["uid"] == [0, 0, 0]
    assert report["gid"] == [0, 0, 0]
    assert report["groups"] == []
    assert report["umask"] == 0o022
    assert report["cwd"] == "/"
    assert report["argv"] == ["/probe", "report"]
    assert report["env"] == ["PATH=/bin:/", "TERM=xterm", "HOME=/root"]
    assert report["comm"] == "probe"
    assert report["pid"] == report["sid"] == report["pgrp"] == 1
    assert report["ppid"] == 0
    assert sorted(report["fds"], key=int) == ["0", "1", "2"]
    assert report["signals"] == {"blocked": [], "pending": [], "ignored": []}
    assert report["securebits"] == 0
    assert report["no_new_privs"] == 1
    assert report["seccomp"] == 0
    assert report["dumpable"] == 1, "a process that has been executed afresh"
    assert report["pdeathsig"] == 0
    assert report["hostname"] == "probed"
    assert report["lo"] == "up"
    assert int(report["affinity"], 16) == sum(1 << cpu for cpu in range(os.cpu_count() or 1))
    assert report["scheduler"] == 0
    assert report["nice"] == 0
    assert report["personality"] == "00000000\n"
    assert report["oom_score_adj"].strip() == Path("/proc/self/oom_score_adj").read_text().strip()
    assert report["keyring"].startswith("keyring;0;0;")
    assert status_field(report, "TracerPid") == "0"
    wanted = capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])
    assert capabilities(report) == {
        "bounding": wanted,
        "effective": wanted,
        "permitted": wanted,
        "inheritable": 0,
        "ambient": 0,
    }


def test_user_with_groups_and_umask(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 2147483647, 20], "umask": 0o077}
    report = runtime.report(made)
    assert report["uid"] == [1000] * 3
    assert report["gid"] == [1001] * 3
    assert sorted(report["groups"]) == [5, 20, 2147483647]
    assert report["umask"] == 0o077
    assert "HOME=/home/user" in report["env"], "from the container's passwd"
    got = capabilities(report)
    assert got["effective"] == got["permitted"] == 0, "lost with execve(2), as nothing is ambient"
    assert got["bounding"] == capability_mask(["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"])


@pytest.mark.differs("refuses ids above 2^31 - 1, which the kernel takes", before="1.4")
def test_the_largest_ids(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    largest = 2**32 - 2
    made.process["user"] = {"uid": largest, "gid": largest, "additionalGids": [largest - 1]}
    report = runtime.report(made)
    assert report["uid"] == report["gid"] == [largest] * 3
    assert report["groups"] == [largest - 1]


def test_home(runtime: Runtime, bundle: Workshop) -> None:
    """HOME: kept when it is set, else from passwd, else /."""
    cases: list[tuple[int, list[str], str]] = [
        (0, ["HOME=/kept"], "HOME=/kept"),
        (1000, [], "HOME=/home/user"),
        (4242, [], "HOME=/"),
    ]
    for uid, env, wanted in cases:
        made = bundle()
        made.process["user"] = {"uid": uid, "gid": 0}
        made.process["env"] = ["PATH=/", *env]
        report = runtime.report(made)
        assert [one for one in report["env"] if one.startswith("HOME=")] == [wanted], uid
    # A passwd that is missing, a directory, or a symlink out of the container.
    for spoil in ("missing", "directory", "symlink"):
        made = bundle()
        passwd = made.rootfs / "etc" / "passwd"
        passwd.unlink()
        if spoil == "directory":
            passwd.mkdir()
        elif spoil == "symlink":
            secret = made.path / "passwd"
            secret.write_text("root:x:0:0::/leaked:/bin/sh\n")
            passwd.symlink_to(secret)
        result = runtime.run(made.args("report"))
        if spoil == "directory" and result.code:  # runc refuses, and so may others
            continue
        assert "HOME=/leaked" not in result.json["env"]
        assert "HOME=/" in result.json["env"], spoil


def test_environment_is_only_what_is_configured(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.process["env"] = ["PATH=/", "A=1", "EMPTY=", "HOME=/", "ünï=ço=dé", "LONG=" + "x" * 20000]
    report = runtime.report(made, env={**os.environ, "SECRET": "of the caller"})
    expected = [one.encode().decode("latin-1") for one in made.process["env"]]
    assert sorted(report["env"]) == sorted(expected)


@pytest.mark.parametrize("user", [0, 1000])
def test_all_five_capability_sets(runtime: Runtime, bundle: Workshop, user: int) -> None:
    made = bundle()
    made.process["noNewPrivileges"] = False
    made.process["user"] = {"uid": user, "gid": user}
    made.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    }
    got = capabilities(runtime.report(made))
    ambient = capability_mask(["NET_RAW"])
    assert got["bounding"] == capability_mask(["CHOWN", "KILL", "NET_RAW", "SETUID"])
    assert got["inheritable"] == capability_mask(["CHOWN", "NET_RAW"])
    assert got["ambient"] == ambient
    if user:
        assert got["permitted"] == got["effective"] == ambient
    else:  # capabilities(7): root gets inheritable and bounding
        assert got["permitted"] == got["effective"] == got["bounding"]
        made.process["noNewPrivileges"] = True  # and with it, no more than it had
        assert capabilities(runtime.report(made))["permitted"] == capability_mask(["CHOWN", "KILL", "NET_RAW"])


def test_effective_capabilities(runtime: Runtime, bundle: Workshop) -> None:
    """execve replaces them by what follows from the other sets; but the program is executed with them."""
    made = bundle("true")
    os.chmod(made.rootfs / "probe", 0o700)
    made.process["user"] = {"uid": 1000, "gid": 1000}
    sets = {kind: ["CAP_DAC_OVERRIDE"] for kind in ("bounding", "permitted")}
    made.process["capabilities"] = sets | {"effective": ["CAP_DAC_OVERRIDE"]}
    runtime.run(made).ok()
    made.process["capabilities"] = sets | {"effective": []}
    result = runtime.run(made)
    assert result.code and "permission denied" in (result.error or result.err).lower()


def test_no_capabilities_at_all(runtime: Runtime, bundle: Workshop) -> None:
    for sets in ({}, {kind: [] for kind in SETS}):
        made = bundle()
        made.process["capabilities"] = sets
        assert set(capabilities(runtime.report(made)).values()) == {0}
    made = bundle()
    del made.process["capabilities"]
    assert set(capabilities(runtime.report(made)).values()) <= {0, own_bounding()}


def own_bounding() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))


def test_every_capability_of_the_host(runtime: Runtime, bundle: Workshop) -> None:
    """All that the caller has, and names that the kernel does not know: a warning, no failure."""
    made = bundle()
    everything = [name for bit, name in enumerate(CAPABILITIES) if own_bounding() >> bit & 1]
    made.capabilities(*everything, "NO_SUCH_THING")
    assert capabilities(runtime.report(made))["effective"] == own_bounding()


def test_no_new_privileges(runtime: Runtime, bundle: Workshop) -> None:
    for value in (True, False):
        made = bundle()
        made.process["noNewPrivileges"] = value
        assert runtime.report(made)["no_new_privs"] == value
    made = bundle()
    del made.process["noNewPrivileges"]
    assert runtime.report(made)["no_new_privs"] == 0


def test_rlimits(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = {
        "RLIMIT_NOFILE": [min(512, hard), min(600, hard)],
        "RLIMIT_CORE": [0, 1 << 20],
        "RLIMIT_NPROC": [100, 200],
        "RLIMIT_AS": [1 << 32, 1 << 40],
        "RLIMIT_STACK": [1 << 20, 1 << 30],
        "RLIMIT_FSIZE": [1 << 33, 1 << 34],
        "RLIMIT_MEMLOCK": [4096, 4096],
        "RLIMIT_CPU": [3600, 7200],
    }
    made.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()]
    report = runtime.report(made)
    assert {name: report["rlimits"][name] for name in wanted} == wanted
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert report["rlimits"]["RLIMIT_DATA"] == list(before), "what is not configured is inherited"


@pytest.mark.differs("fails at the execve: it has more threads", since="1.4")
def test_a_low_nproc_limit_does_not_stop_the_start(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.process["rlimits"] = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}]
    made.process["user"] = {"uid": 12345, "gid": 12345}
    assert runtime.report(made)["rlimits"]["RLIMIT_NPROC"] == [1, 1]


def test_oom_score_adj(runtime: Runtime, bundle: Workshop) -> None:
    for value in (0, 500, 1000):
        made = bundle()
        made.process["oomScoreAdj"] = value
        assert runtime.report(made)["oom_score_adj"].strip() == str(value)


def test_cwd(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    (made.rootfs / "work").mkdir()
    made.process["cwd"] = "/work"
    assert runtime.report(made)["cwd"] == "/work"

    made = bundle()
    made.process["cwd"] = "/made/for/you"
    report = runtime.report(made, "path=/made/for/you", "path=/made")
    assert report["cwd"] == "/made/for/you"
    assert report["paths"]["/made"]["stat"]["mode"] == 0o755
    assert report["paths"]["/made/for/you"]["stat"]["uid"] == 0

    # Below a mount, and through a symlink of the container.
    made = bundle()
    made.process["cwd"] = "/dev/shm/deep"
    assert runtime.report(made)["cwd"] == "/dev/shm/deep"
    made = bundle()
    (made.rootfs / "real").mkdir()
    (made.rootfs / "link").symlink_to("/real")
    made.process["cwd"] = "/link"
    assert runtime.report(made)["cwd"] == "/real"


def test_cwd_that_only_the_user_may_enter(runtime: Runtime, bundle: Workshop) -> None:
    """Capabilities without CAP_DAC_OVERRIDE: the directory can be entered only after the user has been set."""
    made = bundle()
    home = made.rootfs / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1000, 1000)
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["cwd"] = "/home"
    assert runtime.report(made)["cwd"] == "/home"


def test_cwd_is_a_file(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.process["cwd"] = "/etc/passwd"
    runtime.run(made).failed("not a directory")


def test_args(runtime: Runtime, bundle: Workshop) -> None:
    words = ["report", "", "with space", "ünï", "--flag", "x" * 100_000]
    made = bundle().args(*words)
    report = runtime.run(made).json
    assert report["argv"] == ["/probe", *(word.encode().decode("latin-1") for word in words)]


def test_executable_from_path(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    (made.rootfs / "bin" / "found").symlink_to("/probe")
    (made.rootfs / "tmp" / "found").write_text("not executable")
    (made.rootfs / "etc" / "found").mkdir()
    made.process["env"] = ["PATH=/none:/tmp:/etc:/bin", "HOME=/"]
    made.process["args"] = ["found", "report"]
    report = runtime.run(made).json
    assert report["argv"][0] == "found", "argv[0] stays as it was given"
    assert report["comm"] == "found"

    made = bundle()  # relative, with a slash: from cwd
    (made.rootfs / "work").mkdir()
    (made.rootfs / "work" / "tool").symlink_to("/probe")
    made.process["cwd"] = "/work"
    made.process["args"] = ["./tool", "report"]
    assert runtime.run(made).json["argv"][0] == "./tool"


def test_exit_codes(runtime: Runtime, bundle: Workshop) -> None:
    for code in (0, 1, 42, 255):
        assert runtime.run(bundle("exit", str(code))).code == code
    for signal in (6, 15):
        made = bundle("raise", str(signal))
        made.without_namespace("pid")  # PID 1 of a pid namespace is deaf to its own default signals
        result = runtime.run(made)
        assert result.code == 128 + signal


def test_stdio_belongs_to_the_user(runtime: Runtime, bundle: Workshop) -> None:
    """An ordinary user can open /dev/stdout again; what he must not get is the host's /dev/null."""
    null = os.stat("/dev/null")
    made = bundle()
    made.process["user"] = {"uid": 1000, "gid": 1000}
    read, write = os.pipe()
    try:
        result = runtime.run(made.args("report", "write=/dev/stdout", "write=/dev/stderr"), stderr=write)
    finally:
        os.close(read)
        os.close(write)
    report = result.json
    assert report["writes"] == {"/dev/stdout": "", "/dev/stderr": ""}
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode) == (null.st_uid, null.st_mode)


@pytest.mark.ocirun  # runc 1.1.5 leaves them to the host's root
@pytest.mark.parametrize("kind", ["pipe", "file", "terminal"])
@pytest.mark.parametrize("uid", [0, 1000])
def test_stdio_belongs_to_the_user_of_a_user_namespace(
    runtime: Runtime, bundle: Workshop, scratch: Path, kind: str, uid: int
) -> None:
    """Whose owner has no id in there; for run and for exec."""
    made = bundle("report", "write=/dev/stdout", "write=/dev/stderr", "write=/proc/self/fd/2")
    made.user_namespace()
    made.process["user"] = {"uid": uid, "gid": uid}
    other = bundle("pause")
    other.user_namespace()
    other.process["user"] = {"uid": uid, "gid": uid}
    pid = runtime.started(other)
    made.write()
    for words in (["run", "--bundle", str(made.path), made.id], ["exec", other.id, *made.process["args"]]):
        read = -1
        if kind == "pipe":
            read, write = os.pipe()
        elif kind == "terminal":
            read, write = os.openpty()
        else:
            write = os.open(scratch / "error", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            report = runtime(*words, stderr=write).json
            assert os.fstat(write).st_uid == 100000 + uid
        finally:
            os.close(write)
            if read >= 0:
                os.close(read)
        assert report["writes"] == {"/dev/stdout": "", "/dev/stderr": "", "/proc/self/fd/2": ""}
    assert os.stat("/dev/null").st_uid == 0
    runtime.end(other, pid)


def test_stdio_of_a_read_only_file_system(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """It stays whose it is."""
    made = bundle("report")
    made.process["user"] = {"uid": 1000, "gid": 1000}
    place = scratch / "read-only"
    place.mkdir()
    harness.mount("tmpfs", str(place), "tmpfs")
    try:
        (place / "input").touch()
        harness.mount("tmpfs", str(place), None, MS_REMOUNT | MS_RDONLY)
        with (place / "input").open() as file:
            report = runtime.run(made, stdin=file.fileno()).json
        assert report["fds"]["0"]["stat"]["uid"] == 0
    finally:
        harness.unmount(str(place))


def test_standard_streams_reach_the_container(runtime: Runtime, bundle: Workshop) -> None:
    read, write = os.pipe()
    os.write(write, b"through and through\n")
    os.close(write)
    result = runtime.run(bundle("cat"), stdin=read)
    os.close(read)
    assert result.ok().out == "through and through\n"
    result = runtime.run(bundle("nonsense"))
    assert (result.code, result.err) == (2, "probe: unknown command nonsense\n")


def test_keyring(runtime: Runtime, bundle: Workshop) -> None:
    """A session keyring of the container's own, or with --no-new-keyring the caller's."""
    made = bundle()
    own = runtime.report(made)["keyring"]
    assert own.split(";")[4] == f"_ses.{made.id}"
    permissions = int(own.split(";")[3], 16)
    assert permissions & 0x00080000, "the owner may search it (keyctl(2))"
    kept = runtime.report(bundle(), flags=["--no-new-keyring"])["keyring"]
    assert not kept.endswith(made.id)
    assert "_ses.ot" not in kept
