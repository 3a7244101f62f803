"""linux.seccomp as a BPF program, from a cache: compiling Docker's profile costs more than all else of a create.

An entry is named by the hash of the profile and holds, checked at every use: the hash of what follows; a line for
each file that the result depends on (libseccomp, and filter.py) with what tells one version of it from another; an
empty line; the program. What does not fit is compiled again. There is one place for all root directories, since an
entry depends on no container: it outlives them all, and no directory of an engine gets it.
"""

from __future__ import annotations

import posix
from _blake2 import blake2b  # hashlib costs ten times as much to import

from .. import __path__ as _places
from ..host.files import read_file, read_regular
from ..spec.seccomp import SECCOMP_FLAGS
from ..spec.tables import SECCOMP_NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.seccomp import Seccomp

_WAIT_KILLABLE = SECCOMP_FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
_ENTRIES = 128  # more than that, and something generates profiles: all go
_LARGEST = 1 << 20  # bytes; the kernel takes programs of 32 KiB (BPF_MAXINSNS)
_NAME = "ocirun/@seccomp"  # in /run; no container below the default root directory can have that id


def places() -> tuple[str, ...]:
    """Where entries may be kept: below /run for root, else (also for root of a user namespace to whom that does not
    belong) in the user's runtime directory."""
    runtime = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    found = [f"/run/{_NAME}"] if posix.geteuid() == 0 else []
    if runtime[:1] == "/":
        found.append(f"{runtime}/{_NAME}")
    return tuple(found)


def compile_filter(seccomp: Seccomp, *caches: str) -> tuple[bytes, int]:
    """The program (struct sock_filter[]) and the SECCOMP_FILTER_FLAG_* for seccomp(2).

    :param caches: directories of compiled programs, of which the first is taken that is, or can become, ours alone
    :raises OperationError: the profile cannot be compiled
    """
    flags = seccomp.flags
    if seccomp.raw.get("flags") is None:  # not even an empty list: as runc
        flags = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)
    bits = 0
    for flag in flags:
        if flag != "SECCOMP_FILTER_FLAG_TSYNC":  # the init has one thread
            bits |= SECCOMP_FLAGS[flag]
    if seccomp.listener_path and any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls):
        bits |= SECCOMP_NEW_LISTENER
    else:
        bits &= ~_WAIT_KILLABLE  # of those who wait for an agent; the kernel refuses it where there is none
    cache = next(filter(lambda fd: fd >= 0, map(_open, caches)), -1)
    try:
        name = _key(seccomp) if cache >= 0 else ""
        program = _load(cache, name) if name else None
        if program is None:
            from .filter import compile

            program = compile(seccomp)
            if name:
                _save(cache, name, program)
    finally:
        if cache >= 0:
            posix.close(cache)
    return program, bits


def _open(cache: str) -> int:
    """The directory, made when missing; -1 where others could have put something into it, or there cannot be one."""
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        try:
            fd = posix.open(cache, flags)
        except FileNotFoundError:
            _make(cache)
            fd = posix.open(cache, flags)
    except OSError:
        return -1
    stat = posix.fstat(fd)
    if stat.st_uid == posix.geteuid() and not stat.st_mode & 0o022:
        return fd
    posix.close(fd)
    return -1


def _make(cache: str) -> None:
    # Sticky: what cleans up $XDG_RUNTIME_DIR leaves it alone (XDG base directories).
    for path, mode in ((cache.rpartition("/")[0], 0o1700), (cache, 0o700)):
        try:
            posix.mkdir(path, mode)
        except FileExistsError:
            pass


def library_version() -> str:
    """libseccomp's, as "2.5.4"."""
    from .filter import library_version

    return library_version()


def _key(seccomp: Seccomp) -> str:
    return blake2b(f"{posix.uname().machine}\0{seccomp.raw!r}".encode(), digest_size=32).hexdigest()


def _load(cache: int, name: str) -> bytes | None:
    """The program of an entry, None when there is none that can be used."""
    try:
        entry = read_regular(name, _LARGEST, cache)
    except OSError:
        return None
    content = entry[32:]
    if blake2b(content, digest_size=32).digest() != entry[:32]:
        return None
    head, _, program = content.partition(b"\n\n")
    for line in head.split(b"\n"):
        if _version(line.rpartition(b"\t")[0]) != line:
            return None
    return program


def _version(path: bytes) -> bytes | None:
    """The entry's line for a file."""
    try:
        stat = posix.stat(path)
    except OSError:
        return None
    return b"%s\t%d:%d:%d" % (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _save(cache: int, name: str, program: bytes) -> None:
    """Write an entry. That it cannot be written is no error: the next container compiles again."""
    compiler = f"{_places[0]}/seccomp/filter.py"
    lines = [_version(_library()), _version(compiler.encode("utf-8", "surrogateescape"))]
    content = b"\n".join(line for line in lines if line) + b"\n\n" + program
    temporary = f"{name}.{posix.urandom(8).hex()}"
    try:
        names = posix.listdir(cache)
        for old in names if len(names) >= _ENTRIES else ():
            _forget(cache, old)
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
        fd = posix.open(temporary, flags, 0o600, dir_fd=cache)
    except OSError:
        return
    try:
        try:
            posix.write(fd, blake2b(content, digest_size=32).digest() + content)
        finally:
            posix.close(fd)
        posix.rename(temporary, name, src_dir_fd=cache, dst_dir_fd=cache)
    except OSError:
        _forget(cache, temporary)


def _forget(cache: int, name: str) -> None:
    """Remove an entry, or what somebody is just writing, who then does without."""
    try:
        posix.unlink(name, dir_fd=cache)
    except OSError:
        pass


def _library() -> bytes:
    """The file that libseccomp was loaded from, or the extension when it is linked statically."""
    found = b""
    for line in read_file("/proc/self/maps").splitlines():
        path = line.split(b" ", 5)[-1].strip()
        if path.rpartition(b"/")[2].startswith(b"libseccomp.so"):
            return path
        if path.rpartition(b"/")[2].startswith(b"_seccomp."):
            found = path
    return found
