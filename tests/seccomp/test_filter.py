"""Filters: what they answer, in a model of the machine, in the kernel, and compared with runc's own."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpfmachine
import pytest
from bpfmachine import ALLOW, ERRNO, I386, KILL_PROCESS, KILL_THREAD, LOG, TRACE, TRAP, X32, X86_64, execute
from harness import libc
from profiles import PROFILES

from ocirun.errors import OperationError
from ocirun.seccomp import filter
from ocirun.seccomp.cache import compile_filter

NATIVE = {"x86_64": X86_64, "aarch64": bpfmachine.AARCH64}[platform.machine()]
# System call numbers (x86-64, arm64).
NUMBERS = {
    "getpid": (39, 172),
    "getppid": (110, 173),
    "personality": (135, 92),
    "kexec_load": (246, 104),
    "openat2": (437, 437),
}
EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
NEWEST = 1000  # later than any system call that there is
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER = 38, 1
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]

x86_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 has two kinds of system calls")


def number(name: str) -> int:
    return NUMBERS[name][platform.machine() != "x86_64"]


def compiled(default: str, *rules: dict[str, Any], **more: Any) -> bytes:
    return filter.compile(bpfmachine.record({"defaultAction": default, "syscalls": list(rules), **more}))


def answer(program: bytes, name: str, *arguments: int) -> int:
    return execute(program, NATIVE, number(name), *arguments)


# In the model


@pytest.mark.parametrize(
    ("action", "errno_ret", "expected"),
    [
        ("SCMP_ACT_KILL", None, KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", None, KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", None, KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, TRAP),
        ("SCMP_ACT_ERRNO", None, EPERM),
        ("SCMP_ACT_ERRNO", 0, ERRNO),
        ("SCMP_ACT_ERRNO", errno.EXDEV, ERRNO | errno.EXDEV),
        ("SCMP_ACT_TRACE", None, TRACE | errno.EPERM),
        ("SCMP_ACT_TRACE", 77, TRACE | 77),
        ("SCMP_ACT_LOG", None, LOG),
        ("SCMP_ACT_ALLOW", None, ALLOW),
    ],
)
def test_actions(action: str, errno_ret: int | None, expected: int) -> None:
    program = compiled("SCMP_ACT_ALLOW", {"names": ["getpid"], "action": action, "errnoRet": errno_ret})
    assert answer(program, "getpid") == expected
    assert answer(program, "getppid") == ALLOW
    more = {} if errno_ret is None else {"defaultErrnoRet": errno_ret}
    program = compiled(action, {"names": ["getppid", "openat2"], "action": "SCMP_ACT_ALLOW"}, **more)
    assert answer(program, "getpid") == expected
    assert answer(program, "getppid") == ALLOW


@pytest.mark.parametrize(
    ("op", "value", "value_two", "met", "unmet"),
    [
        ("SCMP_CMP_EQ", 5, 0, [5], [4, 6, 5 | 1 << 32]),
        ("SCMP_CMP_NE", 5, 0, [4, 6, 5 | 1 << 32], [5]),
        ("SCMP_CMP_LT", 5, 0, [0, 4], [5, 1 << 32]),
        ("SCMP_CMP_LE", 5, 0, [0, 5], [6, 1 << 32]),
        ("SCMP_CMP_GE", 5, 0, [5, 1 << 32], [4]),
        ("SCMP_CMP_GT", 5, 0, [6, 1 << 32], [5]),
        ("SCMP_CMP_EQ", 1 << 40, 0, [1 << 40], [0, 1]),
        ("SCMP_CMP_MASKED_EQ", 0xFF00, 0x1200, [0x1200, 0x1234, 1 << 32 | 0x12FF], [0x1300, 0]),
        ("SCMP_CMP_EQ", (1 << 64) - 1, 0, [(1 << 64) - 1], [(1 << 32) - 1]),
    ],
)
@pytest.mark.parametrize("index", [0, 5])
def test_conditions(op: str, value: int, value_two: int, met: list[int], unmet: list[int], index: int) -> None:
    condition = {"index": index, "op": op, "value": value, "valueTwo": value_two}
    program = compiled("SCMP_ACT_ALLOW", {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": [condition]})
    for argument in met:
        assert answer(program, "getpid", *(0,) * index, argument) == EPERM, argument
    for argument in unmet:
        assert answer(program, "getpid", *(0,) * index, argument) == ALLOW, argument


def test_several_conditions() -> None:
    """All of those on different arguments; any of those on the same, as runc."""
    both = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 2}]
    program = compiled("SCMP_ACT_ALLOW", {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": both})
    assert [answer(program, "getpid", *given) for given in ((1, 2), (1, 0), (0, 2))] == [EPERM, ALLOW, ALLOW]
    same = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]
    program = compiled("SCMP_ACT_ALLOW", {"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": same})
    assert [answer(program, "getpid", given) for given in (1, 2, 3)] == [EPERM, EPERM, ALLOW]


def test_unknown_names_and_rules_like_the_default_are_left_out() -> None:
    program = compiled(
        "SCMP_ACT_ERRNO",
        {"names": ["no_such_call", "getpid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO"},
    )
    assert answer(program, "getpid") == ALLOW
    assert answer(program, "getppid") == EPERM


def test_a_long_list_is_a_tree() -> None:
    """A call is found in a few steps: every one of the container's calls pays them."""
    program = filter.compile(bpfmachine.record(PROFILES["docker"]))
    steps: list[int] = []
    for call in range(300):
        execute(program, NATIVE, call, steps=steps)
    assert max(steps) < 80


