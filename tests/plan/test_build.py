"""What a plan holds, and in which order: the reasons are the kernel's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engineconfigs import CONFIGS
from plandriver import (
    FILTER,
    HERE,
    HOSTS,
    NESTED,
    ORDINARY,
    UNLIMITED,
    V1,
    V2,
    directories,
    named,
    plan_of,
    position,
    spec_of,
)

from ocirun.errors import ConfigError
from ocirun.plan import parent, tables
from ocirun.plan.draft import Options
from ocirun.plan.encode import encode
from ocirun.plan.execute import build_exec
from ocirun.plan.host import Host
from ocirun.plan.ops import NO_SLOT
from ocirun.plan.process import environment
from ocirun.plan.show import describe
from ocirun.record import replace
from ocirun.spec.devices import Device, NetDevice
from ocirun.spec.model import Capabilities, Hook, Hooks, Mount, Namespace, Process, Rlimit, Root, Spec, User
from ocirun.spec.namespaces import IdMapping
from ocirun.spec.read import read_spec
from ocirun.spec.tables import NAMESPACES
from ocirun.spec.tuning import CpuAffinity, Scheduler


def with_process(**changes: Any) -> Spec:
    spec = spec_of("minimal")
    return replace(spec, process=replace(spec.process, **changes))


def with_linux(**changes: Any) -> Spec:
    spec = spec_of("minimal")
    return replace(spec, linux=replace(spec.linux, **changes))


def with_mounts(*mounts: Mount) -> Spec:
    return replace(spec_of("minimal"), mounts=mounts)


def spaces(*types: str) -> tuple[Namespace, ...]:
    return tuple(Namespace(type=name) for name in types)


def refused(spec: Spec, host: Host = V1) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan_of(spec, host)
    return [str(problem) for problem in caught.value.problems]


# Order


# What the init does last before each moment.
BEFORE = {
    parent.PREPARE: "",
    parent.MAPS: "map_ids",
    parent.PID: "clone",
    parent.MOUNTS: "mounts_ready",
    parent.READY: "ready",
}


def test_who_comes_when() -> None:
    """The outer stage ends with the clone; the parent's operations stand where it performs them."""
    for bundle in (HERE / "bundles").glob("*.json"):
        plan = plan_of(spec_of(bundle.stem))
        clone = position(plan, "clone")
        for index, operation in enumerate(plan.operations):
            if operation.who == "parent":
                before = plan.operations[index - 1]
                assert index == 0 or before.who == "parent" or before.name == BEFORE[parent.MOMENTS[operation.name]]
            else:
                assert operation.who == ("outer" if index <= clone else "init")


def test_namespaces_before_the_memory_limit() -> None:
    plan = plan_of(spec_of("usual"))
    assert position(plan, "unshare") < position(plan, "join_cgroup") < position(plan, "clone")


def test_sources_are_taken_before_the_user_namespace() -> None:
    plan = plan_of(spec_of("user"))
    unshare = position(plan, "unshare", flags=0x10000000)
    assert position(plan, "open_tree") < unshare
    assert position(plan, "enter_root") < unshare
    assert position(plan, "oom_score_adj") < unshare
    for tree, bind in zip(named(plan, "open_tree"), named(plan, "bind"), strict=True):
        assert tree.fields()["slot"] == bind.fields()["slot"]


