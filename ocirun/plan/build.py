"""Spec + host + command line → Plan: everything that the kernel will be asked to do for a container, as data.

Nothing here touches the kernel. The order of the operations, and why it is so, is in build() and _outer_stage().
"""

from __future__ import annotations

from ..record import Record
from ..spec.pointer import child
from ..spec.tables import CLOCKS, NAMESPACES, RLIMITS
from . import mount_options, mounts, ops, parent, process
from .draft import Draft
from .ops import NO_SLOT, Operation
from .path import clean
from .tables import (
    ATTR_RDONLY,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    MS_UNBINDABLE,
    O_PATH,
    O_RDONLY,
    O_WRONLY,
    PROPAGATION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import Problem
    from ..spec.model import Hook, Process, Spec
    from ..spec.namespaces import IdMapping
    from .cgroup import CgroupDir, Placement
    from .draft import Options, Plan
    from .host import Host
    from .wish import Wish


def build(spec: Spec, host: Host, options: Options, placement: Placement, filter: tuple[bytes, int] | None) -> Plan:
    """The plan of create and run.

    :param filter: compiled seccomp program and SECCOMP_FILTER_FLAG_*
    :raises ConfigError: the configuration asks for what cannot be done, all of it listed
    """
    inherited = (*(("fifo",) if options.wait else ()), *(("console",) if options.console else ()))
    draft = Draft(options.bundle, inherited, options.trace)
    _refuse_unsupported(draft, spec, host, options.no_pivot)
    linux = spec.linux
    spaces = {space.type: (space.path, f"/linux/namespaces/{n}") for n, space in enumerate(linux.namespaces)}
    root = clean(draft.host_path(spec.root.path))
    wishes = mount_options.read_mounts(draft, spec.mounts, host, root)
    _refuse_in_foreign_namespace(draft, spec, wishes)
    if linux.mount_label:
        from . import labels

        labels.of_file_systems(wishes, linux.mount_label)

    draft.operations.extend(placement.operations)
    made = _outer_stage(draft, spec, host, placement, spaces, wishes, options)

    add = draft.add
    add(ops.new_session("init", ""))
    if "cgroup" in spaces and not spaces["cgroup"][0]:
        add(ops.unshare("init", spaces["cgroup"][1], flags=NAMESPACES["cgroup"]))
    if options.new_keyring:
        process.keyring(draft, spec.process, options.id)
    if "network" in spaces and not spaces["network"][0]:
        add(ops.link_up("init", spaces["network"][1], name="lo"))
    _root_filled(draft, spec, host, placement.directories, spaces, wishes, made)
    _hooks_before_pivot(draft, spec, options)
    _root_entered(draft, spec, options, has_own_mounts(spec), wishes)
    _kernel_settings(draft, spec)
    process.become(draft, spec, spec.process, filter, host, umask=0o022)
    process.ready(draft, spec.process, host)
    if options.wait:
        add(ops.wait_start("init", "", slot=inherited.index("fifo")))
    for number, hook in enumerate(spec.hooks.start_container):
        add(_init_hook("startContainer", number, hook, spec, options.state_created))
    process.execute(draft, spec.process, options)
    return draft.finish()


# What this version does not do: refused, never ignored


def refusals(spec: Spec, host: Host) -> list[Problem]:
    """What build() refuses without a further look: for who has found other errors, and lists them all."""
    draft = Draft("/")
    _refuse_unsupported(draft, spec, host, False)
    root = clean(draft.host_path(spec.root.path))
    _refuse_in_foreign_namespace(draft, spec, mount_options.read_mounts(draft, spec.mounts, host, root))
    return draft.problems


def _refuse_unsupported(draft: Draft, spec: Spec, host: Host, no_pivot: bool) -> None:
    refuse_process(draft, spec.process, host)
    linux = spec.linux
    if linux.mount_label:
        from . import labels

        labels.check_mounts(draft, spec, host)
    if linux.intel_rdt:
        from . import resctrl

        resctrl.check(draft, host)
    if no_pivot and PROPAGATION.get(linux.rootfs_propagation or "", 0) & MS_PRIVATE:
        draft.refuse("/linux/rootfsPropagation", "rootfsPropagation of [r]private is not safe without pivot_root")
    if host.shared:
        from ..spec.rules.namespaces import sysctls_of_the_host

        for pointer, kind in sysctls_of_the_host(linux.sysctl, host.shared):
            draft.refuse(pointer, f"this sysctl needs a namespace of its own of type {kind}", "the host's")
    if _cannot_fork(spec.process) and spec.hooks.start_container:
        expected = "expected SCHED_FLAG_RESET_ON_FORK for SCHED_DEADLINE with startContainer hooks, which need a fork"
        draft.refuse("/process/scheduler/flags", expected)
    if host.euid and linux.namespace("user") is None:
        draft.refuse("/linux/namespaces", "rootless container requires user namespaces")


def _refuse_in_foreign_namespace(draft: Draft, spec: Spec, wishes: Sequence[Wish]) -> None:
    """Where the mount namespace is another's, its mounts stay as they are: what would change the root's, or that above
    it, is refused, and in the caller's own also what would make a mount of the configuration more than that."""
    if has_own_mounts(spec):
        return
    expected = "expected a mount namespace of the container's own (/linux/namespaces), of which this is a property"
    if spec.root.readonly:
        draft.refuse("/root/readonly", expected)
    if spec.linux.rootfs_propagation:
        draft.refuse("/linux/rootfsPropagation", expected)
    if spec.linux.joins("mount"):
        return
    for wish in wishes:
        if wish.flags & MS_RDONLY or wish.rec_set & ATTR_RDONLY or wish.propagations:
            draft.refuse(f"{wish.pointer}/options", expected)


def _cannot_fork(wanted: Process) -> bool:
    """sched(7), "Deadline scheduling"."""
    scheduler = wanted.scheduler
    if scheduler is None or scheduler.policy != "SCHED_DEADLINE":
        return False
    return "SCHED_FLAG_RESET_ON_FORK" not in scheduler.flags


def refuse_process(draft: Draft, wanted: Process, host: Host) -> None:
    """Note what of a process cannot be done here."""
    if wanted.apparmor_profile or wanted.selinux_label:
        from . import labels

        labels.check(draft, wanted, host)


# The outer stage


def _outer_stage(
    draft: Draft,
    spec: Spec,
    host: Host,
    placement: Placement,
    spaces: dict[str, tuple[str | None, str]],
    wishes: Sequence[Wish],
    options: Options,
) -> Sequence[int]:
    """Everything before PID 1 exists. Returns the slots of linux.devices where they are made here.

    What only the caller's user namespace allows comes before the container's: opening what its root cannot reach,
    limits, and joining namespaces that are not the container's own. Namespaces come before the cgroup, or a small
    memory limit could not be met; the time namespace gets its offsets before anybody is in it.
    """
    add = draft.add
    by_fork = "user" not in spaces or root_is_caller(spec.linux.uid_mappings, host)
    pointer = "/linux/cgroupsPath" if spec.linux.cgroups_path else ""
    cgroups = open_cgroups(draft, placement.joined, pointer, by_fork)
    clone = cgroups.clone
    joined = [kind for kind, (path, _) in spaces.items() if path and kind not in ("user", "mount")]
    if spaces.get("mount", (None,))[0]:
        joined.append("mount")  # last: it takes the root and working directory along
    slots = {}
    for kind in (*joined, "user"):
        path, pointer = spaces.get(kind, (None, ""))
        if path:
            slots[kind] = draft.slot()
            add(ops.open("outer", pointer, path=path, flags=O_RDONLY, slot=slots[kind]))

    root = ops.enter_root("outer", "/root/path", path=draft.host_path(spec.root.path))
    own_mounts = "mount" not in joined
    if own_mounts:
        add(root)
    outer_limits(draft, spec.process, host)
    every = "user" in spaces and own_mounts and host.may_mount
    host_root = clean(draft.host_path(spec.root.path))
    mounts.open_sources(draft, wishes, every, spec.linux, slots.get("user"), host_root)
    made: Sequence[int] = ()
    if "user" in spaces:
        process.own_stdio_outside(draft, spec, spec.process, host, options.console)
    outside = not host.euid and not host.in_user_namespace
    if outside:
        mounts.make_from_devices(draft, wishes)
    if spec.linux.devices and "user" in spaces and outside and not mounts.has_own_dev(wishes):
        from . import nodes

        made = nodes.make(draft, spec.linux)

    # What waits until after the clone: with cgroup v2, moving into the container's cgroup from inside a cgroup
    # namespace that does not contain the caller's is refused (cgroups(7), nsdelegate).
    late = ["cgroup"] if "cgroup" in joined and clone[1] != NO_SLOT and "user" not in spaces else []
    early = [kind for kind in joined if kind not in late]

    def join(attempt: int) -> None:
        for kind in early:
            add(ops.setns("outer", spaces[kind][1], slot=slots[kind], flags=NAMESPACES[kind], attempt=attempt))

    if "user" in spaces:
        join(1)
        _user_namespace(draft, spec, host, spaces["user"], slots.get("user"))
        join(2)
    else:
        join(0)
    if not own_mounts:
        add(root)

    flags = 0
    for kind in ("mount", "uts", "ipc", "network"):
        if kind in spaces and not spaces[kind][0]:
            flags |= NAMESPACES[kind]
    if flags:
        add(ops.unshare("outer", "/linux/namespaces", flags=flags))
    for operation in cgroups.before:
        add(operation)
    if "time" in spaces and not spaces["time"][0]:
        add(ops.unshare("outer", spaces["time"][1], flags=NAMESPACES["time"]))
        for clock, offset in spec.linux.time_offsets.items():
            add(
                ops.time_offset(
                    "outer",
                    f"/linux/timeOffsets/{clock}",
                    clock=CLOCKS[clock],
                    nanosecs=offset.nanosecs,
                    secs=offset.secs,
                )
            )
    if "pid" in spaces and not spaces["pid"][0]:
        add(ops.unshare("outer", spaces["pid"][1], flags=NAMESPACES["pid"]))
    add(ops.reset_affinity("outer", ""))
    add(ops.clone("outer", "", cgroup_slot=clone[0], procs_slot=clone[1]))
    draft.operations.extend(placement.scope)
    for operation in cgroups.after:
        add(operation)
    if spec.linux.intel_rdt:
        from . import resctrl

        resctrl.enter(draft, spec.linux.intel_rdt, host, options.id)
    if spec.linux.net_devices:
        if host.euid:
            draft.refuse("/linux/netDevices", "network devices cannot be moved by a rootless runtime")
        for name, device in spec.linux.net_devices.items():
            add(parent.move_device(child("/linux/netDevices", name), name=name, wanted=device.name or name))
    for kind in late:
        add(ops.setns("init", spaces[kind][1], slot=slots[kind], flags=NAMESPACES[kind], attempt=0))
    return made


class Cgroups(Record):
    """How a process gets into its cgroups."""

    before: tuple[Operation, ...]  # by the outer stage
    clone: tuple[int, int]  # cgroup_slot and procs_slot of clone
    after: tuple[Operation, ...]  # by the process itself


def open_cgroups(
    draft: Draft, directories: Sequence[CgroupDir], pointer: str, by_fork: bool, watched: bool = False
) -> Cgroups:
    """Open what the cgroups are joined through.

    A limit of processes is a limit of forks, not of moves: who is to clone must not be inside already, or 1 would be
    too few, and a container at its limit had no `exec`. (On v2 clone moves the process where it cannot be born.)

    :param by_fork: CLONE_INTO_CGROUP is allowed where PID 1 is made. It asks for permission at that moment, and so
        refuses root of a user namespace that the cgroup does not belong to. cgroup.procs asks when it is opened, but
        then waits for RCU (8 to 20 ms).
    :param watched: processes of the container may look at the clone's descriptors while it still has them (exec). A
        directory of a read-only mount that is attached nowhere leads to no other place and takes no writes.
    """
    before, after = [], []
    clone = (NO_SLOT, NO_SLOT)
    for directory in directories:
        slot = draft.slot()
        if directory.controllers:
            draft.add(ops.open("outer", pointer, path=f"{directory.path}/tasks", flags=O_WRONLY, slot=slot))
            if "pids" in directory.controllers:
                after.append(ops.join_cgroup("init", pointer, slot=slot))
            else:
                before.append(ops.join_cgroup("outer", pointer, slot=slot))
        else:
            procs = f"{directory.path}/cgroup.procs"
            draft.add(ops.open("outer", pointer, path=procs, flags=O_WRONLY, slot=slot))
            clone = (NO_SLOT, slot)
            if by_fork:
                clone = (draft.slot(), slot)
                if watched:
                    draft.add(ops.open_cgroup("outer", pointer, path=directory.path, slot=clone[0]))
                else:
                    draft.add(ops.open("outer", pointer, path=directory.path, flags=O_PATH, slot=clone[0]))
    return Cgroups(before=tuple(before), clone=clone, after=tuple(after))


def outer_limits(draft: Draft, wanted: Process, host: Host) -> None:
    """What takes capabilities in the initial user namespace."""
    if wanted.oom_score_adj is not None:
        draft.add(ops.oom_score_adj("outer", "/process/oomScoreAdj", value=wanted.oom_score_adj))
    for number, limit in enumerate(wanted.rlimits):
        resource = RLIMITS[limit.type]
        if resource < len(host.hard_limits) and limit.hard > host.hard_limits[resource]:
            pointer = f"/process/rlimits/{number}"
            draft.add(ops.raise_rlimit("outer", pointer, resource=resource, hard=limit.hard))


def _user_namespace(draft: Draft, spec: Spec, host: Host, space: tuple[str | None, str], slot: int | None) -> None:
    from ..spec.namespaces import map_text

    add = draft.add
    if slot is not None:
        add(ops.setns("outer", space[1], slot=slot, flags=NAMESPACES["user"], attempt=0))
        mappings = (("uid_map", spec.linux.uid_mappings), ("gid_map", spec.linux.gid_mappings))
        if any(several for _, several in mappings):
            add(ops.map_ids("outer", ""))
            for file, several in mappings:
                key = "uidMappings" if file == "uid_map" else "gidMappings"
                add(parent.same_ids(f"/linux/{key}", file=file, text=map_text(several)))
    else:
        add(ops.unshare("outer", space[1], flags=NAMESPACES["user"]))
        add(ops.map_ids("outer", ""))
        if process.is_own_gid(spec, host):
            add(parent.setgroups_deny("/linux/gidMappings"))
        add(parent.uid_map("/linux/uidMappings", text=map_text(spec.linux.uid_mappings)))
        add(parent.gid_map("/linux/gidMappings", text=map_text(spec.linux.gid_mappings)))
    add(ops.become_root("outer", space[1]))


def root_is_caller(mappings: Sequence[IdMapping], host: Host) -> bool:
    """Whether root of the user namespace is the caller, as the owner of files and cgroups."""
    return any(mapping.container_id == 0 and mapping.host_id == host.euid for mapping in mappings)


# PID 1: the root


def has_own_mounts(spec: Spec) -> bool:
    """A mount namespace that is the host's, or was there before, belongs to others: nothing is mounted in it that the
    configuration does not ask for, its root stays where it is, and the container's is entered by chroot(2)."""
    return spec.linux.makes("mount")


def _root_filled(
    draft: Draft,
    spec: Spec,
    host: Host,
    directories: Sequence[CgroupDir],
    spaces: dict[str, tuple[str | None, str]],
    wishes: Sequence[Wish],
    made: Sequence[int],
) -> None:
    """Root and mounts, as hooks that enter by pid find them at root.path."""
    add = draft.add
    wanted = PROPAGATION.get(spec.linux.rootfs_propagation or "", MS_SLAVE | MS_REC)
    own_mounts = has_own_mounts(spec)
    if own_mounts:
        # Nothing may get out to the host before the root is entered, unless "shared" asks for that. An unbindable
        # mount could not be cloned: it becomes one when it is the root.
        flags = wanted
        if wanted & (MS_PRIVATE | MS_UNBINDABLE):
            flags = MS_PRIVATE | MS_REC
        elif wanted & MS_SLAVE:
            flags |= MS_REC
        pointer = "/linux/rootfsPropagation" if spec.linux.rootfs_propagation else ""
        add(ops.propagation("init", pointer, flags=flags))
    if own_mounts:
        # Later mounts of the host below the root arrive there if that is asked for, and else not.
        slave = spec.linux.rootfs_propagation and wanted & MS_SLAVE
        path = draft.host_path(spec.root.path)
        add(ops.mount_root("init", "/root/path", path=path, slot=NO_SLOT, private=int(not slave)))
    else:
        add(ops.root_here("init", "/root/path"))
    mounts.attach(draft, wishes, host, directories, "cgroup" in spaces)
    if spec.linux.mount_label:
        from . import labels

        labels.of_queues(draft, wishes, spec.linux.mount_label)
    if not mounts.has_own_dev(wishes):
        by_bind = "user" in spaces or host.in_user_namespace
        mounts.devices(draft, wishes, spec.linux.devices, by_bind, made, host.kcore)


def _hooks_before_pivot(draft: Draft, spec: Spec, options: Options) -> None:
    hooks = spec.hooks
    if hooks.prestart or hooks.create_runtime:
        draft.add(ops.mounts_ready("init", ""))
        for kind, several in (("prestart", hooks.prestart), ("createRuntime", hooks.create_runtime)):
            for number, hook in enumerate(several):
                draft.add(
                    parent.hook(
                        f"/hooks/{kind}/{number}",
                        kind=kind,
                        path=hook.path,
                        args=hook.args or (hook.path,),
                        env=hook.env,
                        timeout=_timeout(hook),
                    )
                )
    for number, hook in enumerate(hooks.create_container):
        draft.add(_init_hook("createContainer", number, hook, spec, options.state_creating))


def _timeout(hook: Hook) -> int:
    return -1 if hook.timeout is None else min(hook.timeout, (1 << 31) - 1)


def _init_hook(kind: str, number: int, hook: Hook, spec: Spec, state: tuple[str, str]) -> Operation:
    """A startContainer hook without an environment gets that of the container's process, as with runc."""
    inherits = hook.env is None and kind == "startContainer"
    return ops.hook(
        "init",
        f"/hooks/{kind}/{number}",
        kind=kind,
        path=hook.path,
        args=hook.args or (hook.path,),
        env=process.environment(spec.process.env) if inherits else hook.env or (),
        home=int(inherits),
        timeout=_timeout(hook),
        state_head=state[0],
        state_tail=state[1],
    )


def _root_entered(draft: Draft, spec: Spec, options: Options, own_mounts: bool, wishes: Sequence[Wish]) -> None:
    """From the host's root into the container's, and what is read-only only now."""
    add = draft.add
    if not own_mounts:
        add(ops.chroot("init", "/root/path"))
    elif options.no_pivot:
        add(ops.move_root("init", "/root/path"))
    else:
        add(ops.pivot_root("init", "/root/path"))
    cwd = clean(spec.process.cwd)
    if cwd != "/":
        add(ops.mkdir("init", "/process/cwd", target=cwd, mode=0o755))
    if options.console:
        process.console(draft, spec.process, bind_console=True)
    elif not mounts.has_own_dev(wishes):
        add(ops.reopen_dev_null("init", ""))
    mounts.late_readonly(draft, wishes)
    if spec.root.readonly:
        add(ops.root_readonly("init", "/root/readonly"))


def _kernel_settings(draft: Draft, spec: Spec) -> None:
    add = draft.add
    linux = spec.linux
    if spec.hostname:
        add(ops.hostname("init", "/hostname", name=spec.hostname))
    if spec.domainname:
        add(ops.domainname("init", "/domainname", name=spec.domainname))
    if linux.sysctl:
        from ..spec.namespaces import sysctl_path
    for name, value in linux.sysctl.items():
        pointer = child("/linux/sysctl", name)
        path = sysctl_path(name)
        if path == "kernel/domainname":  # its file belongs to the host's root, in a user namespace too
            add(ops.domainname("init", pointer, name=value.rstrip("\n")))
        else:
            add(ops.sysctl("init", pointer, path=path, value=value))
    mounts.restrict(draft, linux.readonly_paths, linux.masked_paths)
    if linux.rootfs_propagation:  # last: paths on an unbindable root could not be made read-only
        flags = PROPAGATION[linux.rootfs_propagation]
        add(ops.root_propagation("init", "/linux/rootfsPropagation", flags=flags))
