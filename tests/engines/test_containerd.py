"""Debian's containerd, driven by ctr, with the runtime behind its shim."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import busybox
import pytest
from daemon import Daemon, containers, limit, territory
from terminal import Terminal, spawn
from written import checked

NAMESPACE = "ocirun-tests"

CONFIG = """\
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{home}/containerd.sock"
"""


class Containerd:
    """A running containerd with the image in it."""

    def __init__(self, home: Path, runtime: str) -> None:
        self.runtime = runtime
        self.client = ["ctr", "--address", str(home / "containerd.sock"), "--namespace", NAMESPACE]
        self.root = home / "runtime"
        self.options = ["--runtime", "io.containerd.runc.v2", "--runc-binary", runtime, "--runc-root", str(self.root)]

    def ctr(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run ctr. Raises AssertionError with its output where it exits other than with `code` (None: no matter)."""
        result = subprocess.run([*self.client, *arguments], capture_output=True, text=True, timeout=120)
        assert code in (None, result.returncode), f"ctr {' '.join(arguments)}: {result.returncode}\n{result.stderr}"
        return result

    def run_command(self, *arguments: str) -> list[str]:
        return ["run", "--seccomp", *self.options, *arguments]

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """`ctr run` in the foreground, removed afterwards."""
        return self.ctr(*self.run_command("--rm", *arguments), code=code)

    def terminal(self, *arguments: str) -> Terminal:
        return spawn([*self.client, *arguments])

    def status(self, id: str) -> str:
        """What containerd thinks of a task."""
        for line in self.ctr("task", "ls").stdout.splitlines()[1:]:
            name, _, status = line.split()
            if name == id:
                return status
        return "none"

    def wait_status(self, id: str, status: str) -> None:
        deadline = time.monotonic() + 30
        while self.status(id) != status:
            assert time.monotonic() < deadline, f"{id} is {self.status(id)}, not {status}"
            time.sleep(0.1)

    def state(self, id: str) -> dict[str, object]:
        """The same container as the runtime knows it."""
        command = [self.runtime, "--root", str(self.root / NAMESPACE), "state", id]
        document = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def containerd(territories: Path, runtime: str, image_layout: Path) -> Iterator[Containerd]:
    home = territories / "containerd"
    with territory(home, [NAMESPACE], ["/run/containerd"]):
        (home / "config.toml").write_text(CONFIG.format(home=home))
        daemon = Daemon(["containerd", "--config", str(home / "config.toml")], home / "log")
        engine = Containerd(home, runtime)
        try:
            daemon.wait_ready(lambda: engine.ctr("version", code=None).returncode == 0, 60)
            engine.ctr("image", "import", "--digests=false", str(image_layout))
            yield engine
        finally:
            daemon.stop()


@pytest.fixture(autouse=True)
def nothing_left(containerd: Containerd) -> Iterator[None]:
    """Every test removes its containers, through the engine; then the runtime has nothing of them any more."""
    yield
    for id in containerd.ctr("container", "ls", "--quiet").stdout.split():
        containerd.ctr("task", "kill", "--signal", "SIGKILL", "--all", id, code=None)
        containerd.ctr("task", "rm", "--force", id, code=None)
        containerd.ctr("container", "rm", id, code=None)
    assert containerd.ctr("container", "ls", "--quiet").stdout == ""
    assert containers(containerd.root / NAMESPACE) == []


@pytest.fixture
def id(request: pytest.FixtureRequest) -> str:
    return str(request.node.originalname).removeprefix("test_").replace("_", "-")


def detached(containerd: Containerd, id: str, *command: str) -> None:
    containerd.ctr(*containerd.run_command("--detach", busybox.NAME, id, *command))
    containerd.wait_status(id, "RUNNING")


