"""What a hostile rootfs tries, by the advisories of runc, crun and youki.

The attacks are run against a naive version of the file that holds the defence too, where they must succeed: a test
whose attack does nothing proves nothing.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsdriver import (
    ATTR_RDONLY,
    COPY_UP,
    MS_PRIVATE,
    MS_REC,
    ORDINARY,
    Driven,
    Failed,
    bind,
    bind_device,
    build_driver,
    device,
    enter,
    mask,
    mount,
    pivot,
)

from ocirun.plan import ops

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x00020000, 0x04000000, 0x10000000
OLD = "fsopen,open_tree,move_mount,mount_setattr,openat2"


@pytest.fixture
def rootfs(scratch: Path) -> Path:
    path = scratch / "rootfs"
    path.mkdir()
    return path


@pytest.fixture
def victim(scratch: Path) -> Path:
    """A directory of the host."""
    path = scratch / "victim"
    path.mkdir()
    return path


def attempt(operations: list[ops.Operation], **options: object) -> Failed | None:
    """Perform and end."""
    try:
        with Driven(operations, **options):  # type: ignore[arg-type]
            return None
    except Failed as failed:
        return failed


def symlink(text: str, target: str, replace: int = 0) -> ops.Operation:
    return ops.symlink("init", "", text=text, target=target, replace=replace)


# CVE-2019-18837, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: /proc of the image is a symlink.


@pytest.mark.parametrize("without", ["", "openat2", OLD])
@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
@pytest.mark.parametrize("where", ["last", "middle"])
def test_proc_and_sysfs_only_on_an_ordinary_directory(rootfs: Path, fstype: str, where: str, without: str) -> None:
    (rootfs / "real" / "place").mkdir(parents=True)
    (rootfs / "link").symlink_to("/real/place" if where == "last" else "real")
    target = "/link" if where == "last" else "/link/place"
    failed = attempt([*enter(rootfs), mount(fstype, target, target_flags=ORDINARY)], without=without)
    assert failed is not None
    assert failed.words == f'filesystem "{fstype}" must be mounted on ordinary directory'
    (rootfs / "file").touch()
    failed = attempt([*enter(rootfs), mount(fstype, "/file", target_flags=ORDINARY)], without=without)
    assert failed is not None
    assert failed.words == f'filesystem "{fstype}" must be mounted on ordinary directory'


# CVE-2019-16884: something of the image mounted over what the runtime writes to in /proc.


@pytest.mark.parametrize("without", ["", OLD])
def test_nothing_is_mounted_into_proc_through_a_symlink(rootfs: Path, scratch: Path, without: str) -> None:
    (scratch / "fake").mkdir()
    (scratch / "fake" / "exec").touch()
    (rootfs / "innocent").symlink_to("/proc/sys")
    (rootfs / "root").symlink_to("/proc")
    for target in ("/innocent", "/innocent/kernel"):
        plan = [*enter(rootfs), mount("proc", "/proc", target_flags=ORDINARY), bind(scratch / "fake", target)]
        failed = attempt(plan, without=without)
        assert failed is not None
        assert failed.words == f'"{target}" cannot be mounted because it is inside /proc'
        failed = attempt([*plan[:-1], mount("tmpfs", target)], without=without)
        assert failed is not None
        assert failed.words == f'"{target}" cannot be mounted because it is inside /proc'
    for last in (bind(scratch / "fake", "/root"), mount("tmpfs", "/root")):
        failed = attempt([*enter(rootfs), mount("proc", "/proc", target_flags=ORDINARY), last], without=without)
        assert failed is not None
        assert failed.words == '"/root" cannot be mounted because it is not of type proc'
    failed = attempt([*enter(rootfs), bind(scratch / "fake", "/proc")], without=without)
    assert failed is not None
    assert failed.words == '"/proc" cannot be mounted because it is not of type proc'
    procs = [*enter(rootfs), mount("proc", "/proc"), bind("/proc", "/proc", recursive=True), mount("proc", "/proc")]
    assert attempt(procs, without=without) is None


def test_the_symlink_into_proc_works_without_the_look_at_the_target(rootfs: Path, scratch: Path) -> None:
    (scratch / "fake").mkdir()
    (rootfs / "innocent").symlink_to("/proc/sys")
    plan = [*enter(rootfs), mount("proc", "/proc", target_flags=ORDINARY), bind(scratch / "fake", "/innocent")]
    with Driven(plan, driver=build_driver(["naive_procfs.c"])) as driven:
        assert driven.mount(f"{rootfs}/proc/sys").root.endswith("/fake")


# CVE-2021-30465: a target exchanged between the look and the mount. CVE-2024-45310: a directory on the way there.


RACER = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from fsdriver import exchange
first, second = Path(sys.argv[1]), Path(sys.argv[2])
print("racing", flush=True)
while True:
    exchange(first, second)
"""


