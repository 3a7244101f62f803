"""The root, mounts with their options, devices, and what is masked or read-only."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Runtime, Workshop, mounts
from hooks_of_tests import shell

MS_SHARED, MS_SLAVE = 1 << 20, 1 << 19
MS_BIND = 4096


def test_default_mounts(runtime: Runtime, bundle: Workshop) -> None:
    report = runtime.report(bundle(), "path=/", "path=/dev/shm", "path=/sys/kernel", "write=/sys", "write=/dev/shm")
    got = mounts(report)
    assert list(got) == ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"]
    assert got["/"].options >= {"rw"}
    assert got["/proc"].fstype == "proc" and "rw" in got["/proc"].options
    assert (got["/dev"].fstype, got["/dev"].source) == ("tmpfs", "tmpfs")
    assert got["/dev"].options == {"rw", "nosuid"}, "strictatime: no relatime"
    assert got["/dev"].super_options >= {"size=65536k", "mode=755"}
    assert got["/dev/pts"].options >= {"nosuid", "noexec"} and "nodev" not in got["/dev/pts"].options
    assert got["/dev/pts"].super_options >= {"mode=620", "ptmxmode=666"}
    assert (got["/dev/shm"].fstype, got["/dev/shm"].source) == ("tmpfs", "shm")
    assert got["/dev/shm"].options >= {"nosuid", "noexec", "nodev", "relatime"}
    assert got["/dev/mqueue"].fstype == "mqueue"
    assert got["/sys"].options >= {"ro", "nosuid", "noexec", "nodev"}
    assert {mount.propagation for mount in got.values()} == {"private"}
    assert report["paths"]["/dev/shm"]["stat"]["mode"] == 0o1777
    assert report["paths"]["/sys/kernel"]["stat"]["type"] == "d"
    assert report["writes"] == {"/sys": "EROFS", "/dev/shm": ""}
    assert sorted(report["paths"]["/"]["list"]) == ["bin", "dev", "etc", "probe", "proc", "sys", "tmp"]


def test_default_devices_and_links(runtime: Runtime, bundle: Workshop) -> None:
    report = runtime.report(bundle(), "tree=/dev", "write=/dev/null", "write=/dev/full", "path=/dev/zero")
    tree = report["trees"]["/dev"]
    devices = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
    for name, numbers in devices.items():
        node = tree[name]["stat"]
        assert (node["type"], node["major"], node["minor"]) == ("c", *numbers), name
        assert (node["mode"], node["uid"], node["gid"]) == (0o666, 0, 0), name
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }
    assert {name: tree[name].get("link") for name in links} == links
    assert "console" not in tree, "only with a terminal"
    others = set(tree) - set(devices) - set(links) - {"pts", "shm", "mqueue", "core"}
    assert not others
    assert report["writes"] == {"/dev/null": "", "/dev/full": ""}


def test_configured_devices(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.linux["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 12, "gid": 34},
        {"path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 7},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5},
        {"path": "/outside", "type": "c", "major": 1, "minor": 5, "fileMode": 0o444},
    ]
    # A device of the configuration takes the place of the default one, its permission in the cgroup included.
    made.linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"})
    report = runtime.report(made, "tree=/dev", "tree=/dev/deep/er", "tree=/")
    node = report["trees"]["/dev"]["mine"]["stat"]
    assert [node[key] for key in ("type", "mode", "uid", "gid", "major", "minor")] == ["c", 0o640, 12, 34, 1, 3]
    node = report["trees"]["/dev/deep/er"]["block"]["stat"]
    assert [node[key] for key in ("type", "mode", "major", "minor")] == ["b", 0o600, 7, 200]
    assert report["trees"]["/dev"]["unbuffered"]["stat"]["type"] == "c"
    node = report["trees"]["/dev"]["pipe"]["stat"]
    assert [node[key] for key in ("type", "mode")] == ["p", 0o622]
    node = report["trees"]["/"]["outside"]["stat"]
    assert [node[key] for key in ("type", "mode", "minor")] == ["c", 0o444, 5]
    assert (report["trees"]["/dev"]["null"]["stat"]["mode"], report["trees"]["/dev"]["null"]["stat"]["uid"]) in (
        (0o600, 5),
        (0o666, 0),
    ), "configured and default: either may win, but it is a null device"


def test_root_readonly(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.config["root"]["readonly"] = True
    report = runtime.report(made, "write=/", "write=/etc", "write=/etc/passwd", "write=/dev/shm", "write=/dev")
    assert report["writes"] == {"/": "EROFS", "/etc": "EROFS", "/etc/passwd": "EROFS", "/dev/shm": "", "/dev": ""}
    assert "ro" in mounts(report)["/"].options
    assert os.access(made.rootfs, os.W_OK)
    (made.rootfs / "still-writable").touch()


def test_root_path(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Absolute, relative with dots, and through a symlink of the host; missing or a file: refused."""
    made = bundle()
    made.config["root"]["path"] = str(made.rootfs)
    assert runtime.report(made)["cwd"] == "/"
    made = bundle()
    made.config["root"]["path"] = "./../" + made.id + "/rootfs/"
    assert runtime.report(made)["cwd"] == "/"
    made = bundle()
    made.config["root"]["path"] = "nothing"
    runtime.run(made).failed("no such file or directory")
    made = bundle()
    (made.path / "file").touch()
    made.config["root"]["path"] = "file"
    runtime.run(made).failed()
    assert not list(runtime.root.iterdir())


