"""The device program of a cgroup v2 directory: assembled, loaded and attached with bpf(2)."""

from __future__ import annotations

import posix
import sys

from ..host.native import ffi, lib

# <linux/bpf.h>, the kernel's bpf/standardization/instruction-set.rst
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF  # BPF_ALU64 | BPF_MOV | BPF_K, BPF_X
_AND, _SHIFT_RIGHT = 0x57, 0x77  # BPF_ALU64 | BPF_AND, BPF_RSH | BPF_K
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_NOT_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_JUMP_NOT_EQUAL_32 = 0x56  # BPF_JMP32 | BPF_JNE | BPF_K
_EXIT = 0x95
_RESULT, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _SCRATCH = 0, 1, 2, 3, 4, 5, 1
_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_
_ACCESSES = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_


def program(rules: str) -> bytes:
    """The BPF_PROG_TYPE_CGROUP_DEVICE program for rules of devices.v2(): 1 allows, 0 denies.

    An exception denies when any of the accesses asked for is in it, and allows only when all are. As on v1 each
    exception is asked by itself: "r" and "w" of two rules do not add up to "rw".
    """
    first, *rest = rules.split("\n")
    allow = first.startswith("allow")
    code = [
        # struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        _instruction(_MOVE_REGISTER, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, immediate=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, immediate=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in rest:
        code += _exception(rule, allow)
    code += [_instruction(_MOVE, _RESULT, immediate=int(allow)), _instruction(_EXIT)]
    return b"".join(code)


def _exception(rule: str, allow: bool) -> list[bytes]:
    _, kind, number, access = rule.split(" ")
    major, minor = number.split(":")
    mask = 0
    for letter in access:
        mask |= _ACCESSES[letter]
    body = [
        _instruction(_MOVE_REGISTER, _SCRATCH, _ACCESS),
        # The accesses in the exception, or (where it allows) those outside of it: are there any?
        _instruction(_AND, _SCRATCH, immediate=mask if allow else 7 & ~mask),
    ]
    tail = [_instruction(_MOVE, _RESULT, immediate=int(not allow)), _instruction(_EXIT)]
    conditions = [(_TYPE, _TYPES[kind])]
    if major != "*":
        conditions.append((_MAJOR, int(major)))
    if minor != "*":
        conditions.append((_MINOR, int(minor)))
    size = len(conditions) + len(body) + 1 + len(tail)
    code = [
        _instruction(_JUMP_NOT_EQUAL_32, register, offset=size - index - 1, immediate=value)
        for index, (register, value) in enumerate(conditions)
    ]
    code += body
    if allow:  # any access in the exception: fall into the denial; none: on
        code += [_instruction(_JUMP_EQUAL, _SCRATCH, offset=len(tail), immediate=0)]
    else:  # an access outside of it: on
        code += [_instruction(_JUMP_NOT_EQUAL, _SCRATCH, offset=len(tail), immediate=0)]
    return code + tail


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """One struct bpf_insn."""
    little = sys.byteorder == "little"
    registers = source << 4 | destination if little else destination << 4 | source
    order = "little" if little else "big"
    return (
        bytes((code, registers))
        + (offset & 0xFFFF).to_bytes(2, order)  # type: ignore[arg-type]
        + (immediate & 0xFFFFFFFF).to_bytes(4, order)  # type: ignore[arg-type]
    )


def attach(path: str, rules: str) -> None:
    """Load the program for the rules and attach it to a cgroup v2 directory.

    :raises OSError: the kernel refuses
    """
    code = program(rules)
    fd = lib.sys_bpf_prog_load(ffi.from_buffer(code), len(code) // 8, ffi.NULL, 0)
    if fd < 0:
        raise OSError(-fd, posix.strerror(-fd))
    try:
        directory = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            # BPF_F_ALLOW_MULTI: programs of the cgroups below are asked as well.
            error = lib.sys_bpf_attach_device(directory, fd, 2)
        finally:
            posix.close(directory)
    finally:
        posix.close(fd)
    if error < 0:
        raise OSError(-error, posix.strerror(-error))
