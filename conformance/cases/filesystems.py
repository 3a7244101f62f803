"""Default file systems, masked and read-only paths, kernel parameters, the propagation of the root: config-linux.md."""

from __future__ import annotations

from pathlib import Path

from .. import host
from ..engine import Facts, Trial
from . import case
from .mounts import _flags, at

DEFAULTS = {
    "proc": ("/proc", "proc"),
    "sys": ("/sys", "sysfs"),
    "dev-pts": ("/dev/pts", "devpts"),
    "dev-shm": ("/dev/shm", "tmpfs"),
}


@case(*(f"config-linux.default-filesystems.{name}" for name in DEFAULTS))
def defaults(trial: Trial) -> None:
    """proc, sysfs, devpts and a tmpfs for shared memory are there and can be used."""
    facts = trial.report(trial.bundle(), "read=/proc", "read=/sys", "read=/dev/pts", "create=/dev/shm/made:text")
    for name, (point, kind) in DEFAULTS.items():
        trial.equal(f"config-linux.default-filesystems.{name}", f"file system on {point}", kind, at(facts, point).type)
    trial.equal(
        "config-linux.default-filesystems.dev-shm",
        "creating a file in /dev/shm: error",
        "",
        facts["actions"]["create=/dev/shm/made:text"]["error"],
    )
    for name, path, entry in (("proc", "/proc", "self"), ("sys", "/sys", "kernel"), ("dev-pts", "/dev/pts", "ptmx")):
        entries = facts["actions"][f"read={path}"].get("entries", [])
        trial.check(
            f"config-linux.default-filesystems.{name}",
            entry in entries,
            f"{path}/{entry} is there",
            ", ".join(sorted(entries)[:10]),
        )


@case("config-linux.masked-paths.file", "config-linux.masked-paths.directory", "config-linux.masked-paths.missing")
def masked(trial: Trial) -> None:
    """A masked file shows nothing, a masked directory is empty and takes nothing; what is not there is no error."""
    bundle = trial.bundle()
    (bundle.rootfs / "secret").write_text("secret\n")
    (bundle.rootfs / "hidden" / "below").mkdir(parents=True)
    (bundle.rootfs / "hidden" / "file").write_text("secret\n")
    paths = ["/secret", "/hidden", "/proc/timer_list", "/proc/meminfo", "/sys/kernel", "/not/there"]
    bundle.linux["maskedPaths"] = paths
    words = [
        "read=/secret",
        "write=/secret:x",
        "read=/hidden",
        "read=/hidden/file",
        "create=/hidden/made",
        "read=/proc/meminfo",
        "read=/sys/kernel",
    ]
    found = trial.report(bundle, *words)["actions"]
    for path in ("/secret", "/proc/meminfo"):
        one = found[f"read={path}"]
        trial.check(
            "config-linux.masked-paths.file",
            not one.get("content"),
            f"nothing is read from {path}",
            one.get("content") or one["error"] or "nothing",
        )
    trial.equal(
        "config-linux.masked-paths.file",
        "the file of the root file system",
        "secret\n",
        (bundle.rootfs / "secret").read_text(),
    )
    for path in ("/hidden", "/sys/kernel"):
        one = found[f"read={path}"]
        trial.check(
            "config-linux.masked-paths.directory",
            not one.get("entries"),
            f"{path} is empty",
            one.get("entries") or one["error"] or "it is empty",
        )
    trial.check(
        "config-linux.masked-paths.directory",
        found["read=/hidden/file"]["error"],
        "a file below cannot be read",
        found["read=/hidden/file"],
    )
    trial.holds(
        "config-linux.masked-paths.directory",
        found["create=/hidden/made"]["error"],
        "nothing can be made in it",
        "a file was made",
    )
    trial.check("config-linux.masked-paths.missing", True, "`create` succeeds", "it succeeded")


