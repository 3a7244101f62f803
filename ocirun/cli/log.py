"""Where messages go: standard error, or the file of --log, as runc (logrus) writes them."""

from __future__ import annotations

import posix
import time


class Log:
    """``--log``, ``--log-format`` and ``--debug`` together."""

    def __init__(self) -> None:
        self.debugging = False
        self._json = False
        self._file = 2

    def open(self, path: str, form: str, debugging: bool) -> None:
        """Take the flags.

        :raises ValueError: they are wrong; the text says how
        :raises OSError: the file cannot be opened
        """
        self.debugging = debugging
        if form not in ("text", "json"):
            raise ValueError(f"invalid log-format: {form}")
        self._json = form == "json"
        if path:
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_SYNC | posix.O_CLOEXEC
            self._file = posix.open(path, flags, 0o644)

    def fatal(self, message: str) -> None:
        """The error that ends the command; it is on standard error whatever --log says."""
        self.write("error", message)
        if self._file != 2:
            _write(2, message + "\n")

    def warn(self, error: Exception) -> None:
        """Something that is no failure of the command."""
        self.write("warning", str(error))

    def write(self, level: str, message: str) -> None:
        """One line: {"level": …, "msg": …, "time": …} or time=… level=… msg=…"""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            from ..state import json_string

            _write(self._file, f'{{"level":"{level}","msg":{json_string(message)},"time":"{now}"}}\n')
        else:
            _write(self._file, f'time="{now}" level={level} msg={_quoted(message)}\n')


def _quoted(text: str) -> str:
    """As Go's %q, where logrus finds that needed."""
    if text and all(c.isascii() and (c.isalnum() or c in "-._/@^+") for c in text):
        return text
    named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(named.get(c) or (c if c.isprintable() else _escaped(c)) for c in text) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _write(fd: int, text: str) -> None:
    try:
        posix.write(fd, text.encode("utf-8", "surrogateescape"))
    except OSError:  # nobody listens; the exit code says the rest
        pass
