"""Runs a plan: performs the parent's operations, spawns the init for the others, and talks with it (wire.h)."""

from __future__ import annotations

import fcntl
import posix

from .. import __path__ as _places
from .. import steps
from ..cgroup import driver
from ..errors import Error, HookError, HostError, OperationError, reason_of, reported_reason
from ..host.files import read_file, set_file, write_all
from ..plan.encode import encode
from ..plan.parent import MADE, MAPS, MOMENTS, MOUNTS, PID, PREPARE, READY, SCOPE
from . import program, wire
from .child import Child, spawned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..plan.cgroup import CgroupDir
    from ..plan.draft import Plan
    from ..plan.ops import Operation
    from .netdev import Devices

_ASKING = ("map_ids", "mounts_ready", "listener")
_HANGING_UP = 1000  # milliseconds from the end of file to the end of the process that has caused it
ENVIRONMENT: dict[bytes, bytes] = {}  # of the init; a test build of it takes orders from there


def waited(work: Iterator[tuple[int, ...]]) -> Any:
    """Do work that yields where it is going to wait (as Launch.running()), and let it wait itself. What it returns."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value


def init_program() -> str:
    """The path of the init; asked for at each run, since a snapshot may be anywhere (native/launcher/dump.c)."""
    return f"{_places[0]}/ocirun-init"


class Launch:
    """One run of a plan, from the cgroup to the exec.

    ``pid`` is the container's PID 1 (or the process of `exec`) once the init has reported it: a child of this process.
    """

    def __init__(self, plan: Plan, verb: str, work_directory: str, directories: tuple[CgroupDir, ...]) -> None:
        """
        :param verb: "create" or "exec", the first word of the steps that are reached
        :param work_directory: where the init's program may be copied to, if not to memory
        :param directories: the container's cgroup
        """
        self.plan = plan
        self.verb = verb
        self.work_directory = work_directory
        self.directories = directories
        self.pid = 0
        self._outer: Child | None = None
        self._init: Child | None = None
        self._wire: wire.Wire | None = None
        self._at: dict[str, list[Operation]] = {}
        self._asks: set[str] = set()  # those of the init's operations that wait for us
        for operation in plan.operations:
            if operation[0] == "parent":
                moment = MOMENTS[operation[2]]
                if moment == PREPARE and SCOPE in self._at:
                    moment = SCOPE
                self._at.setdefault(moment, []).append(operation)
            elif operation[2] in _ASKING:
                self._asks.add(operation[2])
        self.hooks = self._at.get(MOUNTS, [])
        self.in_unit = False  # systemd may have made the container's scope
        self.groups: list[str] = []  # of resctrl, which were made: the inner one first
        self._devices: Devices | None = None
        self._times = -1  # what the init writes for --debug

    def prepare(self) -> None:
        """The operations before the init exists: the cgroup and its limits.

        :raises HostError: the cgroup is in use
        :raises OperationError: one failed
        """
        if SCOPE in self._at and self._at[SCOPE][0].name == "systemd_scope":
            driver.refuse_used(self.directories)
        if PREPARE in self._at:
            steps.reach(f"{self.verb}.cgroup")
            driver.perform(self.directories, self._at[PREPARE])

    # the init

    def spawn(self, descriptors: dict[str, int], preserve: int, stdio: tuple[int, int, int] = (0, 1, 2)) -> None:
        """Start the init with the plan.

        :param descriptors: for each name of plan.inherited
        :param preserve: how many descriptors from 3 on the container gets
        :param stdio: its descriptors 0, 1 and 2
        :raises HostError: the init cannot be executed
        """
        steps.reach(f"{self.verb}.spawn")
        self._wire = line = wire.Wire()
        opened: list[int] = []
        try:
            opened.append(self._program())
            opened.append(_plan_descriptor(encode(self.plan), self.work_directory))
            if "trace" in self.plan.inherited:
                self._times = descriptors["trace"] = self._times_file()
            passed = (line.theirs.fileno(), opened[1], *(descriptors[name] for name in self.plan.inherited))
            base = 3 + preserve
            words = (b"ocirun-init", b"%d" % base, b"%d" % len(self.plan.inherited))
            try:
                pid = program.execute(opened[0], words, ENVIRONMENT, stdio, base, passed)
            except OSError as error:
                raise HostError(_why_not_executable(error, self.work_directory)) from None
            try:
                self._outer = spawned(pid)
            except OSError as error:
                raise HostError(f"open process {pid}: {reason_of(error.errno or 0)}") from None
            line.listen_to(self._outer)
        finally:
            line.theirs.close()
            if self._outer is None:
                line.close()
                self._wire = None
                self._tell_times()
            for fd in opened:
                posix.close(fd)

    def _times_file(self) -> int:
        fd = program.memory_file("ocirun-times", posix.MFD_CLOEXEC, self.work_directory)
        posix.ftruncate(fd, 8 * len(self.plan.operations))
        return fd

    def _tell_times(self) -> None:
        if self._times >= 0:
            assert steps.watcher is not None
            steps.watcher.done(self.plan, self._times)
            posix.close(self._times)
            self._times = -1

    def _program(self) -> int:
        """The init as a descriptor to execute."""
        path = init_program()
        try:
            source = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"open {path}: {reason_of(error.errno or 0)}") from None
        try:
            return program.sealed_copy(source, self.work_directory)
        except OSError as error:
            raise HostError(_why_not_executable(error, self.work_directory)) from None
        finally:
            posix.close(source)

    def running(
        self, on_pid: Callable[[int], None], on_mounts: Callable[[], None], on_listener: Callable[[int], None]
    ) -> Iterator[tuple[int, ...]]:
        """Go on until the init says READY. Yields, wherever it is going to wait, the descriptors for one of which to
        be readable.

        :param on_pid: called when PID 1 exists and has done nothing yet
        :param on_mounts: called when all mounts are attached and pivot_root has not happened
        :param on_listener: called with the listener of the process's seccomp filter, which is closed afterwards
        :raises OperationError: one of its operations failed
        :raises Error: it died, or what a callback raises
        """
        line = self._wire
        assert line is not None and self._outer is not None
        try:
            if "map_ids" in self._asks:
                yield line.descriptors()
                line.hear(wire.MAPS)
                steps.reach(f"{self.verb}.maps")
                write_id_maps(self._outer.pid, self._at.get(MAPS, []), self.plan)
                line.acknowledge()
            yield line.descriptors()
            self._take_over(line, line.hear(wire.PID))
            on_pid(self.pid)
            self._enter_unit()
            moved = [operation for operation in self._at.get(PID, ()) if operation.name == "move_device"]
            self._perform(PID, moved)
            self._move_devices(moved)
            line.acknowledge()
            if "mounts_ready" in self._asks:
                yield line.descriptors()
                line.hear(wire.MOUNTS)
                on_mounts()
                line.acknowledge()
            if "listener" in self._asks:
                self._pass_listener(line, on_listener)
            yield line.descriptors()
            line.hear(wire.READY)
            self._perform(READY)
        except (wire.Failure, wire.Breach, wire.Gone) as heard:
            raise self._in_words(heard) from None
        finally:
            self._tell_times()

    def _take_over(self, line: wire.Wire, pid: int) -> None:
        """From the outer stage, which has said its last word, to PID 1.

        :raises Breach: it is no child of ours
        :raises Gone: it has ended
        """
        assert self._outer is not None
        try:
            self._init = Child(pid)
        except ProcessLookupError:
            raise wire.Gone from None
        except ChildProcessError:
            raise wire.Breach(f"the process {pid}, which is no child of ours") from None
        except OSError as error:
            raise HostError(f"open process {pid}: {reason_of(error.errno or 0)}") from None
        self.pid = pid
        line.listen_to(self._init)
        self._outer.end()
        self._outer.close()
        self._outer = None

    def _pass_listener(self, line: wire.Wire, on_listener: Callable[[int], None]) -> None:
        from . import agent  # few containers have one

        number = line.hear(wire.LISTENER)
        line.acknowledge()
        assert self._init is not None
        steps.reach(f"{self.verb}.listener")
        listener = agent.take(line, self._init, number)
        try:
            on_listener(listener)
        finally:
            posix.close(listener)

    def _perform(self, moment: str, others: Sequence[Operation] = ()) -> None:
        """The operations of a moment on PID 1, but for those that others are to perform."""
        operations = [operation for operation in self._at.get(moment, ()) if operation not in others]
        if operations:
            from .perform import perform  # few containers have any

            steps.reach(f"{self.verb}.perform-{moment}")
            for operation in operations:
                perform(self.pid, operation, self.plan)
                if operation.name == "resctrl_group" and operation.values[1] == MADE:
                    self.groups.insert(0, operation.values[0])

    def _enter_unit(self) -> None:
        """PID 1, or the process of `exec`, gets into its scope of systemd, before it is anywhere else."""
        if SCOPE in self._at:
            from ..cgroup import systemd  # half of the hosts' containers have one, and 20 ms of jeepney

            steps.reach(f"{self.verb}.scope")
            systemd.perform(self.directories, self._at[SCOPE], self.pid, self._note_unit)

    def _note_unit(self) -> None:
        self.in_unit = True

    def _move_devices(self, operations: list[Operation]) -> None:
        """linux.netDevices, while PID 1 has done nothing in its network namespace."""
        if operations:
            from .netdev import Devices  # few containers have any

            steps.reach(f"{self.verb}.devices")
            self._devices = Devices(self.pid, operations)
            self._devices.move()

    def releasing(self, wait_for_exec: bool) -> Iterator[tuple[int, ...]]:
        """Let the ready init go on: to the exec fifo, or (wait_for_exec) to its exec, which is waited for. Yields as
        running() does.

        :raises OperationError: the exec failed
        :raises Error: it died
        """
        line = self._wire
        assert line is not None
        try:
            line.acknowledge()
            if wait_for_exec:
                yield line.descriptors()
                while not line.hears_exec():
                    yield line.descriptors()
        except (wire.Failure, wire.Breach, wire.Gone) as heard:
            raise self._in_words(heard) from None
        finally:
            line.close()
            self._wire = None

    def close(self) -> None:
        """It has succeeded: what could be undone stays."""
        if self._devices is not None:
            self._devices.close()
            self._devices = None
        if self._init is not None:
            self._init.close()

    def abandon(self) -> None:
        """Kill and reap what is left of the init after a failure, and give back what it had."""
        if self._devices is not None:
            self._devices.give_back()
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._init is not None:
            self._init.end()
        if self._outer is not None:
            self._outer.end_group()
            self._outer.close()
            self._outer = None
        self.close()
        self._init = None
        self.pid = 0

    def _in_words(self, heard: wire.Failure | wire.Breach | wire.Gone) -> Error:
        if isinstance(heard, wire.Failure):
            return self._operation_error(heard)
        return _untrue(heard) if isinstance(heard, wire.Breach) else self._death()

    def _operation_error(self, failure: wire.Failure) -> Error:
        from ..plan.show import describe
        from .why import operation_error

        reason = reported_reason(failure.text, failure.errno)
        if failure.index >= len(self.plan.operations):
            return HostError(f"container init: {reason}")
        operation = self.plan.operations[failure.index]
        if operation[0] == "parent":
            return _untrue(wire.Breach(f"the failure of an operation that is not the init's ({failure.index})"))
        if operation.name == "hook":
            return HookError(operation.pointer, f"{describe(operation)}: {reason}")
        return operation_error(operation, failure.errno, reason, self.plan)

    def _death(self) -> Error:
        """The init ended without a word: why?"""
        child = self._init or self._outer
        assert child is not None
        from ..cgroup import oom

        code = child.outcome(_HANGING_UP)
        if oom.killed(self.directories):
            return HostError("container init was OOM-killed (memory limit too low?)")
        if code is None:  # abandon() will end it
            return HostError("container init hung up before the container was created")
        how = f"was killed by signal {-code}" if code < 0 else f"exited with status {code}"
        return HostError(f"container init {how} before the container was created")


def _untrue(breach: wire.Breach) -> HostError:
    return HostError(f"container init: expected no such message: {breach} (somebody in the container may have sent it)")


def write_id_maps(pid: int, operations: list[Operation], plan: Plan) -> None:
    """Perform uid_map, gid_map and setgroups_deny for the process, by newuidmap(1) where the kernel wants that.

    :raises OperationError: the map is refused
    """
    for operation in operations:
        steps.begin(operation)
        name = operation.name
        if name == "setgroups_deny":
            _write(f"/proc/{pid}/setgroups", b"deny", operation, plan)
        elif name in ("uid_map", "gid_map"):
            text = operation.values[0]
            if posix.geteuid() == 0 or not _map_by_program(pid, f"new{name.replace('_', '')}", text, operation):
                _write(f"/proc/{pid}/{name}", text.encode(), operation, plan)
        elif name == "same_ids":
            from .perform import perform

            perform(pid, operation, plan)


def _write(path: str, data: bytes, operation: Operation, plan: Plan) -> None:
    try:
        set_file(path, data)
    except OSError as error:
        from .why import operation_error

        errno = error.errno or 0
        raise operation_error(operation, errno, reason_of(errno), plan) from None


def _map_by_program(pid: int, name: str, text: str, operation: Operation) -> bool:
    """newuidmap or newgidmap, set-user-ID programs that map what /etc/subuid and /etc/subgid grant.

    False when the one line maps only the caller's own id, which needs no privilege (user_namespaces(7)).
    """
    from ..plan.show import describe

    lines = [line.split() for line in text.splitlines()]
    own = posix.geteuid() if name == "newuidmap" else posix.getegid()
    if len(lines) == 1 and lines[0][1] == str(own) and lines[0][2] == "1":
        return False
    words = (name, str(pid), *(word for line in lines for word in line))
    for directory in ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"):
        try:
            status, said = _run(f"{directory}/{name}", words)
        except FileNotFoundError:
            continue
        if status:
            which = "uid" if name == "newuidmap" else "gid"
            reason = f"{name} refused: see /etc/sub{which} for what is granted{said}"
            # It says "uid range [1-65537) -> [300000-365536) not allowed".
            which = next((f"/{n}" for n, line in enumerate(lines) if f"[{line[0]}-" in said), "")
            raise OperationError(describe(operation), operation.pointer + which, 0, reason)
        return True
    reason = f"{name} not found: mapping more than one's own id needs it (uidmap package)"
    raise OperationError(describe(operation), operation.pointer, 0, reason)


def _run(path: str, words: tuple[str, ...]) -> tuple[int, str]:
    """Run a program to its end: its wait status, and ": what it said", if anything."""
    output = program.memory_file("output", posix.MFD_CLOEXEC)
    try:
        child = program.spawn(path, words, {}, file_actions=[(posix.POSIX_SPAWN_DUP2, output, fd) for fd in (1, 2)])
        status = _reap(child)
        said = posix.pread(output, 2048, 0).decode("utf-8", "replace").strip()
        return status, f": {said}" if said else ""
    finally:
        posix.close(output)


def _reap(pid: int) -> int:
    """The wait status of a child that ends; 0 when the kernel has reaped it already (SIGCHLD ignored)."""
    try:
        return posix.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def _why_not_executable(error: OSError, directory: str) -> str:
    text = f"execute the container's init: {reason_of(error.errno or 0)}"
    if isinstance(error, BlockingIOError):  # EAGAIN
        from .why import no_room

        return f"{text} ({no_room()})"
    try:
        forbidden = int(read_file("/proc/sys/vm/memfd_noexec"))
    except (OSError, ValueError):
        forbidden = 0
    if forbidden:
        text += f" (sysctl vm.memfd_noexec={forbidden} forbids it for memory files, and {directory} does not allow it)"
    return text


def _plan_descriptor(data: bytes, directory: str) -> int:
    """A sealed memfd: what the decoder has checked stays as it was. (From another file the init makes a copy.)"""
    fd = program.memory_file("ocirun-plan", posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING, directory)
    write_all(fd, data)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, program.SEALS)
    except OSError:  # no memfd
        posix.lseek(fd, 0, 0)
    return fd
