"""What the tests that run containers share: bundles, a runtime as one sees it from outside, and what it leaves behind.

The runtime is known by its command line alone, so that the same tests run on any: OCIRUN_TEST_RUNTIME names it
(by default this repository's .venv/bin/ocirun).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import ocirun_conformance.bundle

import ocirun

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = Path(ocirun.__file__).parents[1]  # where ocirun is installed, or the checkout
PROGRAM = os.environ.get("OCIRUN_TEST_RUNTIME", str(REPOSITORY / ".venv" / "bin" / "ocirun"))
NAME = Path(PROGRAM).name
TIMEOUT = float(os.environ.get("OCIRUN_TEST_TIMEOUT", "30"))  # seconds of one command, after which it hangs

CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]  # capabilities(7), in the kernel's order

NAMESPACES = {  # of config.json -> of /proc/PID/ns
    "cgroup": "cgroup",
    "ipc": "ipc",
    "mount": "mnt",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "user": "user",
    "uts": "uts",
}

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)

Config = dict[str, Any]


def capability_mask(names: Iterable[str]) -> int:
    """CAP_* names as the bits that the kernel uses."""
    return sum(1 << CAPABILITIES.index(name.removeprefix("CAP_")) for name in names)


@contextlib.contextmanager
def alone() -> Iterator[tuple[Runtime, Workshop, Leftovers]]:
    """What the fixtures give a test, for a program by itself."""
    isolate()
    with tempfile.TemporaryDirectory(prefix="ocirun-test-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        leftovers = Leftovers(f"ot{os.getpid()}", scratch)
        yield Runtime(PROGRAM, scratch), Workshop(leftovers.prefix, scratch, build_probe()), leftovers


def isolate() -> None:
    """Give this process a mount namespace of its own, so that nothing which a test leaves mounted outlives the tests,
    uts and ipc namespaces against a runtime that forgets to make them, and make it a subreaper: what a runtime orphans
    becomes our child, where it can be seen and reaped. What nohup(1), or the shell that started us in the
    background, has us ignore is not for a runtime to ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if (
        libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0
        or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) < 0
    ):
        raise OSError(ctypes.get_errno(), "cannot make namespaces for the tests")


def mount(source: str, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, fstype, data)]
    if libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]) < 0:
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def unmount(target: str) -> None:
    """umount2(2) with MNT_DETACH."""
    if libc.umount2(os.fsencode(target), MNT_DETACH) < 0:
        raise OSError(ctypes.get_errno(), f"unmount {target}")


def eventually(true: Callable[[], object], what: str, seconds: float = 5.0) -> None:
    """Wait until a condition holds, looking again and again; AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.003)


def native_build(checkout: Path = REPOSITORY) -> ModuleType:
    """native/build.py."""
    spec = importlib.util.spec_from_file_location("native_build", checkout / "native" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build


def build_probe() -> Path:
    """The static program that runs in the containers."""
    return compiled("probe", [REPOSITORY / "native" / "probe" / "probe.c"])


def compiled(name: str, sources: Sequence[Path], seen: Iterable[Path] = (), flags: Sequence[str] = ()) -> Path:
    """A static program, compiled once for each version of its sources.

    :param seen: what else of ours the compiler looks at
    """
    digest = hashlib.sha256()
    for path in (*sources, *seen):
        digest.update(path.read_bytes())
    output = REPOSITORY / "build" / "tests" / f"{name}-{digest.hexdigest()[:16]}"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent) as directory:
            native_build().build_static(sources, Path(directory, name), flags)
            os.replace(Path(directory, name), output)
    return output


def base_config(id: str) -> Config:
    """A plain container with a cgroup of its own."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/probe", "report"],
            "env": ["PATH=/bin:/", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                kind: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
                for kind in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "hostname": "probed",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/dev/shm",
                "type": "tmpfs",
                "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue",
                "type": "mqueue",
                "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys",
                "type": "sysfs",
                "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
        ],
        "linux": {
            "cgroupsPath": f"/{id}",
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": type} for type in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [],
            "readonlyPaths": [],
        },
    }


