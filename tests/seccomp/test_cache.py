"""The cache of compiled filters: that it is used, and by nothing that does not fit."""

from __future__ import annotations

import os
import posix
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bpfmachine import record
from harness import PACKAGES
from profiles import PROFILES

from ocirun.errors import OperationError
from ocirun.seccomp import filter
from ocirun.seccomp.cache import compile_filter, places

PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}],
}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Gets what is compiled."""
    seen: list[object] = []
    real = filter.compile

    def counted(profile: Any) -> bytes:
        seen.append(profile)
        return real(profile)

    monkeypatch.setattr(filter, "compile", counted)
    return seen


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_compiled_once(tmp_path: Path, compilations: list[object]) -> None:
    cache = tmp_path / "cache"
    first = compile_filter(record(PROFILE), str(cache))
    assert compile_filter(record(dict(PROFILE)), str(cache)) == first
    assert len(compilations) == 1
    (entry,) = entries(cache)
    assert cache.stat().st_mode & 0o7777 == 0o700
    assert entry.stat().st_mode & 0o7777 == 0o600
    assert compile_filter(record(PROFILE)) == first
    assert len(compilations) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"defaultAction": "SCMP_ACT_LOG"},
        {"architectures": ["SCMP_ARCH_X86"]},
        {"defaultErrnoRet": 3},
        {"syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2}]},
        {"syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]},
    ],
)
def test_another_profile(tmp_path: Path, compilations: list[object], other: dict[str, Any]) -> None:
    compile_filter(record(PROFILE), str(tmp_path))
    program, _ = compile_filter(record({**PROFILE, **other}), str(tmp_path))
    assert len(compilations) == 2
    assert program == compile_filter(record({**PROFILE, **other}))[0]


@pytest.mark.parametrize("damage", ["empty", "short", "bit in the program", "bit in the sum", "other format"])
def test_damaged_entries(tmp_path: Path, compilations: list[object], damage: str) -> None:
    good = compile_filter(record(PROFILE), str(tmp_path))
    (entry,) = entries(tmp_path)
    data = bytearray(entry.read_bytes())
    if damage == "empty":
        data.clear()
    elif damage == "short":
        del data[-8:]
    elif damage == "bit in the program":
        data[-1] ^= 1
    elif damage == "bit in the sum":
        data[0] ^= 1
    else:
        data[:] = b"something else"
    entry.write_bytes(data)
    assert compile_filter(record(PROFILE), str(tmp_path)) == good
    assert len(compilations) == 2
    assert compile_filter(record(PROFILE), str(tmp_path)) == good
    assert len(compilations) == 2, "the entry is good again"


def test_another_library(tmp_path: Path, compilations: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of libseccomp, or of ourselves, makes every entry old."""
    library = tmp_path / "libseccomp.so.2"
    library.write_bytes(b"one")
    monkeypatch.setattr("ocirun.seccomp.cache._library", lambda: os.fsencode(library))
    cache = tmp_path / "cache"
    compile_filter(record(PROFILE), str(cache))
    compile_filter(record(PROFILE), str(cache))
    assert len(compilations) == 1
    library.unlink()
    library.write_bytes(b"two")
    compile_filter(record(PROFILE), str(cache))
    assert len(compilations) == 2
    library.unlink()
    compile_filter(record(PROFILE), str(cache))
    assert len(compilations) == 3


def test_the_files_that_count(tmp_path: Path) -> None:
    compile_filter(record(PROFILE), str(tmp_path))
    (entry,) = entries(tmp_path)
    head = entry.read_bytes()[32:].partition(b"\n\n")[0].decode().splitlines()
    assert Path(head[0].split("\t")[0]).name.startswith(("libseccomp.so", "_seccomp."))
    assert head[1].split("\t")[0] == filter.__file__


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    for cache in (tmp_path / "no" / "such" / "place", Path("/proc/self/cache")):
        assert compile_filter(record(PROFILE), str(cache)) == compile_filter(record(PROFILE))
    (tmp_path / "file").write_text("")
    assert compile_filter(record(PROFILE), str(tmp_path / "file"))[1] == 4


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def large(path: Path) -> None:
    os.truncate(path, 1 << 40)