def test_many_sources_are_put_away_until_they_are_used() -> None:
    """No more than 16 descriptors are open for them at any time."""
    spec = spec_of("user")
    binds = [Mount(destination=f"/m/{number}", source=f"/s/{number}", options=("bind",)) for number in range(40)]
    few, many = (plan_of(replace(spec, mounts=tuple(binds[:count])), V1) for count in (16, 40))
    assert not named(few, "put_away") and not named(few, "fetch")
    assert sum(operation.fields()["count"] for operation in named(many, "put_away")) == 40
    assert [operation.fields()["last"] for operation in named(many, "fetch")] == [0, 0, 1]
    for count in (17, 32, 33, 48):  # whole groups too have a last one
        fetched = named(plan_of(replace(spec, mounts=tuple((binds * 2)[:count])), V1), "fetch")
        assert [operation.fields()["last"] for operation in fetched] == [0] * ((count - 1) // 16) + [1]
    held: set[int] = set()
    waiting: list[list[int]] = []
    for operation in many.operations:
        values = operation.fields()
        if operation.name == "open_tree":
            held.add(values["slot"])
        elif operation.name == "put_away":
            waiting.append([slot for slot in range(values["first"], values["first"] + values["count"]) if slot in held])
            held.difference_update(waiting[-1])
        elif operation.name == "fetch":
            held.update(waiting.pop(0))
        elif operation.name == "bind":
            held.remove(values["slot"])
        assert len(held) <= 16
    assert not held and not waiting


def test_sources_are_not_taken_by_whom_the_kernel_refuses() -> None:
    """open_tree needs CAP_SYS_ADMIN in the mount namespace, which `unshare -r` alone does not give."""
    assert not named(plan_of(spec_of("user"), NESTED), "open_tree")
    assert not named(plan_of(spec_of("own-id"), ORDINARY), "open_tree")


def test_maps_are_written_while_the_outer_stage_waits() -> None:
    plan = plan_of(spec_of("own-id"), ORDINARY)
    at = position(plan, "map_ids")
    assert [op.name for op in plan.operations[at : at + 5]] == [
        "map_ids",
        "setgroups_deny",
        "uid_map",
        "gid_map",
        "become_root",
    ]


def test_setgroups_stays_allowed_with_newgidmap() -> None:
    two = (IdMapping(container_id=0, host_id=1000, size=1), IdMapping(container_id=1, host_id=100000, size=65536))
    spec = with_linux(namespaces=spaces("mount", "user"), uid_mappings=two, gid_mappings=two)
    plan = plan_of(spec, ORDINARY)
    assert not named(plan, "setgroups_deny")
    assert named(plan, "set_user")[0].fields()["set_groups"] == 1


def test_join_a_namespace_twice_around_the_user_namespace() -> None:
    plan = plan_of(spec_of("joined"))
    attempts = [(op.fields()["flags"], op.fields()["attempt"]) for op in named(plan, "setns")]
    others = [0x40000000, 0x02000000, 0x80, 0x00020000]
    assert attempts == [(f, 1) for f in others] + [(0x10000000, 0)] + [(f, 2) for f in others]


def test_the_joined_mount_namespace_is_entered_before_the_root() -> None:
    plan = plan_of(spec_of("joined"))
    assert position(plan, "setns", flags=0x00020000, attempt=2) < position(plan, "enter_root")


def test_another_ones_mounts_are_left_alone() -> None:
    for bundle in ("joined", "host"):
        names = {op.name for op in plan_of(spec_of(bundle)).operations}
        assert not names & {"propagation", "mount_root", "pivot_root", "move_root"}
        assert {"root_here", "chroot"} <= names
    assert named(plan_of(spec_of("host"), no_pivot=True), "chroot")


def test_a_cgroup_of_another_owner_is_joined_through_what_was_opened_before() -> None:
    """CLONE_INTO_CGROUP would be refused, too late for another try in a new pid namespace."""
    assert named(plan_of(spec_of("usual"), V2), "clone")[0].fields()["cgroup_slot"] != 0xFFFFFFFF
    clone = named(plan_of(spec_of("user"), V2), "clone")[0].fields()
    assert clone["cgroup_slot"] == 0xFFFFFFFF != clone["procs_slot"]
    same = (IdMapping(container_id=0, host_id=0, size=1),)
    spec = with_linux(namespaces=spaces("mount", "user"), uid_mappings=same, gid_mappings=same)
    assert named(plan_of(spec, V2), "clone")[0].fields()["cgroup_slot"] != 0xFFFFFFFF


def test_a_joined_cgroup_namespace_comes_after_the_cgroup() -> None:
    plan = plan_of(spec_of("cgroup-joined"), V2)
    assert named(plan, "setns")[0].who == "init"
    plan = plan_of(spec_of("cgroup-joined"), V1)
    assert named(plan, "setns")[0].who == "outer"


def test_hooks() -> None:
    plan = plan_of(spec_of("hooks"))
    kinds = [(op.who, op.fields()["kind"]) for op in named(plan, "hook")]
    assert kinds == [
        ("parent", "prestart"),
        ("parent", "createRuntime"),
        ("init", "createContainer"),
        ("init", "createContainer"),
        ("init", "startContainer"),
    ]
    assert (
        position(plan, "mounts_ready") < position(plan, "hook", kind="createContainer") < position(plan, "pivot_root")
    )
    assert position(plan, "wait_start") < position(plan, "hook", kind="startContainer") < position(plan, "exec")
    runtime, container, start = (
        plan.operations[position(plan, "hook", kind=kind)].fields()
        for kind in ("createRuntime", "createContainer", "startContainer")
    )
    assert (runtime["args"], runtime["env"], runtime["timeout"]) == (("cr", "x"), ("A=B",), 3)
    assert container["args"] == ("/hooks/cc",)
    assert '"status":"creating","pid":' in container["state_head"]
    assert '"status":"created","pid":' in start["state_head"]
    assert start["timeout"] == -1
    assert start["state_tail"] == ',"bundle":"/b","annotations":{"a":"b"}}'


def test_no_hooks_no_wait_for_them() -> None:
    assert not named(plan_of(spec_of("usual")), "mounts_ready")


def test_run_does_not_wait_for_start() -> None:
    plan = plan_of(spec_of("hooks"), wait=False)
    assert plan.inherited == ()
    assert not named(plan, "wait_start")
    assert position(plan, "ready") < position(plan, "hook", kind="startContainer")


# The process


def test_filter_without_no_new_privileges_while_there_is_cap_sys_admin() -> None:
    plan = plan_of(spec_of("process"))
    filter = position(plan, "seccomp")
    assert position(plan, "find_executable") < position(plan, "set_rlimit") < filter
    assert [op.name for op in plan.operations[filter:]] == ["seccomp", "ready", "wait_start", "exec"]
    assert [op.values[-1] for op in named(plan, "set_capabilities")] == [1]  # for_filter
    for name in ("no-new-privileges", "minimal"):
        assert [op.values[-1] for op in named(plan_of(spec_of(name)), "set_capabilities")] == [0]
    assert plan.operations[filter].fields() == {"filter": FILTER[0], "flags": FILTER[1]}


def test_filter_with_no_new_privileges_as_late_as_can_be() -> None:
    plan = plan_of(spec_of("no-new-privileges"))
    filter = position(plan, "seccomp")
    assert position(plan, "no_new_privs") < position(plan, "set_rlimit") < filter
    assert [op.name for op in plan.operations[filter:]] == ["seccomp", "ready", "wait_start", "exec"]
    assert position(plan, "find_executable") < filter


def test_hard_limit_is_raised_outside_only_where_it_must() -> None:
    def raised(hard: int, type: str = "RLIMIT_NOFILE", host: Host = V1) -> list[object]:
        spec = with_process(rlimits=(Rlimit(type=type, soft=1, hard=hard),))
        return [(op.who, op.values) for op in named(plan_of(spec, host), "raise_rlimit")]

    assert raised(1048576) == []
    assert raised(1048577) == [("outer", (7, 1048577))]
    assert raised(UNLIMITED) == [("outer", (7, UNLIMITED))]
    assert raised(UNLIMITED, "RLIMIT_CORE") == []
    assert raised(UNLIMITED, host=replace(V1, hard_limits=())) == []


def test_user_and_groups() -> None:
    plan = plan_of(with_process(user=User(uid=5, gid=6, umask=0o77, additional_gids=(7, 70000))))
    user = named(plan, "set_user")[0].fields()
    assert (user["uid"], user["gid"], user["set_groups"]) == (5, 6, 1)
    assert user["groups"] == (7).to_bytes(4, "little") + (70000).to_bytes(4, "little")
    assert named(plan, "own_stdio")[0].values == (5,)
    assert named(plan, "umask")[0].values == (0o77,)
    assert named(plan, "exec")[0].fields()["uid"] == 5


def test_groups_where_the_kernel_denies_them() -> None:
    spec = with_process(user=User(additional_gids=(7,)))
    user = named(plan_of(spec, NESTED), "set_user")[0].fields()
    assert (user["groups"], user["set_groups"]) == (b"", 0)
    own = spec_of("own-id")
    own = replace(own, process=replace(own.process, user=User(additional_gids=(0,))))
    assert refused(own, ORDINARY) == [
        "/process/user/additionalGids: cannot set any additional groups in a rootless container"
    ]


def test_groups_in_the_user_namespace_of_another() -> None:
    spec = with_linux(namespaces=(*spaces("mount"), Namespace(type="user", path="/proc/42/ns/user")))
    assert named(plan_of(spec, ORDINARY), "set_user")[0].fields()["set_groups"] == 0
    asked = replace(spec, process=replace(spec.process, user=User(additional_gids=(7,))))
    assert named(plan_of(asked, ORDINARY), "set_user")[0].fields()["set_groups"] == 1
    assert named(plan_of(spec, V1), "set_user")[0].fields()["set_groups"] == 2, "as far as it lets us"
    assert named(plan_of(asked, V1), "set_user")[0].fields()["set_groups"] == 1


def test_maps_of_a_joined_user_namespace_are_compared() -> None:
    joined = (*spaces("mount"), Namespace(type="user", path="/proc/42/ns/user"))
    ids = (IdMapping(container_id=0, host_id=1000, size=1),)
    plan = plan_of(with_linux(namespaces=joined, uid_mappings=ids, gid_mappings=ids))
    assert [operation.fields() for operation in named(plan, "same_ids")] == [
        {"file": "uid_map", "text": "0 1000 1\n"},
        {"file": "gid_map", "text": "0 1000 1\n"},
    ]
    assert position(plan, "setns", flags=NAMESPACES["user"]) < position(plan, "map_ids") < position(plan, "same_ids")
    assert not named(plan, "uid_map")
    assert not named(plan_of(with_linux(namespaces=joined)), "map_ids")


def test_a_sysctl_of_a_namespace_that_is_joined_and_the_callers_own() -> None:
    spec = with_linux(
        namespaces=(*spaces("mount", "ipc"), Namespace(type="network", path="/run/netns/own")),
        sysctl={"net.ipv4.ip_forward": "1", "kernel.sem": "1"},
    )
    assert plan_of(spec)
    with pytest.raises(ConfigError) as error:
        plan_of(spec, replace(V1, shared=("network",)))
    [problem] = error.value.problems
    assert (problem.pointer, problem.found) == ("/linux/sysctl/net.ipv4.ip_forward", "the host's")


@pytest.mark.parametrize("propagation", ["private", "rprivate", "shared", None])
def test_propagation_without_pivot_root(propagation: str | None) -> None:
    """As runc: what is private only after MS_MOVE would have been peers with the host's mounts until then."""
    spec = with_linux(rootfs_propagation=propagation)
    assert plan_of(spec)
    if propagation in ("shared", None):
        assert plan_of(spec, no_pivot=True)
    else:
        with pytest.raises(ConfigError, match=r"/linux/rootfsPropagation: .* not safe without pivot_root"):
            plan_of(spec, no_pivot=True)


def test_remount() -> None:
    """The file system by mount(2), the mount's attributes by themselves; only what there is to do."""
    plan = plan_of(with_mounts(Mount(destination="/a", type="tmpfs", options=("remount", "size=1m", "nosuid"))))
    (mount,), (changed,) = named(plan, "mount"), named(plan, "setattr")
    assert describe(mount) == "remount /a (nosuid,size=1m)"
    assert describe(changed) == "make the mount on /a nosuid"
    plan = plan_of(with_mounts(Mount(destination="/", options=("remount", "bind", "rro"))))
    assert [describe(operation) for operation in named(plan, "setattr")] == ["make the mount on / rro"]
    assert not named(plan, "mount")


def test_file_systems_of_devices_are_made_before_the_cgroup() -> None:
    disk = Mount(destination="/a", type="ext4", source="/dev/sda", options=("ro", "commit=5,noload"))
    spec = replace(spec_of("usual"), mounts=(disk, Mount(destination="/b", type="tmpfs", source="tmpfs")))
    plan = plan_of(spec)
    (made,) = named(plan, "new_mount")
    assert describe(made) == "mount ext4 from /dev/sda (ro,commit=5,noload)"
    assert position(plan, "new_mount") < position(plan, "join_cgroup")
    slots = [operation.fields()["slot"] for operation in named(plan, "mount")]
    assert slots == [made.fields()["slot"], NO_SLOT]
    assert not named(plan_of(replace(spec_of("own-id"), mounts=(disk,)), ORDINARY), "new_mount")


def test_options_of_a_file_system() -> None:
    options = ("size=1m,mode=755", "", "ro", 'context="a:b,c"')
    plan = plan_of(with_mounts(Mount(destination="/a", type="tmpfs", options=options)))
    assert named(plan, "mount")[0].fields()["options"] == ("size=1m", "mode=755", 'context="a:b,c"')


def test_capabilities() -> None:
    sets = Capabilities(
        bounding=("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_NONE_SUCH"),
        effective=("CAP_KILL",),
        permitted=("CAP_KILL", "CAP_SYS_ADMIN"),
        inheritable=("CAP_SETPCAP",),
        ambient=("CAP_MKNOD",),
    )
    plan = plan_of(with_process(capabilities=sets))
    assert named(plan, "bounding")[0].values == (1 << 40 | 1,)
    assert named(plan, "set_capabilities")[0].values == (1 << 5, 1 << 21 | 1 << 5, 1 << 8, 1 << 27, 0)


def test_capabilities_that_the_runtime_lacks_are_left_out() -> None:
    sets = Capabilities(permitted=("CAP_CHOWN", "CAP_KILL"), effective=("CAP_CHOWN",), inheritable=("CAP_KILL",))
    lacking = replace(V1, capabilities=1 << 5)
    plan = plan_of(with_process(capabilities=sets), lacking)
    assert named(plan, "set_capabilities")[0].values == (0, 1 << 5, 1 << 5, 0, 0)
    assert [warning.pointer for warning in plan.warnings] == [
        "/process/capabilities/effective/0",
        "/process/capabilities/permitted/0",
    ]
    mappings = (IdMapping(container_id=0, host_id=0, size=10),)
    container = with_linux(namespaces=spaces("mount", "user"), uid_mappings=mappings, gid_mappings=mappings)
    inside = replace(container, process=replace(container.process, capabilities=sets))
    plan = plan_of(inside, lacking)
    assert named(plan, "set_capabilities")[0].values == (1, 1 << 5 | 1, 1 << 5, 0, 0)
    assert not plan.warnings


def test_no_capabilities_are_none() -> None:
    plan = plan_of(with_process(capabilities=None))
    assert named(plan, "bounding")[0].values == (0,)
    assert named(plan, "set_capabilities")[0].values == (0, 0, 0, 0, 0)


def test_the_working_directory_is_made_and_tried_twice() -> None:
    plan = plan_of(with_process(cwd="/a/../b/c"))
    assert named(plan, "mkdir")[-1].values == ("/b/c", 0o755)
    assert [op.values for op in named(plan, "chdir")] == [("/a/../b/c", 0), ("/a/../b/c", 1)]
    assert position(plan, "chdir", required=0) < position(plan, "set_user") < position(plan, "chdir", required=1)
    assert [op.values[0] for op in named(plan_of(with_process(cwd="/")), "mkdir")] == ["/dev"]


def test_environment_of_socket_activation() -> None:
    plan = plan_of(with_process(env=("LISTEN_PID=77", "A=1")), listen_fds=2, preserve_fds=3)
    values = named(plan, "exec")[0].fields()
    assert values["env"] == ("A=1", "LISTEN_FDS=2", "LISTEN_PID=1")
    assert values["preserve"] == 5


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((), ()),
        (("A=1", "B=2"), ("A=1", "B=2")),
        (("A=1", "B=2", "A=3"), ("B=2", "A=3")),
        (("A=1", "A=", "AB=1"), ("A=", "AB=1")),
    ],
)
def test_the_last_value_of_a_variable_counts(given: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert environment(given) == found


def test_terminal() -> None:
    plan = plan_of(spec_of("terminal"))
    assert plan.inherited == ("fifo", "console")
    assert named(plan, "console")[0].fields() == {"slot": 1, "rows": 24, "columns": 0xFFFF, "bind_console": 1}
    assert not named(plan, "reopen_dev_null")
    assert position(plan, "pivot_root") < position(plan, "console")


# The root and what is below it


@pytest.mark.parametrize(
    ("wanted", "at_first", "at_last"),
    [
        (None, tables.MS_SLAVE | tables.MS_REC, None),
        ("slave", tables.MS_SLAVE | tables.MS_REC, tables.MS_SLAVE),
        ("rslave", tables.MS_SLAVE | tables.MS_REC, tables.MS_SLAVE | tables.MS_REC),
        ("shared", tables.MS_SHARED, tables.MS_SHARED),
        ("rshared", tables.MS_SHARED | tables.MS_REC, tables.MS_SHARED | tables.MS_REC),
        ("private", tables.MS_PRIVATE | tables.MS_REC, tables.MS_PRIVATE),
        ("rprivate", tables.MS_PRIVATE | tables.MS_REC, tables.MS_PRIVATE | tables.MS_REC),
        ("unbindable", tables.MS_PRIVATE | tables.MS_REC, tables.MS_UNBINDABLE),
        ("runbindable", tables.MS_PRIVATE | tables.MS_REC, tables.MS_UNBINDABLE | tables.MS_REC),
    ],
)
def test_rootfs_propagation(wanted: str | None, at_first: int, at_last: int | None) -> None:
    plan = plan_of(with_linux(rootfs_propagation=wanted, masked_paths=("/etc",)))
    assert named(plan, "propagation")[0].values == (at_first,)
    assert [op.values[0] for op in named(plan, "root_propagation")] == ([] if at_last is None else [at_last])
    if at_last is not None:  # an unbindable root could not be masked
        assert position(plan, "mask") < position(plan, "root_propagation")


def test_root_path() -> None:
    assert named(plan_of(spec_of("minimal")), "enter_root")[0].values == ("/b/rootfs",)
    absolute = replace(spec_of("minimal"), root=Root(path="/srv/root", readonly=True))
    plan = plan_of(absolute)
    assert named(plan, "enter_root")[0].values == ("/srv/root",)
    assert named(plan, "root_readonly")
    assert not named(plan_of(spec_of("minimal")), "root_readonly")


def test_read_only_tmpfs_only_when_it_is_filled() -> None:
    plan = plan_of(spec_of("mounts"))
    late = position(plan, "setattr", target="/read-only", attr_set=tables.ATTR_RDONLY)
    assert position(plan, "bind", target="/read-only/inside") < late
    assert position(plan, "pivot_root") < late
    dev = with_mounts(Mount(destination="/dev/", type="devtmpfs", options=("ro",)))
    assert named(plan_of(dev), "mount")[0].fields()["ms_flags"] == 0
    assert named(plan_of(dev), "setattr")[0].fields()["target"] == "/dev"


def test_nothing_is_put_into_a_bound_dev() -> None:
    names = {op.name for op in plan_of(spec_of("dev-bound")).operations}
    assert not names & {"mknod", "bind_device", "symlink", "reopen_dev_null"}


def test_devices() -> None:
    plan = plan_of(
        with_linux(devices=(Device(type="b", path="/dev/x", major=8, minor=1, file_mode=0o60660, uid=1, gid=2),))
    )
    assert named(plan, "mknod")[-1].fields() == {
        "target": "/dev/x",
        "mode": 0o060660,
        "major": 8,
        "minor": 1,
        "uid": 1,
        "gid": 2,
    }
    assert len(named(plan, "mknod")) == 7


def test_devices_are_bound_in_a_user_namespace() -> None:
    for spec, host in ((spec_of("user"), V1), (spec_of("devices"), NESTED)):
        plan = plan_of(spec, host)
        assert [op.fields()["target"] for op in named(plan, "mknod")] == ["/run/pipe"][: len(spec.linux.devices)]
        assert len(named(plan, "bind_device")) >= 6


def test_devices_for_a_user_namespace_are_made_outside() -> None:
    """With the ids of the host; a fifo needs nobody's leave, and where the maps are not known the host's is bound."""
    spec = spec_of("idmap")
    plan = plan_of(spec)
    made = [op.fields() for op in named(plan, "make_node")]
    assert [(f["target"], f["mode"], f["uid"], f["gid"]) for f in made] == [("/dev/fuse", 0o020640, 100001, 200002)]
    assert position(plan, "make_node") < position(plan, "unshare", flags=NAMESPACES["user"])
    bound = next(op.fields() for op in named(plan, "bind_device") if op.fields()["target"] == "/dev/fuse")
    assert bound["slot"] == made[0]["slot"]
    assert named(plan, "mknod")[0].fields()["target"] == "/run/pipe"
    path = (Namespace(type="user", path="/run/user"), *spaces("mount"))
    joined = replace(spec, linux=replace(spec.linux, namespaces=path, uid_mappings=(), gid_mappings=()))
    assert not plan.warnings
    for plan in (plan_of(joined), plan_of(replace(spec, mounts=()), ORDINARY)):
        assert not named(plan, "make_node")
        assert [warning.pointer for warning in plan.warnings] == ["/linux/devices/0"]


def test_stdio_of_a_user_at_the_edge_of_a_mapping() -> None:
    """Given to the user's id outside, if it has one."""
    spec = spec_of("user")
    mapping = spec.linux.uid_mappings[0]
    for within in (-1, 0, mapping.size - 1, mapping.size):
        uid = mapping.container_id + within
        if uid < 0:
            continue
        user = replace(spec.process.user, uid=uid)
        plan = plan_of(replace(spec, process=replace(spec.process, user=user, terminal=False)))
        outside = [op.fields()["uid"] for op in named(plan, "own_stdio") if op.who == "outer"]
        assert outside == ([mapping.host_id + within] if 0 <= within < mapping.size else [])


def test_idmapped_mounts_share_namespaces() -> None:
    """One for equal mappings; that of the container where it is joined, before it is."""
    plan = plan_of(spec_of("idmap"))
    mapped = [op.fields() for op in named(plan, "idmap")]
    assert [(f["path"], f["recursive"]) for f in mapped] == [("/srv/a", 0), ("/srv/b", 1), ("/srv/c", 0)]
    assert mapped[0]["namespace_slot"] == mapped[2]["namespace_slot"] != mapped[1]["namespace_slot"]
    assert [op.fields()["uid_map"] for op in named(plan, "user_namespace")] == ["0 100000 65536\n", "0 5 1\n7 8 9\n"]
    assert position(plan, "idmap", path="/srv/c") < position(plan, "unshare", flags=NAMESPACES["user"])
    flags = [op.fields()["target_flags"] for op in named(plan, "bind")]
    assert flags == [tables.TARGET_AS_TAKEN] * 3 + [0]
    spec = spec_of("idmap")
    spaced = (Namespace(type="user", path="/run/user"), *spaces("mount"))
    joined = replace(spec, linux=replace(spec.linux, namespaces=spaced))
    plan = plan_of(joined)
    slot = named(plan, "open")[-1].fields()["slot"]
    assert named(plan, "idmap")[0].fields()["namespace_slot"] == slot
    assert position(plan, "idmap") < position(plan, "setns", slot=slot)


def test_only_what_is_idmapped_is_taken_without_a_user_namespace() -> None:
    spec = spec_of("idmap")
    mounts = tuple(mount for mount in spec.mounts if mount.uid_mappings or not mount.options[1:])
    plan = plan_of(replace(spec, mounts=mounts, linux=replace(spec.linux, namespaces=spaces("mount"))))
    assert [op.fields()["path"] for op in named(plan, "open_tree")] == ["/srv/b", "/srv/c"]


def test_kcore_link_follows_the_host() -> None:
    for kcore in (True, False):
        targets = [
            op.fields()["target"] for op in named(plan_of(spec_of("minimal"), replace(V1, kcore=kcore)), "symlink")
        ]
        assert ("/dev/core" in targets) is kcore


def test_cgroup_1_without_a_cgroup_of_its_own_is_read_only() -> None:
    spec = replace(spec_of("usual"), linux=replace(spec_of("usual").linux, cgroups_path=None))
    mount = Mount(destination="/sys/fs/cgroup", type="cgroup")
    plan = plan_of(replace(spec, mounts=(mount,)), NESTED)
    (bind,) = named(plan, "bind")
    assert bind.fields()["source"] == "/sys/fs/cgroup/memory"
    assert bind.fields()["attr_set"] & tables.ATTR_RDONLY


def test_cgroup_2_without_a_cgroup_of_its_own_is_read_only() -> None:
    """CVE-2023-25809."""
    mount = Mount(destination="/sys/fs/cgroup", type="cgroup", options=("rw",))
    plan = plan_of(replace(spec_of("own-id"), mounts=(mount,)), ORDINARY)
    (bind,) = named(plan, "bind")
    assert bind.fields()["source"] == "/sys/fs/cgroup/user.slice/session"
    assert bind.fields()["attr_set"] & tables.ATTR_RDONLY


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        (
            Mount(destination="/a", source="/b", options=("bind", "size=1", "rw", "nonsense")),
            "/mounts/0/options: bind mounts cannot have any filesystem-specific options applied, found size=1,nonsense",
        ),
        (Mount(destination="/a", options=("bind",)), "/mounts/0: expected a source for a bind mount"),
        (Mount(destination="/a"), '/mounts/0: expected a type, or the option "bind" or "rbind"'),
        (
            Mount(destination="/proc", type="tmpfs"),
            '/mounts/0: "/proc" cannot be mounted because it is not of type proc, found tmpfs',
        ),
        (
            Mount(destination="//proc/./sys/../attr", source="/x", options=("bind",)),
            '/mounts/0: "/proc/attr" cannot be mounted because it is inside /proc',
        ),
    ],
)
def test_refused_mounts(mount: Mount, problem: str) -> None:
    assert refused(with_mounts(mount)) == [problem]


