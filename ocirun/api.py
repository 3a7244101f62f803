"""The runtime as a library: Runtime, Container, Process.

For any program, with threads or without: nothing here installs a signal handler, changes the working directory or the
umask, leaves a descriptor open or ends the process. Containers made here are children of the calling process; their
exit code is kept for ``wait``. A program that ignores SIGCHLD, or waits for all of its children itself, loses it.
"""

from __future__ import annotations

import posix

from .errors import HostError, UsageError
from .process.process import Process
from .process.streams import DEVNULL, PIPE
from .process.wait import blocking, deadline, readable
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike
    from types import TracebackType

    from .errors import Error, Problem
    from .lifecycle.create import Configuration
    from .plan.draft import Plan as _Plan
    from .process.capture import Sink
    from .process.result import Result
    from .process.streams import Stream
    from .process.terminal import Terminal
    from .process.wait import Waiting
    from .spec.document import Spec
    from .store.state import State

DEFAULT_ROOT = "/run/ocirun"


class Container:
    """A container below the root directory of a Runtime. Made by ``Runtime.create`` or ``Runtime.get``.

    ``init`` is its PID 1, a Process with the streams and the terminal that were asked for. Leaving a with block deletes
    the container, whatever state it is in and whatever was raised.
    """

    def __init__(self, root: str, id: str, init: Process) -> None:
        self.root = root
        self.id = id
        self.init = init

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.init.close()
        self.delete(force=True)

    @property
    def pid(self) -> int:
        """PID 1's pid in the caller's pid namespace; another process's, or none, when it has ended."""
        return self.init.pid

    def start(self, warn: Callable[[Error], None] | None = None) -> None:
        """Let the program of a created container run.

        :param warn: called for each poststop hook that fails after a failed start
        :raises StateError: it is not created, or has no program
        :raises OperationError: the program cannot be executed
        :raises HookError: a startContainer or poststart hook failed; the container has been deleted
        """
        from .lifecycle.start import start

        start(self.root, self.id, warn=warn)

    def kill(self, signal: int = 15, all: bool = False) -> None:
        """Send a signal to PID 1, or to all processes.

        :raises StateError: the container is not running
        """
        from .lifecycle.kill import kill

        kill(self.root, self.id, signal, all)

    def state(self) -> State:
        """Its state now.

        :raises ContainerNotFound: it has been deleted
        """
        from .lifecycle.state import state

        return state(self.root, self.id)

    def pids(self) -> list[int]:
        """All processes, as pids of the caller's namespace."""
        from .lifecycle.ps import pids

        return pids(self.root, self.id)

    def waiting(self, timeout: float | None = None) -> Waiting[int | None]:
        """Wait for PID 1's end. The exit code, or 128 + the signal that ended it; None when nobody tells: see
        Process.waiting.

        :param timeout: seconds, None for no limit
        :raises TimeoutError: it still runs
        """
        return self.init.waiting(timeout)

    wait = blocking(waiting)

    def pause(self) -> None:
        """Let none of its processes run, until ``resume``.

        :raises StateError: it is not running
        :raises HostError: it has no freezer cgroup, or does not freeze
        """
        from .lifecycle.pause import pause

        pause(self.root, self.id)

    def resume(self) -> None:
        """Let the processes of a paused container go on.

        :raises StateError: it is not paused
        """
        from .lifecycle.resume import resume

        resume(self.root, self.id)

    def update(self, resources: Mapping[str, object]) -> None:
        """Change its limits.

        :param resources: linux.resources with what is to change, as in config.json: ``{"memory": {"limit": 1 << 28}}``
        :raises ConfigError: that is invalid
        :raises StateError: the container is not running
        :raises OperationError: a limit cannot be set; all are as they were
        """
        from json import dumps

        from .lifecycle.update import update
        from .spec.read import read_resources

        update(self.root, self.id, read_resources("resources", dumps(resources).encode()))

    def stats(self) -> dict[str, object]:
        """What it uses at this moment, with the names and units of `runc events --stats`: times are nanoseconds,
        memory is bytes.

        :raises StateError: it is not running
        """
        from .lifecycle.events import stats

        data: dict[str, object] = stats(self.root, self.id)["data"]
        return data

    def events(self, interval: float = 5.0) -> Iterator[dict[str, object]]:
        """``{"type": "stats", …}`` at every interval and ``{"type": "oom", …}`` when the kernel kills a process for
        the memory limit, until PID 1 ends.

        :param interval: seconds
        :raises StateError: it is not running
        """
        from .lifecycle.events import events

        return events(self.root, self.id, interval)

    def executing(
        self,
        args: Iterable[str | PathLike[str]],
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        terminal: tuple[int, int] | None = None,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        additional_gids: Iterable[int] = (),
        capabilities: Iterable[str] = (),
        no_new_privileges: bool = False,
        console_socket: str = "",
        pid_file: str = "",
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] | None = None,
        ignore_paused: bool = False,
        apparmor_profile: str = "",
        selinux_label: str = "",
        warn: Callable[[Error], None] | None = None,
    ) -> Waiting[Process]:
        """Run one more program in the container, with what its own process has unless an argument says otherwise.

        Returns when it has been executed; as subprocess.Popen, which has the names of the streams.

        :param stdin: PIPE for a pipe to it, DEVNULL, None for our own, a descriptor, or a file
        :param stderr: likewise, or STDOUT
        :param terminal: rows and columns of a new pty, our end of which is the process's ``terminal``
        :param env: added to the environment
        :param user: "UID" or "UID:GID"
        :param console_socket: path of a unix socket that gets a terminal
        :param stdio: descriptors of this process instead of the three streams
        :param warn: called for each capability that nobody knows
        :raises StateError: the container is stopped, or paused
        :raises OperationError: an operation failed, the execution included
        """
        from .lifecycle.create import Request
        from .lifecycle.exec import Command, Execution

        command = Command(
            args=strings(args),
            cwd=cwd,
            env=tuple(f"{key}={value}" for key, value in (env or {}).items()),
            user=user,
            additional_gids=tuple(additional_gids),
            capabilities=tuple(capabilities),
            no_new_privileges=no_new_privileges,
            terminal=bool(console_socket or terminal),
            apparmor_profile=apparmor_profile,
            selinux_label=selinux_label,
        )
        ends = _Ends(stdin, stdout, stderr, stdio, terminal)
        try:
            request = Request(
                console_socket=console_socket, pid_file=pid_file, preserve_fds=preserve_fds, stdio=ends.stdio
            )
            execution = Execution(self.root, self.id, command, request, ignore_paused, warn)
            yield from readable(execution.beginning(ends.passed_socket(), lambda: ends.take(execution.pid)))
            return ends.process
        finally:
            ends.close()

    exec = blocking(executing)

    def running(
        self,
        args: Iterable[str | PathLike[str]],
        *,
        input: bytes | str | None = None,
        stdin: Stream = DEVNULL,
        stdout: Sink = PIPE,
        stderr: Sink = PIPE,
        timeout: float | None = None,
        check: bool = False,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        max_output: int | str = "16M",
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        ignore_paused: bool = False,
    ) -> Waiting[Result]:
        """Run one more program in the container to its end; subprocess.run for ``exec``.

        Its ``reason`` is "exited", "signal", "timeout" or "output". What the kernel did for the container's limits
        meanwhile is counted, too, but may have been done to other processes of it.

        :param input: for its standard input, which is /dev/null otherwise
        :param stdout: PIPE to keep it, a function that gets it as it comes, DEVNULL, None for our own, or a file
        :param stderr: likewise, or STDOUT
        :param timeout: seconds, after which the program is killed
        :param check: raise RunError unless it ends with exit code 0
        :param text: output is text, UTF-8 unless ``encoding`` says otherwise
        :param max_output: bytes, or "64K": who writes more is killed
        :raises Error: as ``exec`` does
        """
        import time

        from .cgroup import deaths
        from .process.capture import Capture
        from .process.result import Usage, result_of
        from .store import containers

        begun = time.monotonic()
        until = deadline(timeout)
        words = strings(args)
        capture = Capture(input, stdin, stdout, stderr, text, encoding, errors, max_output)
        try:
            cgroup = containers.load(self.root, self.id).cgroup
            before = deaths.count(cgroup)
            process = yield from self.executing(
                words, stdio=capture.streams.stdio, cwd=cwd, env=env, user=user, ignore_paused=ignore_paused
            )
            capture.streams.passed()
            try:
                cut = yield from capture.exchange(process, until)
            finally:
                process.__exit__(None, None, None)
            toll = deaths.since(before, cgroup)
        finally:
            capture.streams.passed()
            capture.streams.close()
        spent = process.spent
        usage = Usage(
            wall=time.monotonic() - begun,
            cpu=spent.user + spent.system if spent else None,
            memory=spent.memory if spent else None,
        )
        result = result_of(words, process, capture, cut, toll, usage, alone=False)
        return result.check() if check else result

    run = blocking(running)

    def delete(self, force: bool = False, warn: Callable[[Error], None] | None = None) -> None:
        """Remove it; with force, a running one is killed, and one that is gone is no error.

        :param warn: called when a poststop hook failed, which does not keep the container from being deleted
        :raises StateError: it is running
        """
        from .lifecycle.delete import delete

        delete(self.root, self.id, force, warn)
        try:
            self.init.wait(0)  # if it was our child: leave no zombie
        except TimeoutError:  # it is in its exit, until processes of `exec` are waited for (see procfs.process_stat)
            pass