def link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


@pytest.mark.parametrize("make", [fifo, large, link])
def test_something_else_as_an_entry(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Blocks nobody, and is replaced."""
    good = compile_filter(record(PROFILE), str(tmp_path))
    (entry,) = entries(tmp_path)
    make(entry)
    assert compile_filter(record(PROFILE), str(tmp_path)) == good
    assert entry.is_file() and not entry.is_symlink() and entry.stat().st_size < 1 << 20


def test_a_directory_that_others_can_write_to(tmp_path: Path, compilations: list[object]) -> None:
    """Is not used, whoever it belongs to; the next place is."""
    first, link, second = tmp_path / "first", tmp_path / "link", tmp_path / "second"
    first.mkdir()
    link.symlink_to(second)
    for mode, owner in ((0o777, 0), (0o720, 0), (0o700, 1000)):
        first.chmod(mode)
        os.chown(first, owner, owner)
        compile_filter(record(PROFILE), str(first), str(link), str(second))
        assert entries(first) == [] and len(entries(second)) == 1
    assert len(compilations) == 1


def test_a_purge_while_another_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the cache full may remove what others are just writing; that is no error to anybody."""
    real = posix.rename

    def late(*arguments: Any, **options: Any) -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        real(*arguments, **options)

    good = compile_filter(record(PROFILE))
    monkeypatch.setattr(posix, "rename", late)
    assert compile_filter(record(PROFILE), str(tmp_path)) == good
    assert entries(tmp_path) == []
    monkeypatch.undo()
    (tmp_path / "directory").mkdir()
    for index in range(300):
        compile_filter(record({**PROFILE, "defaultErrnoRet": index}), str(tmp_path))
    assert 0 < len(entries(tmp_path)) <= 130


def test_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all root directories."""
    monkeypatch.delitem(posix.environ, b"XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(posix, "geteuid", lambda: 1000)
    assert places() == ()
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", b"/run/user/1000")
    assert places() == ("/run/user/1000/ocirun/@seccomp",)
    monkeypatch.setattr(posix, "geteuid", lambda: 0)
    assert places() == ("/run/ocirun/@seccomp", "/run/user/1000/ocirun/@seccomp")


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    for index in range(300):
        compile_filter(record({**PROFILE, "defaultErrnoRet": index}), str(tmp_path))
    assert 0 < len(entries(tmp_path)) <= 128


def test_no_entry_for_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OperationError):
        compile_filter(record({"defaultAction": "SCMP_ACT_NONE"}), str(tmp_path))
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, 4),  # as runc: not even an empty list
        ([], 0),
        (["SECCOMP_FILTER_FLAG_LOG"], 2),
        (["SECCOMP_FILTER_FLAG_TSYNC"], 0),  # it is for several threads, of which the init has one
        (["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"], 6),
    ],
)
def test_flags(flags: list[str] | None, expected: int, tmp_path: Path) -> None:
    for profile in ({**PROFILE, "flags": flags}, *([PROFILE] if flags is None else [])):
        for _ in range(2):
            assert compile_filter(record(profile), str(tmp_path))[1] == expected


def test_a_hit_loads_no_library(tmp_path: Path) -> None:
    compile_filter(record(PROFILE), str(tmp_path))
    script = f"""
import sys
sys.path.insert(0, {str(PACKAGES)!r})
from ocirun.spec.seccomp import Seccomp
from ocirun.seccomp.cache import compile_filter
raw = {PROFILE!r}
compile_filter(Seccomp(default_action="SCMP_ACT_ALLOW", raw=raw), {str(tmp_path)!r})
print(*sorted(sys.modules))
"""
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert modules.isdisjoint({"ocirun._seccomp", "ocirun.seccomp.filter", "_cffi_backend", "hashlib", "os", "re"})


def test_a_hit_is_quick(tmp_path: Path) -> None:
    """0.3 ms for a profile like Docker's, and ten times that where the machine is busy."""
    docker = record(PROFILES["docker"])
    compile_filter(docker, str(tmp_path))
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        compile_filter(docker, str(tmp_path))
        best = min(best, time.perf_counter() - start)
    assert best < 0.003
