"""Mounts and their options: config.md, mounts. Each option is tested by what the kernel says of the mount, and by its
effect."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .. import host
from ..bundle import Bundle
from ..engine import Facts, Trial
from ..runtime import CommandError
from . import case


def at(facts: Facts, point: str) -> host.Mount:
    """The mount on a path as the container sees it, the topmost; CommandError where nothing is mounted there."""
    found = [one for one in host.parse_mountinfo(str(facts["mountinfo"])) if one.point == point]
    if not found:
        raise CommandError(f"nothing is mounted on {point} in the container")
    return found[-1]


def _flags(one: host.Mount) -> str:
    """What mountinfo says of it, for a reader."""
    return ",".join(sorted(one.options)) + " " + " ".join(one.tags) + " " + ",".join(sorted(one.super_options))


def _absent(*names: str) -> Callable[[host.Mount], bool]:
    return lambda one: not any(name in one.options or name in one.super_options for name in names)


def _present(*names: str) -> Callable[[host.Mount], bool]:
    return lambda one: all(name in one.options or name in one.super_options for name in names)


def _accepted(one: host.Mount) -> bool:
    return one.type == "tmpfs"


Test = Callable[[host.Mount], bool]

OF_TMPFS: dict[str, tuple[list[str], str, Test]] = {
    "async": (["sync", "async"], "no sync", _absent("sync")),
    "atime": (["noatime", "atime"], "no noatime", _absent("noatime")),
    "defaults": (["defaults"], "rw", _present("rw")),
    "dev": (["nodev", "dev"], "no nodev", _absent("nodev")),
    "diratime": (["nodiratime", "diratime"], "no nodiratime", _absent("nodiratime")),
    "dirsync": (["dirsync"], "dirsync", _present("dirsync")),
    "exec": (["noexec", "exec"], "no noexec", _absent("noexec")),
    "iversion": (["iversion"], "a mounted tmpfs: no file system takes this word as data", _accepted),
    "lazytime": (["lazytime"], "lazytime", _present("lazytime")),
    "loud": (["silent", "loud"], "a mounted tmpfs: no file system takes this word as data", _accepted),
    "noatime": (["noatime"], "noatime", _present("noatime")),
    "nodev": (["nodev"], "nodev", _present("nodev")),
    "nodiratime": (["nodiratime"], "nodiratime", _present("nodiratime")),
    "noexec": (["noexec"], "noexec", _present("noexec")),
    "noiversion": (["noiversion"], "a mounted tmpfs: no file system takes this word as data", _accepted),
    "nolazytime": (["lazytime", "nolazytime"], "no lazytime", _absent("lazytime")),
    "norelatime": (["norelatime"], "a mounted tmpfs, with access times", _absent("noatime")),
    "nostrictatime": (["strictatime", "nostrictatime"], "relatime, the kernel's default", _present("relatime")),
    "nosuid": (["nosuid"], "nosuid", _present("nosuid")),
    "nosymfollow": (["nosymfollow"], "nosymfollow", _present("nosymfollow")),
    "private": (["private"], "no propagation", lambda one: not one.tags),
    "relatime": (["relatime"], "relatime", _present("relatime")),
    "ro": (["ro"], "ro", _present("ro")),
    "rw": (["ro", "rw"], "rw", lambda one: "ro" not in one.options and "ro" not in one.super_options),
    "shared": (["shared"], "shared", lambda one: any(tag.startswith("shared:") for tag in one.tags)),
    "silent": (["silent"], "a mounted tmpfs: no file system takes this word as data", _accepted),
    "strictatime": (["strictatime"], "neither relatime nor noatime", _absent("relatime", "noatime")),
    "suid": (["nosuid", "suid"], "no nosuid", _absent("nosuid")),
    "symfollow": (["nosymfollow", "symfollow"], "no nosymfollow", _absent("nosymfollow")),
    "sync": (["sync"], "sync", _present("sync")),
    "unbindable": (["unbindable"], "unbindable", lambda one: "unbindable" in one.tags),
}
"""Of one mount: the options that it gets, what mountinfo must say then, and how that is tested."""


def _of_tmpfs(name: str, options: list[str], wanted: str, test: Test) -> None:
    code = f"config.mounts.option.{name}"
    # As long as user namespaces restrict them, only root can have these.
    needs = ("root",) if name in ("dev", "dirsync", "sync", "async", "lazytime", "nolazytime", "suid") else ()

    @case(code, needs=needs, name=f"option_{name}")
    def option(trial: Trial) -> None:
        """The option is in force for a tmpfs, by mountinfo."""
        bundle = trial.bundle()
        bundle.mount("/mounted", "tmpfs", "tmpfs", *options)
        one = at(trial.report(bundle), "/mounted")
        trial.check(code, test(one), f"for {','.join(options)}: {wanted}", _flags(one))

    _ = option


for _name, (_options, _wanted, _test) in OF_TMPFS.items():
    _of_tmpfs(_name, _options, _wanted, _test)


RECURSIVE: dict[str, tuple[str, str, Test]] = {
    "ratime": ("noatime", "no noatime", _absent("noatime")),
    "rdev": ("nodev", "no nodev", _absent("nodev")),
    "rdiratime": ("nodiratime", "no nodiratime", _absent("nodiratime")),
    "rexec": ("noexec", "no noexec", _absent("noexec")),
    "rnoatime": ("", "noatime", _present("noatime")),
    "rnodiratime": ("", "nodiratime", _present("nodiratime")),
    "rnoexec": ("", "noexec", _present("noexec")),
    "rnorelatime": ("", "access times", _absent("noatime")),
    "rnostrictatime": ("strictatime", "relatime, the kernel's default", _present("relatime")),
    "rnosuid": ("", "nosuid", _present("nosuid")),
    "rnosymfollow": ("", "nosymfollow", _present("nosymfollow")),
    "rrelatime": ("noatime", "relatime", _present("relatime")),
    "rro": ("", "ro", lambda one: "ro" in one.options),
    "rrw": ("ro", "rw", lambda one: "rw" in one.options),
    "rstrictatime": ("", "neither relatime nor noatime", _absent("relatime", "noatime")),
    "rsuid": ("nosuid", "no nosuid", _absent("nosuid")),
    "rsymfollow": ("nosymfollow", "no nosymfollow", _absent("nosymfollow")),
    "rprivate": ("shared", "no propagation", lambda one: not one.tags),
    "rshared": ("", "shared", lambda one: any(tag.startswith("shared:") for tag in one.tags)),
    "rslave": ("shared", "a slave", lambda one: any(tag.startswith("master:") for tag in one.tags)),
    "runbindable": ("", "unbindable", lambda one: "unbindable" in one.tags),
}
"""Of a mount and those below it: what the source has, what mountinfo must say of each of them, and how that is
tested."""

MS = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "nosymfollow": 256, "noatime": 1024, "nodiratime": 2048,
    "strictatime": 1 << 24,
}  # fmt: skip
"""mount(2)"""


def tree(trial: Trial, before: str = "") -> Path:
    """A directory of the host that is a mount with another one below, each with a file, and with an option set for
    both."""
    top = trial.directory / f"tree-{len(list(trial.directory.glob('tree-*')))}"
    top.mkdir()
    trial.mount("tmpfs", top, "tmpfs", MS.get(before, 0) & ~1)
    (top / "file").write_text("top\n")
    (top / "below").mkdir()
    trial.mount("tmpfs", top / "below", "tmpfs", MS.get(before, 0) & ~1)
    (top / "below" / "file").write_text("below\n")
    for place in (top, top / "below"):
        if before == "shared":
            trial.mount("none", place, None, host.MS_SHARED)
        if before == "ro":
            trial.mount("none", place, None, host.MS_BIND | 1 | 32)
    return top


def _recursive(name: str, before: str, wanted: str, test: Test) -> None:
    code = f"config.mounts.option.{name}"

    @case(code, needs=("root", "kernel:5.12"), name=f"option_{name}")
    def option(trial: Trial) -> None:
        """The option is in force for a recursive bind mount and for the mount below it, by mountinfo."""
        top = tree(trial, before)
        bundle = trial.bundle()
        if name == "rslave":
            bundle.linux["rootfsPropagation"] = "slave"
        bundle.bind(top, "/mounted", "rbind", name)
        facts = trial.report(bundle)
        for point in ("/mounted", "/mounted/below"):
            one = at(facts, point)
            had = f", whose source has {before}" if before else ""
            trial.check(code, test(one), f"for rbind,{name}{had}: {wanted} on {point}", f"{point}: {_flags(one)}")

    _ = option


for _name, (_before, _wanted, _test) in RECURSIVE.items():
    _recursive(_name, _before, _wanted, _test)


@case("config.mounts.option.slave", needs=("root",))
def slave(trial: Trial) -> None:
    """What is mounted on the host below a bind mount that is a slave is mounted in the container too, and not the
    other way."""
    top = tree(trial, "shared")
    (top / "later").mkdir()
    bundle = trial.bundle().args("pause")
    bundle.linux["rootfsPropagation"] = "slave"
    bundle.bind(top, "/mounted", "bind", "slave")
    container = trial.started(bundle)
    one = [one for one in container.mounts() if one.point == "/mounted"]
    found = _flags(one[-1]) if one else "nothing is mounted there"
    trial.check(
        "config.mounts.option.slave",
        one and any(tag.startswith("master:") for tag in one[-1].tags),
        "for bind,slave: a slave",
        found,
    )
    trial.mount("tmpfs", top / "later", "tmpfs")
    points = [one.point for one in container.mounts()]
    trial.check(
        "config.mounts.option.slave",
        "/mounted/later" in points,
        "a mount that is made on the host later is in the container",
        ", ".join(points),
    )


@case("config.mounts.option.private", "config.mounts.option.rprivate", needs=("root",))
def private(trial: Trial) -> None:
    """What is mounted on the host below a private bind mount is not mounted in the container."""
    for option, kind in (("private", "bind"), ("rprivate", "rbind")):
        top = tree(trial, "shared")
        (top / "later").mkdir()
        bundle = trial.bundle().args("pause")
        bundle.linux["rootfsPropagation"] = "slave"
        bundle.bind(top, "/mounted", kind, option)
        container = trial.started(bundle)
        trial.mount("tmpfs", top / "later", "tmpfs")
        points = [one.point for one in container.mounts() if one.point.startswith("/mounted")]
        trial.check(
            f"config.mounts.option.{option}",
            "/mounted" in points and "/mounted/later" not in points,
            "the bind mount alone",
            ", ".join(points),
        )


@case("config.mounts.option.shared", "config.mounts.option.rshared", needs=("root",))
def shared(trial: Trial) -> None:
    """What a container mounts below a shared bind mount of a shared mount is mounted on the host too."""
    for option, kind in (("shared", "bind"), ("rshared", "rbind")):
        top = tree(trial, "shared")
        (top / "later").mkdir()
        bundle = trial.bundle()
        bundle.linux["rootfsPropagation"] = "shared"
        bundle.capabilities("SYS_ADMIN")
        bundle.bind(top, "/mounted", kind, option)
        facts = trial.report(bundle, "mount=tmpfs:tmpfs:/mounted/later")
        error = facts["actions"]["mount=tmpfs:tmpfs:/mounted/later"]["error"]
        points = [one.point for one in host.parse_mountinfo(Path("/proc/self/mountinfo").read_text())]
        trial.check(
            f"config.mounts.option.{option}",
            not error and str(top / "later") in points,
            "a mount of the container is there on the host",
            f"{error or 'mounted in the container'}; {'and' if str(top / 'later') in points else 'not'} on the host",
        )


@case("config.mounts.option.unbindable", "config.mounts.option.runbindable", needs=("root",))
def unbindable(trial: Trial) -> None:
    """An unbindable mount cannot be bound elsewhere."""
    for option, kind in (("unbindable", "bind"), ("runbindable", "rbind")):
        bundle = trial.bundle()
        bundle.capabilities("SYS_ADMIN")
        bundle.bind(tree(trial), "/mounted", kind, option)
        error = trial.report(bundle, "mount=bind:/mounted:/tmp")["actions"]["mount=bind:/mounted:/tmp"]["error"]
        trial.equal(f"config.mounts.option.{option}", "error of a bind mount of it", "EINVAL", error)


@case("config.mounts.option.bind", "config.mounts.option.rbind", needs=("root",))
def bind(trial: Trial) -> None:
    """A bind mount shows the source without the mounts below it, a recursive one with them."""
    top = tree(trial)
    bundle = trial.bundle()
    bundle.bind(top, "/one", "bind")
    bundle.bind(top, "/all", "rbind")
    words = ["read=/one/file", "read=/one/below/file", "read=/all/file", "read=/all/below/file"]
    found = trial.report(bundle, *words)["actions"]
    trial.equal("config.mounts.option.bind", "file of the source", "top\n", found[words[0]].get("content"))
    trial.equal("config.mounts.option.bind", "file of the mount below: error", "ENOENT", found[words[1]]["error"])
    trial.equal("config.mounts.option.rbind", "file of the source", "top\n", found[words[2]].get("content"))
    trial.equal("config.mounts.option.rbind", "file of the mount below", "below\n", found[words[3]].get("content"))


@case("config.mounts.option.bind")
def bind_is_the_same(trial: Trial) -> None:
    """A bind mount is the source itself, not a copy: what the container writes is there on the host."""
    source = trial.directory / "source"
    source.mkdir()
    bundle = trial.bundle()
    bundle.bind(source, "/mounted", "bind")
    error = trial.report(bundle, "create=/mounted/made:text")["actions"]["create=/mounted/made:text"]["error"]
    there = (source / "made").exists() and (source / "made").read_text() == "text"
    trial.check(
        "config.mounts.option.bind",
        not error and there,
        "the file that the container makes is in the source",
        error or f"there: {there}",
    )


@case("config.mounts.option.remount", needs=("root",))
def remount(trial: Trial) -> None:
    """A second entry with remount changes the options of the mount that is there, and mounts nothing."""
    bundle = trial.bundle()
    bundle.mount("/mounted", "tmpfs", "tmpfs", "rw", "size=128k")
    bundle.mount("/mounted", "tmpfs", "tmpfs", "remount", "ro", "noexec", "size=128k")
    facts = trial.report(bundle, "create=/mounted/made")
    here = [one for one in host.parse_mountinfo(facts["mountinfo"]) if one.point == "/mounted"]
    trial.equal("config.mounts.option.remount", "mounts on the path", 1, len(here))
    trial.equal(
        "config.mounts.option.remount",
        "error of creating a file",
        "EROFS",
        facts["actions"]["create=/mounted/made"]["error"],
    )
    trial.check("config.mounts.option.remount", "noexec" in here[-1].options, "noexec", _flags(here[-1]))


def _effect(trial: Trial, *options: str, user: int = 0) -> Facts:
    """What the probe can do with a directory that is bound with options: it has a device, programs, and a symlink in
    it."""
    source = trial.directory / f"source-{'-'.join(options) or 'plain'}"
    source.mkdir()
    trial.mount("tmpfs", source, "tmpfs")
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    os.chmod(source / "null", 0o666)
    for name, mode in (("program", 0o755), ("suid", 0o4755)):
        (source / name).write_bytes(trial.probe.read_bytes())
        (source / name).chmod(mode)
    (source / "file").write_text("text\n")
    (source / "link").symlink_to("file")
    bundle = trial.bundle()
    bundle.bind(source, "/mounted", "bind", *options)
    bundle.process["noNewPrivileges"] = False
    bundle.process["user"] = {"uid": user, "gid": user}
    words = [
        "open=rw:/mounted/null",
        "exec=/mounted/program",
        "ids=/mounted/suid",
        "read=/mounted/link",
        "create=/mounted/made",
    ]
    actions: Facts = trial.report(bundle, *words)["actions"]
    return {
        "device": actions[words[0]]["error"],
        "exec": actions[words[1]]["error"],
        "suid": actions[words[2]]["ids"].split()[:1],
        "link": actions[words[3]]["error"],
        "create": actions[words[4]]["error"],
    }


@case(*(f"config.mounts.option.{name}" for name in ("nodev", "noexec", "nosuid", "nosymfollow", "ro")), needs=("root",))
def restrictions_by_effect(trial: Trial) -> None:
    """A device of a nodev mount cannot be opened, a program of a noexec one not executed, and so on."""
    for name, what, error in (
        ("nodev", "device", "EACCES"),
        ("noexec", "exec", "EACCES"),
        ("nosymfollow", "link", "ELOOP"),
        ("ro", "create", "EROFS"),
    ):
        found = _effect(trial, name)
        trial.equal(f"config.mounts.option.{name}", f"{what} of a mount with {name}: error", error, found[what])
    trial.equal(
        "config.mounts.option.nosuid",
        "user of a set-user-ID program",
        ["1000"],
        _effect(trial, "nosuid", user=1000)["suid"],
    )


@case(*(f"config.mounts.option.{name}" for name in ("dev", "exec", "suid", "symfollow", "rw")), needs=("root",))
def permissions_by_effect(trial: Trial) -> None:
    """With dev, exec, suid, symfollow and rw devices, programs, set-user-ID bits, symlinks and writing work."""
    found = _effect(trial, "nodev", "dev", "noexec", "exec", "nosymfollow", "symfollow", "ro", "rw")
    for name, what in (("dev", "device"), ("exec", "exec"), ("symfollow", "link"), ("rw", "create")):
        trial.equal(f"config.mounts.option.{name}", f"{what} of a mount with {name}: error", "", found[what])
    trial.equal(
        "config.mounts.option.suid",
        "user of a set-user-ID program",
        ["0"],
        _effect(trial, "nosuid", "suid", user=1000)["suid"],
    )


def _access_times(trial: Trial, *options: str) -> Facts:
    bundle = trial.bundle()
    bundle.mount("/mounted", "tmpfs", "tmpfs", *options)
    words = ["create=/mounted/file:text", "mkdir=/mounted/dir", "atime=/mounted/file", "atime=/mounted/dir"]
    actions = trial.report(bundle, *words)["actions"]
    return {"file": actions[words[2]], "dir": actions[words[3]]}


@case(*(f"config.mounts.option.{name}" for name in ("noatime", "nodiratime", "relatime", "strictatime")))
def access_times_by_effect(trial: Trial) -> None:
    """Access times change by reading as each option says."""
    for options, file, directory in (
        (["noatime"], [0, 0], [0, 0]),
        (["strictatime", "nodiratime"], [1, 1], [0, 0]),
        (["relatime"], [1, 0], [1, 0]),
        (["strictatime"], [1, 1], [1, 1]),
    ):
        found = _access_times(trial, *options)
        code = f"config.mounts.option.{options[-1]}"
        for what, wanted in (("file", file), ("dir", directory)):
            values = [found[what].get("relative"), found[what].get("strict")]
            name = {"file": "a file", "dir": "a directory"}[what]
            trial.equal(
                code,
                f"with {','.join(options)}, reading {name} changes an access time that is older, one that is newer",
                wanted,
                values,
            )


@case("config.mounts.option.data")
def data(trial: Trial) -> None:
    """Options that are none of mount(8)'s general ones go to the file system."""
    bundle = trial.bundle()
    bundle.mount("/mounted", "tmpfs", "tmpfs", "nosuid", "size=192k", "mode=710")
    facts = trial.report(bundle, "stat=/mounted")
    one = at(facts, "/mounted")
    trial.check("config.mounts.option.data", "size=192k" in one.super_options, "size=192k", _flags(one))
    trial.equal(
        "config.mounts.option.data",
        "mode of the root of the tmpfs",
        oct(0o710),
        oct(facts["actions"]["stat=/mounted"]["mode"]),
    )


