"""What a configuration must keep beyond types and ranges: rules that span values, and the forms of strings.

They are the MUSTs of config.md and config-linux.md, what runc refuses (as far as no look at the host is needed), and
what the kernel would refuse later with no more than EINVAL. What runc only warns of is in warnings().
"""

from __future__ import annotations

from ..errors import Problem
from ..load import child
from .tables import CAPABILITIES, CLOCKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from . import model

    # (pointer, what would be right, what is there, other pointers that the rule looked at)
    Breach = tuple[str, str, str, tuple[str, ...]]


def check(spec: model.Spec, known: Sequence[Problem] = ()) -> list[Problem]:
    """Every rule that is broken; none whose values are among those ``known`` to be wrong."""
    return _problems(_spec(spec), known)


def check_process(process: model.Process, known: Sequence[Problem] = ()) -> list[Problem]:
    """The same for a process alone, as `exec --process` takes it."""
    return _problems(_process(process, ""), known)


def warnings(spec: model.Spec) -> list[Problem]:
    """What is taken, as runc takes it, but hardly meant."""
    found = []
    if spec.process.capabilities is not None:
        for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
            for index, capability in enumerate(getattr(spec.process.capabilities, name)):
                if capability not in CAPABILITIES:
                    pointer = f"/process/capabilities/{name}/{index}"
                    found.append(Problem(pointer=pointer, expected="ignoring an unknown capability", found=capability))
    for index, mount in enumerate(spec.mounts):
        if mount.destination[:1] != "/":
            pointer = f"/mounts/{index}/destination"
            found.append(Problem(pointer=pointer, expected="taking a relative path from /", found=mount.destination))
    memory = spec.linux.resources.memory if spec.linux.resources else None
    if memory is not None and (memory.kernel is not None or memory.kernel_tcp is not None):
        pointer = f"/linux/resources/memory/{'kernel' if memory.kernel is not None else 'kernelTCP'}"
        found.append(Problem(pointer=pointer, expected="ignoring a limit on kernel memory"))
    return found


def sysctl_path(key: str) -> str:
    """The path below /proc/sys of a sysctl's name.

    As sysctl(8) and runc: the first separator in the name, "." or "/", is the separator of it all, and the other one
    stands for a "." in a component: "net.ipv4.conf.eth0/1.forwarding" and "net/ipv4/conf/eth0.1/forwarding".
    """
    dot, slash = key.find("."), key.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return "/".join([part.replace("/", ".") for part in key.split(".")])


def _problems(breaches: Iterator[Breach], known: Sequence[Problem]) -> list[Problem]:
    return [
        Problem(pointer=pointer, expected=expected, found=found)
        for pointer, expected, found, needs in breaches
        if not known or not any(_related(p.pointer, used) for p in known for used in (pointer, *needs))
    ]


def _related(one: str, other: str) -> bool:
    """One is the other, or is in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _text(value: str) -> str:
    return f'"{value}"' if len(value) <= 40 else f'"{value[:40]}..."'


def _spec(spec: model.Spec) -> Iterator[Breach]:
    if not _is_version_1(spec.oci_version):
        yield "/ociVersion", 'expected version 1 of the specification, such as "1.3.0"', _text(spec.oci_version), ()
    if not spec.root.path:
        yield "/root/path", "expected a path", '""', ()
    yield from _process(spec.process, "/process")
    for index, mount in enumerate(spec.mounts):
        if not mount.destination:
            yield f"/mounts/{index}/destination", "expected a path", '""', ()
        if mount.uid_mappings or mount.gid_mappings:
            yield from _mappings(mount, f"/mounts/{index}")
    for kind, key in (
        (spec.hooks.prestart, "prestart"),
        (spec.hooks.create_runtime, "createRuntime"),
        (spec.hooks.create_container, "createContainer"),
        (spec.hooks.start_container, "startContainer"),
        (spec.hooks.poststart, "poststart"),
        (spec.hooks.poststop, "poststop"),
    ):
        for index, hook in enumerate(kind):
            if hook.path[:1] != "/":
                yield f"/hooks/{key}/{index}/path", "expected an absolute path", _text(hook.path), ()
    if "" in spec.annotations:
        yield "/annotations/", "expected a key", '""', ()
    yield from _namespaces(spec)
    yield from _user_namespace(spec)
    yield from _linux(spec.linux)


def _is_version_1(version: str) -> bool:
    """SemVer 2.0.0 with the major version 1, "1.0.2-dev" and "1.0.0-rc5+build" too."""
    core, plus, build = version.partition("+")
    core, minus, before = core.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and numbers[0] == "1"
        and all(_is_number(number) and (number == "0" or number[0] != "0") for number in numbers)
        and (not minus or all(_is_identifier(part) for part in before.split(".")))
        and (not plus or all(_is_identifier(part) for part in build.split(".")))
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_identifier(text: str) -> bool:
    return text.isascii() and text.replace("-", "0").isalnum()


def _is_list(text: str) -> bool:
    """A list of numbers as the kernel's CPU lists, "0-3,7" (cpuset(7), "List format")."""
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_number(first) or (dash and not (_is_number(last) and int(first) <= int(last))):
            return False
    return True


