"""One call: a program in a container that is made for it, run to its end, and gone."""

from __future__ import annotations

import posix
import time

from ..api import configuration, default_root, strings
from ..cgroup import deaths
from ..cgroup.usage import used
from ..errors import HostError, OperationError, StateError, UsageError
from ..process.capture import Capture
from ..process.process import Process
from ..process.result import Result, Usage, result_of
from ..process.size import in_bytes
from ..process.streams import DEVNULL, PIPE
from ..process.wait import blocking, deadline, readable
from ..spec.document import Spec
from .compose import compose
from .limits import NAMES, Limits
from .profile import profile
from .rootfs import Rootfs
from .scratch import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any, Literal

    from ..process.capture import Sink
    from ..process.streams import Stream
    from ..process.wait import Waiting
    from .mount import Mount

_ENOENT = 2
_RESOURCES = "/linux/resources/"
_DEFAULT: dict[str, Any] = profile()


def running(
    args: Iterable[str | PathLike[str]],
    *,
    rootfs: Rootfs | None = None,
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
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    limits: Limits | None = None,
    network: bool = False,
    mounts: Iterable[Mount] = (),
    tmp_size: int | str = "64M",
    capabilities: Iterable[str] = (),
    seccomp: Mapping[str, object] | Literal["default"] | None = "default",
    new_privileges: bool = False,
    hostname: str = "sandbox",
    root: str | None = None,
) -> Waiting[Result]:
    """Run a program in a container of its own, and return how it ended and what it wrote.

    Closed unless an argument opens it: all namespaces are its own, no network, no capabilities, no_new_privileges, a
    seccomp profile, a read-only root, a private /tmp, a masked /proc, /dev/null as standard input, and not the caller's
    environment. As root the program is nobody; an ordinary user's is that user, shown as root without its powers.

    The names of subprocess.run mean what they mean there: args, input, stdin, stdout, stderr, timeout, check, text,
    encoding, errors, cwd, env (beside PATH and HOME). Unlike there output is captured unless that is changed, a timeout
    is a ``reason`` of the result and raises nothing, and line ends stay as they are in text.

    :param rootfs: Rootfs.host() (the default), Rootfs.directory(path) or Rootfs.overlay(path)
    :param stdout: PIPE to keep it, a function that gets it as it comes, DEVNULL, None for our own, a descriptor, a file
    :param stderr: likewise, or STDOUT
    :param timeout: seconds from now, after which every process of the container is killed
    :param check: raise RunError unless it ends with exit code 0
    :param max_output: bytes, or "64K", of each stream that is kept: who writes more is killed
    :param user: uid and gid inside; as root they are those of the host as well
    :param limits: what it may use
    :param network: use the host's network
    :param mounts: what else it sees, Mount.bind() and Mount.tmpfs()
    :param tmp_size: of /tmp and of /dev/shm, in memory
    :param capabilities: ("CAP_NET_RAW",); they are valid inside alone
    :param seccomp: another profile, as linux.seccomp; None for none
    :param new_privileges: set-user-ID programs work
    :param root: where the runtime keeps its state, as for Runtime: by default /run/ocirun, or a directory in
        $XDG_RUNTIME_DIR or /tmp for an ordinary user
    :raises UsageError: an argument is wrong
    :raises OperationError: an operation failed: the program cannot be executed, or a mount not made
    :raises HostError: the host lacks something, such as a cgroup for limits
    :raises RunError: see ``check``
    """
    begun = time.monotonic()
    until = deadline(timeout)
    words = strings(args)
    if not words:
        raise UsageError("expected a program to run, found no arguments")
    rootfs = rootfs or Rootfs.host()
    limits = limits or Limits()
    filter = _DEFAULT if seccomp == "default" else Spec(seccomp).to_dict() if seccomp is not None else None
    size = in_bytes(tmp_size, "tmp_size")
    where = root or default_root()
    id = f"run-{posix.getpid()}-{posix.urandom(8).hex()}"
    left_out: set[str] = set()
    capture = Capture(input, stdin, stdout, stderr, text, encoding, errors, max_output)
    scratch = None
    try:
        scratch = Scratch(where, id)
        path, first = rootfs.prepare(scratch.path, network)
        mounts = tuple(mounts)
        while True:
            spec = compose(
                words, rootfs=rootfs, root=path, first=first, limits=limits, without=frozenset(left_out),
                env=env or {}, cwd=cwd, user=user, network=network, mounts=mounts, tmp_size=size,
                capabilities=capabilities, seccomp=filter, new_privileges=new_privileges, hostname=hostname,
            )  # fmt: skip
            program = _Program(where, id, spec, capture.streams.stdio)
            try:
                yield from program.start(until)
                break
            except OperationError as error:
                left_out.add(_limit_not_granted(error, limits))
            except TimeoutError:
                result = Result(
                    args=words,
                    exit_code=None,
                    signal=9,
                    reason="timeout",
                    stdout=capture.output(1),
                    stderr=capture.output(2),
                    usage=Usage(wall=time.monotonic() - begun),
                    without=tuple(sorted(left_out)),
                )
                return result.check() if check else result
        result = yield from program.finish(words, capture, begun, until, tuple(sorted(left_out)))
    finally:
        capture.streams.passed()
        capture.streams.close()
        if scratch:
            scratch.remove()
    return result.check() if check else result