@case("config.mounts.option.data")
def bad_data(trial: Trial) -> None:
    """So a word that the file system does not know either is an error."""
    bundle = trial.bundle()
    bundle.mount("/mounted", "tmpfs", "tmpfs", "no-such-option")
    trial.refused("config.mounts.option.data", bundle, "an option that tmpfs does not know")


@case("config.mounts.order")
def order(trial: Trial) -> None:
    """Mounts are made in the listed order: below the one that came before, and over it."""
    bundle = trial.bundle()
    bundle.mount("/first", "tmpfs", "tmpfs", "size=64k")
    bundle.mount("/first/second", "tmpfs", "tmpfs", "size=128k")
    bundle.mount("/twice", "tmpfs", "tmpfs", "size=192k")
    bundle.mount("/twice", "tmpfs", "tmpfs", "size=256k")
    bundle.mount("/under/deep", "tmpfs", "tmpfs", "size=64k")
    bundle.mount("/under", "tmpfs", "tmpfs", "size=320k")
    facts = trial.report(bundle, "stat=/first/second", "stat=/twice", "stat=/under", "stat=/under/deep")
    order = [one.point for one in host.parse_mountinfo(facts["mountinfo"])]
    mine = [point for point in order if point.startswith(("/first", "/twice", "/under"))]
    trial.equal(
        "config.mounts.order",
        "mounts, in the kernel's order",
        ["/first", "/first/second", "/twice", "/twice", "/under/deep", "/under"],
        mine,
    )
    sizes = {
        name: facts["actions"][f"stat={name}"].get("fs_size", 0) // 1024
        for name in ("/first/second", "/twice", "/under")
    }
    trial.equal(
        "config.mounts.order", "KiB of what is to be seen", {"/first/second": 128, "/twice": 256, "/under": 320}, sizes
    )
    trial.equal(
        "config.mounts.order",
        "what a later mount covers: error",
        "ENOENT",
        facts["actions"]["stat=/under/deep"]["error"],
    )


