"""`ocirun update`."""

from __future__ import annotations

import posix

from ..errors import Error, UsageError, reason_of
from ..lifecycle.update import update
from ..spec.read import read_bytes, read_resources
from . import warner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..spec.model import Resources
    from .call import Call

_NUMBERS = {
    "cpu-period": ("cpu", "period", False),
    "cpu-quota": ("cpu", "quota", True),
    "cpu-burst": ("cpu", "burst", False),
    "cpu-share": ("cpu", "shares", False),
    "cpu-rt-period": ("cpu", "realtimePeriod", False),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", True),
    "cpu-idle": ("cpu", "idle", True),
}  # flag: object, property, whether it may be negative
_SIZES = {
    "memory": ("memory", "limit"),
    "memory-swap": ("memory", "swap"),
    "memory-reservation": ("memory", "reservation"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
}
_UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def run(call: Call) -> int:
    """Change the limits of a container."""
    resources = _resources(call)
    if resources.memory and (resources.memory.kernel or resources.memory.kernel_tcp):
        warner(call)(Error("Kernel memory settings are ignored and will be removed"))
    update(call.root, call.arguments[0], resources)
    return 0


def _resources(call: Call) -> Resources:
    path = call.flags["resources"]
    for flag, what in (("l3-cache-schema", "CAT: l3 cache"), ("mem-bw-schema", "MBA: memory bandwidth")):
        if call.flags[flag] and not path:
            raise UsageError(f"Intel RDT/{what} schema is not enabled")
    if path == "-":
        return read_resources("standard input", _standard_input())
    if path:
        if not posix.access(path, posix.F_OK):
            raise Error(f"open {path}: no such file or directory")
        return read_resources(path, read_bytes(path, path))
    tree = _from_flags(call.flags)
    if "pids-limit" in call.given:
        tree["pids"] = {"limit": call.flags["pids-limit"]}
    return read_resources("command line", _as_json(tree).encode())


def _from_flags(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """linux.resources as the flags say.

    :raises UsageError: one is no number
    """
    tree: dict[str, dict[str, Any]] = {}
    for flag, (part, name, signed) in _NUMBERS.items():
        if flags[flag]:
            tree.setdefault(part, {})[name] = _integer(flag, flags[flag], signed)
    for flag, (part, name) in _SIZES.items():
        if flags[flag]:
            tree.setdefault(part, {})[name] = _size(flag, flags[flag])
    for flag, name in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if flags[flag]:
            tree.setdefault("cpu", {})[name] = flags[flag]
    if flags["blkio-weight"]:
        tree["blockIO"] = {"weight": flags["blkio-weight"]}
    return tree


def _as_json(tree: dict[str, dict[str, Any]]) -> str:
    from json import dumps

    return dumps(tree)


def _integer(flag: str, text: str, signed: bool) -> int:
    digits = text[1:] if signed and text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        parser = "ParseInt" if signed else "ParseUint"
        raise UsageError(f'invalid value for {flag}: strconv.{parser}: parsing "{text}": invalid syntax')
    return int(text)


def _size(flag: str, text: str) -> int:
    """Bytes of "512m", "1.5GiB", "100"; -1 is no limit. The units are powers of 1024 whatever they are called.

    :raises UsageError: it is none
    """
    if text == "-1":
        return -1
    number = text.rstrip("bBiIkKmMgGtTpP ")
    unit = text[len(number) :].strip().lower()
    if unit[1:] in ("", "b", "ib") and unit != "ib":
        whole, _, fraction = number.partition(".")
        if whole.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()) and unit[:1] in _UNITS:
            return int(float(number) * 1024 ** _UNITS[unit[:1]]) if fraction else int(whole) << 10 * _UNITS[unit[:1]]
    raise UsageError(f"invalid value for {flag}: invalid size: '{text}'")


def _standard_input() -> bytes:
    from ..spec.json import check_size

    parts: list[bytes] = []
    size = 0
    try:
        while data := posix.read(0, 65536):
            parts.append(data)
            size += len(data)
            check_size("standard input", size)
    except OSError as error:
        raise Error(f"read /dev/stdin: {reason_of(error.errno or 0)}") from None
    return b"".join(parts)
