"""The plan is the truth: what the init asks the kernel for, seen by strace, is what `ocirun plan` prints, in that
order, and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Runtime, Workshop

pytestmark = pytest.mark.ocirun

# What changes the world (lookups, reads, and what a process does to itself alone are not among these).
CALLS = (
    "unshare,setns,mount,move_mount,umount2,pivot_root,chroot,mknodat,symlinkat,sethostname,setdomainname,openat,openat2,"
    "write,setsid,setresuid,setresgid,setgroups,capset,prlimit64,seccomp,prctl,keyctl,clone,clone3,"
    "mount_setattr,execveat,execve,umask,sched_setaffinity,sched_setattr,ioprio_set,set_mempolicy,personality"
)
CLONE = {
    0x00020000: "CLONE_NEWNS",
    0x00000080: "CLONE_NEWTIME",
    0x02000000: "CLONE_NEWCGROUP",
    0x04000000: "CLONE_NEWUTS",
    0x08000000: "CLONE_NEWIPC",
    0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID",
    0x40000000: "CLONE_NEWNET",
}

NO_SLOT = 0xFFFFFFFF

Event = tuple[str, ...]


def flags_of(value: int) -> str:
    return "|".join(sorted(name for bit, name in CLONE.items() if value & bit))


def planned(operations: list[Any], rootfs: str) -> Iterator[Event]:
    """What the kernel should be asked for, in the plan's words."""
    for operation in operations:
        name, fields = operation["operation"], operation["fields"]
        if operation["who"] == "parent":
            continue
        if name in ("unshare", "setns"):
            yield (name, flags_of(fields["flags"]))
        elif name == "join_cgroup":
            yield ("join",)
        elif name == "clone":
            yield ("clone",)
            if fields["cgroup_slot"] == NO_SLOT != fields["procs_slot"]:
                yield ("join",)  # PID 1 itself
        elif name == "mount_root":
            yield ("attach", rootfs)
        elif name in ("mount", "bind", "bind_device", "mask", "readonly"):
            yield ("attach", fields["target"])
        elif name == "user_namespace":
            yield (name,)
            for kind in ("uid_map", "gid_map"):
                yield ("write", kind, fields[kind].removesuffix("\n"))
        elif name == "idmap":
            yield (name,)
        elif name == "make_node":
            yield ("mknod", "outside")
        elif name == "mknod":
            yield ("mknod", fields["target"])
        elif name == "symlink":
            yield ("symlink", fields["text"], fields["target"])
        elif name in ("hostname", "domainname"):
            yield (name, fields["name"])
        elif name == "sysctl":
            yield ("write", fields["path"], fields["value"])
        elif name == "oom_score_adj":
            yield ("write", "oom_score_adj", str(fields["value"]))
        elif name in ("pivot_root", "new_session", "seccomp", "no_new_privs", "set_user", "exec"):
            yield (name,)
        elif name == "become_root":
            yield ("set_user",)
        elif name == "keyring":
            yield ("keyring",)
        elif name == "set_rlimit":
            yield ("rlimit",)
        elif name == "reset_affinity":
            yield ("sched_setaffinity",)
        elif name == "memory_policy":
            yield ("set_mempolicy",)
        elif name == "personality":
            yield (name,)


LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\w+)")
BEGUN = re.compile(r"^(\d+) +(\w+\(.*) <unfinished \.\.\.>$")
ENDED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


def calls_of_the_init(trace: str) -> Iterator[tuple[str, str, str]]:
    """(call, arguments, result) of what succeeded: all of the outer stage from its exec on, then all of PID 1."""
    begun: dict[str, str] = {}
    made: dict[str, list[tuple[str, str, str]]] = {}
    for line in trace.splitlines():
        if match := BEGUN.match(line):  # another process came in between
            begun[match[1]] = match[2]
            continue
        if match := ENDED.match(line):
            line = f"{match[1]} {begun.pop(match[1])}{match[2]}"
        if match := LINE.match(line):
            pid, call, arguments, result = match.groups()
            if call in ("execve", "execveat") and '["ocirun-init"' in arguments:
                outer, made[pid] = pid, []
            elif not result.startswith("-"):
                made.setdefault(pid, []).append((call, arguments, result))
    yield from made[outer]
    (clone,) = (result for call, _, result in made[outer] if call == "clone3")
    yield from made[clone]


