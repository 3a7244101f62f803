"""The last steps of a process before its exec: the same for PID 1 of a container and for `exec`."""

from __future__ import annotations

from _struct import pack

from ..spec.tables import CAPABILITIES, RLIMITS, SECCOMP_NEW_LISTENER
from . import ops
from .host import EVERY_CAPABILITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Capabilities, Process, Spec
    from .draft import Draft, Options
    from .host import Host


_SHOWN = 200


def console(draft: Draft, wanted: Process, bind_console: bool) -> None:
    """The terminal, of the size asked for."""
    size = wanted.console_size
    draft.add(
        ops.console(
            "init",
            "/process/terminal",
            slot=draft.inherited.index("console"),
            rows=min(size.height, 0xFFFF) if size else 0,  # struct winsize has 16 bits
            columns=min(size.width, 0xFFFF) if size else 0,
            bind_console=int(bind_console),
        )
    )


def own_stdio_outside(draft: Draft, spec: Spec, wanted: Process, host: Host, console: bool) -> None:
    """Give stdio to the user before its user namespace is entered, where its owner has no id: /dev/stdout and its like
    can be opened again only by who owns what they are.

    :param console: it will be a terminal of the container's own
    """
    if host.euid or console:
        return
    for mapping in spec.linux.uid_mappings:
        within = wanted.user.uid - mapping.container_id
        if 0 <= within < mapping.size:
            draft.add(ops.own_stdio("outer", "/process/user/uid", uid=mapping.host_id + within))


def is_own_gid(spec: Spec, host: Host) -> bool:
    """Whether the group map is the one that an ordinary user may write without newgidmap, for which setgroups(2) has
    to be given up (user_namespaces(7))."""
    mappings = spec.linux.gid_mappings
    return host.euid != 0 and len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == host.egid


def _may_set_groups(spec: Spec, wanted: Process, host: Host) -> bool:
    if host.setgroups_denied or is_own_gid(spec, host):
        return False
    # Whether another one's user namespace allows it shows only there: asked for, it is tried.
    return not (spec.linux.joins("user") and host.euid) or bool(wanted.user.additional_gids)


def _set_groups(spec: Spec, groups: Sequence[int], may: bool) -> int:
    """0: not. 1: or fail. 2: unless it is denied, which only shows in a user namespace that is joined."""
    return 2 if may and spec.linux.joins("user") and not groups else int(may)


def keyring(draft: Draft, wanted: Process, id: str) -> None:
    """A session keyring of its own, labelled as the process is."""
    if wanted.selinux_label:
        from . import labels

        labels.of_keys(draft, wanted, True)
        draft.add(ops.keyring("init", "", name=f"_ses.{id}"))
        labels.of_keys(draft, wanted, False)
    else:
        draft.add(ops.keyring("init", "", name=f"_ses.{id}"))


