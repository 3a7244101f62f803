"""The driver of a container's cgroup: where it is to be, and making it.

Which version the host has decides between v1.py and v2.py (where, and which writes); limits as data are in
resources.py, device rules in devices.py. Who is in a cgroup that exists is for members.py.

A container has one directory of cgroup v2, or one in each v1 hierarchy, or (hybrid) those and one of v2 without
controllers. No function here moves a process: that would be a write to cgroup.procs, which waits for RCU; the init
joins by itself (`tasks` on v1) or is born there (CLONE_INTO_CGROUP).
"""

from __future__ import annotations

from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir, Placement
    from ..plan.host import Host
    from ..plan.ops import Operation
    from ..spec.model import Spec


def place(spec: Spec, host: Host, id: str, rootless: str) -> Placement:
    """Decide on a container's cgroup; nothing is made yet.

    :param rootless: "true", "false" or "auto", the global flag: whether a cgroup that nobody asked for, and that may
        not be made, is done without
    :raises OperationError: a limit that cannot be set on this host
    """
    lenient = rootless == "true" or (rootless == "auto" and (host.euid != 0 or host.in_user_namespace))
    if not host.hierarchies and not lenient:
        raise HostError(
            "no cgroup hierarchy is mounted at /sys/fs/cgroup (with --rootless=true a container can do without,"
            " where none is asked for)"
        )
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
