"""The hooks after a container runs, and after it is gone: poststart and poststop (runtime-spec config.md, "Hooks")."""

from __future__ import annotations

from ..errors import HookError
from ..launch.hooks import run_hook
from ..spec.read import read_stored
from ..store import containers
from ..store.state import hook_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def poststart(root: str, entry: containers.Entry, directory: str = "") -> None:
    """Run the poststart hooks.

    :param directory: where they are run, if not here
    :raises HookError: one failed; the container is to be stopped (runtime.md, "Lifecycle", step 9), as with any error
    :raises HostError: they cannot be found out
    """
    config = containers.config(root, entry.id)
    for failure in _failures("poststart", "running", entry, config, entry.pid, directory):
        raise failure


def poststop(entry: containers.Entry, config: bytes, directory: str = "") -> Iterator[HookError]:
    """Run all poststop hooks; those that fail are what is yielded, and stop nothing (step 13)."""
    return _failures("poststop", "stopped", entry, config, 0, directory)


def _failures(
    kind: str, status: str, entry: containers.Entry, config: bytes, pid: int, directory: str
) -> Iterator[HookError]:
    spec = read_stored(f"{entry.bundle}/config.json", config)
    head, tail = hook_state(entry.id, entry.bundle, status, spec.annotations)
    for index, hook in enumerate(getattr(spec.hooks, kind)):
        timeout = -1 if hook.timeout is None else hook.timeout
        pointer = f"/hooks/{kind}/{index}"
        try:
            run_hook(pointer, kind, hook.path, hook.args, hook.env, timeout, f"{head}{pid}{tail}", directory)
        except HookError as error:
            yield error