class Bundle(ocirun_conformance.bundle.Bundle):
    """A bundle of its own for one container; `config` is written when a command uses it."""

    def mount(self, destination: str, type: str, source: str, *options: str, **more: Any) -> None:
        """Always with options, be it none."""
        super().mount(destination, type, source, **{"options": list(options)} | more)

    def write(self) -> None:
        """Indented by one, for what is to be just below the largest file that is read."""
        self.file.write_text(json.dumps(self.config, indent=1))


@dataclass
class Result:
    """How a command ended. `error` is what an engine shows to its user: the last error of the JSON log; `warning` the
    last of those."""

    argv: list[str]
    code: int
    out: str
    err: str
    error: str
    warning: str = ""

    def ok(self) -> Result:
        assert self.code == 0, f"{' '.join(self.argv)}: exit code {self.code}\n{self.error or self.err}"
        return self

    def failed(self, *texts: str, code: int = 1) -> Result:
        """It must have failed, with each of these texts in its error."""
        assert self.code == code, f"{' '.join(self.argv)}: exit code {self.code}, not {code}\n{self.error}\n{self.out}"
        assert self.error, f"no error was logged\n{self.err}"
        for text in texts:
            assert text.lower() in self.error.lower(), f"{text!r} is not in: {self.error}"
        return self

    @property
    def json(self) -> Any:
        self.ok()
        return json.loads(self.out)


class Running:
    """A command that has not ended yet."""

    def __init__(self, argv: list[str], popen: subprocess.Popen[bytes], out: Path, err: Path, log: Path) -> None:
        self.argv, self.popen, self._out, self._err, self._log = argv, popen, out, err, log

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def result(self, timeout: float = 0) -> Result:
        try:
            code = self.popen.wait(timeout or TIMEOUT)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{' '.join(self.argv)}: hangs\n{self.out}{self._err.read_text()}") from None
        return Result(self.argv, code, self.out, self.err, last(self._log, "error"), last(self._log, "warning"))


def last(log: Path, level: str) -> str:
    """The last message of a level in a JSON log, as containerd's shim finds it: a pure stream of JSON objects."""
    if not log.exists():
        return ""
    found = [
        entry["msg"]
        for entry in map(json.loads, log.read_text().splitlines())
        if entry["level"] == level and {"msg", "time"} <= entry.keys()
    ]
    return str(found[-1]) if found else ""


