"""Tree → records: types, ranges, names and required properties (runtime-spec config.md and config-linux.md).

One table per object says which property goes into which field and how its value is read. A reader takes the value,
where it stands and the list of problems; when the value is wrong it adds a problem and returns something of the right
type, so that one pass finds everything. What depends on more than one value is in rules.py.

A property that is null is absent; properties that no table has are ignored, as are the sections of other platforms.
"""

from __future__ import annotations

import posix
from _stat import S_ISDIR, S_ISREG

from ..errors import ConfigError, Error, Problem, reason_of
from ..load import check_size, child, parse
from . import model, rules
from .tables import (
    IO_CLASSES,
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    NAMESPACES,
    PERSONALITIES,
    PROPAGATIONS,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from ..record import Record

    # A place is (place of the parent, key or index), None at the top: made for every value, so it must be cheap.
    Place = tuple["Place", str | int] | None
    Reader = Callable[[Any, Place, list[Problem]], Any]
    Field = tuple[str, str, Reader]


class BundleError(Error):
    """The bundle has no config.json that can be read."""


def read_config(bundle: str) -> tuple[model.Spec, bytes]:
    """Read a bundle's config.json. Returns it with its bytes.

    :raises BundleError: no such file, or no regular file
    :raises ConfigError: it is invalid
    """
    data = read_bytes(f"{bundle}/config.json", "config.json")
    return read_spec("config.json", data), data


def read_bytes(path: str, name: str) -> bytes:
    """The content of an input file, ``name`` in messages.

    :raises BundleError: no such file, or no regular file (a FIFO would block, a device has no end)
    :raises ConfigError: it is larger than parse() takes
    """
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except FileNotFoundError:
        raise BundleError(f"JSON specification file {name} not found") from None
    except OSError as error:
        raise BundleError(f"open {name}: {reason_of(error.errno or 0)}") from None
    try:
        status = posix.fstat(fd)
        if not S_ISREG(status.st_mode):
            raise BundleError(f"open {name}: {'is a directory' if S_ISDIR(status.st_mode) else 'not a regular file'}")
        check_size(name, status.st_size)
        chunks = []
        while chunk := posix.read(fd, status.st_size + 1):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError as error:
        raise BundleError(f"read {name}: {reason_of(error.errno or 0)}") from None
    finally:
        posix.close(fd)


def read_spec(path: str, data: bytes) -> model.Spec:
    """A whole configuration.

    :raises ConfigError: with every problem, of types and of rules, in the order of the document
    """
    tree = parse(path, data)
    problems: list[Problem] = []
    spec = read_tree(tree, problems)
    problems += rules.check(spec, problems)
    if problems:
        raise ConfigError(path, in_order(tree, problems))
    return spec


def read_tree(tree: Any, problems: list[Problem]) -> model.Spec:
    """The records of a tree, without rules. What is wrong is added to ``problems``, and neutral in the records."""
    spec: model.Spec = _spec(tree, None, problems)
    return spec


def read_process(path: str, data: bytes) -> model.Process:
    """A process alone, as `exec --process` takes it.

    :raises ConfigError: with every problem, in the order of the document
    """
    tree = parse(path, data)
    problems: list[Problem] = []
    process: model.Process = _process(tree, None, problems)
    problems += rules.check_process(process, problems)
    if problems:
        raise ConfigError(path, in_order(tree, problems))
    return process


def in_order(tree: Any, problems: list[Problem]) -> tuple[Problem, ...]:
    """Problems sorted by where they are in the document; of what is missing after what is there."""

    def position(problem: Problem) -> list[int]:
        at, steps = tree, []
        for token in problem.pointer.split("/")[1:]:
            key = token.replace("~1", "/").replace("~0", "~")
            if type(at) is dict:
                keys = list(at)
                steps.append(keys.index(key) if key in at else len(keys))
                at = at.get(key)
            else:
                steps.append(int(key) if key.isdecimal() else 0)
                at = at[steps[-1]] if type(at) is list and steps[-1] < len(at) else None
        return steps

    return tuple(sorted(problems, key=position))


def pointer_to(place: Place) -> str:
    """The JSON pointer of a place."""
    if place is None:
        return ""
    parent, key = place
    return child(pointer_to(parent), str(key))


def describe(value: Any) -> str:
    """A value of a tree, short enough for a message."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        text = repr(value[:40])[1:-1]
        return f'"{text}"' if len(value) <= 40 else f'"{text}..."'
    if type(value) is dict:
        return "an object"
    if type(value) is list:
        return "an array" if value else "an empty array"
    text = str(value)
    return text if len(text) <= 40 else f"a number of {len(text)} digits"


def _wrong(expected: str, value: Any, place: Place, problems: list[Problem]) -> None:
    problems.append(Problem(pointer=pointer_to(place), expected=f"expected {expected}", found=describe(value)))


# Readers of single values


def _string(value: Any, place: Place, problems: list[Problem]) -> str:
    # A NUL would end it early in every system call.
    if type(value) is str and "\0" not in value:
        return value
    _wrong("a string" if type(value) is not str else "a string without NUL characters", value, place, problems)
    return ""


def _boolean(value: Any, place: Place, problems: list[Problem]) -> bool:
    if value is True or value is False:
        return value
    _wrong("true or false", value, place, problems)
    return False


def _integer(low: int, high: int) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> int:
        # As Go's decoder: 1.0 and 1e3 are no integers.
        if type(value) is int and low <= value <= high:
            return value
        _wrong(f"an integer from {low} to {high}", value, place, problems)
        return 0

    return read


_int32 = _integer(-(1 << 31), (1 << 31) - 1)
_int64 = _integer(-(1 << 63), (1 << 63) - 1)
_uint16 = _integer(0, (1 << 16) - 1)
_uint32 = _integer(0, (1 << 32) - 1)
_uint64 = _integer(0, (1 << 64) - 1)


def _one_of(names: Collection[str]) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> str:
        if type(value) is str and value in names:
            return value
        listed = ", ".join(sorted(names) if type(names) is frozenset else names)
        _wrong(f"one of {listed}", value, place, problems)
        return ""

    return read


def _page_size(value: Any, place: Place, problems: list[Problem]) -> str:
    """As in the names of the hugetlb controller's files, "2MB"."""
    if type(value) is str and value[-2:] in ("KB", "MB", "GB"):
        digits = value[:-2]
        if digits.isascii() and digits.isdigit() and digits[0] != "0":
            return value
    _wrong('a page size such as "2MB"', value, place, problems)
    return ""


_propagations = _one_of(PROPAGATIONS)


def _propagation(value: Any, place: Place, problems: list[Problem]) -> Any:
    """runc takes "" for none."""
    return None if value == "" else _propagations(value, place, problems)


# Readers of compound values


def _strings(value: Any, place: Place, problems: list[Problem]) -> tuple[str, ...]:
    if type(value) is list:
        try:  # join checks the types of all in one call
            if "\0" not in "".join(value):
                return tuple(value)
        except TypeError:
            pass
    return _slow_strings(value, place, problems)  # type: ignore[no-any-return]


def _array(reader: Reader) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> tuple[Any, ...]:
        if type(value) is list:
            return tuple([reader(item, (place, index), problems) for index, item in enumerate(value)])
        _wrong("an array", value, place, problems)
        return ()

    return read


_slow_strings = _array(_string)


def _names(value: Any, place: Place, problems: list[Problem]) -> tuple[str, ...]:
    names = _strings(value, place, problems)
    if value == []:
        _wrong("at least one name", value, place, problems)
    return names


def _map(reader: Reader) -> Reader:
    def read(value: Any, place: Place, problems: list[Problem]) -> dict[str, Any]:
        if type(value) is dict:
            for key in value:
                if "\0" in key:
                    _wrong("a key without NUL characters", key, (place, key), problems)
            return {key: reader(item, (place, key), problems) for key, item in value.items()}
        _wrong("an object", value, place, problems)
        return {}

    return read


_string_map = _map(_string)


def _record(cls: type[Record], *fields: Field) -> Reader:
    """The reader of an object: ``fields`` are (property, field of ``cls``, reader of the value)."""
    defaults = cls._fields
    required = type(cls)  # what stands for "no default", see record.py

    def read(value: Any, place: Place, problems: list[Problem]) -> Any:
        if type(value) is not dict:
            _wrong("an object", value, place, problems)
            value = None
        get = (value or {}).get
        record = cls.__new__(cls)  # __init__ would look at every field again
        values = record.__dict__
        for key, field, reader in fields:
            item = get(key)
            if item is not None:
                values[field] = reader(item, (place, key), problems)
            elif defaults[field] is required:
                if value is not None:
                    missing = pointer_to((place, key))
                    problems.append(Problem(pointer=missing, expected="required property is missing"))
                values[field] = reader(None, None, [])
        return record

    return read


# The tables

_user = _record(
    model.User,
    ("uid", "uid", _uint32),
    ("gid", "gid", _uint32),
    ("umask", "umask", _uint32),
    ("additionalGids", "additional_gids", _array(_uint32)),
    ("username", "username", _string),
)

_process = _record(
    model.Process,
    ("terminal", "terminal", _boolean),
    (
        "consoleSize",
        "console_size",
        _record(model.ConsoleSize, ("height", "height", _uint64), ("width", "width", _uint64)),
    ),
    ("user", "user", _user),
    ("args", "args", _strings),
    ("commandLine", "command_line", _string),
    ("env", "env", _strings),
    ("cwd", "cwd", _string),
    (
        "capabilities",
        "capabilities",
        _record(
            model.Capabilities,
            ("bounding", "bounding", _strings),
            ("effective", "effective", _strings),
            ("inheritable", "inheritable", _strings),
            ("permitted", "permitted", _strings),
            ("ambient", "ambient", _strings),
        ),
    ),
    (
        "rlimits",
        "rlimits",
        _array(
            _record(
                model.Rlimit,
                ("type", "type", _one_of(RLIMITS)),
                ("hard", "hard", _uint64),
                ("soft", "soft", _uint64),
            )
        ),
    ),
    ("noNewPrivileges", "no_new_privileges", _boolean),
    ("apparmorProfile", "apparmor_profile", _string),
    ("oomScoreAdj", "oom_score_adj", _int64),
    (
        "scheduler",
        "scheduler",
        _record(
            model.Scheduler,
            ("policy", "policy", _one_of(SCHEDULER_POLICIES)),
            ("nice", "nice", _int32),
            ("priority", "priority", _int32),
            ("flags", "flags", _array(_one_of(SCHEDULER_FLAGS))),
            ("runtime", "runtime", _uint64),
            ("deadline", "deadline", _uint64),
            ("period", "period", _uint64),
        ),
    ),
    ("selinuxLabel", "selinux_label", _string),
    (
        "ioPriority",
        "io_priority",
        _record(model.IoPriority, ("class", "class_", _one_of(IO_CLASSES)), ("priority", "priority", _int32)),
    ),
    (
        "execCPUAffinity",
        "exec_cpu_affinity",
        _record(model.CpuAffinity, ("initial", "initial", _string), ("final", "final", _string)),
    ),
)

_id_mappings = _array(
    _record(
        model.IdMapping,
        ("containerID", "container_id", _uint32),
        ("hostID", "host_id", _uint32),
        ("size", "size", _uint32),
    )
)

_mount = _record(
    model.Mount,
    ("destination", "destination", _string),
    ("type", "type", _string),
    ("source", "source", _string),
    ("options", "options", _strings),
    ("uidMappings", "uid_mappings", _id_mappings),
    ("gidMappings", "gid_mappings", _id_mappings),
)

_hooks = _array(
    _record(
        model.Hook,
        ("path", "path", _string),
        ("args", "args", _strings),
        ("env", "env", _strings),
        ("timeout", "timeout", _integer(1, (1 << 63) - 1)),
    )
)

_throttle_devices = _array(
    _record(
        model.ThrottleDevice,
        ("major", "major", _int64),
        ("minor", "minor", _int64),
        ("rate", "rate", _uint64),
    )
)

_resources = _record(
    model.Resources,
    ("unified", "unified", _string_map),
    (
        "devices",
        "devices",
        _array(
            _record(
                model.DeviceRule,
                ("allow", "allow", _boolean),
                ("type", "type", _string),
                ("major", "major", _int64),
                ("minor", "minor", _int64),
                ("access", "access", _string),
            )
        ),
    ),
    ("pids", "pids", _record(model.Pids, ("limit", "limit", _int64))),
    (
        "blockIO",
        "block_io",
        _record(
            model.BlockIo,
            ("weight", "weight", _uint16),
            ("leafWeight", "leaf_weight", _uint16),
            (
                "weightDevice",
                "weight_device",
                _array(
                    _record(
                        model.WeightDevice,
                        ("major", "major", _int64),
                        ("minor", "minor", _int64),
                        ("weight", "weight", _uint16),
                        ("leafWeight", "leaf_weight", _uint16),
                    )
                ),
            ),
            ("throttleReadBpsDevice", "throttle_read_bps_device", _throttle_devices),
            ("throttleWriteBpsDevice", "throttle_write_bps_device", _throttle_devices),
            ("throttleReadIOPSDevice", "throttle_read_iops_device", _throttle_devices),
            ("throttleWriteIOPSDevice", "throttle_write_iops_device", _throttle_devices),
        ),
    ),
    (
        "cpu",
        "cpu",
        _record(
            model.Cpu,
            ("shares", "shares", _uint64),
            ("quota", "quota", _int64),
            ("burst", "burst", _uint64),
            ("period", "period", _uint64),
            ("realtimeRuntime", "realtime_runtime", _int64),
            ("realtimePeriod", "realtime_period", _uint64),
            ("cpus", "cpus", _string),
            ("mems", "mems", _string),
            ("idle", "idle", _int64),
        ),
    ),
    (
        "hugepageLimits",
        "hugepage_limits",
        _array(_record(model.HugepageLimit, ("pageSize", "page_size", _page_size), ("limit", "limit", _uint64))),
    ),
    (
        "memory",
        "memory",
        _record(
            model.Memory,
            ("limit", "limit", _int64),
            ("reservation", "reservation", _int64),
            ("swap", "swap", _int64),
            ("kernel", "kernel", _int64),
            ("kernelTCP", "kernel_tcp", _int64),
            ("swappiness", "swappiness", _uint64),
            ("disableOOMKiller", "disable_oom_killer", _boolean),
            ("useHierarchy", "use_hierarchy", _boolean),
            ("checkBeforeUpdate", "check_before_update", _boolean),
        ),
    ),
    (
        "network",
        "network",
        _record(
            model.Network,
            ("classID", "class_id", _uint32),
            (
                "priorities",
                "priorities",
                _array(_record(model.InterfacePriority, ("name", "name", _string), ("priority", "priority", _uint32))),
            ),
        ),
    ),
    (
        "rdma",
        "rdma",
        _map(_record(model.Rdma, ("hcaHandles", "hca_handles", _uint32), ("hcaObjects", "hca_objects", _uint32))),
    ),
)

_syscalls = _array(
    _record(
        model.Syscall,
        ("names", "names", _names),
        ("action", "action", _one_of(SECCOMP_ACTIONS)),
        ("errnoRet", "errno_ret", _uint32),
        (
            "args",
            "args",
            _array(
                _record(
                    model.SyscallArg,
                    ("index", "index", _uint32),
                    ("value", "value", _uint64),
                    ("valueTwo", "value_two", _uint64),
                    ("op", "op", _one_of(SECCOMP_OPERATORS)),
                )
            ),
        ),
    )
)

_seccomp_fields = _record(
    model.Seccomp,
    ("defaultAction", "default_action", _one_of(SECCOMP_ACTIONS)),
    ("defaultErrnoRet", "default_errno_ret", _uint32),
    ("flags", "flags", _array(_one_of(SECCOMP_FLAGS))),
    ("listenerPath", "listener_path", _string),
    ("listenerMetadata", "listener_metadata", _string),
    ("architectures", "architectures", _array(_one_of(SECCOMP_ARCHITECTURES))),
    ("syscalls", "syscalls", _syscalls),
)


def _seccomp(value: Any, place: Place, problems: list[Problem]) -> Any:
    seccomp = _seccomp_fields(value, place, problems)
    seccomp.__dict__["raw"] = value if type(value) is dict else {}
    return seccomp


_linux = _record(
    model.Linux,
    (
        "devices",
        "devices",
        _array(
            _record(
                model.Device,
                ("type", "type", _one_of(("c", "u", "b", "p"))),
                ("path", "path", _string),
                ("major", "major", _int64),
                ("minor", "minor", _int64),
                ("fileMode", "file_mode", _uint32),
                ("uid", "uid", _uint32),
                ("gid", "gid", _uint32),
            )
        ),
    ),
    ("netDevices", "net_devices", _map(_record(model.NetDevice, ("name", "name", _string)))),
    ("uidMappings", "uid_mappings", _id_mappings),
    ("gidMappings", "gid_mappings", _id_mappings),
    (
        "namespaces",
        "namespaces",
        _array(_record(model.Namespace, ("type", "type", _one_of(NAMESPACES)), ("path", "path", _string))),
    ),
    (
        "timeOffsets",
        "time_offsets",
        _map(_record(model.TimeOffset, ("secs", "secs", _int64), ("nanosecs", "nanosecs", _uint32))),
    ),
    ("resources", "resources", _resources),
    ("cgroupsPath", "cgroups_path", _string),
    ("rootfsPropagation", "rootfs_propagation", _propagation),
    ("seccomp", "seccomp", _seccomp),
    ("sysctl", "sysctl", _string_map),
    ("maskedPaths", "masked_paths", _strings),
    ("readonlyPaths", "readonly_paths", _strings),
    ("mountLabel", "mount_label", _string),
    (
        "intelRdt",
        "intel_rdt",
        _record(
            model.IntelRdt,
            ("closID", "clos_id", _string),
            ("schemata", "schemata", _strings),
            ("l3CacheSchema", "l3_cache_schema", _string),
            ("memBwSchema", "mem_bw_schema", _string),
            ("enableMonitoring", "enable_monitoring", _boolean),
        ),
    ),
    (
        "memoryPolicy",
        "memory_policy",
        _record(
            model.MemoryPolicy,
            ("mode", "mode", _one_of(MEMORY_POLICY_MODES)),
            ("nodes", "nodes", _string),
            ("flags", "flags", _array(_one_of(MEMORY_POLICY_FLAGS))),
        ),
    ),
    (
        "personality",
        "personality",
        _record(model.Personality, ("domain", "domain", _one_of(PERSONALITIES)), ("flags", "flags", _strings)),
    ),
)

_spec = _record(
    model.Spec,
    ("ociVersion", "oci_version", _string),
    ("process", "process", _process),
    ("root", "root", _record(model.Root, ("path", "path", _string), ("readonly", "readonly", _boolean))),
    ("hostname", "hostname", _string),
    ("domainname", "domainname", _string),
    ("mounts", "mounts", _array(_mount)),
    (
        "hooks",
        "hooks",
        _record(
            model.Hooks,
            ("prestart", "prestart", _hooks),
            ("createRuntime", "create_runtime", _hooks),
            ("createContainer", "create_container", _hooks),
            ("startContainer", "start_container", _hooks),
            ("poststart", "poststart", _hooks),
            ("poststop", "poststop", _hooks),
        ),
    ),
    ("annotations", "annotations", _string_map),
    ("linux", "linux", _linux),
)
