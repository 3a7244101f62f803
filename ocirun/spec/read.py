"""Tree → records: types, ranges, names and required properties (runtime-spec config.md and config-linux.md).

One table per object says which property goes into which field and how its value is read (readers.py). A wrong value
adds to a list of problems, and something of the right type stands for it, so that one pass finds everything. What
depends on more than one value is in rules/.

A property that is null is absent; properties that no table has are ignored, as are the sections of other platforms.
"""

from __future__ import annotations

import posix
from _stat import S_ISDIR, S_ISREG

from ..errors import ConfigError, Error, Problem, reason_of
from . import model
from .json import check_size, parse
from .pointer import tokens
from .readers import (
    array,
    boolean,
    int64,
    integer,
    later,
    one_of,
    record,
    string,
    string_map,
    strings,
    uint32,
    uint64,
)
from .tables import NAMESPACES, PROPAGATIONS, RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .readers import Place, Reader


_PART = 65536  # bytes at a time of what does not say how long it is


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
        return read_to_end(fd, name)
    except OSError as error:
        raise BundleError(f"read {name}: {reason_of(error.errno or 0)}") from None
    finally:
        posix.close(fd)


def read_to_end(fd: int, name: str) -> bytes:
    """What comes out of a descriptor, ``name`` in messages.

    :raises ConfigError: it is more than parse() takes
    :raises OSError: as fstat(2) and read(2)
    """
    size = posix.fstat(fd).st_size  # 0 of what is no regular file
    check_size(name, size)
    parts = []
    found = 0
    while part := posix.read(fd, size + 1 if size else _PART):
        parts.append(part)
        found += len(part)
        check_size(name, found)
    return b"".join(parts)


def read_spec(path: str, data: bytes) -> model.Spec:
    """A whole configuration.

    :raises ConfigError: with every problem, of types and of rules, in the order of the document
    """
    from .rules.check import check  # not for read_stored()

    spec: model.Spec = _read(path, data, _spec, check)
    return spec


def read_stored(path: str, data: bytes) -> model.Spec:
    """A configuration that read_spec() has accepted before, when its container was created.

    :raises ConfigError: somebody has changed it
    """
    spec: model.Spec = _read(path, data, _spec)
    return spec


def read_tree(tree: Any, problems: list[Problem]) -> model.Spec:
    """The records of a tree, without rules. What is wrong is added to ``problems``, and neutral in the records."""
    spec: model.Spec = _spec(tree, None, problems)
    return spec


def read_process(path: str, data: bytes) -> model.Process:
    """A process alone, as `exec --process` takes it.

    :raises ConfigError: with every problem, in the order of the document
    """
    from .rules.check import check_process

    process: model.Process = _read(path, data, _process, check_process)
    return process


def read_resources(path: str, data: bytes) -> model.Resources:
    """linux.resources alone, as `update --resources` takes it. Device rules are not what it may change: they are left
    out, as in runc.

    :raises ConfigError: with every problem, in the order of the document
    """
    from .rules.check import check_resources

    resources: model.Resources = _read(path, data, _resources, check_resources)
    return resources


def _read(path: str, data: bytes, reader: Reader, rules: Callable[..., list[Problem]] | None = None) -> Any:
    tree = parse(path, data)
    problems: list[Problem] = []
    found = reader(tree, None, problems)
    if rules:
        problems += rules(found, problems)
    if problems:
        raise ConfigError(path, in_order(tree, problems))
    return found


def in_order(tree: Any, problems: list[Problem]) -> tuple[Problem, ...]:
    """Problems sorted by where they are in the document; of what is missing after what is there."""

    orders: dict[int, dict[str, int]] = {}  # of the keys of each object

    def position(problem: Problem) -> list[int]:
        at, found = tree, []
        for key in tokens(problem.pointer):
            if type(at) is dict:
                order = orders.get(id(at))
                if order is None:
                    order = orders[id(at)] = {name: number for number, name in enumerate(at)}
                found.append(order.get(key, len(order)))
                at = at.get(key)
            else:
                found.append(int(key) if key.isdecimal() else 0)
                at = at[found[-1]] if type(at) is list and found[-1] < len(at) else None
        return found

    return tuple(sorted(problems, key=position))


# The tables

_propagations = one_of(PROPAGATIONS)


def _propagation(value: Any, place: Place, problems: list[Problem]) -> Any:
    """runc takes "" for none."""
    return None if value == "" else _propagations(value, place, problems)


_user = record(
    model.User,
    ("uid", "uid", uint32),
    ("gid", "gid", uint32),
    ("umask", "umask", uint32),
    ("additionalGids", "additional_gids", array(uint32)),
    ("username", "username", string),
)

