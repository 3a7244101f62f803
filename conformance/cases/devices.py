"""Devices: config-linux.md, devices and default devices, and the symlinks of runtime-linux.md."""

from __future__ import annotations

import os

from ..engine import Trial
from . import case

DEFAULTS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
"""null(4), full(4), random(4), tty(4)"""


@case(*(f"config-linux.default-devices.{name}" for name in DEFAULTS))
def defaults(trial: Trial) -> None:
    """The default devices are there with their numbers, and can be used by everyone."""
    words = []
    for name in DEFAULTS:
        words += [f"follow=/dev/{name}", f"open=rw:/dev/{name}"]
    words += ["read=/dev/zero", "read=/dev/null", "write=/dev/full:x", "read=/dev/urandom"]
    found = trial.report(trial.bundle(), *words)["actions"]
    for name, (major, minor) in DEFAULTS.items():
        code = f"config-linux.default-devices.{name}"
        facts = found[f"follow=/dev/{name}"]
        wanted = {"type": "c", "major": major, "minor": minor}
        trial.equal(code, f"/dev/{name}", wanted, {key: facts.get(key) for key in wanted})
        # Without a terminal of the process, /dev/tty is there and has nothing behind it.
        error = "ENXIO" if name == "tty" else ""
        trial.equal(
            code, f"opening /dev/{name} to read and write: error", error, found[f"open=rw:/dev/{name}"]["error"]
        )
    trial.equal(
        "config-linux.default-devices.zero", "content of /dev/zero", "\0" * 16, found["read=/dev/zero"].get("content")
    )
    trial.equal("config-linux.default-devices.null", "content of /dev/null", "", found["read=/dev/null"].get("content"))
    trial.equal(
        "config-linux.default-devices.full",
        "writing to /dev/full: error",
        "ENOSPC",
        found["write=/dev/full:x"]["error"],
    )
    trial.equal(
        "config-linux.default-devices.urandom",
        "bytes of /dev/urandom",
        16,
        len(found["read=/dev/urandom"].get("content", "")),
    )


@case(
    *(f"config-linux.default-devices.{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")),
    needs=("root", "userns"),
)
def defaults_in_a_user_namespace(trial: Trial) -> None:
    """The default devices are there with a user namespace as well."""
    bundle = trial.bundle()
    bundle.user_namespace()
    found = trial.report(
        bundle, *(f"follow=/dev/{name}" for name in DEFAULTS), *(f"open=r:/dev/{name}" for name in DEFAULTS)
    )["actions"]
    for name, numbers in DEFAULTS.items():
        facts = found[f"follow=/dev/{name}"]
        code = f"config-linux.default-devices.{name}"
        trial.equal(code, f"/dev/{name}", list(numbers), [facts.get("major"), facts.get("minor")])
        trial.equal(
            code, f"opening /dev/{name}: error", "ENXIO" if name == "tty" else "", found[f"open=r:/dev/{name}"]["error"]
        )


@case("config-linux.default-devices.ptmx")
def ptmx(trial: Trial) -> None:
    """/dev/ptmx is that of the container's /dev/pts: opening it makes a terminal there."""
    bundle = trial.bundle()
    words = ["follow=/dev/ptmx", "follow=/dev/pts/ptmx", "stat=/dev/ptmx", "open=rw:/dev/ptmx"]
    found = trial.report(bundle, *words)["actions"]
    same = [[found[word].get(key) for key in ("dev", "ino", "type")] for word in words[:2]]
    trial.equal(
        "config-linux.default-devices.ptmx",
        "file system, inode and type of /dev/ptmx, as of /dev/pts/ptmx",
        same[1],
        same[0],
    )
    trial.equal("config-linux.default-devices.ptmx", "opening it: error", "", found[words[3]]["error"])


@case(*(f"runtime-linux.dev.symlink-{name}" for name in ("fd", "stdin", "stdout", "stderr")))
def symlinks(trial: Trial) -> None:
    """The symlinks of /dev to the process's descriptors are there."""
    wanted = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    found = trial.report(trial.bundle(), *(f"stat=/dev/{name}" for name in wanted))["actions"]
    for name, target in wanted.items():
        link = found[f"stat=/dev/{name}"].get("link")
        trial.equal(f"runtime-linux.dev.symlink-{name}", f"target of /dev/{name}", target, link)


