"""The runtime as a library: Runtime, Container, Process.

For any program, with threads or without: nothing here installs a signal handler, changes the working directory or the
umask, leaves a descriptor open or ends the process. Containers made here are children of the calling process; their
exit code is kept for ``wait``. A program that ignores SIGCHLD, or waits for all of its children itself, loses it.
"""

from __future__ import annotations

import posix

from .errors import Error, UsageError
from .host.procfs import open_process, process_stat, wait_for_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .store.state import State

DEFAULT_ROOT = "/run/ocirun"


class Process:
    """A process that was started here, by `exec` or as PID 1 of a container."""

    def __init__(self, pid: int, start: int | None = None) -> None:
        self.pid = pid
        self._start = process_stat(pid)[1] if start is None else start
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end. The exit code, or 128 + the signal that ended it.

        None when that is not to be known: it is no child of this process, or somebody else has waited for it.

        :param timeout: seconds, None for no limit
        :raises TimeoutError: it still runs
        """
        if self._code is not None:
            return self._code
        if not self._wait_for_end(timeout):
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        try:
            pid, status = posix.waitpid(self.pid, posix.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:  # the pid is another child's by now
            return None
        code = posix.waitstatus_to_exitcode(status)
        self._code = code if code >= 0 else 128 - code
        return self._code

    def _wait_for_end(self, timeout: float | None) -> bool:
        try:
            pidfd = open_process(self.pid)
        except ProcessLookupError:
            return True
        try:
            if process_stat(self.pid)[1] != self._start:
                return True
            return wait_for_end(pidfd, None if timeout is None else timeout * 1000)
        except ProcessLookupError:
            return True
        finally:
            posix.close(pidfd)


class Container:
    """A container below the root directory of a Runtime. Made by ``Runtime.create`` or ``Runtime.get``."""

    def __init__(self, root: str, id: str, init: Process) -> None:
        self.root = root
        self.id = id
        self._init = init

    @property
    def pid(self) -> int:
        """PID 1's pid in the caller's pid namespace; another process's, or none, when it has ended."""
        return self._init.pid

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

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for PID 1's end: see Process.wait."""
        return self._init.wait(timeout)

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

    def exec(
        self,
        args: Iterable[str],
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        additional_gids: Iterable[int] = (),
        capabilities: Iterable[str] = (),
        no_new_privileges: bool = False,
        console_socket: str = "",
        pid_file: str = "",
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] = (0, 1, 2),
        ignore_paused: bool = False,
        apparmor_profile: str = "",
        selinux_label: str = "",
        warn: Callable[[Error], None] | None = None,
    ) -> Process:
        """Run one more program in the container, with what its own process has unless an argument says otherwise.

        Returns when it has been executed.

        :param env: added to the environment
        :param user: "UID" or "UID:GID"
        :param console_socket: path of a unix socket that gets the terminal; without it there is none
        :param stdio: descriptors of this process, its standard input, output and error
        :param warn: called for each capability that nobody knows
        :raises StateError: the container is stopped, or paused
        :raises OperationError: an operation failed, the execution included
        """
        from .lifecycle.create import Request
        from .lifecycle.exec import Command, Execution

        command = Command(
            args=_strings(args),
            cwd=cwd,
            env=tuple(f"{key}={value}" for key, value in (env or {}).items()),
            user=user,
            additional_gids=tuple(additional_gids),
            capabilities=tuple(capabilities),
            no_new_privileges=no_new_privileges,
            terminal=bool(console_socket),
            apparmor_profile=apparmor_profile,
            selinux_label=selinux_label,
        )
        request = Request(console_socket=console_socket, pid_file=pid_file, preserve_fds=preserve_fds, stdio=stdio)
        return Process(Execution(self.root, self.id, command, request, ignore_paused, warn).begin())

    def delete(self, force: bool = False, warn: Callable[[Error], None] | None = None) -> None:
        """Remove it; with force, a running one is killed, and one that is gone is no error.

        :param warn: called when a poststop hook failed, which does not keep the container from being deleted
        :raises StateError: it is running
        """
        from .lifecycle.delete import delete

        delete(self.root, self.id, force, warn)
        try:
            self._init.wait(0)  # it was our child: leave no zombie
        except TimeoutError:  # it is in its exit, until processes of `exec` are waited for (see procfs.process_stat)
            pass


class Runtime:
    """The containers below one root directory."""

    def __init__(self, root: str = DEFAULT_ROOT) -> None:
        """
        :param root: an absolute path; made when the first container is
        :raises UsageError: it is "/" or relative
        """
        if root[:1] != "/" or not root.strip("/"):
            raise UsageError(f"expected an absolute path other than / as root, found {root!r}")
        self.root = root

    def create(
        self,
        id: str,
        bundle: str,
        *,
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        preserve_fds: int = 0,
        stdio: tuple[int, int, int] = (0, 1, 2),
        no_pivot: bool = False,
        new_keyring: bool = True,
        warn: Callable[[Error], None] | None = None,
    ) -> Container:
        """Create a container, whose program then waits for ``start``.

        :param bundle: the directory of config.json
        :param console_socket: path of a unix socket that gets the terminal, for process.terminal
        :param preserve_fds: this many descriptors from 3 on are passed; they must be inheritable
        :param stdio: descriptors of this process, its standard input, output and error
        :param warn: called for what config.json has that is taken but hardly meant, with a ConfigError for each
        :raises ConfigError: config.json is invalid
        :raises ContainerExists: the id is taken
        :raises OperationError: an operation failed, the container is undone
        :raises HookError: a hook failed, the container is undone
        """
        from .lifecycle.create import Request, create

        request = Request(
            console_socket=console_socket,
            pidfd_socket=pidfd_socket,
            pid_file=pid_file,
            preserve_fds=preserve_fds,
            stdio=stdio,
            no_pivot=no_pivot,
            new_keyring=new_keyring,
        )
        return Container(self.root, id, Process(create(self.root, id, bundle, request, warn)))

    def run(
        self,
        id: str,
        bundle: str,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        preserve_fds: int = 0,
        no_pivot: bool = False,
        new_keyring: bool = True,
        warn: Callable[[Error], None] | None = None,
    ) -> int | None:
        """Create, start, wait and delete. The exit code, or 128 + the signal that ended it; None: see Process.wait.

        :param warn: as for ``create`` and ``Container.delete``
        :raises Error: as ``create`` and ``start``
        """
        container = self.create(
            id,
            bundle,
            stdio=stdio,
            preserve_fds=preserve_fds,
            no_pivot=no_pivot,
            new_keyring=new_keyring,
            warn=warn,
        )
        try:
            container.start()
            return container.wait()
        finally:
            container.delete(force=True, warn=warn)

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


def _strings(args: Iterable[str]) -> tuple[str, ...]:
    if isinstance(args, str):
        raise UsageError(f"expected a sequence of arguments, found the string {args!r}")
    return tuple(args)
