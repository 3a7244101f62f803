"""The command line as data: what parse.py reads, help.py prints and the policy tests walk over.

The commands, flags and words are runc's; `plan` and `validate` are ours. Everything here is a constant: the table is
loaded by every command, `state` too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

BOOL, STRING, INT, LIST, DURATION = "bool", "string", "int", "list", "duration"


class Flag(tuple):  # type: ignore[type-arg]
    """One ``--name`` with its one-letter alias ("" for none).

    kind is BOOL (``--name`` or ``--name=false``), STRING, INT, LIST (may be given again), or DURATION (in seconds).
    Without help it is not shown. A tuple, since eighty of them are made at every start.
    """

    __slots__ = ()

    def __new__(cls, name: str, short: str, kind: str, default: str | float | None, help: str) -> Self:
        return tuple.__new__(cls, (name, short, kind, default, help))

    @property
    def name(self) -> str:
        return self[0]  # type: ignore[no-any-return]

    @property
    def short(self) -> str:
        return self[1]  # type: ignore[no-any-return]

    @property
    def kind(self) -> str:
        return self[2]  # type: ignore[no-any-return]

    @property
    def default(self) -> str | float | None:
        return self[3]  # type: ignore[no-any-return]

    @property
    def help(self) -> str:
        return self[4]  # type: ignore[no-any-return]


class Command(tuple):  # type: ignore[type-arg]
    """One command: how many arguments it takes (maximum None: any number), and its flags."""

    __slots__ = ()

    def __new__(
        cls, usage: str, arguments: str, minimum: int, maximum: int | None, flags: tuple[Flag, ...] = ()
    ) -> Self:
        return tuple.__new__(cls, (usage, arguments, minimum, maximum, flags))

    @property
    def usage(self) -> str:
        return self[0]  # type: ignore[no-any-return]

    @property
    def arguments(self) -> str:
        return self[1]  # type: ignore[no-any-return]

    @property
    def minimum(self) -> int:
        return self[2]  # type: ignore[no-any-return]

    @property
    def maximum(self) -> int | None:
        return self[3]  # type: ignore[no-any-return]

    @property
    def flags(self) -> tuple[Flag, ...]:
        return self[4]  # type: ignore[no-any-return]


# What follows the first argument of these is for another program, or a signal such as -9: no flags of ours.
FLAGS_END_AT_FIRST_ARGUMENT = ("exec", "kill", "ps")

HELP = Flag("help", "h", BOOL, False, "show help")

GLOBAL = (
    Flag("debug", "", BOOL, False, "enable debug logging"),
    Flag("log", "", STRING, "", "set the log file to write logs to (default is '/dev/stderr')"),
    Flag("log-format", "", STRING, "text", "set the log format ('text' or 'json')"),
    Flag("root", "", STRING, "/run/ocirun", "root directory for storage of container state (should be on a tmpfs)"),
    Flag(
        "systemd-cgroup",
        "",
        BOOL,
        False,
        'enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name"',
    ),
    Flag("rootless", "", STRING, "auto", "ignore cgroup permission errors ('true', 'false', or 'auto')"),
    HELP,
    Flag("version", "v", BOOL, False, "print the version"),
)

_BUNDLE = Flag("bundle", "b", STRING, "", "path to the root of the bundle directory, the current directory if absent")
_CONSOLE = Flag(
    "console-socket", "", STRING, "", "path to an AF_UNIX socket which will receive the master end of the terminal"
)
_PIDFD = Flag(
    "pidfd-socket", "", STRING, "", "path to an AF_UNIX socket which will receive a pidfd of the container's process"
)
_PID_FILE = Flag("pid-file", "", STRING, "", "specify the file to write the process id to")
_PRESERVE = Flag(
    "preserve-fds", "", INT, 0, "pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N)"
)
_DETACH = Flag("detach", "d", BOOL, False, "detach from the container's process")
_NO_PIVOT = Flag("no-pivot", "", BOOL, False, "do not use pivot_root: for a root filesystem on top of a ramdisk")
_NO_KEYRING = Flag("no-new-keyring", "", BOOL, False, "inherit the caller's session keyring instead of a new one")
_FORMAT = Flag("format", "f", STRING, "table", "select one of: table or json")

COMMANDS = {
    "create": Command(
        "create a container",
        "<container-id>",
        1,
        1,
        (_BUNDLE, _CONSOLE, _PIDFD, _PID_FILE, _NO_PIVOT, _NO_KEYRING, _PRESERVE),
    ),
    "delete": Command(
        "delete any resources held by the container",
        "<container-id>",
        1,
        1,
        (Flag("force", "f", BOOL, False, "forcibly delete the container if it is still running (SIGKILL)"),),
    ),
    "events": Command(
        "display what a container uses, and when it runs out of memory",
        "<container-id>",
        1,
        1,
        (
            Flag("interval", "", DURATION, 5.0, "set the stats collection interval"),
            Flag("stats", "", BOOL, False, "display the container's stats then exit"),
        ),
    ),
    "exec": Command(
        "execute a new process inside the container",
        "<container-id> <command> [command options]  || -p process.json <container-id>",
        1,
        None,
        (
            _CONSOLE,
            _PIDFD,
            Flag("cwd", "", STRING, "", "current working directory in the container"),
            Flag("env", "e", LIST, None, "set environment variables"),
            Flag("tty", "t", BOOL, False, "allocate a pseudo-TTY"),
            Flag("user", "u", STRING, "", "UID (format: <uid>[:<gid>])"),
            Flag("additional-gids", "g", LIST, None, "additional gids"),
            Flag("process", "p", STRING, "", "path to the process.json"),
            _DETACH,
            _PID_FILE,
            Flag("process-label", "", STRING, "", "set the SELinux label of the process"),
            Flag("apparmor", "", STRING, "", "set the AppArmor profile of the process"),
            Flag("no-new-privs", "", BOOL, False, "set the no new privileges value for the process"),
            Flag("cap", "c", LIST, None, "add a capability to the bounding set for the process"),
            _PRESERVE,
            Flag("cgroup", "", LIST, None, "run in an existing sub-cgroup: [<controller>:]<cgroup>"),
            Flag("ignore-paused", "", BOOL, False, "allow exec in a paused container"),
        ),
    ),
    "features": Command("show the enabled features", "", 0, 0, ()),
    "kill": Command(
        "send the specified signal (default: SIGTERM) to the container's init process",
        "<container-id> [signal]",
        1,
        2,
        (Flag("all", "a", BOOL, False, ""),),
    ),
    "list": Command(
        "list containers started with the given root",
        "",
        0,
        0,
        (_FORMAT, Flag("quiet", "q", BOOL, False, "display only container IDs")),
    ),
    "pause": Command("suspend all processes inside the container", "<container-id>", 1, 1, ()),
    "plan": Command(
        "show what create would do for a bundle on this host, and do nothing",
        "",
        0,
        0,
        (
            _BUNDLE,
            _NO_PIVOT,
            _NO_KEYRING,
            _PRESERVE,
            Flag("json", "", BOOL, False, "as JSON instead of a table"),
        ),
    ),
    "ps": Command(
        "display the processes running inside a container", "<container-id> [ps options]", 1, None, (_FORMAT,)
    ),
    "resume": Command("resume all processes that have been previously paused", "<container-id>", 1, 1, ()),
    "run": Command(
        "create and run a container",
        "<container-id>",
        1,
        1,
        (
            _BUNDLE,
            _CONSOLE,
            _PIDFD,
            _DETACH,
            Flag("keep", "", BOOL, False, "do not delete the container after it exits"),
            _PID_FILE,
            Flag("no-subreaper", "", BOOL, False, "do not become the reaper of reparented processes"),
            _NO_PIVOT,
            _NO_KEYRING,
            _PRESERVE,
        ),
    ),
    "spec": Command(
        "create a new specification file",
        "",
        0,
        0,
        (_BUNDLE, Flag("rootless", "", BOOL, False, "generate a configuration for a rootless container")),
    ),
    "start": Command("execute the user defined process in a created container", "<container-id>", 1, 1, ()),
    "state": Command("output the state of a container", "<container-id>", 1, 1, ()),
    "update": Command(
        "update container resource constraints",
        "<container-id>",
        1,
        1,
        (
            Flag(
                "resources",
                "r",
                STRING,
                "",
                "a file with linux.resources as JSON, or '-' for the standard input; no other flag counts then",
            ),
            Flag("blkio-weight", "", INT, 0, "specifies per cgroup weight, range is from 10 to 1000"),
            Flag("cpu-period", "", STRING, "", "CPU CFS period to be used for hardcapping (in usecs)"),
            Flag("cpu-quota", "", STRING, "", "CPU CFS hardcap limit (in usecs): allowed CPU time in a given period"),
            Flag("cpu-burst", "", STRING, "", "CPU CFS hardcap burst limit (in usecs)"),
            Flag("cpu-share", "", STRING, "", "CPU shares (relative weight vs. other containers)"),
            Flag("cpu-rt-period", "", STRING, "", "CPU realtime period to be used for hardcapping (in usecs)"),
            Flag("cpu-rt-runtime", "", STRING, "", "CPU realtime hardcap limit (in usecs)"),
            Flag("cpuset-cpus", "", STRING, "", "CPU(s) to use"),
            Flag("cpuset-mems", "", STRING, "", "memory node(s) to use"),
            Flag("cpu-idle", "", STRING, "", "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"),
            Flag("memory", "", STRING, "", "memory limit (in bytes, or with a unit: 512m)"),
            Flag("memory-reservation", "", STRING, "", "memory reservation or soft limit"),
            Flag("memory-swap", "", STRING, "", "total memory usage (memory + swap); '-1' for unlimited swap"),
            Flag("kernel-memory", "", STRING, "", ""),
            Flag("kernel-memory-tcp", "", STRING, "", ""),
            Flag("pids-limit", "", INT, 0, "maximum number of pids allowed in the container"),
            Flag("l3-cache-schema", "", STRING, "", "the string of Intel RDT/CAT L3 cache schema"),
            Flag("mem-bw-schema", "", STRING, "", "the string of Intel RDT/MBA memory bandwidth schema"),
        ),
    ),
    "validate": Command(
        "print everything that is wrong in a bundle's config.json", "[<config.json>]", 0, 1, (_BUNDLE,)
    ),
}
