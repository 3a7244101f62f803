"""What a configuration must keep beyond types and ranges."""

from __future__ import annotations

from ..errors import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Process, Spec


def check(spec: Spec, known: list[Problem]) -> list[Problem]:
    """Every rule that is broken."""
    return []


def check_process(process: Process, known: list[Problem]) -> list[Problem]:
    """The rules of a process alone."""
    return []
