"""How fast ocirun is, beside runc and crun on this machine, in this minute.

Absolute times mean little on a shared machine: every round runs each command once with each runtime, in a random
order, on a fresh id and bundle, and medians of the rounds are compared as ratios. Rounds are made without pauses and
with them: joining a cgroup costs many milliseconds when no migration happened just before, which a tight loop hides.

    python tests/bench/bench.py [--rounds N] [--runtime ocirun,runc,crun] [--profile spec,docker] [--pause 0,0.1]
                                [--section verbs,floor,burst,memory,limits] [--verb run,create,...] [--check] [--json]

Needs root. Times are wall-clock milliseconds from spawn to exit of one command.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "drivers"))

from profiles import PROFILES

REPOSITORY = Path(__file__).resolve().parents[2]
CGROUP = "/ocirun-bench"
VERBS = ("run", "create", "start", "state", "exec", "kill", "delete")
SECTIONS = ("verbs", "floor", "burst", "memory", "limits")

# Targets: the most that ocirun may take, as a ratio to runc's time ...
RATIO_TARGETS = {"run": 0.55, "create": 0.70, "exec": 0.55, "burst": 0.70}
# ... in milliseconds over an interpreter that starts and exits ...
FLOOR_TARGETS = {"start": 2.0, "state": 2.0, "kill": 2.0, "delete": 2.0}
# ... and in KiB of private memory of the PID 1 of a created container.
PRIVATE_MEMORY_TARGET = 768
MEMORY_LIMIT_STARTS = 20

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MNT_DETACH = 2

Samples = dict[tuple[str, float, str, str], list[float]]  # (profile, pause, verb, runtime) -> milliseconds


class BenchError(Exception):
    """A command failed that must not; the figures would mean nothing."""


def runtimes(names: list[str]) -> dict[str, str]:
    """Name -> program, for the runtimes that are installed. OCIRUN overrides where ocirun is."""
    found = {}
    for name in names:
        if name == "ocirun":
            path: str | None = os.environ.get("OCIRUN", str(REPOSITORY / ".venv" / "bin" / "ocirun"))
        else:
            path = shutil.which(name)
        if path and os.access(path, os.X_OK):
            found[name] = path
        else:
            print(f"{name}: not installed, left out", file=sys.stderr)
    return found


def base_config(profile: str) -> dict[str, Any]:
    """What `runc spec` prints, without a terminal."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["runc", "spec"], cwd=directory, check=True)
        config: dict[str, Any] = json.loads((Path(directory) / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["capabilities"].pop("ambient", None)  # gone since 1.2, and none of them was ever granted
    if profile == "docker":
        config["linux"]["seccomp"] = PROFILES["docker"]
    return config


class Bench:
    """A scratch directory with a rootfs, a --root for each runtime, and fresh bundles on demand."""

    def __init__(self, directory: Path, programs: dict[str, str]) -> None:
        self.directory = directory
        self.programs = programs
        self.count = 0
        self.devnull = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        busybox = shutil.which("busybox")
        if busybox is None:
            raise BenchError("busybox-static is not installed")
        rootfs = directory / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(busybox, rootfs / "bin" / "busybox")
        for applet in ("sh", "true", "sleep"):
            (rootfs / "bin" / applet).symlink_to("busybox")
        # The runtimes reparent the container's process: as its subreaper we wait for its end, and reap it at once.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def bundle(self, config: dict[str, Any], args: list[str]) -> tuple[str, str]:
        """A fresh id and bundle."""
        self.count += 1
        id = f"b{os.getpid()}-{self.count}"
        path = self.directory / id
        path.mkdir()
        document = json.loads(json.dumps(config))
        document["process"]["args"] = args
        document["root"]["path"] = str(self.directory / "rootfs")
        document["linux"]["cgroupsPath"] = f"{CGROUP}/{id}"
        (path / "config.json").write_text(json.dumps(document))
        return id, str(path)

    def argv(self, runtime: str, *words: str) -> list[str]:
        return [self.programs[runtime], "--root", str(self.directory / f"root-{runtime}"), *words]

    def spawn(self, argv: list[str]) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, self.devnull, 0), (os.POSIX_SPAWN_DUP2, self.devnull, 1)]
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)

    def timed(self, argv: list[str]) -> float:
        """Milliseconds of one command, which must succeed."""
        before = time.perf_counter()
        pid = self.spawn(argv)
        _, status = os.waitpid(pid, 0)
        elapsed = (time.perf_counter() - before) * 1000
        if status != 0:
            raise BenchError(f"{' '.join(argv)}: exit code {os.waitstatus_to_exitcode(status)}")
        return elapsed

    def run(self, runtime: str, config: dict[str, Any]) -> dict[str, float]:
        id, bundle = self.bundle(config, ["/bin/true"])
        elapsed = self.timed(self.argv(runtime, "run", "-b", bundle, id))
        shutil.rmtree(bundle)
        return {"run": elapsed}

    def life(self, runtime: str, config: dict[str, Any], pause: float) -> dict[str, float]:
        """One container through its life: every command but run, timed one by one."""
        id, bundle = self.bundle(config, ["/bin/sleep", "1000"])
        pid_file = f"{bundle}/pid"
        times = {}

        def step(verb: str, *words: str) -> None:
            time.sleep(pause)
            times[verb] = self.timed(self.argv(runtime, *words))

        step("create", "create", "-b", bundle, "--pid-file", pid_file, id)
        pid = int(Path(pid_file).read_text())
        try:
            step("start", "start", id)
            step("state", "state", id)
            step("exec", "exec", id, "/bin/true")
            step("kill", "kill", id, "KILL")
        except BenchError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise
        os.waitpid(pid, 0)
        step("delete", "delete", id)
        shutil.rmtree(bundle)
        return times

    def burst(self, runtime: str, config: dict[str, Any], number: int) -> float:
        """Milliseconds until `number` runs that were started at once have all ended."""
        bundles = [self.bundle(config, ["/bin/true"]) for _ in range(number)]
        before = time.perf_counter()
        pids = {self.spawn(self.argv(runtime, "run", "-b", bundle, id)) for id, bundle in bundles}
        failures = 0
        while pids:
            pid, status = os.waitpid(-1, 0)
            if pid in pids:
                pids.remove(pid)
                failures += status != 0
        elapsed = (time.perf_counter() - before) * 1000
        for _, bundle in bundles:
            shutil.rmtree(bundle)
        if failures:
            raise BenchError(f"{runtime}: {failures} of {number} concurrent runs failed")
        return elapsed

    def private_memory(self, runtime: str, config: dict[str, Any]) -> int:
        """KiB of private memory of the process that waits for `start`."""
        id, bundle = self.bundle(config, ["/bin/true"])
        pid_file = f"{bundle}/pid"
        self.timed(self.argv(runtime, "create", "-b", bundle, "--pid-file", pid_file, id))
        pid = int(Path(pid_file).read_text())
        time.sleep(0.05)
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        self.timed(self.argv(runtime, "delete", "--force", id))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        shutil.rmtree(bundle)
        return total

    def starts_within(self, runtime: str, config: dict[str, Any], limit: int, number: int) -> int:
        """How many of `number` runs succeed below a memory limit of `limit` bytes."""
        limited = json.loads(json.dumps(config))
        limited["linux"].setdefault("resources", {})["memory"] = {"limit": limit}
        good = 0
        for _ in range(number):
            id, bundle = self.bundle(limited, ["/bin/true"])
            result = subprocess.run(self.argv(runtime, "run", "-b", bundle, id), capture_output=True, check=False)
            good += result.returncode == 0
            subprocess.run(self.argv(runtime, "delete", "--force", id), capture_output=True, check=False)
            shutil.rmtree(bundle)
        return good


