"""The tests' own front door: ocirun with a fault at one step (ocirun/steps.py) or one operation of the init.

    python faults.py FAULT ocirun ARGUMENTS...

FAULT is `fail:STEP` (an error is raised), `kill:STEP` (the process dies as by SIGKILL), `init-fail:OPERATION` or
`init-kill:OPERATION` (the tests' build of the init does so at that operation, a name or an index of the plan),
`without:OPERATION` (all operations of that name are left out of the plan), `ignore:PROPERTY` (a JSON pointer in which
* is any item or key: config.json is read as if it were not there; with =VALUE, only where it is that),
`ignore-option:WORD` (the same of an option of mounts), `mistake-option:WORD` (which is passed on as if it were the file
system's), or `list:FILE`, which only writes down the steps that are reached. The program's name stays the one that is
given.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocirun.plan.draft import Plan

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ocirun import steps
from ocirun.errors import HostError


def arrange(kind: str, where: str) -> None:
    """Have the fault happen."""

    def reach(step: str) -> None:
        if kind == "list":
            with open(where, "a") as file:
                file.write(f"{step}\n")
        elif step == where and kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif step == where:
            raise HostError(f"test fault at {step}")

    if kind == "without":
        leave_out(where)
    elif kind == "ignore":
        read_as(ignoring(where))
    elif kind == "ignore-option":
        read_as(with_options(lambda word: [] if word == where else [word]))
    elif kind == "mistake-option":
        read_as(with_options(lambda word: [f"unknown-{word}" if word == where else word]))
    elif kind.startswith("init-"):
        from initdriver import build_init

        from ocirun.launch import run

        program = str(build_init())
        run.init_program = lambda: program
        run.ENVIRONMENT = {f"OCIRUN_INIT_{kind.removeprefix('init-').upper()}".encode(): where.encode()}
    else:
        steps.reach = reach


def leave_out(name: str) -> None:
    """Run every plan without the operations of that name."""
    from ocirun.launch.run import Launch
    from ocirun.record import replace

    whole = Launch.__init__

    def reduced(self: Launch, plan: Plan, *arguments: Any) -> None:
        kept = tuple(operation for operation in plan.operations if operation.name != name)
        whole(self, replace(plan, operations=kept), *arguments)

    Launch.__init__ = reduced  # type: ignore[method-assign]


# Properties. What a runtime that ignores one takes instead is no value, as if there were none; where that is an error,
# which anybody would notice, it is what this table says (of patterns, fnmatch): a value, what makes one (or none) of
# the object that it is in, or ENTRY.

Tree = Any
OTHERS = {  # that take the same other properties
    "SCHED_OTHER": "SCHED_BATCH",
    "SCHED_FIFO": "SCHED_RR",
    "SCHED_RR": "SCHED_FIFO",
    "MPOL_DEFAULT": "MPOL_LOCAL",
    "MPOL_LOCAL": "MPOL_DEFAULT",
    "MPOL_BIND": "MPOL_INTERLEAVE",
}
ENTRY = object()  # the whole entry of the list is ignored
INSTEAD: dict[str, Any] = {
    "/ociVersion": "1.0.2",
    "/process/args": ["/probe"],
    "/process/consoleSize/*": 0,
    "/process/cwd": "/",
    "/process/capabilities/permitted": lambda sets: sets.get("effective"),
    "/process/capabilities/bounding": lambda sets: sets.get("inheritable"),
    "/process/rlimits/*/type": ENTRY,
    "/process/rlimits/*/soft": lambda limit: limit["hard"],
    "/process/rlimits/*/hard": lambda limit: limit["soft"],
    "/process/scheduler/policy": lambda one: OTHERS.get(one["policy"], "SCHED_OTHER"),
    "/process/ioPriority/class": lambda one: f"IOPRIO_CLASS_{'IDLE' if one['class'] == 'IOPRIO_CLASS_BE' else 'BE'}",
    "/root/path": "rootfs",
    "/mounts/*/destination": "/mnt",
    "*/[ug]idMappings/*/*ID": 0,
    "*/[ug]idMappings/*/size": 1,
    "/hooks/*/path": ENTRY,
    "/linux/devices/*/type": lambda device: "b" if device["type"] == "c" else "c",
    "/linux/devices/*/path": "/dev/unnamed",
    "/linux/devices/*/m??or": 0,
    "/linux/namespaces/*/type": ENTRY,
    "/linux/resources/devices/*/allow": False,
    "/linux/resources/devices/*/access": "rwm",
    "/linux/resources/pids/limit": -1,
    "/linux/resources/blockIO/*/m??or": 0,
    "/linux/resources/hugepageLimits/*/pageSize": "64KB",
    "/linux/resources/hugepageLimits/*/limit": (1 << 64) - 1,
    "/linux/resources/network/priorities/*/name": "lo",
    "/linux/resources/network/priorities/*/priority": 0,
    "/linux/seccomp/defaultAction": lambda one: f"SCMP_ACT_{'TRACE' if 'defaultErrnoRet' in one else 'ALLOW'}",
    "/linux/seccomp/listenerPath": "/run/ocirun-nobody.sock",
    "/linux/seccomp/syscalls/*/names": ["acct"],
    "/linux/seccomp/syscalls/*/action": lambda one: f"SCMP_ACT_{'TRACE' if 'errnoRet' in one else 'ALLOW'}",
    "/linux/seccomp/syscalls/*/args/*/index": 0,
    "/linux/seccomp/syscalls/*/args/*/value": 0,
    "/linux/seccomp/syscalls/*/args/*/op": "SCMP_CMP_EQ",
    "/linux/memoryPolicy/mode": lambda one: OTHERS.get(one["mode"], "MPOL_BIND"),
    "/linux/memoryPolicy/nodes": lambda one: None if one["mode"] == "MPOL_PREFERRED" else "0",
    "/linux/personality/domain": "LINUX",
}


def read_as(other: Callable[[Tree], Tree]) -> None:
    """Have the reader see another tree than what is in the file. (A process by itself, for exec, is seen as part of a
    configuration.)"""
    from ocirun.spec import read

    spec, process = read._spec, read._process
    read._spec = lambda tree, *rest: spec(other(tree), *rest)
    read._process = lambda tree, *rest: process(other({"process": tree}).get("process"), *rest)


def ignoring(pointer: str) -> Callable[[Tree], Tree]:
    """What a runtime sees of a tree when it ignores a property, or one value of it."""
    pointer, only, word = pointer.partition("=")

    def meant(value: Tree) -> bool:
        return not only or value == word

    instead = next((value for key, value in INSTEAD.items() if fnmatch.fnmatchcase(pointer, key)), None)

    def ignored(tree: Tree, steps: list[str]) -> Tree:
        step, rest = steps[0], steps[1:]
        if step == "*" and rest == [last] and instead is ENTRY:
            return [one for one in tree if not meant(one.get(last))] if isinstance(tree, list) else tree
        if step == "*" and isinstance(tree, list):
            return [ignored(item, rest) if rest else item for item in tree]
        if not isinstance(tree, dict):
            return tree
        result = dict(tree)
        for key in tree if step == "*" else {step} & tree.keys():
            if rest:
                result[key] = ignored(tree[key], rest)
            elif only and isinstance(tree[key], list):
                result[key] = [item for item in tree[key] if item != word]
            elif not meant(tree[key]):
                pass
            else:
                result[key] = instead(tree) if callable(instead) else instead
                if result[key] is None:
                    del result[key]
        return result

    last = pointer.rpartition("/")[2]
    return lambda tree: ignored(tree, pointer.split("/")[1:])


def with_options(other: Callable[[str], list[str]]) -> Callable[[Tree], Tree]:
    """What a runtime sees of a tree when it takes options of mounts for something else."""

    def seen(tree: Tree) -> Tree:
        mounts = [
            mount | {"options": [one for word in mount["options"] for one in other(word)]}
            if isinstance(mount, dict) and isinstance(mount.get("options"), list)
            else mount
            for mount in tree.get("mounts", ())
        ]
        return tree | {"mounts": mounts} if mounts else tree

    return seen


if __name__ == "__main__":
    kind, _, where = sys.argv[1].partition(":")
    if kind in ("fail", "kill") and where not in steps.STEPS:
        raise SystemExit(f"no such step: {where}")
    arrange(kind, where)
    del sys.argv[:2]
    from ocirun.cli import main

    main()
