"""user_namespace and idmap of the native init, by which mounts get other owners."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
from fsdriver import Driven, Failed, bind, enter
from harness import eventually
from initdriver import Driver

from ocirun.plan import ops
from ocirun.plan.ops import NO_SLOT, Operation

AS_TAKEN = 16
MAP = "0 100000 10\n"


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    path = scratch / "rootfs"
    path.mkdir()
    return path


@pytest.fixture
def source(scratch: Path) -> Path:
    path = scratch / "source"
    path.mkdir()
    (path / "seven").touch()
    os.chown(path / "seven", 7, 8)
    return path


def take(source: Path, slot: int = 1) -> Operation:
    return ops.open_tree("outer", "", path=str(source), from_slot=NO_SLOT, recursive=0, slot=slot)


def space(uids: str = MAP, gids: str = MAP, slot: int = 0) -> Operation:
    return ops.user_namespace("outer", "", uid_map=uids, gid_map=gids, slot=slot)


def idmap(slot: int = 1, recursive: int = 0) -> Operation:
    return ops.idmap("outer", "", path="", slot=slot, namespace_slot=0, recursive=recursive)


def attach(source: Path, target: str = "/data", slot: int = 1) -> Operation:
    return bind(source, target, slot=slot, target_flags=AS_TAKEN)


@pytest.mark.parametrize("without", ["", "openat2", "fsopen", "close_range,fsopen,openat2"])
def test_mapped(rootfs: Path, source: Path, without: str) -> None:
    """Two mounts by one namespace, of which nothing is left open."""
    plan = [
        take(source),
        take(source, 2),
        space(MAP, "0 200000 10\n"),
        idmap(),
        idmap(2),
        *enter(rootfs),
        attach(source),
        attach(source, "/again", 2),
    ]
    with Driven(plan, without=without) as driven:
        for name in ("data", "again"):
            found = os.stat(f"{driven.root}{rootfs}/{name}/seven")
            assert (found.st_uid, found.st_gid) == (100007, 200008)
        assert not [target for target in driven.descriptors().values() if "user:" in target]
        assert Path(f"/proc/{driven.pid}/task/{driven.pid}/children").read_text() == "", "nobody stays in it"


def failure(plan: list[Operation], **options: object) -> Failed:
    with pytest.raises(Failed) as failed, Driven(plan, **options):  # type: ignore[arg-type]
        pass
    return failed.value


def test_where_the_kernel_or_a_filter_has_no_such_calls(source: Path) -> None:
    plan = [take(source), space(), idmap()]
    words = "idmapped mounts need mount_setattr(2) (Linux 5.12)"
    missing = failure(plan, without="mount_setattr")
    assert (missing.index, missing.errno, missing.words) == (2, errno.ENOSYS, words)
    forbidden = failure(plan, forbidden=["mount_setattr"])
    words = "mount_setattr(2) takes CAP_SYS_ADMIN, or a seccomp filter forbids it"
    assert (forbidden.index, forbidden.errno, forbidden.words) == (2, errno.EPERM, words)
    for old in (failure(plan, without="open_tree"), failure(plan, forbidden=["open_tree"])):
        assert (old.index, old.words) == (2, "idmapped mounts need open_tree(2) (Linux 5.2)")


def test_what_the_kernel_refuses(source: Path) -> None:
    unfit = failure([take(Path("/proc")), space(), idmap()])
    assert (unfit.errno, unfit.words) == (
        errno.EINVAL,
        "the file system does not support idmapped mounts with this kernel",
    )
    unfit = failure([take(Path("/proc")), space(), idmap(recursive=1)])
    assert unfit.words.startswith("the file system, or one mounted below, does not")
    twice = failure(
        [
            take(source),
            space(),
            idmap(),
            space(slot=2),
            ops.idmap("outer", "", path="", slot=1, namespace_slot=2, recursive=0),
        ]
    )
    assert (twice.index, twice.errno) == (4, errno.EPERM)
    assert twice.words.startswith("it is idmapped already")


def test_what_is_idmapped_is_never_bound_by_its_path(rootfs: Path, source: Path) -> None:
    """Where the detached tree cannot be attached, the source itself would have other owners."""
    plan = [take(source), space(), idmap(), *enter(rootfs), attach(source)]
    assert failure(plan, without="move_mount").errno == errno.ENOSYS
    assert failure(plan, forbidden=["move_mount"]).errno == errno.EPERM
    assert not (rootfs / "data" / "seven").exists()


@pytest.mark.parametrize(
    ("uids", "gids", "number", "words"),
    [
        ("0 0 1\n0 5 1\n", MAP, errno.EINVAL, "write uid_map"),
        (MAP, "0 0 0\n", errno.EINVAL, "write gid_map"),
        (MAP, "".join(f"{n} {n} 1\n" for n in range(1000, 1341)), errno.EINVAL, "write gid_map"),
    ],
)
def test_maps_that_the_kernel_refuses(uids: str, gids: str, number: int, words: str) -> None:
    failed = failure([space(uids, gids)])
    assert (failed.errno, failed.words) == (number, words)


def test_nobody_gets_at_the_inhabitant(init: Driver, scratch: Path) -> None:
    """The process that the namespace is made with: root without capabilities, to whom it belongs as to its maker,
    neither traces it nor sees its descriptors; and it has none of ours."""
    slowly = scratch / "slowly"
    slowly.write_text(
        "#!/bin/sh\n"
        f"exec /usr/bin/strace -f -qq -o {scratch}/log -e trace=ioctl -e inject=ioctl:delay_enter=1500000:when=1"
        f' {init.program} "$@"\n'
    )
    slowly.chmod(0o755)
    init.program = slowly
    opened = os.open(scratch, os.O_PATH)
    thread = threading.Thread(target=init.run, args=(space(slot=1),), kwargs={"passed": [opened]})
    thread.start()
    try:
        eventually(lambda: inhabitants(), "it is there")
        (pid,) = inhabitants()
        eventually(lambda: len(descriptors(pid)) == 1, "it has closed what it had")
        assert descriptors(pid)[0].startswith("pipe:")
        without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        for path in ("fd/0", "exe", "root", "ns/user"):
            for words in (["readlink", f"/proc/{pid}/{path}"], ["cat", f"/proc/{pid}/environ"]):
                tried = subprocess.run([*without, *words], capture_output=True, text=True, check=False)
                assert (tried.returncode, tried.stdout) == (1, "")
    finally:
        thread.join()
        os.close(opened)
    assert not inhabitants()


def inhabitants() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "ocirun:[IDMAP]\n":
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def descriptors(pid: int) -> list[str]:
    directory = Path(f"/proc/{pid}/fd")
    return [os.readlink(path) for path in directory.iterdir()]
