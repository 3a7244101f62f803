"""Seccomp filters: config-linux.md, seccomp. Rules are about calls that do nothing: lseek(2) and splice(2) of no
descriptor."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import threading
from typing import Any

from .. import host
from ..bundle import Bundle
from ..engine import Facts, Trial
from ..runtime import CommandError
from . import case

ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
NATIVE = ARCHITECTURES.get(platform.machine(), "SCMP_ARCH_X86_64")

USUAL = (
    "accept", "accept4", "access", "arch_prctl", "bind", "brk", "capget", "capset", "chdir", "chmod", "chown",
    "clock_getres", "clock_gettime", "clock_nanosleep", "clone", "clone3", "close", "close_range", "connect",
    "copy_file_range", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2",
    "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync", "flock",
    "fork", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_waitv", "get_mempolicy", "get_robust_list",
    "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer", "getpeername",
    "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "inotify_init1",
    "ioctl", "ioprio_get", "keyctl", "kill", "lchown", "link", "linkat", "listen", "lseek", "lstat", "madvise",
    "membarrier", "memfd_create", "mincore", "mkdir", "mkdirat", "mlock", "mmap", "mount", "mprotect", "mremap",
    "msync", "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "poll", "ppoll", "prctl", "pread64", "preadv", "prlimit64",
    "process_madvise", "pselect6", "pwrite64", "read", "readlink", "readlinkat", "readv", "recvfrom", "recvmmsg",
    "recvmsg", "rename", "renameat", "renameat2", "restart_syscall", "riscv_flush_icache", "rmdir", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_setaffinity", "sched_setattr",
    "sched_setscheduler", "sched_yield", "seccomp", "select", "sendfile", "sendmmsg", "sendmsg", "sendto",
    "set_mempolicy", "set_robust_list", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
    "setitimer", "setns", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit",
    "setsid", "setsockopt", "setuid", "shutdown", "sigaltstack", "socket", "socketpair", "stat", "statfs", "statx",
    "symlink", "symlinkat", "sysinfo", "tgkill", "timer_create", "timer_delete", "timer_settime", "timerfd_create",
    "timerfd_settime", "tkill", "umask", "uname", "unlink", "unlinkat", "unshare", "utimensat", "vfork", "wait4",
    "waitid", "write", "writev",
)  # fmt: skip
"""What a runtime's last steps and the probe may need; not sethostname, setdomainname, splice, sync and chroot."""

SIGSYS = int(signal.SIGSYS)


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action} | more


def argument(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    return {"index": index, "value": value, "op": op} | ({} if two is None else {"valueTwo": two})


def filtered(trial: Trial, *rules: dict[str, Any], default: str = "SCMP_ACT_ALLOW", **more: Any) -> Bundle:
    bundle = trial.bundle()
    bundle.linux["seccomp"] = {"defaultAction": default, "architectures": [NATIVE], "syscalls": list(rules)} | more
    return bundle


def _actions(trial: Trial, bundle: Bundle, *words: str) -> Facts:
    actions: Facts = trial.report(bundle, *words)["actions"]
    return actions


LSEEK = "syscall=lseek:1000:5:0"
SPLICE = "syscall=splice:1000:0:1000:0:1:0"


@case("config-linux.seccomp.action.errno", "config-linux.seccomp.errno-ret", needs=("seccomp",))
def act_errno(trial: Trial) -> None:
    """ERRNO returns the number of errnoRet, EPERM where there is none, and leaves other calls alone."""
    found = _actions(
        trial,
        filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99), rule("SCMP_ACT_ERRNO", "splice")),
        LSEEK,
        SPLICE,
        "syscall=dup:1000",
    )
    for code in trial.case.codes:
        trial.equal(code, "errno of a call with errnoRet 99", {"errno": 99}, {"errno": found[LSEEK].get("errno")})
        trial.equal(code, "errno of a call without errnoRet", errno.EPERM, found[SPLICE].get("errno"))
    trial.equal(
        "config-linux.seccomp.action.errno",
        "errno of a call without a rule",
        errno.EBADF,
        found["syscall=dup:1000"].get("errno"),
    )


@case("config-linux.seccomp.action.allow", "config-linux.seccomp.default-action", needs=("seccomp",))
def act_allow(trial: Trial) -> None:
    """Where the default is ERRNO, only what is allowed succeeds."""
    bundle = filtered(trial, rule("SCMP_ACT_ALLOW", *USUAL), default="SCMP_ACT_ERRNO")
    found = _actions(trial, bundle, LSEEK, SPLICE)
    trial.equal(
        "config-linux.seccomp.action.allow", "errno of a call that is allowed", errno.EBADF, found[LSEEK].get("errno")
    )
    trial.equal(
        "config-linux.seccomp.default-action", "errno of a call that is not", errno.EPERM, found[SPLICE].get("errno")
    )


