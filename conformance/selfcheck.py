"""The probe's own checks, natively and without a runtime: what it says of this process must be what Python says."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import host


class _ProbeError(Exception):
    """The probe itself does not do what it is for."""


def _report(probe: Path, *words: str) -> dict[str, Any]:
    result = subprocess.run([str(probe), "report", *words], capture_output=True, text=True, check=False, timeout=20)
    if result.returncode:
        raise _ProbeError(f"exit code {result.returncode}: {result.stderr.strip()}")
    document = json.loads(result.stdout)
    if not isinstance(document, dict):
        raise _ProbeError(f"no JSON object: {result.stdout[:100]!r}")
    return document


def _facts(probe: Path) -> Iterator[tuple[str, object, object]]:
    """What it says of itself, beside what is so."""
    found = _report(probe)
    uids, gids = list(os.getresuid()), list(os.getresgid())
    yield "users", uids, found["uids"]
    yield "groups", gids, found["gids"]
    yield "further groups", sorted(os.getgroups()), sorted(found["groups"])
    yield "working directory", os.getcwd(), found["cwd"].encode("latin-1").decode()
    yield "host name", socket.gethostname(), found["hostname"]
    yield "machine", platform.machine(), found["machine"]
    yield "CPUs", sorted(os.sched_getaffinity(0)), found["cpus"]
    yield "nice value", os.getpriority(os.PRIO_PROCESS, 0), found["scheduler"]["nice"]
    mask = os.umask(0)
    os.umask(mask)
    yield "umask", mask, found["umask"]
    for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_STACK"):
        wanted = [
            2**64 - 1 if one == resource.RLIM_INFINITY else one for one in resource.getrlimit(getattr(resource, name))
        ]
        yield name, wanted, found["rlimits"][name]
    for kind, file in (("mount", "mnt"), ("network", "net"), ("uts", "uts"), ("user", "user")):
        yield f"{kind} namespace", os.readlink(f"/proc/self/ns/{file}"), found["namespaces"][kind]
    yield "mounts", len(Path("/proc/self/mountinfo").read_text().splitlines()), len(found["mountinfo"].splitlines())
    yield "network devices", sorted(name for _, name in socket.if_nameindex()), sorted(found["interfaces"])
    yield "arguments", [str(probe), "report"], found["argv"]
    yield "parent", os.getpid(), found["ppid"]


def _actions(probe: Path, scratch: Path) -> Iterator[tuple[str, object, object]]:
    """What it does, beside what it was told to do."""
    (scratch / "file").write_text("text\n")
    (scratch / "link").symlink_to("file")
    shutil.copy(probe, scratch / "program")
    (scratch / "plain").write_text("")
    (scratch / "plain").chmod(0o644)
    words = {
        "stat": f"stat={scratch}/link",
        "follow": f"follow={scratch}/link",
        "read": f"read={scratch}/file",
        "missing": f"read={scratch}/none",
        "entries": f"read={scratch}",
        "create": f"create={scratch}/made:content",
        "exec": f"exec={scratch}/program",
        "refused": f"exec={scratch}/plain",
        "call": "syscall=lseek:1000:0:0",
        "fork": "fork=3",
        "eat": "eat=1048576",
        "null": "follow=/dev/null",
        "thread": "thread=lseek:1000:0:0",
        "spin": "spin=20",
        "atime": f"atime={scratch}/file",
    }
    found = {name: _report(probe, *words.values())["actions"][word] for name, word in words.items()}
    yield "type of a symlink", ["symlink", "file"], [found["stat"]["type"], found["stat"]["link"]]
    yield "type of what it is to", ["file", 5], [found["follow"]["type"], found["follow"]["size"]]
    yield "content of a file", "text\n", found["read"]["content"]
    yield "reading what is not there", "ENOENT", found["missing"]["error"]
    yield "entries of a directory", True, {"file", "link", "program"} <= set(found["entries"]["entries"])
    yield (
        "a file that it makes",
        "content",
        (scratch / "made").read_text() if not found["create"]["error"] else found["create"]["error"],
    )
    yield "exit code of a program", ["", 7], [found["exec"]["error"], found["exec"]["code"]]
    yield "a program without the right", "EACCES", found["refused"]["error"]
    yield "a system call", "EBADF", found["call"]["error"]
    yield "a system call in a thread", 0, found["thread"].get("code")
    yield "forks", [3, ""], [found["fork"]["made"], found["fork"]["error"]]
    yield "memory", 0, found["eat"]["signal"]
    yield "numbers of /dev/null", [1, 3], [found["null"]["major"], found["null"]["minor"]]
    yield "computing", True, found["spin"]["wall"] >= 20


def _commands(probe: Path, scratch: Path) -> Iterator[tuple[str, object, object]]:
    """Its other commands: those of hooks and of processes that wait."""
    yield "exit code", 42, subprocess.run([str(probe), "exit", "42"], check=False, timeout=20).returncode
    yield (
        "unknown command",
        2,
        subprocess.run([str(probe), "unknown"], check=False, timeout=20, stderr=subprocess.DEVNULL).returncode,
    )
    log = scratch / "log"
    state = json.dumps({"pid": os.getpid(), "id": "self"})
    subprocess.run([str(probe), "hook", str(log), "name", "exit=0"], input=state, text=True, check=False, timeout=20)
    written = json.loads(log.read_text())
    yield "a hook's name and standard input", ["name", state], [written["hook"], written["stdin"]]
    yield "the container of a hook", os.getpid(), written["container"]["pid"]
    trap = subprocess.Popen([str(probe), "trap", str(scratch / "signals")])
    try:
        for _ in range(500):
            if (scratch / "signals").exists() and "ready" in (scratch / "signals").read_text():
                break
            signal.sigtimedwait([], 0.01)
        trap.send_signal(signal.SIGUSR1)
        trap.send_signal(signal.SIGTERM)
        trap.wait(10)
    finally:
        trap.kill()
        trap.wait()
    yield "signals that it takes", ["ready", "10", "15"], (scratch / "signals").read_text().split()


def self_check(probe: Path, write: Callable[[str], object] = print) -> int:
    """Check the probe, and say what this host lacks. 0 where all is well, 2 where the probe is not to be trusted
    here."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="ocirun-conformance-") as name:
        scratch = Path(name)
        for checks in (_facts(probe), _actions(probe, scratch), _commands(probe, scratch)):
            try:
                for what, wanted, found in checks:
                    if wanted == found:
                        write(f"ok      {what}")
                    else:
                        wrong += 1
                        write(f"wrong   {what}: {wanted!r} is so, and the probe says {found!r}")
            except (_ProbeError, ValueError, KeyError, OSError, subprocess.SubprocessError) as error:
                wrong += 1
                write(f"wrong   {error!r}")
    from . import cases

    lacking: dict[str, int] = {}
    for case in cases.load():
        for reason in filter(None, map(host.lacks, case.needs)):
            lacking[reason] = lacking.get(reason, 0) + 1
    for reason, count in sorted(lacking.items()):
        write(f"lacking {reason}: {count} cases cannot be run")
    return 2 if wrong else 0
