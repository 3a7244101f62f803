"""Messages in the log, standard error or the file of --log, in the forms of runc (logrus). Loaded when there is one."""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import Error
    from .call import Call


def fatal(call: Call, error: Error | str, prefix: str = "") -> None:
    """The error that ends the command; it is on standard error whatever --log says. Several problems, which are one
    message in the log, are lines there."""
    lines = [error] if isinstance(error, str) else error.lines()
    lines[0] = prefix + lines[0]
    if not _is_read(call):
        write(call, "error", "\n".join(lines))
    if call.log != 2 or _is_read(call):
        _write(2, "".join([_printable(line.rstrip("\n")) + "\n" for line in lines]))


def write(call: Call, level: str, message: str) -> None:
    """One line: {"level": …, "msg": …, "time": …} or time=… level=… msg=…; for who reads it on a terminal the message
    alone."""
    if _is_read(call):
        _write(2, _printable(message if level == "error" else f"{level}: {message}") + "\n")
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


def _is_read(call: Call) -> bool:
    """Whether the log is what somebody reads on a terminal."""
    return call.log == 2 and "log-format" not in call.given and posix.isatty(2)


def _quoted(text: str) -> str:
    """As Go's %q, where logrus finds that needed."""
    if text and all(c.isascii() and (c.isalnum() or c in "-._/@^+") for c in text):
        return text
    return '"' + _printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _printable(text: str) -> str:
    """Whatever a name or a program's words have in them: nothing moves the cursor or begins a line of its own."""
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return "".join(named.get(c) or (c if c.isprintable() else _escaped(c)) for c in text)


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
