"""Labels, by what the kernel of any machine has below /proc/self and in a file system's attributes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsdriver import Driven, Failed, bind, build_driver, enter, mount
from initdriver import Driver

from ocirun.plan import ops
from ocirun.plan.ops import Operation


def label(file: str, value: str, other: str = "") -> Operation:
    return ops.label("init", "", file=file, other=other, value=value)


def test_written_to_a_file_of_its_own(report: Callable[..., Any]) -> None:
    assert report(label("oom_score_adj", "77"))["oom_score_adj"] == "77\n"


def test_the_other_where_that_is_missing(report: Callable[..., Any]) -> None:
    assert report(label("attr/nobody/exec", "78", other="oom_score_adj"))["oom_score_adj"] == "78\n"


def test_no_such_module(init: Driver) -> None:
    outcome = init.run(label("attr/nobody/exec", "exec x"))
    assert outcome.text == "this kernel does not have the security module"


def test_the_modules_refusal(init: Driver) -> None:
    """Without a module the kernel takes nothing there; with one, no label that nobody has defined."""
    assert init.run(label("attr/exec", "exec ocirun-no-such-profile")).failure is not None


@pytest.mark.parametrize("without", ["", "fsopen", "fsopen,openat2"])
def test_not_to_what_is_mounted_over_it(scratch: Path, without: str) -> None:
    """CVE-2019-16884, CVE-2025-52881: something else is on /proc/self/oom_score_adj; where there is no private procfs,
    it is an error, and never written to."""
    rootfs = scratch / "rootfs"
    (rootfs / "proc").mkdir(parents=True)
    fake = scratch / "fake"
    fake.write_text("untouched")
    proc = mount("proc", "/proc")
    plan = [*enter(rootfs), proc, bind(fake, "/proc/self/oom_score_adj"), ops.chroot("init", "")]
    try:
        with Driven([*plan, label("oom_score_adj", "55")], without=without):
            pass
    except Failed as failed:
        assert failed.errno == errno.EXDEV or without
    assert fake.read_text() == "untouched"


def test_a_directory(scratch: Path) -> None:
    rootfs = scratch / "rootfs"
    (rootfs / "queues").mkdir(parents=True)
    (rootfs / "link").symlink_to("/queues")
    text = "system_u:object_r:container_file_t:s0"
    queue = ops.file_label("init", "", target="/link", label=text)
    with Driven([*enter(rootfs), queue]):
        pass
    assert os.getxattr(rootfs / "queues", "security.selinux") == text.encode() + b"\0"
    os.removexattr(rootfs / "queues", "security.selinux")


def test_only_inside_the_root(scratch: Path) -> None:
    rootfs = scratch / "rootfs"
    rootfs.mkdir()
    (rootfs / "link").symlink_to(str(scratch))
    queue = ops.file_label("init", "", target="/link", label="a")
    with pytest.raises(Failed), Driven([*enter(rootfs), queue]):
        pass
    assert "security.selinux" not in os.listxattr(scratch)


def test_a_fake_is_written_to_where_proc_is_believed(scratch: Path) -> None:
    """The same without the verified procfs: the attack is real."""
    rootfs = scratch / "rootfs"
    (rootfs / "proc").mkdir(parents=True)
    fake = scratch / "fake"
    fake.write_text("untouched")
    plan = [*enter(rootfs), mount("proc", "/proc"), bind(fake, "/proc/self/oom_score_adj"), ops.chroot("init", "")]
    with Driven([*plan, label("oom_score_adj", "55")], driver=build_driver(["naive_procfs.c"])):
        pass
    assert fake.read_text().startswith("55")