class Runtime:
    """The runtime under test, with a --root of its own."""

    def __init__(self, program: str, scratch: Path) -> None:
        self.program = program
        self.name = Path(program).name
        self.scratch = scratch
        self.root = scratch / "root"
        self._count = 0

    def argv(self, *words: str, flags: Sequence[str] = ()) -> list[str]:
        return [self.program, "--root", str(self.root), *flags, *words]

    def spawn(
        self, *words: str, prefix: Sequence[str] = (), flags: Sequence[str] = (), stdin: int | None = None, **popen: Any
    ) -> Running:
        """Start a command. Its output goes to files: what is only created keeps its standard output open.

        :param prefix: words before the command, as `nohup`
        :param flags: further global flags
        :param stdin: /dev/null by default
        :param popen: for subprocess.Popen; `cwd` is the scratch directory by default, for a runtime with a fault that
            never enters the rootfs makes its directories where it is
        """
        self._count += 1
        base = self.scratch / f"command-{self._count}"
        out, err, log = (base.with_suffix(suffix) for suffix in (".out", ".err", ".log"))
        for path in (out, err, log):  # whoever the command runs as
            path.touch()
            path.chmod(0o666)
        argv = [*prefix, *self.argv(*words, flags=["--log", str(log), "--log-format", "json", *flags])]
        with out.open("ab") as out_file, err.open("ab") as err_file:
            popen = {"stdout": out_file, "stderr": err_file, "cwd": self.scratch} | popen
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL if stdin is None else stdin, **popen)
        return Running(argv, process, out, err, log)

    def __call__(self, *words: str, timeout: float = 0, **options: Any) -> Result:
        return self.spawn(*words, **options).result(timeout)

    def run(self, bundle: Bundle, *flags: str, **options: Any) -> Result:
        bundle.write()
        return self("run", "--bundle", str(bundle.path), *flags, bundle.id, **options)

    def report(self, bundle: Bundle, *words: str, flags: Sequence[str] = (), **options: Any) -> Any:
        """What the probe finds when it is run as the container's process."""
        return self.run(bundle.args("report", *words), *flags, **options).json

    def create(self, bundle: Bundle, *flags: str, **options: Any) -> Result:
        bundle.write()
        return self("create", "--bundle", str(bundle.path), *flags, bundle.id, **options)

    def created(self, bundle: Bundle, *flags: str, **options: Any) -> int:
        """Create; the pid of the container's process."""
        self.create(bundle, *flags, **options).ok()
        return int(self.state(bundle)["pid"])

    def started(self, bundle: Bundle, *flags: str, **options: Any) -> int:
        """Create and start; the pid of the container's process."""
        pid = self.created(bundle, *flags, **options)
        self("start", bundle.id).ok()
        return pid

    def state(self, bundle: Bundle) -> Any:
        return self("state", bundle.id).json

    def status(self, bundle: Bundle) -> str:
        return str(self.state(bundle)["status"])

    def exec(self, bundle: Bundle, *words: str, **options: Any) -> Result:
        return self("exec", *words, **options)

    def probe(self, bundle: Bundle, *words: str, flags: Sequence[str] = (), **options: Any) -> Any:
        """What the probe finds when it is run by exec."""
        return self("exec", *flags, bundle.id, "/probe", "report", *words, **options).json

    def kill(self, bundle: Bundle, signal: str = "KILL") -> Result:
        return self("kill", bundle.id, signal)

    def delete(self, bundle: Bundle, *flags: str) -> Result:
        return self("delete", *flags, bundle.id)

    def end(self, bundle: Bundle, pid: int) -> int:
        """Kill, reap and delete; the exit code of the container's process as a shell would have it."""
        self.kill(bundle).ok()
        code = reap(pid)
        self.delete(bundle).ok()
        return code

    def clean(self) -> None:
        """Force away every container that a test has left: whatever its state, nothing may stay."""
        if self.root.exists():
            for directory in sorted(self.root.glob("[!@]*")):
                self("delete", "--force", directory.name).ok()


def reap(pid: int, seconds: float = 10.0) -> int:
    """Wait for the end of a container's process, which is our child since its runtime ended; its exit code."""
    pidfd = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([pidfd], [], [], seconds)
        assert ready, f"process {pid} does not end"
    finally:
        os.close(pidfd)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# Network namespaces.


class Network:
    """A network namespace of a test, kept by a file; something for `unmount` in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before a command that is to be run in it."""
        return ("nsenter", f"--net={self.path}")

    def ip(self, words: str) -> None:
        subprocess.run([*self.prefix, "ip", *words.split()], check=True)

    def device(self, name: str) -> Any:
        return device(self.prefix, name)

    def names(self) -> set[str]:
        return devices(self.prefix)

    def routes(self) -> str:
        words = ("ip", "-4", "route"), ("ip", "-6", "route")
        return "".join(subprocess.run([*self.prefix, *one], capture_output=True, text=True).stdout for one in words)


def device(prefix: Sequence[str], name: str) -> Any:
    """What `ip address` says of a network device, after words that enter its namespace; None when there is none."""
    result = subprocess.run([*prefix, "ip", "-d", "-j", "address", "show", name], capture_output=True, text=True)
    return json.loads(result.stdout)[0] if result.returncode == 0 else None