@case(
    "config-linux.readonly-paths.file", "config-linux.readonly-paths.directory", "config-linux.readonly-paths.missing"
)
def readonly(trial: Trial) -> None:
    """A read-only file cannot be written, nothing below a read-only directory either; what is not there is no error."""
    bundle = trial.bundle()
    (bundle.rootfs / "file").write_text("text\n")
    (bundle.rootfs / "directory" / "below").mkdir(parents=True)
    bundle.mount("/directory/mounted", "tmpfs", "tmpfs")
    bundle.linux["readonlyPaths"] = ["/file", "/directory", "/proc/sys", "/not/there"]
    words = [
        "write=/file:x",
        "read=/file",
        "create=/directory/made",
        "create=/directory/below/made",
        "write=/proc/sys/kernel/domainname:x",
        "create=/tmp/made",
    ]
    found = trial.report(bundle, *words)["actions"]
    trial.equal("config-linux.readonly-paths.file", "writing the file: error", "EROFS", found["write=/file:x"]["error"])
    trial.equal("config-linux.readonly-paths.file", "reading it", "text\n", found["read=/file"].get("content"))
    # An ordinary user's right to the parameter is asked for before the mount is.
    parameters = () if trial.ordinary else ("write=/proc/sys/kernel/domainname:x",)
    for word in ("create=/directory/made", "create=/directory/below/made", *parameters):
        trial.equal("config-linux.readonly-paths.directory", f"{word}: error", "EROFS", found[word]["error"])
    trial.equal(
        "config-linux.readonly-paths.directory",
        "elsewhere a file can be made: error",
        "",
        found["create=/tmp/made"]["error"],
    )
    trial.check("config-linux.readonly-paths.missing", True, "`create` succeeds", "it succeeded")


@case("config-linux.readonly-paths.directory", "config-linux.masked-paths.file", needs=("root",))
def remount_is_a_mount(trial: Trial) -> None:
    """What is masked or read-only stays what it was on the host."""
    bundle = trial.bundle()
    shared = trial.directory / "shared"
    shared.mkdir()
    (shared / "file").write_text("text\n")
    bundle.bind(shared, "/shared", "bind")
    bundle.bind(shared, "/again", "bind")
    bundle.linux["readonlyPaths"] = ["/shared"]
    bundle.linux["maskedPaths"] = ["/again/file"]
    words = ["create=/shared/made", "create=/again/made", "read=/shared/file"]
    found = trial.report(bundle, *words)["actions"]
    trial.equal(
        "config-linux.readonly-paths.directory",
        "creating a file in the read-only mount: error",
        "EROFS",
        found[words[0]]["error"],
    )
    trial.equal(
        "config-linux.readonly-paths.directory",
        "creating one in the other mount of the same directory: error",
        "",
        found[words[1]]["error"],
    )
    trial.equal(
        "config-linux.masked-paths.file", "the masked file, by another mount", "text\n", found[words[2]].get("content")
    )


@case("config-linux.sysctl", needs=("root",))
def sysctl(trial: Trial) -> None:
    """Kernel parameters of the container's network, ipc and uts namespaces have the values; the host's stay."""
    wanted = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ip_local_port_range": "2000\t3000",
        "kernel.msgmax": "4242",
        "kernel.domainname": "of-sysctl",
    }
    paths = {name: f"/proc/sys/{name.replace('.', '/')}" for name in wanted}
    before = {name: Path(path).read_text() for name, path in paths.items()}
    bundle = trial.bundle()
    bundle.linux["sysctl"] = {name: value.replace("\t", " ") for name, value in wanted.items()}
    found = trial.report(bundle, *(f"read={path}" for path in paths.values()))["actions"]
    for name, path in paths.items():
        trial.equal("config-linux.sysctl", name, wanted[name], found[f"read={path}"].get("content", "").strip())
    after = {name: Path(path).read_text() for name, path in paths.items()}
    trial.equal("config-linux.sysctl", "the host's parameters", before, after)


@case("config-linux.sysctl", needs=("root",))
def sysctl_with_slashes(trial: Trial) -> None:
    """A name may have slashes, as sysctl(8) takes it, where a part of it has a dot."""
    bundle = trial.bundle()
    bundle.linux["sysctl"] = {"net/ipv4/conf/lo/forwarding": "1"}
    word = "read=/proc/sys/net/ipv4/conf/lo/forwarding"
    found = trial.report(bundle, word)["actions"][word].get("content", "").strip()
    trial.equal("config-linux.sysctl", "net/ipv4/conf/lo/forwarding", "1", found)


