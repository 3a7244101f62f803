"""The configuration of a program that is run: closed, and open where an argument says so."""

from __future__ import annotations

import posix

from ..errors import UsageError
from ..spec.document import VERSION, Spec
from . import rootfs as roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .limits import Limits
    from .mount import Mount
    from .rootfs import Rootfs

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOBODY = (65534, 65534)
_IDS = 65536

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/scsi",
    "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def compose(
    args: Sequence[str],
    *,
    rootfs: Rootfs,
    root: str,
    first: list[dict[str, Any]],
    limits: Limits,
    without: frozenset[str],
    env: Mapping[str, str],
    cwd: str,
    user: tuple[int, int] | None,
    network: bool,
    mounts: Iterable[Mount],
    tmp_size: int,
    capabilities: Iterable[str],
    seccomp: dict[str, Any] | None,
    new_privileges: bool,
    hostname: str,
) -> Spec:
    """The configuration. Nothing of it is copied.

    :param root: the path that ``rootfs`` was made up at, and ``first`` what is mounted there
    :param without: limits that are done without
    :raises UsageError: an argument is wrong
    """
    euid = posix.geteuid()
    if user is None:
        user = NOBODY if euid == 0 else (0, 0)
    elif euid and user != (0, 0):
        raise UsageError(f"user: an ordinary user can only be (0, 0) inside, which stands for itself; found {user!r}")
    names = [*capabilities]
    tree = {
        "ociVersion": VERSION,
        "process": {
            "args": [*args],
            "cwd": cwd,
            "env": [f"{key}={value}" for key, value in {"PATH": PATH, "HOME": "/tmp", **env}.items()],
            "user": {"uid": user[0], "gid": user[1]},
            "capabilities": {kind: names for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
            "rlimits": limits.rlimits(),
            "noNewPrivileges": not new_privileges,
        },
        "root": {"path": root, "readonly": rootfs.read_only},
        "hostname": hostname,
        "mounts": [*first, *_private(tmp_size), *[mount.entry for mount in mounts]],
        "linux": {
            "namespaces": [{"type": type} for type in _namespaces(network)],
            **_mappings(euid, user),
            "resources": limits.resources(without),
            "maskedPaths": [*_MASKED, *roots.hidden(rootfs)],
            "readonlyPaths": [*_READONLY],
        },
    }
    if seccomp is not None:
        tree["linux"]["seccomp"] = seccomp  # type: ignore[index]
    return Spec.adopted(tree)


def _namespaces(network: bool) -> list[str]:
    types = ["user", "mount", "pid", "ipc", "uts"]
    if not network:
        types.append("network")
    try:
        posix.stat("/proc/self/ns/cgroup")
    except OSError:  # a kernel without
        return types
    return [*types, "cgroup"]


def _mappings(euid: int, user: tuple[int, int]) -> dict[str, Any]:
    """Of root every id that the program might have, as it is: files of the host keep their owners. Of others their own,
    as root's: without capabilities that is a name."""
    if euid:
        pairs = ((euid, 1), (posix.getegid(), 1))
    else:
        size = max(_IDS, *[id + 1 for id in user])
        pairs = ((0, size), (0, size))
    return {
        key: [{"containerID": 0, "hostID": first, "size": size}]
        for key, (first, size) in zip(("uidMappings", "gidMappings"), pairs, strict=True)
    }


def _private(tmp_size: int) -> list[dict[str, Any]]:
    """What every program has for itself."""

    def mount(destination: str, type: str, *options: str) -> dict[str, Any]:
        return {"destination": destination, "type": type, "source": type, "options": ["nosuid", *options]}

    return [
        mount("/proc", "proc", "noexec", "nodev"),
        mount("/dev", "tmpfs", "noexec", "strictatime", "mode=755", "size=64k"),
        mount("/dev/pts", "devpts", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/dev/shm", "tmpfs", "noexec", "nodev", "mode=1777", f"size={tmp_size}"),
        mount("/tmp", "tmpfs", "nodev", "mode=1777", f"size={tmp_size}"),
    ]
