"""Debian's Docker and Podman where systemd makes the cgroups: limits are in its own view, all along."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Daemon, territory
from test_docker import IMAGE as DOCKER_IMAGE
from test_docker import Docker
from test_podman import IMAGE as PODMAN_IMAGE
from test_podman import Podman

pytestmark = pytest.mark.skipif(
    not Path("/run/systemd/system").is_dir() or not Path("/sys/fs/cgroup/cgroup.controllers").exists(),
    reason="needs systemd and cgroup v2: in the virtual machine",
)
MIB = 1 << 20


def show(unit: str, *names: str) -> dict[str, str]:
    words = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in output.splitlines())


def cgroup(pid: str) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


@pytest.fixture(scope="module")
def docker(territories: Path, runtime: str, image_tar: Path) -> Iterator[Docker]:
    home = territories / "docker-systemd"
    with territory(home, [], ["/run/containerd", "/run/docker"]):
        runtimes = {"runtimes": {"under-test": {"path": runtime}}, "default-runtime": "under-test"}
        (home / "daemon.json").write_text(json.dumps(runtimes))
        command = [
            "dockerd", "--config-file", str(home / "daemon.json"), "--host", f"unix://{home}/docker.sock",
            "--data-root", str(home / "data"), "--exec-root", str(home / "run"), "--pidfile", str(home / "pid"),
            "--exec-opt", "native.cgroupdriver=systemd", "--bridge", "none", "--iptables=false", "--ip6tables=false",
        ]  # fmt: skip
        daemon = Daemon(command, home / "log")
        engine = Docker(home, runtime)
        try:
            daemon.wait_ready(lambda: engine("version", code=None).returncode == 0, 120)
            engine("import", "--change", "ENV PATH=/bin", "--change", 'CMD ["sh"]', str(image_tar), DOCKER_IMAGE)
            yield engine
        finally:
            daemon.stop(30)


def test_under_docker(docker: Docker) -> None:
    assert docker("info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}").stdout == "systemd 2\n"
    limits = ("--memory", "64m", "--pids-limit", "40", "--cpus", "0.5")
    container = docker.detached("--network", "none", *limits, DOCKER_IMAGE, "sleep", "1000")
    unit = f"docker-{container}.scope"
    assert cgroup(docker.inspect(container, "{{.State.Pid}}")) == f"/system.slice/{unit}"
    expected = {"MemoryMax": str(64 * MIB), "TasksMax": "40", "CPUQuotaPerSecUSec": "500ms", "DevicePolicy": "strict"}
    assert show(unit, *expected) == expected
    docker("update", "--memory", "80m", "--memory-swap", "90m", container)
    expected = {"MemoryMax": str(80 * MIB), "MemorySwapMax": str(10 * MIB)}
    assert show(unit, *expected) == expected
    assert docker("exec", container, "cat", "/sys/fs/cgroup/memory.max").stdout == f"{80 * MIB}\n"
    docker("pause", container)
    assert docker.inspect(container, "{{.State.Status}}") == "paused"
    docker("unpause", container)
    docker("rm", "--force", container)
    assert show(unit, "LoadState") == {"LoadState": "not-found"}


@pytest.fixture(scope="module")
def podman(territories: Path, runtime: str, image_tar: Path) -> Iterator[Podman]:
    home = territories / "podman-systemd"
    with territory(home, []):
        engine = Podman(home, runtime, 1)
        # In no pid namespace of its own: systemd is told pids.
        engine.program = ["podman", "--runtime", runtime, "--cgroup-manager", "systemd"]
        engine("import", "--change", "ENV=PATH=/bin", "--change", 'CMD=["sh"]', str(image_tar), PODMAN_IMAGE)
        yield engine
        engine("rm", "--all", "--force", "--time", "0")


def test_under_podman(podman: Podman) -> None:
    limits = ("--memory", "64m", "--pids-limit", "40")
    words = ("run", "--detach", "--network", "none", *limits, PODMAN_IMAGE, "sleep", "1000")
    container = podman(*words).stdout.strip()
    unit = f"libpod-{container}.scope"
    pid = podman("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
    assert cgroup(pid).startswith(f"/machine.slice/{unit}")
    expected = {"MemoryMax": str(64 * MIB), "TasksMax": "40"}
    assert show(unit, *expected) == expected
    podman("update", "--memory", "80m", container)
    assert show(unit, "MemoryMax") == {"MemoryMax": str(80 * MIB)}
    podman("pause", container)
    podman("unpause", container)
    assert podman("exec", container, "echo", "inside").stdout == "inside\n"
    podman("rm", "--force", "--time", "0", container)
    assert show(unit, "LoadState") == {"LoadState": "not-found"}