@case("config.mounts.destination.relative")
def relative_destination(trial: Trial) -> None:
    """A destination without a slash is taken from /."""
    bundle = trial.bundle()
    bundle.mount("some/where", "tmpfs", "tmpfs")
    facts = trial.report(bundle)
    points = [one.point for one in host.parse_mountinfo(facts["mountinfo"])]
    trial.check(
        "config.mounts.destination.relative", "/some/where" in points, "a mount on /some/where", ", ".join(points)
    )


@case("config.mounts.source.relative", "config.mounts.source.file", "config.mounts.destination.created")
def sources(trial: Trial) -> None:
    """A relative source is taken from the bundle; a file can be bound; what is to be mounted on is created."""
    bundle = trial.bundle()
    (bundle.path / "data").mkdir()
    (bundle.path / "data" / "file").write_text("of the bundle\n")
    bundle.bind("data", "/relative", "bind")
    bundle.bind(bundle.path / "data" / "file", "/new/place/file", "bind")
    (bundle.rootfs / "there").write_text("covered\n")
    bundle.bind(bundle.path / "data" / "file", "/there", "bind", "ro")
    bundle.mount("/new/deep/directory", "tmpfs", "tmpfs")
    words = ["read=/relative/file", "read=/new/place/file", "read=/there", "stat=/new/deep/directory"]
    facts = trial.report(bundle, *words)
    found = facts["actions"]
    trial.equal("config.mounts.source.relative", "file of data/", "of the bundle\n", found[words[0]].get("content"))
    for place, word in (("a new path", words[1]), ("a file", words[2])):
        trial.equal(
            "config.mounts.source.file", f"what is bound on {place}", "of the bundle\n", found[word].get("content")
        )
    trial.equal(
        "config.mounts.destination.created", "the directory to mount on", "directory", found[words[3]].get("type")
    )
    trial.equal(
        "config.mounts.destination.created", "the file to mount on", "of the bundle\n", found[words[1]].get("content")
    )


