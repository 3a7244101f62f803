"""`ocirun spec`: write a config.json to start from."""

from __future__ import annotations

import posix

from ..errors import Error, reason_of
from ..host.files import write_all
from ..spec.default import default, rootless
from .version import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Write config.json into the bundle, or the current directory.

    :raises Error: there is one already, or it cannot be written
    """
    bundle = call.flags["bundle"]
    path = f"{bundle}/config.json" if bundle else "config.json"
    # What only cgroup v2 has at this place: in a hybrid setting it is a tmpfs with the hierarchies below.
    unified = posix.access("/sys/fs/cgroup/cgroup.controllers", posix.F_OK)
    if call.flags["rootless"]:
        text = rootless(SPEC_VERSION, "ocirun", unified, posix.geteuid(), posix.getegid())
    else:
        text = default(SPEC_VERSION, "ocirun", unified)
    if bundle:
        _enter(bundle)
    try:
        fd = posix.open("config.json", posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Error("File config.json exists. Remove it first") from None
    except OSError as error:
        raise Error(f"open {path}: {reason_of(error.errno or 0)}") from None
    try:
        write_all(fd, text.encode())
    except OSError as error:
        posix.unlink("config.json")  # half of it would only be in the way
        raise Error(f"write {path}: {reason_of(error.errno or 0)}") from None
    finally:
        posix.close(fd)
    return 0


def _enter(bundle: str) -> None:
    try:
        posix.chdir(bundle)
    except OSError as error:
        raise Error(f"chdir {bundle}: {reason_of(error.errno or 0)}") from None