@pytest.mark.parametrize(
    "mount",
    [
        Mount(destination="/proc", source="/proc", options=("rbind",)),
        Mount(destination="/proc", type="proc"),
        Mount(destination="/proc/uptime", source="/x", options=("bind",)),
        Mount(destination="/procedure", type="tmpfs"),
    ],
)
def test_allowed_mounts_at_proc(mount: Mount) -> None:
    assert plan_of(with_mounts(mount))


def test_an_ordinary_user_moves_no_network_device() -> None:
    spec = spec_of("own-id")
    spaces = (*spec.linux.namespaces, Namespace(type="network"))
    spec = replace(spec, linux=replace(spec.linux, namespaces=spaces, net_devices={"eth0": NetDevice()}))
    assert refused(spec, ORDINARY) == ["/linux/netDevices: network devices cannot be moved by a rootless runtime"]


def test_an_ordinary_user_needs_a_user_namespace() -> None:
    assert refused(spec_of("minimal"), ORDINARY) == ["/linux/namespaces: rootless container requires user namespaces"]


def test_a_deadline_forbids_the_fork_of_startcontainer_hooks() -> None:
    deadline = Scheduler(policy="SCHED_DEADLINE", runtime=1024, deadline=2048)
    hooks = Hooks(start_container=(Hook(path="/a"),))
    [problem] = refused(replace(with_process(scheduler=deadline), hooks=hooks))
    assert problem.startswith("/process/scheduler/flags: expected SCHED_FLAG_RESET_ON_FORK")
    assert plan_of(with_process(scheduler=deadline))
    reset = replace(deadline, flags=("SCHED_FLAG_RESET_ON_FORK",))
    assert plan_of(replace(with_process(scheduler=reset), hooks=hooks))
    assert plan_of(replace(with_process(scheduler=Scheduler(policy="SCHED_FIFO", priority=1)), hooks=hooks))


