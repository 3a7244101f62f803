"""The examples of docs/python.md do what they say, and are typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import harness
import pytest
from harness import REPOSITORY
from ordinary import AS_USER, USER

pytestmark = pytest.mark.ocirun

EXAMPLES = REPOSITORY / "docs" / "examples"
SAYS = {
    "untrusted": r"""works: exited, exit code 0, signal None: 42
fails: exited, exit code 1, signal None: ZeroDivisionError: division by zero
eats: memory, exit code None, signal 9:\s
forks: pids, exit code 1, signal None: BlockingIOError: .*
hangs: timeout, exit code None, signal 9:\s
pries: exited, exit code 1, signal None: FileNotFoundError: .*
""",
    "judge": r"""ann right
bob wrong
eve failed \(output\)
""",
    "service": r"""service: ready
beside it: to be shown
slow: timeout
connected: to and fro
status: running
left: \[\]
""",
    "fifty": r"40425\n",
    "shell": r"(?s).*40 120\n.*exit code 3\n",
    "build_spec": r"""(?s)wrong: /process/cwd: .*wrong: /linux/resources/pids/limit: expected an integer.*
operations: \d+ mounts
built
given
exit code: 0
""",
    "ordinary_user": r"""uid=0\(root\) gid=0\(root\) groups=.*
no limits: systemd-run .*
done without: memory
timeout in time
""",
}


def test_each_is_known() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SAYS.keys()
    for path in EXAMPLES.glob("*.py"):
        assert 10 <= len(path.read_text().splitlines()) <= 31, path


LIMITED = {"untrusted", "judge", "fifty", "build_spec"}  # by cgroups


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.controllers] if name in LIMITED else []) for name in SAYS]
)
def test_example(name: str, leftovers: harness.Leftovers, scratch: Path) -> None:
    rootfs = scratch / "rootfs"
    for directory in ("bin", "data"):
        (rootfs / directory).mkdir(parents=True)
    for program in ("sh", "cat", "sleep", "stty", "hostname"):
        (rootfs / "bin" / program).write_bytes(Path("/bin/busybox").read_bytes())
        (rootfs / "bin" / program).chmod(0o755)
    data = scratch / "data"
    data.mkdir()
    (data / "word").write_text("given\n")
    runtime = scratch / "runtime"
    runtime.mkdir()
    code = f"import ocirun.api, runpy, sys; ocirun.api.DEFAULT_ROOT = {str(runtime)!r}; runpy.run_path(sys.argv.pop(1))"
    prefix: list[str] = []
    if name == "ordinary_user":
        prefix = AS_USER
        os.chown(runtime, USER, USER)
    words = [*prefix, sys.executable, "-P", "-c", code, str(EXAMPLES / f"{name}.py")]
    environment = os.environ | {"PYTHONPATH": str(harness.PACKAGES), "XDG_RUNTIME_DIR": str(runtime)}
    result = subprocess.run(
        [*words, str(rootfs), str(data)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(SAYS[name], result.stdout), result.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_typed(path: Path) -> None:
    words = [sys.executable, "-m", "mypy", "--strict", str(path)]
    environment = os.environ | {"MYPYPATH": str(REPOSITORY)}
    result = subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
