"""tests/run once more where cgroup2 alone is at /sys/fs/cgroup, as on most hosts; each is reported here as its own.

In a mount namespace of its own, natively and at full speed. As long as the host's v1 hierarchies have the controllers,
this one has none: what needs them is for the virtual machine. OCIRUN_TEST_V2_SELECT chooses other tests.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from relay import REPOSITORY, Relay

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root"),
    pytest.mark.skipif(
        Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="the host has cgroup v2 alone: tests/run was on it"
    ),
]

ALONE = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\""

# What runs every test with a fault, and races, are the same on both versions.
SELECTION = [
    "tests/run",
    "-m",
    "not controllers and not bench",
    *(
        f"--ignore=tests/run/{name}.py"
        for name in ("test_every_operation", "test_every_property", "test_security", "test_mount_attacks")
    ),
]


def test_native(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """The tests run to their end."""
    selection = shlex.split(os.environ.get("OCIRUN_TEST_V2_SELECT", "")) or SELECTION
    ours, theirs = os.pipe()
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ALONE, "v2", sys.executable]
    command += ["-m", "pytest", "-p", "reporter", "-p", "no:cacheprovider", "-q", "--no-header", "--tb=short"]
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY / "tests" / "drivers"),
        "OCIRUN_TEST_REPORT": f"/proc/self/fd/{theirs}",
    }
    with capsys.disabled():
        print()
        relay = Relay(request.node, "v2", print, str(REPOSITORY))
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [*command, *selection], env=environment, cwd=REPOSITORY, pass_fds=[theirs], stdout=output, stderr=output
            )
            os.close(theirs)
            with os.fdopen(ours) as events:
                for line in events:
                    relay.handle(json.loads(line))
            process.wait()
            output.seek(0)
            said = output.read().decode(errors="replace")
    if not relay.finished or relay.waiting:
        left = "\n".join(list(relay.waiting)[:20])
        pytest.fail(f"not to their end; the last was {relay.running}; left:\n{left}\n{said[-4000:]}", pytrace=False)
