"""The same bundle run by runc and by the runtime under test, compared property by property."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from engineconfigs import CONFIGS, written
from harness import CAPABILITIES, Bundle, Runtime, Workshop, mounts

RUNC = os.environ.get("OCIRUN_TEST_RUNC") or shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")

# What may differ, and why.
DIFFERENT_BY_NATURE = {
    "namespaces": "new ones have new numbers; compared by which are new",
    "clocks": "time goes on",
    "fds": "compared by type, flags and owner: runc copies through pipes where we pass the files on",
    "status": "counts memory and switches; its fields are compared one by one",
    "mountinfo": "device numbers; compared as mounts",
    "keyring": "compared without the container's id",
    "cgroup": "compared without the container's id",
    "paths": "compared by type, mode, owner and device numbers",
    "trees": "likewise",
}
STATUS = [
    "Uid",
    "Gid",
    "Groups",
    "NStgid",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "Umask",
    "Threads",
]


def normal(report: Any, id: str, rootfs: str) -> dict[str, Any]:
    """A report with what differs between two runs of one runtime taken out."""
    out = {key: value for key, value in report.items() if key not in DIFFERENT_BY_NATURE}
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in report["namespaces"]}
    out["new namespaces"] = sorted(name for name, target in report["namespaces"].items() if target != own[name])
    fields = dict(line.split(":", 1) for line in report["status"].splitlines() if ":" in line)
    out["status"] = {name: " ".join(fields[name].split()) for name in STATUS if name in fields}
    out["order of mounts"] = " ".join(mounts(report))
    out["mounts"] = {
        mount.path: {
            "root": mount.root.replace(rootfs, "ROOTFS").replace(id, "ID"),
            "options": sorted(mount.options),
            "propagation": mount.propagation,
            "type": mount.fstype,
            "source": mount.source,
            "data": sorted(mount.super_options),
        }
        for mount in mounts(report).values()
    }
    out["keyring"] = report["keyring"].replace(id, "ID")
    out["cgroup"] = report["cgroup"].replace(id, "ID")
    out["fds"] = {fd: one["tty"] for fd, one in report["fds"].items()}
    for kind in ("paths", "trees"):
        text = json.dumps(report[kind])
        # Numbers of devices of file systems, of inodes, and sizes.
        out[kind] = json.loads(re.sub(r'"(dev|ino|size)": ?\d+', r'"\1": 0', text))
    for path in out["paths"].values():
        path.get("list", []).sort()
        if "content" in path:
            path["content"] = bool(path["content"])
    return out


def both(runtime: Runtime, made: Bundle, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report of the process of a bundle, by the runtime under test and by runc."""
    reports = []
    oracle = Runtime(str(RUNC), runtime.scratch)
    oracle.root = runtime.scratch / "oracle"
    oracle._count = 1000
    pristine = runtime.scratch / "pristine"
    subprocess.run(["cp", "-a", str(made.rootfs), str(pristine)], check=True)
    for one in (runtime, oracle):
        again = copy.deepcopy(made)
        shutil.rmtree(again.rootfs)  # each on a fresh one: targets of mounts stay behind
        subprocess.run(["cp", "-a", str(pristine), str(again.rootfs)], check=True)
        report = one.report(again, *words)
        reports.append(normal(report, again.id, str(again.rootfs)))
    shutil.rmtree(oracle.root, ignore_errors=True)
    return reports[0], reports[1]


