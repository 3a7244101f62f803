"""Names and texts of any kind and length: of bundles, ids and hosts, in arguments and environments."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import harness
import pytest
from harness import Bundle, Runtime, Workshop

NAMES = [
    "new\nline", "two  spaces ", "co:lon", "ta\tb", "back\\slash", "com,ma", "quo\"te'", "ünï-日本", "$(id)", "-b",
    "%s", "\\040", "caf\udce9",
]  # fmt: skip


def moved(made: Bundle, name: str) -> Path:
    """The bundle below another name."""
    path = made.path.with_name("bundles")
    path.mkdir(exist_ok=True)
    (made.path / "data").mkdir()
    made.mount("/data", "bind", "data", "bind", "ro")
    made.write()
    return made.path.rename(path / name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_bundles(runtime: Runtime, bundle: Workshop, name: str) -> None:
    """A byte that is no UTF-8 is U+FFFD in the state document, which is JSON, as Go writes it; the container runs."""
    if runtime.name == "runc" and not name.isprintable() and "\udce9" in name:
        pytest.xfail("1.1.5 looks for the rootfs below the name that JSON can express")
    made = bundle("pause")
    path = moved(made, name)
    pid_file = path / "pid"
    runtime("create", "--bundle", str(path), "--pid-file", str(pid_file), made.id).ok()
    state = runtime.state(made)
    assert state["bundle"] == str(path).replace("\udce9", "\ufffd")
    assert pid_file.read_text() == str(state["pid"])
    runtime("start", made.id).ok()
    assert runtime.status(made) == "running"
    assert runtime.exec(made, made.id, "/probe", "exit", "3").code == 3
    assert name in runtime("list").ok().out or runtime.name == "runc" or not name.isprintable()
    assert runtime.end(made, state["pid"]) == 137


@pytest.mark.parametrize("name", ["new\nline", "sp ace", "ta\tb", "caf\udce9"], ids=ascii)
def test_root_directories(runtime: Runtime, bundle: Workshop, scratch: Path, name: str) -> None:
    runtime.root = scratch / name
    made = bundle("pause")
    pid = runtime.started(made)
    assert runtime.exec(made, made.id, "/probe", "exit", "3").code == 3
    assert runtime.end(made, pid) == 137
    assert list(runtime.root.iterdir()) == []


@pytest.mark.ocirun
@pytest.mark.parametrize("name", ["new\nline", "sp ace", "back\\slash"], ids=ascii)
def test_cgroups(runtime: Runtime, bundle: Workshop, name: str) -> None:
    made = bundle("pause")
    made.linux["cgroupsPath"] = f"/{made.id}-{name}"
    if "\n" in name:  # the kernel would not make it
        assert "/linux/cgroupsPath" in runtime.run(made).failed("invalid argument").error
        return
    pid = runtime.started(made)
    assert runtime("ps", "--format", "json", made.id).json == [pid]
    assert runtime.end(made, pid) == 137


def test_a_long_path(runtime: Runtime, bundle: Workshop) -> None:
    """As long as the kernel takes a path at all."""
    made = bundle("true")
    made.write()
    path = made.path
    deep = path.parent / "deep"
    levels = (4000 - len(str(deep))) // 201
    script = "import os, sys; n = sys.argv[1] * 200\nfor _ in range(int(sys.argv[2])): os.mkdir(n); os.chdir(n)\n"
    deep.mkdir()
    subprocess.run(["python3", "-c", script, "d", str(levels)], cwd=deep, check=True)
    target = deep.joinpath(*["d" * 200] * levels)
    path.rename(target / "b")
    runtime("run", "--bundle", str(target / "b"), made.id).ok()
    runtime("run", made.id, cwd=target / "b").ok()


@pytest.mark.parametrize(
    "flag", [pytest.param("--root", marks=pytest.mark.ocirun), "--bundle"]
)  # runc makes its parents
def test_a_path_that_is_too_long(runtime: Runtime, bundle: Workshop, flag: str) -> None:
    made = bundle("true")
    made.write()
    long = str(made.path.parent) + "/x" * 2100
    words = ["run", "--bundle", long if flag == "--bundle" else str(made.path), made.id]
    flags = ["--root", long] if flag == "--root" else []
    runtime(*words, flags=flags).failed("file name too long")


def test_ids(runtime: Runtime, bundle: Workshop) -> None:
    """The longest name of a directory."""
    made = bundle("pause")
    made.id += "x" * (255 - len(made.id))
    made.linux["cgroupsPath"] = f"/{made.id}"
    pid = runtime.started(made)
    assert [one["id"] for one in runtime("list", "--format", "json").json] == [made.id]
    assert runtime.end(made, pid) == 137
    made.id += "x"
    error = runtime.run(made).failed().error
    assert "file name too long" in error if runtime.name == "runc" else "at most 255 characters, found 256" in error


@pytest.mark.parametrize("kind", ["hostname", "domainname"])
def test_names_of_hosts(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    made = bundle("report")
    made.config[kind] = "h" * 64
    assert runtime.run(made).json[kind] == "h" * 64 or runtime.name == "runc"
    made.config[kind] = "h" * 65
    if runtime.name != "runc":
        runtime.run(made).failed(f"/{kind}", "at most 64 bytes, found 65")


TEXTS = ["two\nlines", "ta\tb", "\x01\x1f\x7f", "ünï-日本", "", " ", "\U0001f600", "\\n", '"', "$HOME"]


def test_arguments_and_environment(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("argv", *TEXTS)
    made.process["env"] = [f"V{number}={text}" for number, text in enumerate(TEXTS)]
    made.args("report", *(f"path={text}" for text in TEXTS if text.strip()))
    report = json.loads(runtime.run(made).ok().out)
    found = [item.encode("latin-1").decode() for item in report["env"]]
    assert found[: len(TEXTS)] == made.process["env"]
    words = [word.encode("latin-1").decode() for word in report["cmdline"].split("\0")]
    assert words[2:-1] == [f"path={text}" for text in TEXTS if text.strip()]


def test_arguments_of_exec(runtime: Runtime, bundle: Workshop) -> None:
    made = bundle("pause")
    pid = runtime.started(made)
    words = [f"path={text}" for text in TEXTS if text.strip()]
    report = runtime.probe(made, *words, flags=["--env", "V=two\nlines"])
    assert [word.encode("latin-1").decode() for word in report["cmdline"].split("\0")][2:-1] == words
    assert "V=two\nlines" in report["env"]
    if runtime.name != "runc":  # whose command line goes through JSON: U+FFFD
        report = runtime.probe(made, "path=caf\udce9", flags=["--env", "V=caf\udce9"])
        assert "caf\xe9" in report["cmdline"] and "V=caf\xe9" in report["env"], "bytes as they are"
    assert runtime.end(made, pid) == 137


@pytest.mark.ocirun
@pytest.mark.parametrize("text", [b"caf\xe9", b"\xff\xfe", b"\\ud800"])
def test_what_is_no_unicode_is_refused(runtime: Runtime, bundle: Workshop, text: bytes) -> None:
    """JSON is UTF-8 (RFC 8259). runc's reader puts U+FFFD there without a word, and so runs something else."""
    made = bundle("true", "@")
    made.write()
    path = made.path / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"@"', b'"%s"' % text))
    runtime("run", "--bundle", str(made.path), made.id).failed("config.json", "expected U")


