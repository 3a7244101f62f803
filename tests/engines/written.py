"""What an engine wrote for a container, caught while the container is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import engineconfigs
from plandriver import HOSTS, options_for, placement

from ocirun.plan.build import build
from ocirun.plan.encode import encode
from ocirun.seccomp.cache import compile_filter
from ocirun.spec.read import read_spec
from ocirun.spec.validate import validate


def checked(path: Path) -> Any:
    """A config.json: valid, without a warning, planned for both versions of control groups; and it has nothing that
    the configurations of tests/drivers/engineconfigs.py have not, with which all the tests without engines are made.

    :returns: its tree
    """
    data = path.read_bytes()
    tree = json.loads(data)
    assert validate(str(path), data) == []
    spec = read_spec(str(path), data)
    filter = compile_filter(spec.linux.seccomp) if spec.linux.seccomp else None
    for host in (HOSTS["v1"], HOSTS["v2"]):
        plan = build(spec, host, options_for(spec), placement(host), filter)
        assert plan.operations[-1].name == "exec"
        assert encode(plan)
    assert engineconfigs.unknown(tree) == set(), "to be added there"
    return tree
