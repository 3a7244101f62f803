"""The containers on disk: <root>/<id>/, mode 0711.

    state        what later commands need, below
    config.json  the bundle's, as it was at create: `exec` and the poststop hooks take it from here
    exec.fifo    PID 1 waits on it; removed by `start`
    notify/      mounted in the container, for its socket for sd_notify(3); where create was told of one

``state`` is a sequence of KEY=VALUE entries, each ended by NUL (as environ in proc(5)), so that a few lines of C read
it. It appears whole, by rename(2), and only grows: what changes is appended, and of several values for a key the last
one counts, a last entry without its NUL not at all. (To replace the file takes ten times as long on ext4, which then
writes to the disk at once, and makes its removal wait for that.) No fsync: containers do not outlive the kernel, so
neither need this.
The status of a container is not in it, since it would go stale: see lifecycle/status.py.

    ocirun=1                       the version of this format; always first
    id= bundle= rootfs= created=   as in the state document
    start= pid=                    PID 1's start time in clock ticks, and PID 1; 0 while there is none
    creating=1                     its create has not ended (or was killed); 0: it has
    uid=                           who created the container
    shared-pid=1                   it has no pid namespace of its own: killing PID 1 does not kill the rest
    hooks=poststart,poststop       which of these it has
    cgroup=CONTROLLERS:MOUNT:DIR   each of its cgroup directories (none in CONTROLLERS: v2); separated by tabs
    resctrl=DIR:DIR                the groups of resctrl that it has made, the inner one first; separated by tabs
    unit=WHOSE:NAME                its scope, of the "system" or the "user" manager; separated by a tab
    late=INDEX:HOOK:POINTER:WHAT   the plan's operations after `start`, to word their failure; separated by tabs
    document=...                   the state document from "bundle" to the end
"""

from __future__ import annotations

import fcntl
import posix

from ..errors import ContainerExists, ContainerNotFound, HostError, UsageError, reason_of
from ..host.files import read_file, read_regular, write_all, write_file
from ..plan.cgroup import CgroupDir, Unit
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EACCES, _EINVAL, _EFBIG, _EROFS, _ENOLCK, _ELOOP, _EOPNOTSUPP = 13, 22, 27, 30, 37, 40, 95
_PID_LARGEST = 1 << 22  # PID_MAX_LIMIT of the kernel
_SHOWN = 200  # bytes of a command line in an error
_STATE_LARGEST = 64 << 20  # bytes: config.json can be 16 MiB long, and its annotations are twice in here
_ID_LONGEST = 255  # NAME_MAX: directories have that name
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


# What is killed while it removes a container must still be found by `delete --force`: who is in it is in `state`. (The
# poststop hooks are in config.json, and lost with it.)
_LAST = ("config.json", "state")
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Damaged(HostError):
    """A state file that no program of ours has written."""


class Late(Record):
    """An operation that PID 1 performs after `start`, when no plan is at hand any more."""

    index: int
    pointer: str
    hook: bool
    what: str


class Entry(Record):
    """The content of a state file; see the module's docstring."""

    id: str
    bundle: str
    rootfs: str
    created: str
    document: str
    uid: int
    pid: int = 0
    start: int = 0
    creating: bool = False
    shared_pid: bool = False
    hooks: tuple[str, ...] = ()
    cgroup: tuple[CgroupDir, ...] = ()
    unit: Unit | None = None
    resctrl: tuple[str, ...] = ()
    late: tuple[Late, ...] = ()


def check_id(id: str) -> None:
    """As runc: [A-Za-z0-9_+.-]+, not "." or "..", and no more than fit into the name of a file.

    :raises UsageError: otherwise
    """
    if not id:
        raise UsageError("container id cannot be empty")
    if id in (".", "..") or not _ID_CHARACTERS.issuperset(id):
        raise UsageError("invalid container ID format")
    if len(id) > _ID_LONGEST:
        raise UsageError(f"invalid container ID format: expected at most {_ID_LONGEST} characters, found {len(id)}")


