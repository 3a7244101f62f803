"""A whole Debian, made by debootstrap, as a bundle of ours: a person at its shell, and the work of an administrator.

OCIRUN_TEST_DEBIAN names its root file system; by default it is the one that tests/vm/image.py keeps.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon import containers, territory
from terminal import ConsoleSocket, Terminal, spawn

pytestmark = pytest.mark.timeout(900)  # debootstrap, the first time

GROUP = "ocirun-tests-debian"

# What Docker gives: enough for dpkg and useradd.
CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
]  # fmt: skip

ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "LC_ALL=C.UTF-8", "PS1=@ "]

CONTROL = """\
Package: greeting
Version: 1.0
Architecture: all
Maintainer: Nobody <nobody@example.org>
Depends: libc6
Description: a file and a script
"""

POSTINST = """\
#!/bin/sh
set -e
useradd --system --create-home --home-dir /var/lib/greeter --shell /bin/sh greeter
chown greeter: /usr/share/greeting
chmod 4755 /usr/bin/greeting
"""


class Machine:
    """A container with Debian in it."""

    def __init__(self, runtime: str, home: Path, bundle: Path) -> None:
        self.bundle = bundle
        self.id = f"debian-{uuid.uuid4().hex[:8]}"
        self.command = [runtime, "--root", str(home / "state")]

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        """The output of a command of the runtime. Raises AssertionError where it exits other than with `code`."""
        result = subprocess.run(
            [*self.command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
        )
        assert code in (None, result.returncode), f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def boot(self) -> None:
        """Start it in the background, with a process that only waits."""
        configure(self, args=["sleep", "1000"])
        command = [*self.command, "run", "--detach", "--bundle", str(self.bundle), self.id]
        # Its output is the container's from then on, so a pipe would never end.
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)

    def shell(self, script: str, *options: str, code: int = 0) -> str:
        """The output of a script inside."""
        return self("exec", *options, self.id, "bash", "-ec", script, code=code)


@pytest.fixture(scope="session")
def debian(request: pytest.FixtureRequest) -> Path:
    """The root file system, built first where it is missing: half a minute, with debootstrap's own progress."""
    if "OCIRUN_TEST_DEBIAN" in os.environ:
        return Path(os.environ["OCIRUN_TEST_DEBIAN"])
    spec = importlib.util.spec_from_file_location("image", Path(__file__).parents[1] / "vm/image.py")
    assert spec is not None and spec.loader is not None
    image = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(image)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        tree = image.debian()
    assert isinstance(tree, Path)
    return tree


@pytest.fixture(scope="module")
def domain(territories: Path) -> Iterator[Path]:
    """Where the bundles and the runtime's state are."""
    home = territories / "debian"
    with territory(home, [GROUP]):
        yield home


