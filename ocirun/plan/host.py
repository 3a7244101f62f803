"""Facts about the host that a plan depends on, probed once per command (host/facts.py) and passed on as data."""

from __future__ import annotations

from ..record import Record, replace

EVERY_CAPABILITY = (1 << 64) - 1


class Hierarchy(Record):
    """One mounted cgroup hierarchy (cgroups(7))."""

    mountpoint: str  # "/sys/fs/cgroup/memory"
    controllers: tuple[str, ...]  # ("cpu", "cpuacct"), ("name=systemd",), () for cgroup2
    own: str  # the caller's own cgroup in it, "/" or "/user.slice/..."
    root: str = "/"  # which directory of the hierarchy is mounted there (mountinfo field 4)

    @property
    def own_directory(self) -> str:
        """The caller's own cgroup as a path of the host; the mount point itself where it lies outside of the mount."""
        own = self.own
        if self.root != "/":
            if own != self.root and not own.startswith(self.root + "/"):
                return self.mountpoint
            own = own[len(self.root) :]
        return self.mountpoint + own.rstrip("/")


class Host(Record):
    """What the plan needs to know of the host."""

    euid: int
    in_user_namespace: bool  # the caller is in a user namespace other than the initial one
    unified: bool  # cgroup2 alone at /sys/fs/cgroup
    hierarchies: tuple[Hierarchy, ...]  # all v1 ones, and (hybrid) the cgroup2 beside them; unified: the one cgroup2
    groups: tuple[int, ...] = ()  # supplementary groups of the caller
    egid: int = 0
    may_mount: bool = True  # has CAP_SYS_ADMIN over its mount namespace, so that it may clone mounts of it
    setgroups_denied: bool = False  # setgroups(2) is off in the caller's user namespace
    kcore: bool = True  # /proc/kcore exists
    shared: tuple[str, ...] = ()  # types of namespaces that the container is to join and that are the caller's own
    hard_limits: tuple[int, ...] = ()  # getrlimit(2) by resource number; () = not asked
    capabilities: int = EVERY_CAPABILITY  # that the caller has; asked where there is a process that is to have some
    apparmor: bool = True  # AppArmor is there and enabled; asked where there is a profile
    selinux: bool = True  # SELinux is, likewise
    resctrl: str = "/sys/fs/resctrl"  # where it is mounted, "" for nowhere; asked where there is intelRdt
    may_schedule: bool = True  # has CAP_SYS_NICE in the initial user namespace; asked where there is something to do

    def as_root(self) -> Host:
        """The same host for its root, where only that can create a container."""
        return replace(
            self, euid=0, egid=0, groups=(), may_mount=True, may_schedule=True, capabilities=EVERY_CAPABILITY
        )
