"""For the tests of seccomp: the machine that a filter runs on (bpf(4), seccomp(2)), profiles as records, and the
filter that runc makes of a profile, taken from a process of its."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import struct
import subprocess
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from harness import base_config, libc

from ocirun.spec.read import read_tree
from ocirun.spec.seccomp import Seccomp

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028  # <linux/audit.h>
X32 = 0x40000000
ALLOW, KILL_PROCESS, KILL_THREAD, TRAP, LOG = 0x7FFF0000, 0x80000000, 0x00000000, 0x00030000, 0x7FFC0000
ERRNO, TRACE = 0x00050000, 0x7FF00000


@cache
def _decoded(program: bytes) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("=HBBI", program))


def execute(program: bytes, arch: int, number: int, *arguments: int, steps: list[int] | None = None) -> int:
    """What the kernel gets from the program for a call: SECCOMP_RET_* with its data.

    :param steps: gets the number of instructions that it took
    """
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=iIQ6Q", number - (1 << 32) if number >> 31 else number, arch, 0, *padded)
    code = _decoded(program)
    position = accumulator = 0
    memory: dict[int, int] = {}
    for step in count(1):
        operation, jt, jf, k = code[position]
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif operation == 0x05:
            position += k
        elif operation == 0x15:
            position += jt if accumulator == k else jf
        elif operation == 0x25:
            position += jt if accumulator > k else jf
        elif operation == 0x35:
            position += jt if accumulator >= k else jf
        elif operation == 0x45:
            position += jt if accumulator & k else jf
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x02:
            memory[k] = accumulator
        elif operation == 0x60:
            accumulator = memory[k]
        elif operation == 0x06:
            if steps is not None:
                steps.append(step)
            return int(k)
        else:
            raise AssertionError(f"unknown instruction {operation:#x}")
    raise AssertionError


def record(raw: dict[str, Any]) -> Seccomp:
    """linux.seccomp as a record, as it is read from a configuration."""
    found = read_tree({"linux": {"seccomp": raw}}, []).linux.seccomp
    assert found is not None
    return found


PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_SECCOMP_GET_FILTER = 17, 0x4206, 0x4207, 0x420C


def filters_of_runc(profile: dict[str, Any], scratch: Path, probe: Path) -> list[bytes]:
    """The programs that the kernel has for the process of a container of runc's, the last one loaded first."""
    id = f"ocirun-seccomp-{os.getpid()}"
    config = base_config(id)
    config["process"]["args"] = ["/probe", "pause"]
    config["linux"]["seccomp"] = profile
    bundle = scratch / "bundle"
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(probe, bundle / "rootfs" / "probe")
    (bundle / "config.json").write_text(json.dumps(config))
    runc = ["runc", "--root", str(scratch / "root")]
    result = subprocess.run(
        [*runc, "run", "--detach", "--bundle", str(bundle), "--pid-file", str(scratch / "pid"), id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(scratch / "log").open("w"),
    )
    try:
        if result.returncode:
            raise AssertionError((scratch / "log").read_text())
        return _of_process(int((scratch / "pid").read_text()))
    finally:
        subprocess.run([*runc, "delete", "--force", id], stderr=subprocess.DEVNULL, check=False)
        with contextlib.suppress(ChildProcessError):  # ours where we are a subreaper
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _of_process(pid: int) -> list[bytes]:
    def ptrace(request: int, address: int, data: Any) -> int:
        result = int(libc.ptrace(request, pid, ctypes.c_void_p(address), data))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")
        return result

    ptrace(PTRACE_SEIZE, 0, None)
    ptrace(PTRACE_INTERRUPT, 0, None)
    os.waitpid(pid, 0x40000000)  # __WALL
    found: list[bytes] = []
    try:
        while True:
            count = ptrace(PTRACE_SECCOMP_GET_FILTER, len(found), None)
            buffer = ctypes.create_string_buffer(count * 8)
            ptrace(PTRACE_SECCOMP_GET_FILTER, len(found), buffer)
            found.append(buffer.raw)
    except FileNotFoundError:
        return found
    finally:
        ptrace(PTRACE_DETACH, 0, None)
