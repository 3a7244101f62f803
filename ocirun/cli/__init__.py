"""The command line: parse, run one verb, report at most one error.

A verb is the ``run(call)`` of the module of its name here; it returns the exit code. Everything it raises on purpose
is an errors.Error and becomes one line in the log, in runc's words and forms.
"""

from __future__ import annotations

import posix
import sys

from ..errors import Error, UsageError, reason_of
from ..host.files import read_file
from ..plan.path import clean
from .call import Call
from .parse import UnknownCommand, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    import _signal

DEFAULT_ROOT = "/run/ocirun"

_UNKNOWN_COMMAND = 3
_INTERRUPTED = 128 + 2
_FAILED = {"exec": 255}  # runc: 1 for everything else
_FAILED_TEXT = {"create": "{0} create failed: ", "run": "{0} run failed: ", "exec": "exec failed: "}


def main(interrupt: bool = False) -> NoReturn:
    """The program. Never returns, and never lets Python take itself apart at the end: that costs a millisecond.

    :param interrupt: a launcher has blocked SIGINT, until it can end us without a traceback
    """
    code = 1
    try:
        if interrupt:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
        code = command(sys.argv)
        if hasattr(sys, "stdout"):  # a linked command starts without it (native/launcher/embed.c)
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except KeyboardInterrupt:
        code = _INTERRUPTED
    finally:
        posix._exit(code)


def command(argv: list[str]) -> int:
    """One command line; its exit code."""
    call = Call(argv[0] if argv else "ocirun")
    posix.umask(posix.umask(0o077) & 0o077)  # what we make, its owner can use
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # a caller may have it ignored, and nobody ends for us then
    try:
        try:
            parse(argv[1:], call)
            _take_global_flags(call)
        except UsageError as error:
            return _misused(call, error, argv[1:])
        if call.options["version"]:
            from .version import text

            out(text())
            return 0
        if call.command in ("", "help", "h") or call.flags.get("help"):
            return _help(call)
        return _run(call)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Error as error:
        from .report import fatal

        fatal(call, error)
        return _FAILED.get(call.command, 1)
    except Exception as error:
        from .report import bug

        bug(call, error)
        return _FAILED.get(call.command, 1)


def out(text: str) -> None:
    """Write text to standard output, whole.

    :raises BrokenPipeError: nobody reads it
    :raises Error: it cannot be written
    """
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[posix.write(1, data) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Error(f"write /dev/stdout: {reason_of(error.errno or 0)}") from None


def warner(call: Call) -> Callable[[Exception], None]:
    """What logs that something is not as wanted, though that is no failure of the command."""

    def warn(error: Exception) -> None:
        from .report import write

        write(call, "warning", str(error))

    return warn


def notify_socket() -> str:
    """To whom this process is to say that it is ready (sd_notify(3)), "" if to nobody."""
    return posix.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape")


def _name(call: Call) -> str:
    return call.program.rpartition("/")[2]


def _run(call: Call) -> int:
    if call.options["debug"]:
        from .debug import watch

        debug = watch(call)
        code = _verb(call)
        debug.end(code)
        return code
    return _verb(call)


def _verb(call: Call) -> int:
    try:
        # importlib.import_module without the package.
        module = __import__(f"{__name__}.{call.command}", fromlist=("run",))
        code: int = module.run(call)
        return code
    except Error as error:
        from .report import fatal

        fatal(call, error, _FAILED_TEXT.get(call.command, "").format(_name(call)))
        return _FAILED.get(call.command, 1)


def _misused(call: Call, error: UsageError, words: list[str]) -> int:
    """A wrong command line: runc prints what is wrong and the help, and says it again in the log."""
    from .parse import WrongCount
    from .report import fatal

    if not isinstance(error, GlobalFlagError):
        _look_for_log(call, words)
    if isinstance(error, UnknownCommand):
        return _no_topic(call, error.name)
    if not isinstance(error, GlobalFlagError):
        from .help import text

        what = "Incorrect Usage." if isinstance(error, WrongCount) else f"Incorrect Usage: {error}"
        out(f"{what}\n\n{text(_name(call), call.command)}")
    fatal(call, error)
    return 1


def _look_for_log(call: Call, words: list[str]) -> None:
    """Open the log of a command line that could not be parsed to its end: engines look there for what is wrong."""
    for at, word in enumerate(words):
        name, equals, value = word.lstrip("-").partition("=")
        if word[:1] == "-" and name in ("log", "log-format") and name not in call.given:
            call.options[name] = value if equals else "".join(words[at + 1 : at + 2])
    try:
        _open_log(call)
    except (GlobalFlagError, OSError):
        call.options["log-format"] = "text"  # what came first is reported


def _help(call: Call) -> int:
    from .help import text
    from .table import COMMANDS

    topic = call.command if call.flags.get("help") else (call.arguments or [""])[0]
    if topic and topic not in COMMANDS:
        return _no_topic(call, topic)
    out(text(_name(call), topic))
    return 0


def _no_topic(call: Call, topic: str) -> int:
    from .nearest import offer
    from .report import fatal
    from .table import COMMANDS

    fatal(call, f"No help topic for '{topic}'{offer(topic, COMMANDS)}")
    return _UNKNOWN_COMMAND


class GlobalFlagError(UsageError):
    """The value of a global flag is wrong."""


def _take_global_flags(call: Call) -> None:
    """Make what the global flags say: the root directory, the log.

    :raises GlobalFlagError: one is wrong, or a file or directory that it names cannot be had
    """
    try:
        _open_log(call)
        call.root = _absolute(call.options["root"]) if "root" in call.given else _default_root()
    except OSError as error:
        raise GlobalFlagError(f"open {error.filename}: {reason_of(error.errno or 0)}") from None


def _open_log(call: Call) -> None:
    form, path = call.options["log-format"], call.options["log"]
    if form not in ("text", "json"):
        raise GlobalFlagError(f"invalid log-format: {form}")
    if path:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_SYNC | posix.O_CLOEXEC
        # Not for a fifo to be opened or read, at its other end.
        call.log = posix.open(path, flags | posix.O_NONBLOCK | posix.O_NOCTTY, 0o644)


def _absolute(root: str) -> str:
    """``--root`` as an absolute path without "", "." and "..".

    :raises GlobalFlagError: that is "/": what is in it are no containers
    """
    path = clean(root if root[:1] == "/" else f"{posix.getcwd()}/{root}") if root else "/"
    if path == "/":
        raise GlobalFlagError("Option --root argument should not be set to /")
    return path


def _default_root() -> str:
    """/run/ocirun, or below $XDG_RUNTIME_DIR for who is not really root.

    :raises GlobalFlagError: the directory cannot be made
    """
    runtime = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if not runtime or (posix.geteuid() == 0 and not _root_in_name_only()):
        return DEFAULT_ROOT
    root = f"{runtime}/ocirun"
    try:
        posix.mkdir(root, 0o700)
        posix.chmod(root, 0o1700)  # sticky: what cleans up $XDG_RUNTIME_DIR leaves it alone (XDG base directories)
    except FileExistsError:
        pass
    except OSError as error:
        raise GlobalFlagError(
            f"make the root directory {root}: {reason_of(error.errno or 0)}"
            " (the path in $XDG_RUNTIME_DIR must be writable by the user; --root names another place)"
        ) from None
    return root


def _root_in_name_only() -> bool:
    """Root of a user namespace other than the initial one, and not logged in as root there."""
    if posix.environ.get(b"USER") == b"root":
        return False
    return read_file("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]
