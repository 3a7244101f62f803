"""Configurations in the shape of those that engines write. tests/engines holds them against what the installed engines
really write (`unknown`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from profiles import PROFILES

Config = dict[str, Any]

ID = "5e1f" * 16
CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
]  # fmt: skip
PRIVILEGED = [
    *CAPABILITIES,
    "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYSLOG",
]  # fmt: skip
MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
]  # fmt: skip
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
IDS = [{"containerID": 0, "hostID": 200000, "size": 65536}]
NUMBERS = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200), (136, None)]  # null, zero ...


# Parts


def mount(destination: str, type: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": type, "source": source, "options": list(options)}


def file_systems(**changed: Config | None) -> list[Config]:
    """The ones that every container has; by name of the last part of their path they are others, or missing."""
    hard = ("nosuid", "noexec", "nodev")
    pts = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    found = {
        "proc": mount("/proc", "proc", "proc", *hard),
        "dev": mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        "pts": mount("/dev/pts", "devpts", "devpts", *pts),
        "shm": mount("/dev/shm", "tmpfs", "shm", *hard, "mode=1777", "size=65536k"),
        "mqueue": mount("/dev/mqueue", "mqueue", "mqueue", *hard),
        "sys": mount("/sys", "sysfs", "sysfs", *hard, "ro"),
    }
    return [one for one in (found | changed).values() if one is not None]


def files(*options: str) -> list[Config]:
    """What tells the container its name and those of others."""
    names = ("/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    return [mount(name, "bind", f"/var/lib/engine/{ID}{name}", *options) for name in names]


def cgroup(*options: str) -> Config:
    return mount("/sys/fs/cgroup", "cgroup", "cgroup", *options)


def rules(*numbers: tuple[int, int | None], allow: bool = False) -> list[Config]:
    """All devices, or these alone."""
    one = [
        {"allow": True, "type": "c", "major": major, **({} if minor is None else {"minor": minor}), "access": "rwm"}
        for major, minor in numbers
    ]
    return [{"allow": allow, "access": "rwm"}, *one]


def devices() -> list[Config]:
    """As a privileged container has all of the host's: the mode with the type's bits, as stat(2) gives it."""
    kinds = {"c": (0o20000, 1, "node"), "b": (0o60000, 7, "loop")}
    return [
        {
            "path": f"/dev/{name}{minor}",
            "type": type,
            "major": major,
            "minor": minor,
            "fileMode": bits | 0o660,
            "uid": 0,
            "gid": 6 if type == "b" else 0,
        }
        for type, (bits, major, name) in kinds.items()
        for minor in range(50)
    ]


def namespaces(*types: str, **paths: str) -> list[Config]:
    return [{"type": type} for type in types] + [{"type": type, "path": path} for type, path in paths.items()]


def sets(capabilities: list[str]) -> Config:
    return {kind: capabilities for kind in ("bounding", "effective", "permitted")}


def config(args: list[str], linux: Config, *, capabilities: list[str], **more: Any) -> Config:
    """A configuration of this process and these properties of "linux"."""
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]},
            "args": args,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", f"HOSTNAME={ID[:12]}"],
            "cwd": "/",
            "capabilities": sets(capabilities),
        },
        "root": {"path": f"/var/lib/engine/{ID}/merged"},
        "mounts": file_systems(),
        "linux": linux,
        **more,
    }


# Engines


def docker() -> Config:
    """Of Docker 28; an empty object stands where there was something before."""
    made = config(
        ["sh", "-c", "exec top"],
        {
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
            "resources": {"devices": rules(*NUMBERS), "memory": {"disableOOMKiller": False}, "blockIO": {}},
            "cgroupsPath": f"/docker/{ID}",
            "namespaces": namespaces("mount", "network", "uts", "pid", "ipc"),
            "seccomp": PROFILES["docker"],
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
        capabilities=CAPABILITIES,
        hostname=ID[:12],
    )
    made["process"]["oomScoreAdj"] = 0
    made["mounts"] += [cgroup("ro", "nosuid", "noexec", "nodev"), *files("rbind", "rprivate")]
    return made


def docker_with_hook() -> Config:
    """Of Docker before 28, whose network is a hook's work; with limits, as they are asked for on its command line."""
    made = docker()
    made["hooks"] = {
        "prestart": [{"path": "/proc/4711/exe", "args": ["libnetwork-setkey", "-exec-root=/run/docker", ID, ID[:12]]}]
    }
    made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}]
    made["process"]["noNewPrivileges"] = True
    made["linux"]["resources"] |= {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20, "disableOOMKiller": False},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"weight": 0},
    }
    return made