def hide_hybrid_hierarchy() -> None:
    """crun refuses to work where cgroup2 at /sys/fs/cgroup/unified has controllers of its own: so that all runtimes
    can be compared, this process leaves that mount behind, in a mount namespace of its own."""
    unified = Path("/sys/fs/cgroup/unified")
    controllers = unified / "cgroup.controllers"
    if controllers.exists() and controllers.read_text().strip():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            raise BenchError(f"unshare the mount namespace: {os.strerror(ctypes.get_errno())}")
        if libc.umount2(str(unified).encode(), MNT_DETACH):
            raise BenchError(f"umount {unified}: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def bench(programs: dict[str, str]) -> Iterator[Bench]:
    """A Bench whose directory, containers and cgroups are gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="ocirun-bench-"))
    made = Bench(directory, programs)
    try:
        yield made
    finally:
        for runtime in programs:
            root = directory / f"root-{runtime}"
            for state in root.iterdir() if root.exists() else ():
                command = made.argv(runtime, "delete", "--force", state.name)
                subprocess.run(command, capture_output=True, check=False)
        shutil.rmtree(directory, ignore_errors=True)
        for hierarchy in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]:
            with contextlib.suppress(OSError):
                (hierarchy / CGROUP.strip("/")).rmdir()


def measure_verbs(made: Bench, profiles: list[str], pauses: list[float], rounds: int, verbs: set[str]) -> Samples:
    """Interleaved rounds of all verbs."""
    samples: Samples = defaultdict(list)
    configs = {profile: base_config(profile) for profile in profiles}
    for pause in pauses:
        for round in range(-1, rounds):  # the first one warms caches (seccomp filters, files) and is not counted
            for profile in profiles:
                for runtime in random.sample(list(made.programs), len(made.programs)):
                    times = {}
                    if "run" in verbs:
                        time.sleep(pause)
                        times.update(made.run(runtime, configs[profile]))
                    if verbs - {"run"}:
                        times.update(made.life(runtime, configs[profile], pause))
                    if round >= 0:
                        for verb, value in times.items():
                            samples[profile, pause, verb, runtime].append(value)
    return samples


def measure_floor(made: Bench, rounds: int) -> list[float]:
    """The interpreter alone: what any command written in Python pays."""
    interpreter = os.path.realpath(sys.executable)
    return [made.timed([interpreter, "-I", "-S", "-c", "import os; os._exit(0)"]) for _ in range(rounds)]


def report(results: dict[str, Any], names: list[str]) -> str:
    """The table of medians and ratios."""
    lines = []
    others = [name for name in names if name != "ocirun"]
    for (profile, pause), verbs in results.get("verbs", {}).items():
        lines.append("")
        lines.append(f"profile {profile}, {'no pauses' if pause == 0 else f'pauses of {pause:g} s'} (ms, medians)")
        head = f"{'verb':10}" + "".join(f"{name:>10}" for name in names)
        lines.append(head + "".join(f"{'/ ' + name:>10}" for name in others))
        for verb, medians in verbs.items():
            line = f"{verb:10}" + "".join(f"{medians[name]:10.2f}" for name in names)
            if "ocirun" in medians:
                line += "".join(f"{medians['ocirun'] / medians[name]:10.2f}" for name in others)
            lines.append(line)
    if "floor" in results:
        lines += ["", f"floor: python3 -I -S -c 'import os; os._exit(0)': {results['floor']:.2f} ms"]
    for key, unit in (("burst", "ms, 50 runs at once"), ("memory", "KiB private memory of a created PID 1")):
        if key in results:
            values = results[key]
            line = ", ".join(f"{name} {values[name]:.0f}" for name in names if name in values)
            if "ocirun" in values:
                line += "".join(f", / {name} {values['ocirun'] / values[name]:.2f}" for name in others)
            lines += ["", f"{unit}: {line}"]
    for limit, values in results.get("limits", {}).items():
        line = ", ".join(f"{name} {value}/{MEMORY_LIMIT_STARTS}" for name, value in values.items())
        lines += ["", f"starts within {limit // 1024} KiB: {line}"]
    return "\n".join(lines)


def misses(results: dict[str, Any]) -> list[str]:
    """The targets that were not met, in words."""
    failed = []
    for (profile, pause), verbs in results.get("verbs", {}).items():
        where = f"profile {profile}, pause {pause:g}"
        for verb, medians in verbs.items():
            if verb in RATIO_TARGETS and {"ocirun", "runc"} <= medians.keys():
                ratio = medians["ocirun"] / medians["runc"]
                if ratio > RATIO_TARGETS[verb]:
                    failed.append(f"{verb} ({where}): {ratio:.2f} of runc's time, at most {RATIO_TARGETS[verb]:.2f}")
            if verb in FLOOR_TARGETS and "floor" in results and "ocirun" in medians:
                above = medians["ocirun"] - results["floor"]
                if above > FLOOR_TARGETS[verb]:
                    target = f"at most {FLOOR_TARGETS[verb]:.2f}"
                    failed.append(f"{verb} ({where}): {above:.2f} ms above the interpreter, {target}")
    burst = results.get("burst", {})
    if {"ocirun", "runc"} <= burst.keys() and burst["ocirun"] / burst["runc"] > RATIO_TARGETS["burst"]:
        ratio = burst["ocirun"] / burst["runc"]
        failed.append(f"burst: {ratio:.2f} of runc's time, at most {RATIO_TARGETS['burst']:.2f}")
    memory = results.get("memory", {}).get("ocirun", 0)
    if memory > PRIVATE_MEMORY_TARGET:
        failed.append(f"memory: {memory} KiB private, at most {PRIVATE_MEMORY_TARGET}")
    for limit, values in results.get("limits", {}).items():
        if values.get("ocirun", MEMORY_LIMIT_STARTS) < MEMORY_LIMIT_STARTS:
            failed.append(f"limit of {limit // 1024} KiB: {values['ocirun']} of {MEMORY_LIMIT_STARTS} start")
    return failed


def measure(
    programs: dict[str, str],
    *,
    rounds: int,
    profiles: list[str],
    pauses: list[float],
    sections: set[str],
    verbs: set[str],
) -> dict[str, Any]:
    """All sections asked for; see report() and misses() for what the results hold."""
    results: dict[str, Any] = {}
    if "crun" in programs:
        hide_hybrid_hierarchy()
    with bench(programs) as made:
        floor: list[float] = measure_floor(made, rounds) if "floor" in sections else []
        if "verbs" in sections:
            samples = measure_verbs(made, profiles, pauses, rounds, verbs)
            table: dict[tuple[str, float], dict[str, dict[str, float]]] = {}
            for profile in profiles:
                for pause in pauses:
                    table[profile, pause] = {
                        verb: {name: statistics.median(samples[profile, pause, verb, name]) for name in programs}
                        for verb in VERBS
                        if verb in verbs
                    }
            results["verbs"] = table
        config = base_config("spec")
        if "burst" in sections:
            bursts = defaultdict(list)
            for _ in range(3):
                for name in random.sample(list(programs), len(programs)):
                    bursts[name].append(made.burst(name, config, 50))
            results["burst"] = {name: statistics.median(values) for name, values in bursts.items()}
        if "memory" in sections:
            results["memory"] = {name: made.private_memory(name, config) for name in programs}
        if "limits" in sections:
            unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
            limits = [512 * 1024] if unified else [512 * 1024, 256 * 1024]
            results["limits"] = {
                limit: {name: made.starts_within(name, config, limit, MEMORY_LIMIT_STARTS) for name in programs}
                for limit in limits
            }
        if "floor" in sections:
            results["floor"] = statistics.median(floor + measure_floor(made, rounds))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runtime", default="ocirun,runc,crun")
    parser.add_argument("--profile", default="spec,docker")
    parser.add_argument("--pause", default="0,0.1", help="seconds before each command")
    parser.add_argument("--section", default=",".join(SECTIONS))
    parser.add_argument("--verb", default=",".join(VERBS))
    parser.add_argument("--check", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    programs = runtimes(options.runtime.split(","))
    results = measure(
        programs,
        rounds=options.rounds,
        profiles=options.profile.split(","),
        pauses=[float(pause) for pause in options.pause.split(",")],
        sections=set(options.section.split(",")),
        verbs=set(options.verb.split(",")),
    )
    if options.json:
        print(json.dumps({str(key): {str(k): v for k, v in value.items()} if isinstance(value, dict) else value
                          for key, value in results.items()}, indent=2))
    else:
        print(report(results, list(programs)))
    failed = misses(results)
    for miss in failed:
        print(f"missed: {miss}")
    return 1 if failed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
