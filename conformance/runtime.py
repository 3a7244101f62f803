"""A runtime as one sees it from outside: a program with runc's command line."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "OCIRUN_CONFORMANCE_TRIAL"
"""The variable that every command of a trial has in its environment, so that what a crash leaves can be found."""


SPAWNING = threading.Lock()
SPAWNED: set[int] = set()
"""The children that commands are, under their lock: whoever reaps orphans leaves them alone."""


class CommandError(Exception):
    """A command of the runtime did not do what a case needs it for; the text is for the reader of a report."""


@dataclass
class Result:
    """How a command ended: ``code`` is its exit code, -N where signal N killed it."""

    argv: list[str]
    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    def object(self, operation: str) -> dict[str, Any]:
        """The JSON object that it printed; CommandError where that is none."""
        try:
            document = json.loads(self.out)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CommandError(f"`{operation}` printed no JSON object: {self.out[:200]!r}")
        return document

    @property
    def told(self) -> str:
        """What it said in one line: the last of standard error, or else of standard output."""
        for stream in (self.err, self.out):
            lines = [line.strip() for line in stream.splitlines() if line.strip()]
            if lines:
                return lines[-1][:400]
        return ""

    def __str__(self) -> str:
        return f"exit code {self.code}" + (f": {self.told}" if self.code and self.told else "")


class Spawned:
    """A command that has not ended yet. Its output goes to files: a created container keeps standard output open."""

    def __init__(self, argv: list[str], popen: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.argv = argv
        self.popen = popen
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it and all that it started in its process group."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        SPAWNED.discard(self.popen.pid)

    def result(self, seconds: float) -> Result:
        """Wait for its end; CommandError where it takes longer than that."""
        try:
            code = self.popen.wait(max(seconds, 0.01))
        except subprocess.TimeoutExpired:
            self.kill()
            raise CommandError(f"`{shlex.join(self.argv)}` did not end in time\n{self.err}".strip()) from None
        SPAWNED.discard(self.popen.pid)
        return Result(self.argv, code, self.out, self.err)


@dataclass
class Runtime:
    """A runtime with a --root of its own for one trial.

    :param command: the program and the global options that are always given
    :param scratch: where the root, the output of commands and their pid files go
    :param mark: what :data:`MARK` is set to
    :param remaining: the seconds that the trial has left
    """

    command: Sequence[str]
    scratch: Path
    mark: str
    remaining: Callable[[], float]
    history: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def root(self) -> Path:
        return self.scratch / "root"

    def argv(self, *words: str) -> list[str]:
        return [*self.command, "--root", str(self.root), *words]

    def spawn(
        self,
        *words: str,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        stdin: int | None = None,
        fds: Sequence[int] = (),
        umask: int = -1,
    ) -> Spawned:
        """Start a command of the runtime.

        :param prefix: the words of a program that executes the command, as unshare(1)
        :param environment: further variables
        :param stdin: a descriptor, an empty file by default
        :param fds: descriptors that it inherits
        :param umask: the mask of the command, -1 for the suite's
        """
        self.count += 1
        argv = [*prefix, *self.argv(*words)]
        before = "".join(f"{name}={shlex.quote(value)} " for name, value in (environment or {}).items())
        self.history.append(before + shlex.join(argv))
        out, err = (self.scratch / f"command-{self.count}.{stream}" for stream in ("out", "err"))
        # crun 1.8 gives the standard streams to the container's user, and so would the host's /dev/null be.
        nothing = self.scratch / "nothing"
        nothing.touch()
        with SPAWNING, nothing.open("rb") as in_file, out.open("wb") as out_file, err.open("wb") as err_file:
            popen = subprocess.Popen(
                argv,
                stdin=in_file if stdin is None else stdin,
                stdout=out_file,
                stderr=err_file,
                env=os.environ | {MARK: self.mark} | (environment or {}),
                start_new_session=True,
                pass_fds=tuple(fds),
                umask=umask,
            )
            SPAWNED.add(popen.pid)
        return Spawned(argv, popen, out, err)

    def __call__(self, *words: str, **options: Any) -> Result:
        """Run a command of the runtime to its end."""
        return self.spawn(*words, **options).result(self.remaining())

    def state(self, id: str) -> dict[str, Any]:
        """What `state` says; CommandError where it fails or says no JSON object."""
        result = self("state", id)
        if not result.ok:
            raise CommandError(f"`state` failed with {result}")
        return result.object("state")

    def version(self) -> str:
        """The first line of --version, or what went wrong."""
        try:
            result = subprocess.run(
                [*self.command, "--version"],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return (result.stdout or result.stderr).strip().partition("\n")[0]


def wait_until(true: Callable[[], object], remaining: Callable[[], float], seconds: float = 5.0) -> bool:
    """Look again and again whether something is so, at most that long and never longer than the trial has."""
    end = time.monotonic() + min(seconds, remaining())
    delay = 0.001
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(delay)
        delay = min(delay * 1.5, 0.02)
    return True