def devices(prefix: Sequence[str]) -> set[str]:
    """The names of all network devices there."""
    output = subprocess.run([*prefix, "ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    return {one["ifname"] for one in json.loads(output)}


# Descriptors that are passed.


@contextlib.contextmanager
def files(scratch: Path, count: int) -> Iterator[Callable[[], None]]:
    """For subprocess: `count` files on 3, 4, 5 ..., and nothing else there."""
    opened = [os.open(scratch / f"file-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for number in range(count)]

    def prepare() -> None:
        kept = [os.dup2(fd, 900 + number, inheritable=False) for number, fd in enumerate(opened)]
        os.closerange(3, 900)
        for number, fd in enumerate(kept):
            os.dup2(fd, 3 + number)

    try:
        yield prepare
    finally:
        for fd in opened:
            os.close(fd)


def passing(prepare: Callable[[], None], **env: str) -> dict[str, Any]:
    """For `spawn`."""
    return {"preexec_fn": prepare, "close_fds": False, "env": {**os.environ, **env}}


# What is left behind.


def cgroup_roots() -> dict[str, Path]:
    """Where the hierarchies are mounted: controllers (as in mountinfo; "" for v2) -> directory."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fstype, _, options = after.split(" ", 2)
        directory = before.split()[4]
        if fstype == "cgroup2":
            found.setdefault("", Path(directory))
        elif fstype == "cgroup":
            names = [name for name in options.split(",") if name not in ("rw", "ro", "noprefix", "xattr")]
            for name in names:
                found.setdefault(name.removeprefix("name="), Path(directory))
    return found


def cgroup_directory(controller: str, id: str) -> Path:
    """The directory that a container of base_config has for a controller."""
    roots = cgroup_roots()
    return roots.get(controller, roots.get("", Path("/sys/fs/cgroup"))) / id


def own_cgroups() -> list[Path]:
    """This process's own directory in each hierarchy."""
    roots = cgroup_roots()
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        root = roots.get(names.split(",")[0].removeprefix("name="))
        if root is not None:
            found.append(root / path.lstrip("/"))
    return found


def children() -> list[int]:
    """Our children, also those that were orphaned to us; what has ended is reaped first."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return _all_children()


def zombies() -> list[str]:
    """Those of our children that have ended and that nobody has waited for, us included: what a library leaves in its
    caller."""
    found = []
    for pid in _all_children():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.append(command_line(pid))
    return found


def _all_children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.extend(map(int, (task / "children").read_text().split()))
    return found


def command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{pid} {words or Path(f'/proc/{pid}/comm').read_text().strip()}"
    except OSError:
        return str(pid)


class Leftovers:
    """What there is now of everything that a runtime could leave behind.

    Only what is ours is looked at, since other programs go on meanwhile: our descendants, this process's private
    mount namespace, cgroups whose names begin with our prefix, sockets and files below our scratch directory.
    """

    def __init__(self, prefix: str, scratch: Path) -> None:
        self.prefix = prefix
        self.scratch = scratch
        self.before = self._snapshot()

    def _snapshot(self) -> dict[str, set[str]]:
        mounts = {line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
        cgroups = set()
        for directory in {*cgroup_roots().values(), *own_cgroups()}:
            with contextlib.suppress(OSError):
                cgroups.update(str(one) for one in directory.iterdir() if one.name.startswith(self.prefix))
        unix = Path("/proc/net/unix").read_text().splitlines()
        return {
            "process": {command_line(pid) for pid in children()},
            "mount": mounts,
            "cgroup": cgroups,
            "socket": {line for line in unix if str(self.scratch) in line},
            "file": {
                str(path)
                for directory in (self.scratch / "root", Path("/run"), Path("/tmp"), Path("/dev/shm"))
                if directory.exists()
                for path in directory.iterdir()
                if (directory == self.scratch / "root" and not path.name.startswith("@"))  # a cache is no container
                or path.name.startswith((self.prefix, "ocirun-plan", "ocirun-init"))
            },
            "descriptor": {
                f"{number} -> {target}"
                for number, target in _descriptors()
                if str(self.scratch) in target or "memfd:ocirun" in target
            },
        }

    def now(self) -> list[str]:
        """What has come since this was made."""
        after = self._snapshot()
        return [f"{kind}: {one}" for kind in after for one in sorted(after[kind] - self.before[kind])]

    def check(self, seconds: float = 2.0) -> None:
        """Nothing may be left (what is just being killed gets a moment to vanish)."""
        end = time.monotonic() + seconds
        while (left := self.now()) and time.monotonic() < end:
            time.sleep(0.01)
        assert not left, "left behind:\n" + "\n".join(left)

    def remove(self) -> None:
        """After a failed test: end and remove by force what the runtime did not."""
        for directory in sorted(self._snapshot()["cgroup"] - self.before["cgroup"]):
            self._end_cgroup(Path(directory))
        before = {int(line.split()[0]) for line in self.before["process"]}
        for pid in set(children()) - before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(AssertionError):
            eventually(lambda: set(children()) <= before, "the rest ends")
        for directory in sorted(self._snapshot()["cgroup"] - self.before["cgroup"]):
            for path in sorted(Path(directory).rglob("*"), reverse=True):
                if path.is_dir():
                    with contextlib.suppress(OSError):
                        path.rmdir()
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
        for line in self._snapshot()["mount"] - self.before["mount"]:
            with contextlib.suppress(OSError):
                unmount(line.split()[2].encode().decode("unicode_escape"))

    @staticmethod
    def _end_cgroup(directory: Path) -> None:
        with contextlib.suppress(OSError):
            for path in [directory, *(one for one in directory.rglob("*") if one.is_dir())]:
                for name in ("freezer.state", "cgroup.freeze"):
                    if (path / name).exists():
                        (path / name).write_text("THAWED" if name == "freezer.state" else "0")
                for pid in (path / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)


def _descriptors() -> Iterator[tuple[str, str]]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            yield entry.name, os.readlink(entry)


class Workshop:
    """Makes bundles with fresh ids below one scratch directory that everybody can enter."""

    _count = 0

    def __init__(self, prefix: str, scratch: Path, probe: Path) -> None:
        self.prefix = prefix
        self.scratch = scratch
        self.probe = probe

    def __call__(self, *words: str) -> Bundle:
        """A bundle of base_config, whose process is `probe WORDS` (by default `probe report`)."""
        Workshop._count += 1
        id = f"{self.prefix}-{Workshop._count}"
        path = self.scratch / id
        rootfs = path / "rootfs"
        for name in ("proc", "sys", "dev", "tmp", "etc", "bin"):
            (rootfs / name).mkdir(parents=True)
        (rootfs / "tmp").chmod(0o1777)
        shutil.copy(self.probe, rootfs / "probe")
        (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        (rootfs / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
        bundle = Bundle(id, path, self.probe, base_config(id))
        return bundle.args(*words) if words else bundle


@dataclass(frozen=True)
class Mount:
    """A line of mountinfo (proc(5))."""

    path: str
    root: str
    options: frozenset[str]
    propagation: str  # "private", "shared", "slave", "unbindable"
    fstype: str
    source: str
    super_options: frozenset[str]


def mounts(report: Any) -> dict[str, Mount]:
    """The mounts that a container has, by mount point; of several on one point the last."""
    found = {}
    for line in report["mountinfo"].splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, path, options, *tags = before.split(" ")
        fstype, source, super_options = after.split(" ", 2)
        kinds = {"shared": "shared", "master": "slave", "unbindable": "unbindable"}
        propagation = next((kinds[tag.split(":")[0]] for tag in tags if tag.split(":")[0] in kinds), "private")
        found[path] = Mount(
            path, root, frozenset(options.split(",")), propagation, fstype, source, frozenset(super_options.split(","))
        )
    return found


def propagation(report: Any) -> dict[str, set[str]]:
    """What mountinfo says of a container's mounts, by mount point: any of "shared", "master", "unbindable"; nothing
    for a private one. (Mount.propagation is one word for these.)"""
    found = {}
    for line in report["mountinfo"].splitlines():
        fields = line.partition(" - ")[0].split(" ")
        found[fields[4]] = {tag.partition(":")[0] for tag in fields[6:]} - {"propagate_from"}
    return found
