"""Debian's docker.io, in a network namespace of its own, with the runtime as its default."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon, limit, territory
from terminal import Terminal, spawn
from written import checked

IMAGE = "busybox:test"
GROUP = "ocirun-tests-docker"


class Docker:
    """A running dockerd with the image in it."""

    def __init__(self, home: Path, runtime: str) -> None:
        # Debian's own client where there is another one first on the PATH.
        program = "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else shutil.which("docker")
        assert program is not None, "no docker client: install docker.io (and docker-cli, from Debian 13 on)"
        self.client = [program, "--host", f"unix://{home}/docker.sock"]
        self.env = {"DOCKER_CONFIG": str(home / "client"), "HOME": str(home)}
        self.runtime = runtime
        self.root = home / "run/runtime-under-test/moby"

    def __call__(self, *arguments: str, code: int | None = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the client. Raises AssertionError with its output where it exits other than with `code`."""
        result = subprocess.run(
            [*self.client, *arguments],
            env={**os.environ, **self.env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert code in (None, result.returncode), f"docker {' '.join(arguments)}: {result.returncode}\n{result.stderr}"
        return result

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self("run", "--rm", *arguments, code=code)

    def detached(self, *arguments: str) -> str:
        """The id of a new container in the background."""
        return self("run", "--detach", *arguments).stdout.strip()

    def terminal(self, *arguments: str) -> Terminal:
        return spawn([*self.client, *arguments], env=self.env)

    def inspect(self, container: str, template: str) -> str:
        return self("inspect", "--format", template, container).stdout.strip()

    def state(self, container: str) -> Any:
        """The same container as the runtime knows it."""
        (path,) = self.root.parents[1].glob(f"runtime-*/moby/{container}")
        command = [self.runtime, "--root", str(path.parent), "state", container]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    def version(self) -> int:
        return int(self("version", "--format", "{{.Server.Version}}").stdout.partition(".")[0])


@pytest.fixture(scope="module")
def docker(territories: Path, runtime: str, image_tar: Path) -> Iterator[Docker]:
    home = territories / "docker"
    with territory(home, [GROUP], ["/run/containerd", "/run/docker"]):
        (home / "daemon.json").write_text(
            json.dumps({"runtimes": {"under-test": {"path": runtime}}, "default-runtime": "under-test"})
        )
        command = [
            "dockerd", "--config-file", str(home / "daemon.json"), "--host", f"unix://{home}/docker.sock",
            "--data-root", str(home / "data"), "--exec-root", str(home / "run"), "--pidfile", str(home / "pid"),
            "--storage-driver", "overlay2", "--ip6tables=false", "--cgroup-parent", f"/{GROUP}",
            "--exec-opt", "native.cgroupdriver=cgroupfs", "--bip", "10.213.0.1/24",
            "--default-address-pool", "base=10.214.0.0/16,size=24", "--dns", "10.213.0.1",
        ]  # fmt: skip
        # A network namespace that ends with the daemon takes its bridges and iptables with it.
        namespace = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        # BuildKit knows its runtime only by the name of runc.
        (home / "bin").mkdir()
        (home / "bin/runc").symlink_to(runtime)
        daemon = Daemon([*namespace, *command], home / "log", env={"PATH": f"{home}/bin:{os.environ['PATH']}"})
        engine = Docker(home, runtime)
        try:
            daemon.wait_ready(lambda: engine("version", code=None).returncode == 0, 120)
            engine("import", "--change", "ENV PATH=/bin", "--change", 'CMD ["sh"]', str(image_tar), IMAGE)
            yield engine
        finally:
            daemon.stop(30)


@pytest.fixture(autouse=True)
def nothing_left(docker: Docker) -> Iterator[None]:
    """Every test's containers are removed, through the engine."""
    yield
    containers = docker("ps", "--all", "--quiet").stdout.split()
    if containers:
        docker("rm", "--force", "--volumes", *containers)


def test_default_runtime(docker: Docker) -> None:
    """It is the runtime under test that has the container."""
    container = docker.detached(IMAGE, "sleep", "1000")
    assert docker.inspect(container, "{{.HostConfig.Runtime}}") == "under-test"
    assert docker.state(container)["pid"] == int(docker.inspect(container, "{{.State.Pid}}"))


WRITTEN: dict[str, list[str]] = {
    "plain": [],
    "limited": ["--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", "--pids-limit", "9", "--ulimit", "core=0"],
    "hardened": ["--read-only", "--user", "guest", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    "of the host": ["--pid", "host", "--ipc", "host", "--uts", "host"],
    "privileged": ["--privileged"],
    "with files": ["--tmpfs", "/scratch:size=1m", "--volume", "/etc/hostname:/name:ro", "--device", "/dev/fuse"],
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_it_writes(docker: Docker, kind: str) -> None:
    container = docker.detached(*WRITTEN[kind], IMAGE, "sleep", "1000")
    tree = checked(Path(docker.state(container)["bundle"], "config.json"))
    assert tree["process"]["args"] == ["sleep", "1000"]
    assert ("seccomp" in tree["linux"]) == (kind != "privileged")


def test_run(docker: Docker) -> None:
    result = docker.run(IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert docker("ps", "--all", "--quiet").stdout == ""


def test_run_with_input(docker: Docker) -> None:
    assert docker("run", "--rm", "--interactive", IMAGE, "tr", "a-z", "A-Z", stdin="some text").stdout == "SOME TEXT"


# (command, exit code of `docker run`, of `docker exec` before 28, and a part of the message)
NO_PROGRAM = [
    ("/nonexist", {127}, {126}, "no such file or directory"),
    ("nonexist", {127}, {126}, "executable file not found in [$]PATH"),
    ("/etc/hello", {126}, {126}, "permission denied"),
    # "is a directory", which runc says from 1.2 on, is for Docker 20.10 no reason that it knows: 125.
    ("/etc", {125, 126}, {126}, "(permission denied|is a directory)"),
]


@pytest.mark.parametrize(("command", "codes", "_", "message"), NO_PROGRAM, ids=[row[0] for row in NO_PROGRAM])
def test_run_no_program(docker: Docker, command: str, codes: set[int], _: set[int], message: str) -> None:
    result = docker.run(IMAGE, command, code=None)
    assert result.returncode in (codes if docker.version() < 26 else codes - {125}), result.stderr
    assert re.search(message, result.stderr)


@pytest.mark.parametrize(("command", "_", "codes", "message"), NO_PROGRAM, ids=[row[0] for row in NO_PROGRAM])
def test_exec_no_program(docker: Docker, command: str, _: set[int], codes: set[int], message: str) -> None:
    container = docker.detached(IMAGE, "sleep", "1000")
    result = docker("exec", container, command, code=None)
    expected = {127} if docker.version() >= 28 and "nonexist" in command else codes
    assert result.returncode in expected, result.stderr
    assert re.search(message, result.stdout + result.stderr)
    assert docker.inspect(container, "{{.State.Running}}") == "true"


def test_run_refused(docker: Docker) -> None:
    """What the kernel refuses: 125, and its reason."""
    result = docker.run("--sysctl", "net.ipv4.ip_forward=none", IMAGE, "true", code=125)
    assert "invalid argument" in result.stderr


def test_detached_exec_stop(docker: Docker) -> None:
    container = docker.detached(
        "--name", "service", IMAGE, "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done"
    )
    assert "service" in docker("ps").stdout
    assert docker("exec", "service", "sh", "-c", "echo inside; exit 5", code=5).stdout == "inside\n"
    docker("stop", "service")
    assert docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}") == "exited 9"
    docker("rm", "service")


def test_stop_that_has_to_kill(docker: Docker) -> None:
    """PID 1 without a handler ignores SIGTERM."""
    container = docker.detached(IMAGE, "sleep", "1000")
    docker("stop", "--time", "1", container)
    assert docker.inspect(container, "{{.State.ExitCode}}") == "137"


def test_kill(docker: Docker) -> None:
    container = docker.detached(IMAGE, "sh", "-c", "trap 'exit 6' USR1; echo ready; while :; do sleep 0.1; done")
    deadline = time.monotonic() + 30
    while "ready" not in docker("logs", container).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    docker("kill", "--signal", "USR1", container)
    assert docker("wait", container).stdout.strip() == "6"
    again = docker.detached(IMAGE, "sleep", "1000")
    docker("kill", again)
    assert docker("wait", again).stdout.strip() == "137"


def test_restart(docker: Docker) -> None:
    """The same id a second time."""
    container = docker.detached(IMAGE, "sh", "-c", "echo started; exec sleep 1000")
    docker("restart", "--time", "0", container)
    assert docker.inspect(container, "{{.State.Running}}") == "true"
    assert docker("logs", container).stdout == "started\nstarted\n"


def test_terminal(docker: Docker) -> None:
    with docker.terminal("run", "--rm", "--interactive", "--tty", IMAGE, "sh") as shell:
        shell.expect("# ")
        shell.type("tty\n")
        shell.expect("\n/dev/pts/0\n.*# ")
        shell.resize_for_shell(24, 80)
        shell.type("exit 4\n")
        assert shell.wait() == 4


def test_exec_with_a_terminal(docker: Docker) -> None:
    container = docker.detached(IMAGE, "sleep", "1000")
    with docker.terminal("exec", "--interactive", "--tty", container, "sh") as shell:
        shell.expect("# ")
        shell.type("test -t 0 && tty\n")
        shell.expect("\n/dev/pts/[0-9]+\n.*# ")
        shell.resize_for_shell(40, 100)
        shell.type("sleep 1000\n")
        shell.expect("sleep 1000\n")
        shell.press("\x03", "# ")
        shell.type("exit 7\n")
        assert shell.wait() == 7


def test_exec_options(docker: Docker) -> None:
    container = docker.detached(IMAGE, "sleep", "1000")
    options = ["--user", "guest", "--workdir", "/tmp", "--env", "COLOUR=blue"]
    result = docker("exec", *options, container, "sh", "-c", "id -un; pwd; echo $COLOUR")
    assert result.stdout == "guest\n/tmp\nblue\n"
    script = "grep -E '^(CapEff|Seccomp):' /proc/self/status"
    capabilities = docker("exec", container, "sh", "-c", script).stdout
    assert capabilities == docker.run(IMAGE, "sh", "-c", script).stdout
    privileged = docker("exec", "--privileged", container, "sh", "-c", script, code=None)
    if privileged.returncode == 126:  # this machine has not all the capabilities that the engine asks for
        assert "operation not permitted" in privileged.stdout
    else:
        assert int(privileged.stdout.split()[1], 16) > int(capabilities.split()[1], 16)


def test_top(docker: Docker) -> None:
    """`docker top` asks the runtime for the processes."""
    container = docker.detached(IMAGE, "sh", "-c", "sleep 1001 & exec sleep 1002")
    shown = docker("top", container, "-o", "pid,args").stdout
    assert "sleep 1001" in shown
    assert "sleep 1002" in shown
    assert docker.inspect(container, "{{.State.Pid}}") in shown.split()


def test_limits(docker: Docker) -> None:
    options = ["--memory", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50", "--cpuset-cpus", "0"]
    container = docker.detached(*options, IMAGE, "sleep", "1000")
    group = f"{GROUP}/{container}"
    assert limit(group, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(group, "pids/pids.max", "pids.max") == "50"
    assert limit(group, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit(group, "cpu/cpu.shares", "cpu.weight") in ("512", "20")
    assert docker("exec", container, "grep", "Cpus_allowed_list", "/proc/self/status").stdout.split()[1] == "0"
    script = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo made all"
    assert "made all" not in docker("exec", container, "sh", "-c", script, code=None).stdout


def test_pause_and_unpause(docker: Docker) -> None:
    container = docker.detached(IMAGE, "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    docker("pause", container)
    assert docker.inspect(container, "{{.State.Status}}") == docker.state(container)["status"] == "paused"
    ticks = docker("logs", container).stdout
    time.sleep(0.5)
    assert docker("logs", container).stdout == ticks
    assert "paused" in docker("exec", container, "true", code=1).stderr
    docker("unpause", container)
    deadline = time.monotonic() + 30
    while docker("logs", container).stdout == ticks:
        assert time.monotonic() < deadline
    assert docker.state(container)["status"] == "running"


def test_update_and_stats(docker: Docker) -> None:
    container = docker.detached("--memory", "64m", "--pids-limit", "50", IMAGE, "sleep", "1000")
    docker("update", "--memory", "48m", "--memory-swap", "96m", "--pids-limit", "40", "--cpus", "0.5", container)
    shown = docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", container).stdout
    assert "/ 48MiB" in shown
    (memory,) = Path("/sys/fs/cgroup").glob(f"memory/{GROUP}/{container}/memory.limit_in_bytes")
    (pids,) = Path("/sys/fs/cgroup").glob(f"pids/{GROUP}/{container}/pids.max")
    (quota,) = Path("/sys/fs/cgroup").glob(f"cpu/{GROUP}/{container}/cpu.cfs_quota_us")
    assert (memory.read_text(), pids.read_text(), quota.read_text()) == (f"{48 << 20}\n", "40\n", "50000\n")


def test_out_of_memory(docker: Docker) -> None:
    """The kernel kills, and the engine learns why."""
    container = docker("create", "--memory", "16m", "--memory-swap", "16m", IMAGE, "tail", "/dev/zero").stdout.strip()
    docker("start", container)
    assert docker("wait", container).stdout.strip() == "137"
    assert docker.inspect(container, "{{.State.OOMKilled}}") == "true"


def test_user(docker: Docker) -> None:
    script = "id -u; id -g; echo $HOME; id -G"
    shown = docker.run("--user", "guest", "--group-add", "7", IMAGE, "sh", "-c", script).stdout.split()
    assert shown[:3] == ["405", "100", "/home/guest"]
    assert set(shown[3:]) == {"7", "10", "100"}
    assert docker.run("--user", "1234:5678", IMAGE, "sh", "-c", script).stdout == "1234\n5678\n/\n5678\n"


def test_read_only(docker: Docker) -> None:
    result = docker.run("--read-only", "--tmpfs", "/tmp", IMAGE, "sh", "-c", "touch /tmp/x && touch /x", code=1)
    assert result.stderr == "touch: /x: Read-only file system\n"


def test_volumes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("from outside\n")
    volumes = ["--volume", f"{tmp_path}:/data", "--volume", f"{tmp_path}:/fixed:ro", "--volume", "named:/named"]
    script = "cat /data/hello; echo from inside > /data/answer; touch /fixed/x; echo kept > /named/file"
    result = docker.run(*volumes, IMAGE, "sh", "-c", script)
    assert result.stdout == "from outside\n"
    assert result.stderr == "touch: /fixed/x: Read-only file system\n"
    assert (tmp_path / "answer").read_text() == "from inside\n"
    assert docker.run(*volumes, IMAGE, "cat", "/named/file").stdout == "kept\n"
    docker("volume", "rm", "named")


def test_confinement(docker: Docker) -> None:
    """The engine's defaults reach the process: seccomp, masks, the capabilities and the devices."""
    script = """
        grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status | tr -s '\\t' ' '
        wc -c < /proc/timer_list; ls /proc/acpi 2>/dev/null | wc -l; echo 1 > /proc/sys/vm/swappiness
        ls /dev; mount -t tmpfs none /mnt; unshare -U true; true
    """
    result = docker.run(IMAGE, "sh", "-c", script)
    capabilities = f"{0x00000000A80425FB:016x}"
    assert f"CapEff: {capabilities}\nCapBnd: {capabilities}\nNoNewPrivs: 0\nSeccomp: 2\n0\n0\n" in result.stdout
    devices = set(result.stdout.split("Seccomp: 2\n0\n0\n")[1].split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "pts", "shm", "mqueue"} <= devices
    assert "swappiness: Read-only file system" in result.stderr
    assert len(result.stderr.splitlines()) == 3


def test_privileged(docker: Docker) -> None:
    """Docker 20.10 asks for hard limits there that not every machine may raise; then the reason is named."""
    result = docker.run("--privileged", IMAGE, "sh", "-c", "mount -t tmpfs none /tmp && echo mounted", code=None)
    if result.returncode == 125 and docker.version() < 26:
        assert re.search("operation not permitted", result.stderr, re.IGNORECASE)
        return
    assert result.stdout == "mounted\n"


def test_network(docker: Docker) -> None:
    """Two containers on a bridge of the user's: addresses, names and a connection."""
    docker("network", "create", "between")
    try:
        serve = "while :; do echo hello | nc -l -p 7; done"
        docker.detached("--network", "between", "--name", "server", IMAGE, "sh", "-c", serve)
        ask = "timeout 5 nc server 7 < /dev/null && exit; sleep 0.5"
        script = f"ip -o -4 addr show eth0; for i in 1 2 3 4 5; do {ask}; done"
        shown = docker.run("--network", "between", IMAGE, "sh", "-c", script).stdout
        assert "10.214." in shown
        assert shown.endswith("hello\n")
    finally:
        docker("rm", "--force", "server", code=None)
        docker("network", "rm", "between")


def test_default_bridge(docker: Docker) -> None:
    container = docker.detached(IMAGE, "sleep", "1000")
    address = docker.inspect(container, "{{.NetworkSettings.IPAddress}}")
    assert address.startswith("10.213.0.")
    assert "1 packets received" in docker.run(IMAGE, "ping", "-c", "1", "-W", "5", address).stdout


def test_shared_namespaces(docker: Docker) -> None:
    """A second container in the pid, network and ipc namespaces of a first: joined by path."""
    first = docker.detached("--ipc", "shareable", "--name", "first", IMAGE, "sleep", "1003")
    options = [f"--{kind}=container:first" for kind in ("pid", "network", "ipc")]
    shown = docker.run(*options, IMAGE, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; ip -o -4 addr show eth0").stdout
    assert shown.startswith("sleep 1003 ")
    assert docker.inspect(first, "{{.NetworkSettings.IPAddress}}") in shown


def test_host_namespaces(docker: Docker) -> None:
    shown = docker.run("--pid=host", "--uts=host", IMAGE, "sh", "-c", "hostname; ls /proc || true").stdout
    assert shown.splitlines()[0] == os.uname().nodename
    assert str(os.getpid()) in shown.split()


def test_init(docker: Docker) -> None:
    """`--init` puts a program of the host first, and everything else below it."""
    if shutil.which("docker-init") is None:
        result = docker.run("--init", IMAGE, "true", code=None)
        assert result.returncode == 125
        return
    assert "docker-init" in docker.run("--init", IMAGE, "cat", "/proc/1/cmdline").stdout


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_build(docker: Docker, tmp_path: Path, buildkit: str) -> None:
    """Both builders run each step in a container: the classic one through the engine, BuildKit by `runc run`."""
    (tmp_path / "Dockerfile").write_text(
        f'FROM {IMAGE}\nRUN echo built > /built && id -u >> /built\nCMD ["cat", "/built"]\n'
    )
    environ = {**os.environ, **docker.env, "DOCKER_BUILDKIT": buildkit}
    command = [*docker.client, "build", "-t", "built", str(tmp_path)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True)
    if "buildx component is missing" in result.stderr:
        pytest.skip("Debian has the client of BuildKit in a package of its own, from 13 on")
    assert result.returncode == 0, result.stderr
    assert docker.run("built").stdout == "built\n0\n"
    docker("rmi", "built")


def test_many_at_once(docker: Docker) -> None:
    command = [*docker.client, "run", "--rm", IMAGE]
    environ = {**os.environ, **docker.env}
    running = [subprocess.Popen([*command, "sh", "-c", f"exit {number}"], env=environ) for number in range(5)]
    assert [process.wait(120) for process in running] == list(range(5))
