"""What systemd is told of a container: its limits and device rules as unit properties (systemd.resource-control(5),
org.freedesktop.systemd1(5)). Pure.

systemd writes the files of a unit that it knows whenever something of the unit changes, and it knows what its
properties say. So each write of resources.py that has a property goes to systemd as well, and every file is the same
before and after; the others systemd leaves alone.
"""

from __future__ import annotations

from ..errors import ConfigError, Problem
from ..spec.pointer import child
from . import variant
from .devices import ANY, net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.parent import Property
    from ..spec.model import DeviceRule
    from .resources import Setting

UNLIMITED = (1 << 64) - 1
_SECOND = 1_000_000  # microseconds
_PREFIX = "org.systemd.property."
_MEMORY = {
    "memory.max": ("MemoryMax", 0),
    "memory.high": ("MemoryHigh", 0),
    "memory.low": ("MemoryLow", 0),
    "memory.min": ("MemoryMin", 0),
    "memory.swap.max": ("MemorySwapMax", 0),
    "memory.zswap.max": ("MemoryZSwapMax", 253),
    "memory.limit_in_bytes": ("MemoryLimit", 0),
    "pids.max": ("TasksMax", 0),
}
_WEIGHTS = {"cpu.weight": "CPUWeight", "cpu.shares": "CPUShares", "blkio.weight": "BlockIOWeight"}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_SUFFIXES = "kmgtpe"


