"""`exec`: one more process in a container; the same stages and operations as PID 1 (plan/execute.py)."""

from __future__ import annotations

import posix

from .. import steps
from ..errors import ConfigError, HostError, Problem, StateError, UsageError, reason_of, worded, worded_work
from ..host import facts
from ..host.procfs import NAMESPACE_FILES, is_alive, open_process
from ..launch.run import Launch, waited
from ..plan.draft import Options
from ..plan.execute import build_exec
from ..plan.path import clean
from ..record import Record, replace
from ..spec.model import Capabilities
from ..spec.read import read_stored
from ..store import containers
from ..store.state import hook_state
from .create import (
    PLAIN,
    Request,
    announce,
    check_descriptors,
    check_terminal,
    compiled_filter,
    connected,
    pass_listener,
    tell,
)
from .status import PAUSED, STOPPED, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from ..errors import Error
    from ..plan.cgroup import CgroupDir
    from ..spec.model import Process, Spec


class Command(Record):
    """What differs from the container's own process."""

    args: tuple[str, ...]
    cwd: str = ""
    env: tuple[str, ...] = ()  # "KEY=VALUE", added to the container's
    user: str = ""  # "UID" or "UID:GID"
    additional_gids: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()  # more than the container's, "CAP_CHOWN"
    no_new_privileges: bool = False
    terminal: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""


@worded
def exec_(
    root: str,
    id: str,
    what: Process | Command,
    request: Request = PLAIN,
    *,
    detach: bool = False,
    ignore_paused: bool = False,
    warn: Callable[[Error], None] | None = None,
) -> int:
    """Run a process in a container, in the foreground (see run()); its exit code, or 128 + the signal that ended it.

    :param detach: return 0 as soon as the program runs
    :param warn: called for capabilities that nobody knows
    :raises Error: as begin() does
    """
    execution = Execution(root, id, what, request, ignore_paused, warn)
    check_terminal(execution.process.terminal, detach, request.console_socket)
    if detach:
        execution.begin()
        return 0
    from .foreground import Foreground
    from .run import terminal_pair

    with Foreground(subreaper=False) as waiter:
        ours, theirs = terminal_pair() if execution.process.terminal else (None, -1)
        return waiter.wait(execution.begin(theirs, lambda: waiter.attach(ours)))


