"""`ocirun create`."""

from __future__ import annotations

import posix

from ..errors import UsageError
from ..lifecycle.create import Request, create
from . import notify_socket, warner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call

_ROOTLESS = {"auto": "auto"} | dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), "true")
_ROOTLESS |= dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), "false")


def run(call: Call) -> int:
    """Create a container."""
    create(call.root, call.arguments[0], call.flags["bundle"], request(call), warner(call))
    return 0


def request(call: Call) -> Request:
    """What create, run and exec have in common.

    :raises UsageError: a value that a flag cannot have
    """
    flags = call.flags
    return Request(
        console_socket=flags["console-socket"],
        pidfd_socket=flags["pidfd-socket"],
        pid_file=flags["pid-file"],
        preserve_fds=flags["preserve-fds"],
        listen_fds=_listen_fds(),
        notify_socket=notify_socket(),
        no_pivot=flags.get("no-pivot", False),
        new_keyring=not flags.get("no-new-keyring", False),
        rootless=rootless(call),
        systemd_cgroup=call.options["systemd-cgroup"],
    )


def rootless(call: Call) -> str:
    """What the global flags say of the cgroup: "true", "false" or "auto".

    :raises UsageError: another value
    """
    options = call.options
    if options["rootless"] not in _ROOTLESS:
        raise UsageError(f"invalid --rootless: {options['rootless']}")
    return _ROOTLESS[options["rootless"]]


def _listen_fds() -> int:
    """How many descriptors systemd has passed to this very process (sd_listen_fds(3))."""
    environment = posix.environ
    if environment.get(b"LISTEN_PID") != str(posix.getpid()).encode():
        return 0
    count = environment.get(b"LISTEN_FDS", b"")
    return int(count) if count.isdigit() else 0
