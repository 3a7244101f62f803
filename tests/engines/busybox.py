"""An image without a registry: Debian's static busybox, as a directory, as a tar and as an OCI layout."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

NAME = "docker.io/library/busybox:test"

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:405:100:guest:/home/guest:/bin/sh\n",
    "etc/group": "root:x:0:\nusers:x:100:\nwheel:x:10:guest\n",
    "etc/hello": "no program\n",
}


def rootfs(directory: Path) -> Path:
    """Make `directory` a root file system with all of busybox's tools."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox-static is not installed"
    for name in ("bin", "etc", "proc", "sys", "dev", "root", "home/guest", "tmp"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "root").chmod(0o700)
    shutil.copy(busybox, directory / "bin/busybox")
    tools = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for tool in tools:
        if tool != "busybox":
            (directory / "bin" / tool).symlink_to("busybox")
    for name, text in FILES.items():
        (directory / name).write_text(text)
    return directory


def archive(directory: Path) -> bytes:
    """A tar of a root file system, owned by root whoever made it."""

    def own(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return member

    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        tar.add(directory, ".", filter=own)
    return output.getvalue()


def layout(directory: Path, layer: bytes) -> Path:
    """An OCI image layout with one layer, named NAME, as a tar in `directory`."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    blobs: dict[str, bytes] = {}

    def add(media: str, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{media}", "digest": f"sha256:{digest}", "size": len(data)}

    tar = add("layer.v1.tar", layer)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [tar["digest"]]},
    }
    described = add("config.v1+json", json.dumps(config).encode())
    manifest = add(
        "manifest.v1+json",
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": described,
                "layers": [tar],
            }
        ).encode(),
    )
    manifest["annotations"] = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "test"}
    manifest["platform"] = {"architecture": machine, "os": "linux"}
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode(),
        **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()},
    }
    path = directory / "busybox.oci.tar"
    with tarfile.open(path, "w") as output:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            output.addfile(member, io.BytesIO(data))
    return path
