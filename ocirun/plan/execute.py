"""The plan of `exec`: into the namespaces and the cgroup of a running container, then as its own PID 1 went."""

from __future__ import annotations

from ..spec.tables import NAMESPACES
from . import ops, parent, process
from .build import has_own_mounts, open_cgroups, outer_limits, refuse_process, root_is_caller
from .draft import Draft
from .ops import NO_SLOT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Process, Spec
    from .cgroup import CgroupDir, Unit
    from .draft import Options, Plan
    from .host import Host


def build_exec(
    wanted: Process,
    spec: Spec,
    host: Host,
    options: Options,
    directories: Sequence[CgroupDir],
    namespaces: Sequence[str],
    filter: tuple[bytes, int] | None,
    unit: Unit | None = None,
) -> Plan:
    """The plan of `exec`.

    :param wanted: the process to run
    :param spec: the container's configuration
    :param namespaces: types of the namespaces of the container that are not the caller's own
    :param unit: the scope of systemd that the container is in
    :raises ConfigError: the process asks for what cannot be done
    """
    # A user may not move processes between what is his and what is not, such as the session that he has logged into
    # (cgroups(7), "Delegation"); his systemd has that done for him.
    by_systemd = unit is not None and unit.user and (host.euid != 0 or host.in_user_namespace)
    below = ""
    if unit is not None and by_systemd:
        below = directories[0].path.partition(f"/{unit.name}")[2]
        directories = ()
    # Moving into a cgroup v2 directory from inside the container's cgroup namespace is refused (cgroups(7),
    # nsdelegate): there that one is joined after the clone.
    late = "cgroup" in namespaces and any(not directory.controllers for directory in directories)
    flags = 0
    for kind in namespaces:
        if kind != "user" and not (kind == "cgroup" and late):
            flags |= NAMESPACES[kind]
    # From inside the user namespace nobody may look at a PID 1 that waits for `start`, and so not join by its pidfd.
    by_itself = late and "user" in namespaces
    inherited = (
        *(("console",) if options.console else ()),
        *(("pidfd",) if namespaces else ()),
        *(("cgroup",) if by_itself else ()),
    )
    draft = Draft(options.bundle, inherited, options.trace)
    pidfd = inherited.index("pidfd") if namespaces else NO_SLOT
    refuse_process(draft, wanted, host)
    add = draft.add
    initial = final = None
    if wanted.exec_cpu_affinity is not None:
        from . import tuning

        initial, final = tuning.affinity(wanted.exec_cpu_affinity)

    if initial is not None:
        add(initial)
    by_fork = "user" not in namespaces or root_is_caller(spec.linux.uid_mappings, host)
    cgroups = open_cgroups(draft, directories, "", by_fork, watched=True)
    outer_limits(draft, wanted, host)

    if "user" in namespaces:
        process.own_stdio_outside(draft, spec, wanted, host, options.console)
        if flags:
            add(ops.setns("outer", "", slot=pidfd, flags=flags, attempt=1))
        add(ops.setns("outer", "", slot=pidfd, flags=NAMESPACES["user"], attempt=0))
        add(ops.become_root("outer", ""))
        if flags:
            add(ops.setns("outer", "", slot=pidfd, flags=flags, attempt=2))
    elif flags:
        add(ops.setns("outer", "", slot=pidfd, flags=flags, attempt=0))
    root_is_own = has_own_mounts(spec)
    if not root_is_own:
        add(ops.enter_root("outer", "/root/path", path=draft.host_path(spec.root.path)))
    draft.operations.extend(cgroups.before)
    # The wanted CPUs, else all that the container has; only in its cgroup, where nobody's initial ones count any more.
    if initial is None and final is None:
        add(ops.reset_affinity("outer", ""))
    add(ops.clone("outer", "", cgroup_slot=cgroups.clone[0], procs_slot=cgroups.clone[1]))
    if spec.linux.intel_rdt:
        from . import resctrl

        resctrl.join(draft, spec.linux.intel_rdt, host, options.id)
    if unit is not None and by_systemd:
        add(parent.systemd_attach("", unit=unit.name, user=unit.user, below=below))
    draft.operations.extend(cgroups.after)
    if final is not None:
        add(final)
    elif initial is not None:
        add(ops.reset_affinity("init", ""))

    add(ops.new_session("init", ""))
    if late:
        slot = inherited.index("cgroup") if by_itself else pidfd
        add(ops.setns("init", "", slot=slot, flags=NAMESPACES["cgroup"], attempt=0))
    if options.new_keyring:
        process.keyring(draft, wanted, options.id)
    if root_is_own:
        add(ops.use_root("init", ""))
    else:
        add(ops.root_here("init", "/root/path"))
        add(ops.chroot("init", "/root/path"))
    if options.console:
        process.console(draft, wanted, bind_console=False)
    process.become(draft, spec, wanted, filter, host, umask=None)
    process.ready(draft, wanted, host)
    process.execute(draft, wanted, options)
    return draft.finish()
