"""`ocirun exec`."""

from __future__ import annotations

import posix

from ..errors import Error, UsageError, reason_of
from ..lifecycle.exec import Command, exec_
from ..record import replace
from ..spec.json import check_size
from ..spec.read import read_process
from . import warner
from .create import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.model import Process
    from .call import Call

def run(call: Call) -> int:
    """Run a process in a container; in the foreground, the exit code is the process's."""
    flags = call.flags
    what = _from_file(flags["process"]) if flags["process"] else _from_flags(call)
    return exec_(
        call.root,
        call.arguments[0],
        what,
        replace(request(call), sub_cgroups=_sub_cgroups(flags["cgroup"])),
        detach=flags["detach"],
        ignore_paused=flags["ignore-paused"],
        warn=warner(call),
    )


def _from_file(path: str) -> Process:
    try:
        data = _read(path)
    except OSError as error:
        raise Error(f"open {path}: {reason_of(error.errno or 0)}") from None
    return read_process(path, data)


def _read(path: str) -> bytes:
    """A file, or what comes out of a pipe; no more than parse() takes.

    :raises ConfigError: it is more
    """
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        check_size(path, posix.fstat(fd).st_size)
        data = bytearray()
        while chunk := posix.read(fd, 1 << 20):
            data += chunk
            check_size(path, len(data))
        return bytes(data)
    finally:
        posix.close(fd)


def _from_flags(call: Call) -> Command:
    flags = call.flags
    return Command(
        args=tuple(call.arguments[1:]),
        cwd=flags["cwd"],
        env=tuple(flags["env"]),
        user=flags["user"],
        additional_gids=tuple(_gid(text) for text in flags["additional-gids"]),
        capabilities=tuple(flags["cap"]),
        no_new_privileges=flags["no-new-privs"],
        terminal=flags["tty"],
        apparmor_profile=flags["apparmor"],
        selinux_label=flags["process-label"],
    )


def _sub_cgroups(words: list[str]) -> tuple[tuple[str, str], ...]:
    """--cgroup [CONTROLLER[,CONTROLLER]:]PATH, each controller once.

    :raises UsageError: it is not of that form
    """
    found: dict[str, str] = {}
    for word in words:
        controllers, colon, path = word.rpartition(":")
        if ":" in controllers:
            raise UsageError(f"invalid --cgroup argument: {word}")
        if not colon and len(words) > 1:
            raise UsageError(f"invalid --cgroup argument: {word} (missing <controller>: prefix)")
        for controller in controllers.split(","):
            if controller in found:
                raise UsageError(f"invalid --cgroup argument(s): {controller} specified multiple times")
            found[controller] = path
    return tuple(found.items())


def _gid(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 10 or int(digits) >= (1 << 32) - 1:
        raise UsageError(f'invalid value "{text}" for flag -additional-gids: parse error')
    return int(text)