@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_calls_newer_than_the_profile(default: str) -> None:
    program = compiled(default, {"names": ["getpid", "openat2"], "action": "SCMP_ACT_ALLOW"})
    assert execute(program, NATIVE, NEWEST) == ENOSYS
    assert execute(program, NATIVE, number("openat2") + 1) == ENOSYS
    assert answer(program, "openat2") == ALLOW
    assert answer(program, "getppid") == {"SCMP_ACT_ERRNO": EPERM, "SCMP_ACT_KILL_PROCESS": KILL_PROCESS}.get(
        default, TRAP
    )


@pytest.mark.parametrize(
    ("default", "more", "expected"),
    [
        ("SCMP_ACT_ALLOW", {}, ALLOW),
        ("SCMP_ACT_LOG", {}, LOG),
        ("SCMP_ACT_TRACE", {}, TRACE | errno.EPERM),
        ("SCMP_ACT_ERRNO", {"defaultErrnoRet": errno.ENOSYS}, ENOSYS),
    ],
)
def test_calls_newer_than_a_permissive_profile(default: str, more: dict[str, Any], expected: int) -> None:
    rule = {"names": ["getpid"], "action": "SCMP_ACT_KILL"}
    assert execute(compiled(default, rule, **more), NATIVE, NEWEST) == expected


def test_newer_than_nothing() -> None:
    assert execute(compiled("SCMP_ACT_ERRNO"), NATIVE, NEWEST) == EPERM


