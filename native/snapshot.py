"""Makes the executable that starts from a snapshot (native/launcher/dump.c), and proves that it may be used.

The proof: two dumps, of two processes that have nothing in common but the program, its modules and the secret of hashes,
are equal. An address of libc or of the stack, a pid, a time, the environment would differ, so the dump holds none.
"""

from __future__ import annotations

import bisect
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

NATIVE = Path(__file__).parent


class Unsound(Exception):
    """There can be no snapshot, and why."""


def make(dumper: Path, package: Path, output: Path) -> None:
    """Write the executable.

    :param dumper: native/launcher/dump.c, built
    :param package: the directory `ocirun`, with everything that an installation's has
    :raises Unsound: the snapshot failed one of its checks; nothing was written
    """
    with tempfile.TemporaryDirectory() as directory:
        linked = Path(directory, "linked")
        link = [sys.executable, "-X", "no_debug_ranges", str(NATIVE / "link.py"), str(package), str(linked)]
        subprocess.run(link, check=True)
        snapshot = dump(dumper, linked, Path(directory))
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(snapshot, output)


def dump(dumper: Path, linked: Path, directory: Path) -> Path:
    """Two dumps into `directory`; the path of one.

    :raises Unsound: one failed, or they differ
    """
    secret = os.urandom(24)
    one, other = directory / "one", directory / "other"
    places = _dump(dumper, linked, one, secret, {"LANG": "C"}), _dump(dumper, linked, other, secret, os.environ, True)
    if any(mine == its for mine, its in zip(*places, strict=True)):
        raise Unsound("addresses are not random here (kernel.randomize_va_space, setarch -R), so dumps prove nothing")
    differences = compare(one.read_bytes(), other.read_bytes())
    if differences:
        symbols = Symbols(dumper)
        names = sorted({symbols.name(address) for address in differences})
        raise Unsound(f"{len(differences)} words differ between two dumps, in {', '.join(names[:20])}")
    return one


def _dump(
    dumper: Path, linked: Path, output: Path, secret: bytes, environ: dict[str, str] | os._Environ[str], other: bool = False
) -> list[bytes]:
    """One dump. Returns where the process had libc, its stack and its heap.

    :param other: in another directory, by another name, and as a process that was started otherwise
    """
    command = [str(dumper.absolute()), str(linked.absolute()), str(output.absolute())]

    def prepare() -> None:
        if other:
            os.umask(0o777)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    result = subprocess.run(
        ["ocirun" if other else command[0], *command[1:]],
        executable=command[0],
        input=secret,
        capture_output=True,
        env=environ,
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
    offset, address, size = writable_segment(one)
    if len(one) != len(other) or one[:offset] != other[:offset]:
        return [address]
    return [
        address + at
        for at in range(0, size, 8)
        if one[offset + at : offset + at + 8] != other[offset + at : offset + at + 8]
    ]


def writable_segment(file: bytes) -> tuple[int, int, int]:
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