@pytest.fixture
def machine(runtime: str, domain: Path, debian: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A bundle on a fresh writable layer, with no container yet; whatever there is at the end is deleted."""
    bundle = domain / str(request.node.originalname)
    for name in ("rootfs", "upper", "work"):
        (bundle / name).mkdir(parents=True)
    layers = f"lowerdir={debian},upperdir={bundle}/upper,workdir={bundle}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", str(bundle / "rootfs")], check=True)
    result = Machine(runtime, domain, bundle)
    subprocess.run([runtime, "spec", "--bundle", str(bundle)], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["hostname"] = "trixie"
    config["root"]["readonly"] = False
    config["process"].update(terminal=False, env=ENV, args=["bash", "--norc"], noNewPrivileges=False)
    config["process"]["capabilities"] = {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")}
    config["linux"]["cgroupsPath"] = f"/{GROUP}/{result.id}"
    (bundle / "config.json").write_text(json.dumps(config))
    yield result
    result("delete", "--force", result.id, code=None)
    subprocess.run(["umount", str(bundle / "rootfs")], check=True)
    assert containers(domain / "state") == []


def configure(machine: Machine, **process: object) -> None:
    path = machine.bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(process)
    path.write_text(json.dumps(config))


def session(shell: Terminal) -> None:
    """What somebody does who has just come to a shell."""
    shell.expect("@ ")
    shell.type("tty; stty size; whoami; hostname\n")
    shell.expect("\n/dev/(console|pts/0)\n30 100\nroot\ntrixie\n")
    shell.type("cat /etc/debian_version; echo $$\n")
    shell.expect(r"\n13\.[0-9]+\n1\n")
    shell.type("sleep 1000 & jobs; echo now; sleep 2000\n")
    shell.expect("Running +sleep 1000")
    shell.expect("\nnow\n")
    shell.press("\x1a", "Stopped +sleep 2000")
    shell.type("fg %2\n")
    shell.expect("\nsleep 2000\n")
    shell.press("\x03", "@ ")
    shell.type("kill %1; wait; echo done\n")
    shell.expect("\ndone\n")
    shell.expect("@ ")
    shell.resize_for_shell(40, 120, "@ ")
    shell.type("exit 3\n")


def test_shell_in_the_foreground(machine: Machine) -> None:
    """`run` with a terminal, before which somebody sits."""
    configure(machine, terminal=True)
    command = [*machine.command, "run", "--bundle", str(machine.bundle), machine.id]
    with spawn(command, rows=30, columns=100) as shell:
        session(shell)
        assert shell.wait() == 3
    assert "exit" in shell.shown


def test_shell_at_a_console_socket(machine: Machine) -> None:
    """`create --console-socket`, as engines do it: the terminal is somebody else's."""
    configure(machine, terminal=True, consoleSize={"height": 30, "width": 100})
    with ConsoleSocket(machine.bundle / "console.sock") as console:
        machine("create", "--bundle", str(machine.bundle), "--console-socket", str(console.path), machine.id)
        machine("start", machine.id)
        with console.terminal() as shell:
            session(shell)
            shell.expect("exit\n")
    machine("delete", machine.id, code=None)


def test_exec_at_a_terminal(machine: Machine) -> None:
    machine.boot()
    command = [*machine.command, "exec", "--tty", "--env", "PS1=> ", machine.id, "bash", "--norc"]
    with spawn(command, rows=30, columns=100) as shell:
        shell.expect("> ")
        shell.type("stty size; ps --no-headers -C sleep -o pid,args 2>/dev/null || cat /proc/1/cmdline; echo\n")
        shell.expect("\n30 100\n")
        shell.expect("sleep.1000")
        shell.type("exit 6\n")
        assert shell.wait() == 6


def test_administration(machine: Machine) -> None:
    """apt and dpkg, users and owners: what somebody does with a fresh Debian, without a network."""
    machine.boot()
    assert machine.shell("apt-get --version").startswith("apt ")
    machine.shell("apt-get check")

    package = machine.bundle / "rootfs/root/greeting"
    for path, text, mode in [
        ("DEBIAN/control", CONTROL, 0o644),
        ("DEBIAN/postinst", POSTINST, 0o755),
        ("usr/bin/greeting", "#!/bin/sh\necho hello\n", 0o755),
        ("usr/share/greeting/text", "hello\n", 0o644),
    ]:
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
        (package / path).chmod(mode)
    machine.shell("dpkg-deb --root-owner-group --build /root/greeting /root/greeting.deb && dpkg -i /root/greeting.deb")
    assert "Status: install ok installed" in machine.shell("dpkg -s greeting")
    assert machine.shell("greeting; stat -c '%U %G' /usr/share/greeting; stat -c %a /usr/bin/greeting") == (
        "hello\ngreeter greeter\n4755\n"
    )
    machine.shell("apt-get remove -y greeting")
    machine.shell("dpkg -s greeting", code=1)
    machine.shell("userdel greeter; apt-get install -y --allow-downgrades /root/greeting.deb; apt-get check")
    assert machine.shell("greeting") == "hello\n"

    machine.shell("useradd --create-home --groups users worker && install -o worker -g users -m 600 /dev/null /srv/x")
    uid, gid, users = machine.shell("id -u worker; id -g worker; getent group users | cut -d: -f3").split()
    options = ["--user", f"{uid}:{gid}", "--additional-gids", users, "--cwd", "/home/worker"]
    shown = machine.shell("id -un; id -Gn; echo $HOME; touch mine; stat -c %U:%G mine /srv/x; cat /srv/x", *options)
    assert shown == "worker\nworker users\n/home/worker\nworker:worker\nworker:users\n"
    machine.shell("touch /x", *options, code=1)


def test_users(machine: Machine) -> None:
    """A process that begins as somebody else, and one that becomes it."""
    machine.boot()
    assert machine.shell("id -un; echo $HOME; touch /tmp/x; stat -c %U /tmp/x", "--user", "1:1") == (
        "daemon\n/usr/sbin\ndaemon\n"
    )
    assert machine.shell("chroot --userspec=daemon:daemon / id -un; setpriv --reuid=2 --clear-groups id -un") == (
        "daemon\nbin\n"
    )