@x86_only
def test_architectures() -> None:
    rule = {"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}
    program = compiled("SCMP_ACT_ALLOW", rule)
    assert execute(program, X86_64, 39) == EPERM
    assert execute(program, I386, 20) == KILL_THREAD, "an architecture that is not in the filter"
    assert execute(program, X86_64, X32 | 39) == KILL_THREAD
    program = compiled("SCMP_ACT_ALLOW", rule, architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    assert execute(program, X86_64, 39) == EPERM, "the native one is always in it"
    assert execute(program, I386, 20) == EPERM
    assert execute(program, I386, 39) == ALLOW, "mkdir there"
    assert execute(program, X86_64, X32 | 39) == EPERM
    for name in ("SCMP_ARCH_VAX", "SCMP_ARCH_"):
        with pytest.raises(OperationError, match=r"libseccomp .* does not know") as caught:
            compiled("SCMP_ACT_ALLOW", rule, architectures=["SCMP_ARCH_X86", name])
        assert caught.value.pointer == "/linux/seccomp/architectures/1"


@x86_only
@pytest.mark.parametrize("others", [[], ["X86"], ["X32"], ["X86", "X32"], ["AARCH64", "ARM", "X86", "X32"]])
def test_newer_calls_of_every_architecture(others: list[str]) -> None:
    rule = {"names": ["getpid", "openat2"], "action": "SCMP_ACT_ALLOW"}
    program = compiled("SCMP_ACT_ERRNO", rule, architectures=[f"SCMP_ARCH_{name}" for name in others])
    assert execute(program, X86_64, 437) == ALLOW
    assert execute(program, X86_64, 438) == ENOSYS
    x32 = {437: ALLOW, 438: ENOSYS, 110: EPERM} if "X32" in others else dict.fromkeys((437, 438, 110), KILL_THREAD)
    for call, expected in x32.items():
        assert execute(program, X86_64, X32 | call) == expected
    i386 = {437: ALLOW, 438: ENOSYS, 64: EPERM} if "X86" in others else dict.fromkeys((437, 438, 64), KILL_THREAD)
    for call, expected in i386.items():
        assert execute(program, I386, call) == expected
    assert execute(program, bpfmachine.AARCH64, 438) == (ENOSYS if "AARCH64" in others else KILL_THREAD)
    assert execute(program, bpfmachine.ARM, 437) == (ALLOW if "ARM" in others else KILL_THREAD)


def test_multiplexed_calls_of_s390() -> None:
    """Number 0 is there what is left of calls that the kernel does not know."""
    token = filter.architecture("SCMP_ARCH_S390X")
    program = filter._pack([*filter.unknown_calls({token: {token: 300}}), (0x06, 0, 0, ALLOW)])
    assert [execute(program, token, call) for call in (0, 1, 300, 301)] == [ENOSYS, ALLOW, ALLOW, ENOSYS]
    assert execute(program, X86_64, 0) == ALLOW


@pytest.mark.parametrize(
    ("broken", "pointer"),
    [
        (
            {
                "syscalls": [
                    {
                        "names": ["getpid"],
                        "action": "SCMP_ACT_KILL",
                        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_LIKE"}],
                    }
                ]
            },
            "/linux/seccomp/syscalls/0/args/0/op",
        ),
        (
            {
                "syscalls": [
                    {
                        "names": ["getpid"],
                        "action": "SCMP_ACT_KILL",
                        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ]
            },
            "/linux/seccomp/syscalls/0",
        ),
    ],
)
def test_errors(broken: dict[str, Any], pointer: str) -> None:
    with pytest.raises(OperationError) as caught:
        filter.compile(bpfmachine.record({"defaultAction": "SCMP_ACT_ALLOW", **broken}))
    assert caught.value.pointer == pointer
    assert "compile the seccomp filter" in str(caught.value)


def test_too_long_for_the_kernel() -> None:
    conditions = [
        {
            "names": ["getpid"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": value << 32 | value, "op": "SCMP_CMP_EQ"}],
        }
        for value in range(2500)
    ]
    with pytest.raises(OperationError, match="instructions, and the kernel takes 4096"):
        compiled("SCMP_ACT_ALLOW", *conditions)


# In the kernel


def filtered(program: bytes, flags: int, body: Callable[[], int]) -> int:
    """The exit code (or -signal) of a child that runs the body under the filter."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    loaded = Program(len(program) // 8, program)
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(loaded)):
            os._exit(200)
        os._exit(body())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(number: int, *arguments: int) -> Callable[[], int]:
    """A system call; its errno, 0 for success."""

    def body() -> int:
        ctypes.set_errno(0)
        return ctypes.get_errno() if libc.syscall(number, *arguments) < 0 else 0

    return body


def test_in_the_kernel() -> None:
    def program(action: str, **more: Any) -> bytes:
        return compiled("SCMP_ACT_ALLOW", {"names": ["getpid"], "action": action, **more})

    getpid = call(number("getpid"))
    assert filtered(program("SCMP_ACT_ERRNO", errnoRet=errno.EXDEV), 0, getpid) == errno.EXDEV
    assert filtered(program("SCMP_ACT_ERRNO"), 4, getpid) == errno.EPERM
    assert filtered(program("SCMP_ACT_LOG"), 2, getpid) == 0
    assert filtered(program("SCMP_ACT_TRACE"), 0, getpid) == errno.ENOSYS, "nobody traces"
    for action in ("SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"):
        assert filtered(program(action), 0, getpid) == -signal.SIGSYS
    assert filtered(program("SCMP_ACT_KILL"), 0, call(number("getppid"))) == 0
    masked = {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xFF00, "valueTwo": 0x1200}
    rule = {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV, "args": [masked]}
    held = compiled("SCMP_ACT_ALLOW", rule)
    assert filtered(held, 0, call(number("personality"), 0x1234)) == errno.EXDEV
    assert filtered(held, 0, call(number("personality"), 0)) == 0


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_of_engines(name: str) -> None:
    """Each is accepted by the kernel, and does what it is there for."""
    program, flags = compile_filter(bpfmachine.record(PROFILES[name]))
    assert filtered(program, flags, call(number("getpid"))) == 0
    assert filtered(program, flags, call(number("kexec_load"), 0, 0, 0, 0)) == errno.EPERM
    assert filtered(program, flags, call(NEWEST)) == errno.ENOSYS


# Beside runc

CRAFTED: dict[str, dict[str, Any]] = {
    "operators": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {
                "names": [name],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": index + 10,
                "args": [
                    {"index": index % 3, "value": 0x1_0000_0005, "valueTwo": 0x1_0000_0001, "op": f"SCMP_CMP_{op}"}
                ],
            }
            for index, (name, op) in enumerate(
                zip(
                    ("getpid", "getppid", "personality", "kexec_load", "sync", "umask", "getuid"),
                    ("EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"),
                    strict=True,
                )
            )
        ],
    },
    "conditions": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["kexec_load"],
                "action": "SCMP_ACT_ERRNO",
                "args": [
                    {"index": one, "value": value, "op": "SCMP_CMP_EQ"} for one, value in ((0, 1), (0, 2), (1, 7))
                ],
            },
            {
                "names": ["personality"],
                "action": "SCMP_ACT_TRAP",
                "args": [{"index": one, "value": value, "op": "SCMP_CMP_EQ"} for one, value in ((0, 1), (1, 7))],
            },
        ],
    },
    "default errno": {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [rule for rule in PROFILES["docker"]["syscalls"] if not rule.get("args")],
    },
}


@x86_only
@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is what it is compared with")
@pytest.mark.parametrize("name", ["docker", "podman", *CRAFTED])
def test_same_answers_as_runc(name: str, scratch: Path, probe: Path) -> None:
    profile = CRAFTED.get(name) or PROFILES[name]
    theirs = bpfmachine.filters_of_runc(profile, scratch, probe)
    assert len(theirs) == 1
    ours = filter.compile(bpfmachine.record(profile))
    conditions = [arg for rule in profile["syscalls"] for arg in rule.get("args") or ()]
    values = {value + off for arg in conditions for value in (arg["value"], arg.get("valueTwo") or 0) for off in (0, 1)}
    values |= {1 << 32, (1 << 64) - 1}
    with_arguments = {call for rule in profile["syscalls"] if rule.get("args") for call in numbers(rule["names"])}
    for arch in (X86_64, I386, bpfmachine.AARCH64):
        for bit in (0, X32):
            for call in (*range(480), NEWEST):
                assert execute(ours, arch, bit | call) == execute(theirs[0], arch, bit | call), (hex(arch), bit, call)
    for call in with_arguments:
        for value in values:
            for index in range(3):
                given = [7, 7, 7]
                given[index] = value
                got, expected = (execute(one, X86_64, call, *given) for one in (ours, theirs[0]))
                assert got == expected, (call, given)


def numbers(names: list[str]) -> set[int]:
    """Their x86-64 numbers."""
    found = set()
    result = filter.ffi.new("int *")
    for name in names:
        if not filter.lib.filter_syscall(X86_64, name.encode(), result) and result[0] >= 0:
            found.add(result[0])
    return found
