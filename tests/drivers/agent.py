"""A seccomp agent of the tests (config-linux.md, "Seccomp"; seccomp_unotify(2))."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Bundle

# <linux/seccomp.h>: struct seccomp_notif (80 bytes), struct seccomp_notif_resp (24)
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1


class Agent:
    """Takes connections; on each listener decides all calls alike."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.states: list[Any] = []
        self.seen: list[int] = []  # the process of each decided call
        self.decide: Callable[[], tuple[int, int]] = lambda: (0, CONTINUE)  # errno, flags
        self.hang_up = False
        self.until_closed = self.closed = False
        self._listeners: list[int] = []
        self._end, self._ended = os.pipe()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            waiting = [self._socket.fileno(), self._end, *self._listeners]
            poll = select.poll()
            for fd in waiting:
                poll.register(fd, select.POLLIN)
            for fd, event in poll.poll():
                if fd == self._end:
                    return
                if fd == self._socket.fileno():
                    self._accept()
                elif event & select.POLLIN:
                    self._answer(fd)
                else:  # nobody has the filter any more
                    os.close(fd)
                    self._listeners.remove(fd)

    def _accept(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 8)
            assert len(fds) == 1
            while (state := document(data)) is None:
                data += connection.recv(1 << 16)
            if self.until_closed:
                self.closed = connection.recv(1) == b""
        self.states.append(state)
        if self.hang_up:
            os.close(fds[0])
        else:
            self._listeners.append(fds[0])

    def _answer(self, listener: int) -> None:
        notification = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, notification)
            id, pid = struct.unpack_from("=QI", notification)
            error, flags = self.decide()
            fcntl.ioctl(listener, SEND, struct.pack("=QqiI", id, 0, -error, flags))
            self.seen.append(pid)
        except OSError:  # it has ended meanwhile
            pass

    def close(self) -> None:
        os.write(self._ended, b"x")
        self._thread.join()
        self._socket.close()
        for fd in (*self._listeners, self._end, self._ended):
            os.close(fd)
        self.path.unlink()


def document(data: bytes) -> Any:
    """What has come, None until it is whole."""
    try:
        return json.loads(data)
    except ValueError:
        return None


def listened(made: Bundle, path: Path, *names: str, metadata: str = "") -> Bundle:
    """With a filter that asks the agent at that path about these."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
    }
    made.linux["seccomp"] = profile | ({"listenerMetadata": metadata} if metadata else {})
    return made
