"""`create`: everything of a container except its program (runtime-spec runtime.md, "Create"); `run` begins with it."""

from __future__ import annotations

import posix
import time

from .. import steps
from ..cgroup import driver, members
from ..errors import ConfigError, Error, HostError, UsageError, reason_of, worded, worded_work
from ..host import facts
from ..host.files import give, write_file
from ..host.procfs import is_pidfd, open_process, process_stat
from ..launch.run import Launch, waited
from ..plan.build import build
from ..plan.draft import Options
from ..plan.path import clean
from ..plan.process import shown
from ..record import Record, replace
from ..spec.read import read_bytes, read_config
from ..store import containers
from ..store.state import SPEC_VERSION, document_tail, hook_state
from .kill import SIGKILL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ..errors import Problem
    from ..plan.cgroup import CgroupDir, Placement
    from ..plan.draft import Plan
    from ..plan.host import Host
    from ..spec.model import Spec


class Request(Record):
    """What a caller of create, run or exec wants beside the container itself."""

    console_socket: str = ""  # path of the socket that gets the terminal
    pidfd_socket: str = ""  # path of the socket that gets a pidfd of the process
    pid_file: str = ""
    preserve_fds: int = 0  # this many descriptors from 3 on (after those of listen_fds) are passed
    listen_fds: int = 0  # this many are passed as systemd's socket activation does, sd_listen_fds(3)
    notify_socket: str = ""  # address of who is told that the container is ready, sd_notify(3); not for exec
    stdio: tuple[int, int, int] = (0, 1, 2)
    sub_cgroups: tuple[tuple[str, str], ...] = ()  # exec only: (controller or "" for all, path below the container's)
    no_pivot: bool = False  # create and run only, as are the rest
    new_keyring: bool = True
    rootless: str = "auto"  # "true", "false" or "auto": are refusals of the cgroup ignored
    systemd_cgroup: bool = False  # systemd makes the cgroup


PLAIN = Request()


class Configuration(Record):
    """A configuration that no bundle has; root.path is absolute. The container's own directory is its bundle."""

    spec: Spec  # that the rules accept
    config: bytes  # the same as config.json


@worded
def create(
    root: str,
    id: str,
    bundle: str | Configuration,
    request: Request = PLAIN,
    warn: Callable[[Error], None] | None = None,
    console_socket: int = -1,
) -> int:
    """creating(), and wait meanwhile."""
    return int(waited(creating(root, id, bundle, request, warn, console_socket)))


@worded_work
def creating(
    root: str,
    id: str,
    bundle: str | Configuration,
    request: Request = PLAIN,
    warn: Callable[[Error], None] | None = None,
    console_socket: int = -1,
) -> Generator[tuple[int, ...], None, int]:
    """Create a container. Returns the pid of its PID 1, a child of this process, which waits for `start`. Yields,
    wherever it is going to wait, the descriptors for one of which to be readable.

    :param console_socket: an open socket that gets the terminal, instead of the request's; closed here
    :param warn: called for what config.json has that is hardly meant, and for poststop hooks that fail
    :raises ConfigError: config.json is invalid
    :raises UsageError: the id or the request is
    :raises ContainerExists: the id is taken
    :raises OperationError: an operation of the plan failed
    :raises HookError: a hook did
    """
    socket = console_socket
    try:
        creation = Creation(root, id, bundle, request, warn)
        check_terminal(creation.spec.process.terminal, socket < 0, request.console_socket)
        if socket < 0:
            socket = connected(request)
        yield from creation.making(socket, wait=True)
    finally:
        if socket >= 0:
            posix.close(socket)
    try:
        steps.reach("create.release")
        yield from creation.launch.releasing(wait_for_exec=False)
        steps.reach("create.pid-file")
        announce(creation.launch.pid, request, "standard")
    except BaseException:
        creation.undo()
        raise
    creation.close()
    return creation.launch.pid