class Execution:
    """One process on its way into a container. ``pid`` is there as soon as it is."""

    pid: int

    @worded
    def __init__(
        self,
        root: str,
        id: str,
        what: Process | Command,
        request: Request,
        ignore_paused: bool,
        warn: Callable[[Error], None] | None = None,
    ) -> None:
        """Finds out what there is to do; changes nothing.

        :raises ContainerNotFound: no such container
        :raises StateError: it is stopped or paused
        :raises UsageError: the request is wrong
        """
        check_descriptors(request)
        self.root, self.request = root, request
        self.entry = entry = containers.load(root, id)
        status = status_of(root, entry)
        if status == STOPPED:
            raise StateError("cannot exec in a stopped container")
        if status == PAUSED and not ignore_paused:
            raise StateError("cannot exec in a paused container (use --ignore-paused to override)")
        self.spec = read_stored(f"{entry.bundle}/config.json", containers.config(root, id))
        self.process = process_of(self.spec, what) if isinstance(what, Command) else completed(self.spec, what)
        # Of the container's own capabilities its create has told.
        self._warn = warn if self.process.capabilities != self.spec.process.capabilities else None
        self._check()

    def _check(self) -> None:
        """What is wrong with the process in this container; the rest is checked where it comes from.

        :raises ConfigError: its user is not in the user namespace
        """
        linux = self.spec.linux
        if linux.uid_mappings or linux.gid_mappings:
            from ..spec.rules.namespaces import users

            problems = [
                Problem(pointer=p, expected=expected, found=f) for p, expected, f, _ in users(self.process, linux)
            ]
            if problems:
                raise ConfigError("process", tuple(problems))
        if self._warn:
            from ..spec.warnings import of_process

            tell(self._warn, "process", of_process(self.process))

    @worded
    def begin(self, console_socket: int = -1, before_exec: Callable[[], None] | None = None) -> int:
        """beginning(), and wait meanwhile."""
        return int(waited(self.beginning(console_socket, before_exec)))

    @worded_work
    def beginning(
        self, console_socket: int = -1, before_exec: Callable[[], None] | None = None
    ) -> Generator[tuple[int, ...], None, int]:
        """Let the program run. Returns its pid, a child of this process. Yields as Launch.running() does.

        :param console_socket: an open socket that gets the terminal, closed here; -1: the request's, if any
        :param before_exec: called when the terminal has been sent and nothing has been written to it
        :raises OperationError: an operation failed, the exec included
        """
        if self.request.console_socket:
            console_socket = connected(self.request)
        try:
            return (yield from self._begin({"console": console_socket}, before_exec))
        finally:
            if console_socket >= 0:
                posix.close(console_socket)

    def _begin(
        self, descriptors: dict[str, int], before_exec: Callable[[], None] | None
    ) -> Generator[tuple[int, ...], None, int]:
        directories = sub_cgroups(self.entry.cgroup, self.request.sub_cgroups)
        descriptors["pidfd"] = pidfd = _pidfd(self.entry)
        try:
            plan = build_exec(
                self.process,
                self.spec,
                facts.host(self.spec if self.spec.linux.intel_rdt else None, self.process),
                self._options(descriptors["console"] >= 0),
                directories,
                _foreign_namespaces(self.entry.pid),
                compiled_filter(self.spec),
                self.entry.unit,
            )
            if self._warn:
                tell(self._warn, "process", _of_process(plan.warnings))
            launch = Launch(plan, "exec", containers.directory(self.root, self.entry.id), self.entry.cgroup)
            launch.prepare()
            if "cgroup" in plan.inherited:
                descriptors["cgroup"] = _namespace(self.entry, "cgroup")
            launch.spawn(descriptors, self.request.listen_fds + self.request.preserve_fds, self.request.stdio)
        except ConfigError as error:  # of the process, wherever it comes from
            raise ConfigError("process", _of_process(error.problems)) from None
        finally:
            posix.close(pidfd)
            if "cgroup" in descriptors:
                posix.close(descriptors["cgroup"])
        try:
            yield from launch.running(
                lambda pid: steps.reach("exec.pid"),
                lambda: None,
                lambda listener: self._pass_listener(launch.pid, listener),
            )
            self.pid = launch.pid
            if before_exec:
                before_exec()
            steps.reach("exec.release")
            yield from launch.releasing(wait_for_exec=True)
            steps.reach("exec.pid-file")
            announce(launch.pid, self.request, "setns")
        except BaseException:
            launch.abandon()
            raise
        launch.close()
        return launch.pid

    def _pass_listener(self, pid: int, listener: int) -> None:
        entry = self.entry
        state = hook_state(entry.id, entry.bundle, status_of(self.root, entry), self.spec.annotations)
        pass_listener(self.spec, listener, pid, entry.pid, state)

    def _options(self, console: bool) -> Options:
        return Options(
            id=self.entry.id,
            bundle=self.entry.bundle,
            preserve_fds=self.request.preserve_fds,
            listen_fds=self.request.listen_fds,
            console=console,
            trace=steps.watcher is not None,
        )


def sub_cgroups(directories: tuple[CgroupDir, ...], wanted: tuple[tuple[str, str], ...]) -> tuple[CgroupDir, ...]:
    """The cgroup of a process of `exec`: the container's, or one below it that is there.

    :param wanted: see Request
    :raises UsageError: a path that leads out of the container's cgroup, or a controller that it has not got
    """
    found = {}
    for controller, path in wanted:
        chosen = [one for one in directories if controller in one.controllers or not controller]
        if not chosen:
            raise UsageError(f"unknown controller {controller} in --cgroup")
        for directory in chosen:
            whole = clean(f"{directory.path}/{path}")
            if whole != directory.path and not whole.startswith(f"{directory.path}/"):
                raise UsageError(f"{whole} is not a sub cgroup path")
            if not posix.access(whole, posix.F_OK):
                raise UsageError(f"open {whole}: no such file or directory")
            found[directory.path] = replace(directory, path=whole)
    return tuple(found.get(directory.path, directory) for directory in directories)


