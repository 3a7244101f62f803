"""Plays a hostile init against the runtime's side of the wire (ocirun.launch): scripts for tests/native/hostile_init.c.

    python tests/drivers/hostile.py PROGRAM COUNT SEED

To be run in a pid namespace of its own, where a mistake kills nobody else. Prints what became of the scripts, and the
script of the first mistake: an exception that is none of ours, a signal to who is no child, a false success, a process
or a descriptor that is left, a wait that does not end.
"""

from __future__ import annotations

import _signal
import collections
import os
import posix
import random
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from ocirun.errors import Error
from ocirun.launch import run
from ocirun.plan import ops
from ocirun.plan.draft import Plan
from ocirun.plan.ops import Operation

MAPS, PID, MOUNTS, READY, ERROR, ACK = range(1, 7)
LONGEST = 2.0  # seconds of one script
NUMBERS = (0, 1, -1, 2, 2**31 - 1, -(2**31), 4711)


def message(kind: int, arg: int = 0, index: int = 0, errno: int = 0, text: bytes = b"") -> str:
    return (struct.pack("=IiIi", kind, arg, index, errno) + text).hex()


def plan(asks_for_maps: bool) -> Plan:
    """What the parent expects: MAPS, PID, MOUNTS, READY, or PID and READY."""
    operations: list[Operation] = [
        ops.clone("outer", "", cgroup_slot=ops.NO_SLOT, procs_slot=ops.NO_SLOT),
        ops.ready("init", ""),
        ops.exec("init", "/process/args", args=["true"], env=[], preserve=0, uid=0),
    ]
    if asks_for_maps:
        operations.insert(0, ops.map_ids("outer", ""))
        operations.insert(2, ops.mounts_ready("init", ""))
    return Plan(operations=tuple(operations), inherited=(), slots=0)


Script = tuple[bool, list[str], list[str]]


def right(asks_for_maps: bool) -> tuple[list[str], list[str]]:
    """The words of an honest init."""
    outer, init = ["c", "p"], ["w", "s", f"m{message(READY)}", "w", "e"]
    if asks_for_maps:
        outer[:0] = [f"m{message(MAPS)}", "w"]
        init[2:2] = [f"m{message(MOUNTS)}", "w"]
    return outer, init


class Scripts:
    """Honest ones, with a few words exchanged, left out, doubled or put in."""

    def __init__(self, seed: int, victim: int) -> None:
        self._random = random.Random(seed)
        self._victim = victim

    def next(self) -> Script:
        asks_for_maps = self._random.random() < 0.5
        outer, init = right(asks_for_maps)
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            words = self._random.choice((outer, init))
            place = self._random.randrange(len(words) + 1)
            kind = self._random.random()
            if kind < 0.15 and words:
                del words[place % len(words)]
            elif kind < 0.3 and words:
                words.insert(place, words[place % len(words)])
            elif kind < 0.4 and words:
                words[place % len(words)] = self._word()
            elif kind < 0.45:
                del words[place:]
            else:
                words.insert(place, self._word())
        return asks_for_maps, outer, init

    def _word(self) -> str:
        choose = self._random
        number = choose.choice((*NUMBERS, self._victim, os.getpid(), os.getppid()))
        index = choose.choice((0, 1, 2, 3, 2**32 - 1))
        text = choose.randbytes(choose.choice((0, 9, 5000)))
        return choose.choice(
            (
                f"v{self._victim}",
                f"v{number}",
                f"m{message(choose.randrange(9), number, index, choose.choice(NUMBERS))}",
                f"m{message(ERROR, 0, choose.randrange(7), choose.randrange(140), text)}",
                f"m{message(choose.choice((MAPS, PID, MOUNTS, READY)))}",
                f"m{message(READY)[: choose.randrange(32)]}",
                f"m{message(READY)}{'00' * choose.randrange(9)}",
                f"m{choose.randbytes(choose.randrange(40)).hex()}",
                "m",
                f"o{message(choose.choice((PID, READY, ERROR)), self._victim)}",
                f"f{message(READY)}",
                f"h{choose.randrange(3)}",
                "c", "p", "g", "w", "s", "e", "k", "z",
            )
        )  # fmt: skip


