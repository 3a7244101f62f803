"""The library beside crun's command line, in one process: `python tests/bench/library.py [ROUNDS]`.

Medians of interleaved rounds, in milliseconds, on a machine that has nothing else to do.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bench

import ocirun
from ocirun import Limits, Rootfs, Runtime, Spec

TARGETS = {  # at most
    "life / crun": 0.35,
    "life in a large program / life": 1.2,
    "run above a life": 3.0,  # ms
    "fifty / crun": 0.3,
    "import": 5.0,  # ms
}
HEAP = 500  # MiB


def milliseconds(act: Callable[[], object]) -> float:
    before = time.perf_counter()
    act()
    return (time.perf_counter() - before) * 1000


def life(runtime: Runtime, spec: Spec) -> float:
    """create + start + wait + delete."""

    def act() -> None:
        container = runtime.create("bench", spec)
        container.start()
        container.wait()
        container.delete()

    return milliseconds(act)


def life_of_crun(made: bench.Bench, config: dict[str, Any]) -> float:
    """The same by three commands, and a wait that takes no time of theirs."""
    id, bundle = made.bundle(config, ["/bin/true"])
    pid_file = f"{bundle}/pid"

    def begin() -> None:
        made.timed(made.argv("crun", "create", "-b", bundle, "--pid-file", pid_file, id))

    total = milliseconds(begin)
    pidfd = os.pidfd_open(int(Path(pid_file).read_text()))
    total += milliseconds(lambda: made.timed(made.argv("crun", "start", id)))
    select.select([pidfd], [], [])
    os.close(pidfd)
    total += milliseconds(lambda: made.timed(made.argv("crun", "delete", id)))
    shutil.rmtree(bundle)
    return total


def large_program(root: str, config: dict[str, Any], rounds: int) -> list[float]:
    """Lives in a program with a heap of HEAP and ten threads: this file, in a process of its own."""
    import json

    words = [sys.executable, __file__, "--large", root, json.dumps(config), str(rounds)]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def be_large(root: str, config: dict[str, Any], rounds: int) -> None:
    heap = [bytes([number % 251]) * 4000 for number in range(HEAP << 8)]
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    runtime, spec = Runtime(root), Spec(config)
    for _ in range(3):
        life(runtime, spec)
    print(*[life(runtime, spec) for _ in range(rounds)])
    stop.set()
    assert heap


def fifty(root: str, rootfs: Rootfs) -> float:
    def one(_: int) -> None:
        ocirun.run(["/bin/true"], rootfs=rootfs, root=root, check=True)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        return milliseconds(lambda: list(pool.map(one, range(50))))


def time_of_import() -> float:
    """From what the interpreter itself says, in microseconds."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import ocirun"], check=True, capture_output=True, text=True
    ).stderr
    return int(said.splitlines()[-1].split("|")[1]) / 1000


@contextlib.contextmanager
def directory() -> Iterator[str]:
    """In memory, as /run is."""
    path = tempfile.mkdtemp(prefix="ocirun-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def measure(rounds: int) -> dict[str, float]:
    programs = bench.runtimes(["ocirun", "crun"])
    bench.hide_hybrid_hierarchy()
    found: dict[str, list[float]] = {name: [] for name in ("life", "crun", "run", "fifty", "fifty crun", "import")}
    with bench.bench(programs) as made, directory() as root:
        config = bench.base_config("spec")
        _, path = made.bundle(config, ["/bin/true"])
        spec = Spec.read(path)
        rootfs = Rootfs.directory(str(spec.get("/root/path")))
        runtime = Runtime(root)
        for round in range(-2, rounds):
            times = {
                "life": life(runtime, spec),
                "run": milliseconds(lambda: ocirun.run(["/bin/echo", "x"], root=root, limits=Limits(pids=99))),
            }
            if "crun" in programs:
                times["crun"] = life_of_crun(made, config)
            if round >= 0:
                for name, value in times.items():
                    found[name].append(value)
        for _ in range(3):
            found["fifty"].append(fifty(root, rootfs))
            if "crun" in programs:
                found["fifty crun"].append(made.burst("crun", config, 50))
            found["import"].append(time_of_import())
        found["large"] = large_program(root, spec.to_dict(), rounds)
        found["life"] += [life(runtime, spec) for _ in range(rounds)]
    return {name: statistics.median(values) for name, values in found.items() if values}


def ratios(medians: dict[str, float]) -> dict[str, float]:
    """What TARGETS are about."""
    values = {
        "life in a large program / life": medians["large"] / medians["life"],
        "run above a life": medians["run"] - medians["life"],
        "import": medians["import"],
    }
    if "crun" in medians:
        values["life / crun"] = medians["life"] / medians["crun"]
        values["fifty / crun"] = medians["fifty"] / medians["fifty crun"]
    return values


def main() -> None:
    if sys.argv[1:2] == ["--large"]:
        import json

        be_large(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
        return
    medians = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    for name, value in medians.items():
        print(f"{name:12}{value:9.2f} ms")
    for name, value in ratios(medians).items():
        print(f"{name:32}{value:8.2f}  at most {TARGETS[name]:g}")


if __name__ == "__main__":
    main()
