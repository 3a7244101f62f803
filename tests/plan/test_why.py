"""What is said behind a refusal, with the kernel's settings made up."""

from __future__ import annotations

import pytest

from ocirun.launch import why
from ocirun.plan import ops, parent, tables
from ocirun.plan.draft import Plan
from ocirun.plan.ops import Operation
from ocirun.spec.tables import NAMESPACES

USER = ops.unshare("outer", "/linux/namespaces/0", flags=NAMESPACES["user"])
REST = ops.unshare("outer", "/linux/namespaces", flags=NAMESPACES["mount"] | NAMESPACES["uts"])
NETWORK = ops.unshare("outer", "/linux/namespaces", flags=NAMESPACES["network"])
SETUP = "/proc/sys/kernel/unprivileged_userns_clone"
APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
PROC = "21 20 0:4 / /proc rw - proc proc rw\n"
MASKED = PROC + "22 21 0:4 /fs /proc/fs ro - proc proc rw\n"


def new(fstype: str) -> Operation:
    return ops.mount(
        "init", "", fstype=fstype, source="", target="/x", options=(), ms_flags=0, propagation=0, target_flags=0, slot=0
    )


def bound(source: str, recursive: int, clear: int = 0) -> Operation:
    changes = dict.fromkeys(("attr_set", "rec_set", "rec_clear", "propagation", "target_flags"), 0)
    changes["attr_clear"] = clear
    return ops.bind("init", "", source=source, slot=0, recursive=recursive, target="/x", **changes)


def mapping(uids: str, gids: str) -> Operation:
    return ops.user_namespace("outer", "/mounts/1", uid_map=uids, gid_map=gids, slot=0)


def scheduled(policy: int) -> Operation:
    return parent.scheduler("", policy=policy, nice=0, priority=0, flags=0, runtime=0, deadline=0, period=0)


REAL_TIME = parent.io_priority("", level=1, priority=0)
ONLINE = {"/sys/devices/system/cpu/online": "0-1\n", "/sys/devices/system/node/online": "0\n"}


def without(capability: int) -> str:
    """/proc/self/status of root that lacks one."""
    return f"Uid:\t0\t0\t0\t0\nCapEff:\t{(1 << 41) - 1 - (1 << capability):016x}\n"


