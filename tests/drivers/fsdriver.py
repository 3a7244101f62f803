"""Runs single file-system operations of the native init (native/fs_driver.c) in a mount namespace of their own."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import importlib.util
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType

from harness import REPOSITORY

from ocirun.plan import encode, ops
from ocirun.plan.ops import Operation

INIT = REPOSITORY / "native" / "init"
HERE = REPOSITORY / "tests" / "native"
SOURCES = (
    "attach.c",
    "copyup.c",
    "decode.c",
    "inroot.c",
    "op_bind.c",
    "op_console.c",
    "op_device.c",
    "op_idmap.c",
    "op_label.c",
    "slots.c",
    "op_mask.c",
    "op_mount.c",
    "op_node.c",
    "op_root.c",
    "procfs.c",
)

AT_FDCWD = -100
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


def build_program(sources: Sequence[str], main: str, replacements: Sequence[str] = ()) -> Path:
    """Files of native/init with a main file of tests/native, compiled once for each version of them.

    :param replacements: files of tests/native named naive_X.c, compiled in place of X.c: the same without the defence
    """
    replaced = {name.removeprefix("naive_") for name in replacements}
    paths = [INIT / name for name in sources if name not in replaced]
    paths += [HERE / name for name in (*replacements, main)]
    digest = hashlib.sha256()
    for path in [*paths, *sorted(INIT.glob("*.h")), REPOSITORY / "native" / "ops.def"]:
        digest.update(path.read_bytes())
    output = REPOSITORY / "build" / "tests" / f"{Path(main).stem}-{digest.hexdigest()[:16]}"
    if not output.exists():
        spec = importlib.util.spec_from_file_location("native_build", REPOSITORY / "native" / "build.py")
        assert spec is not None and spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent) as directory:
            build.build_static(paths, Path(directory, "program"), [f"-I{INIT}", "-DOCIRUN_TEST_STEPS"])
            os.replace(Path(directory, "program"), output)
    return output


def build_driver(replacements: Sequence[str] = ()) -> Path:
    """fs_driver.c with all file-system operations."""
    return build_program(SOURCES, "fs_driver.c", replacements)


class Failed(Exception):
    """An operation failed: its place, the errno (0: only words) and the words."""

    def __init__(self, index: int, errno: int, words: str) -> None:
        super().__init__(f"operation {index}: {os.strerror(errno) if errno else ''} {words}".strip())
        self.index = index
        self.errno = errno
        self.words = words


class Mount:
    """A line of /proc/PID/mountinfo."""

    def __init__(self, line: str) -> None:
        fields = line.split()
        separator = fields.index("-")
        self.id, self.parent = int(fields[0]), int(fields[1])
        self.root, self.target = fields[3], fields[4].encode().decode("unicode_escape")
        self.options = set(fields[5].split(","))
        self.tags = set(fields[6:separator])
        self.fstype, self.source = fields[separator + 1 : separator + 3]
        self.super_options = set(fields[separator + 3].split(","))

    def __repr__(self) -> str:
        return f"<{self.fstype} on {self.target} {sorted(self.options)} {sorted(self.tags)}>"


# asm-generic: the same on all architectures since 424.
NUMBERS = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "openat2": 437,
    "mount_setattr": 442,
    "fchmodat2": 452,
}


def forbid(names: Sequence[str]) -> None:
    """Answer these system calls with EPERM from now on: a seccomp filter in classic BPF (seccomp(2))."""
    load_number, jump_equal, give = 0x20, 0x15, 0x06
    program = [(load_number, 0, 0, 0)]
    for name in names:
        program += [(jump_equal, 0, 1, NUMBERS[name]), (give, 0, 0, 0x00050000 | errno.EPERM)]
    program.append((give, 0, 0, 0x7FFF0000))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    if libc.prctl(38, 1, 0, 0, 0) < 0 or libc.prctl(22, 2, head, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "seccomp")


class Driven:
    """A process in which operations have been performed; `with` ends it.

    :param without: system calls that the process must believe missing (ENOSYS)
    :param forbidden: system calls that a seccomp filter answers with EPERM, as older ones do with what they do not know
    :param null_error: with /dev/null of the host as its standard error
    :param user: in a user namespace too, as its root
    :raises Failed: from `with`, when an operation failed
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        *,
        driver: Path | None = None,
        without: str = "",
        forbidden: Sequence[str] = (),
        user: bool = False,
        slots: Sequence[int] = (),
        null_error: bool = False,
        propagation: str = "private",
    ) -> None:
        self.operations = operations
        self.driver = driver or build_driver()
        self.without = without
        self.forbidden = forbidden
        self.user = user
        self.slots = slots
        self.null_error = null_error
        self.propagation = propagation

    def __enter__(self) -> Driven:
        data = encode.encode(SimpleNamespace(operations=self.operations, slots=64))  # type: ignore[arg-type]
        plan = os.memfd_create("plan", 0)
        os.write(plan, data)
        command = ["unshare", "--mount", "--uts", "--propagation", self.propagation, *(("-Ur",) if self.user else ())]
        command += [str(self.driver), str(plan), *map(str, self.slots)]
        environment = {"PATH": os.environ["PATH"], "OCIRUN_INIT_WITHOUT": self.without}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if self.null_error else None,
            text=True,
            env=environment,
            pass_fds=[plan, *self.slots],
            start_new_session=True,
            preexec_fn=functools.partial(forbid, self.forbidden) if self.forbidden else None,
        )
        os.close(plan)
        self.pid = self.process.pid
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line == "ok":
            return self
        self.close()
        index, number, words = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" "), "")
        raise Failed(int(index), int(number), words)

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and with it the mount namespace."""
        self.process.communicate(timeout=10)

    @property
    def root(self) -> Path:
        """Its root directory, as it sees it (mounts and all)."""
        return Path(f"/proc/{self.pid}/root")

    def mounts(self) -> list[Mount]:
        return [Mount(line) for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()]

    def mount(self, target: str) -> Mount:
        """The topmost mount on a path as the process sees it."""
        found = [mount for mount in self.mounts() if mount.target == target]
        assert found, f"nothing is mounted on {target}"
        return found[-1]

    def descriptors(self) -> dict[int, str]:
        """Its open descriptors beside 0-2 and the driver's own."""
        directory = Path(f"/proc/{self.pid}/fd")
        return {int(p.name): os.readlink(p) for p in directory.iterdir() if 2 < int(p.name) < 200}


