"""The tests' own front door: ocirun with a fault at one step (ocirun/steps.py) or one operation of the init.

    python faults.py FAULT ocirun ARGUMENTS...

FAULT is `fail:STEP` (an error is raised), `kill:STEP` (the process dies as by SIGKILL), `init-fail:OPERATION` or
`init-kill:OPERATION` (the tests' build of the init does so at that operation, a name or an index of the plan),
`without:OPERATION` (all operations of that name are left out of the plan), or `list:FILE`, which only writes down the
steps that are reached. The program's name stays the one that is given.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocirun.plan.build import Plan

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ocirun import steps
from ocirun.errors import HostError


def arrange(kind: str, where: str) -> None:
    """Have the fault happen."""

    def reach(step: str) -> None:
        if kind == "list":
            with open(where, "a") as file:
                file.write(f"{step}\n")
        elif step == where and kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif step == where:
            raise HostError(f"test fault at {step}")

    if kind == "without":
        leave_out(where)
    elif kind.startswith("init-"):
        from initdriver import build_init

        from ocirun import launch

        launch.INIT = str(build_init())
        launch.ENVIRONMENT = {f"OCIRUN_INIT_{kind.removeprefix('init-').upper()}".encode(): where.encode()}
    else:
        steps.reach = reach


def leave_out(name: str) -> None:
    """Run every plan without the operations of that name."""
    from ocirun.launch import Launch
    from ocirun.record import replace

    whole = Launch.__init__

    def reduced(self: Launch, plan: Plan, *arguments: Any) -> None:
        kept = tuple(operation for operation in plan.operations if operation.name != name)
        whole(self, replace(plan, operations=kept), *arguments)

    Launch.__init__ = reduced  # type: ignore[method-assign]


if __name__ == "__main__":
    kind, _, where = sys.argv[1].partition(":")
    if kind in ("fail", "kill") and where not in steps.STEPS:
        raise SystemExit(f"no such step: {where}")
    arrange(kind, where)
    del sys.argv[:2]
    from ocirun.cli import main

    main()