def directory(root: str, id: str) -> str:
    """Where a container's files are."""
    return f"{root}/{id}"


def claim(root: str, id: str) -> int:
    """Take the id: make the container's directory. Returns its descriptor, locked.

    :raises ContainerExists: it is taken
    :raises HostError: the directory cannot be made
    """
    check_id(id)
    path = directory(root, id)
    try:
        try:
            posix.mkdir(path, 0o711)
        except FileNotFoundError:
            make_root(root)
            posix.mkdir(path, 0o711)
    except FileExistsError:
        raise ContainerExists(id) from None
    except OSError as error:
        raise _not_made("container's", path, error) from None
    try:
        posix.chmod(path, 0o711)  # whatever the umask
        return lock(root, id)
    except (ContainerNotFound, FileNotFoundError):  # `delete --force` came in between
        raise ContainerExists(id) from None
    except BaseException as error:
        try:
            posix.rmdir(path)
        except OSError:
            pass
        if isinstance(error, OSError):
            raise _not_made("container's", path, error) from None
        raise


def make_root(root: str) -> None:
    """Make the root directory and its parents, mode 0700; those that are there stay as they are.

    :raises HostError: they cannot be made
    """
    made = ""
    for part in root.split("/"):
        made += part + "/"
        try:
            posix.mkdir(made, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise _not_made("root", root, error) from None


def _not_made(which: str, path: str, error: OSError) -> HostError:
    hint = ""
    if error.errno == _EROFS:
        hint = " (--root names another place)"
    elif error.errno == _EACCES and posix.geteuid():
        hint = " (an ordinary user needs a place of its own: $XDG_RUNTIME_DIR or --root)"
    return HostError(f"make the {which} directory {path}: {reason_of(error.errno or 0)}{hint}")


def lock(root: str, id: str, wait: bool = True) -> int:
    """The container's directory, opened and locked: one command at a time changes a container.

    Held until the descriptor is closed. A file system that knows no locks (NFS without its lock daemon, FUSE) is
    taken without: then nothing but the user keeps two commands from one container, as with other runtimes.

    :param wait: for another command to end
    :raises ContainerNotFound: there is none
    :raises BlockingIOError: another command is at work, with wait false
    """
    check_id(id)
    path = directory(root, id)
    while True:
        try:
            fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerNotFound(id) from None
        except OSError as error:
            raise HostError(f"open {path}: {reason_of(error.errno or 0)}") from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (_ENOLCK, _EOPNOTSUPP):
                    raise
            if posix.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            posix.close(fd)
            raise
        except BaseException as error:
            posix.close(fd)
            if isinstance(error, OSError):
                raise HostError(f"lock {path}: {reason_of(error.errno or 0)}") from None
            raise
        posix.close(fd)  # deleted while we waited; there may be a new one of that id


def is_locked(root: str, id: str, own: int = -1) -> bool:
    """Whether some command is changing the container.

    :param own: our own lock of it, which does not count
    """
    if own >= 0:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # as below
            return True
        return False
    try:
        fd = posix.open(directory(root, id), posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # EWOULDBLOCK; or there are no locks here, and who cannot tell must not say that it is over
        return True
    finally:
        posix.close(fd)
    return False


def holder(root: str, id: str) -> str:
    """In words, the process that has the container's lock, by /proc/locks (proc_locks(5))."""
    try:
        stat = posix.stat(directory(root, id))
        wanted = b"%02x:%02x:%d" % (posix.major(stat.st_dev), posix.minor(stat.st_dev), stat.st_ino)
        for line in read_file("/proc/locks").splitlines():
            fields = line.split()
            if fields[1] == b"FLOCK" and fields[5] == wanted:
                pid = int(fields[4])
                command = read_file(f"/proc/{pid}/cmdline").rstrip(b"\0").replace(b"\0", b" ")
                return f"process {pid} ({command[:_SHOWN].decode('utf-8', 'replace')})"
    except (OSError, IndexError, ValueError):  # it has just gone, or is in another pid namespace
        pass
    return "another command"


def load(root: str, id: str) -> Entry:
    """Read a container's state file.

    :raises ContainerNotFound: there is none (or its create was killed before it was written)
    :raises Damaged: it is none, or of another format
    :raises HostError: it cannot be read
    """
    check_id(id)
    path = f"{root}/{id}/state"
    try:
        data = read_regular(path, _STATE_LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        raise ContainerNotFound(id) from None
    except OSError as error:
        kind = Damaged if error.errno in (_EINVAL, _EFBIG, _ELOOP) else HostError
        raise kind(f"read {path}: {reason_of(error.errno or 0)}") from None
    try:
        return _entry(path, data)
    except (KeyError, ValueError) as error:
        raise Damaged(f"{path}: the state file is damaged: {error!r}") from None


def salvage(root: str, id: str) -> Entry:
    """What a state file says that load() cannot read: the cgroup, and PID 1 if both its pid and its start time are
    there. Nothing, where it cannot be read at all."""
    try:
        data = read_regular(f"{root}/{id}/state", _STATE_LARGEST)
    except OSError:
        data = b""
    single = dict.fromkeys(("bundle", "rootfs", "created", "document"), "") | {"uid": "0", "pid": "0", "start": "0"}
    cgroup: list[CgroupDir] = []
    for item in data.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        try:
            parts = {**single, "id": id}
            cgroup += _take(item, parts, {})
            _made(parts, (), {})
            single = parts
        except (KeyError, ValueError):
            continue
    return _made({**single, "id": id}, cgroup, {})


def _entry(path: str, data: bytes) -> Entry:
    single: dict[str, str] = {}
    cgroup: list[CgroupDir] = []
    late: dict[int, Late] = {}
    for item in data.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        cgroup += _take(item, single, late)
    if single.get("ocirun") != "1":
        raise Damaged(f"{path}: expected a state file of version 1, found version {single.get('ocirun', 'none')}")
    return _made(single, cgroup, late)


def _take(item: str, single: dict[str, str], late: dict[int, Late]) -> tuple[CgroupDir, ...]:
    """Sort one entry in, or return it when it is a cgroup."""
    key, _, value = item.partition("=")
    if key == "cgroup":
        words, mountpoint, where = value.split("\t", 2)
        if where[:1] != "/" or not f"{where}/".startswith(f"{mountpoint}/"):
            raise ValueError(f"cgroup {where}")
        controllers = tuple(words.split(",")) if words else ()
        return (CgroupDir(controllers=controllers, path=where, mountpoint=mountpoint),)
    if key == "late":
        index, hook, pointer, what = value.split("\t", 3)
        late[int(index)] = Late(index=int(index), pointer=pointer, hook=hook == "1", what=what)
    else:
        single[key] = value
    return ()


def _made(single: dict[str, str], cgroup: Sequence[CgroupDir], late: dict[int, Late]) -> Entry:
    pid = int(single["pid"])
    if not 0 <= pid <= _PID_LARGEST:
        raise ValueError(f"pid {pid}")
    return Entry(
        id=single["id"],
        bundle=single["bundle"],
        rootfs=single["rootfs"],
        created=single["created"],
        document=single["document"],
        uid=int(single["uid"]),
        pid=pid,
        start=int(single["start"]),
        creating=single.get("creating") == "1",
        shared_pid="shared-pid" in single,
        hooks=tuple(single["hooks"].split(",")) if "hooks" in single else (),
        cgroup=tuple(cgroup),
        unit=_unit(single["unit"]) if "unit" in single else None,
        resctrl=tuple(single["resctrl"].split("\t")) if "resctrl" in single else (),
        late=tuple(late.values()),
    )


def _unit(text: str) -> Unit:
    whose, name = text.split("\t", 1)
    return Unit(name=name, user=whose == "user")


def config(root: str, id: str) -> bytes:
    """config.json as it was at create.

    :raises HostError: it cannot be read
    """
    path = f"{root}/{id}/config.json"
    try:
        return read_regular(path, _STATE_LARGEST)
    except OSError as error:
        raise HostError(f"read {path}: {reason_of(error.errno or 0)}") from None


def save(root: str, entry: Entry) -> None:
    """Write a container's state file.

    :raises HostError: it cannot be written
    """
    items = [
        "ocirun=1",
        f"id={entry.id}",
        f"uid={entry.uid}",
        f"bundle={entry.bundle}",
        f"rootfs={entry.rootfs}",
        f"created={entry.created}",
    ]
    if entry.shared_pid:
        items.append("shared-pid=1")
    if entry.hooks:
        items.append(f"hooks={','.join(entry.hooks)}")
    items.extend(f"cgroup={','.join(d.controllers)}\t{d.mountpoint}\t{d.path}" for d in entry.cgroup)
    if entry.unit is not None:
        items.append(f"unit={'user' if entry.unit.user else 'system'}\t{entry.unit.name}")
    items.append(f"document={entry.document}")
    write_file(f"{root}/{entry.id}/state", _text([*items, *_changing(entry)]))


def update(root: str, entry: Entry) -> None:
    """Note in a container's state file what has changed since save(): the pid and its start time, that the create has
    ended, and what is late.

    :raises HostError: it cannot be written
    """
    path = f"{root}/{entry.id}/state"
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC)
        try:
            write_all(fd, _text(_changing(entry)))
        finally:
            posix.close(fd)
    except OSError as error:
        raise HostError(f"write {path}: {reason_of(error.errno or 0)}") from None


def _changing(entry: Entry) -> list[str]:
    """What update() may change: what others depend on before these."""
    late = [f"late={late.index}\t{late.hook:d}\t{late.pointer}\t{late.what}" for late in entry.late]
    if entry.resctrl:
        late.append("resctrl=" + "\t".join(entry.resctrl))
    return [*late, f"start={entry.start}", f"pid={entry.pid}", f"creating={entry.creating:d}"]


def _text(items: list[str]) -> bytes:
    return "".join([f"{item}\0" for item in items]).encode("utf-8", "surrogateescape")


def remove(root: str, id: str) -> None:
    """Remove a container's directory with everything in it; the id is free then.

    :raises HostError: it cannot be removed
    """
    path = directory(root, id)
    try:
        _empty(path)
        posix.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HostError(f"remove {path}: {reason_of(error.errno or 0)}") from None


def _empty(path: str) -> None:
    """Remove all that is in a directory of ours. (With few descriptors: there may be no more, as the reason.)

    One directory in it belongs to the container (that of its socket for sd_notify(3)), which can fill it as it likes.
    So what is in a directory below is moved up into this one: no depth is too deep then, and no name is followed.
    """
    while names := [name for name in posix.listdir(path) if name not in _LAST]:
        for name in names:
            try:
                posix.unlink(f"{path}/{name}")
            except FileNotFoundError:
                pass
            except IsADirectoryError:
                _move_up(f"{path}/{name}", path)
                posix.rmdir(f"{path}/{name}")
    for name in _LAST:
        try:
            posix.unlink(f"{path}/{name}")
        except FileNotFoundError:
            pass


def _move_up(inner: str, path: str) -> None:
    fd = posix.open(inner, _DIRECTORY)
    try:
        for name in posix.listdir(fd):
            posix.rename(name, f"{path}/@{posix.urandom(16).hex()}", src_dir_fd=fd)
    finally:
        posix.close(fd)


def ids(root: str) -> list[str]:
    """The ids below the root directory, sorted; also those whose create was killed.

    :raises HostError: the root directory cannot be read
    """
    try:
        names = posix.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HostError(f"read {root}: {reason_of(error.errno or 0)}") from None
    return sorted(filter(_ID_CHARACTERS.issuperset, names))