@pytest.fixture
def racing(rootfs: Path, victim: Path) -> Iterator[Path]:
    """A volume in which `dir` and a symlink to a directory of the host change places all the time."""
    volume = rootfs / "volume"
    (volume / "dir").mkdir(parents=True)
    (volume / "link").symlink_to(victim)
    paths = [entry for entry in sys.path if entry]
    process = subprocess.Popen(
        [sys.executable, "-c", RACER, str(volume / "dir"), str(volume / "link"), *paths],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"racing\n"
    yield volume
    process.kill()
    process.communicate()


def race(rootfs: Path, victim: Path, source: Path, rounds: int, **options: object) -> tuple[int, int]:
    """How many mounts and how many files arrived in the host's directory. What fails by the race is tried again."""
    operations = []
    for number in range(60):
        operations += [
            bind(source, f"/volume/dir/mount{number % 10}"),
            ops.mkdir("init", "", target=f"/volume/dir/directory{number}/x", mode=0o755),
            device(f"/volume/dir/fifo{number}", 0, 0, mode=0o010600),
        ]
    mounts = 0
    for _ in range(rounds):
        try:
            with Driven([*enter(rootfs), *operations], **options) as driven:  # type: ignore[arg-type]
                targets = [found.target for found in driven.mounts()]
                mounts += sum(1 for target in targets if Path(target).is_relative_to(victim))
        except Failed as failed:
            assert failed.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EXDEV, 0), failed
    return mounts, len(os.listdir(victim))


@pytest.mark.parametrize("without", ["", "openat2", OLD])
def test_no_race_leads_out_of_the_root(racing: Path, rootfs: Path, victim: Path, scratch: Path, without: str) -> None:
    (scratch / "source").mkdir()
    assert race(rootfs, victim, scratch / "source", 12, without=without) == (0, 0)
    # Meanwhile the same was made inside, at the symlink's place in the root.
    assert (rootfs / victim.relative_to("/")).is_dir()


def test_the_race_is_won_against_paths(racing: Path, rootfs: Path, victim: Path, scratch: Path) -> None:
    (scratch / "source").mkdir()
    naive = build_driver(["naive_inroot.c"])
    for _ in range(20):
        _, files = race(rootfs, victim, scratch / "source", 5, driver=naive)
        if files:
            return
    pytest.fail("the attack never succeeded: the test above proves nothing")


# CVE-2025-31133, CVE-2025-62161: /dev/null of the image is something else, and masked paths show that.


def masked(rootfs: Path) -> list[ops.Operation]:
    (rootfs / "dev").mkdir()
    (rootfs / "secret").write_text("secret")
    (rootfs / "mine").write_text("chosen by the image")
    return [*enter(rootfs), pivot(), *mask("/secret")]


@pytest.mark.parametrize("kind", ["symlink", "file", "zero", "missing"])
@pytest.mark.parametrize("without", ["", OLD])
def test_masks_come_from_the_null_device_only(rootfs: Path, kind: str, without: str) -> None:
    plan = masked(rootfs)
    null = rootfs / "dev" / "null"
    if kind == "symlink":
        null.symlink_to("/mine")
    elif kind == "file":
        null.touch()
    elif kind == "zero":
        os.mknod(null, 0o020666, os.makedev(1, 5))
    failed = attempt(plan, without=without)
    assert failed is not None
    if kind == "missing":
        assert failed.errno == errno.ENOENT
    else:
        assert failed.words == "/dev/null of the container is not the null device"


def test_the_fake_null_device_is_believed_by_its_name(rootfs: Path) -> None:
    plan = masked(rootfs)
    (rootfs / "dev" / "null").symlink_to("/mine")
    with Driven(plan, driver=build_driver(["naive_op_device.c"])) as driven:
        assert (driven.root / "secret").read_text() == "chosen by the image"


# CVE-2025-52881, CVE-2025-62596: what is written to /proc lands elsewhere, where somebody has mounted over it.


def redirected(rootfs: Path, scratch: Path) -> list[ops.Operation]:
    (scratch / "elsewhere").write_text("untouched")
    return [
        *enter(rootfs),
        mount("proc", "/proc", target_flags=ORDINARY),
        bind(scratch / "elsewhere", "/proc/sys/kernel/domainname"),
        pivot(),
        ops.sysctl("init", "", path="kernel/domainname", value="from.config"),
    ]