def test_output_and_exit_code(containerd: Containerd, id: str) -> None:
    result = containerd.run(busybox.NAME, id, "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_default_profile(containerd: Containerd, id: str) -> None:
    """The profile is there, and does something: a user namespace cannot be made."""
    script = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; unshare -U true; echo $?"
    lines = containerd.run(busybox.NAME, id, "sh", "-c", script).stdout.split()
    assert lines == ["NoNewPrivs:", "1", "Seccomp:", "2", "1"]


def test_process(containerd: Containerd, id: str) -> None:
    """Directory, environment, host name and a mount, as asked for on the command line."""
    script = 'pwd; echo $COLOUR; cat /mnt/hello; touch /mnt/x 2>&1; ls /proc | grep -c "^[0-9]"; id -u'
    result = containerd.run(
        "--cwd", "/home/guest", "--env", "COLOUR=blue", "--read-only",
        "--mount", f"type=bind,src={Path(__file__).parent},dst=/mnt,options=rbind:ro",
        busybox.NAME, id, "sh", "-c", script.replace("/mnt/hello", "/mnt/test_containerd.py | head -n 1"),
    )  # fmt: skip
    assert result.stdout.splitlines()[:4] == [
        "/home/guest",
        "blue",
        Path(__file__).read_text().splitlines()[0],
        "touch: /mnt/x: Read-only file system",
    ]


def test_what_it_writes(containerd: Containerd, id: str) -> None:
    kinds = {
        "plain": ["--seccomp", "--memory-limit", str(64 << 20), "--cpu-quota", "25000", "--cpu-period", "50000"],
        "privileged": ["--privileged", "--net-host"],
    }
    for kind, options in kinds.items():
        own = f"{id}-{kind}"
        containerd.ctr("run", *containerd.options, *options, "--detach", busybox.NAME, own, "sleep", "1000")
        tree = checked(Path(str(containerd.state(own)["bundle"])) / "config.json")
        assert tree["process"]["args"] == ["sleep", "1000"]
        assert ("seccomp" in tree["linux"], "devices" in tree["linux"]) == (kind == "plain", kind == "privileged")


def test_limits(containerd: Containerd, id: str) -> None:
    options = ["--memory-limit", str(64 << 20), "--cpu-quota", "25000", "--cpu-period", "50000"]
    containerd.ctr(*containerd.run_command(*options, "--detach", busybox.NAME, id, "sleep", "1000"))
    group = f"{NAMESPACE}/{id}"
    assert limit(group, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    quota = limit(group, "cpu/cpu.cfs_quota_us", "cpu.max").split()
    assert quota in (["25000"], ["25000", "50000"])


def test_detached(containerd: Containerd, id: str) -> None:
    """A whole life, step by step, and the runtime has the same opinion of it."""
    detached(containerd, id, "sleep", "1000")
    state = containerd.state(id)
    assert state["status"] == "running"
    assert str(state["pid"]) in containerd.ctr("task", "ps", id).stdout
    containerd.ctr("task", "kill", "--signal", "SIGKILL", id)
    containerd.wait_status(id, "STOPPED")
    assert "exit code 137" in containerd.ctr("task", "rm", id).stderr
    containerd.ctr("container", "rm", id)
    assert containerd.status(id) == "none"


def test_kill_with_a_signal(containerd: Containerd, id: str) -> None:
    """A signal that the process handles: its exit code reaches the one who waits."""
    detached(containerd, id, "sh", "-c", "trap 'exit 9' TERM; touch /ready; while :; do sleep 0.1; done")
    ready = "until test -e /ready; do sleep 0.1; done"
    containerd.ctr("task", "exec", "--exec-id", "look", id, "timeout", "30", "sh", "-c", ready)
    containerd.ctr("task", "kill", "--signal", "SIGTERM", id)
    containerd.wait_status(id, "STOPPED")
    assert "exit code 9" in containerd.ctr("task", "rm", id).stderr


def test_pause_and_resume(containerd: Containerd, id: str) -> None:
    detached(containerd, id, "sleep", "1000")
    containerd.ctr("task", "pause", id)
    containerd.wait_status(id, "PAUSED")
    assert containerd.state(id)["status"] == "paused"
    containerd.ctr("task", "resume", id)
    containerd.wait_status(id, "RUNNING")
    assert containerd.state(id)["status"] == "running"


def test_metrics(containerd: Containerd, id: str) -> None:
    detached(containerd, id, "sleep", "1000")
    assert "pids.current" in containerd.ctr("task", "metrics", id).stdout


def test_exec(containerd: Containerd, id: str) -> None:
    """Output, exit code and confinement of a second process."""
    detached(containerd, id, "sleep", "1000")
    script = "hostname; grep Seccomp: /proc/self/status; cat /proc/1/cmdline; exit 5"
    result = containerd.ctr("task", "exec", "--exec-id", "one", id, "sh", "-c", script, code=5)
    assert result.stdout.splitlines()[1:] == ["Seccomp:\t2", "sleep\x001000\x00"]
    assert containerd.ctr("task", "exec", "--exec-id", "two", "--cwd", "/tmp", id, "pwd").stdout == "/tmp\n"


def test_exec_of_nothing(containerd: Containerd, id: str) -> None:
    detached(containerd, id, "sleep", "1000")
    result = containerd.ctr("task", "exec", "--exec-id", "one", id, "nonexist", code=1)
    assert 'exec: "nonexist": executable file not found in $PATH' in result.stderr
    assert containerd.status(id) == "RUNNING"


def test_terminal(containerd: Containerd, id: str) -> None:
    """A shell in a terminal: its size, a signal from the keyboard, its exit code."""
    with containerd.terminal(*containerd.run_command("--rm", "--tty", busybox.NAME, id, "sh")) as shell:
        shell.expect("# ")
        shell.type("tty\n")
        shell.expect("\n/dev/(pts/[0-9]+|console)\n.*# ")
        shell.resize_for_shell(24, 80)
        shell.resize_for_shell(50, 132)
        shell.type("sleep 1000\n")
        shell.expect("sleep 1000\n")
        shell.press("\x03", "# ")
        shell.type("exit 3\n")
        assert shell.wait() == 3


def test_exec_with_a_terminal(containerd: Containerd, id: str) -> None:
    detached(containerd, id, "sleep", "1000")
    with containerd.terminal("task", "exec", "--tty", "--exec-id", "one", id, "sh") as shell:
        shell.expect("# ")
        shell.type("test -t 0 && echo a terminal; exit 4\n")
        shell.expect("\na terminal\n")
        assert shell.wait() == 4


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nonexist", 'exec: "/nonexist": stat /nonexist: no such file or directory'),
        ("nonexist", 'exec: "nonexist": executable file not found in $PATH'),
        ("/etc/hello", 'exec: "/etc/hello": permission denied'),
    ],
)
def test_no_program(containerd: Containerd, id: str, command: str, message: str) -> None:
    """A failure of create arrives as the engine's error, in words."""
    assert message in containerd.run(busybox.NAME, id, command, code=1).stderr


