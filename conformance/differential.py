"""Looks for bundles that two runtimes treat differently, and makes the smallest of it. This alone takes Hypothesis."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import host
from .bundle import Config
from .engine import Facts, Target, Trial
from .model import Case
from .runtime import CommandError

Change = tuple[str, Any]
"""A property, as a path of keys below the configuration, and its value; a path that ends in + adds to a list."""


def _strategy() -> Any:
    """Lists of changes of a minimal configuration, each of which leaves it valid."""
    from hypothesis import strategies as st

    words = st.text("abcxyz019 =", max_size=8)
    ids = st.integers(0, 70000)
    capabilities = st.lists(
        st.sampled_from(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW", "CAP_AUDIT_WRITE"]), unique=True
    )

    def of(path: str, values: Any) -> Any:
        return st.tuples(st.just(path), values)

    def capability_sets(names: list[str]) -> dict[str, list[str]]:
        return {kind: names for kind in ("bounding", "effective", "permitted")}

    def rlimit(pair: tuple[str, int, int]) -> dict[str, Any]:
        return {"type": pair[0], "soft": min(pair[1:]), "hard": max(pair[1:])}

    options = st.lists(
        st.sampled_from(
            ["ro", "nosuid", "nodev", "noexec", "noatime", "relatime", "strictatime", "sync", "nodiratime", "mode=711"]
        ),
        unique=True,
        max_size=4,
    )

    def mount(pair: tuple[str, list[str]]) -> dict[str, Any]:
        return {"destination": pair[0], "type": "tmpfs", "source": "tmpfs", "options": pair[1]}

    return st.lists(
        st.one_of(
            of("hostname", st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)),
            of("process.cwd", st.sampled_from(["/", "/tmp", "/dev", "/proc/self"])),
            of("process.env+", st.builds(lambda a, b: f"{a}={b}", st.from_regex(r"[A-Z]{1,3}", fullmatch=True), words)),
            of("process.user", st.builds(lambda u, g: {"uid": u, "gid": g}, ids, ids)),
            of("process.user.umask", st.integers(0, 0o777)),
            of("process.user.additionalGids", st.lists(ids, max_size=3, unique=True)),
            of("process.noNewPrivileges", st.booleans()),
            of("process.capabilities", capabilities.map(capability_sets)),
            of("process.oomScoreAdj", st.integers(0, 1000)),
            of(
                "process.rlimits",
                st.tuples(
                    st.sampled_from(["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_FSIZE"]),
                    st.integers(64, 1000),
                    st.integers(64, 1000),
                ).map(lambda one: [rlimit(one)]),
            ),
            of("root.readonly", st.booleans()),
            of("mounts+", st.tuples(st.sampled_from(["/mounted", "/tmp", "/new/place"]), options).map(mount)),
            of(
                "linux.maskedPaths",
                st.lists(st.sampled_from(["/proc/kcore", "/sys/firmware", "/tmp", "/none"]), unique=True),
            ),
            of(
                "linux.readonlyPaths",
                st.lists(st.sampled_from(["/proc/sys", "/proc/bus", "/tmp", "/none"]), unique=True),
            ),
            of("linux.rootfsPropagation", st.sampled_from(["private", "slave"])),
            of("linux.namespaces-", st.sampled_from(["network", "ipc", "cgroup"])),
            of(
                "linux.devices",
                st.builds(
                    lambda mode, uid: [
                        {
                            "path": "/dev/made",
                            "type": "c",
                            "major": 1,
                            "minor": 5,
                            "fileMode": mode,
                            "uid": uid,
                            "gid": 0,
                        }
                    ],
                    st.integers(0, 0o777),
                    ids,
                ),
            ),
            of("linux.sysctl", st.sampled_from([{}, {"net.ipv4.ip_forward": "1"}, {"kernel.msgmax": "5000"}])),
            of(
                "linux.seccomp",
                st.builds(
                    lambda number: {
                        "defaultAction": "SCMP_ACT_ALLOW",
                        "syscalls": [{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}],
                    },
                    st.integers(1, 100),
                ),
            ),
            of("annotations", st.dictionaries(st.from_regex(r"org\.[a-z]{1,4}", fullmatch=True), words, max_size=2)),
        ),
        max_size=6,
    )


def applied(config: Config, changes: Sequence[Change]) -> Config:
    """The configuration with the changes, in their order."""
    for path, value in changes:
        value = json.loads(json.dumps(value))
        *parents, last = path.rstrip("+-").split(".")
        place: Any = config
        for key in parents:
            place = place.setdefault(key, {})
        if path.endswith("+"):
            place.setdefault(last, []).append(value)
        elif path.endswith("-"):
            place[last] = [one for one in place[last] if one["type"] != value]
        else:
            place[last] = value
    # A parameter of a namespace that is the host's would be an error, and a change of the host.
    kinds = {one["type"] for one in config["linux"]["namespaces"]}
    sysctl = config["linux"].get("sysctl", {})
    for name in list(sysctl):
        if (name.startswith("net.") and "network" not in kinds) or (
            name.startswith("kernel.msg") and "ipc" not in kinds
        ):
            del sysctl[name]
    return config


WORDS = (
    "stat=/mounted",
    "create=/made",
    "create=/tmp/made",
    "read=/proc/kcore",
    "syscall=lseek:1000:0:0",
    "stat=/dev/made",
    "stat=/new",
)


def _normal(facts: Facts, mark: str) -> Facts:
    """What two containers of the same configuration must have in common."""
    own = {
        kind: os.readlink(f"/proc/self/ns/{file}")
        for kind, file in (("network", "net"), ("ipc", "ipc"), ("cgroup", "cgroup"), ("mount", "mnt"))
    }
    mounts = []
    for one in host.parse_mountinfo(facts["mountinfo"]):
        tags = sorted(tag.partition(":")[0] for tag in one.tags)
        data = sorted(
            option for option in one.super_options - {"ro", "rw"} if not option.startswith(("size", "nr_", "inode"))
        )
        mounts.append([one.point, one.type, sorted(one.options), tags, data])
    status = dict(line.partition(":")[::2] for line in facts["status"].splitlines())
    fields = (
        "Uid",
        "Gid",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "SigCgt",
    )
    actions = {
        word: {
            key: value
            for key, value in result.items()
            if key in ("error", "errno", "signal", "type", "mode", "uid", "gid", "major", "minor")
        }
        for word, result in facts["actions"].items()
    }
    result: Facts = {
        name: facts[name]
        for name in ("uids", "gids", "rlimits", "umask", "cwd", "hostname", "domainname", "argv", "pid")
    }
    result["groups"] = sorted(set(facts["groups"]) - set(facts["gids"]))
    result["env"] = sorted(facts["env"])
    result["scheduler"] = facts["scheduler"]
    result["status"] = {name: status.get(name, "").strip() for name in fields}
    result["oom_score_adj"] = (facts["oom_score_adj"] or "").strip()
    result["namespaces"] = {kind: facts["namespaces"][kind] == link for kind, link in own.items()}
    result["interfaces"] = sorted(facts["interfaces"]) if facts["namespaces"]["network"] != own["network"] else []
    result["descriptors"] = sorted(facts["descriptors"])
    result["mounts"] = mounts
    result["actions"] = actions
    text = json.dumps(result)
    normal: Facts = json.loads(re.sub(re.escape(mark) + r"-\d+", "ID", text))
    return normal


def observed(
    target: Target, probe: Path, directory: Path, changes: Sequence[Change], number: int
) -> tuple[Facts, Config]:
    """What a runtime makes of a bundle: the exit codes of its commands, and what the probe sees. The configuration
    beside it."""
    mark = f"ocd{os.getpid()}x{number}"
    place = directory / mark
    place.mkdir()
    trial = Trial(Case("differential", (), lambda _: None, "", ()), target.command, probe, mark, place, 20)
    try:
        bundle = trial.bundle().args("report", *WORDS)
        applied(bundle.config, changes)
        config: Config = json.loads(json.dumps(bundle.config))
        config["linux"].pop("cgroupsPath", None)
        try:
            created = trial.attempt_create(bundle)
            if not created.ok:
                return {"create": "fails"}, config
            container = trial.created(bundle, created)
            started = container.attempt("start")
            if not started.ok:
                return {"create": "succeeds", "start": "fails"}, config
            code = container.wait()
            facts: Facts = {"create": "succeeds", "start": "succeeds", "exit code": code}
            if code == 0:
                facts |= _normal(trial.facts(container), mark)
            facts["delete"] = "succeeds" if container.attempt("delete").ok else "fails"
            return facts, config
        except CommandError as error:
            return {"problem": re.sub(rf"{mark}\S*|\d+", "N", str(error))}, config
    finally:
        trial.clean(False)


def differences(first: Facts, second: Facts, ignored: Sequence[str]) -> list[tuple[str, object, object]]:
    """What is not the same, by its name, with both values."""
    names = sorted((set(first) | set(second)) - set(ignored))
    return [(name, first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)]


def differential(
    first: Target,
    second: Target,
    probe: Path,
    examples: int,
    ignored: Sequence[str] = (),
    write: Callable[[str], object] = print,
) -> int:
    """Try that many bundles. 0 where both runtimes did the same with all, 1 after the smallest difference was printed,
    2 where Hypothesis is not installed.

    :param ignored: names of what is compared, as "mounts", that may differ
    """
    try:
        import hypothesis
    except ImportError:
        write("the differential mode takes Hypothesis: pip install hypothesis")
        return 2
    host.isolate()
    count = 0
    with tempfile.TemporaryDirectory(prefix="ocirun-conformance-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)

        def compared(changes: Sequence[Change]) -> tuple[list[tuple[str, object, object]], Config]:
            nonlocal count
            results = []
            config: Config = {}
            for target in (first, second):
                count += 1
                facts, config = observed(target, probe, directory, changes, count)
                results.append(facts)
            return differences(results[0], results[1], ignored), config

        settings = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            derandomize=False,
        )
        try:
            smallest = hypothesis.find(_strategy(), lambda changes: bool(compared(changes)[0]), settings=settings)
        except hypothesis.errors.NoSuchExample:
            write(f"{first.name} and {second.name} did the same with {count // 2} bundles")
            return 0
        found, config = compared(smallest)
    write(f"# {first.name} and {second.name} differ; the smallest config.json of {count // 2} bundles that shows it:")
    write(json.dumps(config, indent=2))
    for what, one, other in found:
        write(f"{what}:\n    {first.name}: {json.dumps(_narrow(one, other))}")
        write(f"    {second.name}: {json.dumps(_narrow(other, one))}")
    return 1


def _narrow(value: object, other: object) -> object:
    """What of it the other does not have, for lists and objects."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {key: one for key, one in value.items() if other.get(key) != one}
    if isinstance(value, list) and isinstance(other, list):
        return [one for one in value if one not in other]
    return value
