"""Who is in a container's cgroup: listed, signalled, frozen, and the cgroup removed when they are gone.

What `state`, `kill` and `delete` load, and nothing else of this package.
"""

from __future__ import annotations

import posix

from ..errors import HostError, reason_of
from ..host.files import read_file, set_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..plan.cgroup import CgroupDir

_SIGKILL = 9
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_ENODEV, _EOPNOTSUPP = 19, 95
_FREEZE_TRIES = 1000  # a fork bomb takes several to freeze on v1
_REMOVE_TRIES = 12  # 1, 2, 4 ... 100, 100 ms: about a second for the last processes to leave


def pids(directories: Sequence[CgroupDir]) -> list[int]:
    """All processes of the container, those in cgroups below its own included."""
    for directory in _members(directories)[:1]:
        found = _processes(directory.path)
        for parent, name in _below(directory.path):
            found += _processes(name, parent)
        return sorted(set(found))
    return []


def signal_all(directories: Sequence[CgroupDir], signal: int) -> bool:
    """Send a signal to all processes of the container; SIGKILL leaves all of it thawed. Was anybody there?

    The processes are frozen meanwhile, so that none forks away from its signal, unless the kernel itself kills a
    cgroup (cgroup.kill, Linux 5.14).
    """
    found = pids(directories)
    if not found:
        return False
    if signal == _SIGKILL and any(not d.controllers and _write(f"{d.path}/cgroup.kill", b"1") for d in directories):
        if len(directories) == 1:
            return True
        # Hybrid: somebody may be in the v1 directories only. What the kernel has killed takes a second signal well.
        found = pids(directories)
        if not found:
            return True
    was_frozen = frozen(directories)
    if not was_frozen:
        _set_frozen(directories, True, wait=True)
        found = pids(directories)
    for pid in found:
        try:
            posix.kill(pid, signal)
        except ProcessLookupError:
            pass
    if signal == _SIGKILL:
        thaw(directories)
    elif not was_frozen:
        _set_frozen(directories, False, wait=False)
    return True


def frozen(directories: Sequence[CgroupDir]) -> bool:
    """Whether the container is paused."""
    freezer = with_controller(directories, "freezer")
    if freezer is None:
        return False
    try:
        if freezer.controllers:
            return read_file(f"{freezer.path}/freezer.state") != b"THAWED\n"
        return read_file(f"{freezer.path}/cgroup.freeze") == b"1\n"
    except OSError:  # the directory is gone, or the kernel has no freezer
        return False


def freeze(directories: Sequence[CgroupDir]) -> None:
    """Pause all processes of the container.

    :raises HostError: there is no freezer, or they do not freeze
    """
    if with_controller(directories, "freezer") is None:
        raise HostError("cannot pause a container without a freezer cgroup")
    if not _set_frozen(directories, True, wait=True):
        _set_frozen(directories, False, wait=False)
        raise HostError("unable to freeze the container's cgroup")


def thaw(directories: Sequence[CgroupDir]) -> None:
    """Let them go on, with those in cgroups below that the container has frozen itself: on v1 the frozen do not die.
    No error where there is nothing to thaw."""
    freezer = with_controller(directories, "freezer")
    if freezer is None:
        return
    _set_frozen(directories, False, wait=False)
    file, value = ("freezer.state", b"THAWED") if freezer.controllers else ("cgroup.freeze", b"0")
    try:
        for parent, name in _below(freezer.path):
            _write(f"{name}/{file}", value, parent)
    except HostError:  # what is still frozen will show
        pass


def remove(directories: Sequence[CgroupDir]) -> None:
    """Remove the container's directories with all below them. What is gone already is no error.

    :raises HostError: one does not go, mostly because a process is still in it
    """
    failed = ""
    for directory in directories:
        try:
            _remove(directory.path, directories, 2 if failed else _REMOVE_TRIES)  # who stays in one stays in all
        except OSError as error:
            failed = failed or f"{directory.path}: {reason_of(error.errno or 0)}"
    if failed:
        raise HostError(f"unable to remove container's cgroup: {failed}")


