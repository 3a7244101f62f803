"""How little memory a container needs: what waits in a created one, and the limits below which one still starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Runtime, Workshop, cgroup_roots

pytestmark = pytest.mark.ocirun

V2 = set(cgroup_roots()) == {""}

STARTS = 20


def test_the_waiting_process_is_small(runtime: Runtime, bundle: Workshop) -> None:
    """At most three quarters of a MiB that are nobody else's."""
    made = bundle("true")
    pid = runtime.created(made)
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")}
    assert 0 < sum(private.values()) <= 768, private


# v1 charges a process with its kernel memory less thoroughly, so that half as much is enough.
@pytest.mark.parametrize("limit", [512] if V2 else [512, 256], ids="{} KiB".format)
@pytest.mark.controllers
def test_every_start_below_a_small_limit(runtime: Runtime, bundle: Workshop, limit: int) -> None:
    made = bundle("true")
    made.linux["resources"]["memory"] = {"limit": limit << 10}
    if limit < 512:
        # Each CPU that a process runs on may keep up to 252 KiB of charge in reserve, and one CPU's shortage does not
        # wait for another's reserve (MEMCG_CHARGE_BATCH, the kernel's mm/memcontrol.c).
        made.linux["resources"]["cpu"] = {"cpus": "0"}
    results = [runtime.run(made) for _ in range(STARTS)]
    assert [result.error or result.err for result in results if result.code != 0] == []
