"""Every property and every option of mounts is watched: a runtime that ignores it fails a test of its row in
matrix.toml.

The row's tests run against the tests' own front door (tests/drivers/faults.py), which reads config.json as if the
property were not there; one of them has to fail then, and to pass without that fault.
"""

from __future__ import annotations

import fnmatch

import pytest
from policy import matrix
from warm import Warm

ROWS = [row for row in matrix.rows() if row.state == "done"]
NAMES = list(matrix.test_names())

# The kernel shows nothing of these, or does the same without them. What can be seen is that they are understood: they
# are no data for the file system, which would refuse them.
UNSEEN = {"defaults", "silent", "loud", "iversion", "noiversion", "norelatime", "rnorelatime"}


def cells(kind: str) -> list[str]:
    """What has its effect, of that kind."""
    return [cell for cell in matrix.cells()[kind] if any(row.has(cell) for row in ROWS if row.kind == kind)]


def watchers(kind: str, cell: str) -> list[str]:
    """The tests of a cell's row, in its order."""
    (row,) = (row for row in ROWS if row.kind == kind and row.has(cell))
    return [name for pattern in row.tests for name in fnmatch.filter(NAMES, pattern)]


# Of a property that is one of some words, or a list of them, each word (those of seccomp are in tests/seccomp); but for
# what is done without it too, or is the same as another.
SAME = {
    "/process/scheduler/policy": {"SCHED_ISO"},  # Linux has never had it: it is refused
    "/linux/devices/*/type": {"u"},
    "/linux/rootfsPropagation": {"slave", "rslave"},
    "/linux/personality/domain": {"LINUX"},
}
VALUES = [
    (property, value)
    for property, value in matrix.values()
    if property in cells("property") and not property.startswith("/linux/seccomp/")
    if value not in SAME.get(property, ())
]


# Where the kernel has no resctrl all of intelRdt is refused, whatever is in it. That the plan of another host depends
# on each of these is shown by policy/test_matrix.py, and what it does on a made-up tree by plan/test_resctrl.py.
TESTED = [property for property in cells("property") if not property.startswith("/linux/intelRdt/")]


@pytest.mark.parametrize("property", TESTED)
def test_ignored_property(property: str, warm: Warm) -> None:
    warm.notices(f"ignore:{property}", watchers("property", property), first=property.split("/"))


@pytest.mark.parametrize(("property", "value"), VALUES, ids=[f"{property}={value}" for property, value in VALUES])
def test_ignored_value(property: str, value: str, warm: Warm) -> None:
    warm.notices(f"ignore:{property}={value}", watchers("property", property), first=[value])


@pytest.mark.parametrize("option", cells("option"))
def test_ignored_option(option: str, warm: Warm) -> None:
    fault = "mistake" if option in UNSEEN else "ignore"
    warm.notices(f"{fault}-option:{option}", watchers("option", option), first=[option])
