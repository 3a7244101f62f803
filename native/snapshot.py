"""Makes the executable that starts from a snapshot (native/launcher/dump.c), and proves that it may be used.

The proof: two dumps, of two processes that have nothing in common but the program, its modules and the secret of
hashes, are equal. An address of libc or of the stack, a pid, a time would differ, so the dump holds none.
"""

from __future__ import annotations

import bisect
import importlib.util
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NATIVE = Path(__file__).parent
WORD = 8


class Unsound(Exception):
    """There can be no snapshot, and why."""


def make(dumper: Path, wide: Path, package: Path, output: Path) -> None:
    """Write the executable.

    :param dumper: native/launcher/dump.c, built
    :param wide: the same, with a heap that has room for a page for each block
    :param package: the directory `ocirun`, with everything that an installation's has
    :raises Unsound: the snapshot failed one of its checks; nothing was written
    """
    with tempfile.TemporaryDirectory(prefix="ocirun-snapshot-") as name:
        directory = Path(name)
        linked = directory / "linked"
        link = [sys.executable, "-X", "no_debug_ranges", str(NATIVE / "link.py"), str(package), str(linked)]
        subprocess.run(link, check=True)
        secret = os.urandom(24)
        symbols = Symbols(dumper)
        prefix = Prefix(directory / "prefix", package)
        watch = build_watch(directory)
        # Which blocks do commands write to? The first dump has them all, the second each on a page of its own, which
        # tells, and the third those together that were written to.
        placed = directory / "placed"
        shutil.move(dump(dumper, linked, directory, secret), prefix.program)
        blocks = blocks_of(prefix.program.read_bytes(), symbols.address("heap"))
        begin = Symbols(wide).address("heap")
        prefix.program.unlink()
        spread = spread_out(blocks, begin)
        placed.write_bytes(placement(spread))
        _dump(wide, linked, prefix.program, secret, placed)
        hot = written_to(spread, begin, prefix.train(watch))
        placed.write_bytes(placement(together(hot, symbols.address("heap"))))
        prefix.program.unlink()
        shutil.move(dump(dumper, linked, directory, secret, placed), prefix.program)
        runs = prefix.train(watch)
        table = symbols.address("prefault_ranges")
        content = bytearray(prefix.program.read_bytes())
        offset, address, _ = writable_segment(content)
        ranges = prefault_ranges(runs)
        content[offset + table - address : offset + table - address + len(ranges)] = ranges
        prefix.program.unlink()
        prefix.program.write_bytes(content)
        prefix.program.chmod(0o755)
        prefix.check()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)
        shutil.copy(prefix.program, output)


def dump(dumper: Path, linked: Path, directory: Path, secret: bytes, placed: Path | None = None) -> Path:
    """Two dumps into `directory`; the path of one.

    :raises Unsound: one failed, or they differ
    """
    one, other = directory / "one", directory / "other"
    other.unlink(missing_ok=True)
    places = _dump(dumper, linked, one, secret, placed), _dump(dumper, linked, other, secret, placed, other=True)
    if any(mine == its for mine, its in zip(*places, strict=True)):
        raise Unsound("addresses are not random here (kernel.randomize_va_space, setarch -R), so dumps prove nothing")
    differences = compare(one.read_bytes(), other.read_bytes())
    if differences:
        symbols = Symbols(dumper)
        names = sorted({symbols.name(address) for address in differences})
        raise Unsound(f"{len(differences)} words differ between two dumps, in {', '.join(names[:20])}")
    return one


def _dump(
    dumper: Path, linked: Path, output: Path, secret: bytes, placed: Path | None, *, other: bool = False
) -> list[bytes]:
    """One dump. Returns where the process had libc, its stack and its heap.

    :param other: by another name, in another directory, with another environment, and with signals ignored
    """
    words = [str(path.absolute()) for path in (linked, output, placed) if path is not None]

    def prepare() -> None:
        if other:
            os.umask(0o777)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    result = subprocess.run(
        ["ocirun" if other else str(dumper), *words],
        executable=dumper.absolute(),
        input=secret,
        capture_output=True,
        env={"LANG": "de_DE.UTF-8", "HOME": "/" * 1000} if other else {},
        cwd="/" if other else output.parent,
        preexec_fn=prepare,
        check=False,
    )
    if result.returncode:
        raise Unsound(f"the dump failed: {result.stderr.decode(errors='replace').strip() or result.returncode}")
    output.chmod(0o755)
    return result.stdout.split()


