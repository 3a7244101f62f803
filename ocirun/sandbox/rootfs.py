"""What a program has as its root directory."""

from __future__ import annotations

import posix
from _stat import S_ISDIR, S_ISLNK, S_ISREG

from ..errors import HostError, UsageError, reason_of
from ..host.files import write_all
from ..process.size import in_bytes
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    Mounts = list[dict[str, Any]]

_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # beside /usr, or links into it (file-hierarchy(7))
_ETC = ("ld.so.cache", "alternatives")  # what programs of /usr need of /etc
_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "services", "ssl", "ca-certificates", "pki")
_PASSWD = "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"
_PLACES = ("proc", "dev", "tmp", "etc", "var", "run", "root", "home")
_LAYER = ".layer"
_LARGEST = 1 << 20  # of a file at the top of an overlay's lower directory, which is copied
_BINDS = ["rbind", "rnosuid", "rnodev", "rro"]


class Rootfs(Record):
    """The root directory of a program: made by ``host``, ``directory`` or ``overlay``."""

    kind: str
    path: str = ""
    size: int = 0
    read_only: bool = True

    @classmethod
    def host(cls) -> Rootfs:
        """This machine's own programs: /usr read-only, with what they need to run, and else nothing of the host."""
        return cls(kind="host")

    @classmethod
    def directory(cls, path: str | PathLike[str], *, read_only: bool = True) -> Rootfs:
        """A directory that has a whole system, such as an unpacked image.

        What is mounted in it needs places: /proc, /dev, /tmp and the targets of mounts are made where they are missing.

        :param read_only: the program cannot change it
        """
        return cls(kind="directory", path=_absolute(path), read_only=read_only)

    @classmethod
    def overlay(cls, path: str | PathLike[str], *, size: int | str = "64M") -> Rootfs:
        """A directory that has a whole system, below a layer that takes what the program writes, and goes with it.

        The top directory itself stays as it is: what is in it can be changed, but nothing added beside.

        :param size: of that layer, which is in memory: bytes or "64M"
        """
        return cls(kind="overlay", path=_absolute(path), size=in_bytes(size, "size"))

    def prepare(self, scratch: str, network: bool) -> tuple[str, Mounts]:
        """Make up a root. Returns its path and what is to be mounted in it first.

        :param scratch: a path for a directory, for this program alone
        :param network: it is to have what resolves names
        :raises UsageError: no such directory
        :raises HostError: it cannot be made
        """
        if self.kind == "directory":
            _check(self.path)
            return self.path, []
        try:
            _mkdir(scratch)
            return scratch, _host(scratch, network) if self.kind == "host" else self._overlay(scratch)
        except OSError as error:
            raise HostError(f"make a root directory in {scratch}: {reason_of(error.errno or 0)}") from None

    def _overlay(self, scratch: str) -> Mounts:
        """A layer for each directory: a mount at "/" itself cannot be asked for."""
        _check(self.path)
        if any(character in self.path for character in ":,\\"):
            raise UsageError(f"overlay: expected a path without colons, commas and backslashes, found {self.path!r}")
        layer = f"{scratch}/{_LAYER}"
        options = ["tmpcopyup", "mode=755", f"size={self.size}", "nosuid", "nodev"]
        mounts: Mounts = [{"destination": f"/{_LAYER}", "type": "tmpfs", "source": "tmpfs", "options": options}]
        _mkdir(layer)
        for name in sorted(posix.listdir(self.path)):
            status = posix.lstat(f"{self.path}/{name}")
            if S_ISLNK(status.st_mode):
                posix.symlink(posix.readlink(f"{self.path}/{name}"), f"{scratch}/{name}")
            elif S_ISREG(status.st_mode) and status.st_size <= _LARGEST:
                _copy(f"{self.path}/{name}", f"{scratch}/{name}", status.st_mode & 0o777)
            elif S_ISDIR(status.st_mode):
                _mkdir(f"{scratch}/{name}")
                if name in ("proc", "dev", "sys", _LAYER) or any(character in name for character in ":,\\"):
                    continue
                mounts.append(_layered(f"{self.path}/{name}", name, layer, status))
        return mounts


def _layered(lower: str, name: str, layer: str, status: posix.stat_result) -> dict[str, Any]:
    _mkdir(f"{layer}/{name}")
    for part in ("upper", "work"):
        _mkdir(f"{layer}/{name}/{part}")
    upper = f"{layer}/{name}/upper"  # what the directory is, its upper one shows
    posix.chmod(upper, status.st_mode & 0o7777)
    if posix.geteuid() == 0:
        posix.chown(upper, status.st_uid, status.st_gid)
    options = [f"lowerdir={lower}", f"upperdir={upper}", f"workdir={layer}/{name}/work", "nosuid", "nodev"]
    return {"destination": f"/{name}", "type": "overlay", "source": "overlay", "options": options}


def hidden(rootfs: Rootfs) -> list[str]:
    """Paths that the program is not to see."""
    return [f"/{_LAYER}"] if rootfs.kind == "overlay" else []


def _host(scratch: str, network: bool) -> Mounts:
    sources = ["/usr"]
    _mkdir(f"{scratch}/usr")
    for name in _USR:
        try:
            mode = posix.lstat(f"/{name}").st_mode
        except FileNotFoundError:
            continue
        if S_ISLNK(mode):
            posix.symlink(posix.readlink(f"/{name}"), f"{scratch}/{name}")
        else:
            _mkdir(f"{scratch}/{name}")
            sources.append(f"/{name}")
    for name in _PLACES:
        _mkdir(f"{scratch}/{name}")
    _write(f"{scratch}/etc/passwd", _PASSWD.encode(), 0o644)
    _write(f"{scratch}/etc/group", _GROUP.encode(), 0o644)
    for name in (*_ETC, *(_NETWORK if network else ())):
        try:
            mode = posix.stat(f"/etc/{name}").st_mode
        except OSError:
            continue
        if S_ISDIR(mode):
            _mkdir(f"{scratch}/etc/{name}")
        else:
            _write(f"{scratch}/etc/{name}", b"", 0o644)
        sources.append(f"/etc/{name}")
    return [{"destination": source, "type": "bind", "source": source, "options": _BINDS} for source in sources]


def _check(path: str) -> None:
    try:
        if not S_ISDIR(posix.stat(path).st_mode):
            raise NotADirectoryError(20, "")
    except OSError as error:
        raise UsageError(f"root directory {path}: {reason_of(error.errno or 0)}") from None


def _absolute(path: str | PathLike[str]) -> str:
    text = posix.fspath(path)
    return text if text[:1] == "/" else f"{posix.getcwd()}/{text}"


def _copy(source: str, target: str, mode: int) -> None:
    fd = posix.open(source, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, _LARGEST)
    finally:
        posix.close(fd)
    _write(target, data, mode)


def _mkdir(path: str) -> None:
    posix.mkdir(path, 0o755)
    posix.chmod(path, 0o755)  # whatever the umask


def _write(path: str, data: bytes, mode: int) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, mode)
    try:
        posix.fchmod(fd, mode)
        write_all(fd, data)
    finally:
        posix.close(fd)