class Runtime:
    """The containers below one root directory."""

    def __init__(self, root: str | None = None) -> None:
        """
        :param root: an absolute path; made when the first container is. None: /run/ocirun, or for an ordinary user a
            directory in $XDG_RUNTIME_DIR or /tmp
        :raises UsageError: it is "/" or relative
        :raises HostError: the ordinary user's directory cannot be made, or others can write to it
        """
        if root is None:
            root = default_root()
        if root[:1] != "/" or not root.strip("/"):
            raise UsageError(f"expected an absolute path other than / as root, found {root!r}")
        self.root = root

    def creating(
        self,
        id: str,
        bundle: str | PathLike[str] | Spec,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        terminal: tuple[int, int] | None = None,
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] | None = None,
        no_pivot: bool = False,
        new_keyring: bool = True,
        systemd_cgroup: bool = False,
        warn: Callable[[Error], None] | None = None,
    ) -> Waiting[Container]:
        """Create a container, whose program then waits for ``start``.

        :param bundle: the directory of config.json; or a Spec, with an absolute root.path, and no bundle is needed
        :param stdin: PIPE for a pipe (``container.init.stdin``), DEVNULL, None for our own, a descriptor, or a file
        :param stderr: likewise, or STDOUT
        :param terminal: rows and columns of a new pty, our end of which is ``container.init.terminal``
        :param console_socket: path of a unix socket that gets the terminal, for process.terminal
        :param preserve_fds: this many descriptors from 3 on are passed; they must be inheritable
        :param stdio: descriptors of this process instead of the three streams
        :param systemd_cgroup: systemd makes its cgroup, and linux.cgroupsPath is "slice:prefix:name"
        :param warn: called for what config.json has that is taken but hardly meant, with a ConfigError for each
        :raises ConfigError: the configuration is invalid
        :raises ContainerExists: the id is taken
        :raises OperationError: an operation failed, the container is undone
        :raises HookError: a hook failed, the container is undone
        """
        from .lifecycle.create import Request, creating

        given = _given(bundle, bool(terminal))
        ends = _Ends(stdin, stdout, stderr, stdio, terminal)
        try:
            request = Request(
                console_socket=console_socket,
                pidfd_socket=pidfd_socket,
                pid_file=pid_file,
                preserve_fds=preserve_fds,
                stdio=ends.stdio,
                no_pivot=no_pivot,
                new_keyring=new_keyring,
                systemd_cgroup=systemd_cgroup,
            )
            pid = yield from readable(creating(self.root, id, given, request, warn, ends.passed_socket()))
            try:
                ends.take(pid)
            except BaseException:
                Container(self.root, id, Process(pid)).delete(force=True)
                raise
            return Container(self.root, id, ends.process)
        finally:
            ends.close()

    create = blocking(creating)

    def running(
        self,
        id: str,
        bundle: str | PathLike[str] | Spec,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve_fds: int = 0,
        no_pivot: bool = False,
        new_keyring: bool = True,
        systemd_cgroup: bool = False,
        warn: Callable[[Error], None] | None = None,
    ) -> Waiting[int | None]:
        """Create, start, wait and delete. The exit code, or 128 + the signal that ended it; None: see Process.waiting.

        :param bundle: as for ``create``
        :param stdio: descriptors of this process, its standard input, output and error
        :param warn: as for ``create`` and ``Container.delete``
        :raises Error: as ``create`` and ``start``
        """
        container = yield from self.creating(
            id,
            bundle,
            stdio=stdio,
            preserve_fds=preserve_fds,
            no_pivot=no_pivot,
            new_keyring=new_keyring,
            systemd_cgroup=systemd_cgroup,
            warn=warn,
        )
        try:
            container.start()
            return (yield from container.waiting())
        finally:
            container.delete(force=True, warn=warn)

    run = blocking(running)

    def plan(self, bundle: str | PathLike[str] | Spec) -> Plan:
        """What ``create`` would do on this host, as a value; nothing is done, and no root needed.

        :raises ConfigError: the configuration is invalid, or asks for what cannot be done
        """
        from .lifecycle.create import Configuration, resolved
        from .lifecycle.planned import planned
        from .spec.read import read_config

        given = _given(bundle, False)
        if isinstance(given, Configuration):
            spec, where = given.spec, f"{self.root}/ID"
        else:
            where = resolved(given)
            spec, _ = read_config(where)
        made, _ = planned(spec, where, no_pivot=False, new_keyring=True, preserve_fds=0, rootless="auto")
        return Plan(plan=made)

    def get(self, id: str) -> Container:
        """A container that exists, whoever made it.

        :raises ContainerNotFound: there is none
        """
        from .store import containers

        entry = containers.load(self.root, id)
        return Container(self.root, id, Process(entry.pid, entry.start))

    def list(self) -> list[State]:
        """The states of all containers, by id."""
        from .lifecycle.state import list_containers

        return list_containers(self.root)