def explained(
    monkeypatch: pytest.MonkeyPatch, operation: Operation, errno: int, files: dict[str, str], *others: Operation
) -> str:
    files = {"/proc/self/status": "Seccomp:\t0\nCapEff:\t000001ffffffffff\n", "/proc/self/mountinfo": PROC} | files
    files = {"/proc/self/uid_map": "0 0 4294967295", "/proc/self/gid_map": "0 0 4294967295"} | files

    def read_file(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(2, "", path)
        return files[path].encode()

    monkeypatch.setattr(why, "read_file", read_file)
    return why.explain(operation, errno, Plan(operations=(*others, operation), inherited=(), slots=0))


@pytest.mark.parametrize(
    ("operation", "errno", "files", "text"),
    [
        (USER, 1, {SETUP: "0\n"}, "kernel.unprivileged_userns_clone=0"),
        (USER, 1, {SETUP: "1\n", APPARMOR: "1\n"}, "kernel.apparmor_restrict_unprivileged_userns=1"),
        (USER, 13, {APPARMOR: "1\n"}, "kernel.apparmor_restrict_unprivileged_userns=1"),
        (USER, 1, {SETUP: "1\n", APPARMOR: "0\n"}, ""),
        (USER, 1, {"/proc/self/status": "Seccomp:\t2\nCapEff:\t0\n"}, "a seccomp filter"),
        (
            ops.put_away("outer", "", first=0, count=16),
            109,
            {},
            "more sources of bind mounts than RLIMIT_NOFILE allows",
        ),
        (
            bound("/proc/", 0),
            22,
            {"/proc/self/mountinfo": MASKED},
            '/proc/fs is mounted below it, which "bind" may not',
        ),
        (bound("/proc", 1), 22, {"/proc/self/mountinfo": MASKED}, ""),
        (bound("/proc", 0), 22, {}, ""),
        (scheduled(1), 1, {}, "linux.resources.cpu.realtimeRuntime"),
        (scheduled(2), 1, {"/proc/self/status": without(23)}, "lacks CAP_SYS_NICE"),
        (scheduled(2), 1, {"/proc/self/uid_map": "0 1000 1"}, "in a user namespace"),
        (scheduled(6), 1, {}, "no linux.resources.cpu.cpus"),
        (scheduled(6), 16, {}, "not so much time left"),
        (scheduled(6), 22, {}, "kernel.sched_deadline_period_min_us"),
        (scheduled(4), 22, {}, "does not know it"),
        (scheduled(0), 95, {}, "no utilization clamping"),
        (scheduled(0), 1, {}, ""),
        (scheduled(0), 3, {}, ""),
        (REAL_TIME, 1, {"/proc/self/status": without(23)}, "lacks CAP_SYS_NICE"),
        (REAL_TIME, 22, {}, ""),
        (ops.affinity("init", "", cpus=b"\x04"), 22, ONLINE, "the machine has CPUs 0-1"),
        (ops.affinity("init", "", cpus=b"\x02"), 22, ONLINE, "the cpuset allows none of them"),
        (ops.affinity("init", "", cpus=b"\x02"), 22, {}, ""),
        (ops.affinity("init", "", cpus=b"\x02"), 1, ONLINE, ""),
        (ops.memory_policy("init", "", mode=2, nodes=b"\x02"), 22, ONLINE, "the machine has nodes 0"),
        (ops.memory_policy("init", "", mode=9, nodes=b""), 22, ONLINE, "does not know the mode"),
        (USER, 28, {"/proc/sys/user/max_user_namespaces": "0\n"}, "user.max_user_namespaces=0 forbids"),
        (USER, 28, {"/proc/sys/user/max_user_namespaces": "9\n"}, "a limit is reached"),
        (REST, 28, {"/proc/sys/user/max_mnt_namespaces": "0\n"}, "user.max_mnt_namespaces=0 forbids mount"),
        (mapping("0 0 1", "0 0 1"), 28, {"/proc/sys/user/max_user_namespaces": "0\n"}, "max_user_namespaces=0 forbids"),
        (USER, 22, {}, "the kernel has no user namespaces"),
        (REST, 1, {"/proc/self/status": "CapEff:\t0\n"}, "lacks CAP_SYS_ADMIN"),
        (REST, 1, {}, ""),
        (new("proc"), 1, {"/proc/self/status": "CapEff:\t0\n"}, "lacks CAP_SYS_ADMIN"),
        (new("proc"), 2, {}, ""),
        (ops.clone("outer", "", cgroup_slot=0, procs_slot=1), 11, {}, "pids.max"),
        (ops.keyring("init", "", name="x"), 1, {}, "--no-new-keyring"),
        (ops.keyring("init", "", name="x"), 122, {}, "kernel.keys.maxkeys"),
    ],
)
def test_explained(
    monkeypatch: pytest.MonkeyPatch, operation: Operation, errno: int, files: dict[str, str], text: str
) -> None:
    found = explained(monkeypatch, operation, errno, files)
    assert text in found and bool(text) == bool(found)


@pytest.mark.parametrize(
    ("operation", "others", "files", "text"),
    [
        (REST, (), {APPARMOR: "1\n"}, "kernel.apparmor_restrict_unprivileged_userns=1"),
        (REST, (), {"/proc/self/status": "Seccomp:\t0\nCapEff:\t0\n"}, ""),  # the caller's capabilities say nothing
        (ops.become_root("outer", ""), (), {APPARMOR: "1\n"}, "kernel.apparmor_restrict_unprivileged_userns=1"),
        (
            new("proc"),
            (),
            {"/proc/self/mountinfo": MASKED},
            "covers a part of the one that the runtime sees, here /proc/",
        ),
        (new("proc"), (), {}, ""),
        (new("sysfs"), (), {}, "a new sysfs needs a new network namespace"),
        (new("sysfs"), (NETWORK,), {}, ""),
        (new("mqueue"), (), {}, "a new mqueue needs a new ipc namespace"),
        (parent.uid_map("", text="0 100000 65536\n"), (), {"/proc/self/uid_map": "0 1000 1"}, "100000 to 165535"),
        (parent.uid_map("", text="0 1000 1\n"), (), {}, ""),
        (
            parent.gid_map("/linux/gidMappings", text="0 0 1\n1 5 7\n"),
            (),
            {"/proc/self/gid_map": "0 0 1"},
            "/linux/gidMappings/1: 5 to 11 are not all mapped in the caller's own user namespace",
        ),
        (bound("/x", 0, tables.ATTR_NOSUID), (), {}, "take restrictions away, of a mount that came with it"),
        (bound("/x", 0), (), {}, ""),
        (parent.uid_map("", text="0 1000 1\n"), (), {"/proc/self/status": without(7)}, "lacks CAP_SETUID"),
        (parent.gid_map("", text="0 1000 1\n"), (), {"/proc/self/status": without(6)}, "lacks CAP_SETGID"),
        (parent.uid_map("", text="1 2 3\n0 0 1\n"), (), {"/proc/self/status": without(31)}, "lacks CAP_SETFCAP"),
        (parent.uid_map("", text="0 1 1\n"), (), {"/proc/self/status": without(31)}, ""),
        (mapping("0 5 1\n", "0 7 1\n"), (), {"/proc/self/gid_map": "0 0 3"}, "/mounts/1/gidMappings/0: 7 to 7 are"),
    ],
)
def test_in_a_new_user_namespace(
    monkeypatch: pytest.MonkeyPatch,
    operation: Operation,
    others: tuple[Operation, ...],
    files: dict[str, str],
    text: str,
) -> None:
    found = explained(monkeypatch, operation, 1, files, USER, *others)
    assert text in found and bool(text) == bool(found)
