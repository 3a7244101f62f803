"""Hooks that the runtime runs itself: prestart, createRuntime, poststart, poststop (runtime-spec config.md, "Hooks").

createContainer and startContainer hooks run inside the container's namespaces: native/init/hooks.c.
"""

from __future__ import annotations

import posix

from ..errors import HookError, reason_of
from ..host.native import ffi, lib
from ..host.procfs import open_process, wait_for_end
from .program import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import Any
else:
    import _signal

_FOREVER = 2_000_000  # seconds: poll(2) takes no more
_OUTPUT_SHOWN = 2048  # bytes of a failed hook's output that the error repeats


def run_hook(
    pointer: str,
    kind: str,
    path: str,
    args: Sequence[str],
    env: Sequence[str] | None,
    timeout: int,
    state: str,
    directory: str = "",
) -> None:
    """Run one hook to its end, with the state document on its standard input.

    :param env: None for our own
    :param timeout: seconds after which the hook's whole process group is killed, -1 for none
    :param directory: where it is run, if not here
    :raises HookError: it could not be run, failed, or ran out of time
    """
    # Files in memory instead of pipes: a hook that reads nothing, writes a lot, or leaves a daemon behind that
    # keeps its output open, can block nobody.
    stdin = memory_file("state", posix.MFD_CLOEXEC)
    output = memory_file("output", posix.MFD_CLOEXEC)
    ignored = _keep_exit_codes()
    try:
        posix.write(stdin, state.encode("utf-8", "surrogateescape"))
        posix.lseek(stdin, 0, 0)
        pid = _spawn(path, args or (path,), env, directory, stdin, output)
        if pid < 0:
            raise HookError(pointer, f"run {kind} hook {path}: {reason_of(-pid)}")
        status = _wait(pid, timeout)
        if status is None:
            raise HookError(pointer, f"{kind} hook {path}: ran longer than its timeout of {timeout} s and was killed")
        if status:
            shown = _shown(output)
            code = posix.waitstatus_to_exitcode(status)
            reason = f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
            raise HookError(pointer, f"{kind} hook {path}: {reason}{shown}")
    finally:
        if ignored:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        posix.close(stdin)
        posix.close(output)


def _keep_exit_codes() -> bool:
    """Heed SIGCHLD: where it is ignored, the kernel discards how children end. True if it was."""
    if _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_IGN:
        return False
    try:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    except ValueError:  # only the main thread may
        return False
    return True


def _spawn(path: str, args: Sequence[str], env: Sequence[str] | None, directory: str, stdin: int, output: int) -> int:
    """The pid, or a negative errno."""
    kept = []  # what C has only the addresses of

    def string(text: str) -> Any:
        kept.append(ffi.new("char[]", text.encode("utf-8", "surrogateescape")))
        return kept[-1]

    def strings(texts: Sequence[str]) -> Any:
        return ffi.new("char *[]", [*map(string, texts), ffi.NULL])

    environment = ffi.NULL if env is None else strings(env)
    where = string(directory) if directory else ffi.NULL
    return lib.sys_spawn_hook(string(path), strings(args), environment, where, stdin, output)


def _wait(pid: int, timeout: int) -> int | None:
    """The wait status, or None after the group was killed for taking too long."""
    if 0 <= timeout < _FOREVER:
        pidfd = open_process(pid)
        try:
            if not wait_for_end(pidfd, timeout * 1000):
                posix.killpg(pid, 9)
                posix.waitpid(pid, 0)
                return None
        finally:
            posix.close(pidfd)
    try:
        return posix.waitpid(pid, 0)[1]
    except ChildProcessError:  # nobody will know
        return 0


def _shown(output: int) -> str:
    text = posix.pread(output, _OUTPUT_SHOWN, 0).decode("utf-8", "replace").strip()
    return f", output: {text}" if text else ""
