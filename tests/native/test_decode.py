"""The decoder of plans: what encode() writes is read back, and no bytes whatever make it look outside of them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import REPOSITORY, native_build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from initdriver import INIT, HandMade

from ocirun.errors import ConfigError
from ocirun.plan import ops
from ocirun.plan.encode import encode
from ocirun.plan.fields import FIELDS
from ocirun.plan.ops import Operation

HEADER = struct.Struct("=8I")
HEADER_FIELDS = (
    "magic", "version", "total", "records_offset", "record_count", "outer_count", "strings_offset", "slot_count",
)  # fmt: skip
HERE = Path(__file__).parent
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


class Decoder:
    """A running decoder.c."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __call__(self, data: bytes) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None and self.process.stderr is not None
        self.process.stdin.write(struct.pack("=I", len(data)) + data)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode()
        return line.decode().strip()


def _native(output: Path) -> list[str]:
    _compile(["gcc", *SANITIZERS], output)
    return [str(output)]


def _arm64(output: Path) -> list[str]:
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    assert emulator, "Debian's qemu-user is not installed"
    _compile(["aarch64-linux-gnu-gcc", "-static", "-O1"], output)
    return [emulator, str(output)]


def test_everything_compiles_for_arm64(tmp_path: Path) -> None:
    """The init and the launcher, with all warnings as errors."""
    command = [sys.executable, str(REPOSITORY / "native" / "build.py"), "--static", str(tmp_path)]
    subprocess.run(command, env={**os.environ, "CC": "aarch64-linux-gnu-gcc"}, cwd=REPOSITORY, check=True)
    for name in ("ocirun-init", "ocirun"):
        head = (tmp_path / name).read_bytes()[:20]
        assert head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == 183, name  # EM_AARCH64, elf(5)


def _compile(compiler: list[str], output: Path) -> None:
    warnings = native_build().WARNINGS
    sources = [str(HERE / "decoder.c"), str(INIT / "decode.c")]
    subprocess.run([*compiler, *warnings, f"-I{INIT}", "-o", str(output), *sources], check=True)


