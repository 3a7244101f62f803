"""Joining and making namespaces, and becoming root of a user namespace."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from initdriver import Driver, clone, finish

from ocirun.plan import ops
from ocirun.plan.ops import Operation

NEW = {
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "time": 0x00000080,
}


def own(name: str) -> str:
    return os.readlink(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("name", sorted(set(NEW) - {"user"}))
def test_new(report: Callable[..., Any], name: str) -> None:
    got = report(ops.unshare("outer", "", flags=NEW[name]), clone())["namespaces"]
    assert [other for other in NEW if got[other] != own(other)] == [name]


def test_time_offsets(report: Callable[..., Any]) -> None:
    offsets = [
        ops.time_offset("outer", "", clock=1, secs=-100, nanosecs=0),
        ops.time_offset("outer", "", clock=7, secs=1000, nanosecs=5),
    ]
    got = report(ops.unshare("outer", "", flags=NEW["time"]), *offsets, clone())
    assert got["timens_offsets"].split() == ["monotonic", "-100", "0", "boottime", "1000", "5"]


def test_names(report: Callable[..., Any]) -> None:
    got = report(
        ops.unshare("outer", "", flags=NEW["uts"]),
        ops.hostname("init", "", name="wanted"),
        ops.domainname("init", "", name="example.org"),
    )
    assert (got["hostname"], got["domainname"]) == ("wanted", "example.org")
    assert os.uname().nodename != "wanted"


def test_loopback(report: Callable[..., Any]) -> None:
    net = ops.unshare("outer", "", flags=NEW["net"])
    assert report(net)["lo"] != "up"
    assert report(net, ops.link_up("init", "", name="lo"))["lo"] == "up"


def test_no_such_link(init: Driver) -> None:
    assert init.run(ops.link_up("init", "", name="nonesuch")).text == "no such device"
    assert init.run(ops.link_up("init", "", name="n" * 40)).text == "no such device"


# user namespaces


def map_root(init: Driver, host: int, count: int = 1) -> None:
    """Have the parent map root of the namespace to that id."""

    def write(pid: int) -> None:
        if host == os.getuid() and count == 1:
            Path(f"/proc/{pid}/setgroups").write_text("deny")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {host} {count}")

    init.on_maps = write


def user() -> list[Operation]:
    return [ops.unshare("outer", "", flags=NEW["user"]), ops.map_ids("outer", ""), ops.become_root("outer", "")]


@pytest.mark.parametrize("ordinary", [False, True])
def test_user_namespace(
    init: Driver, report: Callable[..., Any], as_user: Callable[[], None], ordinary: bool, scratch: Path
) -> None:
    map_root(init, 1000 if ordinary else 100000, 1 if ordinary else 65536)
    if ordinary:
        init.in_child = as_user
    got = report(*user(), ops.unshare("outer", "", flags=NEW["net"] | NEW["uts"]), clone())
    assert got["uid"] == [0, 0, 0] and got["gid"] == [0, 0, 0] and got["groups"] == []
    assert got["uid_map"].split() == (["0", "1000", "1"] if ordinary else ["0", "100000", "65536"])
    assert got["namespaces"]["user"] != own("user") and got["namespaces"]["net"] != own("net")


def test_user_namespace_of_a_user_himself(
    init: Driver, report: Callable[..., Any], as_user: Callable[[], None]
) -> None:
    """His own map, written with setgroups denied: the groups stay."""

    def write(pid: int) -> None:
        writer = os.fork()
        if writer == 0:
            try:
                as_user()
                for name, text in (("setgroups", "deny"), ("uid_map", "0 1000 1"), ("gid_map", "0 1000 1")):
                    Path(f"/proc/{pid}/{name}").write_text(text)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(writer, 0)[1] == 0, "the maps belong to their owner while they are to be written"

    init.on_maps = write
    init.in_child = as_user
    got = report(*user(), clone())
    assert got["uid"] == [0, 0, 0] and got["setgroups"] == "deny\n"


def test_time_offset_of_an_ordinary_user(init: Driver, report: Callable[..., Any], as_user: Callable[[], None]) -> None:
    map_root(init, 1000)
    init.in_child = as_user
    offset = ops.time_offset("outer", "", clock=7, secs=60, nanosecs=0)
    got = report(*user(), ops.unshare("outer", "", flags=NEW["time"]), offset, clone())
    assert got["timens_offsets"].split()[-2:] == ["60", "0"]


def test_not_mapped(init: Driver) -> None:
    outcome = init.run(ops.unshare("outer", "", flags=NEW["user"]), ops.become_root("outer", ""))
    assert outcome.failure == (1, 22, "setresgid")


def test_not_dumpable_from_the_first_moment(
    init: Driver, probe: Path, as_user: Callable[[], None]
) -> None:
    """Also where nothing is mapped, so that nobody has to look."""
    owners = []
    init.in_child = as_user
    init.before = {name: lambda pid: owners.append(os.stat(f"/proc/{pid}/environ").st_uid) for name in ("pid", "ready")}
    assert init.run(clone(), *finish(str(probe), "true")).status == 0
    assert owners == [0, 0]


def test_not_dumpable(init: Driver, probe: Path, as_user: Callable[[], None]) -> None:
    """/proc/PID belongs to root, and not to the user that the process is, except while the maps are written, until the
    runtime has seen PID 1, and (tests/run/test_users.py) from the last capability on."""
    owners = []

    def look(pid: int) -> None:
        owners.append(os.stat(f"/proc/{pid}/environ").st_uid)

    map_root(init, 1000)
    write = init.on_maps

    def maps(pid: int) -> None:
        look(pid)
        write(pid)

    init.on_maps = maps
    init.in_child = as_user
    init.before = {"pid": look, "ready": look}
    assert init.run(*user(), clone(), *finish(str(probe), "true")).status == 0
    assert owners == [1000, 1000, 0]


# joining


@pytest.fixture
def sleeper() -> Iterator[Callable[..., int]]:
    """Processes in namespaces of their own: the pid of one that unshare(1) has made with these options."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str, preexec: Callable[[], None] | None = None) -> int:
        process = subprocess.Popen(
            ["unshare", *options, "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE, preexec_fn=preexec
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def open_namespace(pid: int, name: str, slot: int) -> Operation:
    return ops.open("outer", "", path=f"/proc/{pid}/ns/{name}", flags=os.O_RDONLY, slot=slot)


def join(slot: int, name: str, attempt: int = 0) -> Operation:
    return ops.setns("outer", "", slot=slot, flags=NEW[name], attempt=attempt)


def test_join(report: Callable[..., Any], sleeper: Callable[..., int]) -> None:
    pid = sleeper("--uts", "--net")
    got = report(
        open_namespace(pid, "uts", 0), open_namespace(pid, "net", 1), join(0, "uts"), join(1, "net", 1), clone()
    )["namespaces"]
    assert got["uts"] == os.readlink(f"/proc/{pid}/ns/uts") != own("uts")
    assert got["net"] == os.readlink(f"/proc/{pid}/ns/net") != own("net")


def test_join_the_wrong_type(init: Driver, sleeper: Callable[..., int]) -> None:
    pid = sleeper("--uts")
    outcome = init.run(open_namespace(pid, "uts", 0), join(0, "net", 1))
    assert outcome.failure == (1, 22, "this is a uts namespace")


def test_join_what_is_no_namespace(init: Driver) -> None:
    outcome = init.run(ops.open("outer", "", path="/proc/version", flags=os.O_RDONLY, slot=0), join(0, "uts"))
    assert outcome.failure == (1, 22, "this is no namespace")


def test_put_off_until_the_user_namespace(
    init: Driver, report: Callable[..., Any], sleeper: Callable[..., int], as_user: Callable[[], None]
) -> None:
    """A network that a user namespace owns can be joined only from inside of it."""
    pid = sleeper("--user", "--map-root-user", "--net", preexec=as_user)
    init.in_child = as_user
    operations = [open_namespace(pid, "net", 0), open_namespace(pid, "user", 1)]
    assert init.run(*operations, join(0, "net")).failure == (2, 1, "")
    got = report(
        *operations, join(0, "net", 1), join(1, "user"), ops.become_root("outer", ""), join(0, "net", 2), clone()
    )
    assert got["namespaces"]["net"] == os.readlink(f"/proc/{pid}/ns/net")
    assert got["uid"] == [0, 0, 0]


def test_put_off_once_only(init: Driver, sleeper: Callable[..., int], as_user: Callable[[], None]) -> None:
    pid = sleeper("--user", "--map-root-user", "--net", preexec=as_user)
    init.in_child = as_user
    outcome = init.run(open_namespace(pid, "net", 0), join(0, "net", 1), join(0, "net", 2))
    assert outcome.failure == (2, 1, "")


def test_nothing_was_put_off(report: Callable[..., Any], sleeper: Callable[..., int]) -> None:
    pid = sleeper("--net")
    got = report(open_namespace(pid, "net", 0), join(0, "net", 1), join(0, "net", 2), join(5, "uts", 2))
    assert got["namespaces"]["net"] == os.readlink(f"/proc/{pid}/ns/net")


def test_join_by_pidfd(report: Callable[..., Any], sleeper: Callable[..., int]) -> None:
    """One descriptor for all, in several steps; a pid namespace counts for children only."""
    pid = sleeper("--user", "--map-root-user", "--net", "--uts", "--ipc", "--pid", "--fork")
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    pidfd = os.pidfd_open(child)
    try:
        got = report(
            ops.setns("outer", "", slot=0, flags=NEW["user"], attempt=0),
            ops.become_root("outer", ""),
            ops.setns("outer", "", slot=0, flags=NEW["net"] | NEW["uts"] | NEW["ipc"] | NEW["pid"], attempt=0),
            clone(),
            passed=(pidfd,),
        )
        for name in ("user", "net", "uts", "ipc", "pid"):
            assert got["namespaces"][name] == os.readlink(f"/proc/{child}/ns/{name}"), name
        assert got["pid"] not in (1, child)
    finally:
        os.close(pidfd)
        os.kill(child, 9)


def test_the_cgroup_that_exec_joins_takes_no_writes(init: Driver, probe: Path) -> None:
    """Its directory is of a read-only mount that is attached nowhere, and PID 1 has closed it before it waits."""
    name = f"ocirun-test-{os.getpid()}"
    directory = Path(harness.cgroup_roots()[""], name)
    directory.mkdir()
    seen = []

    def directories(pid: int) -> list[Path]:
        found = Path(f"/proc/{pid}/fd").iterdir()
        return [link for link in found if link.is_dir() and link.stat().st_ino == directory.stat().st_ino]

    def outer(pid: int) -> None:
        (found,) = directories(pid)
        assert (found / "cgroup.procs").read_text() == ""
        for file in ("cgroup.procs", "cgroup.type", "cgroup.freeze"):
            if (found / file).exists():
                with pytest.raises(OSError) as error:
                    os.open(found / file, os.O_WRONLY)
                assert error.value.errno == errno.EROFS
        with pytest.raises(OSError) as error:
            (found / "inner").mkdir()
        assert error.value.errno == errno.EROFS
        seen.append("outer")

    def pid_1(pid: int) -> None:
        harness.eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "ocirun:[INIT]\n", "it has begun")
        assert directories(pid) == []
        assert (directory / "cgroup.procs").read_text() == f"{pid}\n"
        seen.append("pid 1")

    init.before = {"maps": outer, "pid": pid_1}
    try:
        outcome = init.run(
            ops.open_cgroup("outer", "", path=str(directory), slot=0),
            ops.map_ids("outer", ""),
            clone(cgroup_slot=0),
            *finish(str(probe), "true"),
        )
        assert outcome.failure is None and outcome.status == 0
    finally:
        directory.rmdir()
    assert seen == ["outer", "pid 1"]