_process = record(
    model.Process,
    ("terminal", "terminal", boolean),
    (
        "consoleSize",
        "console_size",
        record(model.ConsoleSize, ("height", "height", uint64), ("width", "width", uint64)),
    ),
    ("user", "user", _user),
    ("args", "args", strings),
    ("commandLine", "command_line", string),
    ("env", "env", strings),
    ("cwd", "cwd", string),
    (
        "capabilities",
        "capabilities",
        record(
            model.Capabilities,
            ("bounding", "bounding", strings),
            ("effective", "effective", strings),
            ("inheritable", "inheritable", strings),
            ("permitted", "permitted", strings),
            ("ambient", "ambient", strings),
        ),
    ),
    (
        "rlimits",
        "rlimits",
        array(
            record(
                model.Rlimit,
                ("type", "type", one_of(RLIMITS)),
                ("hard", "hard", uint64),
                ("soft", "soft", uint64),
            )
        ),
    ),
    ("noNewPrivileges", "no_new_privileges", boolean),
    ("apparmorProfile", "apparmor_profile", string),
    ("oomScoreAdj", "oom_score_adj", int64),
    ("scheduler", "scheduler", later("tuning", "scheduler")),
    ("selinuxLabel", "selinux_label", string),
    ("ioPriority", "io_priority", later("tuning", "io_priority")),
    ("execCPUAffinity", "exec_cpu_affinity", later("tuning", "exec_cpu_affinity")),
)

_id_mappings = later("namespaces", "id_mappings")

_mount = record(
    model.Mount,
    ("destination", "destination", string),
    ("type", "type", string),
    ("source", "source", string),
    ("options", "options", strings),
    ("uidMappings", "uid_mappings", _id_mappings),
    ("gidMappings", "gid_mappings", _id_mappings),
)

_hooks = array(
    record(
        model.Hook,
        ("path", "path", string),
        ("args", "args", strings),
        ("env", "env", strings),
        ("timeout", "timeout", integer(1, (1 << 63) - 1)),
    )
)

_resources = record(
    model.Resources,
    ("unified", "unified", string_map),
    (
        "devices",
        "devices",
        array(
            record(
                model.DeviceRule,
                ("allow", "allow", boolean),
                ("type", "type", string),
                ("major", "major", int64),
                ("minor", "minor", int64),
                ("access", "access", string),
            )
        ),
    ),
    ("pids", "pids", later("limits", "pids")),
    ("blockIO", "block_io", later("limits", "block_io")),
    ("cpu", "cpu", later("limits", "cpu")),
    ("hugepageLimits", "hugepage_limits", later("limits", "hugepage_limits")),
    ("memory", "memory", later("limits", "memory")),
    ("network", "network", later("limits", "network")),
    ("rdma", "rdma", later("limits", "rdma")),
)

_linux = record(
    model.Linux,
    ("devices", "devices", later("devices", "devices")),
    ("netDevices", "net_devices", later("devices", "net_devices")),
    ("uidMappings", "uid_mappings", _id_mappings),
    ("gidMappings", "gid_mappings", _id_mappings),
    (
        "namespaces",
        "namespaces",
        array(record(model.Namespace, ("type", "type", one_of(NAMESPACES)), ("path", "path", string))),
    ),
    ("timeOffsets", "time_offsets", later("namespaces", "time_offsets")),
    ("resources", "resources", _resources),
    ("cgroupsPath", "cgroups_path", string),
    ("rootfsPropagation", "rootfs_propagation", _propagation),
    ("seccomp", "seccomp", later("seccomp", "seccomp")),
    ("sysctl", "sysctl", string_map),
    ("maskedPaths", "masked_paths", strings),
    ("readonlyPaths", "readonly_paths", strings),
    ("mountLabel", "mount_label", string),
    ("intelRdt", "intel_rdt", later("tuning", "intel_rdt")),
    ("memoryPolicy", "memory_policy", later("tuning", "memory_policy")),
    ("personality", "personality", later("tuning", "personality")),
)

_spec = record(
    model.Spec,
    ("ociVersion", "oci_version", string),
    ("process", "process", _process),
    ("root", "root", record(model.Root, ("path", "path", string), ("readonly", "readonly", boolean))),
    ("hostname", "hostname", string),
    ("domainname", "domainname", string),
    ("mounts", "mounts", array(_mount)),
    (
        "hooks",
        "hooks",
        record(
            model.Hooks,
            ("prestart", "prestart", _hooks),
            ("createRuntime", "create_runtime", _hooks),
            ("createContainer", "create_container", _hooks),
            ("startContainer", "start_container", _hooks),
            ("poststart", "poststart", _hooks),
            ("poststop", "poststop", _hooks),
        ),
    ),
    ("annotations", "annotations", string_map),
    ("linux", "linux", _linux),
)