def _of_process(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """With pointers into the process alone, where they are pointers into config.json."""
    return tuple([replace(problem, pointer=problem.pointer.removeprefix("/process")) for problem in problems])


def process_of(spec: Spec, command: Command) -> Process:
    """The container's own process with what the command changes, as runc's exec makes it.

    :raises UsageError: a number is none, or there is nothing to run
    """
    if not command.args:
        raise UsageError("process args cannot be empty")
    process = spec.process
    changes: dict[str, Any] = {
        "args": command.args,
        "command_line": None,
        "terminal": command.terminal,
        "env": process.env + command.env,
    }
    if command.cwd:
        if command.cwd[:1] != "/":
            raise UsageError("Cwd must be an absolute path")
        changes["cwd"] = command.cwd
    if command.no_new_privileges:
        changes["no_new_privileges"] = True
    user = process.user
    if command.user:
        uid, colon, gid = command.user.partition(":")
        user = replace(user, uid=_number(uid, "uid"), gid=_number(gid, "gid") if colon else user.gid)
    if command.additional_gids:
        for gid_number in command.additional_gids:
            if gid_number < 0:
                raise UsageError(f"additional-gids must be a positive number {gid_number}")
        user = replace(user, additional_gids=user.additional_gids + command.additional_gids)
    changes["user"] = user
    for label in ("apparmor_profile", "selinux_label"):
        if getattr(command, label):
            changes[label] = getattr(command, label)
    if command.capabilities:
        changes["capabilities"] = _more_capabilities(process, command.capabilities)
    for variable in command.env:
        if variable.find("=") <= 0:
            raise UsageError(f"invalid environment variable: expected NAME=VALUE, found {variable}")
    return replace(process, **changes)


def completed(spec: Spec, process: Process) -> Process:
    """The process with what it leaves to the container's own, as in runc."""
    inherited = ("capabilities", "oom_score_adj", "scheduler", "io_priority")
    changes = {field: getattr(spec.process, field) for field in inherited if getattr(process, field) is None}
    labels = ("apparmor_profile", "selinux_label")
    changes |= {field: getattr(spec.process, field) for field in labels if not getattr(process, field)}
    affinity = process.exec_cpu_affinity
    if affinity is None or not (affinity.initial or affinity.final):
        changes["exec_cpu_affinity"] = spec.process.exec_cpu_affinity
    return replace(process, **changes)


def _more_capabilities(process: Process, names: tuple[str, ...]) -> Capabilities:
    """Bounding, effective and permitted; never inheritable (CVE-2022-29162), so ambient only as far as that is so."""
    have = process.capabilities or Capabilities()
    return replace(
        have,
        bounding=have.bounding + names,
        effective=have.effective + names,
        permitted=have.permitted + names,
        ambient=have.ambient + tuple(name for name in names if name in have.inheritable),
    )


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) >= (1 << 32) - 1:  # that is "as it is" (setresuid(2))
        raise UsageError(f'parsing {text} as int for {what} failed: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _pidfd(entry: containers.Entry) -> int:
    """A descriptor of PID 1 and no other process."""
    try:
        pidfd = open_process(entry.pid)
    except ProcessLookupError:
        raise StateError("cannot exec in a stopped container") from None
    except OSError as error:
        raise HostError(f"open container init {entry.pid}: {reason_of(error.errno or 0)}") from None
    if not is_alive(entry.pid, entry.start):
        posix.close(pidfd)
        raise StateError("cannot exec in a stopped container")
    return pidfd


def _namespace(entry: containers.Entry, name: str) -> int:
    """A descriptor of a namespace of PID 1, by its name in /proc/PID/ns."""
    try:
        fd = posix.open(f"/proc/{entry.pid}/ns/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"open the {name} namespace of container init: {reason_of(error.errno or 0)}") from None
    if not is_alive(entry.pid, entry.start):  # or it may have been another's of that pid
        posix.close(fd)
        raise StateError("cannot exec in a stopped container")
    return fd


def _foreign_namespaces(pid: int) -> tuple[str, ...]:
    """The types of those namespaces of the process that are not our own."""
    foreign = []
    for kind, name in NAMESPACE_FILES.items():
        try:
            ours = posix.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:  # a kernel without such namespaces
            continue
        try:
            theirs = posix.stat(f"/proc/{pid}/ns/{name}")
        except OSError as error:
            raise HostError(f"look at the {kind} namespace of container init: {reason_of(error.errno or 0)}") from None
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            foreign.append(kind)
    return tuple(foreign)
