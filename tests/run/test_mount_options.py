"""Every word of a mount's options that is not for its file system: what the kernel has made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Runtime, Workshop, mounts

from ocirun.plan.tables import FLAGS, PROPAGATION, RECURSIVE

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOSYMFOLLOW = 1, 2, 4, 8, 256
MS_NOATIME, MS_NODIRATIME, MS_STRICTATIME, MS_SHARED = 1 << 10, 1 << 11, 1 << 24, 1 << 20
ATIMES = {"relatime", "noatime"}  # neither in mountinfo is strictatime

# A source whose mounts have only what is usual, and one that has everything that can be cleared.
USUAL = {"rw", "relatime"}
STRICT = {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"}

# Option -> the options that mountinfo shows then, of a bind of the usual source and of the strict one.
OF_ONE_MOUNT: dict[str, tuple[set[str], set[str]]] = {
    "ro": (USUAL - {"rw"} | {"ro"}, STRICT),
    "rw": (USUAL, STRICT - {"ro"} | {"rw"}),
    "nosuid": (USUAL | {"nosuid"}, STRICT),
    "suid": (USUAL, STRICT - {"nosuid"}),
    "nodev": (USUAL | {"nodev"}, STRICT),
    "dev": (USUAL, STRICT - {"nodev"}),
    "noexec": (USUAL | {"noexec"}, STRICT),
    "exec": (USUAL, STRICT - {"noexec"}),
    "nodiratime": (USUAL | {"nodiratime"}, STRICT),
    "diratime": (USUAL, STRICT - {"nodiratime"}),
    "nosymfollow": (USUAL | {"nosymfollow"}, STRICT),
    "symfollow": (USUAL, STRICT - {"nosymfollow"}),
    "noatime": (USUAL - ATIMES | {"noatime"}, STRICT),
    "atime": (USUAL, STRICT - ATIMES | {"relatime"}),
    "relatime": (USUAL, STRICT - ATIMES | {"relatime"}),
    "norelatime": (USUAL, STRICT),  # there is nothing to clear, see tables.RECURSIVE
    "strictatime": (USUAL - ATIMES, STRICT - ATIMES),
    "nostrictatime": (USUAL, STRICT - ATIMES | {"relatime"}),
    "defaults": (USUAL, STRICT),
}
RECURSIVELY = {f"r{option}": wanted for option, wanted in OF_ONE_MOUNT.items() if f"r{option}" in RECURSIVE}

# Options of a new tmpfs -> what its file system shows of them in mountinfo.
OF_A_FILE_SYSTEM: dict[tuple[str, ...], set[str]] = {
    (): set(),
    ("sync",): {"sync"},
    ("sync", "async"): set(),
    ("dirsync",): {"dirsync"},
    ("mand",): {"mand"},
    ("mand", "nomand"): set(),
    ("lazytime",): {"lazytime"},
    ("lazytime", "nolazytime"): set(),
    # Not shown; but tmpfs knows no such words, and would refuse them.
    ("silent",): set(),
    ("silent", "loud"): set(),
    ("iversion",): set(),
    ("iversion", "noiversion"): set(),
}
VISIBLE = {"sync", "dirsync", "mand", "lazytime"}


@pytest.fixture
def sources(scratch: Path, leftovers: harness.Leftovers) -> Iterator[dict[str, Path]]:
    """Two mounts of the host, each with another below it."""
    strict = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW | MS_NOATIME | MS_NODIRATIME
    found = {name: scratch / name for name in ("usual", "strict")}
    for path in found.values():
        path.mkdir()
        harness.mount("source", str(path), "tmpfs")
        (path / "sub").mkdir()
    harness.mount("below", str(found["usual"] / "sub"), "tmpfs")
    harness.mount("below", str(found["strict"] / "sub"), "tmpfs", strict)
    harness.mount("", str(found["strict"]), None, 4096 | 32 | strict)  # MS_BIND | MS_REMOUNT: of the mount alone
    yield found
    for path in found.values():
        harness.unmount(str(path))


def test_the_tables_are_whole() -> None:
    """The rest is in test_filesystem.py, and below."""
    of_a_file_system = {word for words in OF_A_FILE_SYSTEM for word in words}
    assert {*OF_ONE_MOUNT, *of_a_file_system, "bind", "rbind", "remount"} == set(FLAGS)
    assert set(RECURSIVELY) == set(RECURSIVE)


@pytest.mark.ocirun  # runc 1.1.5 does not know all of them, and clears by mount(2) what the source has
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("which", [0, 1], ids=["usual", "strict"])
def test_options_of_one_mount_or_all(
    runtime: Runtime, bundle: Workshop, sources: dict[str, Path], which: int, recursive: bool
) -> None:
    """What no option is about stays as the source has it: "ro" brings no set-user-ID programs back."""
    table = RECURSIVELY if recursive else OF_ONE_MOUNT
    source, before = (("usual", USUAL), ("strict", STRICT))[which]
    made = bundle()
    for option in table:
        made.mount(f"/{option}", "bind", str(sources[source]), "rbind", option)
    got = mounts(runtime.report(made))
    assert {option: set(got[f"/{option}"].options) for option in table} == {
        option: wanted[which] for option, wanted in table.items()
    }
    assert {option: set(got[f"/{option}/sub"].options) for option in table} == {
        option: wanted[which] if recursive else before for option, wanted in table.items()
    }


@pytest.mark.differs("stays noatime: mount(2) without another word leaves it")
@pytest.mark.parametrize("option", ["atime", "nostrictatime"])
def test_atime_of_a_source_without(runtime: Runtime, bundle: Workshop, sources: dict[str, Path], option: str) -> None:
    made = bundle()
    made.mount("/data", "bind", str(sources["strict"]), "rbind", option)
    assert "relatime" in mounts(runtime.report(made))["/data"].options


# Several options about one thing -> what the mount has then, and what those below it have. The last of them counts,
# and what is for all mounts is done last (as in runc, for which of noatime and relatime always noatime counts).
CONTRADICTING: dict[tuple[str, ...], tuple[set[str], set[str]]] = {
    ("ro", "rw"): (USUAL, USUAL),
    ("rw", "ro"): (USUAL - {"rw"} | {"ro"}, USUAL),
    ("nosuid", "suid"): (USUAL, USUAL),
    ("suid", "nosuid"): (USUAL | {"nosuid"}, USUAL),
    ("rro", "rrw"): (USUAL, USUAL),
    ("rrw", "rro"): (USUAL - {"rw"} | {"ro"}, USUAL - {"rw"} | {"ro"}),
    ("rro", "rw"): (USUAL - {"rw"} | {"ro"}, USUAL - {"rw"} | {"ro"}),
    ("rrw", "ro"): (USUAL, USUAL),
    ("nosymfollow", "rsymfollow"): (USUAL, USUAL),
    ("rnodev", "dev"): (USUAL | {"nodev"}, USUAL | {"nodev"}),
    ("noatime", "relatime"): (USUAL, USUAL),
    ("relatime", "noatime"): (USUAL - ATIMES | {"noatime"}, USUAL),
    ("noatime", "strictatime"): (USUAL - ATIMES, USUAL),
    ("strictatime", "nostrictatime"): (USUAL, USUAL),
    ("noatime", "atime", "nodiratime"): (USUAL | {"nodiratime"}, USUAL),
    ("rnoatime", "rstrictatime"): (USUAL - ATIMES, USUAL - ATIMES),
    ("rstrictatime", "rnoatime"): (USUAL - ATIMES | {"noatime"}, USUAL - ATIMES | {"noatime"}),
    ("rnoatime", "rrelatime"): (USUAL, USUAL),
    ("noatime", "rstrictatime"): (USUAL - ATIMES, USUAL - ATIMES),
    ("strictatime", "rnoatime"): (USUAL - ATIMES | {"noatime"}, USUAL - ATIMES | {"noatime"}),
    ("", "defaults", "ro", ""): (USUAL - {"rw"} | {"ro"}, USUAL),
}


@pytest.mark.ocirun  # runc 1.1.5 does not know all of them
def test_contradicting_options(runtime: Runtime, bundle: Workshop, sources: dict[str, Path]) -> None:
    made = bundle()
    for options in CONTRADICTING:
        made.mount(f"/{'-'.join(options)}", "bind", str(sources["usual"]), "rbind", *options)
    got = mounts(runtime.report(made))
    for options, wanted in CONTRADICTING.items():
        target = f"/{'-'.join(options)}"
        assert (set(got[target].options), set(got[target + "/sub"].options)) == wanted, options


def test_options_of_a_file_system(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    for options in OF_A_FILE_SYSTEM:
        made.mount(f"/plain{''.join(options)}", "tmpfs", "tmpfs", *options)
    got = mounts(runtime.report(made))
    found = {options: got[f"/plain{''.join(options)}"].super_options & VISIBLE for options in OF_A_FILE_SYSTEM}
    assert found == OF_A_FILE_SYSTEM


def test_bind_rbind_and_remount(runtime: Runtime, bundle: Workshop, sources: dict[str, Path]) -> None:
    made = bundle()
    made.mount("/one", "none", str(sources["usual"]), "bind")
    made.mount("/all", "none", str(sources["usual"]), "rbind")
    made.mount("/again", "none", str(sources["usual"]), "bind")
    made.mount("/again", "none", "", "remount", "bind", "ro", "noexec")
    made.mount("/new", "tmpfs", "tmpfs")
    made.mount("/new", "tmpfs", "tmpfs", "remount", "nosuid")
    got = mounts(runtime.report(made))
    assert got["/one"].source == got["/all"].source == "source"
    assert "/one/sub" not in got
    assert got["/all/sub"].source == "below"
    assert got["/again"].options == {"ro", "noexec", "relatime"}
    assert got["/new"].options == {"rw", "nosuid", "relatime"}


def test_remount_of_a_file_system(runtime: Runtime, bundle: Workshop) -> None:
    """Its own options change, as by mount(2) with MS_REMOUNT; what no option is about stays."""
    made = bundle()
    made.mount("/one", "tmpfs", "tmpfs", "size=1m", "noexec", "noatime", "sync")
    made.mount("/one", "tmpfs", "tmpfs", "remount", "size=2m", "nosuid", "lazytime")
    made.mount("/two", "tmpfs", "tmpfs", "size=1m", "strictatime")
    made.mount("/two", "tmpfs", "tmpfs", "remount", "size=2m,nr_inodes=77", "ro")
    made.mount("/three", "ramfs", "ramfs", "ro")
    made.mount("/three", "ramfs", "ramfs", "remount", "rw")
    made.mount("/four", "ramfs", "ramfs")
    made.mount("/four", "ramfs", "ramfs", "remount", "ro")
    got = mounts(runtime.report(made))
    assert got["/one"].super_options >= {"size=2048k", "lazytime"}
    assert "sync" not in got["/one"].super_options
    if runtime.name == "ocirun":  # runc takes what is not said again away
        assert got["/one"].options == {"rw", "nosuid", "noexec", "noatime"}
        assert got["/two"].options == {"ro"}
    assert got["/two"].super_options >= {"size=2048k", "nr_inodes=77"}
    assert "rw" in got["/three"].options and "rw" in got["/three"].super_options
    assert "ro" in got["/four"].options and "ro" in got["/four"].super_options


@pytest.mark.differs("refuses what is not below its root", since="1.4")
def test_remount_of_the_root(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle()
    made.mount("/", "none", "", "remount", "bind", "nosuid", "noexec", "exec")
    got = mounts(runtime.report(made))["/"]
    assert got.options - {"relatime"} == {"rw", "nosuid"}  # access times are the host's


def test_remount_of_what_is_not_mounted(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.mount("/one", "tmpfs", "tmpfs", "remount", "size=2m")
    runtime.run(made).failed("/mounts/6" if runtime.name == "ocirun" else "/one")
    made = bundle("true")
    made.mount("/tmp", "tmpfs", "tmpfs", "remount", "size=2m")
    runtime.run(made).failed("invalid argument")
    made = bundle("true")
    made.mount("/dev/shm", "tmpfs", "shm", "remount", "size=big")
    runtime.run(made).failed("invalid argument")


@pytest.mark.parametrize("option", ["defaults", "norelatime", "rnorelatime"])
@pytest.mark.ocirun  # runc 1.1.5 does not know all of them
def test_words_without_an_effect(runtime: Runtime, bundle: Workshop, option: str) -> None:
    """They are no data for the file system, which would refuse them."""
    made = bundle()
    made.mount("/new", "tmpfs", "new", option)
    assert mounts(runtime.report(made))["/new"].options == USUAL


@pytest.mark.parametrize("option", ["slave", "rslave"])
def test_slaves_where_mounts_are_shared(
    runtime: Runtime, bundle: Workshop, sources: dict[str, Path], option: str
) -> None:
    for path in (sources["usual"], sources["usual"] / "sub"):
        harness.mount("", str(path), None, MS_SHARED)
    made = bundle()
    made.linux["rootfsPropagation"] = "shared"
    made.mount("/data", "bind", str(sources["usual"]), "rbind", option)
    got = mounts(runtime.report(made))
    assert got["/data"].propagation == "slave"
    assert got["/data/sub"].propagation == ("slave" if option == "rslave" else "shared")


@pytest.mark.parametrize("option", PROPAGATION)
def test_propagation_of_one_mount_or_all(
    runtime: Runtime, bundle: Workshop, sources: dict[str, Path], option: str
) -> None:
    for path in (sources["usual"], sources["usual"] / "sub"):
        harness.mount("", str(path), None, MS_SHARED)
    made = bundle()
    made.mount("/data", "bind", str(sources["usual"]), "rbind", option)
    got = mounts(runtime.report(made))
    kind = option.removeprefix("r")
    assert got["/data"].propagation == kind
    # What is not told otherwise comes as the container's mount namespace has all that is the host's.
    below = got["/data/sub"].propagation
    assert below == kind if option != kind else below != "unbindable"


# Several kinds at once, for a source that is shared with the host -> the mount's tags in mountinfo, and those of the
# mount below it: one after the other, as by mount(2).
SEVERAL_KINDS = {
    ("rslave", "rshared"): ({"shared", "master"}, {"shared", "master"}),
    ("rslave", "shared"): ({"shared", "master"}, {"master"}),
    ("slave", "rshared"): ({"shared", "master"}, {"shared", "master"}),
    ("shared", "rslave"): ({"master"}, {"master"}),
    ("rshared", "slave"): ({"master"}, {"master", "shared"}),
    ("rprivate", "shared"): ({"shared"}, set()),
    ("shared", "private"): (set(), {"master"}),
    ("unbindable", "rprivate"): (set(), set()),
    ("rprivate", "unbindable"): ({"unbindable"}, set()),
    ("rprivate", "rshared", "slave", "private"): (set(), {"shared"}),
}


@pytest.mark.parametrize("fstype", ["bind", "tmpfs"])
def test_several_kinds_of_propagation(
    runtime: Runtime, bundle: Workshop, sources: dict[str, Path], fstype: str
) -> None:
    for path in (sources["usual"], sources["usual"] / "sub"):
        harness.mount("", str(path), None, MS_SHARED)
    made = bundle()
    for options in SEVERAL_KINDS:
        target = "/" + "-".join(options)
        if fstype == "bind":
            made.mount(target, "bind", str(sources["usual"]), "rbind", *options)
        else:
            made.mount(target, "tmpfs", "tmpfs", *options)
    tags = harness.propagation(runtime.report(made))
    for options, (top, below) in SEVERAL_KINDS.items():
        target = "/" + "-".join(options)
        if fstype == "bind":
            assert (tags[target], tags[target + "/sub"]) == (top, below), options
        else:
            assert tags[target] == top - {"master"}, "a new file system has nobody to be a slave of"
