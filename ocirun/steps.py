"""The steps of every command that changes something, as one list: what a test fails or kills the runtime at.

Each is reached right *before* the effect that it names. The init's steps are the operations of the plan.
"""

STEPS = (
    "create.claim",  # make the container's directory: the id is taken from here on
    "create.state",  # first state file: what there will be to clean up
    "create.fifo",
    "create.cgroup",
    "create.spawn",
    "create.maps",
    "create.pid",  # note the pid of PID 1
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


def reach(step: str) -> None:
    """Nothing, except in the tests' own front door."""
