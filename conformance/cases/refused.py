"""Configurations that are invalid, and must be an error: of `create`, or of `start` at the latest.

The specification says when a property is applied, not when it is looked at; so an error of either operation counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..bundle import Bundle
from ..engine import Trial
from . import case
from .seccomp import NATIVE

Change = Callable[[Bundle], object]


def refused(trial: Trial, code: str, bundle: Bundle, why: str, text: str | None = None) -> None:
    """The bundle must be an error; with a text, that is its config.json."""
    if text is None:
        result = trial.attempt_create(bundle)
    else:
        bundle.file.write_text(text)
        pid_file = trial.directory / f"{bundle.id}.pid"
        result = trial.attempt("create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), bundle.id)
    found = f"`create` ended with {result}"
    if result.ok:
        container = trial.created(bundle, result)
        result = container.attempt("start")
        found = f"`create` succeeded, `start` ended with {result}"
    trial.check(code, result.code > 0, f"`create` or `start` reports an error, for {why}", found)


def _set(path: str, value: Any) -> Change:
    """Set what is at a path of keys, making objects on the way."""

    def change(bundle: Bundle) -> None:
        *parents, last = path.split(".")
        place: Any = bundle.config
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value

    return change


def _drop(path: str) -> Change:
    def change(bundle: Bundle) -> None:
        *parents, last = path.split(".")
        place: Any = bundle.config
        for key in parents:
            place = place[key]
        del place[last]

    return change


def _mount(**entry: Any) -> Change:
    return lambda bundle: bundle.config["mounts"].append(entry)


def _device(**change: Any) -> Change:
    device = {"path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0} | change
    return lambda bundle: bundle.linux.update(
        devices=[{key: value for key, value in device.items() if value is not None}]
    )


def _resources(**values: Any) -> Change:
    return lambda bundle: bundle.resources(**values)


def _seccomp(**change: Any) -> Change:
    document = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [NATIVE]} | change
    return _set("linux.seccomp", {key: value for key, value in document.items() if value is not None})


def _rule(**change: Any) -> Change:
    entry = {"names": ["lseek"], "action": "SCMP_ACT_ERRNO"} | change
    return _seccomp(syscalls=[{key: value for key, value in entry.items() if value is not None}])


def _argument(**change: Any) -> Change:
    entry = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"} | change
    return _rule(args=[{key: value for key, value in entry.items() if value is not None}])


def _mapping(missing: str) -> Change:
    def change(bundle: Bundle) -> None:
        bundle.namespace("user")
        for name in ("uidMappings", "gidMappings"):
            bundle.linux[name] = [{"containerID": 0, "hostID": 0, "size": 1}]
            del bundle.linux[name][0][missing]

    return change


def _namespace(**entry: Any) -> Change:
    return lambda bundle: bundle.linux["namespaces"].append(entry)


def _time_offsets(offsets: dict[str, Any]) -> Change:
    def change(bundle: Bundle) -> None:
        bundle.namespace("time")
        bundle.linux["timeOffsets"] = offsets

    return change


def _mount_mapping(name: str) -> Change:
    def change(bundle: Bundle) -> None:
        bundle.bind(bundle.path, "/mounted", "bind", "idmap")
        bundle.config["mounts"][-1][name] = [{"containerID": 0, "hostID": 1000, "size": 10}]

    return change


RLIMIT = {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}


def _rlimit(missing: str) -> Change:
    return _set("process.rlimits", [{key: value for key, value in RLIMIT.items() if key != missing}])


INVALID: tuple[tuple[str, str, Change], ...] = (
    ("config.oci-version.required", "no ociVersion", _drop("ociVersion")),
    *(
        ("config.oci-version.semver", f"ociVersion {text!r}", _set("ociVersion", text))
        for text in ("1.0", "one", "v1.0.0", "1.0.0.0", "")
    ),
    ("config.root.required", "no root", _drop("root")),
    ("config.root.path.required", "no root.path", _drop("root.path")),
    ("config.root.path.directory", "a root.path that does not exist", _set("root.path", "nowhere")),
    ("config.root.path.directory", "a root.path that is a file", _set("root.path", "config.json")),
    ("config.mounts.destination.required", "a mount without destination", _mount(type="tmpfs", source="tmpfs")),
    ("config.mounts.uid-mappings.alone", "a mount with uidMappings alone", _mount_mapping("uidMappings")),
    ("config.mounts.gid-mappings.alone", "a mount with gidMappings alone", _mount_mapping("gidMappings")),
    ("config.process.cwd.required", "no process.cwd", _drop("process.cwd")),
    ("config.process.cwd.absolute", "a relative process.cwd", _set("process.cwd", "tmp")),
    ("config.process.args.required", "no process.args", _drop("process.args")),
    ("config.process.args.required", "an empty process.args", _set("process.args", [])),
    ("config.process.rlimits.type.required", "an rlimit without type", _rlimit("type")),
    ("config.process.rlimits.soft.required", "an rlimit without soft", _rlimit("soft")),
    ("config.process.rlimits.hard.required", "an rlimit without hard", _rlimit("hard")),
    (
        "config.process.rlimits.type.unknown",
        "an rlimit of an unknown type",
        _set("process.rlimits", [RLIMIT | {"type": "RLIMIT_NO_SUCH"}]),
    ),
    (
        "config.process.rlimits.duplicate",
        "two rlimits of a type",
        _set("process.rlimits", [RLIMIT, RLIMIT | {"soft": 50}]),
    ),
    ("config.process.scheduler.policy.required", "a scheduler without policy", _set("process.scheduler", {"nice": 1})),
    (
        "config.process.scheduler.policy.unknown",
        "an unknown scheduling policy",
        _set("process.scheduler", {"policy": "SCHED_NO_SUCH"}),
    ),
    (
        "config.process.io-priority.class.required",
        "an ioPriority without class",
        _set("process.ioPriority", {"priority": 4}),
    ),
    (
        "config.process.io-priority.priority.required",
        "an ioPriority without priority",
        _set("process.ioPriority", {"class": "IOPRIO_CLASS_BE"}),
    ),
    (
        "config.process.io-priority.class.unknown",
        "an unknown I/O class",
        _set("process.ioPriority", {"class": "IOPRIO_CLASS_NO", "priority": 4}),
    ),
    ("config.process.user.uid.required", "a user without uid", _drop("process.user.uid")),
    ("config.process.user.gid.required", "a user without gid", _drop("process.user.gid")),
    ("config.hooks.path.required", "a hook without path", _set("hooks.createRuntime", [{"args": ["true"]}])),
    ("config.hooks.path.absolute", "a hook with a relative path", _set("hooks.createRuntime", [{"path": "probe"}])),
    *(
        (
            "config.hooks.timeout.positive",
            f"a hook with the timeout {value}",
            lambda b, v=value: b.hook("poststop", str(b.probe), "exit", "0", timeout=v),
        )
        for value in (0, -1)
    ),
    ("config.annotations.map", "annotations that are a list", _set("annotations", ["a"])),
    ("config.annotations.empty-key", "an annotation with an empty key", _set("annotations", {"": "value"})),
    (
        "config.annotations.values-strings",
        "an annotation that is a number",
        _set("annotations", {"org.example.one": 1}),
    ),
    ("config-linux.namespaces.type.required", "a namespace without type", _namespace(path="/proc/self/ns/net")),
    (
        "config-linux.namespaces.path.absolute",
        "a relative path of a namespace",
        lambda b: b.namespace("network", "proc/self/ns/net"),
    ),
    ("config-linux.namespaces.duplicate", "two namespaces of a type", _namespace(type="mount")),
    ("config-linux.namespaces.type.unknown", "an unknown type of namespace", _namespace(type="no-such")),
    ("config-linux.mappings.container-id.required", "a mapping without containerID", _mapping("containerID")),
    ("config-linux.mappings.host-id.required", "a mapping without hostID", _mapping("hostID")),
    ("config-linux.mappings.size.required", "a mapping without size", _mapping("size")),
    (
        "config-linux.time-offsets.unknown",
        "the offset of an unknown clock",
        _time_offsets({"realtime": {"secs": 1}}),
    ),
    ("config-linux.devices.type.required", "a device without type", _device(type=None)),
    ("config-linux.devices.path.required", "a device without path", _device(path=None)),
    ("config-linux.devices.major-minor.required", "a device without numbers", _device(major=None, minor=None)),
    ("config-linux.devices.major-minor.required", "a device without minor number", _device(minor=None)),
    ("config-linux.devices.type.unknown", "an unknown type of device", _device(type="z")),
    (
        "config-linux.resources.devices.allow.required",
        "a rule about devices without allow",
        _resources(devices=[{"access": "rwm"}]),
    ),
    (
        "config-linux.resources.block-io.major-minor.required",
        "a weight of a device without numbers",
        _resources(blockIO={"weightDevice": [{"weight": 100}]}),
    ),
    (
        "config-linux.resources.block-io.major-minor.required",
        "a rate of a device without minor number",
        _resources(blockIO={"throttleReadBpsDevice": [{"major": 8, "rate": 1000}]}),
    ),
    (
        "config-linux.resources.block-io.weight-device.empty",
        "a device without a weight",
        _resources(blockIO={"weightDevice": [{"major": 8, "minor": 0}]}),
    ),
    (
        "config-linux.resources.block-io.rate.required",
        "bytes without rate",
        _resources(blockIO={"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}),
    ),
    (
        "config-linux.resources.block-io.rate-iops.required",
        "operations without rate",
        _resources(blockIO={"throttleWriteIOPSDevice": [{"major": 8, "minor": 0}]}),
    ),
    (
        "config-linux.resources.hugepage-limits.page-size.required",
        "a limit of huge pages without pageSize",
        _resources(hugepageLimits=[{"limit": 0}]),
    ),
    (
        "config-linux.resources.hugepage-limits.limit.required",
        "a size of huge pages without limit",
        _resources(hugepageLimits=[{"pageSize": "2MB"}]),
    ),
    (
        "config-linux.resources.network.name.required",
        "a priority without name",
        _resources(network={"priorities": [{"priority": 5}]}),
    ),
    (
        "config-linux.resources.network.priority.required",
        "a device without priority",
        _resources(network={"priorities": [{"name": "lo"}]}),
    ),
    ("config-linux.resources.rdma.empty", "an RDMA device without a limit", _resources(rdma={"mlx5_1": {}})),
    (
        "config-linux.memory-policy.mode.required",
        "a memoryPolicy without mode",
        _set("linux.memoryPolicy", {"nodes": "0"}),
    ),
    (
        "config-linux.memory-policy.mode.unknown",
        "an unknown memory policy",
        _set("linux.memoryPolicy", {"mode": "MPOL_NO_SUCH", "nodes": "0"}),
    ),
    ("config-linux.seccomp.default-action.required", "seccomp without defaultAction", _seccomp(defaultAction=None)),
    ("config-linux.seccomp.errno-ret.action", "errnoRet of SCMP_ACT_KILL", _rule(action="SCMP_ACT_KILL", errnoRet=5)),
    ("config-linux.seccomp.errno-ret.action", "defaultErrnoRet of SCMP_ACT_ALLOW", _seccomp(defaultErrnoRet=5)),
    (
        "config-linux.seccomp.flags.unknown",
        "an unknown flag of a filter",
        _seccomp(flags=["SECCOMP_FILTER_FLAG_NO_SUCH"]),
    ),
    (
        "config-linux.seccomp.listener.metadata-alone",
        "listenerMetadata without listenerPath",
        _seccomp(listenerMetadata="x"),
    ),
    ("config-linux.seccomp.syscalls.names.required", "a rule without names", _rule(names=None)),
    ("config-linux.seccomp.syscalls.names.empty", "a rule with an empty list of names", _rule(names=[])),
    ("config-linux.seccomp.syscalls.action.required", "a rule without action", _rule(action=None)),
    ("config-linux.seccomp.args.index.required", "an argument without index", _argument(index=None)),
    ("config-linux.seccomp.args.value.required", "an argument without value", _argument(value=None)),
    ("config-linux.seccomp.args.op.required", "an argument without op", _argument(op=None)),
    ("config-linux.seccomp.action.unknown", "an unknown action", _rule(action="SCMP_ACT_NO_SUCH")),
    ("config-linux.seccomp.op.unknown", "an unknown operator", _argument(op="SCMP_CMP_NO_SUCH")),
    (
        "config-linux.seccomp.architectures.unknown",
        "an unknown architecture",
        _seccomp(architectures=[NATIVE, "SCMP_ARCH_NO_SUCH"]),
    ),
    ("config-linux.rootfs-propagation.unknown", "an unknown propagation", _set("linux.rootfsPropagation", "no-such")),
    ("config-linux.masked-paths.absolute", "a relative masked path", _set("linux.maskedPaths", ["proc/kcore"])),
    ("config-linux.readonly-paths.absolute", "a relative read-only path", _set("linux.readonlyPaths", ["proc/sys"])),
    ("config-linux.personality.domain.required", "a personality without domain", _set("linux.personality", {})),
    (
        "config-linux.personality.domain.unknown",
        "an unknown execution domain",
        _set("linux.personality", {"domain": "NO_SUCH"}),
    ),
    (
        "config-linux.personality.flags",
        "a flag of the personality",
        _set("linux.personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}),
    ),
    ("config.valid-values.error", "a string in the place of a number", _set("process.user.uid", "0")),
    ("config.valid-values.error", "a number in the place of a string", _set("hostname", 5)),
    ("config.valid-values.error", "an object in the place of a list", _set("mounts", {})),
    ("config.valid-values.error", "a negative user", _set("process.user.uid", -1)),
    ("config.valid-values.error", "a user beyond 32 bits", _set("process.user.uid", 1 << 33)),
    ("config.valid-values.error", "a string in the place of a truth value", _set("root.readonly", "yes")),
)
"""Codes, what is wrong, and the change of a valid configuration that makes it so."""

TAKES_ROOT = (
    "config-linux.resources.",
    "config-linux.devices.",
    "config.mounts.uid-mappings",
    "config.mounts.gid-mappings",
)


def _invalid(code: str, changes: list[tuple[str, Change]]) -> None:
    needs = ("root",) if code.startswith(TAKES_ROOT) else ()

    @case(code, needs=needs, name=code.replace("-", "_").replace(".", "_"))
    def invalid(trial: Trial) -> None:
        """An invalid configuration is an error."""
        for why, change in changes:
            bundle = trial.bundle().args("exit", "0")
            change(bundle)
            refused(trial, code, bundle, why)

    _ = invalid


_BY_CODE: dict[str, list[tuple[str, Change]]] = {}
for _code, _why, _change in INVALID:
    _BY_CODE.setdefault(_code, []).append((_why, _change))
for _code, _changes in _BY_CODE.items():
    _invalid(_code, _changes)


@case("config.valid-values.error")
def malformed(trial: Trial) -> None:
    """What is no JSON, or no JSON object, is an error."""
    valid = trial.bundle()
    text = json.dumps(valid.config)
    for why, content in (
        ("an empty file", ""),
        ("half of a document", text[: len(text) // 2]),
        ("a list", f"[{text}]"),
        ("null", "null"),
        ("a comma too many", text[:-1] + ",}"),
    ):
        refused(trial, "config.valid-values.error", trial.bundle(), why, content)


@case("config.process.console-size.height.required", "config.process.console-size.width.required")
def console_size(trial: Trial) -> None:
    """A size of the terminal lacks a side."""
    from .terminal import Console

    for missing, given in (("height", "width"), ("width", "height")):
        code = f"config.process.console-size.{missing}.required"
        console = Console(trial, missing)
        bundle = trial.bundle().args("exit", "0")
        bundle.process["terminal"] = True
        bundle.process["consoleSize"] = {given: 40}
        result = trial.attempt_create(bundle, "--console-socket", console.path)
        trial.reports_error(code, "`create`", result, f", for a consoleSize without {missing}")
        if result.ok:
            trial.created(bundle, result)


@case("config-linux.resources.cpu.quota-below-burst", needs=("root", "controller:cpu"))
def quota_below_burst(trial: Trial) -> None:
    """A burst that is larger than the quota is an error, of the runtime or of the kernel."""
    bundle = trial.bundle().args("exit", "0")
    bundle.resources(cpu={"quota": 10000, "period": 50000, "burst": 20000})
    refused(trial, "config-linux.resources.cpu.quota-below-burst", bundle, "a burst above the quota")
