"""The operations that the runtime itself performs: the same records as the init's, never encoded.

Each kind belongs to one moment of the runtime's way with its init (MOMENTS), and stands in a plan where that is:
before the first of the init's operations, or right after ``map_ids``, ``clone``, ``mounts_ready`` or ``ready``.
"""

from __future__ import annotations

from .ops import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    # Name, D-Bus signature, value, the first version of systemd that has it or 0 for any.
    Property = tuple[str, str, Any, int]

# cgroup_write: optional
REQUIRED = 0
ABSENT_OK = 1  # a missing file does not matter
ALTERNATIVE = 2  # for when the file of the write before is missing; does nothing otherwise

# resctrl_group: existing
MADE = 0  # it must not be there
THERE = 1  # it must
EITHER = 2  # one that is there must have these schemata

# The moments, in order: before the init is spawned, then where it waits for the runtime (launch/wire.py). PID 1
# exists from SCOPE on and has done nothing until after PID; at READY nothing is left for it but the exec.
# The cgroup's operations stand behind systemd_scope where there is one, and are performed with it.
PREPARE, MAPS, SCOPE, PID, MOUNTS, READY = "prepare", "maps", "scope", "pid", "mounts", "ready"

MOMENTS: dict[str, str] = {
    "cgroup_create": PREPARE,
    "cgroup_write": PREPARE,
    "cgroup_devices": PREPARE,
    "uid_map": MAPS,
    "gid_map": MAPS,
    "setgroups_deny": MAPS,
    "same_ids": MAPS,
    "systemd_scope": SCOPE,
    "systemd_attach": SCOPE,
    "resctrl_group": PID,
    "resctrl_join": PID,
    "move_device": PID,
    "hook": MOUNTS,
    "scheduler": READY,
    "io_priority": READY,
}

FIELDS: dict[str, tuple[str, ...]] = {
    "cgroup_create": ("path",),
    "cgroup_write": ("path", "value", "optional"),
    "cgroup_devices": ("path", "rules"),
    "uid_map": ("text",),
    "gid_map": ("text",),
    "setgroups_deny": (),
    "same_ids": ("file", "text"),
    "systemd_scope": ("unit", "user", "properties"),
    "systemd_attach": ("unit", "user", "below"),
    "resctrl_group": ("path", "existing", "schemata"),
    "resctrl_join": ("path",),
    "move_device": ("name", "wanted"),
    "hook": ("kind", "path", "args", "env", "timeout"),
    "scheduler": ("policy", "nice", "priority", "flags", "runtime", "deadline", "period"),
    "io_priority": ("level", "priority"),
}


class ParentOperation(Operation):
    """An operation of the parent: fields() by the table of this module."""

    __slots__ = ()

    def fields(self) -> dict[str, Any]:
        """The values by field name."""
        return dict(zip(FIELDS[self[2]], self[3], strict=True))


def cgroup_create(pointer: str, *, path: str) -> Operation:
    """Make this cgroup directory of the host, and its missing parents."""
    return ParentOperation(("parent", pointer, "cgroup_create", (path,)))


def cgroup_write(pointer: str, *, path: str, value: str, optional: int) -> Operation:
    """Write the value to this file of the host; optional is REQUIRED, ABSENT_OK or ALTERNATIVE."""
    return ParentOperation(("parent", pointer, "cgroup_write", (path, value, optional)))


def cgroup_devices(pointer: str, *, path: str, rules: str) -> Operation:
    """Attach the eBPF program for these device rules (one per line) to this cgroup v2 directory."""
    return ParentOperation(("parent", pointer, "cgroup_devices", (path, rules)))


def uid_map(pointer: str, *, text: str) -> Operation:
    """Write /proc/PID/uid_map of the outer stage (user_namespaces(7)); lines "INSIDE OUTSIDE COUNT"."""
    return ParentOperation(("parent", pointer, "uid_map", (text,)))


def gid_map(pointer: str, *, text: str) -> Operation:
    """Write /proc/PID/gid_map of the outer stage."""
    return ParentOperation(("parent", pointer, "gid_map", (text,)))


def setgroups_deny(pointer: str) -> Operation:
    """Write "deny" to /proc/PID/setgroups: without it the kernel refuses an unprivileged gid_map."""
    return ParentOperation(("parent", pointer, "setgroups_deny", ()))


def same_ids(pointer: str, *, file: str, text: str) -> Operation:
    """Refuse a user namespace that was joined and whose uid_map or gid_map, the file, is another one than the text."""
    return ParentOperation(("parent", pointer, "same_ids", (file, text)))


def systemd_scope(pointer: str, *, unit: str, user: bool, properties: Sequence[Property]) -> Operation:
    """Have systemd, the host's or the user's, make a scope of that name with these properties and PID 1 in it."""
    return ParentOperation(("parent", pointer, "systemd_scope", (unit, user, properties)))


def systemd_attach(pointer: str, *, unit: str, user: bool, below: str) -> Operation:
    """Have systemd move the process of `exec` into that unit's cgroup, or the one below it of that path ("/sub")."""
    return ParentOperation(("parent", pointer, "systemd_attach", (unit, user, below)))


def resctrl_group(pointer: str, *, path: str, existing: int, schemata: Sequence[str]) -> Operation:
    """Make a group of resctrl with these schemata; existing (MADE, THERE, EITHER) says whether it may be there."""
    return ParentOperation(("parent", pointer, "resctrl_group", (path, existing, schemata)))


def resctrl_join(pointer: str, *, path: str) -> Operation:
    """Put PID 1 (or the process of `exec`) into a group of resctrl."""
    return ParentOperation(("parent", pointer, "resctrl_join", (path,)))


def move_device(pointer: str, *, name: str, wanted: str) -> Operation:
    """Move this network device of the runtime's network namespace to PID 1's, under the wanted name or template."""
    return ParentOperation(("parent", pointer, "move_device", (name, wanted)))


def hook(
    pointer: str, *, kind: str, path: str, args: Sequence[str], env: Sequence[str] | None, timeout: int
) -> Operation:
    """Run a prestart or createRuntime hook; env None: the runtime's. timeout in seconds, -1 for none."""
    return ParentOperation(("parent", pointer, "hook", (kind, path, args, env, timeout)))


def scheduler(
    pointer: str, *, policy: int, nice: int, priority: int, flags: int, runtime: int, deadline: int, period: int
) -> Operation:
    """sched_setattr(2) of PID 1; times in nanoseconds."""
    values = (policy, nice, priority, flags, runtime, deadline, period)
    return ParentOperation(("parent", pointer, "scheduler", values))


def io_priority(pointer: str, *, level: int, priority: int) -> Operation:
    """ioprio_set(2) of PID 1; level is an IOPRIO_CLASS_*."""
    return ParentOperation(("parent", pointer, "io_priority", (level, priority)))
