"""The cases: one file per subject. A case is a function that tries something and says what it found::

@case("runtime.create.unique-id")
def duplicate_id(trial: Trial) -> None:
    \"\"\"An id that is taken is refused.\"\"\"
    first = trial.create(trial.bundle())
    second = trial.attempt("create", "--bundle", str(first.bundle.path), first.id)
    trial.check("runtime.create.unique-id", not second.ok, expected="a failure", found=str(second))
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from ..engine import Trial
from ..model import Case

_CASES: dict[str, Case] = {}


def case(
    *codes: str, needs: tuple[str, ...] = (), serial: bool = False, seconds: float = 0.0, name: str = ""
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a function as a case.

    :param codes: the requirements that it decides
    :param needs: what the host must have, see host.py
    :param serial: it runs alone
    :param seconds: its time limit, where it needs longer than the others
    :param name: for functions made in a loop; else the function's name
    """

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        full = f"{function.__module__.rpartition('.')[2]}.{name or function.__name__}"
        doc = inspect.getdoc(function) or ""
        assert codes and doc and full not in _CASES, full
        _CASES[full] = Case(full, codes, function, " ".join(doc.split()), needs, serial, seconds)
        return function

    return register


def load() -> tuple[Case, ...]:
    """All cases, by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(_CASES[name] for name in sorted(_CASES))