@case("config-linux.seccomp.default-errno-ret", needs=("seccomp",))
def default_errno(trial: Trial) -> None:
    """The default ERRNO returns the number of defaultErrnoRet."""
    bundle = filtered(trial, rule("SCMP_ACT_ALLOW", *USUAL), default="SCMP_ACT_ERRNO", defaultErrnoRet=87)
    trial.equal(
        "config-linux.seccomp.default-errno-ret",
        "errno of a call without a rule",
        87,
        _actions(trial, bundle, SPLICE)[SPLICE].get("errno"),
    )


@case("config-linux.seccomp.default-action", needs=("seccomp",))
def default_trap(trial: Trial) -> None:
    """Another default action: TRAP."""
    bundle = filtered(trial, rule("SCMP_ACT_ALLOW", *USUAL), default="SCMP_ACT_TRAP")
    found = _actions(trial, bundle, SPLICE)[SPLICE]
    trial.check("config-linux.seccomp.default-action", "trapped" in found, "SIGSYS for a call without a rule", found)


@case(
    "config-linux.seccomp.action.kill",
    "config-linux.seccomp.action.kill-thread",
    "config-linux.seccomp.action.kill-process",
    needs=("seccomp",),
)
def act_kill(trial: Trial) -> None:
    """KILL and KILL_THREAD end a thread, KILL_PROCESS all of them, by SIGSYS."""
    for name, process in (("SCMP_ACT_KILL", False), ("SCMP_ACT_KILL_THREAD", False), ("SCMP_ACT_KILL_PROCESS", True)):
        code = f"config-linux.seccomp.action.{name.removeprefix('SCMP_ACT_').lower().replace('_', '-')}"
        thread = "thread=lseek:1000:5:0"
        found = _actions(trial, filtered(trial, rule(name, "lseek")), LSEEK, thread)
        trial.equal(code, "signal that ends a process of one thread", SIGSYS, found[LSEEK].get("signal"))
        if name == "SCMP_ACT_KILL":
            # Whether it is the thread or the process was changed in libseccomp, and is left open.
            ended = found[thread] in ({"signal": SIGSYS}, {"code": 0})
            trial.check(code, ended, "a thread, or its process, is ended", found[thread])
        else:
            wanted = {"signal": SIGSYS} if process else {"code": 0}
            trial.equal(code, "what becomes of a process whose second thread makes the call", wanted, found[thread])


@case("config-linux.seccomp.action.trap", needs=("seccomp",))
def act_trap(trial: Trial) -> None:
    """TRAP sends a SIGSYS that can be handled."""
    found = _actions(trial, filtered(trial, rule("SCMP_ACT_TRAP", "lseek")), LSEEK)[LSEEK]
    trial.check("config-linux.seccomp.action.trap", "trapped" in found, "the handler of SIGSYS is called", found)


@case("config-linux.seccomp.action.trace", "config-linux.seccomp.errno-ret", needs=("seccomp",))
def act_trace(trial: Trial) -> None:
    """TRACE returns ENOSYS without a tracer, and hands a tracer errnoRet."""
    bundle = filtered(trial, rule("SCMP_ACT_TRACE", "lseek", errnoRet=123))
    bundle.capabilities("SYS_PTRACE")
    traced = "traced=lseek:1000:5:0"
    found = _actions(trial, bundle, LSEEK, traced)
    trial.equal("config-linux.seccomp.action.trace", "errno without a tracer", errno.ENOSYS, found[LSEEK].get("errno"))
    for code in trial.case.codes:
        trial.equal(code, "number that a tracer gets", 123, found[traced].get("traced"))


@case("config-linux.seccomp.action.log", needs=("seccomp",))
def act_log(trial: Trial) -> None:
    """LOG lets the call through, also where the default does not."""
    names = [name for name in USUAL if name != "lseek"]
    bundle = filtered(trial, rule("SCMP_ACT_ALLOW", *names), rule("SCMP_ACT_LOG", "lseek"), default="SCMP_ACT_ERRNO")
    trial.equal(
        "config-linux.seccomp.action.log",
        "errno of the call",
        errno.EBADF,
        _actions(trial, bundle, LSEEK)[LSEEK].get("errno"),
    )


BIG = 0x1_2345_6789

