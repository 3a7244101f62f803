"""cgroup v1, and hybrid: v1 hierarchies with the controllers, and one of v2 without."""

from __future__ import annotations

import posix

from ..host.files import read_file, set_file
from ..plan import parent
from ..plan.cgroup import SYSTEMD_TREE, CgroupDir, Placement
from . import devices
from .paths import below, may_make, writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.host import Host
    from ..plan.ops import Operation
    from ..spec.model import Spec
    from .resources import Setting

# Hierarchies that runc joins; others with a name, and those of controllers unknown to it, are left alone.
_CONTROLLERS = frozenset(
    (
        "cpuset",
        "devices",
        "memory",
        "cpu",
        "cpuacct",
        "pids",
        "blkio",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "freezer",
        "rdma",
        "misc",
    )
)


def place(spec: Spec, host: Host, id: str, lenient: bool) -> Placement:
    """As driver.place. cgroupsPath is from the root of each hierarchy when absolute, else (and when missing: the id)
    from the caller's own cgroup. systemd's form "slice:prefix:name" is a relative path like any other
    without --systemd-cgroup.

    :raises OperationError: a limit that cannot be set on this host
    """
    wanted = spec.linux.cgroups_path or ""
    name = below(wanted) if wanted else id
    directories = []
    for hierarchy in host.hierarchies:
        controllers = hierarchy.controllers
        if not is_joined(controllers):
            continue
        base = hierarchy.mountpoint
        if not wanted.startswith("/"):
            base = hierarchy.own_directory
        path = f"{base}/{name}" if name else base
        if lenient and not wanted and not (may_make(path) and (controllers or _may_be_born(base))):
            continue
        directories.append(CgroupDir(controllers=controllers, path=path, mountpoint=hierarchy.mountpoint))
    pointer = "/linux/cgroupsPath" if wanted else ""
    operations = [parent.cgroup_create(pointer, path=d.path) for d in directories]
    operations += _writes(spec, host, directories, lenient)
    return Placement(directories=tuple(directories), operations=tuple(operations))


def is_joined(controllers: tuple[str, ...]) -> bool:
    """Whether containers have a cgroup in the hierarchy of these controllers."""
    return not controllers or controllers == SYSTEMD_TREE or not _CONTROLLERS.isdisjoint(controllers)


def _may_be_born(base: str) -> bool:
    """Whether a process of the cgroup may clone one into a cgroup below (clone3(2), cgroups(7) on delegation)."""
    return posix.access(f"{base}/cgroup.procs", posix.W_OK, effective_ids=True)


def _writes(spec: Spec, host: Host, directories: list[CgroupDir], lenient: bool) -> list[Operation]:
    limits = spec.linux.resources
    settings: list[Setting] = []
    there = any("devices" in directory.controllers for directory in directories)
    if devices.may_limit(host) and (there or not lenient):
        settings += devices.v1(limits.devices if limits else ())
    if limits and limits.has_limits:
        from . import resources

        settings += resources.v1(limits)
    return writes(settings, directories)


def create(directory: CgroupDir, made: list[str]) -> bool:
    """Make the directory and its missing parents, and note them in ``made``, parents first. Was it not there before?

    :raises OSError: the kernel's
    """
    new = True
    try:
        posix.mkdir(directory.path, 0o755)
        made.append(directory.path)
    except FileExistsError:
        new = False
    except FileNotFoundError:
        path = directory.mountpoint
        for part in directory.path[len(path) :].strip("/").split("/"):
            path = f"{path}/{part}"
            try:
                posix.mkdir(path, 0o755)
                made.append(path)
            except FileExistsError:
                pass
    if "cpuset" in directory.controllers:
        _inherit(directory.path, directory.mountpoint, new)
    return new


def _inherit(path: str, mountpoint: str, new: bool) -> None:
    """Give a cpuset its parent's CPUs and memory nodes where it has none: nobody can join one without."""
    if path == mountpoint:
        return
    above = path.rpartition("/")[0]
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not new and read_file(f"{path}/{file}").strip():
            continue
        value = read_file(f"{above}/{file}")
        if not value.strip():
            _inherit(above, mountpoint, False)
            value = read_file(f"{above}/{file}")
        set_file(f"{path}/{file}", value)
