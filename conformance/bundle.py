"""Makes bundles: a configuration that every runtime takes, and a root file system with nothing but the probe in it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Config = dict[str, Any]

NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
"""What a container has of its own unless a case says otherwise."""

CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}


def minimal(cgroup: str, ordinary: bool = False) -> Config:
    """A configuration of version 1.0 of the specification: what each case starts from.

    :param cgroup: the path of its cgroup, which is the case's own
    :param ordinary: for a user who is not root: a user namespace with their ids alone, and no cgroup
    """
    config: Config = {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "report"],
            "env": ["PATH=/bin:/"],
            "cwd": "/",
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "conformance",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            DEV | {"options": list(DEV["options"])},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
    }
    if ordinary:
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": os.getuid(), "size": 1}]
        config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": os.getgid(), "size": 1}]
    else:
        config["linux"]["cgroupsPath"] = cgroup
    return config


@dataclass
class Bundle:
    """A bundle for one container: :attr:`config` is what its config.json will be when a command uses it."""

    id: str
    path: Path
    probe: Path
    config: Config = field(repr=False)

    @classmethod
    def make(cls, id: str, path: Path, probe: Path, cgroup: str, ordinary: bool = False) -> Bundle:
        """A new directory with the root file system in it."""
        rootfs = path / "rootfs"
        for name in ("proc", "dev", "sys", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(probe, rootfs / "probe")
        return cls(id, path, probe, minimal(cgroup, ordinary))

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"

    @property
    def file(self) -> Path:
        return self.path / "config.json"

    @property
    def process(self) -> Config:
        result: Config = self.config["process"]
        return result

    @property
    def linux(self) -> Config:
        result: Config = self.config["linux"]
        return result

    def args(self, *words: str) -> Self:
        """Have the container's process be the probe with these words."""
        self.process["args"] = ["/probe", *words]
        return self

    def write(self) -> None:
        """Write config.json as it is now."""
        self.file.write_text(json.dumps(self.config, indent=2) + "\n")

    def namespace(self, kind: str, path: str | None = None) -> None:
        """Have a namespace of that kind: a new one, or the one that the path is."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} | ({"path": path} if path else {}))

    def without_namespace(self, *kinds: str) -> None:
        """Have none of these kinds, so that the runtime's are inherited."""
        self.linux["namespaces"] = [one for one in self.linux["namespaces"] if one["type"] not in kinds]

    def mount(self, destination: str, type: str, source: str, *options: str, **more: Any) -> None:
        """Add an entry to `mounts`."""
        entry = {"destination": destination, "type": type, "source": source}
        self.config["mounts"].append(entry | ({"options": list(options)} if options else {}) | more)

    def without_mount(self, *destinations: str) -> None:
        self.config["mounts"] = [one for one in self.config["mounts"] if one["destination"] not in destinations]

    def bind(self, source: Path | str, destination: str, *options: str) -> None:
        """Add a bind mount of something of the host."""
        self.mount(destination, "none", str(source), *(options or ("bind",)))

    def capabilities(self, *names: str) -> None:
        """These capabilities, without the prefix, in the sets that a program of root has; and none beside them."""
        full = [f"CAP_{name}" for name in names]
        self.process["capabilities"] = {kind: list(full) for kind in ("bounding", "effective", "permitted")}

    def user_namespace(self, host: int = 100000, size: int = 65536) -> None:
        """A user namespace of its own, whose root is that id of the host and owns the root file system."""
        self.namespace("user")
        self.linux["uidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
        self.linux["gidMappings"] = [{"containerID": 0, "hostID": host, "size": size}]
        for directory, _, names in os.walk(self.rootfs):
            os.chown(directory, host, host)
            for name in names:
                os.chown(os.path.join(directory, name), host, host, follow_symlinks=False)

    def hook(self, kind: str, path: str, *args: str, **more: Any) -> None:
        """Add a hook; `args` without the name of the program."""
        entry = {"path": path, "args": [path, *args]} | more
        self.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)

    def resources(self, **values: Any) -> None:
        """Set entries of linux.resources."""
        self.linux.setdefault("resources", {}).update(values)
