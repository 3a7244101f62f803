"""Resource limits: config.md, process.rlimits."""

from __future__ import annotations

import resource

from ..engine import Trial
from . import case

TYPES = (
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING", "RLIMIT_STACK",
)  # fmt: skip
"""getrlimit(2)"""

INFINITY = 2**64 - 1


def _hard(name: str) -> int:
    """What the suite itself may set at most: a runtime without CAP_SYS_RESOURCE can raise no limit."""
    # RLIMIT_LOCKS has no name in Python's module; its number is 10 everywhere but on MIPS, SPARC and Alpha.
    number = getattr(resource, name, 10 if name == "RLIMIT_LOCKS" else None)
    assert number is not None
    hard = resource.getrlimit(number)[1]
    return INFINITY if hard == resource.RLIM_INFINITY else hard


@case("config.process.rlimits", "config.process.rlimits.soft", "config.process.rlimits.hard")
def every_type(trial: Trial) -> None:
    """Each type of limit, with a soft one below the hard one."""
    bundle = trial.bundle()
    wanted = {}
    for number, name in enumerate(TYPES):
        hard = _hard(name)
        # Large enough for a program to run, and different for each.
        high = min(
            hard,
            (1 << 33) + number
            if name in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_FSIZE")
            else 900 + number,
        )
        wanted[name] = [high - min(high, 1 + number), high]
    bundle.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()]
    found = trial.report(bundle)["rlimits"]
    missing = [name for name in wanted if found.get(name) != wanted[name]]
    trial.check(
        "config.process.rlimits",
        not missing,
        "all types of limits can be set",
        "all are set" if not missing else f"not set as asked for: {', '.join(missing)}",
    )
    for place, code in ((0, "config.process.rlimits.soft"), (1, "config.process.rlimits.hard")):
        trial.equal(
            code, "limits", {name: pair[place] for name, pair in wanted.items()}, {n: found[n][place] for n in wanted}
        )


@case("config.process.rlimits.soft", "config.process.rlimits.hard")
def unlimited(trial: Trial) -> None:
    """The largest number means no limit."""
    bundle = trial.bundle()
    names = [name for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE") if _hard(name) == INFINITY]
    if not names:
        trial.impossible("the suite itself runs with limits that it cannot raise")
    bundle.process["rlimits"] = [{"type": name, "soft": INFINITY, "hard": INFINITY} for name in names]
    found = trial.report(bundle)["rlimits"]
    for place, code in ((0, "config.process.rlimits.soft"), (1, "config.process.rlimits.hard")):
        trial.equal(code, "limits", dict.fromkeys(names, INFINITY), {name: found[name][place] for name in names})


@case("config.process.rlimits.soft")
def enforced(trial: Trial) -> None:
    """A limit is in force: a process that computes for ever is ended by its RLIMIT_CPU."""
    bundle = trial.bundle()
    bundle.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}]
    container = trial.started(bundle.args("report", "spin=20000"))
    code = container.wait(25)
    if code is None:
        trial.impossible("the container's process is not the suite's to wait for")
    trial.check(
        "config.process.rlimits.soft",
        code in (-24, -9),
        "a process with 1 s of RLIMIT_CPU is ended by SIGXCPU or SIGKILL",
        f"it ended with {code}",
    )
