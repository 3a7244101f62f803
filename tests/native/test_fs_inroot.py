"""The walk of inroot.c by hand finds what openat2(2) finds, in trees full of symlinks."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from pathlib import Path

import pytest
from fsdriver import build_program

NAMES = ("a", "b", "c", "d", ".", "..", "")


def grow(random: random.Random, directory: Path, depth: int) -> None:
    """Directories, files and symlinks in all directions."""
    for name in "abc":
        path = directory / name
        kind = random.random()
        if kind < 0.45 and depth:
            path.mkdir()
            grow(random, path, depth - 1)
        elif kind < 0.55:
            path.touch()
        else:
            path.symlink_to(random_path(random) or ".")


def random_path(random: random.Random) -> str:
    parts = [random.choice(NAMES) for _ in range(random.randint(1, 6))]
    return random.choice(("", "/", "../../")) + "/".join(parts)


def look_up(root: Path, lines: list[str], without: str) -> list[str]:
    command = [str(build_program(["inroot.c"], "inroot_lines.c")), str(root)]
    given = "".join(f"{line}\n" for line in lines)
    environment = {"OCIRUN_INIT_WITHOUT": without}
    result = subprocess.run(command, input=given, capture_output=True, text=True, check=True, env=environment)
    return result.stdout.splitlines()


@pytest.mark.parametrize("seed", range(12))
def test_the_walk_finds_what_the_kernel_finds(scratch: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = scratch / "root"
    root.mkdir()
    grow(chance, root, 3)
    for name in "abc":  # what a ".." too many would find
        (scratch / name).mkdir()
    # Without a slash at the end, which the walk does not tell from none.
    lines = [f"{chance.randint(0, 3)} {random_path(chance).rstrip('/')}" for _ in range(2000)]
    expected, found = look_up(root, lines, ""), look_up(root, lines, "openat2")
    different = [three for three in zip(lines, expected, found, strict=True) if three[1] != three[2]]
    assert different == []
    outside = {f"{st.st_dev} {st.st_ino}" for st in (os.stat(scratch), *map(os.stat, map(scratch.joinpath, "abc")))}
    assert not outside & set(found)
    assert {f"-{errno.ENOENT}", f"-{errno.ELOOP}", f"-{errno.ENOTDIR}"} & set(found)


@pytest.mark.parametrize("without", ["", "openat2"])
def test_limits(scratch: Path, without: str) -> None:
    root = scratch / "root"
    root.mkdir()
    for number in range(60):
        (root / f"link{number}").symlink_to(f"link{number + 1}")
    (root / "link60").touch()
    (root / "long").symlink_to("x/" * 2000)
    found = look_up(root, ["0 link0", "0 link30", "0 " + "x" * 256, "0 " + "/x" * 2047, "0 " + "x/" * 2100], without)
    assert found[0] == f"-{errno.ELOOP}"
    assert found[1] == f"{root.stat().st_dev} {(root / 'link60').stat().st_ino}"
    assert found[2:] == [f"-{errno.ENAMETOOLONG}", f"-{errno.ENOENT}", f"-{errno.ENAMETOOLONG}"]
