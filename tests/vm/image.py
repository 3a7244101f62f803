#!/usr/bin/env python3
"""The Debian that the tests boot: built once by debootstrap, kept outside the checkout.

    python3 tests/vm/image.py        build it if it is not there (some minutes), print where it is

The image is known by a hash of this file, so whoever changes what is in it gets a new one. Nothing ever writes to
it: the machine boots from a snapshot, and the wheel is built on an overlay.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SUITE = "trixie"

# The kernel and what boots it; the engines under test and the oracle; what builds the wheel; what runs the tests.
PACKAGES = """
    linux-image-cloud-amd64 initramfs-tools zstd systemd systemd-sysv dbus udev kmod
    runc containerd busybox-static iproute2 procps util-linux
    gcc libc6-dev musl-tools libseccomp-dev python3-dev python3-pip python3-setuptools python3-wheel python3-cffi
    python3 python3-venv python3-pytest python3-hypothesis python3-jsonschema
""".split()

# The only modules between the firmware and the root file system.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"]

# Units that only cost boot time in a machine that lives for minutes.
MASKED = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "systemd-timesyncd.service", "systemd-networkd.service", "getty@tty1.service",
    "serial-getty@ttyS0.service", "containerd.service", "systemd-update-utmp.service", "systemd-firstboot.service",
]  # fmt: skip

# The second disk is a tar archive: the wheel, the tests and `start`.
SERVICE = """\
[Unit]
Description=The tests of ocirun
After=multi-user.target

[Service]
Type=oneshot
Delegate=yes
TimeoutStartSec=infinity
StandardOutput=journal+console
StandardError=journal+console
ExecStartPre=/bin/mkdir -p /srv/tests
ExecStartPre=/bin/tar -x -f /dev/vdb -C /srv/tests
ExecStart=/bin/sh /srv/tests/start
ExecStopPost=/bin/systemctl --no-block poweroff

[Install]
WantedBy=graphical.target
"""

FILES = {
    "etc/hostname": "ocirun-tests\n",
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 0\n",
    "etc/initramfs-tools/conf.d/tests": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nFSTYPE=ext4\n",
    "etc/initramfs-tools/modules": "\n".join(BOOT_MODULES) + "\n",
    "etc/systemd/system/ocirun-tests.service": SERVICE,
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
}


class Image(NamedTuple):
    """A finished image. `tree` is the same system as a directory, for building in; `disk` is its ext4 image."""

    tree: Path
    disk: Path
    kernel: Path
    initrd: Path


def cache() -> Path:
    """The directory of everything that the tests keep between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "ocirun-tests"


def image() -> Image:
    """The image, built first if it is missing. Raises CalledProcessError when a step of the build fails."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    home = cache() / f"vm-{key}"
    with locked(cache() / "vm.lock"):
        if not home.exists():
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            build(partial)
            partial.rename(home)
            for old in cache().glob("vm-*"):
                if old != home:
                    shutil.rmtree(old)
    return Image(home / "tree", home / "disk.ext4", home / "vmlinuz", home / "initrd.img")


def build(home: Path) -> None:
    tree = home / "tree"
    home.mkdir(parents=True)
    say(f"debootstrap {SUITE}: the smallest Debian")
    private(["debootstrap", "--variant=minbase", SUITE, str(tree)])
    say("a copy of it, to be the root of containers")
    shutil.rmtree(tree / "var/cache/apt/archives", ignore_errors=True)
    subprocess.run(["cp", "-a", str(tree), str(home / "debian")], check=True)
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "usr/sbin/policy-rc.d").chmod(0o755)
    say(f"apt-get install {' '.join(PACKAGES)}")
    inside(tree, ["apt-get", "-q", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends", *PACKAGES])
    inside(tree, ["apt-get", "clean"])
    (home / "debian").rename(tree / "srv/debian")
    say("the units")
    inside(tree, ["systemctl", "mask", *MASKED])
    inside(tree, ["systemctl", "enable", "ocirun-tests.service"])
    inside(tree, ["systemctl", "set-default", "graphical.target"])
    inside(tree, ["passwd", "-d", "root"])
    say("the initramfs")
    inside(tree, ["update-initramfs", "-u", "-k", "all"])
    shutil.copy(next((tree / "boot").glob("vmlinuz-*")), home / "vmlinuz")
    shutil.copy(next((tree / "boot").glob("initrd.img-*")), home / "initrd.img")
    say("the disk")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(home / "disk.ext4"), "6G"], check=True)
    say("done")


def inside(tree: Path, command: list[str]) -> None:
    """Run `command` in the tree with a procfs that goes away with it."""
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    private(["sh", "-c", script, str(tree), *command])


def private(command: list[str]) -> None:
    """Run `command` in a mount namespace of its own, so that nothing stays mounted whatever it does."""
    environ = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    } | {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    subprocess.run(["unshare", "--mount", "--propagation", "private", *command], env=environ, check=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


if __name__ == "__main__":
    print(image().disk)
    sys.exit(0)
