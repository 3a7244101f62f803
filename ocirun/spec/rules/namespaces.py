"""The rules of what a container may set in a namespace of its own."""

from __future__ import annotations

from ..namespaces import map_text, on_the_host, sysctl_path
from ..pointer import child
from ..readers import is_number, quoted
from ..tables import CLOCKS
from .breach import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .. import model
    from ..namespaces import IdMapping
    from .breach import Breach


# User namespaces


def user_namespace(spec: model.Spec) -> Iterator[Breach]:
    linux = spec.linux
    user = linux.namespace("user")
    if user is None:
        for mappings, key in ((linux.uid_mappings, "uidMappings"), (linux.gid_mappings, "gidMappings")):
            if mappings:
                yield f"/linux/{key}", "mappings need a namespace of type user", "none", (NAMESPACES,)
        return
    if user.path:
        return  # it has its mappings; those here must be the same, which shows when it is joined
    broken = False
    for mappings, key in ((linux.uid_mappings, "uidMappings"), (linux.gid_mappings, "gidMappings")):
        pointer = f"/linux/{key}"
        if not mappings:
            broken = True
            yield pointer, "expected at least one mapping for the user namespace", "none", ()
        for breach in id_map(mappings, pointer):
            broken = True
            yield breach
    if broken:
        return
    for mappings, key in ((linux.uid_mappings, "uidMappings"), (linux.gid_mappings, "gidMappings")):
        if not _is_mapped(0, mappings):  # PID 1 starts as root, whatever it becomes
            yield f"/linux/{key}", "expected a mapping for root, the id 0", "none", ()
    yield from _unmapped(spec.process, "/process", linux)
    for number, mount in enumerate(spec.mounts):
        if not {"bind", "rbind"}.intersection(mount.options):
            yield from _unmapped_options(mount, f"/mounts/{number}/options", linux)


def users(process: model.Process, linux: model.Linux) -> Iterator[Breach]:
    """What is wrong in the user of a process of `exec`."""
    if linux.makes("user"):
        yield from _unmapped(process, "", linux)


def _unmapped(process: model.Process, at: str, linux: model.Linux) -> Iterator[Breach]:
    """Users and groups that the user namespace does not have."""
    maps = ("/linux/uidMappings", "/linux/gidMappings", NAMESPACES)
    who = process.user
    if not _is_mapped(who.uid, linux.uid_mappings):
        yield f"{at}/user/uid", "expected an id that /linux/uidMappings maps", str(who.uid), maps
    if not _is_mapped(who.gid, linux.gid_mappings):
        yield f"{at}/user/gid", "expected an id that /linux/gidMappings maps", str(who.gid), maps
    for index, gid in enumerate(who.additional_gids):
        if not _is_mapped(gid, linux.gid_mappings):
            pointer = f"{at}/user/additionalGids/{index}"
            yield pointer, "expected an id that /linux/gidMappings maps", str(gid), maps
    for index, device in enumerate(linux.devices):
        for id, mappings, kind in ((device.uid, linux.uid_mappings, "uid"), (device.gid, linux.gid_mappings, "gid")):
            if id is not None and not _is_mapped(id, mappings):
                pointer = f"/linux/devices/{index}/{kind}"
                yield pointer, f"expected an id that /linux/{kind}Mappings maps", str(id), maps


def _unmapped_options(mount: model.Mount, at: str, linux: model.Linux) -> Iterator[Breach]:
    """The owners that file systems are told, "gid=5" of devpts above all: the kernel would answer EINVAL."""
    maps = ("/linux/uidMappings", "/linux/gidMappings", NAMESPACES)
    for index, option in enumerate(mount.options):
        name, equals, value = option.partition("=")
        if equals and name in ("uid", "gid") and is_number(value):
            key = f"{name}Mappings"
            if not _is_mapped(int(value), linux.uid_mappings if name == "uid" else linux.gid_mappings):
                yield f"{at}/{index}", f"expected an id that /linux/{key} maps", option, maps


def _is_mapped(id: int, mappings: tuple[IdMapping, ...]) -> bool:
    return on_the_host(id, mappings) is not None


