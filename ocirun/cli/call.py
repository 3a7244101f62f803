"""A command line that has been parsed."""

from __future__ import annotations

from .table import GLOBAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Call:
    """One parsed command line.

    ``options`` has the global flags by name, ``flags`` the command's, both with every default filled in; ``given``
    has the names that really were on the command line. ``command`` is "" when there was none.
    """

    __slots__ = ("arguments", "command", "flags", "given", "log", "options", "program", "root")

    def __init__(self, program: str) -> None:
        self.program = program
        self.command = ""
        self.arguments: list[str] = []
        self.options: dict[str, Any] = {flag[0]: flag[3] for flag in GLOBAL}
        self.flags: dict[str, Any] = {}
        self.given: set[str] = set()
        self.log = 2  # the descriptor of the log, another one with --log
        self.root = ""  # the absolute directory that --root says, filled in by main
