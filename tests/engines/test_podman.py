"""Debian's Podman with `--runtime`, and everything that it keeps in one directory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import Daemon, cgroup_directories, limit, territory
from terminal import Terminal, spawn
from written import checked

IMAGE = "localhost/busybox:test"
GROUP = "ocirun-tests-podman"

ENGINE = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime_supports_json = ["crun", "runc", "ocirun"]
tmp_dir = "{home}/tmp"
volume_path = "{home}/volumes"
[network]
network_config_dir = "{home}/networks"
"""

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "{home}/run"
"""


class Podman:
    """Podman with its configuration and the image, in the pid namespace of `reaper`."""

    def __init__(self, home: Path, runtime: str, reaper: int) -> None:
        self.program = ["nsenter", "--target", str(reaper), "--pid", "--mount", "podman", "--runtime", runtime]
        self.env = {
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"),
            "HOME": str(home),
        }
        (home / "containers.conf").write_text(ENGINE.format(home=home))
        (home / "storage.conf").write_text(STORAGE.format(home=home))
        (home / "registries.conf").write_text("")

    def __call__(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run podman. Raises AssertionError with its output where it exits other than with `code`."""
        result = subprocess.run(
            [*self.program, *arguments],
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert code in (None, result.returncode), f"podman {' '.join(arguments)}: {result.returncode}\n{result.stderr}"
        return result

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self("run", "--cgroup-parent", f"/{GROUP}", "--network", "none", *arguments, code=code)

    def terminal(self, *arguments: str) -> Terminal:
        return spawn([*self.program, *arguments], env=self.env)


@pytest.fixture(scope="module")
def podman(territories: Path, runtime: str, image_tar: Path) -> Iterator[Podman]:
    home = territories / "podman"
    with territory(home, [GROUP, "libpod_parent"]):
        # Podman waits until conmon is reaped, which not every PID 1 does at once; a waiting shell does.
        command = ["unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c"]
        reaper = Daemon([*command, "while :; do sleep 1000; done"], home / "reaper")
        children = Path(f"/proc/{reaper.process.pid}/task/{reaper.process.pid}/children")
        try:
            reaper.wait_ready(lambda: children.read_text() != "", 10)
            engine = Podman(home, runtime, int(children.read_text()))
            engine("import", "--change", "ENV=PATH=/bin", "--change", 'CMD=["sh"]', str(image_tar), IMAGE)
            yield engine
            engine("rm", "--all", "--force", "--time", "0")
        finally:
            reaper.process.kill()
            reaper.process.wait()


@pytest.fixture(autouse=True)
def nothing_left(podman: Podman) -> Iterator[None]:
    yield
    podman("rm", "--all", "--force", "--time", "0")


def test_runtime(podman: Podman, runtime: str) -> None:
    info = json.loads(podman("info", "--format", "json").stdout)
    assert info["host"]["ociRuntime"]["path"] == runtime


WRITTEN = {
    "plain": [],
    "limited": ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "100"],
    "hardened": ["--read-only", "--user", "guest", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    "in a user namespace": ["--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536"],
    "privileged": ["--privileged"],
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_it_writes(podman: Podman, kind: str) -> None:
    id = podman.run("--detach", *WRITTEN[kind], IMAGE, "sleep", "1000").stdout.strip()
    tree = checked(Path(podman("inspect", "--format", "{{.OCIConfigPath}}", id).stdout.strip()))
    assert tree["process"]["args"] == ["sleep", "1000"]
    assert ("uidMappings" in tree["linux"]) == (kind == "in a user namespace")


def test_run(podman: Podman) -> None:
    result = podman.run("--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("/nonexist", 127, "no such file or directory"),
        ("nonexist", 127, "executable file not found in $PATH"),
        ("/etc/hello", 126, "permission denied"),
    ],
)
def test_no_program(podman: Podman, command: str, code: int, message: str) -> None:
    assert message in podman.run("--rm", IMAGE, command, code=code).stderr.lower().replace("$path", "$PATH")


def test_life(podman: Podman) -> None:
    podman.run("--detach", "--name", "service", IMAGE, "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done")
    script = "echo inside; grep -E '^Seccomp:' /proc/self/status; exit 5"
    assert podman("exec", "service", "sh", "-c", script, code=5).stdout == "inside\nSeccomp:\t2\n"
    assert "while" in podman("top", "service", "args").stdout
    podman("stop", "service")
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "service").stdout == "exited 9\n"
    podman("start", "service")
    podman("kill", "service")
    assert podman("wait", "service").stdout == "137\n"
    podman("rm", "service")
    assert podman("ps", "--all", "--quiet").stdout == ""


def test_exec_no_program(podman: Podman) -> None:
    podman.run("--detach", "--name", "service", IMAGE, "sleep", "1000")
    podman("exec", "service", "nonexist", code=127)
    podman("exec", "service", "/etc/hello", code=126)


def test_exec_preserves_descriptors(podman: Podman, tmp_path: Path) -> None:
    podman.run("--detach", "--name", "service", IMAGE, "sleep", "1000")
    path = tmp_path / "kept"
    path.write_text("through a descriptor\n")
    command = [*podman.program, "exec", "--preserve-fds", "1", "service", "cat", "/proc/self/fd/3"]
    result = subprocess.run(
        ["sh", "-c", 'exec 3<"$0" && exec "$@"', str(path), *command],
        env={**os.environ, **podman.env},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "through a descriptor\n", result.stderr


def test_terminal(podman: Podman) -> None:
    arguments = ["run", "--rm", "--network", "none", "--cgroup-parent", f"/{GROUP}", "--interactive", "--tty", IMAGE]
    with podman.terminal(*arguments, "sh") as shell:
        shell.expect("# ")
        shell.type("test -t 0 && echo a terminal\n")
        shell.expect("\na terminal\n.*# ")
        shell.resize_for_shell(24, 80)
        shell.type("exit 4\n")
        assert shell.wait() == 4


def test_limits_and_user(podman: Podman) -> None:
    options = ["--memory", "64m", "--pids-limit", "50", "--user", "guest", "--read-only", "--volume", "/usr:/host:ro"]
    container = podman.run(*options, "--detach", IMAGE, "sleep", "1000").stdout.strip()
    groups = [path for path in cgroup_directories(GROUP) if list(path.glob(f"*{container}*"))]
    name = next(groups[0].glob(f"*{container}*")).name
    assert limit(f"{GROUP}/{name}", "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(f"{GROUP}/{name}", "pids/pids.max", "pids.max") == "50"
    script = "id -un; touch /x; touch /host/x; ls -d /host/bin"
    result = podman("exec", container, "sh", "-c", script)
    assert result.stdout == "guest\n/host/bin\n"
    assert result.stderr == "touch: /x: Read-only file system\ntouch: /host/x: Read-only file system\n"


def test_pause_and_update(podman: Podman) -> None:
    id = podman.run("--detach", "--memory", "64m", IMAGE, "sleep", "1000").stdout.strip()
    podman("pause", id)
    assert podman("inspect", "--format", "{{.State.Status}}", id).stdout.strip() == "paused"
    podman("unpause", id)
    assert podman("inspect", "--format", "{{.State.Status}}", id).stdout.strip() == "running"
    podman("update", "--memory", "48m", id)
    shown = podman("exec", id, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes").stdout
    assert shown == f"{48 << 20}\n"
