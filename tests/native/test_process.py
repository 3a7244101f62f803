"""Ids, capabilities, limits, keys and the filter: what the process then has."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from initdriver import Driver, clone, finish

from ocirun.plan import ops
from ocirun.plan.ops import Operation

ALL = 2**64 - 1
CHOWN, DAC_OVERRIDE, KILL, SETPCAP, NET_RAW = (
    harness.capability_mask([f"CAP_{name}"]) for name in ("CHOWN", "DAC_OVERRIDE", "KILL", "SETPCAP", "NET_RAW")
)
NET_BIND_SERVICE = harness.capability_mask(["CAP_NET_BIND_SERVICE"])


def user(uid: int = 1000, gid: int = 1001, groups: tuple[int, ...] | None = (5, 70000)) -> Operation:
    packed = struct.pack(f"={len(groups or ())}I", *(groups or ()))
    return ops.set_user("init", "", uid=uid, gid=gid, groups=packed, set_groups=int(groups is not None))


def capabilities(effective: int, permitted: int, inheritable: int = 0, ambient: int = 0) -> Operation:
    return ops.set_capabilities(
        "init", "", effective=effective, permitted=permitted, inheritable=inheritable, ambient=ambient, for_filter=0
    )


def masks(got: Any) -> dict[str, int]:
    return {name: int(value, 16) for name, value in got["capabilities"].items()}


def test_session(report: Callable[..., Any]) -> None:
    got = report(clone(), ops.new_session("init", ""))
    assert got["sid"] == got["pgrp"] == got["pid"]


def test_user(report: Callable[..., Any]) -> None:
    got = report(user())
    assert got["uid"] == [1000] * 3 and got["gid"] == [1001] * 3 and sorted(got["groups"]) == [5, 70000]
    assert masks(got)["effective"] == masks(got)["permitted"] == 0
    assert got["dumpable"] == 1


def test_largest_ids(report: Callable[..., Any]) -> None:
    got = report(user(uid=2**32 - 2, gid=2**32 - 2, groups=()))
    assert got["uid"] == [2**32 - 2] * 3 and got["gid"] == [2**32 - 2] * 3 and got["groups"] == []


def test_groups_left_alone(init: Driver, report: Callable[..., Any]) -> None:
    init.in_child = lambda: os.setgroups([7, 8])
    assert sorted(report(user(groups=None))["groups"]) == [7, 8]


def test_user_that_is_not_mapped(init: Driver, as_user: Callable[[], None]) -> None:
    init.in_child = as_user
    assert init.run(user(groups=None)).text == "setgid 1001: operation not permitted"
    assert init.run(user(gid=1000, uid=0, groups=None)).text == "setuid 0: operation not permitted"
    assert init.run(user()).text == "setgroups: operation not permitted"


def test_bounding(report: Callable[..., Any]) -> None:
    got = masks(report(ops.bounding("init", "", keep=CHOWN | KILL)))
    assert got["bounding"] == CHOWN | KILL
    assert got["permitted"] == CHOWN | KILL  # root executes with what the bounding set leaves


def test_bounding_of_an_ordinary_user(init: Driver, as_user: Callable[[], None]) -> None:
    init.in_child = as_user
    assert init.run(ops.bounding("init", "", keep=ALL & ~CHOWN)).text == "capability 0: operation not permitted"
    assert init.run(ops.bounding("init", "", keep=ALL)).failure is None


@pytest.mark.parametrize("uid", [0, 1000])
def test_capabilities_survive_the_user(report: Callable[..., Any], uid: int) -> None:
    wanted = CHOWN | NET_RAW
    got = masks(
        report(
            ops.bounding("init", "", keep=wanted | KILL),
            user(uid=uid, gid=uid),
            capabilities(CHOWN, wanted, NET_RAW, NET_RAW),
        )
    )
    assert got["bounding"] == wanted | KILL
    # execve(2): root gets inheritable and bounding; an ordinary user keeps the ambient ones only.
    if uid == 0:
        assert got == dict.fromkeys(("permitted", "effective"), wanted | KILL) | {
            "bounding": wanted | KILL, "inheritable": NET_RAW, "ambient": NET_RAW,
        }  # fmt: skip
    else:
        assert got == {
            "permitted": NET_RAW, "effective": NET_RAW, "inheritable": NET_RAW, "ambient": NET_RAW,
            "bounding": wanted | KILL,
        }  # fmt: skip


def test_capabilities_before_the_exec(init: Driver, probe: Path) -> None:
    """The five sets as they were asked for, seen while the process waits."""
    seen = {}

    def look(pid: int) -> None:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Cap"):
                seen[line[3:6]] = int(line.split()[1], 16)

    init.before["ready"] = look
    wanted = capabilities(CHOWN, CHOWN | KILL | NET_RAW, KILL | NET_RAW, NET_RAW)
    assert init.run(user(), wanted, clone(), *finish(str(probe), "true")).status == 0
    assert seen["Eff"] == CHOWN and seen["Prm"] == CHOWN | KILL | NET_RAW
    assert seen["Inh"] == KILL | NET_RAW and seen["Amb"] == NET_RAW


def test_inherited_capabilities_are_dropped(init: Driver, report: Callable[..., Any]) -> None:
    """CVE-2022-29162: nothing inheritable or ambient but what is asked for."""
    got = masks(report(capabilities(CHOWN | KILL, CHOWN | KILL, KILL, KILL), capabilities(CHOWN, CHOWN, 0, 0)))
    assert got["inheritable"] == got["ambient"] == 0
    got = masks(report(capabilities(CHOWN, KILL | CHOWN, KILL, KILL), capabilities(CHOWN, KILL | CHOWN, KILL, 0)))
    assert (got["inheritable"], got["ambient"]) == (KILL, 0)


def test_ambient_follows_the_kernel(report: Callable[..., Any]) -> None:
    """Only what is permitted and inheritable can be ambient; the rest is left out."""
    got = masks(report(user(), capabilities(KILL, KILL | CHOWN, KILL, CHOWN | KILL | NET_RAW)))
    assert got["ambient"] == KILL


def test_unknown_capabilities(report: Callable[..., Any]) -> None:
    unknown = 1 << 63
    got = masks(report(user(), capabilities(CHOWN | unknown, CHOWN | unknown, CHOWN | unknown, CHOWN | unknown)))
    assert got["ambient"] == CHOWN


def test_capabilities_that_nobody_has(init: Driver) -> None:
    outcome = init.run(capabilities(CHOWN, CHOWN), capabilities(CHOWN | KILL, CHOWN | KILL))
    assert outcome.text == "capability 5 is not permitted here: operation not permitted"


def test_no_new_privileges(report: Callable[..., Any]) -> None:
    assert report()["no_new_privs"] == 0
    assert report(ops.no_new_privs("init", ""))["no_new_privs"] == 1


def test_umask(report: Callable[..., Any]) -> None:
    assert report(ops.umask("init", "", mask=0o137))["umask"] == 0o137


def test_rlimits(report: Callable[..., Any]) -> None:
    got = report(
        ops.set_rlimit("init", "", resource=resource.RLIMIT_NOFILE, pad=0, soft=100, hard=200),
        ops.set_rlimit("init", "", resource=resource.RLIMIT_FSIZE, pad=0, soft=2**40, hard=2**64 - 1),
    )["rlimits"]
    assert got["RLIMIT_NOFILE"] == [100, 200] and got["RLIMIT_FSIZE"] == [2**40, -1]


def test_wrong_rlimit(init: Driver) -> None:
    operation = ops.set_rlimit("init", "", resource=resource.RLIMIT_NOFILE, pad=0, soft=2, hard=1)
    assert init.run(operation).text == "invalid argument"


def test_raise_rlimit(init: Driver, report: Callable[..., Any]) -> None:
    init.in_child = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
    low = ops.raise_rlimit("outer", "", resource=resource.RLIMIT_NOFILE, hard=150)
    assert report(low)["rlimits"]["RLIMIT_NOFILE"] == [100, 200], "what is enough stays"
    high = ops.raise_rlimit("outer", "", resource=resource.RLIMIT_NOFILE, hard=300)
    sys_resource = harness.capability_mask(["CAP_SYS_RESOURCE"])
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if int(effective.split()[1], 16) & sys_resource:
        assert report(high)["rlimits"]["RLIMIT_NOFILE"] == [100, 300]
    else:
        assert init.run(high).text == "operation not permitted"


@pytest.mark.parametrize("ordinary", [False, True])
def test_oom_score(init: Driver, report: Callable[..., Any], as_user: Callable[[], None], ordinary: bool) -> None:
    if ordinary:
        init.in_child = as_user
    assert report(ops.oom_score_adj("outer", "", value=500))["oom_score_adj"] == "500\n"


def test_oom_score_out_of_range(init: Driver) -> None:
    assert init.run(ops.oom_score_adj("outer", "", value=5000)).text == "invalid argument"


@pytest.mark.parametrize("in_user_namespace", [False, True])
def test_keyring(init: Driver, report: Callable[..., Any], in_user_namespace: bool) -> None:
    def write(pid: int) -> None:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 100000 65536")

    init.on_maps = write
    before = [ops.unshare("outer", "", flags=0x10000000), ops.map_ids("outer", ""), ops.become_root("outer", "")]
    ring = ops.keyring("init", "", name=f"_ses.test{os.getpid()}")
    type, _, _, permissions, name = report(*(before if in_user_namespace else []), clone(), ring)["keyring"].split(";")
    assert (type, name) == ("keyring", f"_ses.test{os.getpid()}")
    wanted = 0x8 if in_user_namespace else 0x80000
    assert int(permissions, 16) & wanted == wanted


def test_stdio_belongs_to_the_user(init: Driver, report: Callable[..., Any], as_user: Callable[[], None]) -> None:
    fds = report(ops.own_stdio("init", "", uid=1234))["fds"]
    assert fds["1"]["stat"]["uid"] == 1234 and fds["2"]["stat"]["uid"] == 1234
    assert fds["0"]["target"].endswith("/null") and os.stat("/dev/null").st_uid == 0


def test_stdio_that_cannot_be_given_away(init: Driver, report: Callable[..., Any], as_user: Callable[[], None]) -> None:
    """As runc: what is somebody else's stays so."""
    init.in_child = as_user
    assert report(ops.own_stdio("init", "", uid=1000))["fds"]["1"]["stat"]["uid"] == 0


