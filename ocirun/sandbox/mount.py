"""What of the host, or of memory, a program sees beside its root."""

from __future__ import annotations

import posix

from ..errors import UsageError
from ..plan.path import clean
from ..process.size import in_bytes
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any


class Mount(Record):
    """One of ``mounts``: made by ``bind`` or ``tmpfs``."""

    entry: dict[str, Any]  # as one of mounts in config.json

    @classmethod
    def bind(
        cls, source: str | PathLike[str], target: str | None = None, *, read_only: bool = True, exec: bool = True
    ) -> Mount:
        """A file or directory of the host, with all that is mounted below it.

        :param target: where the program sees it; None: at the same path
        :param read_only: nothing in it can be changed; set-user-ID programs and devices never work
        :param exec: programs in it can be executed
        :raises UsageError: the target is no absolute path
        """
        source = clean(_absolute(posix.fspath(source)))
        options = ["rbind", "rnosuid", "rnodev"]
        options += ["rro"] if read_only else []
        options += [] if exec else ["rnoexec"]
        return cls(
            entry={"destination": _target(target or source), "type": "bind", "source": source, "options": options}
        )

    @classmethod
    def tmpfs(cls, target: str, *, size: int | str = "64M", mode: int = 0o1777) -> Mount:
        """An empty directory in memory, which counts as the program's and goes with it.

        :param size: bytes or "64M"
        :raises UsageError: the target is no absolute path, or the size none
        """
        options = ["nosuid", "nodev", f"mode={mode:o}", f"size={in_bytes(size, 'size')}"]
        return cls(entry={"destination": _target(target), "type": "tmpfs", "source": "tmpfs", "options": options})


def _absolute(path: str) -> str:
    return path if path[:1] == "/" else f"{posix.getcwd()}/{path}"


def _target(path: str) -> str:
    if path[:1] != "/" or clean(path) == "/":
        raise UsageError(f"expected an absolute path other than / as target, found {path!r}")
    return clean(path)
