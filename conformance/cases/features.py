"""The features document, and whether what it lists is really there: features.md and features-linux.md."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from ..bundle import Bundle
from ..engine import Facts, Trial
from ..runtime import CommandError
from . import case
from .hooks import KINDS, Log
from .process import MODES
from .seccomp import NATIVE, argument, filtered, rule

MUST_HAVE = ("ociVersionMin", "ociVersionMax")

KNOWN: dict[str, dict[str, Any] | None] = {
    "ociVersionMin": None,
    "ociVersionMax": None,
    "hooks": None,
    "mountOptions": None,
    "annotations": None,
    "potentiallyUnsafeConfigAnnotations": None,
    "linux": {
        "namespaces": None,
        "capabilities": None,
        "cgroup": {"v1": None, "v2": None, "systemd": None, "systemdUser": None, "rdma": None},
        "seccomp": {
            "enabled": None,
            "actions": None,
            "operators": None,
            "archs": None,
            "knownFlags": None,
            "supportedFlags": None,
        },
        "apparmor": {"enabled": None},
        "selinux": {"enabled": None},
        "memoryPolicy": {"modes": None, "flags": None},
        "intelRdt": {"enabled": None, "schemata": None, "monitoring": None},
        "mountExtensions": {"idmap": {"enabled": None}},
        "netDevices": {"enabled": None},
    },
}
"""The properties that version 1.3 of the specification defines."""


def document(trial: Trial) -> Facts:
    """What `features` prints; the case is skipped where the runtime has no such command, as it may."""
    result = trial.attempt("features")
    if not result.ok:
        trial.skip("the runtime has no `features` command, which the specification leaves open")
    return result.object("features")


def listed(trial: Trial, *path: str) -> list[str]:
    """A list of the document; what it does not have cannot be judged."""
    place: Any = document(trial)
    for key in path:
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, list) or not place:
        trial.skip(f"the features document does not list {'.'.join(path)}, which is left open")
    return [str(one) for one in place]


def _unknown(found: Any, known: dict[str, Any] | None, where: str = "") -> list[str]:
    if known is None or not isinstance(found, dict):
        return []
    result = []
    for name, value in found.items():
        if name not in known:
            result.append(f"{where}{name}")
        else:
            result += _unknown(value, known[name], f"{where}{name}.")
    return result


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].partition("-")[0].split("."))


@case(
    "features.oci-version-min",
    "features.oci-version-max",
    "features.oci-version-order",
    "features.known-properties",
    "features.annotations",
)
def shape(trial: Trial) -> None:
    """The document has its versions in order, no property that is not defined, and annotations that are a map of
    strings."""
    features = document(trial)
    versions = {}
    for name, code in (("ociVersionMin", "features.oci-version-min"), ("ociVersionMax", "features.oci-version-max")):
        version = features.get(name)
        good = isinstance(version, str) and len(version.split(".")) >= 3
        trial.check(code, good, f"{name}: a version", f"{name}: {version!r}")
        if good:
            versions[name] = str(version)
    if len(versions) == 2:
        try:
            ordered = _numbers(versions["ociVersionMin"]) <= _numbers(versions["ociVersionMax"])
        except ValueError:
            ordered = False
        trial.check("features.oci-version-order", ordered, "ociVersionMax is not less than ociVersionMin", versions)
    trial.equal("features.known-properties", "properties that are not defined", [], _unknown(features, KNOWN))
    annotations = features.get("annotations")
    good = annotations is None or (
        isinstance(annotations, dict) and all(key and isinstance(value, str) for key, value in annotations.items())
    )
    trial.check("features.annotations", good, "annotations: a map of strings, without an empty key", annotations)


@case("features.oci-version-min.accepted", "features.oci-version-max.accepted")
def versions_accepted(trial: Trial) -> None:
    """A bundle of the least version and one of the greatest are accepted."""
    features = document(trial)
    for name, code in (
        ("ociVersionMin", "features.oci-version-min.accepted"),
        ("ociVersionMax", "features.oci-version-max.accepted"),
    ):
        bundle = trial.bundle().args("pause")
        bundle.config["ociVersion"] = features.get(name)
        result = trial.attempt_create(bundle)
        trial.check(
            code, result.ok, f"`create` with ociVersion {features.get(name)} succeeds", f"it ended with {result}"
        )
        if result.ok:
            trial.created(bundle, result)


@case("features.static")
def static(trial: Trial) -> None:
    """The document is the same in a user namespace without any privilege, where there is one."""
    first = document(trial)
    second = trial.attempt("features", prefix=["unshare", "--user"] if os.geteuid() == 0 else ())
    try:
        same = json.loads(second.out) == first
    except ValueError:
        same = False
    trial.check(
        "features.static",
        second.ok and same,
        "the same document",
        f"`features` ended with {second}, {'the same' if same else 'another document'}",
    )


@case("features.hooks")
def hooks(trial: Trial) -> None:
    """Each kind of hook that is listed is called."""
    kinds = listed(trial, "hooks")
    known = [kind for kind in kinds if kind in KINDS]
    trial.equal("features.hooks", "kinds that are none of the specification's", [], sorted(set(kinds) - set(known)))
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    for kind in known:
        log.add(kind, kind)
    container = trial.started(bundle)
    container.wait()
    container.delete()
    trial.equal("features.hooks", "hooks that were called", sorted(known), sorted(log.names()))


OF_FILE_SYSTEMS = (
    "size",
    "mode",
    "uid",
    "gid",
    "nr_blocks",
    "nr_inodes",
    "newinstance",
    "ptmxmode",
    "lowerdir",
    "upperdir",
    "workdir",
    "data",
)


def _accepts(trial: Trial, bundle: Bundle) -> str:
    """Why `create` refuses a bundle, or ""."""
    result = trial.attempt_create(bundle)
    if result.ok:
        trial.created(bundle, result).end()
    return "" if result.ok else result.told or str(result)


@case("features.mount-options", "features.mount-options.generic", needs=("root",), seconds=60)
def mount_options(trial: Trial) -> None:
    """Each option that is listed is taken: by a bind mount where it is about these, else by a tmpfs. None is one of a
    file system."""
    options = listed(trial, "mountOptions")
    special = sorted(set(options) & set(OF_FILE_SYSTEMS) | {one for one in options if "=" in one})
    trial.equal("features.mount-options.generic", "options of a single file system", [], special)
    source = trial.directory / "source"
    source.mkdir()
    trial.mount("tmpfs", source, "tmpfs")

    def add(bundle: Bundle, option: str) -> None:
        place = f"/mounted/{option}"
        if option == "remount":
            bundle.mount(place, "tmpfs", "tmpfs")
            bundle.mount(place, "tmpfs", "tmpfs", "remount")
        elif option in ("bind", "rbind"):
            bundle.bind(source, place, option)
        elif option in ("idmap", "ridmap"):
            mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
            bundle.mount(place, "none", str(source), "bind", option, uidMappings=mapping, gidMappings=mapping)
        elif option in ("unbindable", "runbindable"):
            bundle.mount(place, "tmpfs", "tmpfs", option)
        elif option == "tmpcopyup":
            (bundle.rootfs / "mounted" / option).mkdir(parents=True)
            bundle.mount(place, "tmpfs", "tmpfs", option)
        elif option.startswith("r") and option not in ("ro", "rw", "relatime", "rprivate", "rshared", "rslave"):
            bundle.bind(source, place, "rbind", option)
        else:
            bundle.mount(place, "tmpfs", "tmpfs", option)

    together = trial.bundle().args("pause")
    for option in options:
        add(together, option)
    problems = {}
    if _accepts(trial, together):
        for option in options:
            bundle = trial.bundle().args("pause")
            add(bundle, option)
            why = _accepts(trial, bundle)
            # What the kernel lacks the runtime may know all the same.
            if why and "not supported" not in why and "not permitted" not in why:
                problems[option] = why
    trial.equal("features.mount-options", "options that are refused", {}, problems)


@case("features-linux.namespaces", needs=("root",))
def namespaces(trial: Trial) -> None:
    """Each type of namespace that is listed is taken, where the kernel has it."""
    from .namespaces import FILES

    problems = {}
    for kind in listed(trial, "linux", "namespaces"):
        if not os.path.exists(f"/proc/self/ns/{FILES.get(kind, kind)}"):
            continue
        bundle = trial.bundle().args("pause")
        if kind == "user":
            bundle.user_namespace()
        else:
            bundle.namespace(kind)
        why = _accepts(trial, bundle)
        if why:
            problems[kind] = why
    trial.equal("features-linux.namespaces", "types that are refused", {}, problems)


@case("features-linux.capabilities", needs=("root",))
def capabilities(trial: Trial) -> None:
    """Each capability that is listed is granted, where the suite itself has it."""
    from pathlib import Path

    from .capabilities import names_of
    from .process import status

    names = listed(trial, "linux", "capabilities")
    own = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:")
    )
    wanted = [name for name in names_of(own) if name in names]
    bundle = trial.bundle()
    bundle.capabilities(*(name.removeprefix("CAP_") for name in wanted))
    trial.equal(
        "features-linux.capabilities",
        "capabilities that are granted",
        wanted,
        names_of(status(trial.report(bundle), "CapBnd")),
    )


WAIT_KILLABLE = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"


def _listener(trial: Trial) -> str:
    path = f"/tmp/{trial.mark}.listener"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(100)
    trial.afterwards(lambda: os.unlink(path))
    trial.afterwards(listener.close)
    return path


@case(
    *(f"features-linux.seccomp.{name}" for name in ("actions", "operators", "archs", "known-flags", "supported-flags")),
    needs=("seccomp",),
)
def seccomp(trial: Trial) -> None:
    """Each action, operator, architecture and flag that is listed is taken."""
    features = document(trial)

    def each(code: str, make: Any, *path: str) -> None:
        place: Any = features
        for key in path:
            place = place.get(key) if isinstance(place, dict) else None
        if not place:
            trial.passed_over(f"the features document does not list {'.'.join(path)}, which is left open", code)
            return
        problems = {}
        if "SCMP_ACT_NOTIFY" not in actions:
            # This flag is about notifications alone, so it can be known and never be set.
            place = [word for word in place if word != WAIT_KILLABLE]
        for word in place:
            why = _accepts(trial, make(word).args("pause"))
            # One filter cannot be for machines of both byte orders (EDOM of libseccomp): known all the same.
            if why and "out of domain" not in why.lower():
                problems[word] = why
        trial.equal(code, f"{path[-1]} that are refused", {}, problems)

    path = _listener(trial)
    actions = ((features.get("linux") or {}).get("seccomp") or {}).get("actions") or []
    each(
        "features-linux.seccomp.actions",
        lambda word: filtered(
            trial, rule(word, "lseek"), **({"listenerPath": path} if word == "SCMP_ACT_NOTIFY" else {})
        ),
        "linux",
        "seccomp",
        "actions",
    )
    each(
        "features-linux.seccomp.operators",
        lambda word: filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", args=[argument(0, word, 1, 1)])),
        "linux",
        "seccomp",
        "operators",
    )
    each(
        "features-linux.seccomp.archs",
        lambda word: filtered(trial, rule("SCMP_ACT_ERRNO", "lseek"), architectures=sorted({NATIVE, word})),
        "linux",
        "seccomp",
        "archs",
    )
    for code, name in (
        ("features-linux.seccomp.known-flags", "knownFlags"),
        ("features-linux.seccomp.supported-flags", "supportedFlags"),
    ):

        def with_flag(word: str) -> Bundle:
            waits = word == WAIT_KILLABLE
            rules = rule("SCMP_ACT_NOTIFY" if waits else "SCMP_ACT_ERRNO", "lseek")
            return filtered(trial, rules, flags=[word], **({"listenerPath": path} if waits else {}))

        each(code, with_flag, "linux", "seccomp", name)


@case("features-linux.memory-policy.modes", needs=("path:/sys/devices/system/node",))
def memory_modes(trial: Trial) -> None:
    """Each memory policy that is listed is taken, where the kernel has it."""
    problems = {}
    for mode in listed(trial, "linux", "memoryPolicy", "modes"):
        bundle = trial.bundle().args("pause")
        alone = mode in ("MPOL_DEFAULT", "MPOL_LOCAL")
        bundle.linux["memoryPolicy"] = {"mode": mode} | ({} if alone else {"nodes": "0"})
        why = _accepts(trial, bundle)
        if why and not (mode not in MODES and "invalid argument" in why.lower()):
            problems[mode] = why
    trial.equal("features-linux.memory-policy.modes", "modes that are refused", {}, problems)


@case("features-linux.memory-policy.flags", needs=("path:/sys/devices/system/node",))
def memory_flags(trial: Trial) -> None:
    """Each flag of memory policies that is listed is taken."""
    problems = {}
    for flag in listed(trial, "linux", "memoryPolicy", "flags"):
        bundle = trial.bundle().args("pause")
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
        why = _accepts(trial, bundle)
        if why:
            problems[flag] = why
    trial.equal("features-linux.memory-policy.flags", "flags that are refused", {}, problems)


@case("features-linux.mount-extensions.idmap", needs=("root", "kernel:6.3"))
def idmap(trial: Trial) -> None:
    """Where a runtime applies uidMappings of a mount, the document says so."""
    from .mounts import tree

    features = document(trial)
    place: Any = features
    for key in ("linux", "mountExtensions", "idmap", "enabled"):
        place = place.get(key) if isinstance(place, dict) else None
    bundle = trial.bundle()
    mapping = [{"containerID": 0, "hostID": 5007, "size": 10}]
    bundle.mount("/mounted", "none", str(tree(trial)), "bind", "idmap", uidMappings=mapping, gidMappings=mapping)
    try:
        applied = trial.report(bundle, "stat=/mounted/file")["actions"]["stat=/mounted/file"].get("uid") == 5007
    except CommandError:
        applied = False
    found = f"enabled: {place!r}, and mappings are {'applied' if applied else 'not applied'}"
    trial.check(
        "features-linux.mount-extensions.idmap",
        (place is True) == applied,
        "enabled is true where mappings are applied",
        found,
    )
