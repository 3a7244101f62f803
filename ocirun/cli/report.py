"""Messages in the log, standard error or the file of --log, in the forms of runc (logrus). Loaded when there is one."""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def fatal(call: Call, message: str) -> None:
    """The error that ends the command; it is on standard error whatever --log says."""
    write(call, "error", message)
    if call.log != 2:
        _write(2, message + "\n")


def write(call: Call, level: str, message: str) -> None:
    """One line: {"level": …, "msg": …, "time": …} or time=… level=… msg=…; for who reads it on a terminal the message
    alone, in as many lines as it has."""
    if call.log == 2 and "log-format" not in call.given and posix.isatty(2):
        _write(2, _readable(message if level == "error" else f"{level}: {message}") + "\n")
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if call.options["log-format"] == "json":
        from ..store.state import json_string

        _write(call.log, f'{{"level":"{level}","msg":{json_string(message)},"time":"{now}"}}\n')
    else:
        _write(call.log, f'time="{now}" level={level} msg={_quoted(message)}\n')


def bug(call: Call, error: Exception) -> None:
    """An exception that nobody has foreseen, on one line; --debug has its traceback in the log."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    where = f" ({frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno})" if frame else ""
    if call.options["debug"]:
        import traceback

        write(call, "debug", traceback.format_exc())
    fatal(call, f"internal error: {type(error).__name__}: {error}{where}")


def _readable(text: str) -> str:
    """Without what a terminal would take for its own."""
    return "".join([c if c == "\n" or c.isprintable() else _escaped(c) for c in text])


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
