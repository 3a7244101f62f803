"""What create would do for a configuration on this host, and nothing of it done."""

from __future__ import annotations

from ..cgroup import driver
from ..host import facts
from ..plan.build import build
from ..plan.draft import Options
from ..store.state import hook_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan.draft import Plan
    from ..spec.model import Spec

ID = "ID"  # stands for the container's, which only create is told


def planned(
    spec: Spec,
    bundle: str,
    *,
    no_pivot: bool,
    new_keyring: bool,
    preserve_fds: int,
    rootless: str,
    systemd_cgroup: bool = False,
) -> tuple[Plan, bool]:
    """The plan, and whether it is that of root's create: what an ordinary user cannot create at all is planned so.

    :param spec: that the rules accept
    :param bundle: an absolute path
    :param rootless: as for driver.place(), and systemd_cgroup too
    :raises ConfigError: the configuration asks for what cannot be done
    :raises OperationError: for a limit that cannot be set on this host
    """
    host = facts.host(spec, spec.process)
    as_root = bool(host.euid) and spec.linux.namespace("user") is None
    if as_root:
        host = host.as_root()
    options = Options(
        id=ID,
        bundle=bundle,
        no_pivot=no_pivot,
        new_keyring=new_keyring,
        preserve_fds=preserve_fds,
        console=spec.process.terminal,
        state_creating=hook_state(ID, bundle, "creating", spec.annotations),
        state_created=hook_state(ID, bundle, "created", spec.annotations),
    )
    filter = None
    if spec.linux.seccomp:
        from ..seccomp.cache import compile_filter  # and libseccomp with it

        filter = compile_filter(spec.linux.seccomp)
    placement = driver.place(spec, host, ID, rootless, systemd_cgroup)
    return build(spec, host, options, placement, filter), as_root