def default_root() -> str:
    """Where the containers of the calling user are: /run/ocirun, or a directory of its own in $XDG_RUNTIME_DIR or /tmp.

    :raises HostError: that cannot be made, or others can write to it
    """
    euid = posix.geteuid()
    if euid == 0:
        return DEFAULT_ROOT
    runtime = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    root = f"{runtime}/ocirun" if runtime else f"/tmp/ocirun-{euid}"
    try:
        posix.mkdir(root, 0o700)
        posix.chmod(root, 0o1700)  # sticky: what cleans up leaves it alone (XDG base directories)
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(f"make the root directory {root}: {error.strerror}", "root= names another place") from None
    status = posix.lstat(root)
    if status.st_uid != euid or status.st_mode & 0o170022 != 0o040000:
        raise HostError(f"the root directory {root} is not this user's alone", "root= names another place")
    return root


class Plan(Record):
    """What create does for a configuration on this host, in order. str() is the table of `ocirun plan`."""

    plan: _Plan

    def __str__(self) -> str:
        from .plan.show import table

        return table(self.plan)

    def __len__(self) -> int:
        return len(self.plan.operations)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What the container does without on this host."""
        return self.plan.warnings

    def to_list(self) -> list[dict[str, object]]:
        """As `plan --json`: each operation's index, name, fields, JSON pointer, description, and who performs it."""
        import json

        from .plan.show import to_json

        rows: list[dict[str, object]] = json.loads(to_json(self.plan))
        return rows