@pytest.fixture(scope="module", params=[_native, _arm64], ids=["sanitized", "arm64"])
def decode(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    """The decoder of this machine with sanitizers, and the one of arm64."""
    decoder = Decoder(request.param(tmp_path_factory.mktemp("decoder") / "decoder"))
    yield decoder
    assert decoder.process.stdin is not None
    decoder.process.stdin.close()
    assert decoder.process.wait() == 0


def encoded(*operations: Operation, slots: int = 4) -> bytes:
    return encode(HandMade(operations, slots))  # type: ignore[arg-type]


def shown(index: int, operation: Operation) -> str:
    """As decoder.c prints it."""

    def text(value: str) -> str:
        return f'"{value.encode("utf-8", "surrogateescape").hex()}"'

    words = []
    for (_, kind), value in zip(FIELDS[operation.name], operation.values, strict=True):
        if kind == "str":
            words.append(text(value))
        elif kind == "strv":
            words.append("[" + "".join(map(text, value)) + "]")
        else:
            words.append(value.hex() if kind == "blob" else str(value))
    return " ".join([f" {index}:{operation.name}", *words]) + ";"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
VALUES = {
    "u32": st.integers(0, 2**32 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "str": TEXTS,
    "strv": st.lists(TEXTS, max_size=5).map(tuple),
    "blob": st.binary(max_size=40),
}


@st.composite
def operations(draw: st.DrawFn) -> tuple[Operation, ...]:
    """Any plan, sensible or not; the outer stage first."""
    names = draw(st.lists(st.sampled_from(list(FIELDS)), max_size=12))
    outer = draw(st.integers(0, len(names)))
    return tuple(
        Operation(("outer" if i < outer else "init", "", name, tuple(draw(VALUES[kind]) for _, kind in FIELDS[name])))
        for i, name in enumerate(names)
    )


SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(operations())
def test_what_is_written_is_read(decode: Decoder, plan: tuple[Operation, ...]) -> None:
    assert decode(encoded(*plan)) == "ok" + "".join(shown(i, op) for i, op in enumerate(plan))


def test_every_operation(decode: Decoder) -> None:
    samples = {
        "u32": 7,
        "i32": -7,
        "u64": 2**63,
        "i64": -(2**40),
        "str": "text",
        "strv": ("a", "", "b"),
        "blob": b"\1\0\2",
    }
    plan = [Operation(("init", "", name, tuple(samples[kind] for _, kind in f))) for name, f in FIELDS.items()]
    assert decode(encoded(*plan)) == "ok" + "".join(shown(i, op) for i, op in enumerate(plan))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good plan with a few bytes or words of it changed, cut or lengthened."""
    data = bytearray(encoded(*draw(operations())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 4)))
        word = draw(st.sampled_from([0, 1, 4, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF, len(data)]))
        kind = draw(st.sampled_from(["byte", "word", "cut", "more"]))
        if kind == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "word":
            data[at & ~3 : (at & ~3) + 4] = struct.pack("=I", word)
        elif kind == "cut":
            del data[at:]
        else:
            data += draw(st.binary(max_size=16))
    if draw(st.booleans()) and len(data) >= HEADER.size:
        data[8:12] = struct.pack("=I", len(data))  # so that not every cut is seen at once
    return bytes(data)


@settings(SETTINGS, max_examples=1500)
@given(damaged())
def test_damage(decode: Decoder, data: bytes) -> None:
    answer = decode(data)
    assert answer.startswith("ok") or "the" in answer or "record" in answer or "slots" in answer


@SETTINGS
@given(st.binary(max_size=200))
def test_noise(decode: Decoder, data: bytes) -> None:
    assert not decode(data).startswith("ok")


def patched(data: bytes, **fields: int) -> bytes:
    names = HEADER_FIELDS
    values = dict(zip(names, HEADER.unpack_from(data), strict=True)) | fields
    return HEADER.pack(*(values[name] for name in names)) + data[HEADER.size :]


PLAN = encoded(
    ops.open("outer", "", path="/a", flags=1, slot=0),
    ops.exec("init", "", args=["x", "yz"], env=[], preserve=0, uid=0),
)
OPEN, EXEC = HEADER.size, HEADER.size + 24  # where the two records begin
STRINGS = HEADER.unpack_from(PLAN)[6]


def with_word(at: int, word: int, size: str = "I") -> bytes:
    data = bytearray(PLAN)
    struct.pack_into(f"={size}", data, at, word)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the plan is shorter than its header"),
        (PLAN[:31], "the plan is shorter than its header"),
        (PLAN[:-1], "the plan has another length than it says"),
        (PLAN + b"\0", "the plan has another length than it says"),
        (patched(PLAN, magic=1), "the plan is of another version"),
        (patched(PLAN, version=2), "the plan is of another version"),
        (patched(PLAN, records_offset=24), "the parts of the plan are out of place"),
        (patched(PLAN, strings_offset=STRINGS + 4), "the parts of the plan are out of place"),
        (patched(PLAN, strings_offset=24), "the parts of the plan are out of place"),
        (patched(PLAN, strings_offset=len(PLAN) // 8 * 8 + 8), "the parts of the plan are out of place"),
        (patched(PLAN, strings_offset=0xFFFFFFF8), "the parts of the plan are out of place"),
        (patched(PLAN, outer_count=3), "the outer stage has more records than there are"),
        (patched(PLAN, slot_count=65537), "there are too many slots"),
        (patched(PLAN, record_count=1), "there are more records than the plan says"),
        (patched(PLAN, record_count=3), "a record lies outside of the plan"),
        (patched(PLAN, record_count=0xFFFFFFFF), "a record lies outside of the plan"),
        (with_word(OPEN, len(FIELDS), "H"), "a record is of unknown kind"),
        (with_word(OPEN, 0xFFFF, "H"), "a record is of unknown kind"),
        (with_word(OPEN + 2, 0, "H"), "a record lies outside of the plan"),
        (with_word(OPEN + 2, 7, "H"), "a record lies outside of the plan"),
        (with_word(OPEN + 2, 0xFFF8, "H"), "a record lies outside of the plan"),
        (with_word(OPEN + 2, 32, "H"), "a record has the wrong size for its kind"),
        (with_word(OPEN + 8, 0xFFFFFFFF), "a string or list lies outside of the string area"),
        (with_word(OPEN + 8, len(PLAN) - STRINGS), "a string or list lies outside of the string area"),
        (with_word(OPEN + 12, 0xFFFFFFFF), "a string or list lies outside of the string area"),
        (with_word(OPEN + 12, 1), "a string or list lies outside of the string area"),  # no NUL behind it
        (with_word(OPEN + 12, 3), "a string or list lies outside of the string area"),  # a NUL inside
        (with_word(EXEC + 8, 1), "a string or list lies outside of the string area"),  # not aligned
        (with_word(EXEC + 8, 0xFFFFFFFC), "a string or list lies outside of the string area"),
        (with_word(EXEC + 12, 0x20000000), "a string or list lies outside of the string area"),  # x 8 wraps to 0
        (with_word(EXEC + 12, 0xFFFFFFFF), "a string or list lies outside of the string area"),
    ],
)
def test_refused(decode: Decoder, data: bytes, reason: str) -> None:
    assert decode(PLAN).startswith("ok")
    assert decode(data) == reason


def test_blob_alignment(decode: Decoder) -> None:
    data = bytearray(encoded(ops.seccomp("init", "", filter=b"x" * 16, flags=0)))
    struct.pack_into("=I", data, HEADER.size + 8, 4)
    struct.pack_into("=I", data, HEADER.size + 12, 8)
    assert decode(bytes(data)) == "a string or list lies outside of the string area"


def test_nul_is_refused_before(decode: Decoder) -> None:
    with pytest.raises(ConfigError):
        encoded(ops.hostname("init", "", name="a\0b"))
