"""Compiles linux.seccomp to BPF (seccomp(2)): libseccomp does it, behind a prefix of ours for unknown system calls.

The semantics are runc's: a system call that the library does not know is left out of the filter; several conditions
on the same argument are alternatives; and what is newer than anything the profile names is answered by ENOSYS.
"""

from __future__ import annotations

import posix
import sys

from .._seccomp import ffi, lib
from ..errors import OperationError, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..spec.seccomp import Seccomp, Syscall, SyscallArg

    Instruction = tuple[int, int, int, int]  # struct sock_filter: code, jt, jf, k

_EPERM, _ENOSYS = 1, 38
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS, of one filter
_TREE_FROM = 33  # system calls; libseccomp up to 2.5.4 makes wrong trees of none, and short lists need none
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

# <linux/bpf_common.h>, <linux/seccomp.h>
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_RETURN_ENOSYS = 0x00050000 | _ENOSYS  # SECCOMP_RET_ERRNO
_X32_BIT = 0x40000000  # of the number: an x32 call on x86_64


def library_version() -> str:
    """libseccomp's, as "2.5.4"."""
    version = lib.filter_version()
    return f"{version >> 16}.{version >> 8 & 255}.{version & 255}"


def architecture(name: str) -> int:
    """libseccomp's token for "SCMP_ARCH_X86_64", 0 when it knows no such architecture."""
    short = name.removeprefix("SCMP_ARCH_").lower()
    return int(lib.filter_arch(short.encode())) if short else 0


def compile(seccomp: Seccomp) -> bytes:
    """The filter, struct sock_filter[] in the machine's byte order.

    :raises OperationError: what libseccomp or the kernel cannot have
    """
    default = _action("/linux/seccomp/defaultAction", seccomp.default_action, seccomp.default_errno_ret)
    filter = lib.filter_new(default, sum(len(rule.names) for rule in seccomp.syscalls) >= _TREE_FROM)
    if filter == ffi.NULL:
        raise _error("/linux/seccomp/defaultAction", f"libseccomp refuses {seccomp.default_action} as default action")
    try:
        architectures = _add_architectures(filter, seccomp.architectures)
        for index, rule in enumerate(seccomp.syscalls):
            _add_rule(filter, f"/linux/seccomp/syscalls/{index}", rule, default)
        program = _export(filter)
    finally:
        lib.filter_free(filter)
    if seccomp.default_action not in _PERMISSIVE and seccomp.default_errno_ret != _ENOSYS:
        names = [name.encode() for rule in seccomp.syscalls for name in rule.names]
        program = _pack(unknown_calls(_newest(names, architectures))) + program
    if len(program) // 8 > _MAX_INSTRUCTIONS:
        raise _error("/linux/seccomp", f"the filter has {len(program) // 8} instructions, and the kernel takes 4096")
    return program


def _add_architectures(filter: Any, names: tuple[str, ...]) -> list[int]:
    """The tokens of all architectures of the filter: the native one is always in."""
    tokens = [lib.filter_arch(b"")]
    for index, name in enumerate(names):
        pointer = f"/linux/seccomp/architectures/{index}"
        token = architecture(name)
        if not token:
            raise _error(pointer, f"libseccomp {library_version()} does not know {name}")
        _check(lib.filter_add_arch(filter, token), pointer)
        if token not in tokens:
            tokens.append(token)
    return tokens


def _add_rule(filter: Any, pointer: str, rule: Syscall, default: int) -> None:
    action = _action(f"{pointer}/action", rule.action, rule.errno_ret)
    if action == default:
        return
    conditions = [rule.args]
    if len({arg.index for arg in rule.args}) < len(rule.args):
        # The kernel's program could not have two on the same argument in one rule: any of them is enough.
        conditions = [(arg,) for arg in rule.args]
    packed = [_conditions(f"{pointer}/args", args) for args in conditions]
    native, number = lib.filter_arch(b""), ffi.new("int *")
    for name in rule.names:
        if lib.filter_syscall(native, name.encode(), number):
            continue  # of another architecture, or newer than the library
        for condition in packed:
            _check(lib.filter_add_rule(filter, action, number[0], *condition), pointer)


