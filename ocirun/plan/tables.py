"""Mount options and the kernel's numbers for them (runtime-spec config.md, "Linux mount options").

The numbers are those of all architectures that this runs on: <linux/mount.h>, <asm-generic/fcntl.h>.
"""

from __future__ import annotations

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_SILENT = 32768
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
ATTR_ATIME = 0x70  # a field of three bits, not three flags: relatime is 0
ATTR_NOATIME = 0x10
ATTR_STRICTATIME = 0x20
ATTR_NODIRATIME = 0x80
ATTR_NOSYMFOLLOW = 0x200000

O_RDONLY = 0
O_WRONLY = 1
O_PATH = 0o10000000

TARGET_COPY_UP = 1
TARGET_ORDINARY = 2
TARGET_NO_FOLLOW = 4
TARGET_AS_TAKEN = 16
"""target_flags, native/init/plan.h"""

FLAGS: dict[str, tuple[bool, int]] = {
    "async": (False, MS_SYNCHRONOUS),
    "atime": (False, MS_NOATIME),
    "bind": (True, MS_BIND),
    "defaults": (True, 0),
    "dev": (False, MS_NODEV),
    "diratime": (False, MS_NODIRATIME),
    "dirsync": (True, MS_DIRSYNC),
    "exec": (False, MS_NOEXEC),
    "iversion": (True, MS_I_VERSION),
    "lazytime": (True, MS_LAZYTIME),
    "loud": (False, MS_SILENT),
    "mand": (True, MS_MANDLOCK),
    "noatime": (True, MS_NOATIME),
    "nodev": (True, MS_NODEV),
    "nodiratime": (True, MS_NODIRATIME),
    "noexec": (True, MS_NOEXEC),
    "noiversion": (False, MS_I_VERSION),
    "nolazytime": (False, MS_LAZYTIME),
    "nomand": (False, MS_MANDLOCK),
    "norelatime": (False, MS_RELATIME),
    "nostrictatime": (False, MS_STRICTATIME),
    "nosuid": (True, MS_NOSUID),
    "nosymfollow": (True, MS_NOSYMFOLLOW),
    "rbind": (True, MS_BIND | MS_REC),
    "relatime": (True, MS_RELATIME),
    "remount": (True, MS_REMOUNT),
    "ro": (True, MS_RDONLY),
    "rw": (False, MS_RDONLY),
    "silent": (True, MS_SILENT),
    "strictatime": (True, MS_STRICTATIME),
    "suid": (False, MS_NOSUID),
    "symfollow": (False, MS_NOSYMFOLLOW),
    "sync": (True, MS_SYNCHRONOUS),
}
"""Flags of mount(2), set (True) or cleared"""

PROPAGATION: dict[str, int] = {
    "private": MS_PRIVATE,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
"""mount_namespaces(7); also the values of linux.rootfsPropagation"""

RECURSIVE: dict[str, tuple[int, int]] = {
    "rro": (ATTR_RDONLY, 0),
    "rrw": (0, ATTR_RDONLY),
    "rnosuid": (ATTR_NOSUID, 0),
    "rsuid": (0, ATTR_NOSUID),
    "rnodev": (ATTR_NODEV, 0),
    "rdev": (0, ATTR_NODEV),
    "rnoexec": (ATTR_NOEXEC, 0),
    "rexec": (0, ATTR_NOEXEC),
    "rnodiratime": (ATTR_NODIRATIME, 0),
    "rdiratime": (0, ATTR_NODIRATIME),
    "rrelatime": (0, ATTR_ATIME),
    "rnorelatime": (0, 0),
    "rnoatime": (ATTR_NOATIME, ATTR_ATIME),
    "ratime": (0, ATTR_ATIME),
    "rstrictatime": (ATTR_STRICTATIME, ATTR_ATIME),
    "rnostrictatime": (0, ATTR_ATIME),
    "rnosymfollow": (ATTR_NOSYMFOLLOW, 0),
    "rsymfollow": (0, ATTR_NOSYMFOLLOW),
}
"""mount_setattr(2) with AT_RECURSIVE: the attributes set and cleared. Without strictatime or noatime there is always
relatime, since Linux 2.6.30, so that rnorelatime (and norelatime) has nothing to clear."""

ATTRIBUTES: dict[int, int] = {
    MS_RDONLY: ATTR_RDONLY,
    MS_NOSUID: ATTR_NOSUID,
    MS_NODEV: ATTR_NODEV,
    MS_NOEXEC: ATTR_NOEXEC,
    MS_NODIRATIME: ATTR_NODIRATIME,
    MS_NOSYMFOLLOW: ATTR_NOSYMFOLLOW,
}
"""The attribute of one mount for a flag of mount(2); access times apart. Other flags are of a whole file system."""

EXTENSIONS = ("tmpcopyup", "idmap", "ridmap")
"""What no system call knows"""
