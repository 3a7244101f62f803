"""Fails each system call of the runtime once (strace's injection): an error in words, nothing left, no false success.

    python tests/drivers/injected.py [VERB...]          each call with one of the errors, in turn: two minutes
    python tests/drivers/injected.py --all [VERB...]    each call with each of them

Prints what was wrong, and the totals in the end. Python's own start is left out. tests/run/test_injected.py takes some
of the calls.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
from harness import Bundle, Leftovers, Runtime, reap

VERBS = ("create", "start", "exec", "kill", "delete", "run")
ERRORS = ("EMFILE", "EIO", "ENOMEM", "EPERM")
# What cannot fail, or where strace would keep a call from being made that the kernel always makes; brk(2), without
# which glibc's loader dies; and waits, which of these errors know ENOMEM alone, when not a page is left.
NEVER = {"exit_group", "exit", "rt_sigreturn", "close", "munmap", "rt_sigaction", "rt_sigprocmask", "wait4", "umask"}
NEVER |= {"brk", "poll", "rt_sigtimedwait"}
STRACE = ("strace", "-qq")


def words(made: Bundle, verb: str) -> list[str]:
    return {
        "create": ["create", "--bundle", str(made.path), "--pid-file", str(made.path / "pid"), made.id],
        "run": ["run", "--bundle", str(made.path), "--pid-file", str(made.path / "pid"), made.id],
        "exec": ["exec", "--pid-file", str(made.path / "pid"), made.id, "/probe", "append", "/seen", "x"],
        "kill": ["kill", made.id, "KILL"],
    }.get(verb, [verb, made.id])


def prepare(runtime: Runtime, made: Bundle, verb: str) -> int:
    """Bring a container to where the verb begins; its PID 1."""
    made.args(*(("append", "/seen", "x") if verb == "run" else ("pause",)))
    made.config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "poststart", "poststop")}
    made.write()
    pid = runtime.created(made) if verb not in ("create", "run") else 0
    if verb in ("exec", "kill"):
        runtime("start", made.id).ok()
    return pid


def calls(runtime: Runtime, made: Bundle, verb: str) -> list[tuple[str, int]]:
    """The system calls of the verb after Python's start: each as its name, and the how manieth of that name it is."""
    trace = made.path / "trace"
    pid = prepare(runtime, made, verb)
    argv = [*STRACE, "-o", str(trace), *runtime.argv(*words(made, verb))]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    runtime("delete", "--force", made.id).ok()
    if pid:
        reap(pid)
    count: dict[str, int] = {}
    found = []
    begun = False
    for line in trace.read_text(errors="replace").splitlines():
        name = re.match(r"\w+(?=\()", line)
        if not name:
            continue
        count[name[0]] = count.get(name[0], 0) + 1
        begun = begun or (name[0] != "execve" and (str(runtime.root) in line or str(made.path) in line))
        if begun and name[0] not in NEVER:
            found.append((name[0], count[name[0]]))
    return found


def fail_once(
    runtime: Runtime, made: Bundle, leftovers: Leftovers, verb: str, call: tuple[str, int], error: str
) -> bool:
    """Run the verb with that call failing. AssertionError where what it says is not what is; whether it failed."""
    pid = prepare(runtime, made, verb)
    inject = f"inject={call[0]}:error={error}:when={call[1]}"
    result = runtime(*words(made, verb), prefix=[*STRACE, "-o", "/dev/null", "-e", inject], timeout=40)
    said = result.error or result.err
    assert result.code in (0, 1, 255), f"exit code {result.code}: {said}"
    assert "internal error" not in said and "Traceback" not in said, said
    failed = result.code != 0
    told = f"exit code {result.code} ({said})"
    seen = (made.rootfs / "seen").exists()
    state = runtime("state", made.id)
    if verb == "create":
        assert failed is (state.code != 0), f"{told}, and then: {state.out or state.error}"
    elif verb == "start":
        running = state.code == 0 and state.json["status"] == "running"  # a poststart hook that fails ends it
        assert failed is not running, f"{told}, and then: {state.out or state.error}"
    elif verb == "delete":
        assert failed is (runtime.root / made.id).exists(), f"{told}, and then: {state.out or state.error}"
    elif verb == "kill":
        alive = state.json["status"] == "running"
        assert failed is alive, f"{told}, and it is {state.json['status']}"
    else:
        # What comes between the exec and the end of `run` can fail (a poststart hook); then the program was killed.
        assert verb == "run" or not seen or not failed, f"{told}, but the program ran"
        assert seen or failed, f"{told}, but the program did not run"
    runtime("delete", "--force", made.id).ok()
    if pid:
        reap(pid)
    leftovers.check(5)
    return failed


def main(verbs: Sequence[str], errors: Sequence[str]) -> int:
    total = 0
    with harness.alone() as (runtime, workshop, leftovers):
        for verb in verbs:
            begin, runs, failures, bad = time.monotonic(), 0, 0, 0
            for number, call in enumerate(calls(runtime, workshop(), verb)):
                for error in chosen(errors, number):
                    runs += 1
                    try:
                        failures += fail_once(runtime, workshop(), leftovers, verb, call, error)
                    except AssertionError as reason:
                        bad += 1
                        print(f"{verb}, {call[0]} #{call[1]} {error}: {reason}", flush=True)
                        runtime.clean()
                        leftovers.remove()
            seconds = time.monotonic() - begin
            print(f"{verb}: {runs} faults, {failures} commands failed, {bad} wrong, {seconds:.0f} s", flush=True)
            total += bad
    return int(total > 0)


def chosen(errors: Sequence[str], number: int) -> Iterator[str]:
    """All of them, or one in turn of what begins with ""."""
    if errors[0]:
        yield from errors
    else:
        yield errors[1:][number % (len(errors) - 1)]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = sys.argv[1:]
    every = "--all" in arguments
    wanted = [word for word in arguments if word != "--all"]
    if set(wanted) - set(VERBS):
        raise SystemExit(f"verbs are {' '.join(VERBS)}")
    sys.exit(main(wanted or VERBS, ERRORS if every else ("", *ERRORS)))