# process


def _process(process: model.Process, at: str) -> Iterator[Breach]:
    if not process.args:
        yield f"{at}/args", "expected at least the program to run", "no arguments", ()
    if process.cwd[:1] != "/":
        yield f"{at}/cwd", "expected an absolute path", _text(process.cwd), ()
    for index, variable in enumerate(process.env):
        if variable.find("=") <= 0:
            yield f"{at}/env/{index}", "expected NAME=VALUE", _text(variable), ()
    limits = set()
    for index, limit in enumerate(process.rlimits):
        if limit.type in limits:
            yield f"{at}/rlimits/{index}/type", "expected each limit once", f"{limit.type} again", ()
        limits.add(limit.type)
        if limit.soft > limit.hard:
            soft, hard = f"{at}/rlimits/{index}/soft", f"{at}/rlimits/{index}/hard"
            yield soft, f"expected at most the hard limit, {limit.hard}", str(limit.soft), (hard,)
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        yield f"{at}/oomScoreAdj", "expected an integer from -1000 to 1000", str(process.oom_score_adj), ()
    if process.scheduler is not None:
        yield from _scheduler(process.scheduler, f"{at}/scheduler")
    if process.io_priority is not None and not 0 <= process.io_priority.priority <= 7:
        yield f"{at}/ioPriority/priority", "expected an integer from 0 to 7", str(process.io_priority.priority), ()
    if process.exec_cpu_affinity is not None:
        for key in ("initial", "final"):
            value = getattr(process.exec_cpu_affinity, key)
            if value and not _is_list(value):
                yield f"{at}/execCPUAffinity/{key}", 'expected a list of CPUs such as "0-3,7"', _text(value), ()


def _scheduler(scheduler: model.Scheduler, at: str) -> Iterator[Breach]:
    """sched_setattr(2)"""
    policy = (f"{at}/policy",)
    if not -20 <= scheduler.nice <= 19:
        yield f"{at}/nice", "expected an integer from -20 to 19", str(scheduler.nice), ()
    if scheduler.policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= scheduler.priority <= 99:
            expected = f"expected an integer from 1 to 99 for {scheduler.policy}"
            yield f"{at}/priority", expected, str(scheduler.priority), policy
    elif scheduler.priority:
        yield f"{at}/priority", "expected a priority only for SCHED_FIFO and SCHED_RR", str(scheduler.priority), policy
    if scheduler.policy != "SCHED_DEADLINE":
        for key in ("runtime", "deadline", "period"):
            value = getattr(scheduler, key)
            if value:
                yield f"{at}/{key}", f"expected a {key} only for SCHED_DEADLINE", str(value), policy


# linux.namespaces, and what needs a namespace of its own

_NAMESPACES = "/linux/namespaces"


