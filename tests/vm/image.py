#!/usr/bin/env python3
"""The Debian that the tests boot, and the one that they run as a container: built once, kept outside the checkout.

    python3 tests/vm/image.py        build what is not there (some minutes, as root), print where it is

`debian` is what debootstrap makes, `image` the bootable system on top of it. An image is known by a hash of this
file, so whoever changes what is in it gets a new one. Nothing ever writes to either: the machine boots from a
snapshot, and everything else works on an overlay.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SUITE = "trixie"

PACKAGES = [
    # the kernel and what boots it
    "linux-image-cloud-amd64", "initramfs-tools", "zstd", "systemd", "systemd-sysv", "dbus", "udev", "kmod",
    # the engine under test, the runtimes that ours is compared with, and what tests look with
    "containerd", "runc", "crun", "busybox-static", "iproute2", "procps", "util-linux", "uidmap", "strace", "e2fsprogs",
    # the engines that have systemd make their cgroups, and what gives an ordinary user a systemd of its own
    "docker.io", "docker-cli", "podman", "dbus-user-session", "libpam-systemd",
    # what builds the wheel
    "gcc", "libc6-dev", "musl-tools", "libseccomp-dev",
    "python3-dev", "python3-pip", "python3-setuptools", "python3-wheel", "python3-cffi",
    # what runs the tests
    "python3", "python3-venv", "python3-pytest", "python3-pytest-timeout", "python3-hypothesis", "python3-jsonschema",
]  # fmt: skip

# The only modules between the firmware and the root file system.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4", "overlay"]

# Units that only cost boot time in a machine that lives for minutes. Without udev there are the devices that the
# kernel and the initramfs make, which is all that is needed, and not the modules for the others.
MASKED = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "systemd-timesyncd.service", "systemd-networkd.service", "getty@tty1.service",
    "serial-getty@ttyS0.service", "containerd.service", "docker.service", "docker.socket", "podman.service",
    "podman.socket", "podman-restart.service", "podman-auto-update.timer", "podman-clean-transient.service",
    "systemd-update-utmp.service", "systemd-firstboot.service",
    "systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service", "ldconfig.service",
    "systemd-journal-catalog-update.service", "systemd-update-done.service", "systemd-journal-flush.service",
    "systemd-logind.service", "systemd-user-sessions.service", "systemd-hostnamed.socket", "systemd-sysext.socket",
    "systemd-tmpfiles-clean.timer", "systemd-random-seed.service", "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount", "modprobe@.service", "systemd-modules-load.service",
]  # fmt: skip

# The second disk is a tar archive of /srv/tests: the runtime, the tests and `start`.
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
    "etc/dpkg/dpkg.cfg.d/tests": "force-unsafe-io\n",
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


def debian() -> Path:
    """The root file system of the smallest Debian (SUITE, minbase), made first if it is missing.

    Raises CalledProcessError where debootstrap fails.
    """
    with locked(cache() / "debian.lock"):
        return kept(cache() / f"debian-{SUITE}", bootstrap)


def image() -> Image:
    """The image, built first if it is missing. Raises CalledProcessError when a step of the build fails."""
    base = debian()
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    with locked(cache() / "vm.lock"):
        home = kept(cache() / f"vm-{key}", lambda partial: build(base, partial))
        for old in cache().glob("vm-*"):
            if old != home:
                shutil.rmtree(old)
    return Image(home / "tree", home / "disk.ext4", home / "vmlinuz", home / "initrd.img")


def kept(home: Path, make: Callable[[Path], None]) -> Path:
    """`home`, made under another name first if it is missing, so that nobody ever finds half of it."""
    if not home.exists():
        partial = home.with_name(home.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        make(partial)
        partial.rename(home)
    return home


def bootstrap(tree: Path) -> None:
    say(f"debootstrap {SUITE}: the smallest Debian")
    private(["debootstrap", "--variant=minbase", SUITE, str(tree)])
    shutil.rmtree(tree / "var/cache/apt/archives")


def build(base: Path, home: Path) -> None:
    tree = home / "tree"
    home.mkdir()
    say("a copy of it")
    subprocess.run(["cp", "-a", str(base), str(tree)], check=True)
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tree / "usr/sbin/policy-rc.d").chmod(0o755)
    say(f"apt-get install {' '.join(PACKAGES)}")
    apt = ["apt-get", "-q", "-o", "Dpkg::Use-Pty=0"]
    inside(tree, [*apt, "install", "-y", "--no-install-recommends", *PACKAGES])
    inside(tree, ["apt-get", "clean"])
    say("the units")
    inside(tree, ["systemctl", "mask", *MASKED])
    inside(tree, ["systemctl", "enable", "ocirun-tests.service"])
    inside(tree, ["systemctl", "set-default", "graphical.target"])
    inside(tree, ["passwd", "-d", "root"])
    say("the initramfs")
    inside(tree, ["update-initramfs", "-u", "-k", "all"])
    shutil.copy(next((tree / "boot").glob("vmlinuz-*")), home / "vmlinuz")
    shutil.copy(next((tree / "boot").glob("initrd.img-*")), home / "initrd.img")
    say("another copy, to be the root of containers")
    subprocess.run(["cp", "-a", str(base), str(tree / "srv/debian")], check=True)
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
