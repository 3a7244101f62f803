"""What a configuration must keep beyond types and ranges: rules that span values, and the forms of strings.

They are the MUSTs of config.md and config-linux.md, what runc refuses (as far as no look at the host is needed), and
what the kernel would refuse later with no more than EINVAL. What is taken, but hardly meant, is in warnings.py. The
rules for what few containers have are in the modules beside this one.
"""

from __future__ import annotations

from ...errors import Problem
from ..model import NO_PROCESS
from ..pointer import child
from ..readers import is_number, quoted
from ..tables import CAPABILITIES
from .breach import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .. import model
    from .breach import Breach

KNOWN = (1, 3)
"""The newest version of the specification that is known here, major and minor."""

NO_ID = (1 << 32) - 1
"""(uid_t) -1: to setresuid(2) and chown(2) it says "as it is"."""


def check(spec: model.Spec, known: Sequence[Problem] = ()) -> list[Problem]:
    """Every rule that is broken; none whose values are among those ``known`` to be wrong."""
    return _problems(_spec(spec), known)


def check_process(process: model.Process, known: Sequence[Problem] = ()) -> list[Problem]:
    """The same for a process alone, as `exec --process` takes it."""
    return _problems(_process(process, ""), known)


def check_resources(resources: model.Resources, known: Sequence[Problem] = ()) -> list[Problem]:
    """The same for linux.resources alone, as `update --resources` takes it."""
    return _problems(_resources(resources, ""), known)


def is_doubtful(spec: model.Spec) -> bool:
    """Whether warnings.py may have something to say: what create asks before it loads that."""
    linux = spec.linux
    memory = linux.resources.memory if linux.resources else None
    return (
        version(spec.oci_version) > KNOWN
        or is_doubtful_process(spec.process)
        or any([mount.destination[:1] != "/" for mount in spec.mounts])
        or (memory is not None and memory.kernel is not None)
        or linux.personality is not None
        or len({(device.major, device.minor) for device in linux.devices}) < len(linux.devices)
        or (bool(linux.uid_mappings or linux.gid_mappings) and linux.joins("user"))
    )


def is_doubtful_process(process: model.Process) -> bool:
    """The same for a process alone."""
    sets = process.capabilities
    return sets is not None and not (
        CAPABILITIES.keys() >= {*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted}
        and {*sets.permitted} >= {*sets.ambient} <= {*sets.inheritable}
    )


def _problems(breaches: Iterator[Breach], known: Sequence[Problem]) -> list[Problem]:
    is_near = near(known) if known else None
    return [
        Problem(pointer=pointer, expected=expected, found=found)
        for pointer, expected, found, needs in breaches
        if is_near is None or not any([is_near(used) for used in (pointer, *needs)])
    ]


def near(problems: Sequence[Problem]) -> Callable[[str], bool]:
    """Whether a pointer is that of one of the problems, or above or below it."""
    places = {problem.pointer for problem in problems}
    above = {place for pointer in places for place in _ancestors(pointer)}
    return lambda pointer: pointer in above or not places.isdisjoint(_ancestors(pointer))


def _ancestors(pointer: str) -> list[str]:
    """The pointer itself and all above it."""
    found = [pointer]
    while pointer:
        pointer = pointer.rpartition("/")[0]
        found.append(pointer)
    return found


def _spec(spec: model.Spec) -> Iterator[Breach]:
    if version(spec.oci_version) < (1, 0):
        expected = "expected a version of the specification, from 1.0.0 on"
        yield "/ociVersion", expected, quoted(spec.oci_version), ()
    if not spec.root.path:
        yield "/root/path", "expected a path", '""', ()
    if spec.process is not NO_PROCESS:
        yield from _process(spec.process, "/process")
    for index, mount in enumerate(spec.mounts):
        if not mount.destination:
            yield f"/mounts/{index}/destination", "expected a path", '""', ()
        if mount.uid_mappings or mount.gid_mappings or "idmap" in mount.options or "ridmap" in mount.options:
            from .namespaces import idmapped

            yield from idmapped(spec, mount, f"/mounts/{index}")
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


