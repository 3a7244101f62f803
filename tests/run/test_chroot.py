"""A runtime that was itself started in a chroot (`chroot /host ocirun …`, as installers of Kubernetes nodes do)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import Runtime, Workshop


@pytest.mark.differs("leaves the host's root as the root of the mount namespace: CVE class of 2019-5736, via chroot(2)")
def test_the_root_of_the_mount_namespace_is_the_containers(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Whoever joins the namespace, or climbs out of the root with CAP_SYS_CHROOT, is still in the container."""
    jail = scratch / "jail"
    jail.mkdir()
    script = 'mount --rbind / "$0" && exec chroot "$0" "$@"'
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(jail)]
    made = bundle("pause")
    pid = runtime.started(made, prefix=prefix)
    inode = str((made.rootfs / "probe").stat().st_ino)
    join = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "/probe", "report", "path=/probe"]
    joined = subprocess.run(join, capture_output=True, text=True, check=False)
    assert f'"ino":{inode}' in joined.stdout, joined.stderr or joined.stdout
    assert str(jail) not in joined.stdout
    assert runtime.exec(made, made.id, "/probe", "getcwd").ok().out.strip() == "/"
    runtime.end(made, pid)
    jail.rmdir()


@pytest.mark.ocirun
def test_a_chroot_that_is_no_mount(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """mount(2) cannot change the propagation of what is no mount: said in words, not only EINVAL."""
    script = (
        'cd / && for name in */; do mkdir -p "$0/$name" && mount --rbind "$name" "$0/$name" || exit 9; done;'
        'exec chroot "$0" "$@"'
    )
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(scratch / "jail")]
    runtime.run(bundle("true"), prefix=prefix).failed("/ is no mount point")
