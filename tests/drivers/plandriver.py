"""Plans for the tests: fixed hosts, a fixed placement, the bundles of tests/plan/bundles, and a reader of the bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ocirun.plan import ops, parent
from ocirun.plan.build import build
from ocirun.plan.cgroup import CgroupDir, Placement
from ocirun.plan.draft import Options, Plan
from ocirun.plan.fields import FIELDS
from ocirun.plan.host import Hierarchy, Host
from ocirun.spec.model import Spec
from ocirun.spec.read import read_spec
from ocirun.store.state import hook_state

HERE = Path(__file__).parents[1] / "plan"
UNLIMITED = 0xFFFFFFFFFFFFFFFF
FILTER = (struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000), 4)  # "allow", SECCOMP_FILTER_FLAG_SPEC_ALLOW


def _v1(*names: str) -> tuple[Hierarchy, ...]:
    return tuple(
        Hierarchy(
            mountpoint=f"/sys/fs/cgroup/{name.removeprefix('name=')}", controllers=tuple(name.split(",")), own="/"
        )
        for name in names
    )


_LIMITS = (*[UNLIMITED] * 7, 1048576, *[UNLIMITED] * 8)
V1 = Host(
    euid=0,
    in_user_namespace=False,
    unified=False,
    hierarchies=_v1("cpu,cpuacct", "memory", "name=systemd"),
    hard_limits=_LIMITS,
)
V2 = Host(
    euid=0,
    in_user_namespace=False,
    unified=True,
    hierarchies=(Hierarchy(mountpoint="/sys/fs/cgroup", controllers=(), own="/system.slice/caller.service"),),
    kcore=False,
    hard_limits=_LIMITS,
)
ORDINARY = Host(
    euid=1000,
    egid=1000,
    groups=(1000, 27),
    in_user_namespace=False,
    unified=True,
    hierarchies=(Hierarchy(mountpoint="/sys/fs/cgroup", controllers=(), own="/user.slice/session"),),
    may_mount=False,
    may_schedule=False,
    hard_limits=_LIMITS,
)
NESTED = Host(  # root in `unshare -r`
    euid=0,
    in_user_namespace=True,
    unified=False,
    hierarchies=_v1("memory"),
    may_mount=False,
    may_schedule=False,
    setgroups_denied=True,
    hard_limits=_LIMITS,
)
HOSTS = {"v1": V1, "v2": V2, "ordinary": ORDINARY, "nested": NESTED}


def directories(host: Host) -> tuple[CgroupDir, ...]:
    """The container's cgroup /test/box in each hierarchy; none where the caller may not make one."""
    if host.euid or host.in_user_namespace:
        return ()
    return tuple(
        CgroupDir(controllers=h.controllers, path=f"{h.mountpoint}/test/box", mountpoint=h.mountpoint)
        for h in host.hierarchies
    )


def placement(host: Host) -> Placement:
    """Where the cgroup is; only that it is made, since the limits are the cgroup driver's own tests."""
    where = directories(host)
    return Placement(
        directories=where,
        operations=tuple(parent.cgroup_create("/linux/cgroupsPath", path=d.path) for d in where),
    )


def spec_of(bundle: str) -> Spec:
    """A configuration of tests/plan/bundles."""
    path = HERE / "bundles" / f"{bundle}.json"
    return read_spec(str(path), path.read_bytes())


def options_for(spec: Spec, **changes: Any) -> Options:
    """What `create` adds for the container "box" of the bundle /b."""
    values: dict[str, Any] = {
        "id": "box",
        "bundle": "/b",
        "console": spec.process.terminal,
        "state_creating": hook_state("box", "/b", "creating", spec.annotations),
        "state_created": hook_state("box", "/b", "created", spec.annotations),
    }
    return Options(**(values | changes))


def plan_of(spec: Spec, host: Host = V1, **changes: Any) -> Plan:
    """What `create` plans."""
    filter = FILTER if spec.linux.seccomp else None
    return build(spec, host, options_for(spec, **changes), placement(host), filter)


def named(plan: Plan, name: str) -> list[ops.Operation]:
    """The operations of that name."""
    return [operation for operation in plan.operations if operation.name == name]


def position(plan: Plan, name: str, **fields: object) -> int:
    """Where the first operation of that name with those fields is."""
    for index, operation in enumerate(plan.operations):
        if operation.name == name and fields.items() <= operation.fields().items():
            return index
    raise AssertionError(f"no {name} with {fields}")


def decode(data: bytes) -> tuple[int, int, list[tuple[int, ops.Operation]]]:
    """Read an encoded plan as wire.h describes it: the slots, the number of the outer stage's records, and every
    record as its index and operation (without a pointer)."""
    magic, version, total, records, count, outer, strings, slots = struct.unpack_from("<8I", data)
    assert (magic, version, total, records) == (0x6E75726F, 1, len(data), 32)
    assert strings % 8 == 0
    names = list(FIELDS)
    found: list[tuple[int, ops.Operation]] = []
    at = records
    for number in range(count):
        assert at % 8 == 0
        kind, size, index = struct.unpack_from("<HHI", data, at)
        name = names[kind]
        values = _values(data, at + 8, strings, FIELDS[name])
        who = "outer" if number < outer else "init"
        found.append((index, ops.Operation((who, "", name, tuple(values)))))
        at += size
    assert at == strings
    return slots, outer, found


def _values(data: bytes, at: int, strings: int, fields: Sequence[tuple[str, str]]) -> list[object]:
    values: list[object] = []
    for _, kind in fields:
        code = {"u32": "I", "i32": "i", "u64": "Q", "i64": "q"}.get(kind, "II")
        at += -at % (8 if code in "qQ" else 4)
        read = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(f"<{code}")
        if kind == "str":
            values.append(_text(data, strings, *read))
        elif kind == "strv":
            offset, count = read
            assert offset % 4 == 0
            pairs = [struct.unpack_from("<II", data, strings + offset + 8 * n) for n in range(count)]
            values.append(tuple(_text(data, strings, *pair) for pair in pairs))
        elif kind == "blob":
            offset, length = read
            assert offset % 8 == 0
            values.append(data[strings + offset : strings + offset + length])
        else:
            values.append(read[0])
    return values


def _text(data: bytes, strings: int, offset: int, length: int) -> str:
    if not length:
        return ""
    assert data[strings + offset + length] == 0
    return data[strings + offset : strings + offset + length].decode("utf-8", "surrogateescape")
