"""systemd's driver: a container is in a transient scope (systemd.scope(5)), whose cgroup systemd makes and removes.

The scope is made while PID 1 waits, with it in there. What systemd has no property for is written into the files by us,
which it allows (Delegate=, systemd.resource-control(5)), and so is what it has one for: before it is seen by anybody.
"""

from __future__ import annotations

import posix

from .. import steps
from ..errors import ConfigError, HostError, OperationError, Problem
from ..host.files import read_file
from ..host.systemd import Manager, Refused
from ..plan import parent
from ..plan.cgroup import CgroupDir, Placement, Unit
from ..record import replace
from . import create, devices, properties, v1, v2
from .paths import writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..plan.host import Host
    from ..plan.ops import Operation
    from ..plan.parent import Property
    from ..spec.model import Spec
    from .resources import Setting

_PREFIX = "ocirun"  # of the scopes of containers that ask for none
_NAME_LONGEST = 255
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")  # systemd.unit(5)
_EXISTS = "org.freedesktop.systemd1.UnitExists"


# Where


def place(spec: Spec, host: Host, id: str, user: bool) -> Placement:
    """As driver.place. cgroupsPath is "slice:prefix:name", the scope "prefix-name.scope" in that slice, by default
    "ocirun-ID.scope" in system.slice, or user.slice of a user's systemd.

    :param user: by the user's systemd, not the host's
    :raises ConfigError: cgroupsPath is of another form, or an annotation is wrong
    :raises HostError: there is no such systemd
    """
    if user and not host.unified:
        raise HostError("an ordinary user's systemd manages no cgroups of version 1: --systemd-cgroup needs version 2")
    slice, name = _wanted(spec.linux.cgroups_path or "", id, user)
    path = f"{expanded(slice)}/{name}"
    if user:
        path = _of_manager() + path
    directories = [
        CgroupDir(controllers=h.controllers, path=f"{h.mountpoint}{path}", mountpoint=h.mountpoint)
        for h in host.hierarchies
        if host.unified or v1.is_joined(h.controllers)
    ]
    pointer = "/linux/cgroupsPath" if spec.linux.cgroups_path else ""
    settings, operations, rules = _limits(spec, host, directories)
    told = properties.of_unit(f"ocirun container {id}", slice, host.unified)
    told += properties.of_annotations(spec.annotations)
    told += rules
    told += properties.of_settings(settings, has_bfq(), starting=True)
    unit = Unit(name=name, user=user)
    placement = Placement(directories=tuple(directories), operations=(), unit=unit)
    return replace(
        placement,
        operations=tuple([parent.cgroup_create(pointer, path=d.path) for d in placement.joined]),
        scope=(parent.systemd_scope(pointer, unit=name, user=user, properties=tuple(told)), *operations),
    )


def _limits(
    spec: Spec, host: Host, directories: Sequence[CgroupDir]
) -> tuple[list[Setting], list[Operation], list[Property]]:
    """Limits as settings, all writes, and the device rules for systemd."""
    from . import resources

    limits = spec.linux.resources
    rules = limits.devices if limits else ()
    trusted = devices.may_limit(host)
    settings: list[Setting] = []
    if limits and limits.has_limits:
        settings = resources.v2(limits) if host.unified else resources.v1(limits)
    operations = writes([*devices.v1(rules), *settings] if trusted and not host.unified else settings, directories)
    if trusted and host.unified:
        operations += v2.device_program(rules, directories[0].path)
    return settings, operations, properties.of_devices(rules) if trusted else []


def _wanted(cgroups_path: str, id: str, user: bool) -> tuple[str, str]:
    """The slice and the scope.

    :raises ConfigError: they cannot be
    """
    default = "user.slice" if user else "system.slice"
    if not cgroups_path:
        return default, _checked(f"{_PREFIX}-{id.replace('+', chr(92) + 'x2b')}.scope", id)
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise _wrong('expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups', cgroups_path)
    slice, prefix, name = parts
    if name.endswith(".slice"):
        raise _wrong("expected the name of a scope for a container, not of a slice", cgroups_path)
    return slice or default, _checked(f"{prefix}-{name}.scope", cgroups_path)


def _checked(name: str, found: str) -> str:
    if len(name) > _NAME_LONGEST or not _NAME_CHARACTERS.issuperset(name):
        raise _wrong(f"expected a name that a unit of systemd can have (systemd.unit(5)), {name}", found)
    return name


def _wrong(expected: str, found: str) -> ConfigError:
    problem = Problem(pointer="/linux/cgroupsPath", expected=expected, found=f'"{found}"')
    return ConfigError("config.json", (problem,))


def expanded(slice: str) -> str:
    """The path of a slice, whose name has all slices above it: "a-b.slice" is in a.slice (systemd.slice(5)).

    :raises ConfigError: it is the name of none
    """
    stem = slice.removesuffix(".slice")
    if stem == "-":
        return ""
    parts = stem.split("-")
    if stem == slice or not all(parts) or not _NAME_CHARACTERS.issuperset(slice):
        raise _wrong("expected the name of a slice, such as system.slice", slice)
    return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))


