"""Plans of whole bundles, as `ocirun plan` prints them, against reviewed texts.

OCIRUN_UPDATE_GOLDEN=1 writes the texts anew: then read the difference as one reads code.
"""

from __future__ import annotations

import os

import pytest
from plandriver import FILTER, HERE, HOSTS, directories, options_for, plan_of, spec_of

from ocirun.plan import show
from ocirun.plan.draft import Plan
from ocirun.plan.execute import build_exec
from ocirun.record import replace

GOLDEN = HERE / "golden"
CASES = [
    ("minimal", "v1"),
    ("minimal", "v2"),
    ("usual", "v1"),
    ("usual", "v2"),
    ("user", "v1"),
    ("user", "v2"),
    ("user", "nested"),
    ("own-id", "ordinary"),
    ("pod", "v2"),
    ("joined", "v1"),
    ("joined", "v2"),
    ("cgroup-joined", "v1"),
    ("cgroup-joined", "v2"),
    ("host", "v1"),
    ("mounts", "v1"),
    ("dev-bound", "v1"),
    ("devices", "v1"),
    ("idmap", "v1"),
    ("devices", "nested"),
    ("terminal", "v1"),
    ("hooks", "v1"),
    ("process", "v1"),
    ("no-new-privileges", "v1"),
    ("tuning", "v1"),
    ("tuning", "nested"),
]


def check(name: str, plan: Plan) -> None:
    path = GOLDEN / f"{name}.txt"
    text = show.table(plan)
    if os.environ.get("OCIRUN_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize(("bundle", "host"), CASES)
def test_create(bundle: str, host: str) -> None:
    check(f"{bundle}-{host}", plan_of(spec_of(bundle), HOSTS[host]))


def test_every_bundle_has_a_plan() -> None:
    assert {path.stem for path in (HERE / "bundles").glob("*.json")} == {bundle for bundle, _ in CASES}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no-pivot", {"no_pivot": True}),
        ("run", {"wait": False, "new_keyring": False, "preserve_fds": 2, "listen_fds": 3}),
    ],
)
def test_options(name: str, changes: dict[str, object]) -> None:
    check(f"option-{name}", plan_of(spec_of("minimal"), **changes))


@pytest.mark.parametrize(
    ("bundle", "host", "namespaces"),
    [
        ("minimal", "v1", ("mount", "pid")),
        ("usual", "v2", ("uts", "ipc", "network", "mount", "pid")),
        ("user", "v2", ("user", "mount", "uts", "ipc", "network", "pid", "cgroup", "time")),
        ("user", "v1", ("user", "mount", "uts", "ipc", "network", "pid", "cgroup", "time")),
        ("own-id", "ordinary", ("user", "mount", "uts", "ipc", "pid")),
        ("host", "v1", ()),
        ("terminal", "v1", ("mount", "pid")),
        ("process", "v1", ("mount", "pid")),
        ("tuning", "v1", ("mount", "pid")),
        ("tuning", "v2", ("mount", "pid")),
    ],
)
def test_exec(bundle: str, host: str, namespaces: tuple[str, ...]) -> None:
    spec = spec_of(bundle)
    wanted = replace(spec.process, args=("ls", "-l"))
    facts = HOSTS[host]
    filter = FILTER if spec.linux.seccomp else None
    plan = build_exec(wanted, spec, facts, options_for(spec), directories(facts), namespaces, filter)
    check(f"exec-{bundle}-{host}", plan)