# seccomp

LD_NR, RET, JEQ = 0x20, 0x06, 0x15
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
SYSCALLS = {  # <asm/unistd.h>
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "poll": 7, "execve": 59, "exit_group": 231, "arch_prctl": 158,
        "set_tid_address": 218, "getuid": 102,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "poll": 73, "execve": 221, "exit_group": 94,
        "set_tid_address": 96, "getuid": 174,
    },
}[os.uname().machine]  # fmt: skip


def bpf(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def test_seccomp(init: Driver, probe: Path) -> None:
    number = SYSCALLS["getuid"]
    program = bpf((LD_NR, 0, 0, 0), (JEQ, 0, 1, number), (RET, 0, 0, ERRNO | 77), (RET, 0, 0, ALLOW))
    got = init.run(
        ops.no_new_privs("init", ""),
        user(),
        ops.seccomp("init", "", filter=program, flags=0),
        *finish(str(probe), "syscall", str(number)),
    )
    assert got.output.strip() == "77", got


def test_few_calls_behind_the_filter(init: Driver, probe: Path, scratch: Path) -> None:
    """READY, the wait for `start` and the exec need no more than runc's do."""
    allowed = [SYSCALLS[name] for name in SYSCALLS if name != "getuid"]
    program = bpf(
        (LD_NR, 0, 0, 0),
        *((JEQ, len(allowed) - i, 0, number) for i, number in enumerate(allowed)),
        (RET, 0, 0, KILL_PROCESS),
        (RET, 0, 0, ALLOW),
    )
    os.mkfifo(scratch / "fifo")
    fifo = os.open(scratch / "fifo", os.O_RDWR)
    find, ready, execute = finish(str(probe), "true", env=["HOME=/"])
    os.write(fifo, b"\0")
    # The driver sees end-of-file where the container begins to wait, and reaps what has been started.
    got = init.run(
        clone(),
        ops.no_new_privs("init", ""),
        find,
        ops.seccomp("init", "", filter=program, flags=0),
        ready,
        ops.wait_start("init", "", slot=0),
        execute,
        passed=[fifo],
    )
    os.close(fifo)
    assert got.failure is None and got.status == 0, got


def test_bad_filter(init: Driver) -> None:
    nnp = ops.no_new_privs("init", "")
    assert init.run(nnp, ops.seccomp("init", "", filter=b"12345678", flags=0)).text == "invalid argument"
    assert "instructions" in init.run(nnp, ops.seccomp("init", "", filter=bytes(7), flags=0)).text
    too_long = bpf((RET, 0, 0, ALLOW)) * 4097
    assert "4097 instructions" in init.run(nnp, ops.seccomp("init", "", filter=too_long, flags=0)).text