def _of_manager() -> str:
    """The cgroup of the user's systemd, below which all of its units are."""
    try:
        with Manager(True, job=False) as manager:
            return str(manager.property("ControlGroup")).rstrip("/")
    except Refused as error:
        raise HostError(str(error)) from None


def has_bfq() -> bool:
    """Whether the host's kernel has the I/O scheduler BFQ, loaded or not a module."""
    return posix.access("/sys/module/bfq", posix.F_OK)


def of_user(host: Host, rootless: str) -> bool:
    """Whether the caller's systemd is a user's: root of a user namespace may be some user, or have booted there.

    :param rootless: as driver.place
    """
    if rootless != "auto" or host.euid or not host.in_user_namespace:
        return rootless == "true" or (rootless == "auto" and host.euid != 0)
    if posix.environ.get(b"ROOTLESSKIT_PARENT_EUID", b"0") != b"0":
        return True
    own = host.hierarchies[0].own if host.hierarchies else ""
    found = own.partition("/user@")[2].partition(".service")[0] or own.partition("/user-")[2].partition(".slice")[0]
    return found not in ("", "0")


# What is done


def perform(
    directories: Sequence[CgroupDir], operations: Sequence[Operation], pid: int, begun: Callable[[], None]
) -> None:
    """Have systemd make the scope with the process in it, or move the process there; then the writes.

    :param begun: called when there may be such a scope, and it is ours
    :raises OperationError: systemd refuses, or is not there, or the kernel refuses a limit
    """
    first, *rest = operations
    unit, user = first.values[:2]
    steps.begin(first)
    try:
        with Manager(user, job=first.name == "systemd_scope") as manager:
            if first.name == "systemd_attach":
                manager.call("AttachProcessesToUnit", "ssau", (unit, first.values[2], [pid]))
                return
            _start(manager, unit, [*first.values[2], ("PIDs", "au", [pid], 0)], begun)
    except (HostError, Refused) as error:
        raise _failed(first, str(error)) from None
    for directory in directories:
        if not posix.access(directory.path, posix.F_OK):
            raise _failed(first, f"systemd has not made {directory.path}")
        if len(directories) == 1:
            v2.create(directory, rest, [])  # for the controllers that systemd does not know
    if user:
        _check_delegated(directories[0].path, rest)
    create.perform(directories, rest)


def _start(manager: Manager, unit: str, wanted: Sequence[Property], begun: Callable[[], None]) -> None:
    auxiliary: list[object] = []
    body = (unit, "replace", _variants(manager, wanted), auxiliary)
    for last in (False, True):
        try:
            result = manager.job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        except Refused as error:
            if error.name != _EXISTS or last:
                raise
            _forget(manager, unit)  # what failed stays until somebody has looked at it
            continue
        except HostError:  # it was asked for, and may still come
            begun()
            raise
        begun()
        if result != "done":
            raise HostError(f"{manager.whose}: the job for {unit}: {result}")
        return


def _variants(manager: Manager, wanted: Sequence[Property]) -> list[tuple[str, tuple[str, Any]]]:
    version = manager.version() if any(since for _, _, _, since in wanted) else 0
    return [(name, (signature, value)) for name, signature, value, since in wanted if since <= version]


def _forget(manager: Manager, unit: str) -> None:
    try:
        manager.call("ResetFailedUnit", "s", (unit,))
    except Refused:  # it has not failed, or is gone
        pass


def _check_delegated(path: str, operations: Sequence[Operation]) -> None:
    """A user's systemd has the controllers that the host's has delegated to it.

    :raises OperationError: a limit is of another one
    """
    available = read_file(f"{path}/cgroup.controllers").decode().split()
    for operation in operations:
        controller = operation.values[0].rpartition("/")[2].partition(".")[0]
        if operation.name != "cgroup_write" or operation.values[2] != parent.REQUIRED:
            continue
        if controller not in available and controller != "cgroup":
            reason = f"controller {controller} is not delegated to the user's systemd (Delegate= of user@.service)"
            raise _failed(operation, reason)


def _failed(operation: Operation, reason: str) -> OperationError:
    from ..plan.show import describe

    return OperationError(describe(operation), operation.pointer, 0, reason)


def tell(unit: Unit, told: Sequence[Property]) -> None:
    """Set properties of a unit, until the host's next start.

    :raises HostError: systemd refuses, or is not there
    """
    if not told:
        return
    try:
        with Manager(unit.user, job=False) as manager:
            manager.call("SetUnitProperties", "sba(sv)", (unit.name, True, _variants(manager, told)))
    except Refused as error:
        raise HostError(str(error)) from None


def stop(unit: Unit) -> None:
    """Have systemd end the scope, with all who are in it, and forget it. What is gone already is no error, nor is a
    systemd that cannot be asked: the cgroup itself can be removed without.

    :raises HostError: it does not end
    """
    try:
        manager = Manager(unit.user)
    except HostError:
        return
    with manager:
        try:
            manager.job("StopUnit", "ss", (unit.name, "replace"))
        except Refused:  # no such unit any more
            pass
        _forget(manager, unit.name)