# Operations with the fields that most tests do not care about filled in.

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 14, 1 << 18, 1 << 19, 1 << 20
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
COPY_UP, ORDINARY = 1, 2


def mount(
    fstype: str,
    target: str,
    *options: str,
    source: str = "none",
    flags: int = 0,
    propagation: int = 0,
    target_flags: int = 0,
    slot: int = ops.NO_SLOT,
) -> Operation:
    """A new file system."""
    return ops.mount(
        "init",
        "",
        fstype=fstype,
        source=source,
        target=target,
        options=options,
        ms_flags=flags,
        propagation=propagation,
        target_flags=target_flags,
        slot=slot,
    )


def bind(
    source: Path | str,
    target: str,
    *,
    slot: int = ops.NO_SLOT,
    recursive: bool = False,
    set: int = 0,
    clear: int = 0,
    rec_set: int = 0,
    rec_clear: int = 0,
    propagation: int = 0,
    target_flags: int = 0,
) -> Operation:
    """A bind mount."""
    return ops.bind(
        "init",
        "",
        source=str(source),
        slot=slot,
        recursive=int(recursive),
        target=target,
        attr_set=set,
        attr_clear=clear,
        rec_set=rec_set,
        rec_clear=rec_clear,
        propagation=propagation,
        target_flags=target_flags,
    )


def setattr(target: str, *, set: int = 0, clear: int = 0, recursive: bool = False, propagation: int = 0) -> Operation:
    """A change of a mount."""
    return ops.setattr(
        "init",
        "",
        target=target,
        recursive=int(recursive),
        attr_set=set,
        attr_clear=clear,
        propagation=propagation,
    )


def device(target: str, major: int, minor: int, *, mode: int = 0o020666, uid: int = 0, gid: int = 0) -> Operation:
    """A device node."""
    return ops.mknod("init", "", target=target, mode=mode, major=major, minor=minor, uid=uid, gid=gid)


def bind_device(target: str, major: int, minor: int, *, mode: int = 0o020666, slot: int = ops.NO_SLOT) -> Operation:
    """A device node, bound."""
    return ops.bind_device("init", "", target=target, mode=mode, major=major, minor=minor, slot=slot)


def enter(rootfs: Path, propagation: int = MS_SLAVE | MS_REC) -> list[Operation]:
    """From the mount namespace just made to a rootfs that mounts can be attached to."""
    return [
        ops.enter_root("init", "", path=str(rootfs)),
        ops.propagation("init", "", flags=propagation),
        ops.mount_root("init", "", path=str(rootfs), slot=ops.NO_SLOT, private=1),
    ]


def pivot() -> Operation:
    """The last step into it."""
    return ops.pivot_root("init", "")


def mask(*targets: str) -> list[Operation]:
    return [ops.mask("init", "", target=target) for target in targets]


def exchange(first: Path, second: Path) -> None:
    """renameat2(2) with RENAME_EXCHANGE."""
    if libc.renameat2(AT_FDCWD, bytes(first), AT_FDCWD, bytes(second), RENAME_EXCHANGE) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")
