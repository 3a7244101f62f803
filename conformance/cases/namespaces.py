"""Namespaces, id mappings and clock offsets: config-linux.md."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..bundle import Bundle
from ..engine import Trial
from ..runtime import CommandError
from . import case

KINDS = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
FILES = {"mount": "mnt", "network": "net"}
LETTERS = {"pid": "p", "network": "n", "mount": "m", "ipc": "i", "uts": "u", "user": "U", "cgroup": "C", "time": "T"}


def _needs(kind: str) -> tuple[str, ...]:
    return ("userns",) if kind == "user" else (f"namespace:{kind}",)


def _own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{FILES.get(kind, kind)}")


def _with(trial: Trial, kind: str, path: str | None = None) -> Bundle:
    bundle = trial.bundle().args("pause")
    if kind == "user" and not trial.ordinary:
        bundle.user_namespace()
        if path:
            del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    if path or kind not in ("user",):
        bundle.namespace(kind, path)
    return bundle


def _new(kind: str) -> None:
    codes = (f"config-linux.namespaces.{kind}", "config-linux.namespaces.new")

    @case(*codes, needs=_needs(kind), name=f"new_{kind}")
    def new(trial: Trial) -> None:
        """A namespace without a path is a new one, not the runtime's."""
        container = trial.create(_with(trial, kind))
        found = container.namespace(kind)
        trial.check(codes[0], found != _own(kind), f"a {kind} namespace that is not the runtime's {_own(kind)}", found)
        other = trial.create(_with(trial, kind))
        trial.check(
            codes[1],
            found != _own(kind) and other.namespace(kind) != found,
            f"a new {kind} namespace for each container",
            f"{found} and {other.namespace(kind)}, the runtime's is {_own(kind)}",
        )


def _joined(kind: str) -> None:
    @case("config-linux.namespaces.path", needs=("root", *_needs(kind)), name=f"join_{kind}")
    def join(trial: Trial) -> None:
        """The container's process is in the namespace that the path names, when it is created and when it runs."""
        pid = trial.spawn("hold", LETTERS[kind])
        if kind == "user":
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text("0 100000 65536\n")
        path = f"/proc/{pid}/ns/{FILES.get(kind, kind)}"
        wanted = os.readlink(path)
        container = trial.create(_with(trial, kind, path))
        trial.equal("config-linux.namespaces.path", f"{kind} namespace when created", wanted, container.namespace(kind))
        container.start()
        trial.equal("config-linux.namespaces.path", f"{kind} namespace when running", wanted, container.namespace(kind))

    _ = join


def _inherited(kind: str) -> None:
    @case("config-linux.namespaces.inherited", needs=("root", *_needs(kind)), name=f"inherit_{kind}")
    def inherit(trial: Trial) -> None:
        """A namespace that is not listed is the runtime's."""
        bundle = trial.bundle().args("pause")
        bundle.without_namespace(kind)
        if kind == "uts":
            del bundle.config["hostname"]
        if kind == "mount":  # whoever shares the runtime's mounts may not change them
            bundle.config["mounts"] = []
        container = trial.create(bundle)
        trial.equal("config-linux.namespaces.inherited", f"{kind} namespace", _own(kind), container.namespace(kind))

    _ = inherit


for _kind in KINDS:
    _new(_kind)
    _joined(_kind)
    _inherited(_kind)


@case("config-linux.namespaces.path")
def join_of_container(trial: Trial) -> None:
    """The namespaces of another container can be joined, as the containers of a pod do."""
    first = trial.started(trial.bundle().args("pause"))
    bundle = trial.bundle().args("pause")
    kinds = ("network", "ipc", "uts", "pid")
    if trial.ordinary:
        bundle.namespace("user", f"/proc/{first.pid}/ns/user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    del bundle.config["hostname"]
    for kind in kinds:
        bundle.namespace(kind, f"/proc/{first.pid}/ns/{FILES.get(kind, kind)}")
    second = trial.started(bundle)
    for kind in kinds:
        trial.equal(
            "config-linux.namespaces.path",
            f"{kind} namespace of the second",
            first.namespace(kind),
            second.namespace(kind),
        )


@case("config-linux.namespaces.path.wrong-type", needs=("root",))
def path_of_another_type(trial: Trial) -> None:
    """A path that is a namespace of another type, or none at all, is refused."""
    pid = trial.spawn("hold", "ni")
    plain = trial.directory / "plain"
    plain.write_text("")
    for path, what in (
        (f"/proc/{pid}/ns/ipc", "an ipc namespace"),
        (str(plain), "a plain file"),
        ("/nowhere", "a path that does not exist"),
    ):
        bundle = trial.bundle()
        bundle.namespace("network", path)
        trial.refused("config-linux.namespaces.path.wrong-type", bundle, f"{what} as the network namespace")


@case(
    "config-linux.namespaces.pid",
    "config-linux.namespaces.uts",
    "config-linux.namespaces.network",
    "config-linux.namespaces.ipc",
)
def isolation(trial: Trial) -> None:
    """By effect: the process has pid 1, a host name of its own, the loopback device alone, and no message queue of
    the host."""
    facts = trial.report(trial.bundle(), "read=/proc/sysvipc/msg", "read=/proc")
    trial.equal("config-linux.namespaces.pid", "pid of the process in the container", 1, facts["pid"])
    pids = sorted(name for name in facts["actions"]["read=/proc"].get("entries", []) if name.isdigit())
    trial.equal("config-linux.namespaces.pid", "processes in /proc of the container", ["1"], pids)
    trial.equal("config-linux.namespaces.uts", "host name", "conformance", facts["hostname"])
    trial.check(
        "config-linux.namespaces.uts",
        os.uname().nodename != "conformance",
        "the host's name is another",
        os.uname().nodename,
    )
    others = sorted(set(facts["interfaces"]) & set(os.listdir("/sys/class/net")) - {"lo"})
    shared = [
        name
        for name in others
        if name not in ("tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0")
    ]
    trial.equal("config-linux.namespaces.network", "network devices of the host in the container", [], shared)
    queues = facts["actions"]["read=/proc/sysvipc/msg"].get("content", "").splitlines()[1:]
    trial.equal("config-linux.namespaces.ipc", "message queues in the container", [], queues)


def _rows(text: str) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in text.splitlines()]


