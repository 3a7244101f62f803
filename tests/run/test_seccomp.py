"""Seccomp: the filters that engines write, and what the container's process may call then."""

from __future__ import annotations

import errno
import os
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop
from profiles import PROFILES

# System call numbers (x86-64, arm64).
NUMBERS = {
    "x86_64": {"getpid": 39, "unshare": 272, "mount": 165, "personality": 135, "kexec_load": 246},
    "aarch64": {"getpid": 172, "unshare": 97, "mount": 40, "personality": 92, "kexec_load": 104},
}


def number(name: str) -> str:
    return str(NUMBERS[os.uname().machine][name])


def result_of(runtime: Runtime, made: Bundle, name: str, *arguments: str) -> int:
    return int(runtime.run(made.args("syscall", number(name), *arguments)).ok().out)


def test_one_errno_for_one_call(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.process["noNewPrivileges"] = False
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV},
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO"},
        ],
    }
    assert result_of(runtime, made, "getpid") == errno.EXDEV
    assert result_of(runtime, made, "unshare", "0") == errno.EPERM
    report = runtime.report(made)
    assert report["seccomp"] == 2
    assert report["no_new_privs"] == 0, "the filter needs no no_new_privs where CAP_SYS_ADMIN is there"
    made.process["noNewPrivileges"] = True
    assert result_of(runtime, made, "getpid") == errno.EXDEV


def test_arguments(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": errno.EXDEV,
                "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
            }
        ],
    }
    assert result_of(runtime, made, "personality", "8") == errno.EXDEV
    assert result_of(runtime, made, "personality", "0") == 0
    made.linux["seccomp"]["syscalls"][0]["args"] = [
        {"index": 0, "value": 0xFF00, "valueTwo": 0x1200, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    assert result_of(runtime, made, "personality", str(0x1234)) == errno.EXDEV
    assert result_of(runtime, made, "personality", "0") == 0


def test_kill(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("syscall", number("getpid"))
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    made.without_namespace("pid")
    assert runtime.run(made).code == 128 + 31


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_of_engines(runtime: Runtime, bundle: Workshop, name: str) -> None:
    made = bundle()
    made.linux["seccomp"] = PROFILES[name]
    report = runtime.report(made)
    assert report["seccomp"] == 2
    assert result_of(runtime, made, "kexec_load") == errno.EPERM
    assert result_of(runtime, made, "getpid") == 0
    # What is newer than the profile: "no such call", so that programs fall back.
    assert int(runtime.run(made.args("syscall", "2000")).ok().out) == errno.ENOSYS


def test_in_exec_too(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
    }
    pid = runtime.started(made)
    assert int(runtime("exec", made.id, "/probe", "syscall", number("getpid")).ok().out) == errno.EXDEV
    assert runtime.probe(made)["seccomp"] == 2
    runtime.end(made, pid)


# What the init calls after the filter is there (ops.def, "seccomp"), and what the probe needs to begin and to end.
OURS = ["read", "write", "close", "poll", "ppoll", "execve", "exit_group"]
OF_THE_PROBE = ["arch_prctl", "set_tid_address", "brk", "mmap", "mprotect", "munmap", "ioctl", "writev"]


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.ocirun  # Go needs much more
def test_a_filter_that_allows_nothing_else(
    runtime: Runtime, bundle: Workshop, no_new_privileges: bool, uid: int, user: bool
) -> None:
    """A call of ours that is not in the list would be the last one."""
    made = bundle("exit", "7")
    if user:
        made.user_namespace()
    made.config["process"] |= {
        "noNewPrivileges": no_new_privileges,
        "user": {"uid": uid, "gid": uid, "additionalGids": [5]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 10}],
        "cwd": "/tmp",
    }
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [
            {
                "names": [*OURS, *OF_THE_PROBE, *([] if no_new_privileges else ["capset"])],
                "action": "SCMP_ACT_ALLOW",
            }
        ],
    }
    result = runtime.run(made)
    assert result.code == 7, result.error
    pid = runtime.created(made)
    runtime("start", made.id).ok()
    assert harness.reap(pid) == 7
    runtime.delete(made).ok()
    pid = runtime.created(made)
    assert runtime("exec", made.id, "/probe", "exit", "8").code == 8
    runtime.kill(made, "TERM").ok()
    assert harness.reap(pid) == 128 + 15
    runtime.delete(made).ok()


@pytest.mark.ocirun
def test_a_filter_that_keeps_cap_sys_admin_is_refused(runtime: Runtime, bundle: Workshop) -> None:
    """Without noNewPrivileges loading it takes the capability, which the process is not to have."""
    made = bundle("true")
    made.process["noNewPrivileges"] = False
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["capset"], "action": "SCMP_ACT_ERRNO"}],
    }
    runtime.create(made).failed("/linux/seccomp", "capset(2)")
    names = ["CAP_SYS_ADMIN"]
    made.process["capabilities"] = {kind: names for kind in ("bounding", "effective", "permitted")}
    runtime.run(made).ok()


@pytest.mark.differs("has work left when the filter is there")
@pytest.mark.parametrize("uid", [0, 1000])
def test_capabilities_are_the_configured_ones_behind_a_filter(runtime: Runtime, bundle: Workshop, uid: int) -> None:
    made = bundle()
    made.process["noNewPrivileges"] = False
    made.process["user"] = {"uid": uid, "gid": uid}
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    made.process["capabilities"] = {kind: ["CAP_CHOWN", "CAP_KILL"] for kind in sets}
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd", "setresuid", "fchown"], "action": "SCMP_ACT_ERRNO"}],
    }
    report = runtime.report(made)
    assert {int(value, 16) for value in report["capabilities"].values()} == {1 << 0 | 1 << 5}
    assert (report["seccomp"], report["no_new_privs"]) == (2, 0)


def test_errors(runtime: Runtime, bundle: Workshop) -> None:
    broken: list[dict[str, Any]] = [
        {"defaultAction": "SCMP_ACT_NOTHING"},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONE"]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {
                    "names": ["getpid"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
    ]
    for seccomp in broken:
        made = bundle("true")
        made.linux["seccomp"] = seccomp
        runtime.run(made).failed()
    # Unknown names are skipped: profiles list the calls of every architecture and of later kernels.
    made = bundle("true")
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["no_such_call", "getpid"], "action": "SCMP_ACT_ERRNO"}],
    }
    assert result_of(runtime, made, "getpid") == errno.EPERM