def test_the_longest_argument(runtime: Runtime, bundle: Workshop) -> None:
    """MAX_ARG_STRLEN, and the quarter of the stack for all of them (execve(2))."""
    runtime.run(bundle("true", "x" * (128 * 1024 - 1))).ok()
    runtime.run(bundle("true", *["x" * 1000] * 1900)).ok()


@pytest.mark.parametrize("kind", ["one", "many", "environment"])
def test_too_much(runtime: Runtime, bundle: Workshop, kind: str) -> None:
    made = bundle("true", *{"one": ["x" * 128 * 1024], "many": ["x" * 1000] * 3000}.get(kind, []))
    if kind == "environment":
        made.process["env"] = [f"V{number}={'x' * 1000}" for number in range(3000)]
    result = runtime.run(made)
    assert result.code == 1 or (runtime.name, result.code) == ("runc", 255)
    assert "argument list too long" in (result.error or result.err)  # of runc, PID 1 says it
    assert len(result.error) < 1000
    if runtime.name != "runc":
        assert "/process/args" in result.error
        runtime.created(made)
        assert len(runtime("start", made.id).failed("argument list too long", "/process/args").error) < 1000
        runtime("delete", made.id).ok()


@pytest.mark.ocirun
def test_variables_of_the_runtime(runtime: Runtime, bundle: Workshop) -> None:
    """They change nothing about a container, and reach none."""
    strange = {
        "LANG": "C", "LC_ALL": "tr_TR.ISO-8859-9", "TZ": "Asia/Kathmandu", "LD_LIBRARY_PATH": "/nowhere",
        "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONDONTWRITEBYTECODE": "", "A": "B",
        "LD_PRELOAD": "/nowhere.so", "IFS": "x", "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere",
    }  # fmt: skip
    made = bundle("report", "path=/ünï")
    made.write()
    report = json.loads(runtime("run", "--bundle", str(made.path), made.id, env=strange).ok().out)
    assert report["env"] == ["PATH=/bin:/", "TERM=xterm", "HOME=/root"]
    assert "/ünï" in report["cmdline"].encode("latin-1").decode()
    made.args("pause")
    runtime.create(made, env=strange).ok()
    state = runtime.state(made)
    assert state["created"].endswith("Z")
    seconds = int(subprocess.check_output(["date", "-d", state["created"], "+%s"]))
    assert abs(seconds - harness.time.time()) < 60, "in UTC"
    waiting = Path(f"/proc/{state['pid']}/environ").read_bytes()
    assert waiting == b"", "nothing of the runtime's is in the process that waits"
    os.waitpid(state["pid"], os.WNOHANG)
    runtime("delete", "--force", made.id).ok()
    harness.reap(state["pid"])
