"""The driver of a container's cgroup: where it is to be, and making it.

Which version the host has decides between v1.py and v2.py (where, and which writes), --systemd-cgroup for systemd.py;
limits as data are in resources.py, device rules in devices.py, both for systemd in properties.py. Who is in a cgroup
that exists is for members.py.

A container has one directory of cgroup v2, or one in each v1 hierarchy, or (hybrid) those and one of v2 without
controllers. No function here moves a process: that would be a write to cgroup.procs, which waits for RCU; the init
joins by itself (`tasks` on v1) or is born there (CLONE_INTO_CGROUP). Only systemd moves one: PID 1, into its scope.
"""

from __future__ import annotations

from ..errors import HostError
from . import members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir, Placement, Unit
    from ..plan.host import Host
    from ..plan.ops import Operation
    from ..spec.model import Spec


def place(spec: Spec, host: Host, id: str, rootless: str, systemd: bool = False) -> Placement:
    """Decide on a container's cgroup; nothing is made yet.

    :param rootless: "true", "false" or "auto", the global flag: whether a cgroup that nobody asked for, and that may
        not be made, is done without; and with systemd, whether it is a user's
    :param systemd: it is systemd that makes the cgroup
    :raises ConfigError: cgroupsPath or an annotation is none for systemd
    :raises HostError: there is no cgroup hierarchy, or no systemd
    :raises OperationError: a limit that cannot be set on this host
    """
    lenient = rootless == "true" or (rootless == "auto" and (host.euid != 0 or host.in_user_namespace))
    if not host.hierarchies and not (lenient and not systemd):
        raise HostError(
            "no cgroup hierarchy is mounted at /sys/fs/cgroup (with --rootless=true a container can do without,"
            " where none is asked for)"
        )
    if systemd:
        from .systemd import of_user
        from .systemd import place as place_unit

        return place_unit(spec, host, id, of_user(host, rootless))
    if host.unified:
        from . import v2

        return v2.place(spec, host, id, lenient)
    from . import v1

    return v1.place(spec, host, id, lenient)


def perform(directories: Sequence[CgroupDir], operations: Sequence[Operation]) -> None:
    """Make the cgroup and set its limits. After a failure nothing that was made is left.

    :raises HostError: the cgroup exists with processes in it, or frozen
    :raises OperationError: an operation failed
    """
    from .create import perform as create

    create(directories, operations)


def refuse_used(directories: Sequence[CgroupDir]) -> None:
    """Before systemd makes a cgroup.

    :raises HostError: it exists with processes in it, or frozen
    """
    from .create import refuse_used as refuse

    refuse(directories)


def remove(directories: Sequence[CgroupDir], unit: Unit | None) -> None:
    """Remove the container's cgroup, after its processes. What is gone already is no error.

    :raises HostError: it does not go, mostly because a process is still in it
    """
    if unit is not None:
        from .systemd import stop

        stop(unit)
    members.remove(directories)