DEVICES = [
    {"path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8},
    {"path": "/outside/of/dev", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0},
    {"path": "/dev/block", "type": "b", "major": 7, "minor": 77, "fileMode": 0o600, "uid": 1, "gid": 2},
    {"path": "/dev/fifo", "type": "p", "fileMode": 0o622, "uid": 3, "gid": 4},
    {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 7, "fileMode": 0o604, "uid": 5, "gid": 6},
]


@case(*(f"config-linux.devices.{name}" for name in ("available", "file-mode", "uid", "gid")), needs=("root",))
def listed(trial: Trial) -> None:
    """Devices of each type, also outside of /dev, with their mode and owner, whatever the caller's umask is."""
    bundle = trial.bundle()
    bundle.linux["devices"] = DEVICES
    found = trial.report(bundle, *(f"stat={one['path']}" for one in DEVICES), umask=0o077)["actions"]
    for one in DEVICES:
        facts = found[f"stat={one['path']}"]
        wanted = {"type": "c" if one["type"] == "u" else one["type"]}
        if one["type"] != "p":
            wanted |= {"major": one["major"], "minor": one["minor"]}
        trial.equal("config-linux.devices.available", f"{one['path']}", wanted, {key: facts.get(key) for key in wanted})
        mode = f"{facts.get('mode', 0):o}"
        trial.equal("config-linux.devices.file-mode", f"mode of {one['path']}", f"{one['fileMode']:o}", mode)
        for key in ("uid", "gid"):
            trial.equal(f"config-linux.devices.{key}", f"{key} of {one['path']}", one[key], facts.get(key))


@case(
    "config-linux.devices.available", "config-linux.devices.uid", "config-linux.devices.gid", needs=("root", "userns")
)
def in_a_user_namespace(trial: Trial) -> None:
    """With a user namespace devices are there, and their owners are ids of the container."""
    bundle = trial.bundle()
    bundle.user_namespace()
    bundle.linux["devices"] = [
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 7, "gid": 8}
    ]
    facts = trial.report(bundle, "stat=/dev/made")["actions"]["stat=/dev/made"]
    trial.equal(
        "config-linux.devices.available",
        "/dev/made",
        ["c", 1, 5],
        [facts.get(key) for key in ("type", "major", "minor")],
    )
    for key, value in (("uid", 7), ("gid", 8)):
        trial.equal(f"config-linux.devices.{key}", f"{key} of /dev/made in the container", value, facts.get(key))


@case("config-linux.devices.exists", needs=("root",))
def something_else_is_there(trial: Trial) -> None:
    """A path where a plain file, a directory or another device is, is an error, and that is left as it was."""
    for kind in ("file", "directory", "device"):
        bundle = trial.bundle()
        place = bundle.rootfs / "place"
        if kind == "file":
            place.write_text("kept\n")
        elif kind == "directory":
            place.mkdir()
        else:
            os.mknod(place, 0o20600, os.makedev(1, 7))
        before = place.stat()
        bundle.linux["devices"] = [
            {"path": "/place", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0}
        ]
        trial.refused("config-linux.devices.exists", bundle, f"a {kind} that is there already")
        after = place.stat()
        same = (before.st_mode, before.st_rdev, before.st_size) == (after.st_mode, after.st_rdev, after.st_size)
        trial.check(
            "config-linux.devices.exists",
            same,
            f"the {kind} is left as it was",
            f"mode {after.st_mode:o}, size {after.st_size}",
        )


@case("config-linux.devices.available", needs=("root",))
def already_there(trial: Trial) -> None:
    """The very device that is asked for may be there already."""
    bundle = trial.bundle()
    os.mknod(bundle.rootfs / "place", 0o20666, os.makedev(1, 5))
    bundle.linux["devices"] = [
        {"path": "/place", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 0, "gid": 0}
    ]
    facts = trial.report(bundle, "stat=/place")["actions"]["stat=/place"]
    trial.equal(
        "config-linux.devices.available", "/place", ["c", 1, 5], [facts.get(key) for key in ("type", "major", "minor")]
    )