# exec


@pytest.mark.parametrize(
    ("initial", "final", "expected"),
    [
        (None, None, ["reset_affinity", "clone"]),
        ("", "", ["reset_affinity", "clone"]),
        ("0", None, ["affinity", "clone", "reset_affinity"]),
        (None, "1", ["clone", "affinity"]),
        ("0", "1", ["affinity", "clone", "affinity"]),
    ],
)
def test_affinity_of_exec(initial: str | None, final: str | None, expected: list[str]) -> None:
    """The initial CPUs until the cgroup has been joined, which with cgroup v2 is when PID 1 is made."""
    wanted = Process(cwd="/", args=("ls",), exec_cpu_affinity=CpuAffinity(initial=initial, final=final))
    options = Options(id="x", bundle="/b")
    for host in (V1, V2):
        plan = build_exec(wanted, spec_of("minimal"), host, options, directories(host), (), None)
        names = [operation.name for operation in plan.operations]
        assert [name for name in names if name in ("affinity", "reset_affinity", "clone")] == expected
        if initial:
            assert names[0] == "affinity"
        if "join_cgroup" in names:
            assert names.index("join_cgroup") < len(names) - names[::-1].index(expected[-1]) - 1


def test_exec_keeps_the_callers_umask() -> None:
    plan = build_exec(
        Process(cwd="/", args=("ls",)), spec_of("minimal"), V1, Options(id="x", bundle="/b"), (), ("mount",), None
    )
    assert not named(plan, "umask")
    assert plan.inherited == ("pidfd",)
    assert plan.slots == 1


# The engines' own


@pytest.mark.parametrize("host", ["v1", "v2"])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_engines_write(name: str, host: str) -> None:
    plan = plan_of(read_spec(name, json.dumps(CONFIGS[name]).encode()), HOSTS[host])
    assert plan.operations[-1].name == "exec"
    assert encode(plan)