def of_unit(description: str, slice: str, version2: bool) -> list[Property]:
    """What every container's scope has: all controllers, delegated, and the dependencies that make it outlive nothing
    and nobody wait for it."""
    io = "IOAccounting" if version2 else "BlockIOAccounting"
    properties: list[Property] = [
        ("Description", "s", description, 0),
        ("Slice", "s", slice, 0),
        ("Delegate", "b", True, 0),
    ]
    properties += [(name, "b", True, 0) for name in ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting")]
    properties.append(("DefaultDependencies", "b", False, 0))
    return properties


def of_annotations(annotations: dict[str, str]) -> list[Property]:
    """Those of "org.systemd.property.NAME", values in GVariant's text format. A NAME in "Sec", as unit files have
    them, becomes the D-Bus property in "USec", and the value microseconds.

    :raises ConfigError: a name or a value is wrong
    """
    properties: list[Property] = []
    problems = []
    for key, text in annotations.items():
        if not key.startswith(_PREFIX):
            continue
        try:
            properties.append(_annotated(key[len(_PREFIX) :], text))
        except ValueError as error:
            pointer = child("/annotations", key)
            problems.append(Problem(pointer=pointer, expected=str(error), found=text[:60]))
    if problems:
        raise ConfigError("config.json", tuple(problems))
    return properties


def _annotated(name: str, text: str) -> Property:
    if len(name) < 3 or not (name.isascii() and name.isalpha()):
        raise ValueError("expected the name of a property of systemd: at least three letters")
    try:
        signature, value = variant.parse(text)
    except ValueError as error:
        raise ValueError(f"expected a value in GVariant's text format ({error})") from None
    if name[-3:] == "Sec" and name[-4:-3].islower():
        if signature != "d" and signature not in variant.INTEGERS:
            raise ValueError("expected a number of seconds")
        name = f"{name[:-3]}USec"
        try:
            signature, value = "t", int(value * _SECOND)
        except OverflowError:  # of infinity
            value = -1
        if not 0 <= value <= UNLIMITED:
            raise ValueError("expected a number of seconds that microseconds can have")
    return name, signature, value, 0


def of_settings(settings: Sequence[Setting], bfq: bool, starting: bool) -> list[Property]:
    """The properties for writes of resources.py, those of linux.resources.unified among them; of several for one the
    last counts, as it does for files. A value that cannot be is left to the kernel, which has an error for it.

    :param bfq: the host has the scheduler whose weights are in io.bfq.weight, which systemd computes from IOWeight
    :param starting: for a new unit
    """
    found: dict[str, Property] = {}
    weight: int | None = None
    for _, file, value, _ in settings:
        text = value.strip()
        try:
            if file in _MEMORY:
                name, since = _MEMORY[file]
                found[name] = (name, "t", size(text), since)
            elif file in _WEIGHTS:
                name = _WEIGHTS[file]
                found[name] = (name, "t", _positive(text), 0)
                if name == "CPUWeight":
                    weight = _positive(text)
            elif file == "cpu.idle":
                _idle(found, text, weight)
            elif file == "cpu.max":
                quota, _, period = text.partition(" ")
                _bandwidth(found, quota, int(period or 100_000))
            elif file in _SETS:
                name = _SETS[file]
                found[name] = (name, "ay", mask(text), 0)
            elif file == ("io.bfq.weight" if bfq else "io.weight"):
                number = _positive(text.removeprefix("default "))
                # systemd maps 1 to 10000 to BFQ's 1 to 1000, with 100 in the middle of both.
                number = 100 + (number - 100) * 11 if bfq and number > 100 else number
                found["IOWeight"] = ("IOWeight", "t", number, 0)
            elif file == "memory.oom.group" and starting and text in ("0", "1"):
                found["OOMPolicy"] = ("OOMPolicy", "s", ("continue", "kill")[int(text)], 253)
        except ValueError:
            pass
    files = {file: value for _, file, value, _ in settings}
    if "cpu.cfs_quota_us" in files or "cpu.cfs_period_us" in files:
        quota = files.get("cpu.cfs_quota_us", "max")
        _bandwidth(found, "max" if quota.startswith("-") else quota, int(files.get("cpu.cfs_period_us", "100000")))
    return list(found.values())


def _idle(found: dict[str, Property], text: str, weight: int | None) -> None:
    """A weight of 0 is systemd's word for cpu.idle; any other ends that."""
    if text == "1":
        found["CPUWeight"] = ("CPUWeight", "t", 0, 252)
    elif text == "0":
        found["CPUWeight"] = ("CPUWeight", "t", UNLIMITED if weight is None else weight, 0)


def _bandwidth(found: dict[str, Property], quota: str, period: int) -> None:
    """systemd keeps microseconds in each second, of which unit files have hundreds (CPUQuota= in percent, with two
    digits): never less than what is asked for."""
    share = UNLIMITED
    if quota != "max":
        share = -(-_positive(quota) * _SECOND // period)
        share = -(-share // 100) * 100
    found["CPUQuotaPeriodUSec"] = ("CPUQuotaPeriodUSec", "t", period, 0)
    found["CPUQuotaPerSecUSec"] = ("CPUQuotaPerSecUSec", "t", share, 0)


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError(text)
    return number


def size(text: str) -> int:
    """A number as cgroup files take it: "max", "-1", or with the kernel's suffixes of powers of 1024.

    :raises ValueError: it is none
    """
    if text in ("max", "-1"):
        return UNLIMITED
    shift = 0
    if text[-1:].lower() in _SUFFIXES and text:
        shift = 10 * (1 + _SUFFIXES.index(text[-1].lower()))
        text = text[:-1]
    number = int(text, 0) << shift
    if not 0 <= number <= UNLIMITED:
        raise ValueError(text)
    return number


def mask(text: str) -> bytes:
    """The numbers of a list such as "0-3,7" as bits, the lowest first (cpuset(7), "List format").

    :raises ValueError: it is none
    """
    bits = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low = int(first)
        high = int(last) if dash else low
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(text)
        bits |= (1 << high + 1) - (1 << low)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def of_devices(rules: Sequence[DeviceRule]) -> list[Property]:
    """The device rules. systemd's are what is allowed beside nothing; where that cannot say it, systemd is to leave
    devices alone, and the rules are ours only.

    :raises OperationError: a rule that cannot be
    """
    effect = net(rules)
    allowed = []
    for (kind, major, minor), (access, _) in effect.exceptions.items():
        word = "block" if kind == "b" else "char"
        if major == ANY and minor != ANY:
            effect.allow = True
        elif minor == ANY:
            allowed.append((f"{word}-{'*' if major == ANY else major}", access))
        else:
            allowed.append((f"/dev/{word}/{major}:{minor}", access))
    if effect.allow:
        return [("DevicePolicy", "s", "auto", 0), ("DeviceAllow", "a(ss)", [], 0)]
    # An empty list first: without it what is there already would stay.
    return [
        ("DevicePolicy", "s", "strict", 0),
        ("DeviceAllow", "a(ss)", [], 0),
        ("DeviceAllow", "a(ss)", allowed, 0),
    ]
