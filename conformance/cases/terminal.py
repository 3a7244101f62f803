"""Terminals: config.md, process.terminal and consoleSize."""

from __future__ import annotations

import os
import select
import socket
import threading

from ..bundle import Bundle
from ..engine import Container, Facts, Trial
from ..runtime import CommandError
from . import case


class Console:
    """A socket that a runtime sends the terminal's other end to."""

    def __init__(self, trial: Trial, name: str = "") -> None:
        self.path = f"/tmp/{trial.mark}{name}.console"  # a socket's path is at most 107 bytes long
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.settimeout(10)
        self.descriptor = -1
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        trial.afterwards(self.close)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(10)
                _, descriptors, _, _ = socket.recv_fds(connection, 4096, 8)
        except OSError:
            return
        if descriptors:
            self.descriptor = descriptors[0]
            for other in descriptors[1:]:
                os.close(other)

    def received(self) -> bool:
        self._thread.join(5)
        return self.descriptor >= 0

    def read(self, seconds: float = 10.0) -> str:
        """All that is written to the terminal until nobody has it open."""
        content = b""
        while select.select([self.descriptor], [], [], seconds)[0]:
            try:
                block = os.read(self.descriptor, 65536)
            except OSError:  # EIO: nobody has the other end open
                break
            if not block:
                break
            content += block
        return content.decode(errors="replace")

    def close(self) -> None:
        self._listener.close()
        os.unlink(self.path)
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _terminal_report(trial: Trial, bundle: Bundle, *words: str) -> Facts:
    """What the probe writes to a terminal, which adds carriage returns to it."""
    import json

    console = Console(trial)
    bundle.process["terminal"] = True
    container: Container = trial.create(bundle.args("report", *words), "--console-socket", console.path)
    if not console.received():
        raise CommandError("no descriptor of a terminal came over the console socket")
    container.start()
    text = console.read()
    container.wait()
    try:
        facts: Facts = json.loads(text)
    except ValueError:
        raise CommandError(f"no report came over the terminal, but {text[:200]!r}") from None
    return facts


@case("config.process.terminal", "config-linux.default-devices.console", "config-linux.default-devices.tty")
def terminal(trial: Trial) -> None:
    """Standard input, output and error are one pseudoterminal of the container's /dev/pts, its controlling terminal,
    and /dev/console."""
    words = ["window=", "follow=/dev/console", "open=rw:/dev/tty", "stat=/dev/console"]
    facts = _terminal_report(trial, trial.bundle(), *words)
    descriptors = facts["descriptors"]
    trial.equal(
        "config.process.terminal",
        "terminals among 0, 1, 2",
        [1, 1, 1],
        [descriptors.get(n, {}).get("terminal") for n in "012"],
    )
    devices = {(descriptors.get(n, {}).get("dev"), descriptors.get(n, {}).get("ino")) for n in "012"}
    trial.equal("config.process.terminal", "devices that they are", 1, len(devices))
    window = facts["actions"]["window="]
    trial.equal("config.process.terminal", "it is the controlling terminal", 1, window.get("controlling"))
    name = window.get("name") or ""
    trial.check(
        "config.process.terminal",
        name.startswith(("/dev/pts/", "/dev/console")),
        "a terminal below /dev/pts of the container",
        name,
    )
    console = facts["actions"]["follow=/dev/console"]
    trial.equal(
        "config-linux.default-devices.console",
        "numbers of /dev/console, those of standard input",
        [descriptors["0"]["major"], descriptors["0"]["minor"]],
        [console.get("major"), console.get("minor")],
    )
    trial.equal(
        "config-linux.default-devices.console",
        "type of /dev/console",
        "c",
        facts["actions"]["stat=/dev/console"].get("type"),
    )
    trial.equal(
        "config-linux.default-devices.tty", "opening /dev/tty: error", "", facts["actions"]["open=rw:/dev/tty"]["error"]
    )


@case("config.process.terminal")
def interrupt(trial: Trial) -> None:
    """It is the process's own: an interrupt character at its other end is a SIGINT for the process."""
    console = Console(trial)
    bundle = trial.bundle().args("trap", "/signals")
    bundle.process["terminal"] = True
    container = trial.create(bundle, "--console-socket", console.path)
    if not console.received():
        raise CommandError("no descriptor of a terminal came over the console socket")
    container.start()
    log = bundle.rootfs / "signals"
    trial.eventually(lambda: log.exists() and "ready" in log.read_text())
    os.write(console.descriptor, b"\x03")
    came = trial.eventually(lambda: "2" in log.read_text().split(), 3)
    found = log.read_text().split() if log.exists() else []
    trial.check("config.process.terminal", came, "SIGINT (2) comes to the process", f"signals that came: {found[1:]}")


@case("config.process.terminal")
def no_terminal(trial: Trial) -> None:
    """Without terminal none of the standard streams is one."""
    bundle = trial.bundle()
    bundle.process["terminal"] = False
    descriptors = trial.report(bundle)["descriptors"]
    trial.equal(
        "config.process.terminal",
        "terminals among 0, 1, 2",
        [0, 0, 0],
        [descriptors.get(n, {}).get("terminal") for n in "012"],
    )


@case("config.process.console-size")
def console_size(trial: Trial) -> None:
    """The terminal has the size that is asked for, for the process and at its other end."""
    bundle = trial.bundle()
    bundle.process["consoleSize"] = {"height": 43, "width": 121}
    window = _terminal_report(trial, bundle, "window=")["actions"]["window="]
    trial.equal(
        "config.process.console-size", "rows and columns", [43, 121], [window.get("rows"), window.get("columns")]
    )


@case("config.process.console-size.ignored")
def console_size_ignored(trial: Trial) -> None:
    """Without a terminal consoleSize is ignored."""
    bundle = trial.bundle()
    bundle.process["consoleSize"] = {"height": 43, "width": 121}
    container = trial.accepted("config.process.console-size.ignored", bundle)
    if container is not None:
        container.start()
        container.wait()
        terminals = [one["terminal"] for one in trial.facts(container)["descriptors"].values()]
        trial.holds(
            "config.process.console-size.ignored", 1 not in terminals, "the process has no terminal", "it has one"
        )
