"""What went wrong in this field since August 2026, tried on us (see test_security.py for what came before).

Each test names the advisories that it repeats.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import sys
import time
from pathlib import Path

import harness
import pytest
from harness import REPOSITORY, Bundle, Runtime, Workshop

WITHHOLD = [sys.executable, str(Path(harness.__file__).with_name("withhold.py"))]
MOUNT_CALLS = "open_tree,move_mount,fsopen,fsconfig,fsmount,mount_setattr"


def with_fake_proc(made: Bundle) -> Path:
    """An image in which /proc/self/fd leads to a directory of its own, and no procfs over it. That directory."""
    made.without_mount("/proc")
    decoy = made.rootfs / "decoy"
    decoy.mkdir()
    for name in ("self/fd", "thread-self/fd", "1/fd"):
        fds = made.rootfs / "proc" / name
        fds.mkdir(parents=True)
        for number in range(64):
            (fds / str(number)).symlink_to("/decoy")
    return decoy


@pytest.mark.ocirun  # runc makes no container without a procfs
@pytest.mark.parametrize("without", ["", "mount_setattr", MOUNT_CALLS])
def test_a_readonly_root_whose_image_has_a_proc_of_its_own(runtime: Runtime, bundle: Workshop, without: str) -> None:
    """CVE-2026-115521: what makes "/" read-only is found by a descriptor, never by the image's /proc/self/fd."""
    made = bundle("report", "write=/written", "path=/proc/self/fd")
    with_fake_proc(made)
    made.config["root"]["readonly"] = True
    for key in ("maskedPaths", "readonlyPaths"):
        made.linux[key] = []
    prefix = [*WITHHOLD, "ENOSYS", without] if without else []
    made.write()
    result = runtime("run", "--bundle", str(made.path), made.id, prefix=prefix, timeout=60).ok()
    assert not (made.rootfs / "written").exists()
    assert result.json["paths"]["/proc/self/fd"]["stat"]["type"] == "d"


@pytest.mark.ocirun  # the fix of runc is from 1.6.0 on
def test_a_passwd_of_a_tebibyte(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2026-135844, CVE-2026-61801."""
    made = bundle("report")
    made.process["env"] = ["PATH=/"]
    (made.rootfs / "etc").mkdir(exist_ok=True)
    with (made.rootfs / "etc" / "passwd").open("wb") as file:
        try:
            file.truncate(1 << 40)
        except OSError:
            file.truncate(100 << 30)
    begin = time.monotonic()
    assert "HOME=/" in runtime.report(made)["env"]
    assert time.monotonic() - begin < 5, "it is not read to its end"


@pytest.mark.ocirun  # its own processes
def test_nothing_but_the_program_is_executed(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """CVE-2026-84042: a helper that is looked up where the image has a say, and run as root of the host. Every name of
    every directory in PATH is there, and is not executed."""
    made = bundle("true")
    names = {name for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin") for name in os.listdir(directory)}
    for directory in ("bin", "sbin", "usr/bin", "usr/sbin"):
        (made.rootfs / directory).mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (made.rootfs / directory / name).exists():
                os.link(made.rootfs / "probe", made.rootfs / directory / name)
    made.write()
    trace = scratch / "trace"
    prefix = ["strace", "-f", "-qq", "-e", "trace=execve,execveat,pivot_root", "-e", "signal=none", "-o", str(trace)]
    runtime("run", "--bundle", str(made.path), made.id, prefix=prefix, timeout=60).ok()
    calls = [line.partition(" ")[2].strip() for line in trace.read_text().splitlines() if " = 0" in line]
    entered = max(number for number, call in enumerate(calls) if call.startswith("pivot_root"))
    programs = [re.findall(r'"([^"]*)"', call)[0] for call in calls if call.startswith("exec")]
    assert [re.findall(r'"([^"]*)"', call)[0] for call in calls[entered + 1 :]] == ["/probe"]
    assert [name for name in programs if not name.startswith(("/proc/self/fd/", str(REPOSITORY)))] in (
        ["/probe"],
        [runtime.program, "/probe"],
    )


def test_a_profile_without_af_alg(runtime: Runtime, bundle: Workshop) -> None:
    """CVE-2026-31431 ("Copy Fail"): a rule by the first argument, as engines' profiles have it, refuses AF_ALG and
    nothing else. (`spec` writes no profile, as runc's does not.)"""
    family = 38
    made = bundle("syscall", "41", str(family), str(socket.SOCK_SEQPACKET), "0")  # socket(2) on x86-64
    if os.uname().machine != "x86_64":
        pytest.skip("the number of socket(2) is x86-64's")
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": errno.EPERM,
                "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}],
            }
        ],
    }
    assert runtime.run(made).out.strip() == str(errno.EPERM)
    made.args("syscall", "41", str(int(socket.AF_UNIX)), str(int(socket.SOCK_STREAM)), "0")
    assert runtime.run(made).out.strip() == "0"


# crun-1.31: what its hardening was about. Targets of mounts are in test_mount_attacks.py and test_copy_up.py, the
# descriptors and the dumpability of what enters in test_security.py.


@pytest.mark.ocirun
def test_the_notify_mount_is_nobodys_peer(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """crun-1.31: the notify socket's mount was shared: what the container mounted there would have reached the host."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
        caller.bind(str(scratch / "caller"))
        for propagation in ("rprivate", "rslave", "rshared"):
            made = bundle("pause")
            made.linux["rootfsPropagation"] = propagation
            env = {**os.environ, "NOTIFY_SOCKET": str(scratch / "caller")}
            pid = runtime.created(made, env=env)
            lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            own = Path("/proc/self/mountinfo").read_text()
            (notify,) = (line for line in lines if " /run/notify " in line)
            peers = re.findall(r"shared:(\d+)", notify)
            assert [peer for peer in peers if f"shared:{peer} " in own] == []
            runtime.delete(made, "--force").ok()
            harness.reap(pid)


@pytest.mark.ocirun
def test_the_host_is_out_of_reach_in_the_created_container(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """crun-1.31: the host's root was open at pivot_root. What waits for `start` has no descriptor of the host but the
    fifo and its streams, and its root and working directory are the container's."""
    made = bundle("pause")
    pid = runtime.created(made)
    root = Path(f"/proc/{pid}/root").stat()
    assert (root.st_dev, root.st_ino) != (Path("/").stat().st_dev, Path("/").stat().st_ino)
    assert Path(f"/proc/{pid}/cwd").stat().st_ino == root.st_ino
    opened = {int(path.name): os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert [target for fd, target in opened.items() if fd > 2 and not target.endswith("/exec.fifo")] == []
    runtime.delete(made, "--force").ok()
    harness.reap(pid)
    shutil.rmtree(made.path)


@pytest.mark.ocirun  # runc mended it in 1.5.3
def test_a_readonly_root_without_a_mount_namespace(runtime: Runtime, bundle: Workshop) -> None:
    """runc-5479: it was the caller's mount that became read-only, or private."""
    before = Path("/proc/self/mountinfo").read_text()
    for pointer in ("/root/readonly", "/linux/rootfsPropagation"):
        made = bundle("true")
        made.config["mounts"] = []
        made.without_namespace("mount")
        if pointer == "/root/readonly":
            made.config["root"]["readonly"] = True
        else:
            made.linux["rootfsPropagation"] = "private"
        for run in (runtime.run, runtime.create):
            run(made).failed(pointer)
    assert Path("/proc/self/mountinfo").read_text() == before