def _namespaces(spec: model.Spec) -> Iterator[Breach]:
    types: dict[str, str | None] = {}
    for index, namespace in enumerate(spec.linux.namespaces):
        if namespace.type in types:
            yield f"{_NAMESPACES}/{index}/type", "expected each type once", f"{namespace.type} again", ()
        types[namespace.type] = namespace.path
        if namespace.path and namespace.path[0] != "/":
            yield f"{_NAMESPACES}/{index}/path", "expected an absolute path", _text(namespace.path), ()

    def needs(type: str, pointer: str, what: str) -> Iterator[Breach]:
        if type not in types:
            yield pointer, f"{what} needs a namespace of its own of type {type}", "none", (_NAMESPACES,)

    for name, key in ((spec.hostname, "hostname"), (spec.domainname, "domainname")):
        if name:
            yield from needs("uts", f"/{key}", f"a {key}")
            if len(name.encode()) > 64:  # __NEW_UTS_LEN
                yield f"/{key}", "expected at most 64 bytes", str(len(name.encode())), ()
    linux = spec.linux
    for paths, key in ((linux.masked_paths, "maskedPaths"), (linux.readonly_paths, "readonlyPaths")):
        if paths:
            yield from needs("mount", f"/linux/{key}", "this")
            for index, path in enumerate(paths):
                if path[:1] != "/":
                    yield f"/linux/{key}/{index}", "expected an absolute path", _text(path), ()
    if linux.net_devices:
        yield from needs("network", "/linux/netDevices", "moving a network device")
    if linux.time_offsets:
        if types.get("time"):
            expected = "expected none for a time namespace that is joined"
            yield "/linux/timeOffsets", expected, "both a path and offsets", (_NAMESPACES,)
        yield from needs("time", "/linux/timeOffsets", "an offset")
    for key in linux.sysctl:
        yield from _sysctl(key, types)


_IPC_SYSCTLS = frozenset(
    (
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    )
)


def _sysctl(key: str, types: dict[str, Any]) -> Iterator[Breach]:
    """A sysctl must belong to a namespace of the container (runc's list), else it would be the host's."""
    pointer, path = child("/linux/sysctl", key), sysctl_path(key)
    if any(part in ("", ".", "..") for part in path.split("/")):
        yield pointer, "expected the name of a sysctl", _text(key), ()
    elif path == "kernel/hostname":
        yield pointer, "expected the name of the host in /hostname", "it as a sysctl", ()
    else:
        if path.startswith("net/"):
            type = "network"
        elif path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
            type = "ipc"
        elif path == "kernel/domainname":
            type = "uts"
        elif path.startswith("user/"):
            type = "user"
        else:
            yield pointer, "expected a sysctl that belongs to a namespace", _text(key), ()
            return
        if type not in types:
            expected = f"this sysctl needs a namespace of its own of type {type}"
            yield pointer, expected, "none", (_NAMESPACES,)


# User namespaces


def _user_namespace(spec: model.Spec) -> Iterator[Breach]:
    linux = spec.linux
    user = next((namespace for namespace in linux.namespaces if namespace.type == "user"), None)
    if user is None:
        for mappings, key in ((linux.uid_mappings, "uidMappings"), (linux.gid_mappings, "gidMappings")):
            if mappings:
                yield f"/linux/{key}", "mappings need a namespace of type user", "none", (_NAMESPACES,)
        return
    if user.path:
        return  # the mappings are those of the namespace; the plan compares
    broken = False
    for breach in _mappings(linux, "/linux"):
        broken = True
        yield breach
    if broken:
        return
    maps = ("/linux/uidMappings", "/linux/gidMappings", _NAMESPACES)
    who = spec.process.user
    if not _is_mapped(who.uid, linux.uid_mappings):
        yield "/process/user/uid", "expected an id that /linux/uidMappings maps", str(who.uid), maps
    if not _is_mapped(who.gid, linux.gid_mappings):
        yield "/process/user/gid", "expected an id that /linux/gidMappings maps", str(who.gid), maps
    for index, gid in enumerate(who.additional_gids):
        if not _is_mapped(gid, linux.gid_mappings):
            pointer = f"/process/user/additionalGids/{index}"
            yield pointer, "expected an id that /linux/gidMappings maps", str(gid), maps


def _is_mapped(id: int, mappings: tuple[model.IdMapping, ...]) -> bool:
    return any(m.container_id <= id < m.container_id + m.size for m in mappings)