def _remove(path: str, all: Sequence[CgroupDir], tries: int) -> None:
    delay = 0.001
    for attempt in range(tries):
        try:
            posix.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError:  # EBUSY: cgroups below, or a process that is just dying
            if attempt == tries - 1:
                raise
        if attempt == 0:
            thaw(all)  # who is to die in there
        for parent, name in _below(path):
            try:
                posix.rmdir(name, dir_fd=parent)
            except OSError:
                pass
        if attempt:
            import time

            time.sleep(delay)
            delay = min(delay * 2, 0.1)


def _members(directories: Sequence[CgroupDir]) -> list[CgroupDir]:
    """The directories, the most telling about who belongs to the container first: v1's devices, as in runc."""
    return sorted(directories, key=lambda d: "devices" not in d.controllers)


def with_controller(directories: Sequence[CgroupDir], controller: str) -> CgroupDir | None:
    """The one that has the controller; hybrid, v2's has none."""
    for directory in directories:
        if controller in directory.controllers or (not directory.controllers and len(directories) == 1):
            return directory
    return None


def _set_frozen(directories: Sequence[CgroupDir], on: bool, wait: bool) -> bool:
    """Write to the freezer; with wait, until everybody is frozen. Did it work?"""
    freezer = with_controller(directories, "freezer")
    if freezer is None:
        return False
    if freezer.controllers:
        file, value = f"{freezer.path}/freezer.state", b"FROZEN" if on else b"THAWED"
        check, done = file, b"FROZEN\n"
    else:
        file, value = f"{freezer.path}/cgroup.freeze", b"1" if on else b"0"
        check, done = f"{freezer.path}/cgroup.events", b"frozen 1\n"
    if not _write(file, value):
        return False
    if not wait:
        return True
    for attempt in range(_FREEZE_TRIES):
        try:
            if done in read_file(check):
                return True
        except OSError:
            return False
        import time

        time.sleep(0.00001 if attempt < 10 else 0.001)
        if freezer.controllers and attempt % 50 == 49:
            # v1 stays FREEZING for ever when a task was forked at the wrong moment; another try helps.
            _write(file, b"THAWED")
            time.sleep(0.001)
            _write(file, b"FROZEN")
    return False


def _below(path: str) -> Iterator[tuple[int, str]]:
    """All cgroups below one, the deepest first, each as a descriptor of its parent and its name there.

    The container makes them: nested deeper than a process may have descriptors, with paths longer than the kernel
    takes. So there is one descriptor at a time, which goes down and up: no cgroup can be moved to another parent.
    """
    try:
        here = posix.open(path, _DIRECTORY)
    except OSError:
        return
    names: list[str] = []
    try:
        levels = [_children(here)]
        while levels[-1] or names:
            if levels[-1]:
                name = levels[-1].pop()
                try:
                    inner = posix.open(name, _DIRECTORY, dir_fd=here)
                except FileNotFoundError:  # removed meanwhile
                    continue
                names.append(name)
                here = _closing(here, inner)
                levels.append(_children(here))
            else:
                here = _closing(here, posix.open("..", _DIRECTORY, dir_fd=here))
                levels.pop()
                yield here, names.pop()
    except OSError as error:
        raise HostError(f"look through cgroup {path}: {reason_of(error.errno or 0)}") from None
    finally:
        posix.close(here)


def _closing(old: int, new: int) -> int:
    posix.close(old)
    return new


def _children(directory: int) -> list[str]:
    """The names of the cgroups in one."""
    if posix.fstat(directory).st_nlink == 2:  # its own name and its ".": each child's ".." would count as well
        return []
    try:
        with posix.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:  # removed meanwhile
        return []


def _processes(path: str, parent: int | None = None) -> list[int]:
    """The pids of a cgroup itself.

    :param parent: what a relative path begins at
    """
    try:
        try:
            data = read_file(f"{path}/cgroup.procs", parent)
        except OSError as error:
            if error.errno != _EOPNOTSUPP:  # a threaded cgroup has only threads
                raise
            data = read_file(f"{path}/cgroup.threads", parent)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == _ENODEV:  # removed meanwhile
            return []
        raise HostError(f"read {path}/cgroup.procs: {reason_of(error.errno or 0)}") from None
    # "0" is a process outside of our pid namespace; kill(0) would hit ourselves.
    return [int(line) for line in data.split() if line != b"0"]


def _write(path: str, data: bytes, parent: int | None = None) -> bool:
    """set_file(). Did it work?"""
    try:
        set_file(path, data, parent)
    except OSError:
        return False
    return True
