"""What this host can do: the conditions under which a case can be tested here at all."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

libc = ctypes.CDLL(None, use_errno=True)

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER = 0x10000000
MS_BIND, MS_REC, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x1000, 0x4000, 1 << 17, 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2


def mount(source: str, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2); OSError where it fails."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype, data)]
    if libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def unmount(target: str) -> None:
    """umount2(2) with MNT_DETACH; OSError where it fails."""
    if libc.umount2(os.fsencode(target), MNT_DETACH) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unmount {target}: {os.strerror(number)}")


def isolate() -> None:
    """Make this process the reaper of what runtimes orphan, and, as root, give it a mount namespace of its own, so that
    no mount of a broken runtime outlives the suite, with uts and ipc namespaces against one that forgets to make them.
    """
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.geteuid() != 0:
        return
    if libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot make a mount namespace for the suite: {os.strerror(number)}")
    mount("none", "/", None, MS_REC | MS_PRIVATE)


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo, see proc_pid_mountinfo(5)."""

    id: int
    parent: int
    root: str
    point: str
    options: frozenset[str]
    tags: tuple[str, ...]
    type: str
    source: str
    super_options: frozenset[str]


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of a mountinfo file, in its order: what is mounted last comes last."""
    result = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(" "), after.split(" ")
        root, point = (_unescape(word) for word in words[3:5])
        result.append(
            Mount(
                int(words[0]),
                int(words[1]),
                root,
                point,
                frozenset(words[5].split(",")),
                tuple(words[6:]),
                rest[0],
                _unescape(rest[1]),
                frozenset(rest[2].split(",")),
            )
        )
    return result


def _unescape(word: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(octal, character)
    return word


class Cgroups:
    """The cgroup hierarchies of this host."""

    def __init__(self, mountinfo: str) -> None:
        mounts = [one for one in parse_mountinfo(mountinfo) if one.type in ("cgroup", "cgroup2")]
        self.v1: dict[str, Mount] = {}
        """Each controller of v1, and each named hierarchy as ``name=systemd``, to its mount."""
        self.v2: Mount | None = None
        for one in mounts:
            if one.type == "cgroup2":
                self.v2 = self.v2 or one
            else:
                for option in one.super_options - {"rw", "ro", "xattr", "clone_children", "noprefix"}:
                    self.v1.setdefault(option, one)

    @property
    def version(self) -> Literal["v1", "hybrid", "v2"]:
        if not self.v1:
            return "v2"
        return "hybrid" if self.v2 else "v1"

    def controllers_v2(self) -> set[str]:
        """Those that the unified hierarchy has."""
        if self.v2 is None:
            return set()
        try:
            return set(Path(self.v2.point, "cgroup.controllers").read_text().split())
        except OSError:
            return set()

    def directories(self, lines: str) -> dict[str, Path]:
        """Where a process is: each v1 controller, and ``unified`` for v2, to the directory of its cgroup.

        :param lines: the text of its /proc/PID/cgroup
        """
        result = {}
        for line in lines.splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(",") if controllers else ["unified"]:
                one = self.v2 if name == "unified" else self.v1.get(name)
                if one is not None:
                    below = path[len(one.root) :] if one.root != "/" and path.startswith(one.root) else path
                    result[name] = Path(one.point, below.lstrip("/"))
        return result

    def points(self) -> list[Path]:
        """Where the hierarchies are mounted."""
        every = [*self.v1.values(), *([self.v2] if self.v2 else [])]
        return sorted({Path(one.point) for one in every})


@functools.cache
def cgroups() -> Cgroups:
    return Cgroups(Path("/proc/self/mountinfo").read_text())


def _is_root() -> str:
    return "" if os.geteuid() == 0 else "takes root"


def _is_ordinary() -> str:
    return "is about a user who is not root" if os.geteuid() == 0 else ""


def _has_cgroup_v1() -> str:
    return "" if cgroups().v1 else "this host has no cgroup v1"


def _has_cgroup_v2() -> str:
    """Pure: on a hybrid host runtimes use v1."""
    return "" if cgroups().version == "v2" else "this host has no pure cgroup v2"


def _has_namespace(kind: str) -> str:
    name = {"mount": "mnt", "network": "net"}.get(kind, kind)
    return "" if Path("/proc/self/ns", name).exists() else f"this kernel has no {kind} namespaces"


def _has_userns() -> str:
    if _has_namespace("user"):
        return _has_namespace("user")
    if os.geteuid() == 0:
        # A chroot, or a limit of none, forbids them to everyone.
        try:
            if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
                return "user.max_user_namespaces is 0 on this host"
        except OSError:
            pass
        return ""
    result = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    return "" if result.returncode == 0 else "this host gives ordinary users no user namespace"


def _has_seccomp() -> str:
    return "" if Path("/proc/sys/kernel/seccomp").is_dir() else "this kernel has no seccomp filters"


def _has_apparmor() -> str:
    return "" if Path("/sys/kernel/security/apparmor/profiles").exists() else "AppArmor is not enabled on this host"


def _has_selinux() -> str:
    return "" if Path("/sys/fs/selinux/enforce").exists() else "SELinux is not enabled on this host"


def _has_resctrl() -> str:
    with open("/proc/self/mountinfo") as file:
        found = any(one.type == "resctrl" for one in parse_mountinfo(file.read()))
    return "" if found else "no resctrl file system is mounted on this host"


def _has_no_resctrl() -> str:
    return "" if _has_resctrl() else "a resctrl file system is mounted on this host"


def _has_controller(name: str) -> str:
    groups = cgroups()
    there = name in groups.v1 or (groups.version == "v2" and name in groups.controllers_v2())
    return "" if there else f"this host's cgroups have no controller {name}"


def _has_file_system(name: str) -> str:
    listed = Path("/proc/filesystems").read_text().split()
    return "" if name in listed else f"this kernel has no {name}"


def _has_tool(name: str) -> str:
    return "" if shutil.which(name) else f"the program {name} is not installed"


def _has_processors(count: str) -> str:
    here = len(os.sched_getaffinity(0))
    return "" if here >= int(count) else f"takes {count} processors, and there are {here}"


def _has_kernel(version: str) -> str:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in text.split("-")[0].split(".")[:2])

    here = platform.release()
    return "" if numbers(here) >= numbers(version) else f"takes kernel {version}, and this is {here}"


def _has_machine(name: str) -> str:
    return "" if platform.machine() == name else f"is about {name}, and this is {platform.machine()}"


def _has_path(path: str) -> str:
    return "" if os.path.exists(path) else f"there is no {path} here"


def _has_capability(name: str) -> str:
    """Whether this process has it in effect, by its number in capability.h."""
    numbers = {"sys_nice": 23, "sys_resource": 24, "sys_admin": 21, "net_admin": 12}
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and int(line.split()[1], 16) >> numbers[name] & 1:
            return ""
    return f"this process has no CAP_{name.upper()}"


CONDITIONS: dict[str, Callable[[], str]] = {
    "root": _is_root,
    "ordinary": _is_ordinary,
    "cgroup-v1": _has_cgroup_v1,
    "cgroup-v2": _has_cgroup_v2,
    "userns": _has_userns,
    "seccomp": _has_seccomp,
    "apparmor": _has_apparmor,
    "selinux": _has_selinux,
    "resctrl": _has_resctrl,
    "no-resctrl": _has_no_resctrl,
}

CONDITIONS_OF: dict[str, Callable[[str], str]] = {
    "controller": _has_controller,
    "namespace": _has_namespace,
    "filesystem": _has_file_system,
    "tool": _has_tool,
    "processors": _has_processors,
    "kernel": _has_kernel,
    "machine": _has_machine,
    "path": _has_path,
    "capability": _has_capability,
}


@functools.cache
def lacks(need: str) -> str:
    """Why this host does not have what a case needs, or "".

    :param need: a name of CONDITIONS, or KIND:NAME with a kind of CONDITIONS_OF; KeyError for any other
    """
    kind, colon, name = need.partition(":")
    return CONDITIONS_OF[kind](name) if colon else CONDITIONS[kind]()