def docker_privileged() -> Config:
    made = docker()
    made["process"]["capabilities"] = sets(PRIVILEGED)
    made["linux"]["resources"]["devices"] = rules(allow=True)
    made["linux"]["devices"] = devices()
    for name in ("seccomp", "maskedPaths", "readonlyPaths"):
        del made["linux"][name]
    return made


def buildkit() -> Config:
    """A RUN of a Dockerfile."""
    made = docker_with_hook()
    made["process"] = {key: made["process"][key] for key in ("user", "args", "env", "cwd", "capabilities")}
    made["hostname"] = "buildkitsandbox"
    made["mounts"] = [*file_systems(), *files("nosuid", "noexec", "nodev", "rbind", "ro")]
    made["mounts"].append(cgroup("ro", "nosuid", "noexec", "nodev"))
    made["linux"]["resources"] = {"devices": rules()}
    made["linux"]["cgroupsPath"] = f"/docker/buildkit/{ID[:25]}"
    del made["linux"]["sysctl"]
    return made


def containerd() -> Config:
    """As its own client asks for it."""
    made = config(
        ["sh"],
        {
            "resources": {"devices": rules(*NUMBERS), "cpu": {"shares": 1024}},
            "cgroupsPath": f"/default/{ID[:8]}",
            "namespaces": namespaces("pid", "ipc", "uts", "mount", "network"),
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
        capabilities=CAPABILITIES,
        root={"path": "rootfs"},
    )
    made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
    made["process"]["noNewPrivileges"] = True
    made["mounts"].append(mount("/run", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"))
    return made


def containerd_with_profile() -> Config:
    made = containerd()
    made["linux"]["seccomp"] = PROFILES["containerd"]
    return made


def containerd_in_a_user_namespace() -> Config:
    made = containerd()
    made["ociVersion"] = "1.2.1"
    made["linux"]["namespaces"] += namespaces("user")
    made["linux"] |= {"uidMappings": IDS, "gidMappings": IDS}
    return made


def containerd_privileged() -> Config:
    made = containerd()
    made["process"]["capabilities"] = sets(PRIVILEGED)
    made["mounts"] += files("rbind", "ro")
    made["linux"] = {
        "resources": {"devices": rules(allow=True), "cpu": {"shares": 1024}},
        "cgroupsPath": made["linux"]["cgroupsPath"],
        "namespaces": namespaces("pid", "ipc", "uts", "mount"),
        "devices": devices(),
    }
    return made


def kubernetes() -> Config:
    """A container of a pod, by containerd's CRI: in the pause container's namespaces, with a security context."""
    pause = "/proc/4711/ns"
    made = config(
        ["sh", "-c", "exec sleep 1000"],
        {
            "resources": {
                "devices": rules(),
                "memory": {"limit": 64 << 20, "swap": 64 << 20},
                "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            },
            "cgroupsPath": f"/kubepods/pod1/{ID}",
            "namespaces": namespaces("pid", "mount", ipc=f"{pause}/ipc", uts=f"{pause}/uts", network=f"{pause}/net"),
            "seccomp": PROFILES["containerd"],
        },
        capabilities=CAPABILITIES,
        root={"path": "rootfs", "readonly": True},
        annotations={
            "io.kubernetes.cri.container-name": "worker",
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.sandbox-id": ID,
        },
    )
    made["process"] |= {"user": {"uid": 1000, "gid": 1000, "additionalGids": [29, 1000]}, "noNewPrivileges": True}
    made["process"]["oomScoreAdj"] = 500
    made["mounts"] = file_systems(shm=None)
    made["mounts"] += [cgroup("nosuid", "noexec", "nodev", "relatime", "ro"), *files("rbind", "rprivate", "ro")]
    made["mounts"].append(mount("/dev/shm", "bind", f"/run/engine/{ID}/shm", "rbind", "rprivate", "rw"))
    return made


def podman() -> Config:
    made = config(
        ["sh"],
        {
            "resources": {"devices": rules(), "pids": {"limit": 2048}},
            "cgroupsPath": f"/libpod_parent/libpod-{ID}",
            "namespaces": namespaces("pid", "ipc", "uts", "mount", network="/run/netns/netns-1"),
            "seccomp": PROFILES["podman"],
            "maskedPaths": [*MASKED, "/sys/fs/selinux", "/sys/dev/block"],
            "readonlyPaths": ["/proc/asound", *READONLY],
        },
        capabilities=[name for name in CAPABILITIES if name not in ("CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE")],
        hostname=ID[:12],
        annotations={"io.container.manager": "libpod", "org.opencontainers.image.stopSignal": "15"},
    )
    made["process"]["user"]["umask"] = 0o22
    made["process"]["env"] += ["container=podman", "HOME=/root"]
    made["process"]["rlimits"] = [
        {"type": f"RLIMIT_{name}", "hard": limit, "soft": limit} for name, limit in (("NOFILE", 1024), ("NPROC", 4096))
    ]
    shm = mount("/dev/shm", "bind", f"/var/lib/engine/{ID}/shm", "bind", "rprivate", "nosuid", "noexec", "nodev")
    environment = mount("/run/.containerenv", "bind", f"/run/engine/{ID}/.containerenv", "bind", "rprivate")
    made["mounts"] = file_systems(shm=shm)
    made["mounts"] += [*files("bind", "rprivate"), environment]
    made["mounts"].append(cgroup("rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"))
    return made


def podman_in_a_user_namespace() -> Config:
    """With annotations for systemd, which only its driver looks at."""
    made = podman()
    made["linux"] |= {"uidMappings": IDS, "gidMappings": IDS, "resources": {"pids": {"limit": 2048}}}
    made["linux"]["namespaces"] = namespaces("pid", "network", "ipc", "uts", "mount", "user")
    made["annotations"] |= {
        "org.systemd.property.KillSignal": "15",
        "org.systemd.property.TimeoutStopUSec": "uint64 10000000",
    }
    return made


def podman_of_an_ordinary_user() -> Config:
    """With --userns=keep-id: no limits, no cgroup of a name, no capability but to be had."""
    made = podman_in_a_user_namespace()
    own = 1001
    ids = [(0, 1, own), (own, 0, 1), (own + 1, own + 1, 65536 - own - 1)]
    mappings = [dict(zip(("containerID", "hostID", "size"), one, strict=True)) for one in ids]
    made["linux"] |= {"uidMappings": mappings, "gidMappings": mappings, "resources": {}}
    made["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "0 0"}
    del made["linux"]["cgroupsPath"]
    made["process"]["user"] = {"uid": own, "gid": own, "umask": 0o22, "additionalGids": [own]}
    made["process"]["capabilities"] = {"bounding": made["process"]["capabilities"]["bounding"]}
    return made


CONFIGS: dict[str, Config] = {
    one.__name__: one()
    for one in (
        docker, docker_with_hook, docker_privileged, buildkit,
        containerd, containerd_with_profile, containerd_in_a_user_namespace, containerd_privileged, kubernetes,
        podman, podman_in_a_user_namespace, podman_of_an_ordinary_user,
    )
}  # fmt: skip


def written(name: str) -> Config:
    """One of them, to be changed."""
    return copy.deepcopy(CONFIGS[name])


# Beside what engines really write

FREE = {"/annotations", "/linux/sysctl", "/linux/resources/unified"}  # whose keys are anybody's


def properties(value: Any, path: str = "") -> Iterator[str]:
    """The places where a configuration has something: pointers with * for an index or a free key."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from properties(inner, f"{path}/{'*' if path in FREE else key}")
    elif isinstance(value, list):
        for inner in value:
            yield from properties(inner, f"{path}/*")


def unknown(config: Config) -> set[str]:
    """What no configuration here has, so that no test without engines has seen it."""
    return set(properties(config)) - {place for one in CONFIGS.values() for place in properties(one)}
