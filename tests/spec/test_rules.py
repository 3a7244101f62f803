"""The rules: each broken once, with what is said of it, and what stands beside it and is right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from spec.strategies import minimal

from ocirun.errors import ConfigError
from ocirun.spec import namespaces, read, tuning, warnings
from ocirun.spec.pointer import child
from ocirun.spec.rules.check import is_doubtful

ALL = ("pid", "network", "ipc", "uts", "mount", "cgroup")
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 1000}]
USER = {"namespaces": [{"type": "user"}], "uidMappings": MAPPING, "gidMappings": MAPPING}


def config(**properties: Any) -> Any:
    """The minimal configuration with other properties: ``process`` and ``linux`` are added to, all else replaces."""
    tree = {**minimal(), **properties}
    tree["process"] = {**minimal()["process"], **properties.get("process", {})}
    tree["linux"] = {"namespaces": [{"type": type} for type in ALL], **properties.get("linux", {})}
    return tree


def broken(tree: Any) -> list[str]:
    try:
        read.read_spec("config.json", json.dumps(tree).encode())
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def linux(**properties: Any) -> Any:
    return config(linux=properties)


def process(**properties: Any) -> Any:
    return config(process=properties)


def resources(**properties: Any) -> Any:
    return linux(resources=properties)


def seccomp(*syscalls: Any, **properties: Any) -> Any:
    return linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(syscalls), **properties})


def user(uids: list[Any] = MAPPING, gids: list[Any] = MAPPING, mounts: Any = (), **who: int | list[int]) -> Any:
    mappings = {"uidMappings": uids, "gidMappings": gids}
    return config(process={"user": who}, mounts=list(mounts), linux={"namespaces": [{"type": "user"}], **mappings})


def range_of(first: int, host: int, size: int) -> Any:
    return {"containerID": first, "hostID": host, "size": size}


VERSION = "expected a version of the specification, from 1.0.0 on"
NODES = "/linux/memoryPolicy/nodes: invalid memory policy nodes: "
FLAGS = "/linux/memoryPolicy/flags: invalid memory policy flag: "
ABSOLUTE = "expected an absolute path"
TEMPLATE = 'expected the name of a network device, or a template for one such as "eth%d"'
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2000, "period": 3000}
DEVICE = {"type": "c", "path": "/dev/a", "major": 1, "minor": 3}
JOINED = {"namespaces": [{"type": "user", "path": "/run/user"}]}
NOTIFY = {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        *[
            (config(ociVersion=version), f'/ociVersion: {VERSION}, found "{version}"')
            for version in (
                "",
                "1",
                "1.0",
                "1.3",
                "v1.0.0",
                "1.0.0 ",
                "1.0.0-",
                "1.0.0+",
                "1.0.0-a..b",
                "1.0.0-rc.5+",
                "1.00.0",
                "1.0.00",
                "01.0.0",
                "1.0.٣",
                "1.0.x",
                "1.3.0.0",
                "-1.0.0",
                "0.9.0",
                "0.6.0-dev",
                "latest",
                f"1.0.{'9' * 36}",
            )
        ],
        (config(root={"path": ""}), '/root/path: expected a path, found ""'),
        (process(args=[]), "/process/args: expected at least the program to run, found no arguments"),
        (process(args=None), "/process/args: expected at least the program to run, found no arguments"),
        (process(cwd=""), f'/process/cwd: {ABSOLUTE}, found ""'),
        (process(cwd="srv"), f'/process/cwd: {ABSOLUTE}, found "srv"'),
        (process(env=["A=", "B"]), '/process/env/1: expected NAME=VALUE, found "B"'),
        (process(env=["=x"]), '/process/env/0: expected NAME=VALUE, found "=x"'),
        (
            process(rlimits=[{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "/process/rlimits/0/soft: expected at most the hard limit, 1, found 2",
        ),
        (
            process(rlimits=[{"type": t, "soft": 1, "hard": 1} for t in ("RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_CORE")]),
            "/process/rlimits/2/type: expected each limit once, found RLIMIT_CORE again",
        ),
        (process(user={"uid": 2**32 - 1}), "/process/user/uid: expected an id up to 4294967294, found 4294967295"),
        (process(user={"gid": 2**32 - 1}), "/process/user/gid: expected an id up to 4294967294, found 4294967295"),
        (
            process(user={"additionalGids": [7, 2**32 - 1]}),
            "/process/user/additionalGids/1: expected an id up to 4294967294, found 4294967295",
        ),
        (
            process(capabilities={"effective": ["CAP_FUTURE", "CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"]}),
            "/process/capabilities/effective/2: expected a capability that is in permitted too, found CAP_CHOWN",
        ),
        (
            process(capabilities={"bounding": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_CHOWN"]}),
            "/process/capabilities/inheritable/1: expected a capability that is in bounding too, found CAP_CHOWN",
        ),
        (process(oomScoreAdj=1001), "/process/oomScoreAdj: expected an integer from -1000 to 1000, found 1001"),
        (
            process(scheduler={"policy": "SCHED_OTHER", "nice": 20}),
            "/process/scheduler/nice: expected an integer from -20 to 19, found 20",
        ),
        (
            process(scheduler={"policy": "SCHED_RR"}),
            "/process/scheduler/priority: expected an integer from 1 to 99 for SCHED_RR, found 0",
        ),
        (
            process(scheduler={**DEADLINE, "priority": 1}),
            "/process/scheduler/priority: expected a priority only for SCHED_FIFO and SCHED_RR, found 1",
        ),
        (
            process(scheduler={"policy": "SCHED_BATCH", "period": 7}),
            "/process/scheduler/period: expected a period only for SCHED_DEADLINE, found 7",
        ),
        (
            process(scheduler={"policy": "SCHED_FIFO", "priority": 100}),
            "/process/scheduler/priority: expected an integer from 1 to 99 for SCHED_FIFO, found 100",
        ),
        (
            process(scheduler={"policy": "SCHED_DEADLINE"}),
            "/process/scheduler/runtime: expected at least 1024 nanoseconds for SCHED_DEADLINE, found 0",
        ),
        (
            process(scheduler={**DEADLINE, "runtime": 2001}),
            "/process/scheduler/runtime: expected at most the deadline of 2000 nanoseconds, found 2001",
        ),
        (
            process(scheduler={**DEADLINE, "deadline": 3001}),
            "/process/scheduler/deadline: expected at most the period of 3000 nanoseconds, found 3001",
        ),
        (
            process(scheduler={**DEADLINE, "period": 2**63}),
            f"/process/scheduler/period: expected less than 2^63 nanoseconds, found {2**63}",
        ),
        (
            process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "/process/ioPriority/priority: expected an integer from 0 to 7, found 8",
        ),
        (
            process(execCPUAffinity={"initial": "0-1,3", "final": "3-1"}),
            '/process/execCPUAffinity/final: expected a list of CPUs such as "0-3,7", below 65536, found "3-1"',
        ),
        (config(mounts=[{"destination": ""}]), '/mounts/0/destination: expected a path, found ""'),
        (
            config(mounts=[{"destination": "/a", "uidMappings": MAPPING}]),
            "/mounts/0/gidMappings: expected mappings along with /mounts/0/uidMappings, found none",
        ),
        (config(hooks={"poststop": [{"path": "rm"}]}), f'/hooks/poststop/0/path: {ABSOLUTE}, found "rm"'),
        (
            config(hooks={"prestart": [{"path": "/a", "timeout": 0}]}),
            "/hooks/prestart/0/timeout: expected an integer from 1 to 9223372036854775807, found 0",
        ),
        (config(annotations={"": "x"}), '/annotations/: expected a key, found ""'),
        (
            linux(namespaces=[{"type": "pid"}, {"type": "uts"}, {"type": "pid", "path": "/a"}]),
            "/linux/namespaces/2/type: expected each type once, found pid again",
        ),
        (
            linux(namespaces=[{"type": "pid", "path": "proc/1/ns/pid"}]),
            f'/linux/namespaces/0/path: {ABSOLUTE}, found "proc/1/ns/pid"',
        ),
        (
            config(hostname="box", linux={"namespaces": []}),
            "/hostname: a hostname needs a namespace of its own of type uts, found none",
        ),
        (
            config(domainname="org", linux={"namespaces": []}),
            "/domainname: a domainname needs a namespace of its own of type uts, found none",
        ),
        (config(hostname="ä" * 33), "/hostname: expected at most 64 bytes, found 66"),
        (
            linux(namespaces=[], maskedPaths=["/proc/kcore"]),
            "/linux/maskedPaths: this needs a namespace of its own of type mount, found none",
        ),
        (
            linux(namespaces=[], readonlyPaths=["/proc/sys"]),
            "/linux/readonlyPaths: this needs a namespace of its own of type mount, found none",
        ),
        (linux(maskedPaths=["/a", "proc"]), f'/linux/maskedPaths/1: {ABSOLUTE}, found "proc"'),
        (linux(readonlyPaths=[""]), f'/linux/readonlyPaths/0: {ABSOLUTE}, found ""'),
        (
            linux(namespaces=[], netDevices={"eth0": {}}),
            "/linux/netDevices: moving a network device needs a namespace of its own of type network, found none",
        ),
        (
            linux(netDevices={"a/b": {}}),
            '/linux/netDevices/a~1b: expected the name of a network device, found "a/b"',
        ),
        (
            linux(netDevices={"eth0": {"name": "sixteen-letters!"}}),
            f'/linux/netDevices/eth0/name: {TEMPLATE}, found "sixteen-letters!"',
        ),
        (linux(netDevices={"eth0": {"name": "a%s"}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found "a%s"'),
        (linux(netDevices={"eth0": {"name": "%d%d"}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found "%d%d"'),
        (linux(netDevices={"eth0": {"name": ".."}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found ".."'),
        (linux(netDevices={"eth0": {"name": "a\tb"}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found "a\\tb"'),
        # à is C3 A0, and A0 is a space for the kernel.
        (linux(netDevices={"eth0": {"name": "à"}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found "à"'),
        (linux(netDevices={"eth0": {"name": "ä" * 8}}), f'/linux/netDevices/eth0/name: {TEMPLATE}, found "ääääääää"'),
        *(
            (
                linux(netDevices={name: {}}),
                f'/linux/netDevices/{name}: expected the name of a network device, found "{name}"',
            )
            for name in ("", ".", "..", "a:b", "a b", "eth%d", "sixteen-letters!")
        ),
        (
            linux(netDevices={"eth0": {}, "eth1": {"name": "eth0"}}),
            '/linux/netDevices/eth1: expected a name that no other device gets, found "eth0"',
        ),
        (
            linux(timeOffsets={"monotonic": {"secs": 1}}),
            "/linux/timeOffsets: an offset needs a namespace of its own of type time, found none",
        ),
        (
            linux(namespaces=[{"type": "time", "path": "/a"}], timeOffsets={"boottime": {}}),
            "/linux/timeOffsets: expected none for a time namespace that is joined, found both a path and offsets",
        ),
        (
            linux(namespaces=[{"type": "time"}], timeOffsets={"realtime": {}}),
            '/linux/timeOffsets/realtime: expected monotonic or boottime, found "realtime"',
        ),
        (
            linux(namespaces=[{"type": "time"}], timeOffsets={"boottime": {"nanosecs": 10**9}}),
            "/linux/timeOffsets/boottime/nanosecs: expected an integer from 0 to 999999999, found 1000000000",
        ),
        (
            linux(uidMappings=MAPPING),
            "/linux/uidMappings: mappings need a namespace of type user, found none",
        ),
        (
            linux(namespaces=[{"type": "user"}], uidMappings=MAPPING),
            "/linux/gidMappings: expected at least one mapping for the user namespace, found none",
        ),
        (user(uids=[range_of(0, 5, 0)]), "/linux/uidMappings/0/size: expected at least 1, found 0"),
        (
            user(gids=[range_of(0, 2**32 - 10, 10)]),
            "/linux/gidMappings/0/hostID: expected ids up to 4294967294, found 4294967286 to 4294967295",
        ),
        (
            user(uids=[range_of(0, 1000, 1), range_of(1, 100000, 1000), range_of(5, 500, 10)]),
            "/linux/uidMappings/2/containerID: expected ids that no other mapping has, found 5 to 14",
        ),
        (
            user(uids=[range_of(0, 1000, 10), range_of(100, 1009, 10)]),
            "/linux/uidMappings/1/hostID: expected ids that no other mapping has, found 1009 to 1018",
        ),
        (
            user(uids=[range_of(2 * i, 2 * i, 1) for i in range(341)]),
            "/linux/uidMappings: expected at most 340 mappings, found 341",
        ),
        (
            user(uids=[range_of(1, 100000, 9)], uid=5),
            "/linux/uidMappings: expected a mapping for root, the id 0, found none",
        ),
        (
            user(mounts=[{"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=1000"]}]),
            "/mounts/0/options/1: expected an id that /linux/gidMappings maps, found gid=1000",
        ),
        (
            user(mounts=[{"destination": "/a", "type": "tmpfs", "options": ["uid=4000", "gid=999", "size=4000"]}]),
            "/mounts/0/options/0: expected an id that /linux/uidMappings maps, found uid=4000",
        ),
        (
            user(uids=[range_of(0, 5, 1)], uid=1),
            "/process/user/uid: expected an id that /linux/uidMappings maps, found 1",
        ),
        (user(gid=1000), "/process/user/gid: expected an id that /linux/gidMappings maps, found 1000"),
        (
            user(additionalGids=[5, 1000]),
            "/process/user/additionalGids/1: expected an id that /linux/gidMappings maps, found 1000",
        ),
        (linux(devices=[{"type": "p", "path": "dev/a"}]), f'/linux/devices/0/path: {ABSOLUTE}, found "dev/a"'),
        (
            linux(devices=[{"type": "c", "path": "/dev/a", "major": 4096, "minor": 0}]),
            "/linux/devices/0/major: expected an integer from 0 to 4095, found 4096",
        ),
        (
            linux(devices=[{"type": "c", "path": "/dev/a", "major": 0, "minor": -1}]),
            "/linux/devices/0/minor: expected an integer from 0 to 1048575, found -1",
        ),
        *[
            (
                linux(cgroupsPath=path),
                f'/linux/cgroupsPath: expected a cgroup below the root of its hierarchy, found "{path}"',
            )
            for path in ("/", "//", ".", "/./")
        ],
        (
            linux(devices=[{"type": "u", "path": "/dev/a", "minor": 1}]),
            '/linux/devices/0/major: expected a number for a device of type "u", found none',
        ),
        (
            linux(devices=[{"type": "b", "path": "/dev/a", "major": 7}]),
            '/linux/devices/0/minor: expected a number for a device of type "b", found none',
        ),
        (
            linux(devices=[DEVICE, DEVICE | {"path": "/dev//./a", "fileMode": 0o600}]),
            '/linux/devices/1/path: expected a path that no other device has, found "/dev//./a"',
        ),
        (
            linux(**USER, devices=[DEVICE | {"uid": 1000}]),
            "/linux/devices/0/uid: expected an id that /linux/uidMappings maps, found 1000",
        ),
        (
            linux(**USER, devices=[DEVICE | {"uid": 999, "gid": 1000}]),
            "/linux/devices/0/gid: expected an id that /linux/gidMappings maps, found 1000",
        ),
        (
            user(uids=[range_of(10**9 + 2 * i, 2 * 10**9 + 2 * i, 1) for i in range(180)]),
            "/linux/uidMappings: expected mappings of at most 4095 bytes as lines of a map, which the kernel takes, "
            "found 4320",
        ),
        (
            config(mounts=[{"destination": "/a", "options": ["bind", "idmap"]}], linux={"namespaces": []}),
            "/mounts/0: expected uidMappings and gidMappings, as there is no user namespace to take them from, "
            "found none",
        ),
        (linux(cgroupsPath="/a/../../b"), '/linux/cgroupsPath: expected a path without "..", found "/a/../../b"'),
        (
            resources(devices=[{"allow": True, "type": "u", "access": "r"}]),
            '/linux/resources/devices/0/type: expected a, b or c, found "u"',
        ),
        (
            resources(devices=[{"allow": True, "access": "rx"}]),
            '/linux/resources/devices/0/access: expected a composition of r, w and m, found "rx"',
        ),
        (
            resources(devices=[{"allow": True}]),
            "/linux/resources/devices/0/access: expected a composition of r, w and m, found nothing",
        ),
        (
            resources(devices=[{"allow": True, "access": "r", "type": "c", "major": -1, "minor": -2}]),
            "/linux/resources/devices/0/minor: expected a number, or -1 for all, found -2",
        ),
        (
            resources(cpu={"quota": 1000, "burst": 1001}),
            "/linux/resources/cpu/burst: expected at most the quota, 1000, found 1001",
        ),
        (
            resources(memory={"limit": 5000, "swap": 4000}),
            "/linux/resources/memory/swap: expected at least the limit, 5000, for memory and swap together, found 4000",
        ),
        (
            linux(sysctl={"kernel.domainname": "d" * 65}),
            f'/linux/sysctl/kernel.domainname: expected at most 64 bytes, found "{"d" * 40}..."',
        ),
        (linux(sysctl={"net.a": "0\n1\n", "net.b": "1\n"}), '/linux/sysctl/net.a: expected one line, found "0\\n1\\n"'),
        (
            linux(sysctl={"net.ipv4.ip_forward": "0", "net/ipv4/ip_forward": "1"}),
            '/linux/sysctl/net~1ipv4~1ip_forward: expected each sysctl once, found "net.ipv4.ip_forward" too',
        ),
        (
            resources(unified={"memory/high": "1"}),
            '/linux/resources/unified/memory~1high: expected a file of cgroup v2 such as "memory.high", '
            'found "memory/high"',
        ),
        (
            resources(unified={"..": "1"}),
            '/linux/resources/unified/..: expected a file of cgroup v2 such as "memory.high", found ".."',
        ),
        (
            resources(memory={"swappiness": 101}),
            "/linux/resources/memory/swappiness: expected an integer from 0 to 100, found 101",
        ),
        (
            resources(blockIO={"weight": 9}),
            "/linux/resources/blockIO/weight: expected an integer from 10 to 1000, found 9",
        ),
        (
            resources(blockIO={"leafWeight": 1001}),
            "/linux/resources/blockIO/leafWeight: expected an integer from 10 to 1000, found 1001",
        ),
        (
            resources(blockIO={"weightDevice": [{"major": 8, "minor": 0}]}),
            "/linux/resources/blockIO/weightDevice/0: expected a weight, a leafWeight or both, found neither",
        ),
        (
            resources(rdma={"mlx5_1": {}}),
            "/linux/resources/rdma/mlx5_1: expected hcaHandles, hcaObjects or both, found neither",
        ),
        (
            seccomp(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/a"),
            "/linux/seccomp/defaultAction: expected another action than SCMP_ACT_NOTIFY for all, found it",
        ),
        (
            seccomp(defaultErrnoRet=1),
            "/linux/seccomp/defaultErrnoRet: expected none for this action, found SCMP_ACT_ALLOW",
        ),
        (
            seccomp({"names": ["a"], "action": "SCMP_ACT_KILL", "errnoRet": 1}),
            "/linux/seccomp/syscalls/0/errnoRet: expected none for this action, found SCMP_ACT_KILL",
        ),
        (
            seccomp(listenerMetadata="x"),
            "/linux/seccomp/listenerMetadata: expected none without listenerPath, found some",
        ),
        (seccomp(listenerPath="a.sock"), f'/linux/seccomp/listenerPath: {ABSOLUTE}, found "a.sock"'),
        (
            seccomp(NOTIFY),
            "/linux/seccomp/syscalls/0/action: expected a listenerPath for SCMP_ACT_NOTIFY, found none",
        ),
        (
            seccomp({**NOTIFY, "names": ["open", "write"]}, listenerPath="/a"),
            "/linux/seccomp/syscalls/0/names: expected another action than SCMP_ACT_NOTIFY for write, found it",
        ),
        (
            seccomp(
                {
                    "names": ["a"],
                    "action": "SCMP_ACT_LOG",
                    "args": [{"index": i, "value": 0, "op": "SCMP_CMP_EQ"} for i in (5, 6)],
                }
            ),
            "/linux/seccomp/syscalls/0/args/1/index: expected an integer from 0 to 5, found 6",
        ),
        (
            linux(intelRdt={"closID": ".."}),
            '/linux/intelRdt/closID: expected the name of a directory, or / for the default group, found ".."',
        ),
        (
            linux(intelRdt={"memBwSchema": "L3:0=f"}),
            '/linux/intelRdt/memBwSchema: expected one line that begins with "MB:", found "L3:0=f"',
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_BIND"}),
            f"{NODES}expected at least one for MPOL_BIND, found none",
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_LOCAL", "nodes": "0"}),
            f'{NODES}expected none for MPOL_LOCAL, found "0"',
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-"}),
            f'{NODES}expected a list of nodes such as "0-1,3", below 1024, found "0-"',
        ),
        (
            linux(
                memoryPolicy={
                    "mode": "MPOL_BIND",
                    "nodes": "0",
                    "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
                }
            ),
            f"{FLAGS}expected not both of MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES, found both",
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}),
            f"{FLAGS}expected nodes for MPOL_F_STATIC_NODES or MPOL_F_RELATIVE_NODES, found none",
        ),
        (
            linux(memoryPolicy={"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            f"{FLAGS}expected MPOL_F_NUMA_BALANCING only for MPOL_BIND and MPOL_PREFERRED_MANY, "
            "found MPOL_INTERLEAVE",
        ),
    ],
)
def test_broken(tree: Any, message: str) -> None:
    assert broken(tree) == [message]


@pytest.mark.parametrize(
    "tree",
    [
        *[
            config(ociVersion=version)
            for version in (
                "1.0.0",
                "1.0.2-dev",
                "1.1.0",
                "1.1.0+dev",
                "1.1.0-rc.3",
                "1.2.1+dev",
                "1.3.0",
                "1.3.0-rc1",
                "1.3.99-a.b-c.0+d",
                "1.0.0-rc5",
                "1.0.0-rc5-dev",
            )
        ],
        config(root={"path": "/"}),
        process(rlimits=[{"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1}]),
        process(scheduler=DEADLINE),
        process(scheduler={"policy": "SCHED_FIFO", "priority": 99, "nice": -20}),
        process(scheduler={"policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_KEEP_POLICY"]}),
        process(scheduler={"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_KEEP_PARAMS"]}),
        process(scheduler={**DEADLINE, "period": 0}),
        process(execCPUAffinity={"initial": "", "final": " 0-1, ,65535,"}),
        process(capabilities={"bounding": ["CAP_FUTURE", "chown"]}),
        process(env=["A==", "a b=c", "A="]),
        config(mounts=[{"destination": "relative", "type": "tmpfs"}]),
        config(hostname="", linux={"namespaces": []}),
        config(hostname="a" * 64),
        # What a pod's containers have: the namespace of another container.
        config(hostname="a", linux={"namespaces": [{"type": "uts", "path": "/proc/1/ns/uts"}]}),
        linux(namespaces=[], uidMappings=[], gidMappings=None),
        linux(namespaces=[{"type": "user", "path": "/a"}], uidMappings=MAPPING),
        linux(namespaces=[{"type": "user", "path": "/a"}]),
        user(uids=[range_of(0, 1000, 1), range_of(1, 100000, 999)], gids=[range_of(0, 0, 2**32 - 1)]),
        linux(namespaces=[{"type": "time"}], timeOffsets={"boottime": {"secs": -5}}),
        linux(devices=[{"type": "p", "path": "/dev/a"}, DEVICE | {"path": "/dev/b", "minor": 2**20 - 1}]),
        linux(devices=[DEVICE, DEVICE, DEVICE | {"path": "/dev/b"}]),
        config(mounts=[{"destination": "/a", "options": ["rbind", "ridmap"]}], linux=JOINED),
        linux(cgroupsPath="system.slice:ocirun:..id"),
        linux(rootfsPropagation=""),
        resources(blockIO={"weight": 0}, memory={"swappiness": 2**64 - 1}),
        resources(unified={"hugetlb.1GB.max": "1"}),
        seccomp(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=38),
        seccomp(NOTIFY, listenerPath="/a", listenerMetadata="x"),
        linux(memoryPolicy={"mode": "MPOL_PREFERRED"}),
        linux(memoryPolicy={"mode": "MPOL_PREFERRED", "nodes": "0-1023"}),
        linux(memoryPolicy={"mode": "MPOL_DEFAULT", "nodes": ""}),
        linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0, 2-3"}),
    ],
)
def test_right(tree: Any) -> None:
    assert broken(tree) == []


SYSCTLS = {
    "network": ("net.ipv4.ip_forward", "net/ipv4/ip_forward", "net.ipv4.conf.eth0/1.forwarding"),
    "ipc": ("kernel.shmmax", "kernel/sem", "fs.mqueue.msg_max", "kernel.shm_rmid_forced"),
    "uts": ("kernel.domainname",),
    "user": ("user.max_user_namespaces",),
}


@pytest.mark.parametrize(("type", "key"), [(type, key) for type, keys in SYSCTLS.items() for key in keys])
def test_a_sysctl_needs_its_namespace(type: str, key: str) -> None:
    user_namespace = {"uidMappings": MAPPING, "gidMappings": MAPPING} if type == "user" else {}
    assert broken(linux(namespaces=[{"type": type}], sysctl={key: "1"}, **user_namespace)) == []
    others = [{"type": other} for other in ("network", "ipc", "uts", "mount", "pid") if other != type]
    pointer = child("/linux/sysctl", key)
    message = f"{pointer}: this sysctl needs a namespace of its own of type {type}, found none"
    assert broken(linux(namespaces=others, sysctl={key: "1"})) == [message]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("kernel.core_pattern", "expected a sysctl that belongs to a namespace"),
        ("vm.swappiness", "expected a sysctl that belongs to a namespace"),
        ("netx.ipv4", "expected a sysctl that belongs to a namespace"),
        ("net", "expected a sysctl that belongs to a namespace"),
        ("kernel.hostname", "expected the name of the host in /hostname"),
        ("kernel/hostname", "expected the name of the host in /hostname"),
        ("net/../kernel/core_pattern", "expected the name of a sysctl"),
        ("net.//.kernel.core_pattern", "expected the name of a sysctl"),
        ("net..ipv4", "expected the name of a sysctl"),
        ("net.ipv4.", "expected the name of a sysctl"),
        ("/kernel/core_pattern", "expected the name of a sysctl"),
        ("", "expected the name of a sysctl"),
    ],
)
def test_a_sysctl_of_the_host_is_refused(key: str, found: str) -> None:
    [message] = broken(linux(namespaces=[{"type": type} for type in ALL], sysctl={key: "1"}))
    assert message.startswith(f"{child('/linux/sysctl', key)}: {found}")


def test_the_path_of_a_sysctl() -> None:
    assert namespaces.sysctl_path("net.ipv4.ip_forward") == "net/ipv4/ip_forward"
    assert namespaces.sysctl_path("net/ipv4/conf/eth0.1/forwarding") == "net/ipv4/conf/eth0.1/forwarding"
    assert namespaces.sysctl_path("net.ipv4.conf.eth0/1.forwarding") == "net/ipv4/conf/eth0.1/forwarding"
    assert namespaces.sysctl_path("kernel") == "kernel"


def test_lists_of_numbers() -> None:
    assert tuning.members("0-3,7") == 0b10001111
    assert tuning.members(" 5 ,, 2-2,5", 6) == 0b100100
    for wrong in ("", ",", "x", "1-", "-1", "3-1", "1--2", "1-2-3", "0 - 1", "٣", "6", "0-6", "9" * 5000, "+1", "1_0"):
        assert tuning.members(wrong, 6) == 0, wrong
    assert tuning.members("0" * 5000 + "1", 6) == 2


def test_rules_are_silent_about_values_that_are_wrong_by_themselves() -> None:
    tree = config(hostname="box", linux={"namespaces": [{"type": "utz"}], "sysctl": {"net.a": "1", "vm.a": "1"}})
    [first, second] = broken(tree)
    assert first.startswith("/linux/namespaces/0/type: expected one of")
    assert second.startswith("/linux/sysctl/vm.a: expected a sysctl that belongs to a namespace")


CAPABILITIES = {kind: ["CAP_KILL", "CAP_CHOWN"] for kind in ("bounding", "effective", "inheritable", "permitted")}
JOINED = {"namespaces": [{"type": "user", "path": "/a"}], "uidMappings": MAPPING, "gidMappings": MAPPING}


@pytest.mark.parametrize(
    ("tree", "messages"),
    [
        *[
            (
                config(ociVersion=version),
                [f"/ociVersion: ignoring what is newer than version 1.3 of the specification, found {version}"],
            )
            for version in ("1.4.0", "1.4.0-dev", "1.30.0", "2.0.0", "10.0.1+x")
        ],
        (
            process(
                capabilities={**CAPABILITIES, "bounding": ["CAP_KILL", "CAP_FUTURE", "CAP_CHOWN"], "ambient": ["kill"]}
            ),
            [
                "/process/capabilities/bounding/1: ignoring an unknown capability, found CAP_FUTURE",
                "/process/capabilities/ambient/0: ignoring an unknown capability, found kill",
            ],
        ),
        *[
            (
                process(capabilities={**CAPABILITIES, "ambient": ["CAP_KILL", "CAP_CHOWN"], **less}),
                [
                    "/process/capabilities/ambient: can't raise ambient capability that is not permitted and "
                    "inheritable, found CAP_CHOWN"
                ],
            )
            for less in ({"inheritable": ["CAP_KILL"]}, {"permitted": ["CAP_KILL"], "effective": []})
        ],
        (
            config(mounts=[{"destination": "/a"}, {"destination": "b"}]),
            ["/mounts/1/destination: taking a relative path from /, found b"],
        ),
        (
            resources(memory={"kernelTCP": 5, "kernel": 6}),
            ["/linux/resources/memory/kernel: ignoring a limit on kernel memory, found 6"],
        ),
        (
            linux(personality={"domain": "LINUX", "flags": ["A"]}),
            ["/linux/personality/flags/0: ignoring a flag: there are none, found A"],
        ),
        (
            linux(**JOINED),
            [
                f"/linux/{key}: expected none beside the path of a user namespace, which has its own, found both"
                for key in ("uidMappings", "gidMappings")
            ],
        ),
        (
            linux(
                devices=[
                    {"type": "c", "path": "/dev/a", "major": 1, "minor": 3},
                    {"type": "b", "path": "/dev/b", "major": 1, "minor": 3},
                    {"type": "u", "path": "/dev/c", "major": 1, "minor": 3},
                ]
            ),
            ["/linux/devices/2: making the same device twice, found that of /linux/devices/0"],
        ),
    ],
)
def test_warnings(tree: Any, messages: list[str]) -> None:
    spec = read.read_spec("config.json", json.dumps(tree).encode())
    assert is_doubtful(spec)
    assert [str(problem) for problem in warnings.warnings(spec)] == messages


@pytest.mark.parametrize(
    "tree",
    [
        minimal(),
        process(capabilities={**CAPABILITIES, "ambient": ["CAP_CHOWN"]}),
        config(mounts=[{"destination": "/a"}]),
        resources(memory={"limit": 5, "kernelTCP": 5}),
        config(ociVersion="1.3.9"),
        {key: value for key, value in minimal().items() if key != "process"},
        user(),
    ],
)
def test_no_warnings(tree: Any) -> None:
    """And create does not even load the module that would find some."""
    spec = read.read_spec("config.json", json.dumps(tree).encode())
    assert not is_doubtful(spec)
    assert warnings.warnings(spec) == []