def _mappings(owner: model.Linux | model.Mount, at: str) -> Iterator[Breach]:
    """What user_namespaces(7) says of uid_map and gid_map."""
    for mappings, key in ((owner.uid_mappings, "uidMappings"), (owner.gid_mappings, "gidMappings")):
        pointer = f"{at}/{key}"
        if not mappings:
            yield pointer, "expected at least one mapping for the user namespace", "none", ()
        if len(mappings) > 340:
            yield pointer, "expected at most 340 mappings", str(len(mappings)), ()
        for index, mapping in enumerate(mappings):
            if not mapping.size:
                yield f"{pointer}/{index}/size", "expected at least 1", "0", ()
            for field, name in (("container_id", "containerID"), ("host_id", "hostID")):
                first = getattr(mapping, field)
                if first + mapping.size > (1 << 32) - 1:  # (uid_t) -1 is no id
                    expected = "expected ids up to 4294967294"
                    found = f"{first} to {first + mapping.size - 1}"
                    yield f"{pointer}/{index}/{name}", expected, found, (f"{pointer}/{index}/size",)
                elif any(_overlap(first, mapping.size, getattr(m, field), m.size) for m in mappings[:index]):
                    expected = "expected ids that no other mapping has"
                    found = f"{first} to {first + mapping.size - 1}"
                    yield f"{pointer}/{index}/{name}", expected, found, (f"{pointer}/{index}/size",)


def _overlap(one: int, size: int, other: int, other_size: int) -> bool:
    return one < other + other_size and other < one + size


# The rest of linux


def _linux(linux: model.Linux) -> Iterator[Breach]:
    for index, device in enumerate(linux.devices):
        at = f"/linux/devices/{index}"
        if device.path[:1] != "/":
            yield f"{at}/path", "expected an absolute path", _text(device.path), ()
        # Absent ones are 0: Go writes no zeros. 12 and 20 bits: <linux/kdev_t.h>
        if device.major is not None and not 0 <= device.major < 1 << 12:
            yield f"{at}/major", "expected an integer from 0 to 4095", str(device.major), ()
        if device.minor is not None and not 0 <= device.minor < 1 << 20:
            yield f"{at}/minor", "expected an integer from 0 to 1048575", str(device.minor), ()
    names = set()
    for host, interface in linux.net_devices.items():
        at, name = child("/linux/netDevices", host), interface.name or host
        if not _is_interface(host):
            yield at, "expected the name of a network device", _text(host), ()
        if interface.name and not _is_interface(interface.name):
            yield f"{at}/name", "expected the name of a network device", _text(interface.name), ()
        if name in names:
            yield at, "expected a name that no other device gets", _text(name), ()
        names.add(name)
    for clock, offset in linux.time_offsets.items():
        at = child("/linux/timeOffsets", clock)
        if clock not in CLOCKS:
            yield at, "expected monotonic or boottime", _text(clock), ()
        if offset.nanosecs >= 1_000_000_000:
            yield f"{at}/nanosecs", "expected an integer from 0 to 999999999", str(offset.nanosecs), ()
    if linux.cgroups_path and ".." in linux.cgroups_path.split("/"):
        yield "/linux/cgroupsPath", 'expected a path without ".."', _text(linux.cgroups_path), ()
    if linux.resources is not None:
        yield from _resources(linux.resources, "/linux/resources")
    if linux.seccomp is not None:
        yield from _seccomp(linux.seccomp, "/linux/seccomp")
    if linux.intel_rdt is not None:
        yield from _intel_rdt(linux.intel_rdt, "/linux/intelRdt")
    if linux.memory_policy is not None:
        yield from _memory_policy(linux.memory_policy, "/linux/memoryPolicy")


def _is_interface(name: str) -> bool:
    """dev_valid_name() in the kernel's net/core/dev.c"""
    return (
        0 < len(name.encode()) < 16
        and name not in (".", "..")
        and not any(character in "/:" or character.isspace() for character in name)
    )


def _resources(resources: model.Resources, at: str) -> Iterator[Breach]:
    for index, rule in enumerate(resources.devices):
        if rule.type and rule.type not in ("a", "b", "c"):
            yield f"{at}/devices/{index}/type", "expected a, b or c", _text(rule.type), ()
        if not rule.access or rule.access.strip("rwm"):
            found = _text(rule.access) if rule.access is not None else "nothing"
            yield f"{at}/devices/{index}/access", "expected a composition of r, w and m", found, ()
    for key in resources.unified:
        if "/" in key or "." not in key[1:-1]:
            pointer = child(f"{at}/unified", key)
            yield pointer, 'expected a file of cgroup v2 such as "memory.high"', _text(key), ()
    memory = resources.memory
    # 2^64 - 1 is an int -1 that older Dockers wrote for "as it is".
    if memory is not None and memory.swappiness is not None and 100 < memory.swappiness < (1 << 64) - 1:
        yield f"{at}/memory/swappiness", "expected an integer from 0 to 100", str(memory.swappiness), ()
    if resources.block_io is not None:
        for key, weight in (
            ("weight", resources.block_io.weight),
            ("leafWeight", resources.block_io.leaf_weight),
        ):
            if weight and not 10 <= weight <= 1000:  # Docker writes 0 for none
                yield f"{at}/blockIO/{key}", "expected an integer from 10 to 1000", str(weight), ()
        for index, device in enumerate(resources.block_io.weight_device):
            if device.weight is None and device.leaf_weight is None:
                yield f"{at}/blockIO/weightDevice/{index}", "expected a weight, a leafWeight or both", "neither", ()
    for name, limit in resources.rdma.items():
        if limit.hca_handles is None and limit.hca_objects is None:
            yield child(f"{at}/rdma", name), "expected hcaHandles, hcaObjects or both", "neither", ()


