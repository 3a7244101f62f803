"""What is taken, as runc takes it, but hardly meant: for the log of create, run and exec, and for `validate`.

Loaded when rules/check.is_doubtful() says that there may be something.
"""

from __future__ import annotations

from ..errors import Problem
from .rules.check import KNOWN, version
from .tables import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import model


def warnings(spec: model.Spec) -> list[Problem]:
    """Each with what is done about it."""
    return [
        Problem(pointer=pointer, expected=expected, found=found)
        for part in (_version(spec), _process(spec.process, "/process"), _mounts(spec), _linux(spec.linux))
        for pointer, expected, found in part
    ]


def of_process(process: model.Process) -> list[Problem]:
    """The same for a process alone, as `exec --process` takes it."""
    return [Problem(pointer=p, expected=expected, found=found) for p, expected, found in _process(process, "")]


def _version(spec: model.Spec) -> Iterator[tuple[str, str, str]]:
    if version(spec.oci_version) > KNOWN:
        known = ".".join(map(str, KNOWN))
        yield "/ociVersion", f"ignoring what is newer than version {known} of the specification", spec.oci_version


def _process(process: model.Process, at: str) -> Iterator[tuple[str, str, str]]:
    """config.md, "Linux Process": "Any value which cannot be mapped to a relevant kernel interface, or cannot be
    granted otherwise, MUST be logged as a warning"."""
    capabilities = process.capabilities
    if capabilities is None:
        return
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        for index, capability in enumerate(getattr(capabilities, name)):
            pointer = f"{at}/capabilities/{name}/{index}"
            if capability not in CAPABILITIES:
                yield pointer, "ignoring an unknown capability", capability
    granted = {*capabilities.permitted} & {*capabilities.inheritable}
    ambient = [one for one in capabilities.ambient if one in CAPABILITIES and one not in granted]
    if ambient:  # all at once: `runc spec` has written some until 1.1
        text = "can't raise ambient capability that is not permitted and inheritable"
        yield f"{at}/capabilities/ambient", text, ", ".join(ambient)


def _mounts(spec: model.Spec) -> Iterator[tuple[str, str, str]]:
    for index, mount in enumerate(spec.mounts):
        if mount.destination[:1] != "/":
            yield f"/mounts/{index}/destination", "taking a relative path from /", mount.destination


def _linux(linux: model.Linux) -> Iterator[tuple[str, str, str]]:
    memory = linux.resources.memory if linux.resources else None
    if memory is not None and memory.kernel is not None:
        yield "/linux/resources/memory/kernel", "ignoring a limit on kernel memory", str(memory.kernel)
    if linux.personality is not None:
        for index, flag in enumerate(linux.personality.flags):
            yield f"/linux/personality/flags/{index}", "ignoring a flag: there are none", flag
    joined = linux.joins("user")
    for key, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if joined and mappings:
            yield f"/linux/{key}", "expected none beside the path of a user namespace, which has its own", "both"
    numbers: dict[tuple[str, int | None, int | None], int] = {}
    for index, device in enumerate(linux.devices):
        if device.type != "p":
            first = numbers.setdefault((device.type.replace("u", "c"), device.major, device.minor), index)
            if first != index:
                yield f"/linux/devices/{index}", "making the same device twice", f"that of /linux/devices/{first}"
