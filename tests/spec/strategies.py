"""Configurations to try the reader, the rules and the schemas with: one that has every property, and what Hypothesis
makes of parts of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Tree = Any
Path = tuple[str | int, ...]


def minimal() -> Tree:
    """What create needs, and no more."""
    return {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["sh"]}}


def full() -> Tree:
    """Every property of the Linux part, with a value that is not its default; valid by types, not by all rules."""
    mapping = [{"containerID": 1, "hostID": 100000, "size": 65536}]
    hook = [{"path": "/bin/true", "args": ["true", "x"], "env": ["A=B"], "timeout": 5}]
    throttle = [{"major": 8, "minor": 16, "rate": 1048576}]
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4], "username": "someone"},
            "args": ["sh", "-c", "true"],
            "commandLine": "sh",
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/srv",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_MKNOD"],
                "effective": ["CAP_CHOWN"],
                "inheritable": ["CAP_MKNOD"],
                "permitted": ["CAP_SETUID", "CAP_CHOWN"],
                "ambient": ["CAP_SETGID"],
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024}],
            "noNewPrivileges": True,
            "apparmorProfile": "profile",
            "oomScoreAdj": 100,
            "scheduler": {
                "policy": "SCHED_DEADLINE",
                "nice": 5,
                "priority": 6,
                "flags": ["SCHED_FLAG_RECLAIM"],
                "runtime": 1000,
                "deadline": 2000,
                "period": 3000,
            },
            "selinuxLabel": "label",
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "execCPUAffinity": {"initial": "0-1", "final": "0,1"},
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "domainname": "example.org",
        "mounts": [
            {
                "destination": "/data",
                "type": "bind",
                "source": "/srv/data",
                "options": ["rbind", "ro"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        ],
        "hooks": {
            kind: hook
            for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
        },
        "annotations": {"org.example": "value"},
        "linux": {
            "devices": [
                {
                    "type": "c",
                    "path": "/dev/fuse",
                    "major": 10,
                    "minor": 229,
                    "fileMode": 438,
                    "uid": 1,
                    "gid": 2,
                }
            ],
            "netDevices": {"eth0": {"name": "container0"}},
            "uidMappings": mapping,
            "gidMappings": mapping,
            "namespaces": [{"type": "network", "path": "/run/netns/a"}, {"type": "mount"}],
            "timeOffsets": {"monotonic": {"secs": 172800, "nanosecs": 5}},
            "resources": {
                "unified": {"memory.high": "1"},
                "devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
                "pids": {"limit": 100},
                "blockIO": {
                    "weight": 10,
                    "leafWeight": 20,
                    "weightDevice": [{"major": 8, "minor": 1, "weight": 500, "leafWeight": 300}],
                    "throttleReadBpsDevice": throttle,
                    "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle,
                    "throttleWriteIOPSDevice": throttle,
                },
                "cpu": {
                    "shares": 1024,
                    "quota": 1000000,
                    "burst": 100,
                    "period": 500000,
                    "realtimeRuntime": 950000,
                    "realtimePeriod": 1000000,
                    "cpus": "2-3",
                    "mems": "0-7",
                    "idle": 1,
                },
                "hugepageLimits": [{"pageSize": "2MB", "limit": 9223372036854771712}],
                "memory": {
                    "limit": 536870912,
                    "reservation": 268435456,
                    "swap": 536870912,
                    "kernel": -1,
                    "kernelTCP": -1,
                    "swappiness": 60,
                    "disableOOMKiller": True,
                    "useHierarchy": True,
                    "checkBeforeUpdate": True,
                },
                "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
                "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
            },
            "cgroupsPath": "/box",
            "rootfsPropagation": "slave",
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 38,
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "listenerPath": "/run/agent.sock",
                "listenerMetadata": "metadata",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [
                    {
                        "names": ["clone", "chmod"],
                        "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 1,
                        "args": [{"index": 1, "value": 2114060288, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}],
                    }
                ],
            },
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "mountLabel": "label",
            "intelRdt": {
                "closID": "group",
                "schemata": ["L3:0=f"],
                "l3CacheSchema": "L3:0=7f0",
                "memBwSchema": "MB:0=20",
                "enableMonitoring": True,
            },
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
            "personality": {"domain": "LINUX32", "flags": ["FLAG"]},
        },
    }


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    511,
    512,
    65535,
    65536,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    10**30,
    1.0,
    0.5,
    1e3,
    1e300,
    "",
    "text",
    "/a",
    "a\0b",
    "ä€😀",
    "cu",
    "4KB",
    "04KB",
    "4kB",
    "RLIMIT_CORE",
    "RLIMIT_X",
    "rslave",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_NOTIFY",
    "network",
    [],
    [None],
    [""],
    ["a", 1],
    ["a\0b"],
    [[]],
    [{}],
    {},
    {"": ""},
    {"": 1},
    {"\n": 1},
    {"a": None},
    {"a": "b"},
    {"a\0b": "c"},
    {"a": {}},
    {"type": "mount", "path": "/a"},
]
"""What is put where it does not belong: the ends of every range, other types, near misses."""


def places(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """The path of every value of a tree."""
    yield path
    if isinstance(tree, dict):
        for key in tree:
            yield from places(tree[key], (*path, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from places(item, (*path, index))


def at(tree: Tree, path: Path) -> Tree:
    """The value at a path."""
    for step in path:
        tree = tree[step]
    return tree


def changed(tree: Tree, path: Path, value: Any) -> Tree:
    """The same tree with another value at a path; what is not on the path is shared with the old one."""
    if not path:
        return value
    result = tree.copy()
    result[path[0]] = changed(tree[path[0]], path[1:], value)
    return result


def removed(tree: Tree, path: Path) -> Tree:
    """The same tree without the value at a path."""
    parent = at(tree, path[:-1]).copy()
    del parent[path[-1]]
    return changed(tree, path[:-1], parent)


def cut(path: Path) -> Tree:
    """The minimal configuration with that part of the full one in which ``path`` is: small, so fast to check."""
    whole, result = full(), minimal()
    depth = next((d for d in (("linux", "resources"), ("linux",), ("process",)) if path[: len(d)] == d), ())
    part = path[: len(depth) + 1]
    for length in range(1, len(part)):
        at(result, part[: length - 1]).setdefault(part[length - 1], {})
    if part:
        at(result, part[:-1])[part[-1]] = at(whole, part)
    return result


SECTIONS: list[Path] = sorted(
    {cut_at for p in places(full()) if p for cut_at in [p[: 3 if p[:2] == ("linux", "resources") else 2]]}, key=repr
)


WHOLE = full()


def grafted(tree: Tree, section: Path, depth: int = 0) -> Tree:
    """The same tree with that section of the full configuration; what is on the way there is made."""
    if depth == len(section):
        return at(WHOLE, section)
    step = section[depth]
    if isinstance(tree, list):
        return [*tree, at(WHOLE, section)] if step == len(tree) and depth == len(section) - 1 else tree
    return {**tree, step: grafted(tree.get(step, {}), section, depth + 1)}


sections = st.lists(st.sampled_from(SECTIONS), min_size=1, max_size=6)
numbers = st.integers(0, 6)
values = st.sampled_from(VALUES)
short_texts = st.text(max_size=5)
kinds = st.sampled_from(["change", "change", "change", "remove", "repeat", "unknown"])


@st.composite
def configurations(draw: st.DrawFn) -> Tree:
    """Some sections of the full configuration, with up to six changes anywhere in them."""
    tree = minimal()
    for section in draw(sections):
        tree = grafted(tree, section)
    for _ in range(draw(numbers)):
        path = draw(st.sampled_from(list(places(tree))))
        if not path:
            continue
        kind = draw(kinds)
        value = at(tree, path)
        if kind == "remove":
            tree = removed(tree, path)
        elif kind == "repeat" and isinstance(value, list) and value:
            tree = changed(tree, path, [*value, value[0]])
        elif kind == "unknown" and isinstance(value, dict):
            tree = changed(tree, path, {**value, draw(short_texts): draw(values)})
        else:
            tree = changed(tree, path, draw(values))
    return tree


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
