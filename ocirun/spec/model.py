"""The objects of a container's configuration: runtime-spec 1.3, config.md and config-linux.md.

One record per object, one field per property; a field is the property's key in snake case (``noNewPrivileges`` →
``no_new_privileges``), and ``class_`` for ``class``. An absent property, or a null one, is None; an absent array is
``()``, an absent map ``{}``, an absent boolean False where absence says nothing else. The words of the specification
("SCMP_ACT_ERRNO", "network") stay strings. Names such as ``Uint32`` give a number's range: read.py refuses others.
Records are never changed, and neither are the dicts in them. Those for what few containers have are in modules that
are loaded when there is some: limits.py, seccomp.py, devices.py, namespaces.py, tuning.py.
"""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .devices import Device, NetDevice
    from .limits import BlockIo, Cpu, HugepageLimit, Memory, Network, Pids, Rdma
    from .namespaces import IdMapping, TimeOffset
    from .readers import Int64, Uint32, Uint64
    from .seccomp import Seccomp
    from .tuning import CpuAffinity, IntelRdt, IoPriority, MemoryPolicy, Personality, Scheduler


EMPTY: dict[str, Any] = {}


class ConsoleSize(Record):
    """process.consoleSize, in characters."""

    height: Uint64
    width: Uint64


class User(Record):
    """process.user, ids as seen in the container's user namespace."""

    uid: Uint32 = 0
    gid: Uint32 = 0
    umask: Uint32 | None = None
    additional_gids: tuple[Uint32, ...] = ()
    username: str | None = None  # Windows only


class Capabilities(Record):
    """process.capabilities: five sets of names, "CAP_CHOWN"."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """One of process.rlimits, setrlimit(2)."""

    type: str
    soft: Uint64
    hard: Uint64


class Process(Record):
    """process."""

    cwd: str
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    args: tuple[str, ...] = ()
    command_line: str | None = None  # Windows only
    env: tuple[str, ...] = ()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str | None = None
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = None


NO_PROCESS = Process(cwd="/")
"""Of a configuration without one: such a container can be created and not started (config.md, "Process")."""


class Root(Record):
    """root; a relative path starts at the bundle."""

    path: str
    readonly: bool = False


class Mount(Record):
    """One of mounts."""

    destination: str
    type: str | None = None
    source: str | None = None
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(Record):
    """A program that is run at one moment of the container's life; timeout in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] | None = None
    timeout: int | None = None


class Hooks(Record):
    """hooks, each kind in the order of its runs."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(Record):
    """One of linux.namespaces; without a path a new one is made."""

    type: str
    path: str | None = None


class DeviceRule(Record):
    """One of linux.resources.devices; an absent type, major or minor stands for all."""

    allow: bool
    type: str | None = None
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str | None = None


class Resources(Record):
    """linux.resources."""

    unified: dict[str, str] = EMPTY
    devices: tuple[DeviceRule, ...] = ()
    pids: Pids | None = None
    block_io: BlockIo | None = None
    cpu: Cpu | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    memory: Memory | None = None
    network: Network | None = None
    rdma: dict[str, Rdma] = EMPTY

    @property
    def has_limits(self) -> bool:
        """Whether there is anything but device rules."""
        return any([getattr(self, field) for field in self._fields if field != "devices"])


class Linux(Record):
    """linux."""

    devices: tuple[Device, ...] = ()
    net_devices: dict[str, NetDevice] = EMPTY
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    time_offsets: dict[str, TimeOffset] = EMPTY
    resources: Resources | None = None
    cgroups_path: str | None = None
    rootfs_propagation: str | None = None
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] = EMPTY
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None

    def namespace(self, type: str) -> Namespace | None:
        """The one of that type; None where the container shares the caller's."""
        return next((one for one in self.namespaces if one.type == type), None)

    def makes(self, type: str) -> bool:
        """Whether the container gets a new namespace of that type."""
        one = self.namespace(type)
        return one is not None and not one.path

    def joins(self, type: str) -> bool:
        """Whether it joins one that is there already."""
        one = self.namespace(type)
        return one is not None and bool(one.path)


class Spec(Record):
    """A whole config.json."""

    oci_version: str
    root: Root
    process: Process = NO_PROCESS
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    annotations: dict[str, str] = EMPTY
    linux: Linux = Linux()
