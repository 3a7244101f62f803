"""Some of the mistakes of tests/mutants.toml are made, and noticed. All of them:

    python tests/drivers/mutation.py
"""

from __future__ import annotations

import mutation
import pytest

pytestmark = pytest.mark.ocirun

SAMPLE = (
    "run deletes another's new container of the same id",
    "lock() takes a directory that was deleted meanwhile",
    "undo() leaves the daemon of an earlier hook",
    "stdio belongs to an id behind a mapping's end",
    "raising a limit lowers one that is higher",
)


def test_some_of_them() -> None:
    wanted = [one for one in mutation.mutants() if one.why in SAMPLE]
    assert len(wanted) == len(SAMPLE)
    for verdict in mutation.verdicts(wanted):
        assert mutation.is_expected(verdict), f"{verdict.mutant.why}: {verdict.kind}: {verdict.words}"
