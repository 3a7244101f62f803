"""linux.seccomp: its records, how they are read, and the names in it."""

from __future__ import annotations

from ..record import Record
from .readers import array, one_of, record, string, strings, uint32, uint64, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..errors import Problem
    from .readers import Place, Uint32, Uint64


SECCOMP_ARCHITECTURES: frozenset[str] = frozenset(
    (
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_RISCV64",
    )
)
SECCOMP_ACTIONS: frozenset[str] = frozenset(
    (
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    )
)
SECCOMP_OPERATORS: frozenset[str] = frozenset(
    (
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    )
)
SECCOMP_FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
"""seccomp(2), <linux/seccomp.h>"""


class SyscallArg(Record):
    """One condition of a seccomp rule on an argument of the system call."""

    index: Uint32
    value: Uint64
    op: str
    value_two: Uint64 = 0


class Syscall(Record):
    """One rule of a seccomp filter."""

    names: tuple[str, ...]
    action: str
    errno_ret: Uint32 | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Record):
    """linux.seccomp, seccomp(2). ``raw`` is the JSON object itself."""

    default_action: str
    default_errno_ret: Uint32 | None = None
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    architectures: tuple[str, ...] = ()
    syscalls: tuple[Syscall, ...] = ()
    raw: dict[str, Any]


# How they are read


def _names(value: Any, place: Place, problems: list[Problem]) -> tuple[str, ...]:
    names = strings(value, place, problems)
    if value == []:
        wrong("at least one name", value, place, problems)
    return names


_syscalls = array(
    record(
        Syscall,
        ("names", "names", _names),
        ("action", "action", one_of(SECCOMP_ACTIONS)),
        ("errnoRet", "errno_ret", uint32),
        (
            "args",
            "args",
            array(
                record(
                    SyscallArg,
                    ("index", "index", uint32),
                    ("value", "value", uint64),
                    ("valueTwo", "value_two", uint64),
                    ("op", "op", one_of(SECCOMP_OPERATORS)),
                )
            ),
        ),
    )
)

_seccomp_fields = record(
    Seccomp,
    ("defaultAction", "default_action", one_of(SECCOMP_ACTIONS)),
    ("defaultErrnoRet", "default_errno_ret", uint32),
    ("flags", "flags", array(one_of(SECCOMP_FLAGS))),
    ("listenerPath", "listener_path", string),
    ("listenerMetadata", "listener_metadata", string),
    ("architectures", "architectures", array(one_of(SECCOMP_ARCHITECTURES))),
    ("syscalls", "syscalls", _syscalls),
)


def seccomp(value: Any, place: Place, problems: list[Problem]) -> Any:
    found = _seccomp_fields(value, place, problems)
    found.__dict__["raw"] = value if type(value) is dict else {}
    return found
