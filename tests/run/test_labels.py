"""AppArmor profiles and SELinux labels on real containers.

SELinux is tested by its plan alone (tests/plan/test_labels.py): no machine of ours has it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Runtime, Workshop

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
APPARMOR = ENABLED.exists() and ENABLED.read_text().startswith("Y")
PARSER = Path("/usr/sbin/apparmor_parser")
NAME = "ocirun-tests"
PROFILE = f"""
profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  mount,
  umount,
  signal,
  ptrace,
  deny /etc/passwd r,
}}
"""
needs_apparmor = pytest.mark.skipif(not (APPARMOR and PARSER.exists()), reason="no AppArmor here")


@pytest.fixture
def profile() -> Iterator[str]:
    subprocess.run([str(PARSER), "--replace"], input=PROFILE, text=True, check=True)
    yield NAME
    subprocess.run([str(PARSER), "--remove"], input=PROFILE, text=True, check=True)


@needs_apparmor
def test_a_profile(runtime: Runtime, bundle: Workshop, profile: str) -> None:
    made = bundle()
    made.process["apparmorProfile"] = profile
    assert runtime.run(made.args("cat", "/proc/self/attr/current")).ok().out.strip() == f"{profile} (enforce)"
    assert "Permission denied" in runtime.run(made.args("cat", "/etc/passwd")).err
    assert runtime.run(made.args("cat", "/etc/group")).ok().out


@needs_apparmor
def test_exec_has_the_profile_of_the_container_or_its_own(runtime: Runtime, bundle: Workshop, profile: str) -> None:
    made = bundle("pause")
    made.process["apparmorProfile"] = profile
    pid = runtime.started(made)
    words = ("/probe", "cat", "/proc/self/attr/current")
    assert runtime("exec", made.id, *words).ok().out.strip() == f"{profile} (enforce)"
    assert runtime("exec", "--apparmor", "unconfined", made.id, *words).ok().out.strip() == "unconfined"
    runtime.end(made, pid)


@needs_apparmor
def test_no_such_profile(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("true")
    made.process["apparmorProfile"] = "ocirun-nobody-has-this"
    assert runtime.run(made).code != 0


@pytest.mark.ocirun
@pytest.mark.skipif(APPARMOR, reason="AppArmor is here")
def test_without_apparmor(runtime: Runtime, bundle: Workshop) -> None:
    """What was to be confined does not start unconfined."""
    made = bundle("pause")
    made.process["apparmorProfile"] = "strict"
    runtime.create(made).failed("/process/apparmorProfile", "apparmor not supported")
    made.process["apparmorProfile"] = "unconfined"
    pid = runtime.started(made)
    runtime("exec", "--apparmor", "strict", made.id, "/probe", "true").failed("apparmor not supported", code=255)
    runtime.end(made, pid)


@pytest.mark.ocirun
@pytest.mark.skipif(Path("/sys/fs/selinux/enforce").exists(), reason="SELinux is here")
def test_without_selinux(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    made.linux["mountLabel"] = made.process["selinuxLabel"] = "system_u:object_r:container_file_t:s0"
    runtime.create(made).failed("/process/selinuxLabel", "/linux/mountLabel", "selinux is disabled or not supported")
    del made.linux["mountLabel"], made.process["selinuxLabel"]
    pid = runtime.started(made)
    result = runtime("exec", "--process-label", "a:b:c:s0", made.id, "/probe", "true")
    result.failed("selinux is disabled or not supported", code=255)
    runtime.end(made, pid)