def _conditions(pointer: str, args: tuple[SyscallArg, ...]) -> tuple[Any, ...]:
    """The last arguments of filter_add_rule."""
    compares = [lib.filter_compare(arg.op.encode()) for arg in args]
    for index, (arg, compare) in enumerate(zip(args, compares, strict=True)):
        if compare < 0:
            raise _error(f"{pointer}/{index}/op", f"unknown operator {arg.op}")
    return (
        len(args),
        ffi.new("unsigned int[]", [arg.index for arg in args]),
        ffi.new("int[]", compares),
        ffi.new("unsigned long long[]", [arg.value for arg in args]),
        ffi.new("unsigned long long[]", [arg.value_two for arg in args]),
    )


def _action(pointer: str, name: str, errno: int | None) -> int:
    action = ffi.new("unsigned int *")
    if lib.filter_action(name.encode(), _EPERM if errno is None else errno, action):
        raise _error(pointer, f"{name} is not supported by this version")
    return int(action[0])


def _export(filter: Any) -> bytes:
    fd = posix.memfd_create("seccomp", posix.MFD_CLOEXEC)
    try:
        _check(lib.filter_export(filter, fd), "/linux/seccomp")
        return posix.pread(fd, posix.fstat(fd).st_size, 0)
    finally:
        posix.close(fd)


def _newest(names: list[bytes], architectures: list[int]) -> dict[int, dict[int, int]]:
    """The highest number among the calls, by audit architecture and libseccomp's token."""
    newest: dict[int, dict[int, int]] = {}
    number = ffi.new("int *")
    for token in architectures:
        highest = 0
        for name in names:
            if not lib.filter_syscall(token, name, number):
                highest = max(highest, number[0])
        if highest:
            newest.setdefault(lib.filter_audit_arch(token), {})[token] = highest
    return newest


def unknown_calls(newest: dict[int, dict[int, int]]) -> list[Instruction]:
    """The prefix that answers ENOSYS to calls with higher numbers than any in the profile.

    A C library that finds EPERM for a call that the profile's author could not know gives up, where ENOSYS makes it
    use what was there before.

    :param newest: by audit architecture, the highest number for each of its kinds (x86_64 has two)
    """
    sections: list[list[Instruction]] = [[(_LOAD, 0, 0, _ARCH)]]
    to_filter = (_JUMP, 0, 0, -1)  # its distance is filled in below
    enosys = (_RETURN, 0, 0, _RETURN_ENOSYS)
    x86_64, x32 = lib.filter_arch(b"x86_64"), lib.filter_arch(b"x32")
    multiplexing = (lib.filter_arch(b"s390"), lib.filter_arch(b"s390x"))
    for audit, by_token in newest.items():
        body: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
        if x86_64 in by_token and x32 in by_token:
            body += [
                (_JUMP_SET, 2, 0, _X32_BIT),
                (_JUMP_GREATER, 2, 0, by_token[x86_64]),
                to_filter,
                (_JUMP_GREATER, 0, 1, by_token[x32]),
            ]
        else:
            ((token, highest),) = by_token.items()
            if token == x86_64:  # what the filter says of x32 calls
                body.append((_JUMP_SET, 2, 0, _X32_BIT))
            elif token == x32:
                body.append((_JUMP_SET, 0, 2, _X32_BIT))
            elif token in multiplexing:
                # Calls above 255 go through number 0 there, which stays 0 when the kernel does not know the call.
                body.append((_JUMP_EQUAL, 1, 0, 0))
            body.append((_JUMP_GREATER, 0, 1, highest))
        body += [enosys, to_filter]
        sections.append([(_JUMP_EQUAL, 0, len(body), audit), *body])
    code = [instruction for section in sections for instruction in section]
    return [
        (_JUMP, 0, 0, len(code) - index - 1) if instruction is to_filter else instruction
        for index, instruction in enumerate(code)
    ]


def _pack(code: list[Instruction]) -> bytes:
    order = sys.byteorder
    return b"".join(
        operation.to_bytes(2, order) + bytes((jt, jf)) + k.to_bytes(4, order) for operation, jt, jf, k in code
    )


def _check(error: int, pointer: str) -> None:
    if error < 0:
        raise _error(pointer, reason_of(-error), -error)


def _error(pointer: str, reason: str, errno: int = 0) -> OperationError:
    return OperationError("compile the seccomp filter", pointer, errno, reason)