class Creation:
    """A container on its way to "created", and what there is to undo when it does not get there."""

    launch: Launch
    entry: containers.Entry

    def __init__(
        self,
        root: str,
        id: str,
        bundle: str | Configuration,
        request: Request,
        warn: Callable[[Error], None] | None = None,
    ) -> None:
        """Reads config.json, if it is in a bundle; changes nothing.

        :param warn: as in create()
        :raises UsageError: the id or the request is wrong
        :raises ConfigError: config.json is invalid
        """
        check_descriptors(request)
        containers.check_id(id)
        self.root, self.id, self.request = root, id, request
        self._warn = warn
        if isinstance(bundle, Configuration):
            self.spec, self.config, self.bundle = bundle.spec, bundle.config, containers.directory(root, id)
        else:
            self.bundle = resolved(bundle)
            self.spec, self.config = self._read()
        if warn:
            from ..spec.rules.check import is_doubtful

            if is_doubtful(self.spec):
                from ..spec.warnings import warnings

                tell(warn, "config.json", warnings(self.spec))
        self._lock = -1
        self._made: tuple[CgroupDir, ...] = ()  # or they may be another container's, and that be the failure
        self._began = False

    def _read(self) -> tuple[Spec, bytes]:
        try:
            return read_config(self.bundle)
        except ConfigError as error:
            from . import refused

            refused.check(error.path, read_bytes(f"{self.bundle}/config.json", error.path), error.problems)
            raise

    def making(self, console_socket: int, wait: bool) -> Iterator[tuple[int, ...]]:
        """All of it, up to a PID 1 that is ready and has to be released; undone where it fails. Yields as creating().

        :param console_socket: an open socket that gets the terminal, -1 without one
        :param wait: PID 1 is to wait for `start`
        """
        # All that can be refused is refused before anything is made.
        if self.request.notify_socket:
            from ..launch.notify import extended

            self.spec = extended(self.spec, self.notify_directory)
        host = facts.host(self.spec, self.spec.process)
        placement = driver.place(self.spec, host, self.id, self.request.rootless, self.request.systemd_cgroup)
        if not placement.directories:
            steps.note("the container has no cgroup: none can be made here, and it asks for no limits")
        plan = self._plan(host, placement, console_socket >= 0, wait)
        if self._warn:
            tell(self._warn, "config.json", plan.warnings)
        steps.reach("create.claim")
        self._lock = containers.claim(self.root, self.id)
        try:
            yield from self._make(plan, placement, console_socket, wait)
        except BaseException:
            self.undo()
            raise

    def _make(
        self, plan: Plan, placement: Placement, console_socket: int, wait: bool
    ) -> Iterator[tuple[int, ...]]:
        self.entry = _entry(self.id, self.bundle, self.spec, placement)
        steps.reach("create.state")
        containers.save(self.root, self.entry)
        write_file(f"{self.root}/{self.id}/config.json", self.config)
        self.launch = launch = Launch(plan, "create", f"{self.root}/{self.id}", placement.directories)
        if self.request.notify_socket:
            posix.mkdir(self.notify_directory, 0o755)
        descriptors = {"console": console_socket}
        if wait:
            steps.reach("create.fifo")
            descriptors["fifo"] = _fifo(f"{self.root}/{self.id}/exec.fifo")
        try:
            launch.prepare()
            self._made = placement.joined
            launch.spawn(descriptors, self.request.listen_fds + self.request.preserve_fds, self.request.stdio)
        finally:
            if wait:
                posix.close(descriptors["fifo"])
        yield from launch.running(self._note_pid, self._run_hooks, self._pass_listener)
        steps.reach("create.created")
        self.entry = replace(self.entry, creating=False, late=_late(plan), resctrl=tuple(launch.groups))
        containers.update(self.root, self.entry)

    @property
    def notify_directory(self) -> str:
        """Where the container's socket for sd_notify(3) is."""
        return f"{self.root}/{self.id}/notify"

    def _plan(self, host: Host, placement: Placement, console: bool, wait: bool) -> Plan:
        options = Options(
            id=self.id,
            bundle=self.bundle,
            no_pivot=self.request.no_pivot,
            new_keyring=self.request.new_keyring,
            preserve_fds=self.request.preserve_fds,
            listen_fds=self.request.listen_fds,
            console=console,
            wait=wait,
            trace=steps.watcher is not None,
            **self._hook_states(),
        )
        return build(self.spec, host, options, placement, compiled_filter(self.spec))

    def _hook_states(self) -> dict[str, tuple[str, str]]:
        """What the hooks that PID 1 runs get on their standard input."""
        hooks = self.spec.hooks
        if not (hooks.create_container or hooks.start_container):
            return {}
        annotations = self.spec.annotations
        return {
            "state_creating": hook_state(self.id, self.bundle, "creating", annotations),
            "state_created": hook_state(self.id, self.bundle, "created", annotations),
        }

    def _note_pid(self, pid: int) -> None:
        steps.reach("create.pid")
        self._began = True
        self.entry = replace(self.entry, pid=pid, start=process_stat(pid)[1])
        containers.update(self.root, self.entry)

    def _run_hooks(self) -> None:
        """prestart and createRuntime."""
        from ..launch.hooks import run_hook

        steps.reach("create.hooks")
        head, tail = hook_state(self.id, self.bundle, "creating", self.spec.annotations)
        for operation in self.launch.hooks:
            steps.begin(operation)
            hook = operation.fields()
            run_hook(
                operation.pointer, hook["kind"], hook["path"], hook["args"], hook["env"], hook["timeout"],
                f"{head}{self.launch.pid}{tail}", self.bundle,
            )  # fmt: skip

    def _pass_listener(self, listener: int) -> None:
        state = hook_state(self.id, self.bundle, "creating", self.spec.annotations)
        pass_listener(self.spec, listener, self.launch.pid, self.launch.pid, state)

    def undo(self) -> None:
        """Leave nothing. What resists stays on disk, for `delete --force`."""
        try:
            if hasattr(self, "launch"):
                self.launch.abandon()
            if hasattr(self, "launch") and self.launch.in_unit:
                members.signal_all(self.entry.cgroup, SIGKILL)
                driver.remove(self.entry.cgroup, self.entry.unit)
            elif self._made:
                members.signal_all(self._made, SIGKILL)
                members.remove(self._made)
            if hasattr(self, "launch"):
                remove_groups(self.launch.groups)
            self._remove()
            if self._began and self.spec.hooks.poststop:  # runtime.md, "Lifecycle": steps 12 and 13
                from .hooked import poststop

                for failure in poststop(self.entry, self.config, self.bundle):
                    if self._warn:
                        self._warn(failure)
        except (Error, OSError):
            pass  # the caller is about to report what came first
        finally:
            self.close()

    def _remove(self) -> None:
        try:
            containers.remove(self.root, self.id)
        except HostError:  # perhaps no descriptor is left to list the directory with
            self.close()
            containers.remove(self.root, self.id)

    def close(self) -> None:
        """Let other commands at the container."""
        if hasattr(self, "launch"):
            self.launch.close()
        if self._lock >= 0:
            posix.close(self._lock)
            self._lock = -1


