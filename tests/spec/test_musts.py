"""Where the rules come from: each MUST of the specification that a config.json can break, and each check of runc's
validator, with a configuration that breaks it, and what is said of it where.

What needs a look at the host, or a container, names the tests that do it.
"""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import pytest
from plandriver import ORDINARY, V1, plan_of
from spec.test_rules import MAPPING, USER, config, linux, process, range_of, resources, seccomp, user

from ocirun.errors import ConfigError
from ocirun.spec.read import read_spec

TESTS = Path(__file__).resolve().parents[1]

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
BIND = {"destination": "/a", "type": "bind", "source": "/tmp", "options": ["rbind"]}
TMPFS = {"destination": "/a", "type": "tmpfs", "source": "tmpfs"}
CAT = {"type": "c", "path": "/dev/a", "major": 1, "minor": 3}
NOTIFY = {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}


def without(*keys: str) -> Any:
    tree = config()
    at = tree
    for key in keys[:-1]:
        at = at[key]
    del at[keys[-1]]
    return tree


# (where it is said, a configuration that breaks it, the pointer, the beginning of the text)
MUSTS: list[tuple[str, Any, str, str]] = [
    # config.md
    ("Specification version: SemVer", config(ociVersion="1.3"), "/ociVersion", "expected a version"),
    ("Specification version: REQUIRED", without("ociVersion"), "/ociVersion", "required property is missing"),
    ("Valid values: a version that is not supported", config(ociVersion="0.9.0"), "/ociVersion", "expected a version"),
    ("Root: REQUIRED", without("root"), "/root", "required property is missing"),
    ("Root: path REQUIRED", config(root={}), "/root/path", "required property is missing"),
    ("Mounts: destination REQUIRED", config(mounts=[{"type": "tmpfs"}]), "/mounts/0/destination", "required property"),
    ("Mounts: options, a list", config(mounts=[TMPFS | {"options": "ro"}]), "/mounts/0/options", "expected an array"),
    (
        "Mounts: idmap, if there is no user namespace either",
        config(mounts=[BIND | {"options": ["rbind", "idmap"]}]),
        "/mounts/0",
        "expected uidMappings and gidMappings",
    ),
    (
        "Mounts: uidMappings MUST be along with gidMappings",
        config(mounts=[BIND | {"uidMappings": MAPPING}]),
        "/mounts/0/gidMappings",
        "expected mappings along with",
    ),
    (
        "Mounts: gidMappings MUST be along with uidMappings",
        config(mounts=[BIND | {"gidMappings": MAPPING}]),
        "/mounts/0/uidMappings",
        "expected mappings along with",
    ),
    ("Process: consoleSize", process(consoleSize={"width": 80}), "/process/consoleSize/height", "required property"),
    ("Process: cwd MUST be absolute", process(cwd="srv"), "/process/cwd", "expected an absolute path"),
    ("Process: cwd REQUIRED", without("process", "cwd"), "/process/cwd", "required property is missing"),
    ("Process: env, NAME=VALUE", process(env=["A"]), "/process/env/0", "expected NAME=VALUE"),
    ("Process: env, a name", process(env=["=A"]), "/process/env/0", "expected NAME=VALUE"),
    ("Process: args, at least one", process(args=[]), "/process/args", "expected at least the program"),
    (
        "POSIX process: rlimits, what the kernel does not have",
        process(rlimits=[{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        "/process/rlimits/0/type",
        "expected one of RLIMIT_CPU",
    ),
    (
        "POSIX process: rlimits, duplicates",
        process(rlimits=[{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2),
        "/process/rlimits/1/type",
        "expected each limit once",
    ),
    (
        "POSIX process: rlimits, soft MUST match",
        process(rlimits=[{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
        "/process/rlimits/0/soft",
        "expected at most the hard limit",
    ),
    (
        "Linux process: oomScoreAdj MUST be set",
        process(oomScoreAdj=-1001),
        "/process/oomScoreAdj",
        "expected an integer",
    ),
    ("Linux process: scheduler", process(scheduler={"policy": "FIFO"}), "/process/scheduler/policy", "expected one of"),
    ("Linux process: scheduler", process(scheduler={}), "/process/scheduler/policy", "required property is missing"),
    (
        "Linux process: ioPriority",
        process(ioPriority={"class": "IOPRIO_CLASS_NONE", "priority": 1}),
        "/process/ioPriority/class",
        "expected one of",
    ),
    (
        "Linux process: ioPriority, 0 to 7",
        process(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": -1}),
        "/process/ioPriority/priority",
        "expected an integer from 0 to 7",
    ),
    (
        "Linux process: execCPUAffinity",
        process(execCPUAffinity={"initial": "a"}),
        "/process/execCPUAffinity/initial",
        "expected a list of CPUs",
    ),
    ("User: uid", process(user={"uid": -1}), "/process/user/uid", "expected an integer"),
    *[
        (
            f"Hooks: {kind}, path MUST be absolute",
            config(hooks={kind: [{"path": "a"}]}),
            f"/hooks/{kind}/0/path",
            "expected",
        )
        for kind in HOOKS
    ],
    *[
        (
            f"Hooks: {kind}, timeout MUST be greater than zero",
            config(hooks={kind: [{"path": "/a", "timeout": 0}]}),
            f"/hooks/{kind}/0/timeout",
            "expected an integer from 1",
        )
        for kind in HOOKS
    ],
    (
        "Hooks: path REQUIRED",
        config(hooks={"poststop": [{}]}),
        "/hooks/poststop/0/path",
        "required property is missing",
    ),
    ("Annotations: a key MUST NOT be empty", config(annotations={"": "a"}), "/annotations/", "expected a key"),
    ("Annotations: values MUST be strings", config(annotations={"a": 1}), "/annotations/a", "expected a string"),
    ("Annotations: MUST be a map", config(annotations=["a"]), "/annotations", "expected an object"),
    # config-linux.md
    (
        "Namespaces: path MUST be absolute",
        linux(namespaces=[{"type": "pid", "path": "a"}]),
        "/linux/namespaces/0/path",
        "expected an absolute path",
    ),
    (
        "Namespaces: duplicates",
        linux(namespaces=[{"type": "pid"}, {"type": "pid", "path": "/a"}]),
        "/linux/namespaces/1/type",
        "expected each type once",
    ),
    ("Namespaces: type", linux(namespaces=[{"type": "net"}]), "/linux/namespaces/0/type", "expected one of"),
    (
        "User namespace mappings: size",
        user(uids=[{"containerID": 0, "hostID": 1}]),
        "/linux/uidMappings/0/size",
        "required",
    ),
    ("Devices: type", linux(devices=[CAT | {"type": "x"}]), "/linux/devices/0/type", "expected one of"),
    ("Devices: full path", linux(devices=[CAT | {"path": "dev/a"}]), "/linux/devices/0/path", "expected an absolute"),
    (
        "Network devices: a name",
        linux(netDevices={"a b": {}}),
        "/linux/netDevices/a b",
        "expected the name of a network",
    ),
    (
        "Network devices: one name for two",
        linux(netDevices={"a": {"name": "b"}, "b": {}}),
        "/linux/netDevices/b",
        "expected a name that no other device gets",
    ),
    ("Cgroups path: invalid ones", linux(cgroupsPath="/../a"), "/linux/cgroupsPath", 'expected a path without ".."'),
    (
        "Allowed device list: allow",
        resources(devices=[{"access": "r"}]),
        "/linux/resources/devices/0/allow",
        "required",
    ),
    (
        "Allowed device list: access",
        resources(devices=[{"allow": True, "access": "x"}]),
        "/linux/resources/devices/0/access",
        "expected a composition",
    ),
    (
        "Memory: swappiness",
        resources(memory={"swappiness": 200}),
        "/linux/resources/memory/swappiness",
        "expected an int",
    ),
    ("CPU: burst and quota", resources(cpu={"burst": 9, "quota": 8}), "/linux/resources/cpu/burst", "expected at most"),
    (
        "Block IO: a weight or a leafWeight",
        resources(blockIO={"weightDevice": [{"major": 1, "minor": 1}]}),
        "/linux/resources/blockIO/weightDevice/0",
        "expected a weight",
    ),
    (
        "Huge page limits: pageSize",
        resources(hugepageLimits=[{"pageSize": "2M", "limit": 1}]),
        "/linux/resources/hugepageLimits/0/pageSize",
        "expected a page size",
    ),
    ("PIDs: limit", resources(pids={"limit": "a"}), "/linux/resources/pids/limit", "expected an integer"),
    ("RDMA: handles or objects", resources(rdma={"a": {}}), "/linux/resources/rdma/a", "expected hcaHandles"),
    (
        "IntelRdt: memBwSchema MUST start with MB:",
        linux(intelRdt={"memBwSchema": "L3:0=f"}),
        "/linux/intelRdt/memBwSchema",
        "expected one line",
    ),
    (
        "IntelRdt: memBwSchema, newlines",
        linux(intelRdt={"memBwSchema": "MB:0=1\nMB:1=1"}),
        "/linux/intelRdt/memBwSchema",
        "expected one line",
    ),
    ("Seccomp: defaultAction", seccomp(defaultAction="ALLOW"), "/linux/seccomp/defaultAction", "expected one of"),
    (
        "Seccomp: defaultErrnoRet",
        seccomp(defaultErrnoRet=1),
        "/linux/seccomp/defaultErrnoRet",
        "expected none for this",
    ),
    (
        "Seccomp: errnoRet",
        seccomp({"names": ["a"], "action": "SCMP_ACT_LOG", "errnoRet": 1}),
        "/linux/seccomp/syscalls/0/errnoRet",
        "expected none for this",
    ),
    (
        "Seccomp: names, at least one",
        seccomp({"names": [], "action": "SCMP_ACT_LOG"}),
        "/linux/seccomp/syscalls/0/names",
        "expected at least one name",
    ),
    (
        "Seccomp: listenerMetadata MUST NOT be alone",
        seccomp(listenerMetadata="a"),
        "/linux/seccomp/listenerMetadata",
        "expected none without listenerPath",
    ),
    (
        "Seccomp: SCMP_ACT_NOTIFY without a socket",
        seccomp(NOTIFY),
        "/linux/seccomp/syscalls/0/action",
        "expected a listen",
    ),
    ("Rootfs mount propagation", linux(rootfsPropagation="a"), "/linux/rootfsPropagation", "expected one of"),
    ("Masked paths MUST be absolute", linux(maskedPaths=["a"]), "/linux/maskedPaths/0", "expected an absolute path"),
    (
        "Readonly paths MUST be absolute",
        linux(readonlyPaths=["a"]),
        "/linux/readonlyPaths/0",
        "expected an absolute path",
    ),
    ("Memory policy: mode", linux(memoryPolicy={"mode": "BIND"}), "/linux/memoryPolicy/mode", "invalid memory"),
    (
        "Memory policy: nodes",
        linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "x"}),
        "/linux/memoryPolicy/nodes",
        "invalid memory policy nodes: expected a list of nodes",
    ),
    ("Personality: domain", linux(personality={"domain": "BSD"}), "/linux/personality/domain", "expected one of"),
    (
        "Personality: domain REQUIRED",
        linux(personality={}),
        "/linux/personality/domain",
        "required property is missing",
    ),
    # runc's validator, and what its reader of config.json refuses
    ("runc: hostname without uts", config(hostname="a", linux={"namespaces": []}), "/hostname", "a hostname needs"),
    (
        "runc: domainname without uts",
        config(domainname="a", linux={"namespaces": []}),
        "/domainname",
        "a domainname needs",
    ),
    ("runc: masked paths without mount", linux(namespaces=[], maskedPaths=["/a"]), "/linux/maskedPaths", "this needs"),
    (
        "runc: read-only paths without mount",
        linux(namespaces=[], readonlyPaths=["/a"]),
        "/linux/readonlyPaths",
        "this needs",
    ),
    (
        "runc: devices without network",
        linux(namespaces=[], netDevices={"a": {}}),
        "/linux/netDevices",
        "moving a network",
    ),
    ("runc: uidMappings without user", linux(uidMappings=MAPPING), "/linux/uidMappings", "mappings need"),
    ("runc: gidMappings without user", linux(gidMappings=MAPPING), "/linux/gidMappings", "mappings need"),
    (
        "runc: user without gidMappings",
        linux(**{**USER, "gidMappings": []}),
        "/linux/gidMappings",
        "expected at least one",
    ),
    (
        "runc: root is not mapped",
        user(uids=[range_of(1, 1000, 9)], uid=2),
        "/linux/uidMappings",
        "expected a mapping for",
    ),
    (
        "runc: offsets without time",
        linux(timeOffsets={"boottime": {"secs": 1}}),
        "/linux/timeOffsets",
        "an offset needs",
    ),
    (
        "runc: offsets for a time namespace that is joined",
        linux(namespaces=[{"type": "time", "path": "/a"}], timeOffsets={"boottime": {"secs": 1}}),
        "/linux/timeOffsets",
        "expected none for a time namespace that is joined",
    ),
    *[
        (
            f"runc: sysctl of {type}",
            linux(namespaces=[], sysctl={key: "1"}),
            f"/linux/sysctl/{key}",
            "this sysctl needs a",
        )
        for type, key in (
            ("network", "net.ipv4.ip_forward"),
            ("ipc", "kernel.msgmax"),
            ("ipc", "kernel.msgmnb"),
            ("ipc", "kernel.msgmni"),
            ("ipc", "kernel.sem"),
            ("ipc", "kernel.shmall"),
            ("ipc", "kernel.shmmax"),
            ("ipc", "kernel.shmmni"),
            ("ipc", "kernel.shm_rmid_forced"),
            ("ipc", "fs.mqueue.msg_max"),
            ("uts", "kernel.domainname"),
            ("user", "user.max_net_namespaces"),
        )
    ],
    (
        "runc: sysctl of the host",
        linux(sysctl={"vm.swappiness": "1"}),
        "/linux/sysctl/vm.swappiness",
        "expected a sysctl",
    ),
    (
        "runc: sysctl of the hostname",
        linux(sysctl={"kernel.hostname": "a"}),
        "/linux/sysctl/kernel.hostname",
        "expected the",
    ),
    ("runc: closID", linux(intelRdt={"closID": "a/b"}), "/linux/intelRdt/closID", "expected the name of a directory"),
    (
        "runc: options of a file system for a bind mount",
        config(mounts=[BIND | {"options": ["rbind", "size=1"]}]),
        "/mounts/0/options",
        "bind mounts cannot have",
    ),
    (
        "runc: idmap, bind mounts only",
        config(mounts=[TMPFS | {"uidMappings": MAPPING, "gidMappings": MAPPING}]),
        "/mounts/0",
        "idmapped mounts are only supported for bind mounts",
    ),
    (
        "runc: nice",
        process(scheduler={"policy": "SCHED_OTHER", "nice": -21}),
        "/process/scheduler/nice",
        "expected an int",
    ),
    (
        "runc: priority of FIFO",
        process(scheduler={"policy": "SCHED_FIFO", "priority": 100}),
        "/process/scheduler/priority",
        "expected an integer from 1 to 99",
    ),
    (
        "runc: priority of others",
        process(scheduler={"policy": "SCHED_IDLE", "priority": 1}),
        "/process/scheduler/priority",
        "expected a priority only for",
    ),
    (
        "runc: deadline",
        process(scheduler={"policy": "SCHED_RR", "priority": 1, "runtime": 1}),
        "/process/scheduler/runtime",
        "expected a runtime only for",
    ),
    (
        "runc: swap below the limit",
        resources(memory={"limit": 9, "swap": 8}),
        "/linux/resources/memory/swap",
        "expected at",
    ),
    (
        "runc: device rules, type",
        resources(devices=[{"allow": True, "type": "p", "access": "r"}]),
        "/linux/resources/devices/0/type",
        "expected a, b or c",
    ),
    (
        "runc: device rules, access",
        resources(devices=[{"allow": True}]),
        "/linux/resources/devices/0/access",
        "expected a",
    ),
    ("runc: a NUL", config(mounts=[TMPFS | {"source": "a\0"}]), "/mounts/0/source", "expected a string without NUL"),
]

# What shows only on a host, and the tests there.
ELSEWHERE = {
    "Root: a directory MUST exist": "run/test_filesystem.py::test_root_path",
    "runc: the root is no symlink (taken here: it is followed once)": "run/test_filesystem.py::test_root_path",
    "Mounts: in the listed order": "run/test_filesystem.py::test_default_mounts",
    "Process: args, what is not there": "run/test_errors.py::test_executables",
    "Process: consoleSize without a terminal": "run/test_terminal.py::test_rules",
    "Extensibility: unknown properties": "run/test_errors.py::test_a_valid_config_with_nulls_and_unknown_properties",
    "Linux process: capabilities that nobody knows": "run/test_warnings.py::test_create_and_run",
    "Linux process: oomScoreAdj MUST NOT change": "run/test_process.py::test_oom_score_adj",
    "Hooks: failures": "run/test_hooks.py::*",
    "Annotations: unknown keys": "run/test_annotations.py::test_state_and_hooks",
    "Namespaces: path of another type": "run/test_namespaces.py::test_a_path_that_is_no_such_namespace",
    "Namespaces: inherited": "run/test_namespaces.py::test_none_but_mount",
    "Devices: another file exists": "native/test_fs_devices.py::*",
    "Control groups: fit for purpose": "run/test_cgroup.py::*",
    "Unified: on v1": "cgroup/test_resources.py::*",
    "Memory: checkBeforeUpdate": "policy/test_matrix.py::test_a_property_is_what_the_table_says",
    "runc: sysctl of a network that is joined and the caller's": "run/test_namespaces.py::test_sysctl",
    "runc: mappings beside a path": "run/test_namespaces.py::test_mappings_beside_the_path_of_a_user_namespace",
    "runc: [r]private without pivot_root": "plan/test_build.py::test_propagation_without_pivot_root",
    "runc: rootless requires a user namespace": "run/test_callers.py::*",
    "exec: what is wrong with its process": "run/test_exec.py::test_process_file_that_is_wrong",
}


def refusals(tree: Any) -> list[tuple[str, str]]:
    """By types and rules, else by the plan."""
    try:
        plan_of(read_spec("config.json", json.dumps(tree).encode()))
    except ConfigError as error:
        return [(problem.pointer, str(problem.expected)) for problem in error.problems]
    return []


@pytest.mark.parametrize(("source", "tree", "pointer", "text"), MUSTS, ids=[row[0] for row in MUSTS])
def test_must(source: str, tree: Any, pointer: str, text: str) -> None:
    [(place, expected)] = refusals(tree)
    assert place == pointer
    assert expected.startswith(text)


def test_what_they_are_broken_from_is_right() -> None:
    assert refusals(config()) == refusals(user()) == refusals(resources()) == refusals(seccomp()) == []


@pytest.mark.parametrize(
    "mounts", [[BIND | {"options": ["bind", "idmap"], "uidMappings": MAPPING, "gidMappings": MAPPING}]]
)
def test_rootless_musts(mounts: Any) -> None:
    """runc's rules for who is not root."""
    with pytest.raises(ConfigError, match="rootless container requires user namespaces"):
        plan_of(read_spec("config.json", json.dumps(config()).encode()), ORDINARY)
    tree = user()
    tree["mounts"] = mounts
    with pytest.raises(ConfigError, match="idmapped mounts are not supported for rootless containers"):
        plan_of(read_spec("config.json", json.dumps(tree).encode()), ORDINARY)
    assert plan_of(read_spec("config.json", json.dumps(tree).encode()), V1)


@pytest.mark.parametrize("source", ELSEWHERE)
def test_elsewhere(source: str) -> None:
    file, _, name = ELSEWHERE[source].partition("::")
    text = (TESTS / file).read_text()
    defined = [
        line.partition("(")[0].removeprefix("def ") for line in text.splitlines() if line.startswith("def test_")
    ]
    assert fnmatch.filter(defined, name)
