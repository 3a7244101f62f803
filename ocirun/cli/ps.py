"""`ocirun ps`."""

from __future__ import annotations

import posix

from ..errors import Error, UsageError
from ..launch.program import memory_file, spawn
from ..lifecycle.ps import pids
from . import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Show the processes of a container: their pids, or what ps(1) says of them."""
    found = pids(call.root, call.arguments[0])
    form = call.flags["format"]
    if form == "json":
        out(f"[{','.join(map(str, found))}]\n" if found else "null\n")
    elif form == "table":
        out(_chosen(_ps(call.arguments[1:] or ["-ef"]), set(found)))
    else:
        raise UsageError("invalid format option")
    return 0


def _ps(arguments: list[str]) -> str:
    """The output of ps(1).

    :raises Error: it failed; the text has its exit status and what it said
    """
    output = memory_file("ps", posix.MFD_CLOEXEC)
    actions = [(posix.POSIX_SPAWN_DUP2, output, 1), (posix.POSIX_SPAWN_DUP2, output, 2)]
    environment = {key: value for key, value in posix.environ.items() if key not in (b"LISTEN_FDS", b"LISTEN_PID")}
    for directory in ("/usr/bin", "/bin"):
        try:
            pid = spawn(f"{directory}/ps", ("ps", *arguments), environment, file_actions=actions)
            break
        except FileNotFoundError:
            continue
    else:
        raise Error('exec: "ps": executable file not found in $PATH')
    code = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    text = posix.pread(output, posix.fstat(output).st_size, 0).decode("utf-8", "surrogateescape")
    if code:
        raise Error(f"exit status {code}: {text}")
    return text


def _chosen(text: str, pids: set[int]) -> str:
    """The header and the lines whose PID is one of the container's.

    :raises Error: there is no such column
    """
    header, *lines = text.split("\n")
    columns = header.split()
    if "PID" not in columns:
        raise Error("couldn't find PID field in ps output")
    column = columns.index("PID")
    chosen = [header]
    for line in filter(None, lines):
        word = line.split()[column]
        if not word.isdigit():
            raise Error(f'unable to parse pid: strconv.Atoi: parsing "{word}": invalid syntax')
        if int(word) in pids:
            chosen.append(line)
    return "\n".join(chosen) + "\n"