_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def _seccomp(seccomp: model.Seccomp, at: str) -> Iterator[Breach]:
    action = seccomp.default_action
    if action == "SCMP_ACT_NOTIFY":
        yield f"{at}/defaultAction", "expected another action than SCMP_ACT_NOTIFY for all", "it", ()
    if seccomp.default_errno_ret is not None and action not in _WITH_ERRNO:
        yield f"{at}/defaultErrnoRet", "expected none for this action", action, (f"{at}/defaultAction",)
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield f"{at}/listenerMetadata", "expected none without listenerPath", "some", (f"{at}/listenerPath",)
    if seccomp.listener_path and seccomp.listener_path[0] != "/":
        yield f"{at}/listenerPath", "expected an absolute path", _text(seccomp.listener_path), ()
    for index, rule in enumerate(seccomp.syscalls):
        here = f"{at}/syscalls/{index}"
        if rule.errno_ret is not None and rule.action not in _WITH_ERRNO:
            yield f"{here}/errnoRet", "expected none for this action", rule.action, (f"{here}/action",)
        if rule.action == "SCMP_ACT_NOTIFY":
            if not seccomp.listener_path:
                expected = "expected a listenerPath for SCMP_ACT_NOTIFY"
                yield f"{here}/action", expected, "none", (f"{at}/listenerPath",)
            if "write" in rule.names:  # the init itself writes after the filter is on
                yield f"{here}/names", "expected another action than SCMP_ACT_NOTIFY for write", "it", ()
        for number, argument in enumerate(rule.args):
            if argument.index > 5:
                yield f"{here}/args/{number}/index", "expected an integer from 0 to 5", str(argument.index), ()


def _intel_rdt(rdt: model.IntelRdt, at: str) -> Iterator[Breach]:
    if rdt.clos_id is not None and (rdt.clos_id in (".", "..") or "/" in rdt.clos_id):
        yield f"{at}/closID", "expected the name of a directory", _text(rdt.clos_id), ()
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield f"{at}/memBwSchema", 'expected one line that begins with "MB:"', _text(rdt.mem_bw_schema), ()


def _memory_policy(policy: model.MemoryPolicy, at: str) -> Iterator[Breach]:
    """set_mempolicy(2)"""
    nodes, flags = policy.nodes or "", policy.flags
    needs = (f"{at}/mode", f"{at}/nodes")
    if nodes and not _is_list(nodes):
        yield f"{at}/nodes", 'expected a list of nodes such as "0-1,3"', _text(nodes), ()
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if nodes:
            yield f"{at}/nodes", f"expected none for {policy.mode}", _text(nodes), needs
    elif policy.mode != "MPOL_PREFERRED" and not nodes:
        yield f"{at}/nodes", f"expected at least one for {policy.mode}", "none", needs
    if "MPOL_F_STATIC_NODES" in flags and "MPOL_F_RELATIVE_NODES" in flags:
        expected = "expected not both of MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES"
        yield f"{at}/flags", expected, "both", ()
    elif not nodes and ("MPOL_F_STATIC_NODES" in flags or "MPOL_F_RELATIVE_NODES" in flags):
        yield f"{at}/flags", "expected nodes for MPOL_F_STATIC_NODES or MPOL_F_RELATIVE_NODES", "none", needs
    if "MPOL_F_NUMA_BALANCING" in flags and policy.mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        expected = "expected MPOL_F_NUMA_BALANCING only for MPOL_BIND and MPOL_PREFERRED_MANY"
        yield f"{at}/flags", expected, policy.mode, needs