def tell(warn: Callable[[Error], None], path: str, problems: Sequence[Problem]) -> None:
    """Say what is hardly meant, each by itself."""
    for problem in problems:
        warn(ConfigError(path, (problem,)))


def resolved(bundle: str) -> str:
    """The bundle as an absolute path without symbolic links, as chdir(2) and getcwd(3) would say.

    :raises UsageError: no such directory
    """
    try:
        fd = posix.open(bundle or ".", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"chdir {bundle}: {reason_of(error.errno or 0)}") from None
    try:
        return posix.readlink(f"/proc/self/fd/{fd}")
    finally:
        posix.close(fd)


def check_descriptors(request: Request) -> None:
    """All that are to be passed must be open. Asked before this process opens any itself.

    :raises UsageError: one is not
    """
    if request.preserve_fds < 0:
        raise UsageError("preserve-fds must not be negative")
    first = 3 + request.listen_fds
    for fd in range(first, first + request.preserve_fds):
        try:
            posix.fstat(fd)
        except OSError as error:
            raise UsageError(
                f"unable to stat preserved-fd {fd - first} (of {request.preserve_fds}): {reason_of(error.errno or 0)}"
            ) from None


def check_terminal(terminal: bool, detach: bool, console_socket: str) -> None:
    """A terminal needs somebody at its other end; in runc's words, but for the name.

    :raises UsageError: it has none, or there is a socket for no terminal
    """
    if detach and terminal and not console_socket:
        raise UsageError("cannot allocate tty if ocirun will detach without setting console socket")
    if (not detach or not terminal) and console_socket:
        raise UsageError("cannot use console socket if ocirun will not detach or allocate tty")


