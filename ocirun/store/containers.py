"""The containers on disk: <root>/<id>/, mode 0711.

    state        what later commands need, below
    config.json  the bundle's, as it was at create: `exec` and the poststop hooks take it from here
    exec.fifo    PID 1 waits on it; removed by `start`

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
    unit=WHOSE:NAME                its scope, of the "system" or the "user" manager; separated by a tab
    late=INDEX:HOOK:POINTER:WHAT   the plan's operations after `start`, to word their failure; separated by tabs
    document=...                   the state document from "bundle" to the end
"""

from __future__ import annotations

import fcntl
import posix

from ..errors import ContainerExists, ContainerNotFound, HostError, UsageError, reason_of
from ..host.files import read_file
from ..plan.cgroup import CgroupDir, Unit
from ..record import Record

_EACCES, _EROFS = 13, 30
_ID_LONGEST = 255  # NAME_MAX: directories have that name
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


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

    Held until the descriptor is closed.

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
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if posix.fstat(fd).st_nlink:
                return fd
        except BaseException:
            posix.close(fd)
            raise
        posix.close(fd)  # deleted while we waited; there may be a new one of that id


def is_locked(root: str, id: str) -> bool:
    """Whether some command is changing the container."""
    try:
        fd = posix.open(directory(root, id), posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        posix.close(fd)
    return False


def load(root: str, id: str) -> Entry:
    """Read a container's state file.

    :raises ContainerNotFound: there is none (or its create was killed before it was written)
    :raises HostError: it cannot be read, or is of another format
    """
    check_id(id)
    path = f"{root}/{id}/state"
    try:
        data = read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ContainerNotFound(id) from None
    except OSError as error:
        raise HostError(f"read {path}: {reason_of(error.errno or 0)}") from None
    try:
        return _entry(path, data)
    except (KeyError, ValueError) as error:  # no other program of ours has written that
        raise HostError(f"{path}: the state file is damaged: {error!r}") from None


def _entry(path: str, data: bytes) -> Entry:
    single: dict[str, str] = {}
    cgroup = []
    late: dict[int, Late] = {}
    for item in data.decode("utf-8", "surrogateescape").split("\0")[:-1]:
        key, _, value = item.partition("=")
        if key == "cgroup":
            words, mountpoint, where = value.split("\t", 2)
            controllers = tuple(words.split(",")) if words else ()
            cgroup.append(CgroupDir(controllers=controllers, path=where, mountpoint=mountpoint))
        elif key == "late":
            index, hook, pointer, what = value.split("\t", 3)
            late[int(index)] = Late(index=int(index), pointer=pointer, hook=hook == "1", what=what)
        else:
            single[key] = value
    if single.get("ocirun") != "1":
        raise HostError(f"{path}: expected a state file of version 1, found version {single.get('ocirun', 'none')}")
    return Entry(
        id=single["id"],
        bundle=single["bundle"],
        rootfs=single["rootfs"],
        created=single["created"],
        document=single["document"],
        uid=int(single["uid"]),
        pid=int(single["pid"]),
        start=int(single["start"]),
        creating=single.get("creating") == "1",
        shared_pid="shared-pid" in single,
        hooks=tuple(single["hooks"].split(",")) if "hooks" in single else (),
        cgroup=tuple(cgroup),
        unit=_unit(single["unit"]) if "unit" in single else None,
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
        return read_file(path)
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
            _write(fd, _text(_changing(entry)))
        finally:
            posix.close(fd)
    except OSError as error:
        raise HostError(f"write {path}: {reason_of(error.errno or 0)}") from None


def _changing(entry: Entry) -> list[str]:
    """What update() may change: what others depend on before these."""
    late = [f"late={late.index}\t{late.hook:d}\t{late.pointer}\t{late.what}" for late in entry.late]
    return [*late, f"start={entry.start}", f"pid={entry.pid}", f"creating={entry.creating:d}"]


def _text(items: list[str]) -> bytes:
    return "".join([f"{item}\0" for item in items]).encode("utf-8", "surrogateescape")


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all (temporary file and rename).

    :raises HostError: it cannot be written; the temporary file is gone
    """
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, mode)
        try:
            _write(fd, data)
        finally:
            posix.close(fd)
        posix.rename(temporary, path)
    except OSError as error:
        try:
            posix.unlink(temporary)
        except OSError:
            pass
        raise HostError(f"write {path}: {reason_of(error.errno or 0)}") from None


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def remove(root: str, id: str) -> None:
    """Remove a container's directory with everything that this runtime puts into it; the id is free then.

    :raises HostError: it cannot be removed
    """
    path = directory(root, id)
    try:
        _remove(path)
    except OSError as error:
        raise HostError(f"remove {path}: {reason_of(error.errno or 0)}") from None


def _remove(path: str) -> None:
    try:
        names = posix.listdir(path)
    except FileNotFoundError:
        return
    # The state file last: what is killed in between must still be found by `delete --force`.
    for name in sorted(names, key=lambda name: name == "state"):
        try:
            posix.unlink(f"{path}/{name}")
        except FileNotFoundError:
            pass
        except IsADirectoryError:  # of the socket for sd_notify(3), the only one
            for inner in posix.listdir(f"{path}/{name}"):
                posix.unlink(f"{path}/{name}/{inner}")
            posix.rmdir(f"{path}/{name}")
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        pass


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
