"""No cell of the matrix without a test: every property, mount option, command, flag and advisory."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import ignoring
from plandriver import V1, V2, options_for
from spec.strategies import at, changed, full, removed

from ocirun.cgroup import driver
from ocirun.cli.table import COMMANDS
from ocirun.errors import Error
from ocirun.plan.build import build
from ocirun.plan.execute import build_exec
from ocirun.plan.host import Hierarchy
from ocirun.record import replace
from ocirun.seccomp.cache import compile_filter
from ocirun.spec.read import read_spec

Tree = Any
Keys = tuple[str | int, ...]


def _matrix() -> Any:
    """The module beside this one, which is a program too."""
    spec = importlib.util.spec_from_file_location("matrix", Path(__file__).with_name("matrix.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix"] = module
    spec.loader.exec_module(module)
    return module


matrix = _matrix()
CELLS: dict[str, list[str]] = matrix.cells()
ROWS = matrix.rows()


@pytest.mark.parametrize("kind", CELLS)
def test_every_cell_has_one_row(kind: str) -> None:
    count = {cell: sum(row.has(cell) for row in ROWS if row.kind == kind) for cell in CELLS[kind]}
    assert [cell for cell, rows in count.items() if not rows] == [], "without a test: write it, and add it to the table"
    assert [cell for cell, rows in count.items() if rows > 1] == []


def test_every_row_has_cells() -> None:
    assert {row.kind for row in ROWS} == set(CELLS)
    assert {row.state for row in ROWS} <= set(matrix.STATES)
    dead = [
        name
        for row in ROWS
        for name in row.names
        if not any(cell == name or cell.startswith(f"{name}/") for cell in CELLS[row.kind])
    ]
    assert dead == []


def test_every_row_has_tests() -> None:
    known = list(matrix.test_names())
    missing = [
        (row.key, pattern)
        for row in ROWS
        if row.state != "absent"
        for pattern in row.tests
        if not fnmatch.filter(known, pattern)
    ]
    assert missing == []
    assert [row.key for row in ROWS if not row.tests] == []


def test_nothing_is_refused() -> None:
    assert [row.key for row in PROPERTIES if row.state == "refused"] == []
    assert [row.key for row in ROWS if row.kind == "option" and row.state != "done"] == []


@pytest.mark.parametrize("kind", ["flag", "advisory"])
def test_the_tests_speak_of_their_cells(kind: str) -> None:
    """A flag or an advisory is named in one of its tests. (Properties are tried below; the tests of options have
    tables that are compared with the program's.)"""
    names = matrix.test_names()
    shorts = {f"{name} --{flag.name}": flag.short for name, command in COMMANDS.items() for flag in command.flags}
    silent = []
    for row in (row for row in ROWS if row.kind == kind and row.state != "absent"):
        texts = {names[name] for pattern in row.tests for name in fnmatch.filter(names, pattern)}
        for cell in row.names:
            words = [cell.rpartition(" ")[2], *([f"-{shorts[cell]}"] if shorts.get(cell) else [])]
            if not any(re.search(rf"(?<![\w-]){word}(?![\w-])", text) for text in texts for word in words):
                silent.append(cell)
    assert silent == []


# What the table says of a property, against what becomes of it

PROPERTIES = [row for row in ROWS if row.kind == "property"]
REFUSED = "not supported by this version"
CHECKED = {"/ociVersion"}  # what it does is that another one is refused
CONTROLLERS = ("cpu", "cpuset", "memory", "devices", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "rdma")
HIERARCHIES = tuple(
    Hierarchy(mountpoint=f"/sys/fs/cgroup/{name}", controllers=(name,), own="/") for name in CONTROLLERS
)
HOSTS = {"v1": replace(V1, hierarchies=HIERARCHIES), "v2": V2}

# Other values than those of full(), which are what is done without them too.
VALUES = {
    "/process/user/umask": 0o77,
    "/linux/seccomp/syscalls/*/errnoRet": 18,
    "/linux/seccomp/syscalls/*/args/*/valueTwo": 0x7E000000,
}
# No policy has all properties.
SCHEDULERS = {
    "v1": {"policy": "SCHED_FIFO", "nice": 5, "priority": 6, "flags": ["SCHED_FLAG_RECLAIM"]},
    "v2": {
        "policy": "SCHED_DEADLINE",
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 2000,
        "deadline": 3000,
        "period": 4000,
    },
}
# And other ones of a kind of which not all will do.
OTHERS = {
    "/process/rlimits/*/type": "RLIMIT_CORE",
    "/process/scheduler/policy": "SCHED_RR",
    "/process/ioPriority/class": "IOPRIO_CLASS_RT",
    "/process/execCPUAffinity/initial": "1",
    "/process/execCPUAffinity/final": "1",
    "/linux/devices/*/type": "b",
    "/linux/namespaces/*/type": "pid",
    "/linux/resources/devices/*/access": "r",
    "/linux/resources/hugepageLimits/*/pageSize": "1GB",
    "/linux/memoryPolicy/mode": "MPOL_PREFERRED",
    "/linux/memoryPolicy/nodes": "1",
    "/linux/personality/domain": "LINUX",
    "/linux/seccomp/defaultAction": "SCMP_ACT_TRACE",
    "/linux/seccomp/syscalls/*/action": "SCMP_ACT_TRACE",
    "/linux/seccomp/syscalls/*/args/*/op": "SCMP_CMP_EQ",
}


def where(cell: str, tree: Tree) -> Keys:
    """The path of the first such value in a tree."""
    path: Keys = ()
    for step in cell.split("/")[1:]:
        inner = at(tree, path)
        path += (step if step != "*" else next(iter(inner)) if isinstance(inner, dict) else 0,)
    return path


def exists(tree: Tree, path: Keys) -> bool:
    try:
        at(tree, path)
    except (KeyError, IndexError):
        return False
    return True


def base(host: str) -> Tree:
    """Everything that is done, as far as this host's cgroups can have it; on v1 with a user namespace, in which
    devices are not made but bound, and a mount that is not bound, so that its type counts."""
    tree = full()
    for cell, value in VALUES.items():
        tree = changed(tree, where(cell, tree), value)
    for row in PROPERTIES:
        for name in row.names if row.state == "refused" else ():
            tree = removed(tree, where(name, tree))
    tree["process"]["scheduler"] = SCHEDULERS[host]
    if host == "v1":
        tree["mounts"][0] = {"destination": "/data", "type": "tmpfs", "source": "/srv", "options": ["nosuid"]}
    kinds = ("network", "mount", "uts", "time", *(("user",) if host == "v1" else ()))
    linux = tree["linux"]
    linux["namespaces"] = [{"type": "ipc", "path": "/run/ipc"}, *({"type": kind} for kind in kinds)]
    for key in ("uidMappings", "gidMappings"):
        if host == "v1":
            linux[key] = [
                {"containerID": 70000, "hostID": 200000, "size": 10},
                {"containerID": 0, "hostID": 100000, "size": 65536},
            ]
        else:
            del linux[key]
    if host == "v1":
        del linux["resources"]["unified"]
    else:
        del linux["resources"]["cpu"]["realtimeRuntime"], linux["resources"]["cpu"]["realtimePeriod"]
    return tree


def effect(tree: Tree, host: str) -> object:
    """All that becomes of a configuration: what create and exec plan, and what later commands use; or the error."""
    try:
        spec = read_spec("config.json", json.dumps(tree).encode())
        filter = compile_filter(spec.linux.seccomp) if spec.linux.seccomp else None
        placement = driver.place(spec, HOSTS[host], "box", "auto")
        options = options_for(spec)
        plan = build(spec, HOSTS[host], options, placement, filter)
        later = build_exec(spec.process, spec, HOSTS[host], options, placement.directories, (), filter)
    except Error as error:
        return str(error)
    operations = [(op.who, op.name, op.values) for op in (*plan.operations, *later.operations)]
    seccomp = spec.linux.seccomp
    agent = (seccomp.listener_path, seccomp.listener_metadata) if seccomp else ()
    return operations, spec.hooks.poststart, spec.hooks.poststop, spec.annotations, agent


def others(cell: str, tree: Tree) -> Iterator[Tree]:
    """The tree without that value, and with another one."""
    path = where(cell, tree)
    value = at(tree, path)
    yield removed(tree, path)
    if cell in OTHERS:
        yield changed(tree, path, OTHERS[cell])
    elif isinstance(value, bool):
        yield changed(tree, path, not value)
    elif isinstance(value, int):
        yield changed(tree, path, value + 1)
        yield changed(tree, path, value - 1)
    else:
        yield changed(tree, path, value[1:] if isinstance(value, list) else f"{value}x")


@pytest.mark.parametrize("cell", CELLS["property"])
def test_a_property_is_what_the_table_says(cell: str) -> None:
    """Done: without it something else happens. Ignored: nothing does. Refused: said by its name."""
    (row,) = (row for row in PROPERTIES if row.has(cell))
    effects = []
    for host in HOSTS:
        tree = base(host)
        reference = effect(tree, host)
        assert not isinstance(reference, str), reference
        if row.state == "refused":
            for name in row.names:
                path = where(name, full())
                value = VALUES.get(name, at(full(), path))
                tree = changed(tree, path[:-1], at(tree, path[:-1]) | {path[-1]: value})
            pointer = "".join(f"/{step}" for step in where(cell, tree))
            said = re.findall(rf"(/\S+): .*(?:{REFUSED})", str(effect(tree, host)))
            assert any(f"{pointer}/".startswith(f"{one}/") for one in said), said
        elif exists(tree, where(cell, full())):
            for found in (effect(other, host) for other in others(cell, tree)):
                # That a wrong value is an error shows nothing about right ones.
                if cell in CHECKED or not isinstance(found, str):
                    effects.append(found != reference)
    if row.state != "refused":
        assert effects
        assert any(effects) == (row.state == "done")


@pytest.mark.parametrize("cell", [cell for cell in CELLS["property"] for row in PROPERTIES if row.has(cell)])
def test_a_runtime_that_ignores_it_runs(cell: str) -> None:
    """What run/test_every_property.py has instead of a property is no error, for which any test would fail."""
    (row,) = (row for row in PROPERTIES if row.has(cell))
    if row.state == "done" and cell != "/linux/namespaces/*/type":  # without any, everything else is an error
        found = [effect(ignoring(cell)(base(host)), host) for host in HOSTS]
        assert not all(isinstance(one, str) for one in found), found


def test_every_advisory_is_told_of() -> None:
    """SECURITY.md says of each what stops it here."""
    text = (matrix.TESTS.parent / "SECURITY.md").read_text()
    told = " ".join(line for line in text.splitlines() if line.startswith("|"))
    assert [name for name in CELLS["advisory"] if not re.search(rf"(?<![\w-]){name}(?![\w-])", told)] == []