def test_sysctls_are_written_below_what_is_mounted(rootfs: Path, scratch: Path) -> None:
    with Driven(redirected(rootfs, scratch)) as driven:
        command = ["nsenter", "--uts", "--target", str(driven.pid), "cat", "/proc/sys/kernel/domainname"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == b"from.config\n"
    assert (scratch / "elsewhere").read_text() == "untouched"


@pytest.mark.parametrize("without", ["fsopen", "fsopen,openat2"])
def test_without_a_procfs_of_its_own_a_covered_sysctl_is_refused(rootfs: Path, scratch: Path, without: str) -> None:
    failed = attempt(redirected(rootfs, scratch), without=without)
    assert failed is not None and failed.errno == errno.EXDEV
    assert (scratch / "elsewhere").read_text() == "untouched"


def test_sysctls_are_redirected_where_proc_is_believed(rootfs: Path, scratch: Path) -> None:
    assert attempt(redirected(rootfs, scratch), driver=build_driver(["naive_procfs.c"])) is None
    assert (scratch / "elsewhere").read_text().startswith("from.config")


@pytest.mark.parametrize("without", ["", "fsopen", "fsopen,openat2"])
def test_sysctls_without_an_attack(rootfs: Path, without: str) -> None:
    plan = [*enter(rootfs), mount("proc", "/proc"), pivot()]
    plan.append(ops.sysctl("init", "", path="kernel/domainname", value="from.config"))
    assert attempt(plan, without=without) is None
    bad = ops.sysctl("init", "", path="kernel/../kernel/domainname", value="x")
    failed = attempt([*plan[:-1], bad], without=without)
    assert (failed is not None) == (without == "fsopen,openat2")
    failed = attempt([*plan[:-1], ops.sysctl("init", "", path="../1/oom_score_adj", value="5")], without=without)
    assert failed is not None and failed.errno == errno.EXDEV
    failed = attempt([*plan[:-1], ops.sysctl("init", "", path="net/nonesuch", value="5")], without=without)
    assert failed is not None and failed.errno == errno.ENOENT


@pytest.mark.parametrize("without", ["fsopen", "fsopen,openat2"])
def test_proc_that_is_no_procfs_is_not_written_to(rootfs: Path, without: str) -> None:
    (rootfs / "proc" / "sys" / "kernel").mkdir(parents=True)
    (rootfs / "proc" / "sys" / "kernel" / "domainname").touch()
    failed = attempt(
        [*enter(rootfs), pivot(), ops.sysctl("init", "", path="kernel/domainname", value="x")], without=without
    )
    assert failed is not None and failed.errno == errno.EXDEV
    assert (rootfs / "proc" / "sys" / "kernel" / "domainname").read_bytes() == b""


# CVE-2026-41579, CVE-2026-47766: /dev of the image is a symlink to a directory of the host.


def populate_dev(rootfs: Path) -> list[ops.Operation]:
    return [
        *enter(rootfs),
        ops.mkdir("init", "", target="/dev", mode=0o755),
        device("/dev/null", 1, 3),
        symlink("pts/ptmx", "/dev/ptmx", 1),
        symlink("/proc/self/fd", "/dev/fd"),
        bind_device("/dev/zero", 1, 5),
    ]


def link_dev(rootfs: Path, victim: Path, relative: bool) -> None:
    (victim / "ptmx").write_text("the host's")
    (rootfs / "dev").symlink_to(f"../{victim.name}" if relative else victim)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("without", ["", "openat2"])
def test_dev_of_the_image_is_looked_up_inside(rootfs: Path, victim: Path, relative: bool, without: str) -> None:
    link_dev(rootfs, victim, relative)
    attempt(populate_dev(rootfs), without=without)
    assert os.listdir(victim) == ["ptmx"]
    assert (victim / "ptmx").read_text() == "the host's"


@pytest.mark.parametrize("relative", [False, True])
def test_dev_of_the_image_leads_out_by_paths(rootfs: Path, victim: Path, relative: bool) -> None:
    link_dev(rootfs, victim, relative)
    attempt(populate_dev(rootfs), driver=build_driver(["naive_inroot.c"]))
    assert set(os.listdir(victim)) > {"ptmx", "null", "fd"}
    assert os.readlink(victim / "ptmx") == "pts/ptmx"


# Magic links of a procfs lead anywhere.


@pytest.mark.parametrize("without", ["", "openat2"])
def test_magic_links_are_not_followed(rootfs: Path, victim: Path, without: str) -> None:
    for name, target in (("cwd", "/proc/self/cwd"), ("root", "/proc/self/root"), ("fd", "/proc/self/fd/0")):
        (rootfs / name).symlink_to(target)
    start = [*enter(rootfs), mount("proc", "/proc", target_flags=ORDINARY)]
    for target in (f"/root{victim}/x", f"/proc/self/root{victim}/x", f"/proc/1/root{victim}/x"):
        attempt([*start, ops.mkdir("init", "", target=target, mode=0o755)], without=without)
        attempt([*start, bind(victim, target)], without=without)
    failed = attempt([*start, bind("/etc/passwd", "/fd", set=ATTR_RDONLY)], without=without)
    assert failed is not None
    assert os.listdir(victim) == []


def test_magic_links_lead_out_by_paths(rootfs: Path, victim: Path) -> None:
    (rootfs / "root").symlink_to("/proc/self/root")
    made = ops.mkdir("init", "", target=f"/root{victim}/x", mode=0o755)
    plan = [*enter(rootfs), mount("proc", "/proc", target_flags=ORDINARY), made]
    attempt(plan, driver=build_driver(["naive_inroot.c"]))
    assert os.listdir(victim) == ["x"]


def test_masks_and_read_only_paths_stay_inside(rootfs: Path, victim: Path) -> None:
    (victim / "file").write_text("the host's")
    (rootfs / "out").symlink_to(victim)
    (rootfs / "up").symlink_to("../victim")
    plan = [*enter(rootfs), *mask("/out", "/up", "/out/file"), ops.readonly("init", "", target="/out")]
    with Driven(plan) as driven:
        assert all(not Path(found.target).is_relative_to(victim) for found in driven.mounts())


# A user namespace in which the kernel refuses a procfs of one's own, since something hides a part of the visible one.


def test_sysctl_in_a_nested_user_namespace_with_a_masked_proc() -> None:
    plan = [
        ops.enter_root("init", "", path="/"),
        ops.propagation("init", "", flags=MS_PRIVATE | MS_REC),
        ops.use_root("init", ""),
        *mask("/proc/fs"),
        ops.unshare("init", "", flags=CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS),
        ops.sysctl("init", "", path="kernel/domainname", value="nested"),
    ]
    with Driven(plan) as driven:
        command = ["nsenter", "--uts", "--target", str(driven.pid), "cat", "/proc/sys/kernel/domainname"]
        assert subprocess.run(command, capture_output=True, check=True).stdout == b"nested\n"


# CVE-2026-115521: the image has a /proc of its own when "/" is made read-only, and no mount_setattr(2) is there.


def readonly_root(rootfs: Path) -> list[ops.Operation]:
    (rootfs / "decoy").mkdir()
    fds = rootfs / "proc" / "self" / "fd"
    fds.mkdir(parents=True)
    for number in range(64):
        (fds / str(number)).symlink_to("/decoy")
    return [*enter(rootfs), bind(rootfs / "decoy", "/decoy"), pivot(), ops.root_readonly("init", "")]


@pytest.mark.parametrize("without", ["", "mount_setattr", OLD])
def test_the_root_is_made_readonly_and_nothing_else(rootfs: Path, without: str) -> None:
    with Driven(readonly_root(rootfs), without=without) as driven:
        assert "ro" in driven.mount("/").options
        assert "ro" not in driven.mount("/decoy").options


def test_the_decoy_is_made_readonly_where_proc_is_believed(rootfs: Path) -> None:
    driver = build_driver(["naive_procfs.c"])
    with Driven(readonly_root(rootfs), without="mount_setattr", driver=driver) as driven:
        assert "ro" not in driven.mount("/").options
        assert "ro" in driven.mount("/decoy").options


# CVE-2026-133553: the target of a tmpcopyup is exchanged between the copy and the mount.


def copying(rootfs: Path, **options: object) -> bool:
    """Is something on the host after it?"""
    operations = [
        op
        for number in range(20)
        for op in (
            ops.mkdir("init", "", target=f"/volume/dir/place{number}", mode=0o755),
            mount("tmpfs", f"/volume/dir/place{number}", target_flags=COPY_UP),
        )
    ]
    try:
        with Driven([*enter(rootfs), *operations], **options):  # type: ignore[arg-type]
            pass
    except Failed as failed:
        assert failed.errno in (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EXDEV, 0), failed
    return bool(os.listdir(rootfs.parent / "victim"))


@pytest.mark.parametrize("without", ["", "openat2", OLD])
def test_nothing_is_copied_to_the_host(racing: Path, rootfs: Path, victim: Path, without: str) -> None:
    assert not any(copying(rootfs, without=without) for _ in range(15))


def test_it_is_copied_to_the_host_by_path(racing: Path, rootfs: Path, victim: Path) -> None:
    naive = build_driver(["naive_inroot.c"])
    assert any(copying(rootfs, driver=naive) for _ in range(60)), "the attack never succeeded"