def become(
    draft: Draft, spec: Spec, wanted: Process, filter: tuple[bytes, int] | None, host: Host, umask: int | None
) -> None:
    """Who the process is and what it may do.

    :param spec: the container's
    :param wanted: the process: the container's own, or one of `exec`
    :param umask: where the configuration has none; None leaves it alone
    """
    add = draft.add
    user = wanted.user
    mask = umask if user.umask is None else user.umask
    if mask is not None:
        add(ops.umask("init", "/process/user/umask" if user.umask is not None else "", mask=mask))
    if spec.linux.memory_policy is not None or spec.linux.personality is not None:
        from . import tuning

        tuning.of_kernel(draft, spec.linux)
    if not host.may_schedule:
        from . import tuning

        tuning.by_init(draft, wanted)
    if wanted.apparmor_profile or wanted.selinux_label:
        from . import labels

        labels.of_process(draft, wanted, host)
    if wanted.no_new_privileges:
        add(ops.no_new_privs("init", "/process/noNewPrivileges"))
    # The limits come late, since a small one for open files could stop ourselves; and last the filter, which may forbid
    # anything. Without noNewPrivileges it takes CAP_SYS_ADMIN (seccomp(2)), which is kept so long.
    cwd = wanted.cwd
    # As root first, then as the user, who may be the only one to get there (or not, when root could).
    add(ops.chdir("init", "/process/cwd", path=cwd, required=0))
    add(ops.own_stdio("init", "/process/user/uid", uid=user.uid))
    add(ops.bounding("init", "/process/capabilities/bounding", keep=_mask(wanted.capabilities, "bounding")))
    may_set_groups = _may_set_groups(spec, wanted, host)
    groups = user.additional_gids if may_set_groups else ()
    if user.additional_gids and not may_set_groups and host.euid:
        draft.refuse("/process/user/additionalGids", "cannot set any additional groups in a rootless container")
    add(
        ops.set_user(
            "init",
            "/process/user",
            uid=user.uid,
            gid=user.gid,
            groups=pack(f"={len(groups)}I", *groups),
            set_groups=_set_groups(spec, groups, may_set_groups),
        )
    )
    # Who enters a user namespace has all of them there (user_namespaces(7)).
    held = EVERY_CAPABILITY if spec.linux.namespace("user") else host.capabilities
    add(
        ops.set_capabilities(
            "init",
            "/process/capabilities",
            effective=_granted(draft, wanted, "effective", held),
            permitted=_granted(draft, wanted, "permitted", held),
            inheritable=_granted(draft, wanted, "inheritable", held),
            ambient=_granted(draft, wanted, "ambient", held),
            for_filter=int(filter is not None and not wanted.no_new_privileges),
        )
    )
    add(ops.chdir("init", "/process/cwd", path=cwd, required=1))
    if wanted.args:
        env = environment(wanted.env)
        add(ops.find_executable("init", "/process/args/0", name=wanted.args[0], env=env))
    for number, limit in enumerate(wanted.rlimits):
        pointer = f"/process/rlimits/{number}"
        add(ops.set_rlimit("init", pointer, resource=RLIMITS[limit.type], pad=0, soft=limit.soft, hard=limit.hard))
    if filter is not None:
        if filter[1] & SECCOMP_NEW_LISTENER:
            add(ops.listener("init", "/linux/seccomp/listenerPath"))
        add(ops.seccomp("init", "/linux/seccomp", filter=filter[0], flags=filter[1]))


def ready(draft: Draft, wanted: Process, host: Host) -> None:
    """Nothing is left but the exec, and what the runtime does to the process before."""
    draft.add(ops.ready("init", ""))
    if host.may_schedule and (wanted.scheduler is not None or wanted.io_priority is not None):
        from . import tuning

        tuning.by_runtime(draft, wanted)


def execute(draft: Draft, wanted: Process, options: Options) -> None:
    """The exec itself, if there is anything to execute."""
    if not wanted.args:
        return
    env = wanted.env
    if options.listen_fds:
        env = (*env, f"LISTEN_FDS={options.listen_fds}", "LISTEN_PID=1")
    draft.add(
        ops.exec(
            "init",
            "/process/args",
            args=wanted.args,
            env=environment(env),
            preserve=options.preserve_fds + options.listen_fds,
            uid=wanted.user.uid,
        )
    )


def shown(args: Sequence[str]) -> str:
    """A command in an error: arguments may be megabytes."""
    text = " ".join(args)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def environment(env: Sequence[str]) -> tuple[str, ...]:
    """Of several values for a name the last one, in its place (as runc and os/exec of Go do)."""
    last = {item.partition("=")[0]: number for number, item in enumerate(env)}
    if len(last) == len(env):
        return tuple(env)
    return tuple(item for number, item in enumerate(env) if last[item.partition("=")[0]] == number)


def _granted(draft: Draft, wanted: Process, name: str, held: int) -> int:
    """The set without what the runtime cannot give, having not got it. config.md, "Linux Process": "Runtimes SHOULD NOT
    fail if the container configuration requests capabilities that cannot be granted"."""
    mask = _mask(wanted.capabilities, name)
    if mask & ~held:
        for index, capability in enumerate(getattr(wanted.capabilities, name)):
            number = CAPABILITIES.get(capability)
            if number is not None and not held >> number & 1:
                pointer = f"/process/capabilities/{name}/{index}"
                draft.warn(pointer, "ignoring a capability that the runtime itself does not have", capability)
    return mask & held


def _mask(capabilities: Capabilities | None, name: str) -> int:
    """Bit N for capability N. Without process.capabilities there are none; unknown names count as absent (config.md:
    "Any value which cannot be mapped to a relevant kernel interface ... SHOULD be logged as a warning")."""
    mask = 0
    if capabilities is not None:
        for capability in getattr(capabilities, name):
            number = CAPABILITIES.get(capability)
            if number is not None:
                mask |= 1 << number
    return mask