@pytest.mark.differs("looks for the root by its path, from inside")
def test_root_below_what_the_containers_root_may_not_enter(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle("pause")
    made.user_namespace()
    (scratch / "source").mkdir()
    (scratch / "source" / "file").write_text("of the host\n")
    made.mount("/data", "bind", str(scratch / "source"), "bind")
    made.linux["maskedPaths"] = ["/etc/passwd"]
    scratch.chmod(0o700)
    pid = runtime.started(made)
    report = runtime.probe(made, "path=/data/file", "path=/etc/passwd", "path=/")
    assert report["paths"]["/data/file"]["content"] == "of the host\n"
    assert report["paths"]["/etc/passwd"]["content"] == ""
    assert "probe" in report["paths"]["/"]["list"]
    assert runtime.end(made, pid) == 137


def test_bind_mounts(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    source = scratch / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("of the host\n")
    harness.mount("inner", str(source / "sub"), "tmpfs")
    try:
        (source / "sub" / "below").write_text("mounted below\n")
        made = bundle()
        (made.path / "relative").mkdir()
        made.mount("/all", "bind", str(source), "rbind")
        made.mount("/top", "bind", str(source), "bind", "ro", "nosuid", "nodev", "noexec")
        made.mount("/deep/er/file", "bind", str(source / "file"), "bind", "ro")
        made.mount("/none-type", "none", str(source), "rbind", "rw", "noatime")
        made.mount("/relative", "bind", "relative", "bind")
        paths = ["/all/file", "/all/sub/below", "/top/sub/below", "/deep/er/file", "/none-type/sub/below"]
        writes = ["/all", "/all/sub", "/top", "/deep/er/file", "/relative", "/none-type"]
        report = runtime.report(made, *(f"path={path}" for path in paths), *(f"write={path}" for path in writes))
    finally:
        harness.unmount(str(source / "sub"))
    contents = {path: report["paths"][path].get("content") for path in paths}
    assert contents == {
        "/all/file": "of the host\n",
        "/all/sub/below": "mounted below\n",
        "/top/sub/below": None,  # bind is not recursive
        "/deep/er/file": "of the host\n",
        "/none-type/sub/below": "mounted below\n",
    }
    assert report["writes"] == {
        "/all": "",
        "/all/sub": "",
        "/top": "EROFS",
        "/deep/er/file": "EROFS",
        "/relative": "",
        "/none-type": "",
    }
    got = mounts(report)
    assert got["/top"].options >= {"ro", "nosuid", "nodev", "noexec"}
    assert got["/none-type"].options >= {"rw", "noatime"}
    assert "/all/sub" in got and "/top/sub" not in got
    assert stat.S_ISDIR((made.rootfs / "all").stat().st_mode), "targets are made in the rootfs"
    assert stat.S_ISREG((made.rootfs / "deep" / "er" / "file").stat().st_mode)


def test_missing_source(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    made = bundle()
    made.mount("/data", "bind", str(scratch / "nothing"), "rbind")
    runtime.run(made).failed("nothing", "no such file or directory")
    assert not list(runtime.root.iterdir())


def test_tmpfs_options(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    (made.rootfs / "copied" / "deep").mkdir(parents=True)
    (made.rootfs / "copied" / "deep" / "file").write_text("kept\n")
    (made.rootfs / "copied" / "link").symlink_to("deep/file")
    os.chown(made.rootfs / "copied" / "deep" / "file", 7, 8)
    made.mount("/plain", "tmpfs", "tmpfs", "size=1m", "mode=0711", "uid=3", "gid=4", "nr_inodes=100")
    made.mount("/ro", "tmpfs", "named", "ro", "noexec", "nodiratime")
    made.mount("/copied", "tmpfs", "tmpfs", "tmpcopyup", "size=1m")
    report = runtime.report(
        made, "path=/plain", "path=/copied/link", "tree=/copied/deep", "write=/ro", "write=/copied", "tree=/copied"
    )
    got = mounts(report)
    assert got["/plain"].super_options >= {"size=1024k", "mode=711", "uid=3", "gid=4", "nr_inodes=100"}
    node = report["paths"]["/plain"]["stat"]
    assert [node[key] for key in ("mode", "uid", "gid")] == [0o711, 3, 4]
    assert got["/ro"].source == "named"
    assert got["/ro"].options >= {"ro", "noexec", "nodiratime"}
    assert report["writes"] == {"/ro": "EROFS", "/copied": ""}
    assert report["paths"]["/copied/link"]["content"] == "kept\n"
    assert report["trees"]["/copied"]["link"]["link"] == "deep/file"
    node = report["trees"]["/copied/deep"]["file"]["stat"]
    assert [node[key] for key in ("uid", "gid")] == [7, 8]


def test_mounts_follow_the_containers_symlinks_and_no_further(
    runtime: Runtime, bundle: Workshop, scratch: Path
) -> None:
    (scratch / "source").mkdir()
    (scratch / "source" / "file").write_text("here\n")
    made = bundle()
    (made.rootfs / "var" / "run").mkdir(parents=True)
    (made.rootfs / "run").symlink_to("/var/run")
    (made.rootfs / "up").symlink_to("../../../../../../var")
    made.mount("/run/data", "bind", str(scratch / "source"), "bind")
    made.mount("/up/data", "bind", str(scratch / "source"), "bind")
    report = runtime.report(made, "path=/var/run/data/file", "path=/var/data/file")
    assert report["paths"]["/var/run/data/file"]["content"] == "here\n"
    assert report["paths"]["/var/data/file"]["content"] == "here\n"
    assert not Path("/var/data").exists()


def test_order_of_mounts_is_that_of_the_config(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    (scratch / "source").mkdir()
    (scratch / "source" / "file").write_text("here\n")
    made = bundle()
    made.mount("/over", "bind", str(scratch / "source"), "bind")
    made.mount("/over/sub", "tmpfs", "tmpfs")
    made.mount("/over", "tmpfs", "tmpfs")
    report = runtime.report(made, "path=/over")
    assert report["paths"]["/over"]["list"] == []
    assert (scratch / "source" / "sub").is_dir()


def test_propagation(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    source = scratch / "source"
    source.mkdir()
    harness.mount("shared", str(source), "tmpfs")
    try:
        harness.mount("", str(source), None, MS_SHARED)
        (source / "sub").mkdir()
        kinds = {"private": "private", "rprivate": "private", "shared": "shared", "rshared": "shared"}
        kinds |= {"slave": "slave", "rslave": "slave", "unbindable": "unbindable"}
        made = bundle()
        for option in kinds:
            made.mount(f"/{option}", "bind", str(source), "bind", option)
        got = mounts(runtime.report(made))
        assert {option: got[f"/{option}"].propagation for option in kinds} == kinds
        assert (
            harness.mounts({"mountinfo": Path("/proc/self/mountinfo").read_text()})
            .keys()
            .isdisjoint({str(made.rootfs / "private")})
        )
    finally:
        harness.unmount(str(source))


NOT_SHARED = pytest.mark.differs("sets it on /, and then makes the parent of the rootfs private", before="1.4")


@pytest.mark.parametrize(
    "kind",
    [
        "private",
        "rprivate",
        "slave",
        "rslave",
        pytest.param("shared", marks=NOT_SHARED),
        pytest.param("rshared", marks=NOT_SHARED),
        pytest.param("unbindable", marks=pytest.mark.differs("fails: it would bind the unbindable", before="1.4")),
    ],
)
def test_rootfs_propagation(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    made = bundle()
    made.linux["rootfsPropagation"] = kind
    got = mounts(runtime.report(made))["/"].propagation
    if "slave" in kind:
        assert got in ("slave", "private")  # there is nobody to be a slave of
    else:
        assert got == kind.removeprefix("r")


def test_slave_mounts_see_later_mounts_of_the_host(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    source = scratch / "source"
    source.mkdir()
    harness.mount("shared", str(source), "tmpfs")
    try:
        harness.mount("", str(source), None, MS_SHARED)
        (source / "late").mkdir()
        made = bundle("pause")
        made.linux["rootfsPropagation"] = "rslave"
        made.mount("/data", "bind", str(source), "rbind", "rslave")
        pid = runtime.started(made)
        harness.mount("late", str(source / "late"), "tmpfs")
        try:
            report = runtime.probe(made)
            assert mounts(report)["/data/late"].source == "late"
        finally:
            harness.unmount(str(source / "late"))
        runtime.end(made, pid)
    finally:
        harness.unmount(str(source))


def test_masked_and_readonly_paths(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    (made.rootfs / "secret").write_text("hidden\n")
    (made.rootfs / "secrets" / "deep").mkdir(parents=True)
    (made.rootfs / "fixed").mkdir()
    (made.rootfs / "fixed" / "file").write_text("as it is\n")
    made.linux["maskedPaths"] = ["/proc/keys", "/proc/acpi", "/sys/firmware", "/secret", "/secrets", "/missing"]
    made.linux["readonlyPaths"] = ["/proc/sys", "/fixed", "/proc/sysrq-trigger", "/missing/too"]
    report = runtime.report(
        made,
        *(f"path={path}" for path in ("/secret", "/secrets", "/sys/firmware", "/proc/keys", "/fixed/file")),
        *(f"write={path}" for path in ("/secrets", "/fixed", "/fixed/file", "/proc/sys/kernel/panic", "/proc")),
    )
    assert report["paths"]["/secret"]["content"] == ""
    assert [report["paths"]["/secret"]["stat"][key] for key in ("type", "major", "minor")] == ["c", 1, 3]
    assert report["paths"]["/secrets"]["list"] == []
    assert report["paths"]["/proc/keys"]["content"] == ""
    assert report["paths"]["/fixed/file"]["content"] == "as it is\n"
    if "error" not in report["paths"]["/sys/firmware"]:
        assert report["paths"]["/sys/firmware"]["list"] == []
    assert report["writes"]["/secrets"] == report["writes"]["/fixed"] == report["writes"]["/fixed/file"] == "EROFS"
    assert report["writes"]["/proc/sys/kernel/panic"] == "EROFS"
    got = mounts(report)
    assert "ro" in got["/secrets"].options
    assert got["/proc/sys"].options >= {"ro"}
    assert "/missing" not in got
    assert (made.rootfs / "secret").read_text() == "hidden\n"


def test_cgroup_mount(runtime: Runtime, bundle: Workshop) -> None:
    """With a cgroup namespace: the container sees its own directories, under the names that the host uses."""
    made = bundle()
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    roots = harness.cgroup_roots()
    report = runtime.report(made, "path=/sys/fs/cgroup", "write=/sys/fs/cgroup", "path=/sys/fs/cgroup/pids/tasks")
    got = mounts(report)
    if set(roots) == {""}:
        assert got["/sys/fs/cgroup"].fstype == "cgroup2"
        return
    assert got["/sys/fs/cgroup"].fstype == "tmpfs"
    for controller, directory in roots.items():
        if controller:
            inside = got[f"/sys/fs/cgroup/{directory.name}"]
            assert inside.fstype == "cgroup"
            assert inside.options >= {"ro", "nosuid", "noexec", "nodev"}
            assert inside.root == "/"
    assert report["paths"]["/sys/fs/cgroup/pids/tasks"]["content"] == "1\n"
    assert report["writes"]["/sys/fs/cgroup"] or runtime.name == "runc", "whose tmpfs stays read-write"


def test_cgroup_mount_without_a_namespace(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.without_namespace("cgroup")
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    report = runtime.report(made, "path=/sys/fs/cgroup/pids/tasks", "path=/sys/fs/cgroup/pids")
    if set(harness.cgroup_roots()) != {""}:
        assert report["paths"]["/sys/fs/cgroup/pids/tasks"]["content"] == "1\n", "only its own cgroup is mounted"
        assert mounts(report)["/sys/fs/cgroup/pids"].root == f"/{made.id}"


def test_no_pivot(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    report = runtime.report(made, "path=/", "path=/..", flags=["--no-pivot"])
    assert sorted(report["paths"]["/"]["list"]) == ["bin", "dev", "etc", "probe", "proc", "sys", "tmp"]
    assert report["paths"]["/.."]["stat"]["ino"] == report["paths"]["/"]["stat"]["ino"]
    assert report["cwd"] == "/"


@pytest.mark.parametrize("flags", [[], ["--no-pivot"]])
def test_no_procfs_without_the_masks(runtime: Runtime, bundle: Workshop, flags: list[str]) -> None:
    """Who makes a user namespace inside may mount a procfs there only if a whole one is there already
    (mount_too_revealing()): as the host's would be, out of sight, where there is no pivot_root."""
    made = bundle()
    shell(made)
    made.process["user"] = {"uid": 1000, "gid": 1000}
    box = "/bin/busybox"
    made.process["args"] = [box, "unshare", "-Urmpf", box, "mount", "-t", "proc", "proc", "/tmp"]
    runtime.run(made, *flags).ok()
    made.linux["maskedPaths"] = ["/proc/meminfo"]
    result = runtime.run(made, *flags)
    assert result.code and "permission denied" in result.err.lower()


@pytest.mark.ocirun  # runc leaves the rootfs bound on the host
def test_without_a_mount_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """chroot only; nothing may be mounted then, least of all on the host."""
    made = bundle()
    made.linux["namespaces"] = [{"type": "pid"}]
    made.config["mounts"] = []
    del made.config["hostname"]
    result = runtime.run(made.args("report", "path=/probe"))
    if runtime.name == "runc":  # it refuses
        assert result.code == 1
        return
    assert result.json["paths"]["/probe"]["stat"]["ino"] == (made.rootfs / "probe").stat().st_ino


def test_the_hosts_mounts_stay_out(runtime: Runtime, bundle: Workshop) -> None:
    """Nothing of the host's tree is reachable: no further mount, and `..` ends at the root."""
    report = runtime.report(bundle(), "path=/../../../etc/passwd", "path=/proc/1/root")
    assert all(mount.source != "none" for mount in mounts(report).values())
    assert "user:x:1000" in report["paths"]["/../../../etc/passwd"]["content"]
    lines: list[Any] = report["mountinfo"].splitlines()
    assert len(lines) == 7


def test_no_mount_reaches_a_host_whose_mounts_are_shared(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """As systemd leaves them: a mount below a shared one would appear at all its peers, and stay there."""
    source, before, after = scratch / "source", scratch / "before", scratch / "after"
    source.mkdir()
    script = (
        f"mount -t tmpfs tmpfs {source} && mkdir {source}/inner && cat /proc/self/mountinfo > {before};"
        f'"$@"; code=$?; cat /proc/self/mountinfo > {after}; exit $code'
    )
    made = bundle("true")
    made.mount("/source", "bind", str(source), "bind")
    made.mount("/source/inner", "tmpfs", "tmpfs")
    runtime.run(made, prefix=["unshare", "--mount", "--propagation", "shared", "sh", "-c", script, "sh"]).ok()
    assert after.read_text() == before.read_text()
    before.unlink()
    after.unlink()


@pytest.mark.differs("keeps the host's device open")
def test_dev_null_as_stdio_is_the_containers(runtime: Runtime, bundle: Workshop) -> None:
    """The host's device would keep the host's /dev busy, and is nothing that the container can open again."""
    made = bundle("report", "path=/dev/null", "to=/tmp/report")
    null = os.open("/dev/null", os.O_RDWR)
    try:
        runtime.run(made, stdin=null, stdout=null, stderr=null).ok()
    finally:
        os.close(null)
    report = json.loads((made.rootfs / "tmp" / "report").read_text())
    device = report["paths"]["/dev/null"]["stat"]
    for fd in ("0", "1", "2"):
        found = report["fds"][fd]["stat"]
        assert (found["dev"], found["ino"]) == (device["dev"], device["ino"])
