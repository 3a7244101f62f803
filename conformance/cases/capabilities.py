"""Capabilities: config.md, process.capabilities, and capabilities(7)."""

from __future__ import annotations

from ..engine import Trial
from . import case
from .process import status

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""In the kernel's order: the bit of each is its place."""

FIELDS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "ambient": "CapAmb",
}


def names_of(mask: str) -> list[str]:
    """The names of the bits of a set, as /proc/PID/status writes it."""
    bits = int(mask, 16)
    return [f"CAP_{name}" for number, name in enumerate(NAMES) if bits >> number & 1]


def _sets(trial: Trial, sets: dict[str, list[str]], uid: int = 0) -> dict[str, list[str]]:
    bundle = trial.bundle()
    bundle.process["capabilities"] = sets
    if uid:
        bundle.process["user"] = {"uid": uid, "gid": uid}
    facts = trial.report(bundle)
    return {kind: names_of(status(facts, field)) for kind, field in FIELDS.items()}


def _in_order(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: NAMES.index(name.removeprefix("CAP_")))


@case(*(f"config.process.capabilities.{kind}" for kind in FIELDS))
def root_sets(trial: Trial) -> None:
    """Each set of a process of root is the one of the configuration, different from the others."""
    bounding = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_AUDIT_WRITE", "CAP_NET_RAW"]
    # execve(2) gives a root process all of its bounding set; so the others are the same, and inheritable ones beside
    # them.
    wanted = {kind: _in_order(bounding) for kind in ("bounding", "effective", "permitted")}
    wanted |= {"inheritable": ["CAP_CHOWN", "CAP_KILL"], "ambient": ["CAP_CHOWN"]}
    found = _sets(trial, wanted)
    for kind in FIELDS:
        trial.equal(f"config.process.capabilities.{kind}", f"{kind} set of root", wanted[kind], found[kind])


@case(*(f"config.process.capabilities.{kind}" for kind in FIELDS), needs=("root",))
def user_sets(trial: Trial) -> None:
    """A process of another user has what is ambient, and no more; its bounding and inheritable sets are the
    configured ones."""
    ambient = ["CAP_NET_BIND_SERVICE", "CAP_KILL"]
    bounding = [*ambient, "CAP_CHOWN", "CAP_SETUID"]
    inheritable = [*ambient, "CAP_CHOWN"]
    given = {"bounding": bounding, "effective": bounding, "permitted": bounding}
    found = _sets(trial, given | {"inheritable": inheritable, "ambient": ambient}, 1000)
    wanted = {
        "bounding": bounding,
        "inheritable": inheritable,
        "ambient": ambient,
        "effective": ambient,
        "permitted": ambient,
    }
    for kind in FIELDS:
        trial.equal(
            f"config.process.capabilities.{kind}", f"{kind} set of user 1000", _in_order(wanted[kind]), found[kind]
        )


@case(*(f"config.process.capabilities.{kind}" for kind in FIELDS))
def none(trial: Trial) -> None:
    """Empty sets leave no capability at all."""
    found = _sets(trial, {kind: [] for kind in FIELDS})
    for kind in FIELDS:
        trial.equal(f"config.process.capabilities.{kind}", f"{kind} set where all are empty", [], found[kind])


@case("config.process.capabilities.effective", "config.process.capabilities.permitted", needs=("root",))
def in_force(trial: Trial) -> None:
    """Without CAP_CHOWN no owner can be changed, with it one can."""
    for names, error in (([], "EPERM"), (["CHOWN"], "")):
        bundle = trial.bundle()
        bundle.capabilities(*names)
        (bundle.rootfs / "owned").write_text("")
        found = trial.report(bundle, "chown=7:7:/owned")["actions"]["chown=7:7:/owned"]["error"]
        for kind in ("effective", "permitted"):
            trial.equal(
                f"config.process.capabilities.{kind}", f"error of chown with {names or 'no capability'}", error, found
            )


@case("config.process.capabilities.not-granted")
def unknown_capability(trial: Trial) -> None:
    """A capability that no kernel has does not stop the container, and the others are granted."""
    bundle = trial.bundle()
    for names in bundle.process["capabilities"].values():
        names.append("CAP_NO_SUCH_THING")
    container = trial.accepted("config.process.capabilities.not-granted", bundle)
    if container is not None:
        container.start()
        container.wait()
        wanted = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]
        trial.equal(
            "config.process.capabilities.not-granted",
            "effective set",
            wanted,
            names_of(status(trial.facts(container), "CapEff")),
        )
