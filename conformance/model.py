"""What the suite is about: requirements, the cases that test them, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .engine import Trial

Level = Literal["MUST", "SHOULD"]
"""MUST covers MUST NOT, REQUIRED, SHALL and SHALL NOT; SHOULD covers SHOULD NOT, RECOMMENDED and NOT RECOMMENDED."""

Verdict = Literal["pass", "fail", "warning", "skip", "impossible"]
"""pass; fail: a MUST is broken; warning: a SHOULD is not met; skip: not applicable to this runtime; impossible: not
on this host."""

VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "warning", "skip", "impossible")


@dataclass(frozen=True)
class Requirement:
    """One demand of the specification on a runtime.

    ``code`` is stable: lower case, dots and hyphens. ``section`` is the file of the specification and the anchor in
    it, as ``runtime.md#create``. ``text`` is the suite's own wording. ``sentence`` is the beginning (12 hex digits) of
    the SHA-256 of the normalized sentence it comes from. ``untestable`` is the reason why no case can test it, or
    empty.
    """

    code: str
    level: Level
    keyword: str
    section: str
    text: str
    sentence: str
    untestable: str = ""

    @property
    def observable(self) -> bool:
        """Whether a command line can observe it."""
        return not self.untestable


@dataclass(frozen=True)
class Case:
    """One experiment on a runtime, and the codes of the requirements it decides.

    ``needs`` names what the host must have (see :mod:`conformance.host`); a case that lacks one is "impossible" there,
    with the reason. A ``serial`` case runs alone. ``seconds`` is its time limit where the suite's own is too short,
    else 0. ``selected`` are the codes that a selection left, of which alone outcomes are wanted; () for all.
    """

    name: str
    codes: tuple[str, ...]
    run: Callable[[Trial], None]
    doc: str
    needs: tuple[str, ...] = ()
    serial: bool = False
    seconds: float = 0.0
    selected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one case found about one requirement.

    ``expected`` and ``found`` are sentences' halves for a reader; ``reason`` is set for "skip" and "impossible";
    ``commands`` are the command lines that show it again; ``bundle`` is the kept bundle, or empty; ``seconds`` is what
    the whole case took.
    """

    case: str
    code: str
    level: Level
    verdict: Verdict
    expected: str = ""
    found: str = ""
    reason: str = ""
    commands: tuple[str, ...] = ()
    bundle: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class RuntimeReport:
    """All outcomes of one runtime, and where they were found. ``date`` is ISO 8601 in UTC; ``user`` is the name it
    ran as."""

    name: str
    path: str
    version: str
    kernel: str
    cgroup: Literal["v1", "hybrid", "v2"]
    user: str
    date: str
    outcomes: tuple[Outcome, ...]
