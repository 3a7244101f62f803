"""Device rules: their net effect against a model of the kernel's v1 controller, and the program for v2, run."""

from __future__ import annotations

import itertools
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirun.cgroup import devices, ebpf
from ocirun.errors import OperationError
from ocirun.spec.model import DeviceRule

UNIFIED = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").exists() else Path("/sys/fs/cgroup")
DEFAULT = [
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:8 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 1:5 rwm", "c 1:9 rwm", "c 136:* rwm",
    "c 5:2 rwm", "c 10:200 rwm",
]  # fmt: skip


def rule(text: str) -> DeviceRule:
    """ "allow c 1:3 rwm" as a record."""
    word, kind, number, access = text.split()
    major, minor = (None if part == "*" else int(part) for part in number.split(":"))
    return DeviceRule(allow=word == "allow", type=kind, major=major, minor=minor, access=access)


def lines(*rules: str) -> list[str]:
    return devices.v2([rule(text) for text in rules]).splitlines()


def v1_lines(*rules: str) -> list[str]:
    return [
        f"{file} {line}"
        for _, file, value, _ in devices.v1([rule(text) for text in rules])
        for line in value.splitlines()
    ]


def test_nothing_is_allowed_but_the_default_devices() -> None:
    assert lines() == ["deny a *:* rwm", *(f"allow {line}" for line in DEFAULT)]
    assert lines("deny a *:* rwm") == lines()
    assert v1_lines() == ["devices.deny a", *(f"devices.allow {line}" for line in DEFAULT)]


def test_all_is_allowed() -> None:
    assert devices.v2([DeviceRule(allow=True, access="rwm")]) == ""
    assert v1_lines("allow a *:* rwm") == ["devices.allow a"]


def test_the_last_rule_for_all_devices_counts() -> None:
    assert lines("allow c 9:9 rwm", "deny a *:* r") == lines()
    assert lines("deny c 9:9 rwm", "allow a *:* rwm", "deny b 8:0 w") == ["allow a *:* rwm", "deny b 8:0 w"]
    assert v1_lines("allow a *:* rwm", "deny b 8:0 w") == ["devices.allow a", "devices.deny b 8:0 w"]


def test_accesses_add_up_and_are_taken_away() -> None:
    assert lines("allow c 9:9 r", "allow c 9:9 w")[1] == "allow c 9:9 rw"
    assert lines("allow c 9:9 rwm", "deny c 9:9 w")[1] == "allow c 9:9 rm"
    assert lines("allow c 9:9 rw", "deny c 9:9 rwm") == lines()
    assert lines("allow u 9:9 rw")[1] == "allow c 9:9 rw"


def test_default_devices_stay_where_all_is_allowed() -> None:
    """As in runc, where the default rules come last."""
    assert lines("allow a *:* rwm", "deny c 1:3 rwm") == []
    assert lines("allow a *:* rwm", "deny c *:* w") == ["allow a *:* rwm", "deny c *:* w"]


@pytest.mark.parametrize("narrow", ["deny c 9:1 r", "deny c 9:* r", "deny c *:1 r"])
def test_holes_are_refused(narrow: str) -> None:
    with pytest.raises(OperationError, match="cannot punch hole in existing wildcard rule") as caught:
        lines("allow c *:* r", narrow)
    assert caught.value.pointer == "/linux/resources/devices/1"
    assert lines("allow c *:* r", narrow.replace(" r", " w"))[1] == "allow c *:* rm"


def test_access_is_needed() -> None:
    with pytest.raises(OperationError, match="device access at 0 field cannot be empty"):
        devices.v2([DeviceRule(allow=True, type="c")])


def test_pointers() -> None:
    settings = devices.v1([rule("deny a *:* rwm"), rule("allow c 9:9 rwm"), rule("allow b 8:0 r")])
    assert [(pointer, file) for pointer, file, _, _ in settings] == [
        ("/linux/resources/devices", "devices.deny"),
        ("/linux/resources/devices/1", "devices.allow"),
        ("/linux/resources/devices/2", "devices.allow"),
        ("", "devices.allow"),
    ]


# The program, run by an interpreter of the few instructions that it has