run = blocking(running)
run.__name__ = "run"


class _Program:
    """One that runs in its container."""

    def __init__(self, root: str, id: str, spec: Spec, stdio: tuple[int, int, int]) -> None:
        """Changes nothing.

        :raises ConfigError: the configuration is invalid
        """
        from ..lifecycle.create import Creation, Request

        self._root, self._id = root, id
        self._creation = Creation(root, id, configuration(spec), Request(stdio=stdio))

    def start(self, until: float | None) -> Waiting[None]:
        """Create the container, and let the program run.

        :raises TimeoutError: there is no time left; nothing is, of the container
        """
        from ..lifecycle.run import starting

        yield from readable(starting(self._creation, before_exec=self._hold), until)

    def _hold(self) -> None:
        """While it cannot have ended yet, not even for a program that ignores its children."""
        self._cgroup = self._creation.entry.cgroup
        self._process = Process(self._creation.launch.pid)
        self._before = deaths.above(self._cgroup)

    def finish(
        self, words: tuple[str, ...], capture: Capture, begun: float, until: float | None, left_out: tuple[str, ...]
    ) -> Waiting[Result]:
        """Wait for its end, and delete the container."""
        process = self._process
        try:
            capture.streams.passed()
            cut = yield from capture.exchange(process, until)
            wall = time.monotonic() - begun
            toll = deaths.since(self._before, self._cgroup)
            cpu, memory = used(self._cgroup)
        finally:
            self._delete()
        if process.spent:
            cpu = process.spent.user + process.spent.system if cpu is None else cpu
            memory = process.spent.memory if memory is None else memory
        usage = Usage(wall=wall, cpu=cpu, memory=memory)
        return result_of(words, process, capture, cut, toll, usage, alone=True, without=left_out)

    def _delete(self) -> None:
        from ..lifecycle.delete import delete

        try:
            self._process.kill(9)
        except StateError:  # as it should be
            pass
        else:
            self._process.wait()
        delete(self._root, self._id, force=True)


def _limit_not_granted(error: OperationError, limits: Limits) -> str:
    """The limit that cannot be set here, which is then done without where that is allowed.

    :raises HostError: it is not allowed
    :raises OperationError: it is something else
    """
    key = error.pointer.removeprefix(_RESOURCES).partition("/")[0]
    euid = posix.geteuid()
    if not error.pointer.startswith(_RESOURCES) or key not in NAMES or (euid == 0 and error.errno not in (0, _ENOENT)):
        raise error
    if not limits.required:
        return NAMES[key]
    who, hint = "this machine", "Limits(required=False) does without"
    if euid:
        who, hint = "this user", f"systemd-run --user --scope -p Delegate=yes gives one; {hint}"
    raise HostError(
        f"limit {NAMES[key]}: {who} has no cgroup with the controller {key} to set it in: {error.reason}", hint
    ) from None
