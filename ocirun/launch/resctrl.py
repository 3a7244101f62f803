"""The operations on the resctrl file system (the kernel's filesystems/resctrl.rst)."""

from __future__ import annotations

import posix

from ..errors import reason_of
from ..host.files import read_file, set_file
from ..plan.parent import EITHER, THERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def resctrl_group(_: int, path: str, existing: int, schemata: Sequence[str]) -> None:
    """Make a group with these schemata, or take one that is there.

    :raises OSError: the kernel's; or with words, that it is (not) there, or that it has other schemata
    """
    if existing == THERE:
        if not posix.access(f"{path}/tasks", posix.F_OK):
            raise OSError(0, f"no group {path} is there, and nothing to make it of is given")
        return
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        if existing != EITHER:
            raise
        _compare(path, schemata)
        return
    for line in schemata:
        try:
            set_file(f"{path}/schemata", f"{line}\n".encode())
        except OSError as error:
            words = f"{line}: {_last_status(path) or reason_of(error.errno or 0)}"
            if existing == EITHER:
                posix.rmdir(path)
            raise OSError(error.errno, words) from None


def resctrl_join(pid: int, path: str) -> None:
    """Put the process into a group.

    :raises OSError: the kernel's
    """
    set_file(f"{path}/tasks", str(pid).encode())


def _compare(path: str, wanted: Sequence[str]) -> None:
    """A group that was there before has to be as asked for.

    :raises OSError: it is not
    """
    there = _parsed(read_file(f"{path}/schemata").decode("ascii", "replace").splitlines())
    for resource, masks in _parsed(wanted).items():
        for domain, mask in masks.items():
            if there.get(resource, {}).get(domain) != mask:
                raise OSError(0, f"the group {path} is there, and its schemata are not {resource}:{domain}={mask:x}")


def _parsed(lines: Sequence[str]) -> dict[str, dict[str, int]]:
    """ "L3:0=7f0;1=1f" by resource and domain. Bit masks are hexadecimal; percentages, read so too, compare as well."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        resource, _, rest = line.partition(":")
        for part in rest.split(";"):
            domain, equals, value = part.strip().partition("=")
            try:
                found.setdefault(resource.strip(), {})[domain] = int(value, 16) if equals else -1
            except ValueError:
                found.setdefault(resource.strip(), {})[domain] = -1
    return found


def _last_status(path: str) -> str:
    """The kernel's own words on what it has refused last."""
    while path.count("/") > 1:
        try:
            return read_file(f"{path}/info/last_cmd_status").decode("ascii", "replace").strip()
        except OSError:
            path = path.rpartition("/")[0]
    return ""
