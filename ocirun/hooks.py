"""Hooks that the runtime runs itself: prestart, createRuntime, poststart, poststop (runtime-spec config.md, "Hooks").

createContainer and startContainer hooks run inside the container's namespaces: native/init/hooks.c.
"""

from __future__ import annotations

import posix

from .errors import HookError, reason_of
from .procfs import open_process, wait_for_end
from .program import memory_file, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What Python and nohup(1) ignore, and an ignored SIGCHLD; a hook begins with their default actions.
_IGNORED = [1, 2, 3, 13, 15, 17, 25]
_OUTPUT_SHOWN = 2048  # bytes of a failed hook's output that the error repeats


def run_hook(
    pointer: str, kind: str, path: str, args: Sequence[str], env: Sequence[str], timeout: int, state: str
) -> None:
    """Run one hook to its end, with the state document on its standard input.

    :param timeout: seconds after which the hook's whole process group is killed, -1 for none
    :raises HookError: it could not be run, failed, or ran out of time
    """
    # Files in memory instead of pipes: a hook that reads nothing, writes a lot, or leaves a daemon behind that
    # keeps its output open, can block nobody.
    stdin = memory_file("state", posix.MFD_CLOEXEC)
    output = memory_file("output", posix.MFD_CLOEXEC)
    try:
        posix.write(stdin, state.encode("utf-8", "surrogateescape"))
        posix.lseek(stdin, 0, 0)
        actions = [
            (posix.POSIX_SPAWN_DUP2, stdin, 0),
            (posix.POSIX_SPAWN_DUP2, output, 1),
            (posix.POSIX_SPAWN_DUP2, output, 2),
        ]
        environment = dict(item.partition("=")[::2] for item in env)
        try:
            pid = spawn(
                path,
                tuple(args) or (path,),
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=[],
                setsigdef=_IGNORED,
            )
        except OSError as error:
            raise HookError(f"{pointer}: run {kind} hook {path}: {reason_of(error.errno or 0)}") from None
        status = _wait(pid, timeout)
        if status is None:
            raise HookError(f"{pointer}: {kind} hook {path}: ran longer than its timeout of {timeout} s and was killed")
        if status:
            shown = _shown(output)
            code = posix.waitstatus_to_exitcode(status)
            reason = f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
            raise HookError(f"{pointer}: {kind} hook {path}: {reason}{shown}")
    finally:
        posix.close(stdin)
        posix.close(output)


def _wait(pid: int, timeout: int) -> int | None:
    """The wait status, or None after the group was killed for taking too long."""
    if timeout >= 0:
        pidfd = open_process(pid)
        try:
            if not wait_for_end(pidfd, timeout * 1000):
                posix.killpg(pid, 9)
                posix.waitpid(pid, 0)
                return None
        finally:
            posix.close(pidfd)
    return posix.waitpid(pid, 0)[1]


def _shown(output: int) -> str:
    text = posix.pread(output, _OUTPUT_SHOWN, 0).decode("utf-8", "replace").strip()
    return f", output: {text}" if text else ""
