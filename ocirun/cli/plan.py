"""`ocirun plan`: show what create would do for a bundle on this host, and do nothing."""

from __future__ import annotations

from ..cgroup import driver
from ..host import facts
from ..lifecycle.create import resolved, tell
from ..plan import show
from ..plan.build import build
from ..plan.draft import Options
from ..spec.read import read_config
from ..store.state import hook_state
from . import out, report, warner
from .create import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call

_ID = "ID"  # stands for the container's, which only create is told


def run(call: Call) -> int:
    """Print the plan as a table, or as JSON.

    :raises ConfigError: config.json is invalid
    :raises UsageError: no such bundle, or what this version does not have
    """
    tolerance = rootless(call)
    bundle = resolved(call.flags["bundle"])
    spec, _ = read_config(bundle)
    host = facts.host(spec, spec.process)
    if host.euid and spec.linux.namespace("user") is None:
        host = host.as_root()
        report.write(call, "warning", "only root can create this container: the plan is what root's create would do")
    options = Options(
        id=_ID,
        bundle=bundle,
        no_pivot=call.flags["no-pivot"],
        new_keyring=not call.flags["no-new-keyring"],
        preserve_fds=call.flags["preserve-fds"],
        console=spec.process.terminal,
        state_creating=hook_state(_ID, bundle, "creating", spec.annotations),
        state_created=hook_state(_ID, bundle, "created", spec.annotations),
    )
    filter = None
    if spec.linux.seccomp:
        from ..seccomp.cache import compile_filter  # and libseccomp with it

        filter = compile_filter(spec.linux.seccomp)
    plan = build(spec, host, options, driver.place(spec, host, _ID, tolerance), filter)
    tell(warner(call), "config.json", plan.warnings)
    out(show.to_json(plan) if call.flags["json"] else show.table(plan))
    return 0
