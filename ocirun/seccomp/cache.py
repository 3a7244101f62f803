"""linux.seccomp as a BPF program, from a cache: compiling Docker's profile costs more than all else of a create.

An entry is named by the hash of the profile and holds, checked at every use: the hash of what follows; a line for
each file that the result depends on (libseccomp, and filter.py) with what tells one version of it from another; an
empty line; the program. What does not fit is compiled again.
"""

from __future__ import annotations

import posix
from _blake2 import blake2b  # hashlib costs ten times as much to import

from .. import __path__ as _places
from ..host.files import read_file
from ..spec.seccomp import SECCOMP_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.seccomp import Seccomp

_ENTRIES = 128  # more than that, and something generates profiles: all go


def compile_filter(seccomp: Seccomp, cache: str | None) -> tuple[bytes, int]:
    """The program (struct sock_filter[]) and the SECCOMP_FILTER_FLAG_* for seccomp(2).

    :param cache: directory of compiled programs, made when missing; None for none
    :raises OperationError: the profile cannot be compiled
    """
    flags = seccomp.flags
    if seccomp.raw.get("flags") is None:  # not even an empty list: as runc
        flags = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)
    bits = 0
    for flag in flags:
        if flag != "SECCOMP_FILTER_FLAG_TSYNC":  # the init has one thread
            bits |= SECCOMP_FLAGS[flag]
    path = f"{cache}/{_key(seccomp)}" if cache else ""
    program = _load(path) if cache else None
    if program is None:
        from .filter import compile

        program = compile(seccomp)
        if cache:
            _save(cache, path, program)
    return program, bits


def library_version() -> str:
    """libseccomp's, as "2.5.4"."""
    from .filter import library_version

    return library_version()


def _key(seccomp: Seccomp) -> str:
    return blake2b(f"{posix.uname().machine}\0{seccomp.raw!r}".encode(), digest_size=32).hexdigest()


def _load(path: str) -> bytes | None:
    """The program of an entry, None when there is none that can be used."""
    try:
        entry = read_file(path)
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


def _save(cache: str, path: str, program: bytes) -> None:
    """Write an entry. That it cannot be written is no error: the next container compiles again."""
    compiler = f"{_places[0]}/seccomp/filter.py"
    lines = [_version(_library()), _version(compiler.encode("utf-8", "surrogateescape"))]
    content = b"\n".join(line for line in lines if line) + b"\n\n" + program
    temporary = f"{path}.{posix.getpid()}"
    try:
        try:
            posix.mkdir(cache, 0o700)
        except FileExistsError:
            names = posix.listdir(cache)
            for name in names if len(names) >= _ENTRIES else ():
                posix.unlink(f"{cache}/{name}")
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        try:
            posix.write(fd, blake2b(content, digest_size=32).digest() + content)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError:
        posix.unlink(temporary)


def _library() -> bytes:
    """The file that libseccomp was loaded from, or the extension when it is linked statically."""
    found = b""
    for line in _maps():
        path = line.split(b" ", 5)[-1].strip()
        if path.rpartition(b"/")[2].startswith(b"libseccomp.so"):
            return path
        if path.rpartition(b"/")[2].startswith(b"_seccomp."):
            found = path
    return found


def _maps() -> list[bytes]:
    """The lines of /proc/self/maps, which comes in pages."""
    fd = posix.open("/proc/self/maps", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = [posix.read(fd, 65536)]
        while parts[-1]:
            parts.append(posix.read(fd, 65536))
    finally:
        posix.close(fd)
    return b"".join(parts).splitlines()