@case("config-linux.sysctl.invalid", needs=("root",))
def sysctl_invalid(trial: Trial) -> None:
    """A parameter that does not exist, is none of a namespace, or is one of a namespace of the host, is an error."""
    for name, value, inherited, what in (
        ("net.ipv4.no_such_parameter", "1", "", "a parameter that does not exist"),
        ("vm.swappiness", Path("/proc/sys/vm/swappiness").read_text().strip(), "", "a parameter of the whole host"),
        (
            "net.ipv4.ip_forward",
            Path("/proc/sys/net/ipv4/ip_forward").read_text().strip(),
            "network",
            "a parameter of the host's network",
        ),
        (
            "kernel.msgmax",
            Path("/proc/sys/kernel/msgmax").read_text().strip(),
            "ipc",
            "a parameter of the host's ipc namespace",
        ),
    ):
        bundle = trial.bundle()
        if inherited:
            bundle.without_namespace(inherited)
        bundle.linux["sysctl"] = {name: value}
        trial.refused("config-linux.sysctl.invalid", bundle, what)


def _root_tags(trial: Trial, value: str, *words: str) -> tuple[host.Mount, Facts]:
    bundle = trial.bundle()
    bundle.linux["rootfsPropagation"] = value
    bundle.capabilities("SYS_ADMIN")
    facts = trial.report(bundle, *words)
    return at(facts, "/"), facts["actions"]


@case("config-linux.rootfs-propagation.shared", needs=("root",))
def root_shared(trial: Trial) -> None:
    """The root mount is shared, in a peer group of its own."""
    one, _ = _root_tags(trial, "shared")
    shared = [tag for tag in one.tags if tag.startswith("shared:")]
    trial.check("config-linux.rootfs-propagation.shared", shared, "the root mount is shared", _flags(one))


@case("config-linux.rootfs-propagation.slave", needs=("root",))
def root_slave(trial: Trial) -> None:
    """The root mount receives what is mounted on the host: the bundle is on a shared mount, and gets a mount later."""
    place = trial.directory / "shared-place"
    place.mkdir()
    trial.mount("tmpfs", place, "tmpfs")
    trial.mount("none", place, None, host.MS_SHARED)
    bundle = trial.bundle()
    rootfs = place / "rootfs"
    rootfs.mkdir()
    for name in ("proc", "dev", "sys", "tmp", "later"):
        (rootfs / name).mkdir()
    (rootfs / "probe").write_bytes(trial.probe.read_bytes())
    (rootfs / "probe").chmod(0o755)
    bundle.config["root"]["path"] = str(rootfs)
    bundle.linux["rootfsPropagation"] = "slave"
    container = trial.started(bundle.args("pause"))
    roots = [one for one in container.mounts() if one.point == "/"]
    tags = roots[-1].tags if roots else ()
    slave = any(tag.startswith("master:") for tag in tags) and not any(tag.startswith("shared:") for tag in tags)
    trial.check(
        "config-linux.rootfs-propagation.slave",
        slave,
        "the root mount is a slave",
        _flags(roots[-1]) if roots else "no root mount",
    )
    trial.mount("tmpfs", rootfs / "later", "tmpfs")
    points = [one.point for one in container.mounts()]
    trial.check(
        "config-linux.rootfs-propagation.slave",
        "/later" in points,
        "a mount that is made on the host later is in the container",
        ", ".join(points),
    )


@case("config-linux.rootfs-propagation.private", needs=("root",))
def root_private(trial: Trial) -> None:
    """The root mount is neither shared nor a slave."""
    one, _ = _root_tags(trial, "private")
    trial.check("config-linux.rootfs-propagation.private", not one.tags, "the root mount is private", _flags(one))


@case("config-linux.rootfs-propagation.unbindable", needs=("root",))
def root_unbindable(trial: Trial) -> None:
    """The root mount is unbindable, and cannot be bound."""
    one, actions = _root_tags(trial, "unbindable", "mount=bind:/:/tmp")
    trial.check(
        "config-linux.rootfs-propagation.unbindable",
        "unbindable" in one.tags,
        "the root mount is unbindable",
        _flags(one),
    )
    trial.equal(
        "config-linux.rootfs-propagation.unbindable",
        "binding /: error",
        "EINVAL",
        actions["mount=bind:/:/tmp"]["error"],
    )
