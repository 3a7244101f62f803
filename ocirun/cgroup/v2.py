"""cgroup v2 alone (the kernel's cgroup-v2.rst)."""

from __future__ import annotations

import posix

from ..errors import OperationError
from ..host.files import read_file, set_file
from ..plan import parent
from ..plan.cgroup import CgroupDir, Placement
from . import devices
from .paths import below, may_make, writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.host import Host
    from ..plan.ops import Operation
    from ..spec.model import DeviceRule, Spec
    from .resources import Setting

_THREADED_NEVER = frozenset(("memory", "io", "cpu", "hugetlb"))  # as runc counts them


def place(spec: Spec, host: Host, id: str, lenient: bool) -> Placement:
    """As driver.place. cgroupsPath is from the mounted root when absolute, else (and when missing: the id) from the
    parent of the caller's own cgroup: that one has processes, so that no controller may be enabled for its children.
    systemd's form "slice:prefix:name" is a relative path like any other without --systemd-cgroup.

    :raises OperationError: a limit where no cgroup may be made
    """
    hierarchy = host.hierarchies[0]
    wanted = spec.linux.cgroups_path or ""
    name = below(wanted) if wanted else id
    base = hierarchy.mountpoint
    if not wanted.startswith("/"):
        own = hierarchy.own_directory
        base = own.rpartition("/")[0] if own != base else base
    path = f"{base}/{name}" if name else base
    limits = spec.linux.resources
    settings: list[Setting] = []
    if limits and limits.has_limits:
        from . import resources

        settings = resources.v2(limits)
    if lenient and not wanted and not _may_join(path, base):
        if not settings:
            return Placement(directories=(), operations=())
        raise OperationError(
            f"make cgroup {path}",
            settings[0][0],
            0,
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: permission denied",
        )
    pointer = "/linux/cgroupsPath" if wanted else ""
    operations = [parent.cgroup_create(pointer, path=path)]
    directory = CgroupDir(controllers=(), path=path, mountpoint=hierarchy.mountpoint)
    operations += writes(settings, (directory,))
    if devices.may_limit(host):
        operations += device_program(limits.devices if limits else (), path)
    return Placement(directories=(directory,), operations=tuple(operations))


def device_program(rules: Sequence[DeviceRule], path: str) -> list[Operation]:
    """What limits the devices of a cgroup: nothing, where all are allowed."""
    lines = devices.v2(rules)
    return [parent.cgroup_devices("/linux/resources/devices", path=path, rules=lines)] if lines else []


def _may_join(path: str, base: str) -> bool:
    """Whether the caller may make the cgroup and put a process of its own cgroup into it: the kernel asks for write
    access to cgroup.procs of their common ancestor, too."""
    return may_make(path) and posix.access(f"{base}/cgroup.procs", posix.W_OK, effective_ids=True)


def create(directory: CgroupDir, operations: Sequence[Operation], made: list[str]) -> None:
    """Make the directory and its missing parents (noted in ``made``, parents first) with all controllers enabled for
    it that can be.

    :raises OSError: the kernel's
    :raises OperationError: it is in a threaded subtree, and has limits that work only outside
    """
    path = directory.mountpoint
    for part in directory.path[len(path) :].strip("/").split("/"):
        _enable(path)
        path = f"{path}/{part}".rstrip("/")
        try:
            posix.mkdir(path, 0o755)
            made.append(path)
        except FileExistsError:
            pass
    try:
        kind = read_file(f"{path}/cgroup.type").strip().decode()
    except FileNotFoundError:  # the root
        return
    if kind in ("domain", "domain threaded"):
        return
    for operation in operations:
        controller = operation[3][0].rpartition("/")[2].partition(".")[0]
        if operation[2] == "cgroup_write" and controller in _THREADED_NEVER:
            from ..plan.show import describe

            state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
            reason = f"cannot enter cgroupv2 {path} with domain controllers -- it is in {state} (cgroup.type)"
            raise OperationError(describe(operation), operation[1], 0, f"no controller {controller} there: {reason}")
    if kind == "domain invalid":
        set_file(f"{path}/cgroup.type", b"threaded")


def _enable(path: str) -> None:
    """Enable every available controller for the children. Failures show when a limit is written."""
    available = read_file(f"{path}/cgroup.controllers").split()
    control = f"{path}/cgroup.subtree_control"
    missing = [b"+" + c for c in available if c not in read_file(control).split()]
    if not missing:
        return
    try:
        set_file(control, b" ".join(missing))
    except OSError:  # all or nothing; one that cannot be must not keep the others away
        for word in missing:
            try:
                set_file(control, word)
            except OSError:
                pass
