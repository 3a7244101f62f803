"""How a rule says that it is broken."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # (pointer, what would be right, what is there, other pointers that the rule looked at)
    Breach = tuple[str, str, str, tuple[str, ...]]

NAMESPACES = "/linux/namespaces"
"""The pointer of what many rules look at."""
