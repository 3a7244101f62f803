"""What a user is told when something is wrong: which thing, and why; and nothing is created."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Bundle, Runtime, Workshop, reap


def nothing_made(runtime: Runtime) -> bool:
    """No container is there (what begins with @ is none)."""
    return not runtime.root.exists() or not list(runtime.root.glob("[!@]*"))


def missing(made: Bundle) -> str:
    return "/nonexist"


def missing_in_path(made: Bundle) -> str:
    return "nonexist"


def directory(made: Bundle) -> str:
    return "/etc"


def not_executable(made: Bundle) -> str:
    (made.rootfs / "hello").write_text("hello")
    return "/hello"


def not_executable_in_path(made: Bundle) -> str:
    (made.rootfs / "bin" / "hello").write_text("hello")
    return "hello"


def missing_interpreter(made: Bundle) -> str:
    """A dynamic program without its ld.so: the host's own, in a rootfs without libraries."""
    shutil.copy("/bin/true", made.rootfs / "dynamic")
    return "/dynamic"


def broken_script(made: Bundle) -> str:
    (made.rootfs / "script").write_text("#!/no/such/shell -x\necho\n")
    (made.rootfs / "script").chmod(0o755)
    return "/script"


def script_of_windows(made: Bundle) -> str:
    (made.rootfs / "script").write_text("#!/probe\r\necho\r\n")
    (made.rootfs / "script").chmod(0o755)
    return "/script"


def unreachable(made: Bundle) -> str:
    made.process["user"] = {"uid": 1000, "gid": 1000}
    (made.rootfs / "private").mkdir(mode=0o700)
    shutil.copy(made.rootfs / "probe", made.rootfs / "private" / "probe")
    return "/private/probe"


def link_to_nowhere(made: Bundle) -> str:
    (made.rootfs / "link").symlink_to("/no/where")
    return "/link"


def empty_word(made: Bundle) -> str:
    return ""


# What -> texts of the error. The first four are those that Docker and Podman look for (exit codes 126 and 127).
EXECUTABLES: dict[Callable[[Bundle], str], tuple[str, ...]] = {
    missing: ('exec: "/nonexist"', "no such file or directory"),
    missing_in_path: ('exec: "nonexist": executable file not found in $PATH',),
    directory: ('exec: "/etc"', "is a directory"),
    not_executable: ('exec: "/hello"', "permission denied"),
    not_executable_in_path: ('exec: "hello": executable file not found in $PATH',),
    missing_interpreter: ("/dynamic", "no such file or directory"),
    broken_script: ("/script", "no such file or directory"),
    script_of_windows: ("/script", "no such file or directory"),
    unreachable: ("/private/probe", "permission denied"),
    link_to_nowhere: ("/link", "no such file or directory"),
    empty_word: ("exec",),
}
LATER = pytest.mark.differs("sees it at start only, where PID 1 says so on the container's stderr")
OF_RUNC = {
    directory: pytest.mark.differs("says permission denied", before="1.4"),
    missing_interpreter: LATER,
    broken_script: LATER,
    script_of_windows: LATER,
}


@pytest.mark.parametrize(
    "make",
    [pytest.param(make, id=make.__name__, marks=[OF_RUNC[make]] if make in OF_RUNC else []) for make in EXECUTABLES],
)
def test_executables(runtime: Runtime, bundle: Workshop, make: Callable[[Bundle], str]) -> None:
    """Told at `create`, by exit code 1 and with the words that engines look for."""
    made = bundle()
    made.process["args"] = [make(made), "argument"]
    runtime.create(made).failed(*EXECUTABLES[make])
    assert nothing_made(runtime)
    runtime.run(made).failed(*EXECUTABLES[make])
    assert nothing_made(runtime)


@pytest.mark.ocirun
def test_what_is_missing_behind_an_executable_is_named(runtime: Runtime, bundle: Workshop) -> None:
    """The file exists, and yet the kernel says ENOENT: the interpreter is what is not there."""
    for make, text in (
        (missing_interpreter, "ld-linux"),
        (broken_script, "/no/such/shell"),
        (script_of_windows, "carriage return"),
    ):
        made = bundle()
        made.process["args"] = [make(made)]
        error = runtime.create(made).failed("interpreter").error
        assert text in error, error


@pytest.mark.ocirun  # with runc start succeeds, and PID 1 complains on the container's stderr
def test_no_program_at_all(runtime: Runtime, bundle: Workshop) -> None:
    """Executable, and of no format that is known here: binfmt_misc may know it, so that only the exec can tell."""
    made = bundle()
    (made.rootfs / "garbage").write_text("this is no program\n")
    (made.rootfs / "garbage").chmod(0o755)
    made.process["args"] = ["/garbage"]
    runtime.run(made).failed("/garbage", "exec format error")
    assert nothing_made(runtime)
    pid = runtime.created(made)
    runtime("start", made.id).failed("exec format error")
    reap(pid)
    assert runtime.status(made) == "stopped"
    runtime.delete(made).ok()


