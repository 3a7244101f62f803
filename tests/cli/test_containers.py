"""The state file: whole at first, then it grows."""

from __future__ import annotations

from pathlib import Path

from ocirun.plan.cgroup import CgroupDir
from ocirun.record import replace
from ocirun.store import containers

FIRST = containers.Entry(
    id="one",
    bundle="/b",
    rootfs="/b/rootfs",
    created="2026-01-02T03:04:05Z",
    document='"bundle": "/b"}',
    uid=7,
    creating=True,
    hooks=("poststop",),
    cgroup=(
        CgroupDir(controllers=("cpu", "cpuacct"), path="/c/cpu/one", mountpoint="/c/cpu"),
        CgroupDir(controllers=(), path="/c/unified/one", mountpoint="/c/unified"),
    ),
)
BORN = replace(FIRST, pid=4321, start=99)
LATE = (
    containers.Late(index=70, pointer="/hooks/startContainer/0", hook=True, what="run startContainer hook /h"),
    containers.Late(index=71, pointer="/process/args", hook=False, what="exec sh -c a\tb=c"),
)
DONE = replace(BORN, creating=False, late=LATE)


def saved(root: Path, *entries: containers.Entry) -> Path:
    (root / "one").mkdir()
    containers.save(str(root), entries[0])
    for entry in entries[1:]:
        containers.update(str(root), entry)
    return root / "one" / "state"


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, FIRST)
    assert containers.load(str(tmp_path), "one") == FIRST
    for entry in (BORN, DONE, DONE):
        containers.update(str(tmp_path), entry)
        assert containers.load(str(tmp_path), "one") == entry
    assert [other.name for other in path.parent.iterdir()] == ["state"]


def test_a_reader_in_between(tmp_path: Path) -> None:
    """A write seen in part: each entry counts whole or not at all, the pid after its start time, the end last."""
    before = saved(tmp_path, FIRST).read_bytes()
    containers.update(str(tmp_path), DONE)
    path = tmp_path / "one" / "state"
    whole = path.read_bytes()
    assert whole.startswith(before)
    for size in range(len(before), len(whole)):
        path.write_bytes(whole[:size])
        entry = containers.load(str(tmp_path), "one")
        assert entry.creating and entry.pid in (0, DONE.pid)
        assert not entry.pid or (entry.start, entry.late) == (DONE.start, DONE.late)