def seen(trace: str, rootfs: str) -> Iterator[Event]:
    """The same out of strace's output."""
    pid_1 = False
    inside = False  # after pivot_root

    def target(text: str) -> str:
        return text if inside else text.removeprefix(rootfs) or rootfs

    for call, arguments, _ in calls_of_the_init(trace):
        paths = re.findall(r"<(/[^>]*|[^>]*)>", arguments)
        if call == "clone3":
            pid_1 = True
            yield ("clone",)
        elif call == "unshare":
            yield (call, "|".join(sorted(arguments.split("|"))))
        elif call == "setns":
            # To the root directory of the mount namespace, as a part of pivot_root: PID 1's own.
            if arguments.split(", ")[1] != "CLONE_NEWNS" or not pid_1:
                yield (call, "|".join(sorted(arguments.split(", ")[1].split("|"))))
        elif call == "move_mount":
            yield ("attach", target(paths[1]))
        elif call == "mount" and not re.search(
            r"NULL, (MS_REC\|)?MS_(SLAVE|PRIVATE|SHARED|UNBINDABLE), NULL$", arguments
        ):
            yield ("mount", arguments)
        elif call == "clone" and "CLONE_NEWUSER" in arguments:
            yield ("user_namespace",)
        elif call == "mount_setattr" and "MOUNT_ATTR_IDMAP" in arguments:
            yield ("idmap",)
        elif call == "mknodat" and '"node"' in arguments:
            yield ("mknod", "outside")
        elif call == "mknodat" and "S_IFREG" not in arguments:  # else the file that something is bound on
            name = re.search(r'"([^"]*)"', arguments)
            assert name
            yield ("mknod", f"{target(paths[0])}/{name[1]}")
        elif call == "symlinkat":
            text, name_ = re.findall(r'"([^"]*)"', arguments)
            if not name_.startswith("."):  # made under another name first, then renamed over
                yield ("symlink", text, f"{target(paths[0])}/{name_}")
        elif call in ("sethostname", "setdomainname"):
            yield (call.removeprefix("set"), re.findall(r'"([^"]*)"', arguments)[0])
        elif call == "pivot_root":
            inside = True
            yield ("pivot_root",)
        elif call == "write" and paths and paths[0].endswith(("/tasks", "/cgroup.procs")):
            yield ("join",)
        elif call == "write" and paths and not paths[0].startswith(("socket:", "pipe:", "anon_inode:")):
            words = re.findall(r'"([^"]*)"', arguments)
            yield (
                "write",
                re.sub(r"^.*?(/sys/|/(?=oom_score_adj|[ug]id_map))", "", paths[0]),
                words[0].removesuffix("\\n"),
            )
        elif call == "setsid":
            yield ("new_session",)
        elif call == "seccomp":
            yield ("seccomp",)
        elif call == "prctl" and arguments.startswith("PR_SET_NO_NEW_PRIVS"):
            yield ("no_new_privs",)
        elif call == "setresuid":
            yield ("set_user",)
        elif call == "keyctl" and "JOIN" in arguments:
            yield ("keyring",)
        elif call == "prlimit64" and "NULL, " not in arguments:
            yield ("rlimit",)
        elif call in ("sched_setaffinity", "sched_setattr", "ioprio_set", "set_mempolicy", "personality"):
            yield (call,)
        elif call == "execve" or call == "execveat":
            yield ("exec",)
            return


def usual(made: Bundle, scratch: Path) -> None:
    pass


def everything(made: Bundle, scratch: Path) -> None:
    """As much as fits into one configuration."""
    (scratch / "source").mkdir()
    made.mount("/data/deep", "bind", str(scratch / "source"), "rbind", "ro")
    made.mount("/scratch", "tmpfs", "tmpfs", "size=1m", "ro")
    made.config["domainname"] = "example.org"
    made.namespace("time")
    made.linux["timeOffsets"] = {"boottime": {"secs": 5}}
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
    made.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]
    made.linux["maskedPaths"] = ["/proc/keys", "/proc/timer_list", "/sys/firmware"]
    made.linux["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}],
    }
    made.config["root"]["readonly"] = True
    made.process["user"] = {"uid": 1000, "gid": 1000}
    made.process["oomScoreAdj"] = 100
    made.process["scheduler"] = {"policy": "SCHED_BATCH"}  # which is the runtime's to do
    made.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 1}
    made.linux["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    made.linux["personality"] = {"domain": "LINUX"}
    made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]


def in_a_user_namespace(made: Bundle, scratch: Path) -> None:
    made.user_namespace()
    made.linux["maskedPaths"] = ["/proc/keys"]
    made.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "uid": 7}]
    (scratch / "source").mkdir()
    for target in ("/one", "/two"):
        made.mount(target, "bind", str(scratch / "source"), "rbind", "idmap")


@pytest.mark.parametrize("arrange", [usual, everything, in_a_user_namespace])
def test_the_init_does_what_the_plan_prints(
    runtime: Runtime, bundle: Workshop, scratch: Path, arrange: Callable[[Bundle, Path], None]
) -> None:
    made = bundle("true")
    arrange(made, scratch)
    made.write()
    operations = runtime("plan", "--bundle", str(made.path), "--json").json
    trace = scratch / "trace"
    prefix = ["strace", "-f", "-y", "-s", "300", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    runtime("run", "--bundle", str(made.path), made.id, prefix=prefix, timeout=60).ok()
    rootfs = str(made.rootfs)
    expected = list(planned(operations, rootfs))
    got = list(seen(trace.read_text(), rootfs))
    # time_offset is a write of the outer stage to its own /proc.
    offsets = [event for event in got if event[0] == "write" and "timens_offsets" in event[1]]
    assert len(offsets) == sum(operation["operation"] == "time_offset" for operation in operations)
    got = [event for event in got if event not in offsets]
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        # Only what is attached can be cloned there: a node made outside is, over "/", for that moment.
        got = [event for event in got if event != ("attach", "/")]
    assert [event for event in got if event[0] == "mount"] == [], "the newer calls, on this kernel"
    assert got == expected


def test_plan_creates_nothing_and_needs_no_root(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("true")
    made.user_namespace(host=4242, size=1)
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    made.write()
    before = sorted(str(path) for path in scratch.rglob("*") if not path.name.startswith("command-"))
    as_nobody = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"]
    table = runtime("plan", "--bundle", str(made.path), prefix=as_nobody).ok().out
    assert "mount proc on /proc" in table and "/mounts/0" in table
    assert sorted(str(path) for path in scratch.rglob("*") if not path.name.startswith("command-")) == before
    assert not os.path.exists(harness.cgroup_directory("pids", made.id))
    assert json.loads(runtime("plan", "--bundle", str(made.path), "--json").ok().out)
    assert runtime("plan", cwd=made.path).ok().out
