"""Seccomp: the filters that engines write, and what the container's process may call then."""

from __future__ import annotations

import errno
import os
from typing import Any

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
