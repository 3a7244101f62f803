"""linux.intelRdt: the container's groups in the resctrl file system (config-linux.md, "IntelRdt"; the kernel's
filesystems/resctrl.rst). Loaded where a configuration has it."""

from __future__ import annotations

from . import parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.tuning import IntelRdt
    from .draft import Draft
    from .host import Host

_AT = "/linux/intelRdt"


def group(rdt: IntelRdt, mountpoint: str, id: str) -> str:
    """The directory of the control group: that of closID, of which "/" is the default group, else one of the
    container's own."""
    name = rdt.clos_id.strip("/") if rdt.clos_id else id
    return f"{mountpoint}/{name}" if name else mountpoint


def schemata(rdt: IntelRdt) -> tuple[str, ...]:
    """The lines for the file of that name, in the order that the specification asks for."""
    return (*filter(None, (rdt.l3_cache_schema, rdt.mem_bw_schema)), *rdt.schemata)


def monitor(rdt: IntelRdt, mountpoint: str, id: str) -> str:
    """The monitoring group of a container."""
    return f"{group(rdt, mountpoint, id)}/mon_groups/{id}"


def check(draft: Draft, host: Host) -> None:
    """Note that this host has no resctrl."""
    if not host.resctrl:
        draft.refuse(_AT, "intelRdt is specified in config, but Intel RDT is not enabled: no resctrl is mounted")


def enter(draft: Draft, rdt: IntelRdt, host: Host, id: str) -> None:
    """PID 1 gets into its groups, before it has done anything; they are made as far as that is ours to do."""
    path, lines = group(rdt, host.resctrl, id), schemata(rdt)
    at = f"{_AT}/closID" if rdt.clos_id else _AT
    existing = parent.MADE if not rdt.clos_id else parent.EITHER if lines else parent.THERE
    draft.add(parent.resctrl_group(at, path=path, existing=existing, schemata=lines))
    draft.add(parent.resctrl_join(at, path=path))
    if rdt.enable_monitoring:
        of_its_own = monitor(rdt, host.resctrl, id)
        where = f"{_AT}/enableMonitoring"
        draft.add(parent.resctrl_group(where, path=of_its_own, existing=parent.MADE, schemata=()))
        draft.add(parent.resctrl_join(where, path=of_its_own))


def join(draft: Draft, rdt: IntelRdt, host: Host, id: str) -> None:
    """A process of `exec` gets into the groups that are there."""
    if host.resctrl:
        draft.add(parent.resctrl_join(_AT, path=group(rdt, host.resctrl, id)))
        if rdt.enable_monitoring:
            draft.add(parent.resctrl_join(f"{_AT}/enableMonitoring", path=monitor(rdt, host.resctrl, id)))