def shares_pids(spec: Spec) -> bool:
    """Whether the container has no pid namespace of its own, so that its processes outlive PID 1."""
    return not spec.linux.makes("pid")


def connected(request: Request) -> int:
    """The socket that gets the terminal, connected; -1 when there is none.

    :raises HostError: nobody listens there
    """
    if not request.console_socket:
        return -1
    from ..launch.console import connect

    return connect(request.console_socket, "console socket")


def pass_listener(spec: Spec, listener: int, pid: int, init: int, state: tuple[str, str]) -> None:
    """Give the listener of a process's filter to the agent of linux.seccomp.listenerPath.

    :param pid: the process
    :param init: PID 1 of the container
    :param state: the container's state document, before and after that pid
    :raises HostError: nobody takes it
    """
    from ..launch import agent

    seccomp = spec.linux.seccomp
    assert seccomp is not None
    head, tail = state
    document = agent.process_state(pid, seccomp.listener_metadata or "", (f"{head}{init}", tail), SPEC_VERSION)
    agent.send(seccomp.listener_path or "", document, listener)


def compiled_filter(spec: Spec) -> tuple[bytes, int] | None:
    """linux.seccomp as BPF and flags."""
    if spec.linux.seccomp is None:
        return None
    from ..seccomp.cache import compile_filter, places

    return compile_filter(spec.linux.seccomp, *places())


def announce(pid: int, request: Request, kind: str) -> None:
    """Tell those who asked for it about a process of ours.

    :param kind: what a pidfd's message says, "standard" for PID 1 and "setns" for a process of `exec`
    :raises HostError: they cannot be told
    """
    if request.pidfd_socket:
        from ..launch.console import send_descriptor

        pidfd = open_process(pid)
        try:
            if not is_pidfd(pidfd):
                raise HostError("open a pidfd for the pidfd socket: a seccomp filter around us forbids pidfd_open(2)")
            send_descriptor(request.pidfd_socket, pidfd, kind, "pidfd socket")
        finally:
            posix.close(pidfd)
    if request.pid_file:
        give(request.pid_file, str(pid).encode(), 0o666)


def _entry(id: str, bundle: str, spec: Spec, placement: Placement) -> containers.Entry:
    created = timestamp()
    rootfs = clean(spec.root.path if spec.root.path[:1] == "/" else f"{bundle}/{spec.root.path}")
    kinds = (("poststart", spec.hooks.poststart), ("poststop", spec.hooks.poststop))
    return containers.Entry(
        id=id,
        bundle=bundle,
        rootfs=rootfs,
        created=created,
        document=document_tail(bundle, rootfs, created, spec.annotations),
        uid=posix.geteuid(),
        creating=True,
        shared_pid=shares_pids(spec),
        hooks=tuple(kind for kind, hooks in kinds if hooks),
        cgroup=placement.directories,
        unit=placement.unit,
    )


def remove_groups(groups: Sequence[str]) -> None:
    """Remove groups of resctrl that a container has made. They go with processes in them, which the group above gets.

    :raises HostError: one cannot be removed
    """
    for path in groups:
        try:
            posix.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise HostError(f"remove {path}: {reason_of(error.errno or 0)}") from None


def timestamp() -> str:
    """Now, as Go's RFC3339Nano: UTC, without trailing zeros."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def _fifo(path: str) -> int:
    """PID 1 waits on it. Opened for reading and writing, which never blocks (fifo(7)); nor does what it reads and
    writes there, whatever others have taken or written."""
    posix.mkfifo(path, 0o600)
    return posix.open(path, posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC)


def _late(plan: Plan) -> tuple[containers.Late, ...]:
    """The operations of PID 1 after its wait for `start`: startContainer hooks and the exec."""
    late: list[containers.Late] = []
    for index in range(len(plan.operations) - 1, -1, -1):
        _, pointer, name, values = plan.operations[index]
        # In the words of plan.show.describe(), which is too much to load here.
        if name == "hook":
            what = f"run {values[0]} hook {values[1]}"
            late.append(containers.Late(index=index, pointer=pointer, hook=True, what=what))
        elif name == "exec":
            late.append(containers.Late(index=index, pointer=pointer, hook=False, what=f"exec {shown(values[0])}"))
        else:
            break
    return tuple(late)