class _Ends:
    """The streams or the terminal of a process to be, from before it is there. ``process`` is it, with our ends."""

    process: Process

    def __init__(
        self,
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
        stdio: tuple[int, int, int] | None,
        terminal: tuple[int, int] | None,
    ) -> None:
        from .process.streams import Streams

        self._streams = None if stdio else Streams(stdin, stdout, stderr)
        self.stdio = stdio or (self._streams.stdio if self._streams else (0, 1, 2))
        self._size = terminal
        self._terminal: Terminal | None = None
        if terminal:
            from .process.terminal import Line

            self._line = Line()

    def passed_socket(self) -> int:
        """What the terminal is to be sent on, to be closed by who sends it; -1 without one."""
        return self._line.pass_on() if self._size else -1

    def take(self, pid: int) -> None:
        """The process is there, and has not begun: take its terminal, and hold it.

        :raises HostError: no terminal was sent
        """
        if self._size:
            self._terminal = self._line.receive(self._size)
        streams, terminal = self._streams, self._terminal
        if streams:
            streams.passed()
        self._streams = self._terminal = None
        self.process = Process(pid, None, streams, terminal)

    def close(self) -> None:
        """What nobody has taken."""
        if self._size:
            self._line.close()
        if self._terminal:
            self._terminal.close()
        if self._streams:
            self._streams.passed()
            self._streams.close()


def _given(bundle: str | PathLike[str] | Spec, terminal: bool) -> str | Configuration:
    """What create takes."""
    if isinstance(bundle, str):
        return bundle
    if hasattr(bundle, "__fspath__"):
        return _path(bundle)
    from .spec.document import Spec

    if not isinstance(bundle, Spec):
        raise UsageError(f"expected the path of a bundle or a Spec, found {bundle!r}")
    if terminal:
        bundle = bundle.replace(terminal=True)
    given = configuration(bundle)
    path = given.spec.root.path
    if path[:1] != "/":
        raise UsageError(f"root.path: expected an absolute path where there is no bundle, found {path!r}")
    return given


def configuration(spec: Spec) -> Configuration:
    """A Spec as create takes it.

    :raises ConfigError: it is invalid
    """
    from .lifecycle.create import Configuration

    return Configuration(spec=spec.model, config=spec.to_json(None).encode("utf-8", "surrogateescape"))


def strings(args: Iterable[str | PathLike[str]]) -> tuple[str, ...]:
    """The arguments of a program.

    :raises UsageError: they are one string, or one of them is none
    """
    if isinstance(args, str | bytes):
        raise UsageError(f"expected a sequence of arguments, found the string {args!r}")
    return tuple([arg if isinstance(arg, str) else _path(arg) for arg in args])


def _path(arg: object) -> str:
    path = posix.fspath(arg) if hasattr(arg, "__fspath__") else None
    if not isinstance(path, str):
        raise UsageError(f"expected strings as arguments, found {arg!r}")
    return path
