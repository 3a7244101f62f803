"""One of mounts, with its options sorted out: between mount_options.py, which reads them, and mounts.py."""

from __future__ import annotations

from .ops import NO_SLOT
from .tables import (
    ATTR_NOATIME,
    ATTR_STRICTATIME,
    ATTRIBUTES,
    MS_NOATIME,
    MS_RDONLY,
    MS_STRICTATIME,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.namespaces import IdMapping


class Wish:
    """One of mounts, with its options sorted out."""

    __slots__ = (
        "attr_clear",
        "copy_up",
        "data",
        "fetch",
        "flags",
        "fstype",
        "idmap",
        "inside",
        "mappings",
        "pointer",
        "propagations",
        "rec_clear",
        "rec_set",
        "slot",
        "source",
        "space",
        "target",
    )

    def __init__(self, pointer: str, fstype: str, source: str, target: str) -> None:
        self.pointer = pointer
        self.fstype = fstype  # "bind" for all bind mounts
        self.source = source
        self.target = target
        self.flags = 0  # MS_*
        # MOUNT_ATTR_* that an option clears. What no option is about stays as the source of a bind mount has it:
        # "ro" does not bring back the set-user-ID programs of a nosuid source, as a remount by mount(2) would.
        self.attr_clear = 0
        self.rec_set = 0
        self.rec_clear = 0
        self.propagations: list[int] = []  # MS_*, one after the other
        self.data: list[str] = []
        self.copy_up = False
        self.idmap = ""  # or "idmap", "ridmap"
        self.mappings: tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]] | None = None
        self.slot = NO_SLOT  # of a source that was opened before
        self.space = NO_SLOT  # of the user namespace for idmap
        self.inside = ""  # the container's path of a source that an earlier mount makes or covers: taken only then
        self.fetch: int | None = None  # first of a group of sources that was put away: whether that is the last group

    @property
    def propagation(self) -> int:
        """The first of propagations, or 0."""
        return self.propagations[0] if self.propagations else 0

    @property
    def attr_set(self) -> int:
        """MOUNT_ATTR_* for the flags."""
        found = 0
        for flag, attribute in ATTRIBUTES.items():
            if self.flags & flag:
                found |= attribute
        if self.flags & MS_STRICTATIME:
            return found | ATTR_STRICTATIME
        return found | ATTR_NOATIME if self.flags & MS_NOATIME else found

    @property
    def late_readonly(self) -> bool:
        """Read-only only when everything is in it: other mounts and devices need their places made there."""
        filled = self.fstype == "tmpfs" or (self.target == "/dev" and self.fstype != "bind")
        return filled and bool(self.flags & MS_RDONLY)

    @property
    def first_flags(self) -> int:
        """The flags until then."""
        return self.flags & ~MS_RDONLY if self.late_readonly else self.flags