def id_map(mappings: tuple[IdMapping, ...], pointer: str) -> Iterator[Breach]:
    """What user_namespaces(7) says of uid_map and gid_map."""
    if len(mappings) > 340:
        yield pointer, "expected at most 340 mappings", str(len(mappings)), ()
        return  # comparing each with each would take seconds
    # Of one write(2), which must be shorter than a page. The smallest pages count: what is valid, is so everywhere.
    size = len(map_text(mappings))
    if size > 4095:
        yield (
            pointer,
            "expected mappings of at most 4095 bytes as lines of a map, which the kernel takes",
            str(size),
            (),
        )
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


def idmapped(spec: model.Spec, mount: model.Mount, at: str) -> Iterator[Breach]:
    """The mappings of an idmapped mount, or those that it takes from the container (config.md, "idmap")."""
    uids, gids = f"{at}/uidMappings", f"{at}/gidMappings"
    if not mount.uid_mappings and not mount.gid_mappings:
        if spec.linux.namespace("user") is None:
            expected = "expected uidMappings and gidMappings, as there is no user namespace to take them from"
            yield at, expected, "none", (NAMESPACES,)
        return
    for mappings, pointer, other in ((mount.uid_mappings, uids, gids), (mount.gid_mappings, gids, uids)):
        if not mappings:
            yield pointer, f"expected mappings along with {other}", "none", (other,)
        yield from id_map(mappings, pointer)


def _overlap(one: int, size: int, other: int, other_size: int) -> bool:
    return one < other + other_size and other < one + size


# Time namespaces


def clocks(linux: model.Linux) -> Iterator[Breach]:
    """What is wrong in timeOffsets."""
    for clock, offset in linux.time_offsets.items():
        at = child("/linux/timeOffsets", clock)
        if clock not in CLOCKS:
            yield at, "expected monotonic or boottime", quoted(clock), ()
        if offset.nanosecs >= 1_000_000_000:
            yield f"{at}/nanosecs", "expected an integer from 0 to 999999999", str(offset.nanosecs), ()


# Sysctls

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


def sysctls(settings: dict[str, str], types: Container[str]) -> Iterator[Breach]:
    """What is wrong in linux.sysctl.

    :param types: of the namespaces that the container has
    """
    names: dict[str, str] = {}
    for key, value in settings.items():
        if "\n" in value.rstrip("\n"):  # the kernel takes the first line and forgets the others
            yield child("/linux/sysctl", key), "expected one line", quoted(value), ()
        if sysctl_path(key) == "kernel/domainname" and len(value.rstrip("\n").encode()) > 64:
            yield child("/linux/sysctl", key), "expected at most 64 bytes", quoted(value), ()
        first = names.setdefault(sysctl_path(key), key)
        if first is not key:
            yield child("/linux/sysctl", key), "expected each sysctl once", f"{quoted(first)} too", ()
        else:
            yield from _sysctl(key, types)


def sysctls_of_the_host(settings: dict[str, str], types: Container[str]) -> Iterator[tuple[str, str]]:
    """(pointer, type) for what would be set in a namespace of the caller, which the container is to join.

    :param types: of the namespaces that are joined and are the caller's own
    """
    for key in settings:
        type = _owner(sysctl_path(key))
        if type in types:
            yield child("/linux/sysctl", key), type


def _owner(path: str) -> str:
    """The type of the namespace that a sysctl belongs to (runc's list), "" for what belongs to the whole host."""
    if path.startswith("net/"):
        return "network"
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc"
    if path == "kernel/domainname":
        return "uts"
    return "user" if path.startswith("user/") else ""


def _sysctl(key: str, types: Container[str]) -> Iterator[Breach]:
    """A sysctl must belong to a namespace of the container, else it would be the host's."""
    pointer, path = child("/linux/sysctl", key), sysctl_path(key)
    if any(part in ("", ".", "..") for part in path.split("/")):
        yield pointer, "expected the name of a sysctl", quoted(key), ()
    elif path == "kernel/hostname":
        yield pointer, "expected the name of the host in /hostname", "it as a sysctl", ()
    else:
        type = _owner(path)
        if not type:
            yield pointer, "expected a sysctl that belongs to a namespace", quoted(key), ()
        elif type not in types:
            expected = f"this sysctl needs a namespace of its own of type {type}"
            yield pointer, expected, "none", (NAMESPACES,)