OPERATORS: dict[str, tuple[dict[str, Any], list[int], list[int]]] = {
    "SCMP_CMP_NE": (argument(1, "SCMP_CMP_NE", BIG), [0, BIG - 1, BIG + 1, BIG & 0xFFFFFFFF], [BIG]),
    "SCMP_CMP_LT": (argument(1, "SCMP_CMP_LT", BIG), [0, BIG - 1, BIG - (1 << 32)], [BIG, BIG + 1, BIG + (1 << 32)]),
    "SCMP_CMP_LE": (argument(1, "SCMP_CMP_LE", BIG), [0, BIG - 1, BIG], [BIG + 1, BIG + (1 << 32)]),
    "SCMP_CMP_EQ": (argument(1, "SCMP_CMP_EQ", BIG), [BIG], [0, BIG - 1, BIG & 0xFFFFFFFF, BIG + (1 << 32)]),
    "SCMP_CMP_GE": (argument(1, "SCMP_CMP_GE", BIG), [BIG, BIG + 1, BIG + (1 << 32)], [0, BIG - 1]),
    "SCMP_CMP_GT": (argument(1, "SCMP_CMP_GT", BIG), [BIG + 1, BIG + (1 << 32)], [0, BIG - 1, BIG]),
    "SCMP_CMP_MASKED_EQ": (
        argument(1, "SCMP_CMP_MASKED_EQ", 0x1_0000_00F0, 0x1_0000_0050),
        [0x1_0000_0050, 0x3_0000_105F],
        [0x50, 0x1_0000_0060],
    ),
}
"""Rules about the second argument of lseek(2), with values that they match and values that they do not."""


@case(
    *(f"config-linux.seccomp.op.{name.removeprefix('SCMP_CMP_').lower().replace('_', '-')}" for name in OPERATORS),
    needs=("seccomp",),
)
def operators(trial: Trial) -> None:
    """Each operator compares all 64 bits of an argument, unsigned."""
    for name, (args, matching, others) in OPERATORS.items():
        code = f"config-linux.seccomp.op.{name.removeprefix('SCMP_CMP_').lower().replace('_', '-')}"
        bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99, args=[args]))
        words = {value: f"syscall=lseek:1000:{value}:0" for value in (*matching, *others)}
        found = _actions(trial, bundle, *words.values())
        for value, word in words.items():
            wanted = 99 if value in matching else errno.EBADF
            trial.equal(
                code,
                f"errno with {value:#x}, {'matched' if value in matching else 'not matched'}",
                wanted,
                found[word].get("errno"),
            )


@case("config-linux.seccomp.op.eq", needs=("seccomp",))
def all_arguments(trial: Trial) -> None:
    """A rule with several arguments matches where all do; each of the six can be compared."""
    arguments = [argument(index, "SCMP_CMP_EQ", 11 + index) for index in range(6)]
    bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "splice", errnoRet=99, args=arguments))
    match = "syscall=splice:11:12:13:14:15:16"
    words = [match] + [
        f"syscall=splice:{':'.join(str(11 + index + (index == other) * 100) for index in range(6))}"
        for other in range(6)
    ]
    found = _actions(trial, bundle, *words)
    for word in words:
        hit = found[word].get("errno") == 99
        trial.check(
            "config-linux.seccomp.op.eq",
            hit == (word == match),
            f"{word} {'matches' if word == match else 'does not match'}",
            found[word],
        )


@case("config-linux.seccomp.architectures", needs=("seccomp",))
def architectures(trial: Trial) -> None:
    """The filter holds for the native architecture, whether it is listed or nothing is."""
    for listed in ([NATIVE], None):
        bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99))
        if listed is None:
            del bundle.linux["seccomp"]["architectures"]
        found = _actions(trial, bundle, LSEEK)[LSEEK]
        trial.equal("config-linux.seccomp.architectures", f"errno with architectures {listed}", 99, found.get("errno"))


@case("config-linux.seccomp.architectures", needs=("seccomp", "machine:x86_64"))
def compatible_architecture(trial: Trial) -> None:
    """The filter holds for 32-bit calls where SCMP_ARCH_X86 is listed, and lets none through where it is not."""
    word = "call32="
    if _actions(trial, trial.bundle(), word)[word] != {"errno": errno.EBADF}:
        trial.impossible("this kernel has no 32-bit calls")
    rules = rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99)
    both = _actions(trial, filtered(trial, rules, architectures=[NATIVE, "SCMP_ARCH_X86"]), word)[word]
    trial.equal(
        "config-linux.seccomp.architectures",
        "errno of a 32-bit call where SCMP_ARCH_X86 is listed",
        {"errno": 99},
        both,
    )
    alone = _actions(trial, filtered(trial, rules), word)[word]
    trial.check(
        "config-linux.seccomp.architectures",
        alone != {"errno": errno.EBADF},
        "where it is not listed, no unfiltered call",
        alone,
    )


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SECCOMP_GET_METADATA = 0x4206, 0x4207, 17, 0x420D