def compare(one: bytes, other: bytes) -> list[int]:
    """The addresses of the words that differ."""
    if one == other:
        return []
    offset, begin, size = writable_segment(one)
    if len(one) != len(other) or one[:offset] != other[:offset]:
        return [begin]
    return [
        begin + at
        for at in range(-begin % WORD, size, WORD)
        if one[offset + at : offset + at + WORD] != other[offset + at : offset + at + WORD]
    ]


def writable_segment(file: bytes | bytearray) -> tuple[int, int, int]:
    """Offset, address and size in the file of the segment that a program writes to (elf(5))."""
    table, entries = struct.unpack_from("<Q", file, 32)[0], struct.unpack_from("<H", file, 56)[0]
    for entry in range(entries):
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", file, table + 56 * entry)
        if kind == 1 and flags & 2:
            return offset, address, size
    raise Unsound("no writable segment in the dump")


class Symbols:
    """What is where in a program."""

    def __init__(self, program: Path) -> None:
        listed = subprocess.run(["nm", "-n", str(program)], capture_output=True, text=True, check=True).stdout
        words = [line.split() for line in listed.splitlines()]
        self._symbols = [(int(line[0], 16), line[2]) for line in words if len(line) == 3]

    def name(self, address: int) -> str:
        """SYMBOL+OFFSET"""
        index = bisect.bisect_right(self._symbols, (address, "\x7f")) - 1
        begin, name = self._symbols[index] if index >= 0 else (0, "")
        return f"{name}+{address - begin:#x}"

    def address(self, name: str) -> int:
        """Of a symbol that is there once."""
        return next(address for address, other in self._symbols if other == name)


# Training: what commands write to.

VERBS = ("create", "delete", "exec", "kill", "list", "ps", "run", "start", "state")  # launcher/install.c
RANGES = 32  # launcher/prefault.c
LEAST = 3
PAGE = 4096
HEADER = 8  # launcher/heap.c

Run = frozenset[int]
"""The addresses of the pages that one command wrote to, launcher/watch.c."""

Block = tuple[int, int]
"""The number and the size of a block, launcher/heap.c."""


def build_watch(directory: Path) -> Path:
    """launcher/watch.c as a library."""
    library = directory / "watch.so"
    command = ["gcc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-o", str(library), str(NATIVE / "launcher" / "watch.c")]
    subprocess.run(command, check=True)
    return library