@case("config.mounts.unmountable")
def missing_source(trial: Trial) -> None:
    """A bind mount of what does not exist is an error."""
    bundle = trial.bundle()
    bundle.bind("/no/such/source", "/mounted", "bind")
    trial.refused("config.mounts.unmountable", bundle, "a source that does not exist")


@case("config.mounts.type")
def types(trial: Trial) -> None:
    """The file system of each mount is the one that type names."""
    bundle = trial.bundle()
    bundle.mount("/mounted", "tmpfs", "tmpfs")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    facts = trial.report(bundle)
    for point, kind in (
        ("/proc", "proc"),
        ("/mounted", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/sys", "sysfs"),
        ("/dev/pts", "devpts"),
    ):
        trial.equal("config.mounts.type", f"file system on {point}", kind, at(facts, point).type)


@case("config.mounts.type", needs=("root",))
def type_of_cgroup(trial: Trial) -> None:
    """The type cgroup gives the cgroup hierarchies of the host, as it has them."""
    bundle = trial.bundle()
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    facts = trial.report(bundle)
    mounts = host.parse_mountinfo(facts["mountinfo"])
    kinds = sorted(
        {one.type for one in mounts if one.point.startswith("/sys/fs/cgroup") and one.type.startswith("cgroup")}
    )
    wanted = ["cgroup2"] if host.cgroups().version == "v2" else ["cgroup"]
    trial.check(
        "config.mounts.type", set(wanted) <= set(kinds), f"file systems below /sys/fs/cgroup: {wanted}", f"{kinds}"
    )


def _owners(
    trial: Trial, option: str, kind: str, mapping: tuple[int, int, int] | None, userns: bool
) -> tuple[Bundle, Path]:
    top = tree(trial)
    bundle = trial.bundle()
    if userns:
        bundle.user_namespace()
    more = {}
    if mapping:
        entry = [dict(zip(("containerID", "hostID", "size"), mapping, strict=True))]
        more = {"uidMappings": entry, "gidMappings": entry}
    bundle.mount("/mounted", "none", str(top), kind, option, **more)
    return bundle, top


def _idmap(option: str, kind: str) -> None:
    codes = [f"config.mounts.option.{option}{suffix}" for suffix in ("", "-applied", "-given")]
    if option == "idmap":
        codes.append("config.mounts.option.idmap-mount-setattr")

    @case(*codes, needs=("root", "userns", "kernel:6.3"), name=f"option_{option}")
    def given(trial: Trial) -> None:
        """Owners of a mount appear as its uidMappings and gidMappings say, and stay what they are in the source."""
        for userns, host_id, wanted in ((True, 100007, 7), (False, 5007, 5007)):
            bundle, top = _owners(trial, option, kind, (0, host_id, 1000), userns)
            words = ["stat=/mounted/file", "stat=/mounted/below/file"]
            facts = trial.report(bundle, *words)
            found = [facts["actions"][words[0]].get("uid"), facts["actions"][words[0]].get("gid")]
            here = "a user namespace" if userns else "no user namespace"
            for code in codes[:3]:
                trial.equal(code, f"owner and group of a file of root, with {here}", [wanted, wanted], found)
            below = facts["actions"][words[1]]
            if option == "ridmap":
                trial.equal(codes[1], f"owner of a file of the mount below, with {here}", wanted, below.get("uid"))
            else:
                one = at(facts, "/mounted")
                trial.check(codes[3], "idmapped" in one.options, "idmapped in mountinfo", _flags(one))
                trial.equal(codes[3], "owner of the file on the host", 0, (top / "file").stat().st_uid)

    @case(
        f"config.mounts.option.{option}-default",
        needs=("root", "userns", "kernel:6.3"),
        name=f"option_{option}_default",
    )
    def default(trial: Trial) -> None:
        """Without mappings of its own the mount has those of the user namespace, or it is an error."""
        code = f"config.mounts.option.{option}-default"
        bundle, _ = _owners(trial, option, kind, None, True)
        result = trial.attempt_create(bundle.args("report", "stat=/mounted/file"))
        if result.code > 0:
            trial.check(code, True, "the container's mapping, or an error", f"`create` ended with {result}")
            return
        container = trial.created(bundle, result)
        container.start()
        container.wait()
        found = trial.facts(container)["actions"]["stat=/mounted/file"].get("uid")
        trial.equal(code, "owner of a file of root, by the container's mapping", 0, found)

    @case(f"config.mounts.option.{option}-no-userns", needs=("root",), name=f"option_{option}_no_userns")
    def no_userns(trial: Trial) -> None:
        """Without mappings and without a user namespace it is an error."""
        bundle, _ = _owners(trial, option, kind, None, False)
        trial.refused(f"config.mounts.option.{option}-no-userns", bundle, f"{option} without any mapping")

    _ = given, default, no_userns


_idmap("idmap", "bind")
_idmap("ridmap", "rbind")
