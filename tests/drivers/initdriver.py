"""Runs the native init on plans made by hand, with a test in the runtime's place (native/init/wire.h)."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ocirun.plan import ops
from ocirun.plan.encode import encode
from ocirun.plan.ops import Operation

REPOSITORY = Path(__file__).resolve().parents[2]
INIT = REPOSITORY / "native" / "init"
MAPS, PID, MOUNTS, READY, ERROR, ACK = range(1, 7)
NAMES = {MAPS: "maps", PID: "pid", MOUNTS: "mounts", READY: "ready"}
MESSAGE = struct.Struct("=IiIi")


def native_build() -> ModuleType:
    """native/build.py."""
    spec = importlib.util.spec_from_file_location("native_build", REPOSITORY / "native" / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build


def build_init() -> Path:
    """The tests' build of the init, compiled once for each version of its sources."""
    sources = [*sorted(INIT.glob("*.[ch]")), REPOSITORY / "native" / "ops.def", REPOSITORY / "native" / "build.py"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    output = REPOSITORY / "build" / "tests" / f"init-{digest}"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent) as directory:
            os.replace(native_build().build_test_init(Path(directory)), output)
    return output


@dataclass(frozen=True)
class HandMade:
    """What encode() wants of a plan."""

    operations: tuple[Operation, ...]
    slots: int
    inherited: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What became of it."""

    messages: list[str] = field(default_factory=list)  # in order, without ERROR
    failure: tuple[int, int, str] | None = None  # index, errno, text
    status: int = 0  # of the last process: exit status, or minus the signal
    output: str = ""

    @property
    def text(self) -> str:
        """The failure in words, as ocirun puts it together."""
        assert self.failure is not None, self
        _, errno, text = self.failure
        return ": ".join(part for part in (text, os.strerror(errno).lower() if errno else "") if part)

    def json(self) -> Any:
        """What the program printed, which was JSON."""
        return json.loads(self.output)


def sealed(data: bytes) -> int:
    """A memfd that cannot change."""
    fd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return fd


class Driver:
    """The runtime's end of one init."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.environment: dict[str, str] = {}
        self.on_maps: Callable[[int], None] = lambda pid: None
        self.before: dict[str, Callable[[int], None]] = {}  # called with the pid before that message is acknowledged
        self.in_child: Callable[[], None] = lambda: None  # last thing before the init is executed
        self.preserve = 0

    def spawn(self, data: bytes, passed: Sequence[int], output: int) -> tuple[int, socket.socket]:
        """Execute the init as the runtime does. Its pid, and our end of the wire."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = sealed(data)
        base = 3 + self.preserve
        pid = os.fork()
        if pid == 0:
            try:
                sources = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in (theirs.fileno(), plan, *passed)]
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.closerange(base, 200)
                for number, fd in enumerate(sources):
                    os.dup2(fd, base + number)
                self.in_child()
                words = ["ocirun-init", str(base), str(len(passed))]
                os.execve(self.program, words, self.environment)
            finally:
                os._exit(127)
        theirs.close()
        os.close(plan)
        return pid, ours

    def run(self, *operations: Operation, passed: Sequence[int] = (), slots: int = 8) -> Outcome:
        """Let it perform these operations to the end."""
        return self.run_bytes(encode(HandMade(operations, slots)), passed)  # type: ignore[arg-type]

    def run_bytes(self, data: bytes, passed: Sequence[int] = ()) -> Outcome:
        """The same for an encoded plan."""
        outcome = Outcome()
        with tempfile.TemporaryFile() as output:
            pid, wire = self.spawn(data, passed, output.fileno())
            with wire:
                pid = self._talk(wire, pid, outcome)
            outcome.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            output.seek(0)
            outcome.output = output.read().decode("utf-8", "backslashreplace")
        return outcome

    def _talk(self, wire: socket.socket, pid: int, outcome: Outcome) -> int:
        """Answer until end-of-file; the pid that is left to wait for."""
        while True:
            try:
                packet = wire.recv(65536)
            except ConnectionResetError:
                packet = b""
            if not packet:
                return pid
            kind, arg, index, errno = MESSAGE.unpack_from(packet)
            if kind == ERROR:
                outcome.failure = index, errno, packet[MESSAGE.size :].decode("utf-8", "backslashreplace")
                continue
            outcome.messages.append(NAMES[kind])
            if kind == MAPS:
                self.on_maps(pid)
            if kind == PID:
                os.waitpid(pid, 0)
                pid = arg
            before = self.before.get(NAMES[kind])
            if before is not None:
                before(pid)
            wire.send(MESSAGE.pack(ACK, 0, 0, 0))


def kill(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)


def finish(*args: str, env: Sequence[str] = (), uid: int = 0, preserve: int = 0, who: str = "init") -> list[Operation]:
    """The last operations: find, ready, exec."""
    return [
        ops.find_executable(who, "", name=args[0], env=env),
        ops.ready(who, ""),
        ops.exec(who, "", args=args, env=env, preserve=preserve, uid=uid),
    ]


def clone(cgroup_slot: int = ops.NO_SLOT, procs_slot: int = ops.NO_SLOT) -> Operation:
    """The step to PID 1."""
    return ops.clone("outer", "", cgroup_slot=cgroup_slot, procs_slot=procs_slot)