class Prefix:
    """An installation to try a snapshot in."""

    def __init__(self, path: Path, package: Path) -> None:
        site = path / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        (path / "bin").mkdir(parents=True)
        site.mkdir(parents=True)
        (site / "ocirun").symlink_to(package.absolute())
        backend = importlib.util.find_spec("_cffi_backend")
        if backend is not None and backend.origin is not None:
            (site / Path(backend.origin).name).symlink_to(backend.origin)
        self.path = path
        self.program = path / "bin" / "ocirun"

    def check(self) -> None:
        """:raises Unsound: the program does not work"""
        for words in (["--version"], ["features"], ["--root", str(self.path / "root"), "list"]):
            result = self._call(words, {})
            if result.returncode or not result.stdout:
                why = result.stderr.decode(errors="replace").strip() or result.returncode
                raise Unsound(f"`ocirun {words[-1]}` from the snapshot: {why}")

    def _call(
        self, words: list[str], environ: dict[str, str], quiet: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the program.

        :raises Unsound: it does not end
        """
        out = subprocess.DEVNULL if quiet else subprocess.PIPE  # a waiting container would keep a pipe open
        process = subprocess.Popen(
            [str(self.program), *words], env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            answers = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Unsound(f"`ocirun {' '.join(words)}` from the snapshot does not end") from None
        return subprocess.CompletedProcess(words, process.returncode, *answers)

    def train(self, watch: Path) -> dict[str, list[Run]]:
        """The life of a few containers, in a directory of their own; the runs of each verb, "" for all others.

        :raises Unsound: a command does not end

        Whatever may not be done here (a build need not be root's) fails, and is less of a training. The container's
        program is the init, which ends at once since nobody has spoken to it.
        """
        runs: dict[str, list[Run]] = {verb: [] for verb in (*VERBS, "")}
        report, bundle, root = self.path / "report", self.path / "bundle", self.path / "root"
        if not bundle.exists():
            (bundle / "rootfs").mkdir(parents=True)
            shutil.copy(next(self.path.glob("lib/*/site-packages/ocirun/ocirun-init")), bundle / "rootfs" / "init")
            flags = ["--rootless"] if os.geteuid() else []
            self._call(["spec", *flags, "--bundle", str(bundle)], {})
            config = json.loads((bundle / "config.json").read_bytes())
            config["process"] |= {"args": ["/init"], "terminal": False}
            (bundle / "config.json").write_text(json.dumps(config))

        def run(verb: str, *words: str) -> None:
            report.unlink(missing_ok=True)
            self._call(
                ["--root", str(root), verb, *words],
                {"PATH": os.defpath, "LD_PRELOAD": str(watch), "OCIRUN_WATCH": str(report)},
                quiet=True,
            )
            if report.exists():
                pages = frozenset(int(address, 16) for address in report.read_text().split())
                runs[verb if verb in VERBS else ""].append(pages)

        for number in range(3):
            one, other = (f"{self.path.parent.name}-{name}-{number}" for name in "ab")
            try:
                run("run", "--bundle", str(bundle), one)
                for id in (one, other):
                    run("create", "--bundle", str(bundle), id)
                    run("state", id)
                run("ps", one)
                run("list")
                run("exec", one, "/init")
                run("start", one)
                run("kill", other, "KILL")
                run("pause", one)
            finally:
                time.sleep(0.05)
                for id in (one, other):
                    run("delete", id)
                    self._call(["--root", str(root), "delete", "--force", id], {})
        return runs


def blocks_of(file: bytes, heap: int) -> list[Block]:
    """All blocks of a dump that has them one after the other.

    :param heap: the address of the heap
    """
    offset, address, size = writable_segment(file)
    blocks = []
    at = heap + HEADER
    while at + HEADER < address + size:
        length, number = struct.unpack_from("<II", file, offset + at - address)
        if length == 0:
            break
        blocks.append((number, length))
        at += length
    return blocks


def spread_out(blocks: list[Block], heap: int) -> list[tuple[Block, int]]:
    """Each block with a place for it: of its header from the beginning of the heap, on pages of its own."""
    placed = []
    at = -heap % PAGE + HEADER
    for block in blocks:
        placed.append((block, at))
        at += -(-(block[1] + HEADER) // PAGE) * PAGE
    return placed


def written_to(spread: list[tuple[Block, int]], heap: int, runs: dict[str, list[Run]]) -> list[Block]:
    """The blocks that commands write to: first those that the most do, and those together that the same do."""
    verbs: dict[int, int] = {}
    for bit, each in enumerate(runs.values()):
        for run in each:
            for page in run:
                verbs[page] = verbs.get(page, 0) | 1 << bit
    hot = []
    for (number, length), at in spread:
        used = 0
        for page in range((heap + at) // PAGE * PAGE, heap + at + length, PAGE):
            used |= verbs.get(page, 0)
        if used:
            hot.append((-used.bit_count(), used, number, length))
    return [(number, length) for _, _, number, length in sorted(hot)]


def together(blocks: list[Block], heap: int) -> list[tuple[Block, int]]:
    """As spread_out(), one behind the other."""
    placed = []
    at = -heap % PAGE + HEADER
    for block in blocks:
        placed.append((block, at))
        at += block[1]
    return placed


def placement(placed: list[tuple[Block, int]]) -> bytes:
    """What launcher/heap.c reads."""
    places = sorted((number, at, length) for (number, length), at in placed)
    places.append((0xFFFFFFFF, max((at + length for _, at, length in places), default=HEADER), 0))
    return b"".join(struct.pack("<III", *place) for place in places)


def prefault_ranges(runs: dict[str, list[Run]]) -> bytes:
    """The table of launcher/prefault.c: ranges of pages that each run of a verb has written to.

    For fewer than LEAST pages the call costs what it saves.
    """
    table = bytearray()
    for each in runs.values():
        ranges: list[list[int]] = []
        for page in sorted(address // PAGE for address in frozenset.intersection(*each)) if each else ():
            if ranges and sum(ranges[-1]) == page:
                ranges[-1][1] += 1
            else:
                ranges.append([page, 1])
        worthy = [range for range in ranges if range[1] >= LEAST][:RANGES]
        for page, count in worthy + [[0, 0]] * (RANGES - len(worthy)):
            table += struct.pack("<II", page, count)
    return bytes(table)
