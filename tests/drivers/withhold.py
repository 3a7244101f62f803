"""Runs a command as if the kernel, or a seccomp filter around it, knew nothing of some system calls.

    python withhold.py ERRNO CALL,CALL... COMMAND...

Old kernels answer ENOSYS, filters that are older than a call EPERM (libseccomp before 2.5, Docker before 20.10). As
root, without no_new_privs: what the command drops to is still stopped by the same filter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# asm/unistd.h; from 424 on the same everywhere.
NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "mount_setattr": 442,
    "fchmodat2": 452,
    "statmount": 457,
    "listmount": 458,
    **(
        {"memfd_create": 279, "execveat": 281, "statx": 291, "getrandom": 278, "seccomp": 277, "bpf": 280}
        | {"add_key": 217, "keyctl": 219, "prlimit64": 261, "renameat2": 276, "copy_file_range": 285}
        if platform.machine() == "aarch64"
        else {"memfd_create": 319, "execveat": 322, "statx": 332, "getrandom": 318, "seccomp": 317, "bpf": 321}
        | {"add_key": 248, "keyctl": 250, "prlimit64": 302, "renameat2": 316, "copy_file_range": 326}
    ),
}

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def program(number: int, calls: list[str]) -> bytes:
    """The filter, as struct sock_filter[]."""
    lines = [struct.pack("=HBBI", LOAD, 0, 0, 0)]  # seccomp_data.nr
    for n, call in enumerate(calls):
        lines.append(struct.pack("=HBBI", EQUAL, len(calls) - n, 0, NUMBERS[call]))
    lines.append(struct.pack("=HBBI", RETURN, 0, 0, ALLOW))
    lines.append(struct.pack("=HBBI", RETURN, 0, 0, ERRNO | number))
    return b"".join(lines)


def main() -> None:
    number, calls = getattr(errno, sys.argv[1]), sys.argv[2].split(",")
    data = ctypes.create_string_buffer(program(number, calls))
    fprog = ctypes.create_string_buffer(struct.pack("@HP", len(calls) + 3, ctypes.addressof(data)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "install the filter")
    os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
