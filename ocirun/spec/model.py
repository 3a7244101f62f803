"""The objects of a container's configuration: runtime-spec 1.3, config.md and config-linux.md.

One record per object, one field per property; a field is the property's key in snake case (``noNewPrivileges`` →
``no_new_privileges``), and ``class_`` for ``class``. An absent property, or a null one, is None; an absent array is
``()``, an absent map ``{}``, an absent boolean False where absence says nothing else. The words of the specification
("SCMP_ACT_ERRNO", "network") stay strings. Names such as ``Uint32`` give a number's range: read.py refuses others.
Records are never changed, and neither are the dicts in them.
"""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Int32 = int
    Int64 = int
    Uint16 = int
    Uint32 = int
    Uint64 = int

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


class Scheduler(Record):
    """process.scheduler, sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: Int32 = 0
    priority: Int32 = 0
    flags: tuple[str, ...] = ()
    runtime: Uint64 = 0
    deadline: Uint64 = 0
    period: Uint64 = 0


class IoPriority(Record):
    """process.ioPriority, ioprio_set(2)."""

    class_: str
    priority: Int32 = 0


class CpuAffinity(Record):
    """process.execCPUAffinity: lists of CPUs, "0-3,7"."""

    initial: str | None = None
    final: str | None = None


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


class Root(Record):
    """root; a relative path starts at the bundle."""

    path: str
    readonly: bool = False


class IdMapping(Record):
    """A range of user or group ids, user_namespaces(7)."""

    container_id: Uint32
    host_id: Uint32
    size: Uint32


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
    env: tuple[str, ...] = ()
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


class TimeOffset(Record):
    """One of linux.timeOffsets, time_namespaces(7)."""

    secs: Int64 = 0
    nanosecs: Uint32 = 0


class Device(Record):
    """One of linux.devices; type is "c", "u", "b" or "p", file_mode as for chmod(2)."""

    type: str
    path: str
    major: Int64 | None = None
    minor: Int64 | None = None
    file_mode: Uint32 | None = None
    uid: Uint32 | None = None
    gid: Uint32 | None = None


class NetDevice(Record):
    """One of linux.netDevices: a host's interface, and its name in the container if that differs."""

    name: str | None = None


class DeviceRule(Record):
    """One of linux.resources.devices; an absent type, major or minor stands for all."""

    allow: bool
    type: str | None = None
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str | None = None


class Memory(Record):
    """linux.resources.memory, in bytes; -1 is no limit."""

    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = None
    swappiness: Uint64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Record):
    """linux.resources.cpu; times in microseconds."""

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str | None = None
    mems: str | None = None
    idle: Int64 | None = None


class Pids(Record):
    """linux.resources.pids; -1 is no limit."""

    limit: Int64


class WeightDevice(Record):
    """One of linux.resources.blockIO.weightDevice."""

    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class ThrottleDevice(Record):
    """One of linux.resources.blockIO.throttle*Device; rate in bytes or operations per second."""

    major: Int64
    minor: Int64
    rate: Uint64 = 0


class BlockIo(Record):
    """linux.resources.blockIO."""

    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Record):
    """One of linux.resources.hugepageLimits; page_size "2MB", limit in bytes."""

    page_size: str
    limit: Uint64


class InterfacePriority(Record):
    """One of linux.resources.network.priorities."""

    name: str
    priority: Uint32


class Network(Record):
    """linux.resources.network."""

    class_id: Uint32 | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Record):
    """One of linux.resources.rdma."""

    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


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


class IntelRdt(Record):
    """linux.intelRdt."""

    clos_id: str | None = None
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str | None = None
    mem_bw_schema: str | None = None
    enable_monitoring: bool = False


class MemoryPolicy(Record):
    """linux.memoryPolicy, set_mempolicy(2)."""

    mode: str
    nodes: str | None = None
    flags: tuple[str, ...] = ()


class Personality(Record):
    """linux.personality, personality(2)."""

    domain: str
    flags: tuple[str, ...] = ()


class SyscallArg(Record):
    """One condition of a seccomp rule on an argument of the system call."""

    index: Uint32
    value: Uint64
    op: str
    value_two: Uint64 = 0


class Syscall(Record):
    """One rule of a seccomp filter."""

    names: tuple[str, ...]
    action: str
    errno_ret: Uint32 | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Record):
    """linux.seccomp, seccomp(2). ``raw`` is the JSON object itself."""

    default_action: str
    default_errno_ret: Uint32 | None = None
    flags: tuple[str, ...] = ()
    listener_path: str | None = None
    listener_metadata: str | None = None
    architectures: tuple[str, ...] = ()
    syscalls: tuple[Syscall, ...] = ()
    raw: dict[str, Any]


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


class Spec(Record):
    """A whole config.json."""

    oci_version: str
    root: Root
    process: Process
    hostname: str | None = None
    domainname: str | None = None
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks = Hooks()
    annotations: dict[str, str] = EMPTY
    linux: Linux = Linux()