def test_it_vanishes_between_create_and_start(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    pid = runtime.created(made)
    (made.rootfs / "probe").unlink()
    result = runtime("start", made.id)
    code = reap(pid)
    if runtime.name != "runc":
        assert result.code == 0 or result.error
        assert (result.code == 0) == (code == 0)
    runtime.delete(made, "--force").ok()


# Configurations.

BROKEN = {
    "empty": "",
    "no JSON": "hello",
    "cut off": '{"ociVersion": "1.0.2", ',
    "no object": "[1, 2]",
    "trailing": '{"ociVersion": "1.0.2"} {}',
    "wrong comma": '{"ociVersion": "1.0.2",}',
    "not UTF-8": '{"ociVersion": "\udcff\udcfe"}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_json(runtime: Runtime, bundle: Workshop, name: str) -> None:
    made = bundle()
    (made.path / "config.json").write_bytes(BROKEN[name].encode("utf-8", "surrogateescape"))
    result = runtime("create", "--bundle", str(made.path), made.id)
    result.failed()
    if runtime.name == "ocirun":
        assert "config.json" in result.error
    assert nothing_made(runtime)


def test_no_config_at_all(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle()
    runtime("create", "--bundle", str(made.path), made.id).failed("config.json not found")
    runtime("create", "--bundle", str(scratch / "none"), made.id).failed("no such file or directory")
    (made.path / "config.json").mkdir()
    runtime("create", "--bundle", str(made.path), made.id).failed()
    assert nothing_made(runtime)


@pytest.mark.ocirun
def test_a_fifo_as_config_does_not_block(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    os.mkfifo(made.path / "config.json")
    runtime("create", "--bundle", str(made.path), made.id, timeout=10).failed("config.json")


@pytest.mark.ocirun
def test_duplicate_keys(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.write()
    text = (made.path / "config.json").read_text()
    (made.path / "config.json").write_text(text.replace('"hostname"', '"hostname": "first", "hostname"', 1))
    runtime("create", "--bundle", str(made.path), made.id).failed("/hostname", "once")
    assert nothing_made(runtime)


WRONG: dict[str, Any] = {
    "ociVersion": 1,
    "hostname": [],
    "domainname": {},
    "annotations": {"a": 1},
    "root/path": 5,
    "root/readonly": "yes",
    "process/terminal": 1,
    "process/cwd": "relative",
    "process/env": "A=1",
    "process/args": [1, 2],
    "process/user/uid": -1,
    "process/user/gid": 1.5,
    "process/user/umask": "022",
    "process/user/additionalGids": [4294967296],
    "process/noNewPrivileges": "true",
    "process/oomScoreAdj": 5000,
    "process/capabilities/bounding": "CAP_KILL",
    "process/capabilities/effective": [5],
    "process/rlimits": [
        {"type": "RLIMIT_NOTHING", "soft": 1, "hard": 1},
        {"type": "RLIMIT_CORE", "soft": -1, "hard": 1},
    ],
    "process/consoleSize": {"height": -1, "width": "x"},
    "mounts": [{"type": "tmpfs"}, {"destination": 5}, {"destination": "/x", "options": "ro"}, "mount"],
    "hooks/prestart": {"path": "/bin/true"},
    "hooks/createRuntime": [{"path": "relative"}, {"args": []}],
    "hooks/poststop": [{"path": "/x", "timeout": -1}, {"path": "/x", "env": [1]}],
    "linux/namespaces": [{"type": "nothing"}, {"path": "/x"}, {"type": "pid", "path": 5}],
    "linux/uidMappings": [{"containerID": -1, "hostID": "0", "size": 0}],
    "linux/gidMappings": {"containerID": 0},
    "linux/devices": [{"path": "/dev/x", "type": "z"}, {"type": "c"}, {"path": 1, "type": "c"}],
    "linux/cgroupsPath": 7,
    "linux/resources/memory/limit": "1g",
    "linux/resources/memory/swappiness": -5,
    "linux/resources/cpu/shares": -1,
    "linux/resources/cpu/quota": "x",
    "linux/resources/cpu/cpus": 3,
    "linux/resources/pids/limit": "many",
    "linux/resources/devices": [{"allow": "no"}, {"allow": True, "access": 7}, 5],
    "linux/rootfsPropagation": "sideways",
    "linux/seccomp": {"defaultAction": "SCMP_ACT_NOTHING", "architectures": [1], "syscalls": [{"names": "x"}]},
    "linux/sysctl": {"net.x": 1},
    "linux/maskedPaths": "/x",
    "linux/readonlyPaths": [1],
    "linux/timeOffsets": {"monotonic": {"secs": "1"}},
}


def set_at(document: Any, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value


@pytest.mark.ocirun
def test_fifty_wrong_values_at_once(runtime: Runtime, bundle: Workshop) -> None:
    """All of them are told, each by its JSON pointer; `validate` agrees; and each alone is refused too."""
    assert len(WRONG) > 40
    made = bundle()
    for path, value in WRONG.items():
        set_at(made.config, path, value)
    error = runtime.create(made).failed().error
    said = [path for path in WRONG if f"/{path}" in error]
    assert said == list(WRONG)
    assert len(error.splitlines()) > 50
    assert nothing_made(runtime)
    listed = runtime("validate", "--bundle", str(made.path))
    assert listed.code == 1
    assert [path for path in WRONG if f"/{path}" in listed.out + listed.error] == list(WRONG)


@pytest.mark.ocirun
def test_what_a_plan_would_refuse_is_told_with_the_rest(runtime: Runtime, bundle: Workshop) -> None:
    """By create, run and validate alike, whether it is alone or not; and a wrong value is told once."""
    made = bundle()
    made.mount("/a", "bind", "/tmp", "rbind", "size=5")
    made.process["apparmorProfile"] = "strict"
    alone = ["/process/apparmorProfile: ", "/mounts/6/options: bind mounts cannot have"]
    made.write()
    for words in (["create", "--bundle", str(made.path), made.id], ["validate", "--bundle", str(made.path)]):
        result = runtime(*words)
        assert result.code == 1 and [text for text in alone if text in result.out + result.error] == alone
    made.process["cwd"] = "relative"
    made.mount("", "bind", "/tmp", "size=5")  # "" is wrong by itself: nothing is said of what it would lead to
    made.write()
    for words in (["run", "--bundle", str(made.path), made.id], ["validate", "--bundle", str(made.path)]):
        result = runtime(*words)
        lines = (result.out + result.error).splitlines()
        assert result.code == 1 and "5 errors" in lines[0]
        assert [line.split(": ")[0].strip() for line in lines[1:]] == [
            "/process/cwd",
            "/process/apparmorProfile",
            "/mounts/6/options",
            "/mounts/7/destination",
            "/mounts/7/options",
        ]
    assert nothing_made(runtime)


@pytest.mark.ocirun
@pytest.mark.parametrize("path", WRONG)
def test_each_wrong_value(runtime: Runtime, bundle: Workshop, path: str) -> None:
    made = bundle()
    set_at(made.config, path, WRONG[path])
    runtime.create(made).failed(f"/{path}")
    assert nothing_made(runtime)


def test_a_valid_config_with_nulls_and_unknown_properties(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.config |= {"hooks": None, "annotations": None, "unknown": {"deep": [1]}, "domainname": None}
    made.process.update({"rlimits": None, "oomScoreAdj": None, "unknown": 1, "consoleSize": None})
    made.linux.update({"sysctl": None, "devices": None, "seccomp": None, "unknown": True})
    made.linux["resources"] |= {"memory": None, "cpu": {"quota": None, "shares": None}, "pids": None}
    runtime.run(made).ok()


@pytest.mark.ocirun
def test_too_large_and_too_deep(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.write()
    config = made.path / "config.json"
    with config.open("r+b") as file:
        file.truncate(100 << 20)  # a sparse file: not even read
    runtime("create", "--bundle", str(made.path), made.id, timeout=10).failed("config.json")
    for nested in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        config.write_text('{"ociVersion": "1.0.2", "x": ' + nested)
        runtime("create", "--bundle", str(made.path), made.id, timeout=10).failed("in each other")
    assert nothing_made(runtime)


def test_minus_one_is_no_user(runtime: Runtime, bundle: Workshop) -> None:
    """(uid_t) -1 says "as it is" to the kernel: the program would go on as root."""
    for user in ({"uid": 2**32 - 1, "gid": 0}, {"uid": 0, "gid": 2**32 - 1}):
        made = bundle("true")
        made.process["user"] = user
        runtime.run(made).failed()
    made = bundle("pause")
    pid = runtime.started(made)
    for user in ("4294967295", "0:4294967295"):
        runtime("exec", "--user", user, made.id, "/probe", "true").failed(code=255)
    assert runtime.end(made, pid) == 137


def test_numbers_that_overflow(runtime: Runtime, bundle: Workshop) -> None:
    for path, value in (
        ("process/user/uid", 2**32),
        ("process/user/uid", 2**64),
        ("process/user/uid", 10**400),
        ("linux/resources/memory/limit", 2**63),
        ("process/oomScoreAdj", 2**31),
    ):
        made = bundle("true")
        set_at(made.config, path, value)
        runtime.run(made).failed()
    assert nothing_made(runtime)


def test_strings_with_nul(runtime: Runtime, bundle: Workshop) -> None:
    """A NUL would cut a string short for the kernel: refused."""
    for path, value in (
        ("process/args", ["/probe", "a\0b"]),
        ("process/env", ["A=\0"]),
        ("process/cwd", "/tmp\0/x"),
        ("hostname", "a\0b"),
        ("root/path", "rootfs\0x"),
    ):
        made = bundle("true")
        set_at(made.config, path, value)
        result = runtime.run(made)
        if runtime.name != "runc":  # 1.1.5 hands some of them on
            result.failed(f"/{path}")
    assert nothing_made(runtime)


@pytest.mark.controllers
def test_memory_limit_too_low_is_told_as_that(runtime: Runtime, bundle: Workshop) -> None:
    """So low that the container's PID 1 is killed while it is being made."""
    made = bundle("true")
    limit = 64 << 10 if runtime.name == "ocirun" else 1 << 20
    made.linux["resources"]["memory"] = {"limit": limit, "swap": limit}
    seen = []
    for _ in range(5):
        result = runtime.create(made)
        if result.code == 0:  # it fits: the user's program is killed instead
            runtime.delete(made, "--force").ok()
        else:
            seen.append(result.failed("memory limit").error)
    if runtime.name == "ocirun":
        assert all("OOM" in error for error in seen)
    assert nothing_made(runtime)


@pytest.mark.ocirun
@pytest.mark.controllers
def test_errors_name_the_operation_and_its_pointer(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """What was being done, to what, why: in one line."""
    made = bundle()
    made.mount("/data", "bind", str(scratch / "nothing"), "rbind")
    error = (
        runtime.create(made).failed("/mounts/6", str(scratch / "nothing"), "/data", "no such file or directory").error
    )
    assert "\n" not in error
    made = bundle()
    made.mount("/x", "nosuchfs", "none")
    runtime.create(made).failed("/mounts/6", "nosuchfs", "no such device")
    made = bundle()
    made.mount("/x", "tmpfs", "tmpfs", "size=nonsense")
    runtime.create(made).failed("/mounts/6", "tmpfs", "/x")
    made = bundle()
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**40}]
    runtime.create(made).failed("/process/rlimits/0", "RLIMIT_NOFILE", "operation not permitted")
    made = bundle()
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "nonsense"}
    runtime.create(made).failed("/linux/sysctl/net.ipv4.ip_forward", "invalid argument")
    made = bundle()
    made.linux["resources"]["pids"] = {"limit": 2**62}
    runtime.create(made).failed("/linux/resources/pids/limit", "pids.max", "invalid argument")
    assert nothing_made(runtime)


def test_the_log(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Text by default; JSON on demand; appended, and nothing of level error where all went well."""
    made = bundle("true")
    made.write()
    log = scratch / "a.log"
    for flags in ([], ["--debug"]):
        argv = runtime.argv("run", "--bundle", str(made.path), made.id, flags=["--log", str(log), *flags])
        assert os.spawnv(os.P_WAIT, argv[0], argv) == 0
        assert "level=error" not in (log.read_text() if log.exists() else "")
    argv = runtime.argv("state", "nobody", flags=["--log", str(log)])
    read, write = os.pipe()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    said = os.read(read, 4096).decode()
    os.close(read)
    assert said == ("container does not exist\n" if runtime.name == "runc" else "container does not exist: nobody\n"), (
        "the bare error too, as it went to a file"
    )
    line = log.read_text().splitlines()[-1]
    assert line.startswith('time="') and 'level=error msg="container does not exist' in line
    log.unlink()
    argv = runtime.argv("state", "nobody", flags=["--log", str(log), "--log-format", "json"])
    assert os.spawnv(os.P_WAIT, argv[0], argv) == 1
    entry = json.loads(log.read_text())
    assert entry["level"] == "error" and entry["msg"].startswith("container does not exist")
    assert entry["time"][10] == "T"
    assert stat.S_IMODE(log.stat().st_mode) == 0o644


def test_usage_errors(runtime: Runtime) -> None:
    for words in (["create"], ["start"], ["state", "a", "b"], ["kill"], ["delete"], ["create", "--no-flag", "x"]):
        assert runtime(*words).code == 1, words
    assert runtime("no-such-command").code == 3
    assert runtime("--help").code == 0
    assert runtime("create", "--help").code == 0
