"""The steps of every command that changes something, as one list: what a test fails or kills the runtime at.

Each is reached right *before* the effect that it names. The init's steps are the operations of the plan.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan.draft import Plan
    from .plan.ops import Operation

STEPS = (
    "create.claim",  # make the container's directory: the id is taken from here on
    "create.state",  # first state file: what there will be to clean up
    "create.fifo",
    "create.cgroup",
    "create.spawn",
    "create.maps",
    "create.pid",  # note the pid of PID 1
    "create.scope",  # have systemd make the scope, with --systemd-cgroup
    "create.perform-pid",  # the runtime's operations on a PID 1 that has done nothing
    "create.devices",  # move linux.netDevices
    "create.hooks",  # prestart and createRuntime
    "create.listener",  # pass the listener of the seccomp filter to the agent
    "create.perform-ready",  # the runtime's operations on a PID 1 that has done all
    "create.created",  # last state file
    "create.release",  # let PID 1 go on to wait for start
    "create.pid-file",
    "start.fifo",
    "start.unlink",
    "start.poststart",
    "exec.spawn",
    "exec.maps",
    "exec.pid",
    "exec.scope",  # have a user's systemd move the process
    "exec.perform-pid",
    "exec.listener",
    "exec.perform-ready",
    "exec.release",
    "exec.pid-file",
    "kill.signal",
    "pause.freeze",
    "resume.thaw",
    "update.write",
    "delete.kill",
    "delete.cgroup",
    "delete.directory",
    "delete.poststop",
)


class Watcher:
    """Who is told what happens: cli/debug.py."""

    def step(self, step: str) -> None:
        """It has been reached."""

    def operation(self, operation: Operation) -> None:
        """The runtime is about to perform it."""

    def note(self, text: str) -> None:
        """Something is done without, which is no failure."""

    def done(self, plan: Plan, times: int) -> None:
        """The init has done what it could of a plan.

        :param times: descriptor of the file of the operation `trace`
        """


watcher: Watcher | None = None  # with --debug


def reach(step: str) -> None:
    """Nothing, except with --debug and in the tests' own front door."""
    if watcher is not None:
        watcher.step(step)


def note(text: str) -> None:
    """Nothing, except with --debug: what the container does without."""
    if watcher is not None:
        watcher.note(text)


def begin(operation: Operation) -> None:
    """Nothing, except with --debug: an operation of the runtime's own begins."""
    if watcher is not None:
        watcher.operation(operation)