def differences(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """Every leaf that differs, one line each."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(key), theirs.get(key), f"{where}: {key}" if where else key)
    elif ours != theirs:
        yield f"{where}: {ours!r}, with runc {theirs!r}"


# What differs from runc 1.1.5 or 1.4.3 on purpose (a pattern of those lines), and why.
ON_PURPOSE = {
    r"mounts: /sys/fs/cgroup: options: .*'ro'\], with runc": "ro is asked for: runc forgets it",
    r"mounts: /sys/fs/cgroup/systemd: source: 'cgroup', with runc 'systemd'": "the source of the configuration",
    r"mounts: /bind/\d: options: .*, with runc .*'relatime'": "the bind stays strictatime where its source is",
    r"trees: /dev: mqueue: stat: gid: 0, with runc 65534": "runc mounts it before it sets its group",
    r"mounts: /existing/\d: data: \[.*'mode=751'": "as later versions, which pass the mode of what is covered",
    r"paths: /existing/2: stat: mode: 448": "as later versions: a mode that is asked for counts",
    r"rlimits: RLIMIT_NOFILE: \[30, 60\], with runc \[60, 60\]": "the Go runtime raised the soft limit",
    r"mounts: .*: data: \['ro'\], with runc \['nr_inodes=1', 'ro', 'size=4k'\]": "one file system hides all",
}


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    lines = [line for line in differences(ours, theirs) if not any(re.match(pattern, line) for pattern in ON_PURPOSE)]
    assert not lines, "\n".join(lines)


def plain(made: Bundle) -> None:
    pass


def ordinary_user(made: Bundle) -> None:
    made.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7, 8], "umask": 0o027}
    made.process["cwd"] = "/tmp"


def every_capability(made: Bundle) -> None:
    with open("/proc/self/status") as file:
        bounding = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))
    names = [f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if bounding >> bit & 1]
    made.process["capabilities"] = {
        kind: names for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    made.process["noNewPrivileges"] = False


def user_namespace(made: Bundle) -> None:
    made.user_namespace()
    made.process["user"] = {"uid": 5, "gid": 6}


def of_the_host(made: Bundle) -> None:
    made.linux["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    del made.config["hostname"]
    made.without_mount("/dev/mqueue", "/sys")


def limits(made: Bundle) -> None:
    made.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 30, "hard": 60},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 22},
    ]
    made.process["oomScoreAdj"] = 42
    made.linux["resources"] |= {"memory": {"limit": 32 << 20}, "pids": {"limit": 20}, "cpu": {"cpus": "0"}}


def hidden(made: Bundle) -> None:
    made.config["root"]["readonly"] = True
    made.linux["maskedPaths"] = ["/proc/acpi", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/etc"]
    made.linux["readonlyPaths"] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"]
    made.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}


def mounted(made: Bundle) -> None:
    source = made.path / "source"
    source.mkdir()
    (source / "file").write_text("file\n")
    for number, options in enumerate(
        (
            ["bind"],
            ["rbind", "ro"],
            ["rbind", "rprivate", "nosuid", "nodev"],
            ["bind", "noexec", "noatime"],
            ["rbind", "rslave", "nodiratime"],
            ["bind", "rw", "relatime"],
            ["bind", "strictatime", "ro"],
        )
    ):
        made.mount(f"/bind/{number}", "bind", str(source), *options)
    made.mount("/file", "bind", str(source / "file"), "bind", "ro")
    for number, options in enumerate(
        (
            ["size=1m"],
            ["ro"],
            ["mode=0700", "nosuid"],
            ["uid=5,gid=6"],
            ["noexec", "strictatime"],
            ["tmpcopyup", "noatime"],
        )
    ):
        made.mount(f"/tmpfs/{number}", "tmpfs", f"tmpfs-{number}", *options)
        made.mount(f"/existing/{number}", "tmpfs", "tmpfs", *options)
        (made.rootfs / "existing" / str(number)).mkdir(parents=True)
        (made.rootfs / "existing" / str(number)).chmod(0o751)
    made.mount("/another/proc", "proc", "proc", "nosuid", "noexec", "nodev", "ro")


def cgroup_mounted(made: Bundle) -> None:
    made.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")


def cgroup_of_the_host(made: Bundle) -> None:
    made.without_namespace("cgroup")
    cgroup_mounted(made)


def without_dev(made: Bundle) -> None:
    made.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")


def devices(made: Bundle) -> None:
    made.linux["devices"] = [
        {"path": "/dev/one", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 1, "gid": 2},
        {"path": "/dev/two", "type": "b", "major": 7, "minor": 1},
        {"path": "/dev/three", "type": "p", "fileMode": 0o600},
    ]


def seccomp(made: Bundle) -> None:
    made.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": [f"call{number}" for number in range(3)], "action": "SCMP_ACT_ALLOW"}],
    }
    made.linux["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW"


def of_an_engine(name: str) -> Callable[[Bundle], None]:
    """What an engine writes, where it can be had here: its process, mounts of new file systems and restrictions."""

    def arrange(made: Bundle) -> None:
        config = written(name)
        made.config["mounts"] = [one for one in config["mounts"] if one.get("type") not in ("bind", "none")]
        process = config["process"]
        for key in ("user", "cwd", "capabilities", "oomScoreAdj", "noNewPrivileges"):
            if key in process:
                made.process[key] = process[key]
        made.process["env"] = [one for one in process["env"] if "=" in one]
        for key in ("maskedPaths", "readonlyPaths", "seccomp", "sysctl", "rootfsPropagation"):
            made.linux[key] = config["linux"].get(key)
        made.linux["namespaces"] = [
            {"type": one["type"]} for one in config["linux"]["namespaces"] if one["type"] != "user"
        ]
        made.config["hostname"] = config.get("hostname", "probed")

    arrange.__name__ = name
    return arrange


ENGINES = [name for name in CONFIGS if "privileged" not in name]
ARRANGEMENTS = [
    plain, ordinary_user, every_capability, user_namespace, of_the_host, limits, hidden, mounted, cgroup_mounted,
    cgroup_of_the_host, without_dev, devices, seccomp, *map(of_an_engine, ENGINES),
]  # fmt: skip

WORDS = (
    "tree=/dev",
    "tree=/",
    *(f"path={path}" for path in ("/", "/dev", "/dev/shm", "/proc/keys", "/proc/sys", "/sys/firmware", "/etc")),
    *(f"path=/{kind}/{number}" for kind in ("tmpfs", "existing", "bind") for number in range(6)),
    *(
        f"write={path}"
        for path in ("/", "/etc", "/dev", "/dev/shm", "/dev/null", "/proc/sys/kernel/domainname", "/sys")
    ),
)


@pytest.mark.skipif(RUNC is None, reason="runc is what this compares with")
@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
@pytest.mark.controllers
def test_like_runc(runtime: Runtime, bundle: Workshop, arrange: Callable[[Bundle], None]) -> None:
    if arrange is cgroup_of_the_host and set(harness.cgroup_roots()) == {""}:
        pytest.skip("runc mounts the host's cgroup2 again, and so takes nsdelegate and the like from it")
    made = bundle()
    arrange(made)
    ours, theirs = both(runtime, made, *WORDS)
    compare(ours, theirs)


@pytest.mark.skipif(RUNC is None, reason="runc is what this compares with")
def test_exec_like_runc(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """A further process in the same container, made by each."""
    reports = []
    for program in (runtime.program, str(RUNC)):
        one = Runtime(program, scratch)
        one.root = scratch / f"root-{len(reports)}"
        one._count = 2000 * (1 + len(reports))
        made = bundle("pause")
        made.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 30, "hard": 60}]
        pid = one.started(made)
        found = []
        for flags in ([], ["--user", "1000:1000", "--cwd", "/tmp"], ["--cap", "CAP_NET_RAW", "-e", "A=1"]):
            report = one.probe(made, flags=flags)
            del report["pid"], report["sid"], report["pgrp"]
            found.append(normal(report, made.id, str(made.rootfs)))
            del found[-1]["status"]["NStgid"]
        one.end(made, pid)
        shutil.rmtree(one.root)
        reports.append(found)
    for ours, theirs in zip(*reports, strict=True):
        compare(ours, theirs)


@pytest.mark.skipif(RUNC is None, reason="runc is what this compares with")
def test_signals_and_exit_codes_like_runc(runtime: Runtime, bundle: Workshop) -> None:
    for words in (("exit", "3"), ("raise", "15"), ("raise", "9"), ("nonsense",)):
        made = bundle(*words)
        made.without_namespace("pid")
        oracle = Runtime(str(RUNC), runtime.scratch)
        oracle._count = 3000
        ours, theirs = runtime.run(made), oracle.run(made)
        assert (ours.code, ours.out) == (theirs.code, theirs.out), words
        harness.eventually(lambda: not harness.children(), "both have ended")
