"""The five capability sets, the user, noNewPrivileges and the privileges of the program: what execve makes of them.

The kernel's rule (capabilities(7), "Transformation of capabilities during execve()") is here as a function of sets of
bits; what it says is compared with what processes in real containers have. All combinations of one capability's
presence in the five sets are tried at once, each with another capability.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from harness import CAPABILITIES, Bundle, Runtime, Workshop

SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
USER = 1000
XATTR_VERSION_2, XATTR_EFFECTIVE = 0x02000000, 1


@dataclass(frozen=True)
class Sets:
    bounding: int
    effective: int
    inheritable: int
    permitted: int
    ambient: int


@dataclass(frozen=True)
class Program:
    """What a file gives who executes it: a user, or capabilities."""

    set_uid: int | None = None
    permitted: int = 0
    inheritable: int = 0
    effective: bool = False

    @property
    def has_capabilities(self) -> bool:
        return bool(self.permitted or self.inheritable or self.effective)


def executed(old: Sets, uid: int, no_new_privs: bool, program: Program) -> Sets | None:
    """The sets after set-up and execve; None: it fails with EPERM."""
    euid = program.set_uid if program.set_uid is not None and not no_new_privs else uid
    permitted, effective = 0, False
    if program.has_capabilities:
        permitted = old.bounding & program.permitted | old.inheritable & program.inheritable
        effective = program.effective
        if effective and program.permitted & ~permitted:
            return None  # it would not know that it lacks some
    if not (program.has_capabilities and uid != 0 and euid == 0):  # capabilities beat set-user-ID root
        if 0 in (uid, euid):
            permitted = old.bounding | old.inheritable
        effective = effective or euid == 0
    if no_new_privs:
        permitted &= old.permitted
    ambient = 0 if program.has_capabilities or euid != uid else old.ambient & old.permitted & old.inheritable
    permitted |= ambient
    return Sets(old.bounding, permitted if effective else ambient, old.inheritable, permitted, ambient)


def held() -> list[int]:
    """The capabilities that we can give."""
    with open("/proc/self/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm"))
    return [bit for bit in range(len(CAPABILITIES)) if mask >> bit & 1]


def possible(bounding: bool, effective: bool, inheritable: bool, permitted: bool, ambient: bool) -> bool:
    """Whether capset(2) lets a process have a capability in these sets. One that is in the ambient set only is not an
    error: it is left out, as in runc."""
    return effective <= permitted and inheritable <= bounding


ALL = list(itertools.product((False, True), repeat=len(SETS)))
POSSIBLE = [combination for combination in ALL if possible(*combination)]


def at_once() -> Sets:
    """Each possible combination, with a capability of its own."""
    masks = dict.fromkeys(SETS, 0)
    for bit, combination in zip(held(), POSSIBLE, strict=False):
        for name, present in zip(SETS, combination, strict=True):
            masks[name] |= present << bit
    return Sets(**masks)


def programs(sets: Sets) -> dict[str, Program]:
    """Files that differ in what they give: every second capability, so that each combination is there with and without
    it, or only what can be had."""
    some = sum(1 << bit for bit in range(0, len(CAPABILITIES), 2))
    return {
        "plain": Program(),
        "set-user-id-root": Program(set_uid=0),
        "set-user-id-user": Program(set_uid=USER),
        "permitted": Program(permitted=some),
        "inheritable": Program(inheritable=some),
        "both": Program(permitted=some, inheritable=~some & (1 << len(CAPABILITIES)) - 1),
        "effective": Program(permitted=some & sets.bounding, effective=True),
        "effective-inheritable": Program(inheritable=some, effective=True),
        "effective-more": Program(permitted=some, effective=True),
        "effective-nothing": Program(effective=True),
        "set-user-id-root-permitted": Program(set_uid=0, permitted=some),
    }


def install(made: Bundle, programs: dict[str, Program], first_id: int) -> None:
    """Put copies of the probe with those attributes into the rootfs."""
    for name, program in programs.items():
        path = made.rootfs / name
        shutil.copy(made.rootfs / "probe", path)
        owner = first_id + (program.set_uid or 0)
        os.chown(path, owner, owner)
        os.chmod(path, 0o755 if program.set_uid is None else 0o4755)
        if program.has_capabilities:
            magic = XATTR_VERSION_2 | (XATTR_EFFECTIVE if program.effective else 0)
            words = [
                half >> shift & 0xFFFFFFFF for shift in (0, 32) for half in (program.permitted, program.inheritable)
            ]
            os.setxattr(path, "security.capability", struct.pack("<5I", magic, *words))


def process(sets: Sets, uid: int, no_new_privs: bool, program: str) -> dict[str, Any]:
    """The process object of a configuration."""
    return {
        "user": {"uid": uid, "gid": uid},
        "args": [f"/{program}", "report"],
        "cwd": "/",
        "noNewPrivileges": no_new_privs,
        "capabilities": {name: names(getattr(sets, name)) for name in SETS},
    }


def names(mask: int) -> list[str]:
    return [f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1]


def reported(report: Any) -> Sets:
    return Sets(**{name: int(report["capabilities"][name], 16) for name in SETS})


@pytest.fixture(params=[False, True], ids=["host-users", "user-namespace"])
def container(request: pytest.FixtureRequest, runtime: Runtime, bundle: Workshop) -> Iterator[Bundle]:
    """One that is running."""
    made = bundle("pause")
    if request.param:
        made.user_namespace()
    install(made, programs(at_once()), 100000 if request.param else 0)
    made.process["capabilities"] = {name: names(sum(1 << bit for bit in held())) for name in SETS}
    pid = runtime.started(made)
    yield made
    runtime.end(made, pid)


def test_every_combination(runtime: Runtime, container: Bundle) -> None:
    sets = at_once()
    found, expected = {}, {}
    for uid, no_new_privs, (name, program) in itertools.product((0, USER), (False, True), programs(sets).items()):
        case = (uid, no_new_privs, name)
        path = container.path / "process.json"
        path.write_text(json.dumps(process(sets, uid, no_new_privs, name)))
        result = runtime("exec", "--process", str(path), container.id)
        expected[case] = executed(sets, uid, no_new_privs, program)
        refused = result.code and "operation not permitted" in (result.error or result.err).lower()
        found[case] = None if refused else reported(result.json)
    assert [case for case in found if found[case] != expected[case]] == []
    assert len(set(expected.values())) > 10, "they do differ"


@pytest.mark.parametrize("uid", [0, USER])
@pytest.mark.parametrize("no_new_privs", [False, True])
def test_of_a_container(runtime: Runtime, bundle: Workshop, uid: int, no_new_privs: bool) -> None:
    sets = at_once()
    made = bundle()
    made.config["process"] = process(sets, uid, no_new_privs, "probe")
    assert reported(runtime.report(made)) == executed(sets, uid, no_new_privs, Program())


@pytest.mark.parametrize("combination", [one for one in ALL if not possible(*one)], ids=str)
def test_what_the_kernel_refuses(runtime: Runtime, bundle: Workshop, combination: tuple[bool, ...]) -> None:
    """What is effective has to be permitted, what is inheritable in the bounding set."""
    made = bundle("true")
    one = 1 << held()[0]
    sets = Sets(**{name: one if present else 0 for name, present in zip(SETS, combination, strict=True)})
    made.config["process"] = process(sets, 0, False, "probe")
    result = runtime.create(made).failed()
    if runtime.name == "ocirun":
        assert "/process/capabilities" in result.error
    else:
        assert "caps: " in result.error and "operation not permitted" in result.error