def test_host_network(containerd: Containerd, id: str) -> None:
    """A namespace that is not asked for is the host's."""
    result = containerd.run("--net-host", busybox.NAME, id, "ls", "-l", "/proc/self/ns")
    net, uts = (f"{kind}:[{re.findall(kind + r':.([0-9]+)', result.stdout)[0]}]" for kind in ("net", "uts"))
    assert net == os.readlink("/proc/self/ns/net")
    assert uts != os.readlink("/proc/self/ns/uts")


def test_user_namespace(containerd: Containerd, id: str) -> None:
    result = containerd.run(
        "--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536", busybox.NAME, id,
        "sh", "-c", "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /x && stat -c %u /x",
    )  # fmt: skip
    assert result.stdout.split() == ["0", "0", "100000", "65536", "0", "200000", "65536", "0"]


def test_privileged(containerd: Containerd, id: str) -> None:
    """Without the profile and with everything: mounting works."""
    script = "mount -t tmpfs none /mnt 2>&1 || mount -t tmpfs none /tmp; grep -c ' /tmp tmpfs' /proc/mounts"
    command = ["run", "--rm", "--privileged", *containerd.options, busybox.NAME, id, "sh", "-c", script]
    assert containerd.ctr(*command).stdout.splitlines()[-1] == "1"


def test_many_at_once(containerd: Containerd, id: str) -> None:
    command = [*containerd.client, *containerd.run_command("--rm", busybox.NAME)]
    running = [
        subprocess.Popen([*command, f"{id}-{number}", "sh", "-c", f"exit {number}"], stderr=subprocess.PIPE)
        for number in range(5)
    ]
    assert [(process.wait(120), process.communicate()[1]) for process in running] == [(n, b"") for n in range(5)]
