"""`ocirun plan`: show what create would do for a bundle on this host, and do nothing."""

from __future__ import annotations

from ..lifecycle.create import resolved, tell
from ..lifecycle.planned import planned
from ..plan import show
from ..spec.read import read_config
from . import out, report, warner
from .create import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Print the plan as a table, or as JSON.

    :raises ConfigError: config.json is invalid
    :raises UsageError: no such bundle, or what this version does not have
    """
    tolerance = rootless(call)
    bundle = resolved(call.flags["bundle"])
    spec, _ = read_config(bundle)
    plan, as_root = planned(
        spec,
        bundle,
        no_pivot=call.flags["no-pivot"],
        new_keyring=not call.flags["no-new-keyring"],
        preserve_fds=call.flags["preserve-fds"],
        rootless=tolerance,
        systemd_cgroup=call.options["systemd-cgroup"],
    )
    if as_root:
        report.write(call, "warning", "only root can create this container: the plan is what root's create would do")
    tell(warner(call), "config.json", plan.warnings)
    out(show.to_json(plan) if call.flags["json"] else show.table(plan))
    return 0
