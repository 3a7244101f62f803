"""Somebody as systemd is, on a socket of its own: a D-Bus peer that makes cgroups, or fails as it is told to."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jeepney.low_level import HeaderFields, Message, Parser
from jeepney.wrappers import DBusAddress, new_error, new_method_return, new_signal

MANAGER = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
JOB = "/org/freedesktop/systemd1/job/{}"
Body = tuple[Any, ...]


class Failure(NamedTuple):
    """An answer that is an error."""

    name: str
    text: str = ""


SILENCE = object()  # no answer
HANG_UP = object()  # the connection is closed
GARBAGE = object()  # an answer that is no message


class FakeSystemd:
    """The bus and systemd in one. ``answers`` has, by method, what is answered otherwise (one after the other), and
    ``result`` how jobs end ("" for never). ``calls`` are those that it got."""

    def __init__(self, path: Path, roots: list[Path] | None = None, version: str = "257.8-1~deb13u2") -> None:
        self.path = path
        self.roots = roots or []
        self.version = version
        self.calls: list[tuple[str, Body]] = []
        self.answers: dict[str, list[object]] = {}
        self.result = "done"
        self.rejects = False
        self.hurries = False  # a signal comes together with the end of the authentication
        self.made: dict[str, list[Path]] = {}
        self._jobs = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        path.chmod(0o666)
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"unix:path={self.path}"

    def environment(self, user: bool = False) -> dict[str, str]:
        return {**os.environ, f"DBUS_{'SESSION' if user else 'SYSTEM'}_BUS_ADDRESS": self.address}

    def bodies(self, member: str) -> list[Body]:
        return [body for name, body in self.calls if name == member]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._authenticate(connection)
            parser = Parser()
            serial = 0
            while data := connection.recv(4096):
                for message in parser.feed(data):
                    for answer in self._answers(message):
                        if answer is HANG_UP:
                            return
                        serial += 1
                        raw = b"X" * 64 if answer is GARBAGE else answer.serialise(serial=serial)  # type: ignore[attr-defined]
                        connection.sendall(raw)

    def _authenticate(self, connection: socket.socket) -> None:
        """Whoever the kernel says that it is (D-Bus specification, "EXTERNAL"). As with systemd, what comes together
        with BEGIN gets no answer."""
        answers = {b"\0AUTH EXTERNAL": b"DATA\r\n", b"DATA": b"OK 1234\r\n", b"BEGIN": b""}
        found = b""
        while not found.endswith(b"BEGIN\r\n"):
            data = connection.recv(256)
            if not data:
                return
            found += data
            if self.rejects:
                connection.sendall(b"REJECTED EXTERNAL\r\n")
                return
            said = b"".join(answers.get(line, b"ERROR\r\n") for line in data.split(b"\r\n")[:-1])
            if not self.hurries:
                connection.sendall(said)
                continue
            signal = new_signal(MANAGER, "UnitNew", "so", ("other\r\n.scope", "/org/freedesktop/systemd1/unit/other"))
            raw = signal.serialise(serial=900)
            connection.sendall(said + raw[:100])
            time.sleep(0.05)
            connection.sendall(raw[100:])

    def _answers(self, message: Message) -> list[object]:
        member = message.header.fields[HeaderFields.member]
        body = tuple(message.body)
        self.calls.append((member, body))
        waiting = self.answers.get(member)
        if waiting:
            answer = waiting.pop(0)
            if answer is SILENCE:
                return []
            if isinstance(answer, Failure):
                return [new_error(message, answer.name, "s", (answer.text,))]
            if answer is not None:
                return [answer]
        method: Callable[..., list[object]] = getattr(self, f"_on_{member}", self._on_anything)
        return method(message, *body)

    def _on_anything(self, message: Message, *_: object) -> list[object]:
        return [new_method_return(message)]

    def _on_Hello(self, message: Message) -> list[object]:
        return [new_method_return(message, "s", (":1.1",))]

    def _on_Get(self, message: Message, interface: str, name: str) -> list[object]:
        value = {"Version": self.version, "ControlGroup": "/user.slice/user-1.slice/user@1.service"}[name]
        return [new_method_return(message, "v", (("s", value),))]

    def _on_StartTransientUnit(self, message: Message, name: str, _: str, properties: Any, *__: object) -> list[object]:
        told = dict(properties)
        slice = told["Slice"][1].removesuffix(".slice").split("-")
        inner = "/".join(f"{'-'.join(slice[: n + 1])}.slice" for n in range(len(slice)))
        self.made[name] = [root / inner / name for root in self.roots]
        for directory in self.made[name]:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "cgroup.procs").write_text(str(told["PIDs"][1][0]))
        return self._job(message, name)

    def _on_StopUnit(self, message: Message, name: str, mode: str) -> list[object]:
        if name not in self.made:
            return [new_error(message, "org.freedesktop.systemd1.NoSuchUnit", "s", (f"Unit {name} not loaded.",))]
        for directory in self.made.pop(name):
            with contextlib.suppress(OSError):
                directory.rmdir()
        return self._job(message, name)

    def _job(self, message: Message, name: str) -> list[object]:
        self._jobs += 1
        path = JOB.format(self._jobs)
        answers: list[object] = [new_method_return(message, "o", (path,))]
        if self.result:
            # Those of others first, and ours before the answer to the call.
            for number, job, result in ((9, JOB.format(900), "failed"), (self._jobs, path, self.result)):
                answers.insert(-1, new_signal(MANAGER, "JobRemoved", "uoss", (number, job, name, result)))
        return answers
