"""The seccomp agent: who decides on system calls of SCMP_ACT_NOTIFY (config-linux.md, "Seccomp"; seccomp_unotify(2)).

The listener comes to us by pidfd_getfd(2), not from the process that has it: its filter is on by then, and might let
the agent decide on the very call that would bring it.
"""

from __future__ import annotations

import _socket
import posix
from _struct import pack

from ..errors import HostError, reason_of
from ..host.native import lib
from ..host.procfs import is_pidfd
from ..store.state import json_string
from . import wire
from .console import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .child import Child

_ESRCH, _EBADF = 3, 9
_LOOK = 1  # milliseconds between two looks
_WHAT = "seccomp agent"


def take(line: wire.Wire, init: Child, number: int) -> int:
    """The listener, as a descriptor of ours.

    :param init: the process that is about to load its filter
    :param number: what it says that the listener will be there
    :raises Failure: it could not load the filter
    :raises Gone: it has ended
    :raises Breach: it has said something else, or that is no listener
    :raises HostError: it may not be taken
    """
    if not is_pidfd(init.process):
        raise HostError("take the listener of the seccomp filter: a filter around us forbids pidfd_open(2)")
    while True:
        said = line.speaks(_LOOK)
        taken = lib.sys_take_descriptor(init.process, number)
        if taken >= 0:
            break
        if taken not in (-_EBADF, -_ESRCH):  # there is none yet; the process has ended
            raise HostError(f"take the listener of the seccomp filter: {reason_of(-taken)}")
        if said:
            line.hear(wire.READY)
            raise wire.Breach("READY before there is a listener")
    if posix.readlink(f"/proc/self/fd/{taken}") != "anon_inode:seccomp notify":
        posix.close(taken)
        raise wire.Breach("a descriptor that is no listener")
    return taken


def process_state(pid: int, metadata: str, state: tuple[str, str], version: str) -> str:
    """The container process state (config-linux.md, "The Container Process State") as JSON.

    :param state: the state document before and after the pid of the container's PID 1
    :param version: of the specification
    """
    head, tail = state
    fields = [f'"ociVersion":"{version}"', '"fds":["seccompFd"]', f'"pid":{pid}']
    if metadata:
        fields.append(f'"metadata":{json_string(metadata)}')
    return f"{{{','.join(fields)},\"state\":{head}{tail}}}"


def send(path: str, document: str, listener: int) -> None:
    """One connection, one document, one descriptor; then it is closed.

    :param path: a unix stream socket of the host, linux.seccomp.listenerPath
    :raises HostError: nobody is there, or nobody takes it
    """
    end = _socket.socket(fileno=connect(path, _WHAT))
    try:
        data = document.encode("utf-8", "surrogateescape")
        sent = end.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("i", listener))])
        while sent < len(data):
            sent += end.send(data[sent:])
    except OSError as error:
        raise HostError(f"send to {_WHAT} {path}: {reason_of(error.errno or 0)}") from None
    finally:
        end.close()