@case("config-linux.mappings.uid", "config-linux.mappings.gid", needs=("root", "userns"))
def mappings(trial: Trial) -> None:
    """The kernel's maps are those of the configuration, several ranges too."""
    bundle = trial.bundle()
    bundle.user_namespace()
    uids = [(0, 100000, 1000), (1000, 5000, 1), (2000, 300000, 64000)]
    gids = [(0, 100000, 2000), (5000, 7000, 3)]
    for name, rows in (("uidMappings", uids), ("gidMappings", gids)):
        bundle.linux[name] = [{"containerID": a, "hostID": b, "size": c} for a, b, c in rows]
    facts = trial.report(bundle)
    trial.equal("config-linux.mappings.uid", "uid_map", sorted(map(list, uids)), sorted(_rows(facts["uid_map"])))
    trial.equal("config-linux.mappings.gid", "gid_map", sorted(map(list, gids)), sorted(_rows(facts["gid_map"])))


@case(
    "config-linux.mappings.uid",
    "config-linux.mappings.gid",
    "config-linux.mappings.ownership",
    needs=("root", "userns"),
)
def mapped_files(trial: Trial) -> None:
    """What the container's root makes belongs to the mapped ids on the host; what was there keeps its owners."""
    bundle = trial.bundle()
    (bundle.rootfs / "etc").mkdir()
    bundle.user_namespace()
    other = bundle.rootfs / "etc" / "file"
    other.write_text("")
    os.chown(other, 4321, 1234)
    bundle.process["user"] = {"uid": 5, "gid": 6}
    (bundle.rootfs / "tmp").chmod(0o1777)
    facts = trial.report(bundle, "create=/tmp/made")
    error = facts["actions"]["create=/tmp/made"]["error"]
    if error:
        raise CommandError(f"the container's user cannot create a file in a directory of mode 1777: {error}")
    made = (bundle.rootfs / "tmp" / "made").stat()
    trial.equal("config-linux.mappings.uid", "owner on the host of a file that user 5 made", 100005, made.st_uid)
    trial.equal("config-linux.mappings.gid", "group on the host of a file that group 6 made", 100006, made.st_gid)
    for path, owner in (
        (bundle.rootfs, (100000, 100000)),
        (bundle.rootfs / "probe", (100000, 100000)),
        (other, (4321, 1234)),
    ):
        found = path.stat()
        trial.equal(
            "config-linux.mappings.ownership",
            f"owner on the host of {path.name}",
            list(owner),
            [found.st_uid, found.st_gid],
        )


@case("config-linux.time-offsets.monotonic", "config-linux.time-offsets.boottime", needs=("namespace:time", "root"))
def time_offsets(trial: Trial) -> None:
    """The clocks of a time namespace are ahead by the offsets."""
    bundle = trial.bundle()
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 7200, "nanosecs": 500}, "boottime": {"secs": 86400}}
    facts = trial.report(bundle)
    now = {"monotonic": time.clock_gettime(time.CLOCK_MONOTONIC), "boottime": time.clock_gettime(time.CLOCK_BOOTTIME)}
    for clock, offset in (("monotonic", 7200), ("boottime", 86400)):
        ahead = facts["clocks"][clock] - now[clock]
        trial.check(
            f"config-linux.time-offsets.{clock}",
            abs(ahead - offset) < 30,
            f"the {clock} clock is {offset} s ahead of the host's",
            f"{ahead:.0f} s ahead",
        )
