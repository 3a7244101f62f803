#!/usr/bin/env python3
"""A container through its whole life, on a bundle that is made of this machine's own /usr.

    .venv/bin/python docs/demo.py [DIRECTORY]

Every command is shown as it would be typed. With a DIRECTORY the bundle is made there and stays, to be played with.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

OCIRUN = Path(sys.prefix, "bin", "ocirun")
USR = ["bin", "lib", "lib32", "lib64", "sbin"]  # links to /usr/... on a merged-/usr system, directories elsewhere


def make_bundle(directory: Path) -> None:
    """A root file system of the host's /usr, read-only, between empty writable directories."""
    root = directory / "rootfs"
    for name in ("dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nguest:x:1000:\n")
    binds = ["usr"]
    for name in USR:
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(os.readlink(host))
        elif host.is_dir():
            binds.append(name)
    subprocess.run([OCIRUN, "spec", "--bundle", str(directory)], check=True)
    config = json.loads((directory / "config.json").read_text())
    config["hostname"] = "demo"
    config["root"]["readonly"] = False
    config["process"]["terminal"] = False
    config["process"]["args"] = ["sh", "-c", "echo I am process $$ of $(hostname); exec sleep 1000"]
    for name in binds:
        mount = {"destination": f"/{name}", "type": "none", "source": f"/{name}", "options": ["rbind", "rro"]}
        config["mounts"].append(mount)
    config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 32}}
    (directory / "config.json").write_text(json.dumps(config, indent=2))


def show(*words: str, check: bool = True) -> None:
    """Run one command of ocirun and show both it and what it says."""
    print(f"\n\033[1m# ocirun {shlex.join(words)}\033[0m", flush=True)
    result = subprocess.run([OCIRUN, *words], check=False)
    if check and result.returncode:
        raise SystemExit(f"ocirun {words[0]} failed with exit code {result.returncode}")


def life(bundle: Path) -> None:
    """create, state, start, exec, ps, kill, delete."""
    id = f"demo-{os.getpid()}"
    show("validate", "--bundle", str(bundle))
    try:
        show("create", "--bundle", str(bundle), id)
        show("state", id)
        show("start", id)
        show("exec", id, "sh", "-c", "id; cat /proc/self/cgroup | head -3; mount | head -5")
        show("ps", id)
        show("list")
        show("kill", id, "KILL")
    finally:
        show("delete", "--force", id)
    print("\nThe container is gone. What else there is to see:")
    print(f"  {OCIRUN} plan --bundle BUNDLE        what create would do, step by step")
    print(f"  {sys.executable} docs/demo.py DIRECTORY      the same, and the bundle stays in DIRECTORY")


def main() -> None:
    if len(sys.argv) > 1:
        directory = Path(sys.argv[1]).absolute()
        directory.mkdir(parents=True)
        make_bundle(directory)
        life(directory)
        return
    with tempfile.TemporaryDirectory(prefix="ocirun-demo-") as name:
        os.chmod(name, 0o755)
        make_bundle(Path(name))
        life(Path(name))


if __name__ == "__main__":
    main()
