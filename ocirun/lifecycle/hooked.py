"""The hooks after a container runs, and after it is gone: poststart and poststop (runtime-spec config.md, "Hooks")."""

from __future__ import annotations

from .. import store
from ..cgroup import driver
from ..errors import HookError
from ..hooks import run_hook
from ..spec.read import read_stored
from ..state import hook_state
from .kill import SIGKILL, signal_init


def poststart(root: str, entry: store.Entry) -> None:
    """Run the poststart hooks; when one fails the container is killed (runtime.md, "Lifecycle", step 9).

    :raises HookError: one failed
    """
    try:
        _run("poststart", "running", entry, store.config(root, entry.id), entry.pid)
    except HookError:
        driver.signal_all(entry.cgroup, SIGKILL)
        signal_init(entry, SIGKILL, forgiving=True)
        raise


def poststop(entry: store.Entry, config: bytes) -> None:
    """Run all poststop hooks, also after one has failed.

    :raises HookError: one failed (the first of them)
    """
    _run("poststop", "stopped", entry, config, 0, go_on=True)


def _run(kind: str, status: str, entry: store.Entry, config: bytes, pid: int, go_on: bool = False) -> None:
    spec = read_stored(f"{entry.bundle}/config.json", config)
    head, tail = hook_state(entry.id, entry.bundle, status, spec.annotations)
    failure = None
    for index, hook in enumerate(getattr(spec.hooks, kind)):
        try:
            timeout = -1 if hook.timeout is None else hook.timeout
            run_hook(f"/hooks/{kind}/{index}", kind, hook.path, hook.args, hook.env, timeout, f"{head}{pid}{tail}")
        except HookError as error:
            if not go_on:
                raise
            failure = failure or error
    if failure:
        raise failure
