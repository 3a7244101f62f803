"""Hooks as tests configure them: shell scripts, in the host and in the container."""

from __future__ import annotations

import shutil
from typing import Any

from harness import Bundle

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OF_THE_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")  # in its namespaces; others: the container's


def hook(script: str, *args: str, env: list[str] | None = None, timeout: int | None = None) -> dict[str, Any]:
    """A hook that is a shell script."""
    one: dict[str, Any] = {"path": "/bin/sh", "args": ["sh", "-c", script, "hook", *args]}
    one["env"] = ["PATH=/usr/bin:/bin", *(env or [])]
    if timeout is not None:
        one["timeout"] = timeout
    return one


def shell(made: Bundle) -> None:
    """Give the container a busybox, for its startContainer hooks: they are executed inside."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, made.rootfs / "bin" / "busybox")
    for name in ("sh", "cat", "readlink", "sleep", "echo", "env", "true", "ls", "mkdir"):
        (made.rootfs / "bin" / name).symlink_to("busybox")


def writable(made: Bundle, kind: str) -> str:
    """A file that a hook of this kind can write: startContainer hooks have only the container's root."""
    return "/seen" if kind == "startContainer" else str(made.rootfs / "seen")


def everywhere(made: Bundle, script: str) -> None:
    """The same script as a hook of every kind; @ is the file to write to, % the kind."""
    made.config["hooks"] = {
        kind: [hook(script.replace("@", writable(made, kind)).replace("%", kind))] for kind in KINDS
    }
