"""The tests that a Debian with systemd and cgroup v2 runs, in a virtual machine; each is reported here as its own.

`pytest -m vm` boots the machine once. OCIRUN_TEST_VM_SELECT chooses other tests for it (arguments of pytest), and
OCIRUN_TEST_VM_RUNTIME another runtime in it, such as /usr/sbin/runc.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from image import image, say
from machine import INSIDE, Machine, second_disk
from relay import Relay

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(2700),
    pytest.mark.skipif(os.geteuid() != 0, reason="the image is made by root"),
]

# Seconds from power on to power off.
LIMIT = int(os.environ.get("OCIRUN_TEST_VM_LIMIT", "1800"))

# What depends on cgroup v2, on systemd, on the kernel, on all capabilities or on the version of Python, in half
# of the time where nothing else runs: an emulated processor is ten to twenty times slower than a real one.
SELECTION = [
    "tests/engines/test_containerd.py",
    "tests/engines/test_debian.py",
    "tests/cgroup/test_driver.py",
    "tests/cgroup/test_devices.py",
    "tests/run/test_cgroup.py",
    "tests/run/test_memory.py",
    "tests/run/test_process.py",
    "tests/run/test_namespaces.py",
    "tests/run/test_notify.py::test_systemd_itself",
    "tests/run/test_systemd.py",
    "tests/engines/test_systemd.py",
    "tests/run/test_netdevices.py::test_moved_with_its_addresses",
    "tests/run/test_netdevices.py::test_kinds",
    "tests/run/test_netdevices.py::test_a_physical_device_comes_home",
    "tests/run/test_exec.py",
    "tests/run/test_lifecycle.py",
    "tests/run/test_labels.py",
    "tests/run/test_pause.py",
    "tests/run/test_seccomp.py",
    "tests/run/test_update.py",
    "tests/run/test_events.py",
    "tests/run/test_idmap.py::test_with_the_mapping_of_the_container",
    "tests/run/test_idmap.py::test_together_with_other_options",
    "tests/run/test_idmap.py::test_on_file_systems",
    "tests/run/test_idmap.py::test_rootless",
    "tests/run/test_devices.py::test_in_a_user_namespace",
    "tests/run/test_devices.py::test_the_same_rootfs_again",
    "tests/run/test_block_devices.py::test_in_a_user_namespace",
    "tests/run/test_cgroup_mounts.py::test_own_part_alone",
    "tests/run/test_cgroup_mounts.py::test_read_only",
    "tests/run/test_cgroup_mounts.py::test_written_to",
    "tests/run/test_terminal.py",
    "tests/run/test_users.py",
    "tests/run/test_limits.py",
    "tests/run/test_tuning.py::test_real_time",
    "tests/run/test_tuning.py::test_real_time_in_a_user_namespace",
    "tests/run/test_tuning.py::test_deadline",
    "tests/run/test_tuning.py::test_exec",
    "tests/run/test_delegation.py",
    "tests/run/test_surroundings.py::test_no_cgroups",
    "tests/run/test_surroundings.py::test_readonly_cgroups",
    "tests/run/test_surroundings.py::test_limits_for_an_ordinary_user_without_a_cgroup",
    "tests/run/test_surroundings.py::test_no_room_for_a_process",
    "tests/run/test_nested.py::test_root_in_a_privileged_container",
    "tests/run/test_nested.py::test_an_ordinary_user_in_a_privileged_container",
]

# Loops and crowds, which take ten seconds each there and show nothing that they do not show outside.
SLOW = [
    "tests/engines/test_containerd.py::test_many_at_once",
    "tests/cgroup/test_driver.py::test_more_processes_than_fit_a_page",
    "tests/cgroup/test_devices.py::test_program_as_the_kernel_would",
    "tests/run/test_lifecycle.py::test_two_runtimes_race_for_one_id",
    "tests/run/test_lifecycle.py::test_start_and_delete_race",
    "tests/run/test_lifecycle.py::test_what_is_allowed",
]


def test_machine(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine boots, runs all that is selected, and is off again in time."""
    selection = shlex.split(os.environ.get("OCIRUN_TEST_VM_SELECT", ""))
    selection = selection or [*SELECTION, *(f"--deselect={test}" for test in SLOW)]
    guest = Relay(request.node, "vm", say, str(INSIDE / "source"))
    with capsys.disabled():
        print()
        built = image()
        with second_disk(built, os.environ.get("OCIRUN_TEST_VM_RUNTIME"), selection) as tar:
            say("booting")
            deadline = time.monotonic() + LIMIT
            machine = Machine(built, tar)
            try:
                while (event := machine.event(deadline)) is not None:
                    guest.handle(event)
                machine.stop(patience=15)
                problem = None if guest.finished else "it went off before the tests were over"
            except TimeoutError:
                problem = f"not over after {LIMIT} s"
            finally:
                machine.stop()
            console = machine.tail(60)
    if problem is None and guest.waiting:
        problem = "some tests were never reported"
    if problem is not None:
        left = "\n".join(f"    {nodeid}" for nodeid in list(guest.waiting)[:20])
        pytest.fail(
            f"{problem}; the last to begin was {guest.running}; {len(guest.waiting)} without a result:\n{left}\n"
            f"the end of the console:\n{console}",
            pytrace=False,
        )
