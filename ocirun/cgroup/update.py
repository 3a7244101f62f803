"""Other limits for a container that exists: all of them, or (where one is refused) those that it had."""

from __future__ import annotations

from ..errors import OperationError
from ..host.files import read_file, set_file
from ..plan import parent
from ..record import replace
from ..spec.limits import Cpu, Memory
from . import driver, resources
from .paths import writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.cgroup import CgroupDir, Unit
    from ..plan.ops import Operation
    from ..spec.model import Resources
    from .resources import Setting

_EBUSY = 16
_LIMIT = "/linux/resources/memory/limit"


def update(wanted: Resources, directories: Sequence[CgroupDir], unit: Unit | None = None) -> None:
    """Set the limits that ``wanted`` has; the others, and the device rules, stay.

    :param directories: the container's cgroup
    :param unit: the scope of systemd that it is, which is told too
    :raises OperationError: one cannot be set; the container has those that it had
    :raises HostError: systemd refuses, or is not there
    """
    version1 = any(directory.controllers for directory in directories)
    if not version1 and directories:
        wanted = completed(wanted, directories[0].path)
        _check(wanted.memory, directories[0].path)
    settings = resources.v1(wanted) if version1 else resources.v2(wanted)
    operations = writes(settings, directories)
    paths = dict.fromkeys(_path(operation) for operation in operations)
    before = [(path, value) for path in paths if (value := _line(path))]
    _tell(unit, settings)
    try:
        driver.perform(directories, operations)
    except OperationError as error:
        _tell(unit, [("", path.rpartition("/")[2], value, parent.REQUIRED) for path, value in before])
        for path, value in reversed(before):
            try:
                set_file(path, value.encode())
            except OSError:  # the caller is about to report what came first
                pass
        raise _in_numbers(error, operations) from None


def _tell(unit: Unit | None, settings: Sequence[Setting]) -> None:
    """systemd's properties first: it writes the same files, as far as it knows of them."""
    if unit is not None:
        from . import properties, systemd

        systemd.tell(unit, properties.of_settings(settings, systemd.has_bfq(), starting=False))


def completed(wanted: Resources, path: str) -> Resources:
    """On v2 two limits share a file, or depend on each other: the half that is not given is as it was.

    :param path: the cgroup
    """
    cpu, memory = wanted.cpu, wanted.memory
    if cpu is not None and bool(cpu.quota) != bool(cpu.period):
        wanted = replace(wanted, cpu=_with_bandwidth(cpu, _line(f"{path}/cpu.max")))
    if memory is not None and bool(memory.limit) != bool(memory.swap):
        limit, swap = _line(f"{path}/memory.max"), _line(f"{path}/memory.swap.max")
        wanted = replace(wanted, memory=_with_swap(memory, limit, swap))
    return wanted


def _with_bandwidth(cpu: Cpu, line: str) -> Cpu:
    quota, _, period = line.partition(" ")
    if cpu.quota:
        return replace(cpu, period=int(period)) if period.isdigit() else cpu
    return replace(cpu, quota=int(quota)) if quota.isdigit() else cpu


def _with_swap(memory: Memory, limit: str, swap: str) -> Memory:
    """memory.swap is memory and swap together, of which the kernel counts only the latter."""
    if memory.swap:
        return replace(memory, limit=int(limit)) if limit.isdigit() else replace(memory, limit=-1)
    if limit.isdigit() and swap.isdigit() and memory.limit and memory.limit > 0:
        return replace(memory, swap=int(limit) + int(swap))
    return memory


def _check(memory: Memory | None, path: str) -> None:
    """memory.checkBeforeUpdate: v1's kernel refuses a limit below the usage, v2's kills (cgroup-v2.rst, memory.max)."""
    if memory is None or not memory.check_before_update or not memory.limit or memory.limit < 0:
        return
    usage = _line(f"{path}/memory.current")
    if usage.isdigit() and memory.limit < int(usage):
        what, reason = f"set memory.max to {memory.limit}", f"rejecting memory limit {memory.limit} < usage {usage}"
        raise OperationError(what, _LIMIT, 0, reason)


def _in_numbers(error: OperationError, operations: Sequence[Operation]) -> OperationError:
    """A memory limit below what is used: how much that is (v1)."""
    path = next((_path(one) for one in operations if _path(one).endswith("/memory.limit_in_bytes")), "")
    if error.errno != _EBUSY or error.pointer != _LIMIT or not path:
        return error
    directory = path.rpartition("/")[0]
    usage, peak = _line(f"{directory}/memory.usage_in_bytes"), _line(f"{directory}/memory.max_usage_in_bytes")
    return OperationError(error.what, error.pointer, error.errno, f"current usage: {usage}, peak usage: {peak}")


def _path(operation: Operation) -> str:
    path: str = operation[3][0]
    return path


def _line(path: str) -> str:
    """The value of a file of one line, "" where there is none."""
    try:
        text = read_file(path).decode("ascii", "replace")
    except OSError:
        return ""
    return text.strip() if text.count("\n") == 1 else ""