def is_child(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[1]) == os.getpid()
    except (FileNotFoundError, ProcessLookupError):
        return False


def watch(mistake: Callable[[str], None]) -> None:
    """Before each signal of this process, and each wait: is it about a child?"""
    real: dict[str, Any] = {name: getattr(posix, name) for name in ("kill", "killpg", "waitpid")}
    real_pidfd = _signal.pidfd_send_signal

    def signalled(name: str) -> Callable[[int, int], Any]:
        def call(pid: int, number: int) -> Any:
            if pid <= 0 or (number and not is_child(pid)):
                mistake(f"{name}({pid}, {number})")
            return real[name](pid, number)

        return call

    def waitpid(pid: int, options: int) -> Any:
        if pid in (0, -1):
            mistake(f"waitpid({pid})")
        return real["waitpid"](pid, options)

    def pidfd_send_signal(pidfd: int, number: int, *more: Any) -> None:
        with open(f"/proc/self/fdinfo/{pidfd}") as file:
            pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
        if pid != -1 and not is_child(pid):  # -1: reaped, and the signal goes nowhere
            mistake(f"pidfd_send_signal of {pid}")
        real_pidfd(pidfd, number, *more)

    posix.kill, posix.killpg, posix.waitpid = signalled("kill"), signalled("killpg"), waitpid  # type: ignore[assignment]
    _signal.pidfd_send_signal = pidfd_send_signal


def sleeper() -> int:
    """A process that is not our child."""
    read, write = os.pipe()
    if os.fork() == 0:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.write(write, b"%d" % pid)
        os._exit(0)
    os.wait()
    return int(os.read(read, 16))


def launched(asks_for_maps: bool, outer: list[str], init: list[str]) -> run.Launch:
    """An init that has been spawned, to do these words."""
    run.ENVIRONMENT = {
        b"SCRIPT": "".join(f"{word}," for word in outer).encode(),
        b"SIBLING": "".join(f"{word}," for word in init).encode(),
    }
    launch = run.Launch(plan(asks_for_maps), "exec", "/tmp", ())
    launch.spawn({}, 0)
    return launch


def play(script: Script) -> str:
    """What becomes of one script, in a word."""
    launch = launched(*script)
    try:
        list(launch.running(lambda pid: None, lambda: None, lambda listener: None))
        assert is_child(launch.pid), f"{launch.pid} is PID 1 and no child"
        list(launch.releasing(wait_for_exec=True))
        with open(f"/proc/{launch.pid}/stat", "rb") as file:
            flags = int(file.read().rpartition(b") ")[2].split()[6])
        assert "e" in script[2] and not flags & 0x40, "success without an exec"
        result = "executed"
    except Error as error:
        assert 0 < len(str(error)) < 10_000
        result = "refused" if "expected no such message" in str(error) else "failed"
    finally:
        launch.abandon()
    return result


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main(program: str, count: int, seed: int) -> int:
    run.init_program = lambda: program
    victim = sleeper()
    scripts = Scripts(seed, victim)
    mistakes: list[str] = []
    watch(mistakes.append)
    results: collections.Counter[str] = collections.Counter()
    before = descriptors()
    for _ in range(count):
        script = scripts.next()
        begin = time.monotonic()
        try:
            results[play(script)] += 1
        except Exception as error:  # whatever it is: it is told
            mistakes.append(f"{type(error).__name__}: {error}")
        if time.monotonic() - begin > LONGEST:
            mistakes.append(f"took {time.monotonic() - begin:.1f} s")
        if descriptors() != before:
            mistakes.append("a descriptor is left")
        if not os.path.exists(f"/proc/{victim}"):
            mistakes.append("the victim is dead")
        if mistakes:
            print(f"{mistakes}: maps {script[0]}, outer {','.join(script[1])}, init {','.join(script[2])}")
            return 1
        reap_second_siblings()
    print(dict(results))
    return 0


def reap_second_siblings() -> None:
    """A script may clone several, in sessions of their own: no runtime can know of those."""
    while True:
        try:
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is None:
                return
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