def version(text: str) -> tuple[int, int]:
    """Major and minor of a version by SemVer 2.0.0; (0, 0) for what is none.

    Nothing else counts: 1.3.0-dev comes before 1.3.0 and "1.0.0-rc5" before 1.0.0, and engines have written them for
    what that version became.
    """
    core, plus, build = text.partition("+")
    core, minus, before = core.partition("-")
    numbers = core.split(".")
    if (
        len(numbers) != 3
        or not all(is_number(number) and (number == "0" or number[0] != "0") for number in numbers)
        or (minus and not all(_is_identifier(part) for part in before.split(".")))
        or (plus and not all(_is_identifier(part) for part in build.split(".")))
        or len(core) > 32
    ):
        return 0, 0
    return int(numbers[0]), int(numbers[1])


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
    user = process.user
    for pointer, id in (
        (f"{at}/user/uid", user.uid),
        (f"{at}/user/gid", user.gid),
        *[(f"{at}/user/additionalGids/{index}", gid) for index, gid in enumerate(user.additional_gids)],
    ):
        if id == NO_ID:
            yield pointer, f"expected an id up to {NO_ID - 1}", str(id), ()
    sets = process.capabilities
    if sets is not None:
        # capset(2)
        yield from _beyond(sets.effective, sets.permitted, f"{at}/capabilities", "effective", "permitted")
        yield from _beyond(sets.inheritable, sets.bounding, f"{at}/capabilities", "inheritable", "bounding")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        yield f"{at}/oomScoreAdj", "expected an integer from -1000 to 1000", str(process.oom_score_adj), ()
    if process.scheduler or process.io_priority or process.exec_cpu_affinity:
        from . import tuning

        yield from tuning.of_process(process, at)


def _beyond(some: Sequence[str], limit: Sequence[str], at: str, key: str, limiting: str) -> Iterator[Breach]:
    """Capabilities of a set that are not in the set that limits it; those that nobody knows are in none."""
    if not set(some).issubset(limit):
        for index, name in enumerate(some):
            if name in CAPABILITIES and name not in limit:
                yield (
                    f"{at}/{key}/{index}",
                    f"expected a capability that is in {limiting} too",
                    name,
                    (f"{at}/{limiting}",),
                )


# linux.namespaces, and what needs a namespace of its own


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
        from .namespaces import sysctls

        yield from sysctls(linux.sysctl, types)


# The rest of linux


def _linux(linux: model.Linux) -> Iterator[Breach]:
    if linux.devices or linux.net_devices:
        from . import devices

        yield from devices.breaches(linux)
    if linux.time_offsets:
        from .namespaces import clocks

        yield from clocks(linux)
    if linux.cgroups_path:
        parts = linux.cgroups_path.split("/")
        if ".." in parts:
            yield "/linux/cgroupsPath", 'expected a path without ".."', quoted(linux.cgroups_path), ()
        elif not any(part not in ("", ".") for part in parts):
            expected = "expected a cgroup below the root of its hierarchy"
            yield "/linux/cgroupsPath", expected, quoted(linux.cgroups_path), ()
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
        if not rule.access or rule.access.strip("rwma") or rule.access.strip("a") == "":
            found = quoted(rule.access) if rule.access is not None else "nothing"
            yield f"{at}/devices/{index}/access", "expected a composition of r, w and m", found, ()
        for key, number in (("major", rule.major), ("minor", rule.minor)):
            if number is not None and not -1 <= number < 1 << 32:
                yield f"{at}/devices/{index}/{key}", "expected a number, or -1 for all", str(number), ()
    for key in resources.unified:
        if "/" in key or "." not in key[1:-1]:
            pointer = child(f"{at}/unified", key)
            yield pointer, 'expected a file of cgroup v2 such as "memory.high"', quoted(key), ()
    if resources.memory or resources.cpu or resources.block_io or resources.rdma:
        from . import limits

        yield from limits.breaches(resources, at)