def _filter_flags(pid: int) -> int | None:
    """The flags of the first filter of a process, as its tracer may read them; None where the kernel does not tell."""
    ptrace = host.libc.ptrace
    ptrace.restype = ctypes.c_long
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if ptrace(PTRACE_SEIZE, pid, None, None) < 0:
        return None
    try:
        ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, 0x40000000)  # __WALL
        metadata = (ctypes.c_uint64 * 2)(0, 0)
        size = ptrace(PTRACE_SECCOMP_GET_METADATA, pid, ctypes.sizeof(metadata), ctypes.cast(metadata, ctypes.c_void_p))
        return int(metadata[1]) if size >= 16 else None
    except ChildProcessError:
        return None
    finally:
        ptrace(PTRACE_DETACH, pid, None, None)


@case("config-linux.seccomp.flags", needs=("seccomp", "root"))
def flags(trial: Trial) -> None:
    """SECCOMP_FILTER_FLAG_LOG is set for the filter where it is asked for, and only there; others are taken."""
    for listed, wanted in ((["SECCOMP_FILTER_FLAG_LOG"], 2), ([], 0)):
        bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99), flags=listed)
        container = trial.started(bundle.args("pause"))
        trial.eventually(lambda c=container: c.proc("comm").strip() == "probe")  # type: ignore[misc]
        found = _filter_flags(container.pid)
        if found is None:
            trial.cannot(
                "this kernel does not tell the flags of a filter (PTRACE_SECCOMP_GET_METADATA)",
                "config-linux.seccomp.flags",
            )
        else:
            trial.equal("config-linux.seccomp.flags", f"SECCOMP_FILTER_FLAG_LOG with {listed}", wanted, found & 2)
    bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99), flags=["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
    trial.equal(
        "config-linux.seccomp.flags",
        "errno with SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        99,
        _actions(trial, bundle, LSEEK)[LSEEK].get("errno"),
    )


class Agent:
    """A seccomp agent: takes the state, and answers each call with an error number."""

    def __init__(self, trial: Trial, answer: int = 42) -> None:
        self.path = f"/tmp/{trial.mark}.seccomp"  # a socket's path is at most 107 bytes long
        self.answer = answer
        self.connections: list[list[tuple[bytes, int]]] = []
        """Of each connection: the messages, with the number of descriptors that came with each."""
        self.closed: list[bool] = []
        self.descriptors: list[int] = []
        self.calls = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._over = False
        threading.Thread(target=self._accept, daemon=True).start()
        trial.afterwards(self.close)

    def _accept(self) -> None:
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self._receive(connection)

    def _receive(self, connection: socket.socket) -> None:
        messages: list[tuple[bytes, int]] = []
        self.connections.append(messages)
        self.closed.append(False)
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 8)
            except OSError:
                return
            if descriptors:
                self.descriptors += descriptors
                threading.Thread(target=self._serve, args=(descriptors[0],), daemon=True).start()
            if not data:
                self.closed[-1] = True
                return
            messages.append((data, len(descriptors)))

    def _serve(self, descriptor: int) -> None:
        # struct seccomp_notif: id, pid, flags, data; and struct seccomp_notif_resp: id, val, error, flags.
        while not self._over:
            request = bytearray(80)
            try:
                fcntl.ioctl(descriptor, 0xC0502100, request)
                (identity,) = struct.unpack_from("=Q", request)
                fcntl.ioctl(descriptor, 0xC0182101, bytearray(struct.pack("=QqiI", identity, 0, -self.answer, 0)))
                self.calls += 1
            except OSError:
                return

    def state(self, number: int = 0) -> Facts:
        """The document that came over a connection; CommandError where none did."""
        if len(self.connections) <= number:
            raise CommandError("nobody connected to the listener")
        try:
            document = json.loads(b"".join(data for data, _ in self.connections[number]))
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CommandError(f"what came over the connection is no JSON object: {self.connections[number]!r}")
        return document

    def close(self) -> None:
        self._over = True
        self._listener.close()
        os.unlink(self.path)
        for descriptor in self.descriptors:
            os.close(descriptor)


SETHOSTNAME = "syscall=sethostname:0:0"

