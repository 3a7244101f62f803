"""What a configuration must keep beyond types and ranges: rules that span values, and the forms of strings.

They are the MUSTs of config.md and config-linux.md, what runc refuses (as far as no look at the host is needed), and
what the kernel would refuse later with no more than EINVAL. What runc only warns of is in validate.py. The
rules for what few containers have are in the modules that read it.
"""

from __future__ import annotations

from ..errors import Problem
from ..load import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from . import model

    # (pointer, what would be right, what is there, other pointers that the rule looked at)
    Breach = tuple[str, str, str, tuple[str, ...]]


def check(spec: model.Spec, known: Sequence[Problem] = ()) -> list[Problem]:
    """Every rule that is broken; none whose values are among those ``known`` to be wrong."""
    return _problems(_spec(spec), known)


def check_process(process: model.Process, known: Sequence[Problem] = ()) -> list[Problem]:
    """The same for a process alone, as `exec --process` takes it."""
    return _problems(_process(process, ""), known)


def _problems(breaches: Iterator[Breach], known: Sequence[Problem]) -> list[Problem]:
    return [
        Problem(pointer=pointer, expected=expected, found=found)
        for pointer, expected, found, needs in breaches
        if not known or not any(_related(p.pointer, used) for p in known for used in (pointer, *needs))
    ]


def _related(one: str, other: str) -> bool:
    """One is the other, or is in it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def quoted(value: str) -> str:
    """A string, short enough for a message."""
    return f'"{value}"' if len(value) <= 40 else f'"{value[:40]}..."'


def _spec(spec: model.Spec) -> Iterator[Breach]:
    if not _is_version_1(spec.oci_version):
        yield "/ociVersion", 'expected version 1 of the specification, such as "1.3.0"', quoted(spec.oci_version), ()
    if not spec.root.path:
        yield "/root/path", "expected a path", '""', ()
    yield from _process(spec.process, "/process")
    for index, mount in enumerate(spec.mounts):
        if not mount.destination:
            yield f"/mounts/{index}/destination", "expected a path", '""', ()
        if mount.uid_mappings or mount.gid_mappings:
            from .namespaces import id_maps

            yield from id_maps(mount, f"/mounts/{index}")
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
                yield f"/hooks/{key}/{index}/path", "expected an absolute path", quoted(hook.path), ()
    if "" in spec.annotations:
        yield "/annotations/", "expected a key", '""', ()
    yield from _namespaces(spec)
    yield from _linux(spec.linux)


def _is_version_1(version: str) -> bool:
    """SemVer 2.0.0 with the major version 1, "1.0.2-dev" and "1.0.0-rc5+build" too."""
    core, plus, build = version.partition("+")
    core, minus, before = core.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and numbers[0] == "1"
        and all(is_number(number) and (number == "0" or number[0] != "0") for number in numbers)
        and (not minus or all(_is_identifier(part) for part in before.split(".")))
        and (not plus or all(_is_identifier(part) for part in build.split(".")))
    )


def is_number(text: str) -> bool:
    """Whether it has digits and nothing else."""
    return text.isascii() and text.isdigit()


def _is_identifier(text: str) -> bool:
    return text.isascii() and text.replace("-", "0").isalnum()


# process


def _process(process: model.Process, at: str) -> Iterator[Breach]:
    if not process.args:
        yield f"{at}/args", "expected at least the program to run", "no arguments", ()
    if process.cwd[:1] != "/":
        yield f"{at}/cwd", "expected an absolute path", quoted(process.cwd), ()
    for index, variable in enumerate(process.env):
        if variable.find("=") <= 0:
            yield f"{at}/env/{index}", "expected NAME=VALUE", quoted(variable), ()
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
    if process.scheduler or process.io_priority or process.exec_cpu_affinity:
        from . import tuning

        yield from tuning.of_process(process, at)


# linux.namespaces, and what needs a namespace of its own

NAMESPACES = "/linux/namespaces"


def _namespaces(spec: model.Spec) -> Iterator[Breach]:
    types: dict[str, str | None] = {}
    for index, namespace in enumerate(spec.linux.namespaces):
        if namespace.type in types:
            yield f"{NAMESPACES}/{index}/type", "expected each type once", f"{namespace.type} again", ()
        types[namespace.type] = namespace.path
        if namespace.path and namespace.path[0] != "/":
            yield f"{NAMESPACES}/{index}/path", "expected an absolute path", quoted(namespace.path), ()

    def needs(type: str, pointer: str, what: str) -> Iterator[Breach]:
        if type not in types:
            yield pointer, f"{what} needs a namespace of its own of type {type}", "none", (NAMESPACES,)

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
                    yield f"/linux/{key}/{index}", "expected an absolute path", quoted(path), ()
    if linux.net_devices:
        yield from needs("network", "/linux/netDevices", "moving a network device")
    if linux.time_offsets:
        if types.get("time"):
            expected = "expected none for a time namespace that is joined"
            yield "/linux/timeOffsets", expected, "both a path and offsets", (NAMESPACES,)
        yield from needs("time", "/linux/timeOffsets", "an offset")
    if "user" in types or linux.uid_mappings or linux.gid_mappings:
        from .namespaces import user_namespace

        yield from user_namespace(spec)
    if linux.sysctl:
        from .namespaces import sysctl

        for key in linux.sysctl:
            yield from sysctl(key, types)


# The rest of linux


def _linux(linux: model.Linux) -> Iterator[Breach]:
    if linux.devices or linux.net_devices:
        from . import devices

        yield from devices.breaches(linux)
    if linux.time_offsets:
        from .namespaces import clocks

        yield from clocks(linux)
    if linux.cgroups_path and ".." in linux.cgroups_path.split("/"):
        yield "/linux/cgroupsPath", 'expected a path without ".."', quoted(linux.cgroups_path), ()
    if linux.resources is not None:
        yield from _resources(linux.resources, "/linux/resources")
    if linux.seccomp is not None:
        from . import seccomp

        yield from seccomp.breaches(linux.seccomp, "/linux/seccomp")
    if linux.intel_rdt or linux.memory_policy:
        from . import tuning

        yield from tuning.of_linux(linux)


def _resources(resources: model.Resources, at: str) -> Iterator[Breach]:
    for index, rule in enumerate(resources.devices):
        if rule.type and rule.type not in ("a", "b", "c"):
            yield f"{at}/devices/{index}/type", "expected a, b or c", quoted(rule.type), ()
        if not rule.access or rule.access.strip("rwm"):
            found = quoted(rule.access) if rule.access is not None else "nothing"
            yield f"{at}/devices/{index}/access", "expected a composition of r, w and m", found, ()
    for key in resources.unified:
        if "/" in key or "." not in key[1:-1]:
            pointer = child(f"{at}/unified", key)
            yield pointer, 'expected a file of cgroup v2 such as "memory.high"', quoted(key), ()
    if resources.memory or resources.block_io or resources.rdma:
        from . import limits

        yield from limits.breaches(resources, at)
