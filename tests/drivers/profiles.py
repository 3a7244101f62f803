"""Seccomp profiles of the size and shape of those that engines write, made from libseccomp's own table of calls."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

Profile = dict[str, Any]

AUDIT_ARCH = {  # <linux/audit.h>
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
}
ARCHITECTURES = {  # of a machine: its own and those of its other programs
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}[os.uname().machine]

EPERM, ENOSYS = 1, 38
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* of clone(2)

# What a container has no business with, by what it would reach.
ADMINISTRATION = {
    "the kernel's code": "bpf create_module delete_module finit_module init_module kexec_file_load kexec_load"
    " get_kernel_syms query_module reboot",
    "the host's clock, name and devices": "acct clock_adjtime clock_adjtime64 clock_settime clock_settime64 ioperm iopl"
    " lookup_dcookie quotactl quotactl_fd setdomainname sethostname settimeofday stime swapoff swapon syslog vhangup",
    "file systems and namespaces": "fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_by_handle_at"
    " open_tree pivot_root setns umount umount2 unshare",
    "other processes and their memory": "add_key fanotify_init get_mempolicy kcmp keyctl mbind migrate_pages move_pages"
    " perf_event_open pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace request_key"
    " set_mempolicy set_mempolicy_home_node userfaultfd",
    "much of the kernel for little": "io_uring_enter io_uring_register io_uring_setup nfsservctl sysfs _sysctl uselib"
    " ustat vm86 vm86old",
    "what was never there": "afs_syscall break getpmsg gtty idle lock mpx prof profil putpmsg security stty tuxcall"
    " ulimit vserver",
}
LATER = {"listmount", "mseal", "no_such_call_yet", "statmount"}  # that the library may not know
CONDITIONAL = {"chroot", "clone", "clone3", "personality", "socket"}


@cache
def calls(architecture: str) -> tuple[str, ...]:
    """The names of its calls that libseccomp knows, in the order of their numbers."""
    name_of = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_num_arch
    name_of.argtypes, name_of.restype = (ctypes.c_uint32, ctypes.c_int), ctypes.c_char_p  # never freed: a few KiB
    found = (name_of(AUDIT_ARCH[architecture], number) for number in range(600))
    return tuple(name.decode() for name in found if name is not None)


def refused() -> list[str]:
    """The calls for administrators, in alphabetical order."""
    return sorted(name for names in ADMINISTRATION.values() for name in names.split())


def allowed() -> list[str]:
    """All others that libseccomp knows on this machine, but for those with conditions; and some that it does not."""
    known = {name for one in ARCHITECTURES if one in AUDIT_ARCH for name in calls(one)}
    return sorted((known | LATER) - set(refused()) - CONDITIONAL)


def allow(*names: str, **condition: Any) -> Profile:
    rule: Profile = {"names": list(names), "action": "SCMP_ACT_ALLOW"}
    return rule | ({"args": [condition]} if condition else {})


def refuse(errno: int, *names: str) -> Profile:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}


def conditions() -> list[Profile]:
    """No namespaces, no sockets to the hypervisor, no personality that weakens. Clone3's flags are in memory, where no
    filter sees them: libraries are to take clone."""
    return [
        allow("socket", index=0, value=40, op="SCMP_CMP_NE"),
        *(allow("personality", index=0, value=one, op="SCMP_CMP_EQ") for one in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)),
        allow("clone", index=0, value=NEW_NAMESPACES, valueTwo=0, op="SCMP_CMP_MASKED_EQ"),
        refuse(ENOSYS, "clone3"),
        allow("chroot"),
    ]


def profile(*syscalls: Profile, errno: int | None = None) -> Profile:
    """A list of what may be called."""
    default = {} if errno is None else {"defaultErrnoRet": errno}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        **default,
        "architectures": ARCHITECTURES,
        "syscalls": list(syscalls),
    }


# Docker names the errno of what is not listed, containerd leaves it to the runtime; for Podman it is "no such call",
# so that it has to say of every call that it means that it is not permitted.
PROFILES: dict[str, Profile] = {
    "docker": profile(
        allow(*allowed()), allow("ptrace", "process_vm_readv", "process_vm_writev"), *conditions(), errno=EPERM
    ),
    "containerd": profile(allow(*allowed()), allow("process_vm_readv", "ptrace"), *conditions()),
    "podman": profile(refuse(EPERM, *refused()), allow(*allowed()), *conditions(), errno=ENOSYS),
}