LISTENER = (
    *(
        f"config-linux.seccomp.listener.{name}"
        for name in ("socket", "one-state", "not-reused", "closed", "fd", "metadata")
    ),
    *(f"config-linux.seccomp.state.{name}" for name in ("sent", "fds-first", "oci-version", "pid", "state")),
    "config-linux.seccomp.action.notify",
)


@case(*LISTENER, needs=("seccomp", "root", "kernel:5.9"))
def notify(trial: Trial) -> None:
    """NOTIFY: the state comes over the socket with the descriptor, and the agent's answer is what the call returns."""
    agent = Agent(trial)
    containers = []
    for _ in range(2):
        bundle = filtered(
            trial, rule("SCMP_ACT_NOTIFY", "sethostname"), listenerPath=agent.path, listenerMetadata="some data é"
        )
        bundle.config["annotations"] = {"org.example.of": "seccomp"}
        container = trial.started(bundle.args("report", SETHOSTNAME))
        container.wait()
        containers.append(container)
        found = trial.facts(container)["actions"][SETHOSTNAME]
        trial.equal("config-linux.seccomp.action.notify", "errno that the agent gives", 42, found.get("errno"))
    trial.eventually(lambda: len(agent.closed) == 2 and all(agent.closed), 3)
    trial.check(
        "config-linux.seccomp.listener.socket",
        agent.connections,
        "a connection to a stream socket",
        f"{len(agent.connections)} connections",
    )
    trial.equal("config-linux.seccomp.listener.not-reused", "connections of two containers", 2, len(agent.connections))
    trial.equal(
        "config-linux.seccomp.listener.closed",
        "connections that are closed after the state",
        [True] * len(agent.closed),
        agent.closed,
    )
    for number, container in enumerate(containers):
        document = agent.state(number)
        trial.check(
            "config-linux.seccomp.listener.one-state", True, "one JSON document for each connection", "one document"
        )
        trial.check("config-linux.seccomp.state.sent", True, "a JSON document, with descriptors", "a document")
        descriptors = [count for _, count in agent.connections[number]]
        trial.equal(
            "config-linux.seccomp.state.fds-first",
            "descriptors of each message",
            [1] + [0] * (len(descriptors) - 1),
            descriptors,
        )
        trial.equal("config-linux.seccomp.listener.fd", "fds", ["seccompFd"], document.get("fds"))
        trial.equal("config-linux.seccomp.listener.metadata", "metadata", "some data é", document.get("metadata"))
        version = document.get("ociVersion")
        trial.check(
            "config-linux.seccomp.state.oci-version", isinstance(version, str) and version, "ociVersion", f"{version!r}"
        )
        trial.equal("config-linux.seccomp.state.pid", "pid", container.pid, document.get("pid"))
        state = document.get("state") or {}
        wanted = {"id": container.id, "pid": container.pid, "annotations": {"org.example.of": "seccomp"}}
        trial.equal("config-linux.seccomp.state.state", "state", wanted, {name: state.get(name) for name in wanted})
        trial.check(
            "config-linux.seccomp.state.state",
            state.get("status") in ("creating", "created"),
            "status: creating, or created",
            state.get("status"),
        )


@case("config-linux.seccomp.listener.fails", needs=("seccomp", "root", "kernel:5.9"))
def listener_missing(trial: Trial) -> None:
    """A socket that nobody listens on is an error, of `create` or of `start`."""
    bundle = filtered(trial, rule("SCMP_ACT_NOTIFY", "sethostname"), listenerPath=str(trial.directory / "none"))
    result = trial.attempt_create(bundle.args("exit", "0"))
    operation = "create"
    if result.ok:
        operation = "start"
        result = trial.created(bundle, result).attempt("start")
    trial.check(
        "config-linux.seccomp.listener.fails",
        result.code > 0,
        "`create` or `start` reports an error",
        f"`{operation}` ended with {result}",
    )


@case("config-linux.seccomp.listener.ignored", needs=("seccomp",))
def listener_ignored(trial: Trial) -> None:
    """Without NOTIFY listenerPath is ignored."""
    bundle = filtered(trial, rule("SCMP_ACT_ERRNO", "lseek", errnoRet=99), listenerPath=str(trial.directory / "none"))
    container = trial.accepted("config-linux.seccomp.listener.ignored", bundle.args("report", LSEEK))
    if container is not None:
        container.start()
        container.wait()
        found = trial.facts(container)["actions"][LSEEK].get("errno")
        trial.equal("config-linux.seccomp.listener.ignored", "errno of a call with a rule", 99, found)
