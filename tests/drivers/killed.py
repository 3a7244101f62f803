"""Kills the runtime after each of its system calls, one after the other; `delete --force` has to leave nothing then.

    python tests/drivers/killed.py [VERB...]        all of them: some ten minutes, and the totals in the end

The windows are found by tracing (ptrace(2)), not by a list of steps. A number of system calls is where a kill is; a
run of the same command makes the same calls, but for a few that depend on time, and a kill too much harms nothing.
tests/run/test_killed.py does so at some of them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
from harness import Bundle, Leftovers, Runtime, Workshop
from hooks_of_tests import hook

VERBS = ("create", "start", "exec", "run", "delete")

PTRACE_TRACEME, PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SETOPTIONS, PTRACE_GET_SYSCALL_INFO = 0, 7, 24, 0x4200, 0x420E
PTRACE_O_TRACESYSGOOD, PTRACE_O_EXITKILL = 1, 1 << 20
SYSCALL_STOP = signal.SIGTRAP | 0x80
PTRACE_SYSCALL_INFO_EXIT = 2

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if libc.ptrace(request, pid, address, data) < 0:
        error = ctypes.get_errno()
        raise ProcessLookupError(error, "ptrace") if error == 3 else OSError(error, f"ptrace {request:#x}")


def after_exit_of_a_call(pid: int) -> bool:
    info = ctypes.create_string_buffer(128)
    ptrace(PTRACE_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    return info.raw[0] == PTRACE_SYSCALL_INFO_EXIT


def run_until(argv: Sequence[str], count: int, output: Path) -> int:
    """Run a command and kill it after that many system calls; 0 when it was, else how many it made to its end."""
    with output.open("ab") as file:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=lambda: ptrace(PTRACE_TRACEME, 0),
        )
    pid, calls, deliver = process.pid, 0, 0
    os.waitpid(pid, 0)  # the exec
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)
    while True:
        ptrace(PTRACE_SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, output.read_text()
            return calls
        deliver = os.WSTOPSIG(status)
        if deliver == SYSCALL_STOP:
            deliver = 0
            if after_exit_of_a_call(pid):
                calls += 1
                if calls == count:
                    os.kill(pid, signal.SIGKILL)
                    process.wait()
                    return 0
        elif deliver == signal.SIGTRAP:
            deliver = 0


def container(made: Bundle) -> Bundle:
    """One that has something of everything."""
    made.args("true")
    made.user_namespace()
    made.without_mount("/sys")
    true = [hook("true")]
    made.config["hooks"] = {"prestart": true, "createRuntime": true, "poststart": true, "poststop": true}
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    return made


def kill_once(runtime: Runtime, made: Bundle, leftovers: Leftovers, verb: str, count: int) -> int:
    """Kill the verb after that many system calls, then delete by force; AssertionError when something is left.

    As run_until() returns."""
    container(made)
    pid_file = made.path / "pid"
    words = {
        "create": ["create", "--bundle", str(made.path), "--pid-file", str(pid_file), made.id],
        "run": ["run", "--bundle", str(made.path), "--pid-file", str(pid_file), made.id],
        "start": ["start", made.id],
        "exec": ["exec", "--pid-file", str(pid_file), made.id, "/probe", "true"],
        "delete": ["delete", "--force", made.id],
    }[verb]
    if verb == "exec":
        made.args("pause")
    made.write()
    if verb in ("start", "exec", "delete"):
        runtime.created(made)
    if verb == "exec":
        runtime("start", made.id).ok()
    left = run_until(runtime.argv(*words), count, made.path / "output")
    runtime("delete", "--force", made.id).ok()
    leftovers.check(5)
    assert not list(runtime.root.iterdir()) if runtime.root.exists() else True
    assert not list(made.path.glob(".ocirun*")), "half a pid file"
    return left


def main(verbs: Sequence[str]) -> int:
    harness.isolate()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="ocirun-test-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        leftovers = Leftovers(f"ot{os.getpid()}", scratch)
        workshop = Workshop(leftovers.prefix, scratch, harness.build_probe())
        runtime = Runtime(harness.PROGRAM, scratch)
        for verb in verbs:
            begin, count, bad = time.monotonic(), 0, 0
            while True:
                count += 1
                try:
                    if kill_once(runtime, workshop(), leftovers, verb, count):
                        break
                except AssertionError as error:
                    bad += 1
                    print(f"{verb}, after {count} calls: {error}")
                    runtime.clean()
                    leftovers.remove()
            print(f"{verb}: killed {count - 1} times, {bad} failures, {time.monotonic() - begin:.0f} s", flush=True)
            failures += bad
    return int(failures > 0)


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(VERBS)
    if unknown:
        raise SystemExit(f"no such verb: {' '.join(unknown)}")
    sys.exit(main(sys.argv[1:] or VERBS))