def execute(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    access_bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = {0: access_bits << 16 | {"b": 1, "c": 2}[kind], 4: major, 8: minor}
    registers = dict.fromkeys(range(11), 0)
    position = 0
    order = "<" if sys.byteorder == "little" else ">"
    while True:
        code, pair, offset, immediate = struct.unpack_from(f"{order}BBhi", program, position * 8)
        destination, source = (pair & 15, pair >> 4) if sys.byteorder == "little" else (pair >> 4, pair & 15)
        position += 1
        if code == 0x61:
            registers[destination] = context[offset]
        elif code == 0xB7:
            registers[destination] = immediate
        elif code == 0xBF:
            registers[destination] = registers[source]
        elif code == 0x57:
            registers[destination] &= immediate
        elif code == 0x77:
            registers[destination] >>= immediate
        elif code == 0x55:
            position += offset if registers[destination] != immediate else 0
        elif code == 0x56:
            position += offset if registers[destination] & 0xFFFFFFFF != immediate & 0xFFFFFFFF else 0
        elif code == 0x15:
            position += offset if registers[destination] == immediate else 0
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def allowed(rules: list[str], kind: str, major: int, minor: int, access: str) -> bool:
    """What the kernel's v1 controller says (security/device_cgroup.c): a model that shares nothing with the code."""
    everything, exceptions = False, {}
    for text in rules:
        word, of, number, accesses = text.split()
        if of == "a":
            everything, exceptions = word == "allow", {}
        elif (word == "allow") != everything:
            exceptions[of, number] = exceptions.get((of, number), set()) | set(accesses)
        elif (of, number) in exceptions:
            exceptions[of, number] -= set(accesses)
    hits = []
    for (of, number), accesses in exceptions.items():
        want_major, want_minor = number.split(":")
        if of == kind and want_major in ("*", str(major)) and want_minor in ("*", str(minor)):
            hits.append(accesses)
    if everything:
        return not any(hit & set(access) for hit in hits)
    return any(set(access) <= hit for hit in hits)


ACCESSES = ["".join(some) for count in (1, 2, 3) for some in itertools.combinations("rwm", count)]
NUMBERS = st.sampled_from(["1:3", "9:9", "9:*", "*:9", "*:*", "4294967295:4294967295"])
RULES = st.builds(
    lambda word, kind, number, access: f"{word} {kind} {number if kind != 'a' else '*:*'} {access}",
    st.sampled_from(["allow", "deny"]),
    st.sampled_from(["c", "c", "b", "b", "a"]),
    NUMBERS,
    st.sampled_from(ACCESSES),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(RULES, max_size=6))
def test_program_as_the_kernel_would(rules: list[str]) -> None:
    try:
        text = devices.v2([rule(one) for one in rules])
    except OperationError:
        return  # a hole
    program = ebpf.program(text) if text else b""
    everything = text.startswith("allow") or not text
    # Where all is allowed, a default rule only takes back what a rule for the same device took.
    known = [*rules, *(f"allow {line}" for line in DEFAULT)]
    for kind, (major, minor), access in itertools.product(
        "cb", [(1, 3), (9, 9), (9, 1), (1, 9), (7, 7), (136, 5), (0xFFFFFFFF, 0xFFFFFFFF)], ACCESSES
    ):
        expected = allowed(known, kind, major, minor, access)
        if not program:
            assert everything and expected
        else:
            assert bool(execute(program, kind, major, minor, access)) == expected, (kind, major, minor, access)


def test_one_exception_must_have_all_accesses() -> None:
    program = ebpf.program("deny a *:* rwm\nallow c 9:* r\nallow c 9:9 w")
    assert execute(program, "c", 9, 9, "r") and execute(program, "c", 9, 9, "w")
    assert not execute(program, "c", 9, 9, "rw")
    assert not execute(program, "b", 9, 9, "r")


# In the kernel


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = UNIFIED / f"ocirun-test-{os.getpid()}"
    path.mkdir()
    yield path
    path.rmdir()


def reaches(cgroup: Path, node: str, flags: int) -> bool:
    """Whether a process of the cgroup may open the device."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            (cgroup / "cgroup.procs").write_text("0")
            os.open(node, flags)
            code = 0
        except PermissionError:
            code = 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return code == 0


@pytest.mark.parametrize(
    ("rules", "readable", "writable"),
    [
        (["deny a *:* rwm"], False, False),
        (["deny a *:* rwm", "allow c 1:11 r"], True, False),
        (["deny a *:* rwm", "allow c 1:11 rw"], True, True),
        (["deny a *:* rwm", "allow c 1:* rwm"], True, True),
        (["allow a *:* rwm", "deny c 1:11 w"], True, False),
        (["allow a *:* rwm", "deny c *:11 rw"], False, False),
        (["allow a *:* rwm", "deny b *:* rwm"], True, True),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, list) else str(value),
)
def test_attached(cgroup: Path, rules: list[str], readable: bool, writable: bool) -> None:
    """/dev/kmsg's number (1:11), at a node of our own: no default device."""
    ebpf.attach(str(cgroup), devices.v2([rule(text) for text in rules]))
    with tempfile.TemporaryDirectory(dir="/dev") as directory:  # elsewhere mounts are often nodev
        node = f"{directory}/kmsg"
        os.mknod(node, 0o600 | 0o020000, os.makedev(1, 11))
        assert reaches(cgroup, node, os.O_RDONLY | os.O_NONBLOCK) == readable
        assert reaches(cgroup, node, os.O_WRONLY) == writable
    assert reaches(cgroup, "/dev/null", os.O_RDWR)


def test_refused_by_the_kernel(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        ebpf.attach(str(tmp_path), "deny a *:* rwm")  # no cgroup