LOCAL = 60
"""The major number of devices for local and experimental use: allowed, they are no such device; denied, not
permitted."""


def _local(*names: str) -> list[dict[str, object]]:
    return [
        {"path": f"/dev/{name}", "type": "c", "major": LOCAL, "minor": number, "fileMode": 0o666, "uid": 0, "gid": 0}
        for number, name in enumerate(names)
    ]


def _rule(allow: bool, minor: int, access: str) -> dict[str, object]:
    return {"allow": allow, "type": "c", "major": LOCAL, "minor": minor, "access": access}


@case(*(f"config-linux.resources.devices.{name}" for name in ("order", "access", "type")), needs=("root",))
def allowed(trial: Trial) -> None:
    """The list of allowed devices is in force, the later entry before the earlier; its access is what can be done."""
    bundle = trial.bundle()
    bundle.linux["devices"] = _local("early", "read", "later", "again")
    bundle.resources(
        devices=[
            _rule(True, 0, "rwm"),
            {"allow": False, "access": "rwm"},
            _rule(True, 1, "r"),
            _rule(True, 2, "rw"),
            _rule(False, 2, "w"),
            _rule(False, 3, "rw"),
            _rule(True, 3, "rw"),
        ]
    )
    names = {
        word: f"open={word}"
        for word in ("r:/dev/early", "r:/dev/read", "w:/dev/read", "r:/dev/later", "w:/dev/later", "w:/dev/again")
    }
    actions = trial.report(bundle, *names.values())["actions"]
    found = {word: actions[action]["error"] for word, action in names.items()}
    for code, word, what, error in (
        ("type", "r:/dev/early", "a device that an entry without type and numbers denies", "EPERM"),
        ("order", "r:/dev/early", "a device that was allowed before everything was denied", "EPERM"),
        ("order", "w:/dev/later", "writing that was denied after it was allowed", "EPERM"),
        ("order", "w:/dev/again", "writing that was allowed after it was denied", "ENXIO"),
        ("access", "r:/dev/read", "reading what may be read", "ENXIO"),
        ("access", "w:/dev/read", "writing what may be read", "EPERM"),
        ("access", "r:/dev/later", "reading what may not be written", "ENXIO"),
    ):
        trial.equal(f"config-linux.resources.devices.{code}", f"{what}: error", error, found[word])


@case("config-linux.resources.devices.access", "config-linux.resources.devices.type", needs=("root",))
def allowed_all(trial: Trial) -> None:
    """An entry without type and numbers allows all devices; making nodes is apart from using them."""
    bundle = trial.bundle()
    bundle.capabilities("MKNOD")
    bundle.linux["devices"] = _local("any")
    bundle.resources(
        devices=[
            {"allow": False, "access": "rwm"},
            {"allow": True, "access": "rw"},
            {"allow": False, "type": "b", "access": "rw"},
        ]
    )
    bundle.mount("/tmp", "tmpfs", "tmpfs", "dev")
    words = ["open=rw:/dev/any", "mknod=c:60:9:/tmp/character"]
    found = {word: one["error"] for word, one in trial.report(bundle, *words)["actions"].items()}
    trial.equal(
        "config-linux.resources.devices.type",
        "opening any device, where all are allowed: error",
        "ENXIO",
        found[words[0]],
    )
    other = trial.bundle()
    other.capabilities("MKNOD")
    other.linux["devices"] = _local("any")
    other.resources(devices=[{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "m"}])
    found = {word: one["error"] for word, one in trial.report(other, *words)["actions"].items()}
    trial.equal(
        "config-linux.resources.devices.access",
        "opening a device whose node may be made: error",
        "EPERM",
        found[words[0]],
    )
    trial.equal("config-linux.resources.devices.access", "making a node that may be made: error", "", found[words[1]])
