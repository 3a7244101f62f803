"""The virtual machine: what it is given, and what it says.

The machine boots the image from a snapshot. Its second disk is a tar archive with the runtime, installed from a wheel
of this tree, the tests, and `start`, which runs them; results come back as JSON lines through a virtio port, what the
kernel and systemd say through the serial line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jeepney
import pyroute2
from image import Image, private, say

REPOSITORY = Path(__file__).resolve().parents[2]

# Where everything is inside: virtual environments do not move.
INSIDE = Path("/srv/tests")

SOURCES = ["native", "ocirun", "conformance", "tests", "pyproject.toml", "setup.py", "README.md", "LICENSE"]
PRODUCTS = shutil.ignore_patterns(
    "__pycache__", "*.so", "*.o", "ocirun-init", "linked", "_sys.c", "_seccomp.c", ".*cache"
)

# In the order of its lines: the wheel, an environment with it, what the tests would build first, and their bytecode
# as pytest rewrites it; the arguments are the selection.
INSTALL = f"""
set -e
cd {INSIDE}/source
python3 -m pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir {INSIDE} .
rm -rf build *.egg-info
python3 -m venv --system-site-packages --without-pip {INSIDE}/venv
python3 -m pip --python {INSIDE}/venv/bin/python install --quiet --no-deps --no-index {INSIDE}/*.whl
mv {INSIDE}/pyroute2 {INSIDE}/jeepney {INSIDE}/venv/lib/python3*/site-packages
{INSIDE}/venv/bin/python -c 'import sys; sys.path.insert(0, "tests/drivers"); import harness; harness.build_probe()'
{INSIDE}/venv/bin/python -P -m pytest -p no:cacheprovider --collect-only -q "$@" | tail -n 1
"""

START = """\
#!/bin/sh
# What the unit of the image runs. systemd's /tmp has no devices, and a root file system may need some.
mount -o remount,dev,suid /tmp
modprobe virtio_net
cd {inside}/source
export PYTHONPATH={inside}/source/tests/drivers OCIRUN_TEST_DEBIAN=/srv/debian OCIRUN_TEST_RUNTIME={runtime}
export OCIRUN_TEST_REPORT=/dev/vport0p1
export OCIRUN_TEST_NETWORK_DEVICE=eth0 OCIRUN_TEST_TIMEOUT=120
exec {inside}/venv/bin/python -P -m pytest -p reporter -p no:cacheprovider -q --no-header --tb=short {selection}
"""


class Machine:
    """A running QEMU. `events` are what the plugin tests/drivers/reporter.py writes."""

    def __init__(self, image: Image, tar: Path) -> None:
        self.console = tar.with_name("console")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tar.with_name("results")))
        listener.listen()
        self.events: queue.Queue[dict[str, object] | None] = queue.Queue()
        command = [
            "setpriv", "--pdeathsig", "KILL",
            "qemu-system-x86_64", "-accel", os.environ.get("OCIRUN_TEST_VM_ACCEL", "tcg"),
            # Without cmpxchg16b off, Linux 6.12 double-faults under Go programs on one emulated processor.
            "-cpu", "max,-cx16", "-smp", "1", "-m", "2048",
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-kernel", str(image.kernel), "-initrd", str(image.initrd),
            "-append", "root=/dev/vda rw console=ttyS0 loglevel=3 panic=-1 mitigations=off fsck.mode=skip",
            "-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on,cache=unsafe",
            "-drive", f"file={tar},format=raw,if=virtio,readonly=on",
            "-serial", f"file:{self.console}",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=results,path={tar.with_name('results')}",
            "-device", "virtserialport,chardev=results,name=results",
            "-device", "virtio-rng-pci",
            # A physical network device, to be moved into containers: its driver is loaded when it is asked for.
            "-netdev", "hubport,id=nowhere,hubid=0", "-device", "virtio-net-pci,netdev=nowhere,romfile=",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        with listener, listener.accept()[0] as connection, connection.makefile("rb") as port:
            for line in port:
                with contextlib.suppress(ValueError):
                    self.events.put(json.loads(line))
        self.events.put(None)

    def event(self, deadline: float) -> dict[str, object] | None:
        """The next event; None when the machine is off. Raises TimeoutError at `deadline` (of time.monotonic)."""
        while True:
            ended = self.process.poll() is not None  # before the queue is looked at, which has all it said then
            with contextlib.suppress(queue.Empty):
                return self.events.get(timeout=1)
            if ended:  # perhaps before it ever connected
                return None
            if time.monotonic() > deadline:
                raise TimeoutError

    def tail(self, lines: int = 40) -> str:
        """The end of what the serial line said, without its colours."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)
        return "\n".join([line for line in plain.splitlines() if line.strip()][-lines:])

    def stop(self, patience: float = 0) -> None:
        """Make it end, after `patience` seconds in which it may do so by itself."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def second_disk(image: Image, runtime: str | None, selection: list[str]) -> Iterator[Path]:
    """The archive for one boot: `runtime` is a path inside, by default that of the wheel's ocirun."""
    with tempfile.TemporaryDirectory(prefix="ocirun-vm-") as directory:
        home = Path(directory)
        upper = home / "upper" / INSIDE.relative_to("/")
        upper.mkdir(parents=True)
        for name in ("work", "root"):
            (home / name).mkdir()
        for name in SOURCES:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, upper / "source" / name, ignore=PRODUCTS, symlinks=True)
            else:
                shutil.copy(source, upper / "source" / name)
        # Newer than Debian's; not in the image, where every change costs minutes.
        for package in (pyroute2, jeepney):
            shutil.copytree(Path(package.__file__).parent, upper / package.__name__, ignore=PRODUCTS)
        say("building and installing the wheel in the image")
        layers = f"lowerdir={image.tree},upperdir={home}/upper,workdir={home}/work"
        script = (
            f"mount -t overlay -o {layers} overlay {home}/root && mount -t proc proc {home}/root/proc && "
            f"exec chroot {home}/root sh -c {shlex.quote(INSTALL)} sh {shlex.join(selection)}"
        )
        private(["sh", "-c", script])
        (upper / "start").write_text(
            START.format(inside=INSIDE, runtime=runtime or INSIDE / "venv/bin/ocirun", selection=shlex.join(selection))
        )
        tar = home / "tests.tar"
        subprocess.run(["tar", "-c", "-f", str(tar), "-C", str(upper), "."], check=True)
        yield tar


def main() -> None:
    """Boot without pytest, to look: `machine.py SELECTION...` prints the events."""
    from image import image

    built = image()
    with second_disk(built, os.environ.get("OCIRUN_TEST_VM_RUNTIME"), sys.argv[1:]) as tar:
        machine = Machine(built, tar)
        try:
            while (event := machine.event(time.monotonic() + 240)) is not None:
                say(json.dumps(event)[:2000])
        finally:
            machine.stop()
            print(machine.tail(200))


if __name__ == "__main__":
    main()
