"""Daemons that a test session starts by itself, and what has to be gone when it is over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


class Daemon:
    """A program with its output in a file, in a session of its own."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.command = command
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return when `ready` says so. Raises RuntimeError with the end of the log where it never does."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} exited with {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[0]} is not ready after {timeout:.0f} s\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines: int = 40) -> str:
        """The end of the log, for a message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, timeout: float = 15) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def territory(home: Path, cgroups: Iterable[str], fixed: Iterable[str] = ()) -> Iterator[None]:
    """Around the life of an engine that keeps everything below `home` and in the control groups `cgroups`, except for
    the directories `fixed`, whose places it does not let anyone choose.

    Afterwards all of it is removed, whatever state it is in. Raises AssertionError where processes, mounts or
    groups with processes were left: the engine was to remove those itself.
    """
    names = list(cgroups)
    own = [path for path in fixed if not os.path.exists(path)]
    existing = {path for name in names for path in cgroup_directories(name)}
    home.mkdir(parents=True)
    try:
        yield
    finally:
        left = [f"process {pid}: {text}" for pid, text in wait_gone(home)]
        for path in own:
            left += [f"mount on {point}" for point in mounts(Path(path))]
            if not mounts(Path(path)):
                shutil.rmtree(path, ignore_errors=True)
        for pid, _ in processes(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left += [f"mount on {path}" for path in mounts(home)]
        for path in reversed(mounts(home)):
            subprocess.run(["umount", "--lazy", path], check=False)
        for name in names:
            for path in set(cgroup_directories(name)) - existing:
                left += [f"process {pid} in {path}" for pid in remove_cgroup(path)]
        shutil.rmtree(home, ignore_errors=True)
    assert not left, "the engine left behind:\n" + "\n".join(left)


def processes(home: Path) -> list[tuple[int, str]]:
    """Processes that name a path below `home` on their command line, other than this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{home}/" in command:
                found.append((int(entry.name), command))
    return found


def wait_gone(home: Path, timeout: float = 5) -> list[tuple[int, str]]:
    """The processes of `home` that are there after `timeout` seconds: shims end a little later than their task."""
    deadline = time.monotonic() + timeout
    while (left := processes(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def mounts(home: Path) -> list[str]:
    """Mount points below `home`, outermost first."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{home}/")]


def cgroup_directories(name: str) -> list[Path]:
    """The directories of the group /`name` in all hierarchies of this machine that have it."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            path = Path(fields[4], name)
            if path.is_dir() and path not in found:
                found.append(path)
    return found


def remove_cgroup(path: Path) -> list[int]:
    """Remove a group with all below it. The processes that were in it are killed and returned."""
    killed = []
    for directory, _, _ in os.walk(path, topdown=False):
        for _ in range(40):
            with contextlib.suppress(OSError):
                for pid in map(int, Path(directory, "cgroup.procs").read_text().split()):
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
            else:
                break
    return killed


def limit(name: str, v1: str, v2: str) -> str:
    """A limit of the control group /`name`: from the file `v1` ("memory/memory.limit_in_bytes"), or `v2` where there
    is only the one hierarchy."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return (root / name / v2).read_text().strip()
    controller, _, file = v1.partition("/")
    return (root / controller / name / file).read_text().strip()


def containers(root: Path) -> list[str]:
    """The containers that a runtime has in its state directory; @ begins what is none, as ocirun's cache."""
    return [name for name in os.listdir(root) if not name.startswith("@")] if root.exists() else []
