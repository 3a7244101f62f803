"""The host has no more of something, or something of it is odd: errors in words, nothing left, no false success."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import harness
import pytest
from harness import Result, Runtime, Workshop, reap

pytestmark = pytest.mark.ocirun


def injecting(call: str, error: str, when: str = "1+") -> Sequence[str]:
    """Words before a command, in which (and in no child of which) a system call fails."""
    return ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}"]


def in_words(result: Result) -> None:
    assert result.code in (0, 1, 255), result.code
    assert "internal error" not in result.error + result.err and "Traceback" not in result.err, result.error
    assert (result.code == 0) or result.error


@pytest.mark.parametrize("verb", ["create", "start", "exec", "kill", "delete", "run"])
def test_too_few_descriptors(runtime: Runtime, bundle: Workshop, leftovers: harness.Leftovers, verb: str) -> None:
    """Whatever the number is at which there are no more; what fails has done nothing, what succeeds has done it."""
    for limit in range(4, 40):
        made = bundle("true" if verb == "run" else "pause")
        made.config["hooks"] = {"poststart": [{"path": "/bin/true"}]}
        pid = 0
        if verb in ("start", "exec", "kill", "delete"):
            pid = runtime.created(made)
        if verb in ("exec", "kill"):
            runtime("start", made.id).ok()
        made.write()
        words = {
            "exec": ["exec", made.id, "/probe", "true"],
            "create": ["create", "--bundle", str(made.path), made.id],
            "run": ["run", "--bundle", str(made.path), made.id],
            "kill": ["kill", made.id, "KILL"],
        }.get(verb, [verb, made.id])
        # Who cannot even load its libraries cannot speak in our words.
        result = runtime(*words, prefix=["prlimit", f"--nofile={limit}"])
        if "shared libraries" in result.err or not (result.error or result.code == 0):
            assert limit < 8, result.err
            runtime.delete(made, "--force").ok()
            continue
        in_words(result)
        if verb == "create":
            assert (runtime("state", made.id).code == 0) is (result.code == 0)
        elif verb == "start":
            # After a failure it may have been killed, but does not run on.
            if result.code == 0:
                assert runtime.status(made) == "running"
            else:
                assert runtime.status(made) in ("created", "stopped")
        elif verb == "delete":
            assert (runtime("state", made.id).code == 1) is (result.code == 0)
        runtime.delete(made, "--force").ok()
        if pid:
            reap(pid)
        leftovers.check()


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks(runtime: Runtime, bundle: Workshop, error: str) -> None:
    """NFS without its lock daemon: as with other runtimes, there is no lock then."""
    made = bundle("pause")
    prefix = injecting("flock", error)
    pid = runtime.created(made, prefix=prefix)
    runtime("start", made.id, prefix=prefix).ok()
    assert runtime("state", made.id, prefix=prefix).json["status"] == "running"
    runtime("kill", made.id, "KILL", prefix=prefix).ok()
    reap(pid)
    runtime("delete", made.id, prefix=prefix).ok()
    assert not list(runtime.root.iterdir())


@pytest.mark.parametrize("call", ["flock", "chmod"])
def test_a_directory_that_cannot_be_claimed(runtime: Runtime, bundle: Workshop, call: str) -> None:
    """Does not stay."""
    made = bundle("pause")
    made.write()
    result = runtime("create", "--bundle", str(made.path), made.id, prefix=injecting(call, "EIO"))
    result.failed("input/output error", made.id)
    assert not list(runtime.root.iterdir())


def test_sigint_at_any_time(runtime: Runtime, bundle: Workshop) -> None:
    """Also before the program's own first line: no traceback, and no complaint about the installation."""
    made = bundle("pause")
    for step in range(80):
        argv = runtime.argv("list")
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(step * 0.00025)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = process.stderr.read()
        assert "Traceback" not in said and "broken" not in said and "internal" not in said, said
        assert process.returncode in (0, 130, -signal.SIGINT)
    assert made.id


# Words of others


def test_what_the_image_says(runtime: Runtime, bundle: Workshop, scratch: Path) -> None:
    """Its names reach the terminal as text: no escape sequence, and no line that looks like one of ours."""
    made = bundle()
    made.process["args"] = ["/script"]
    (made.rootfs / "script").write_text("#!/\x1b]0;title\x07\x9b31m\r\x7f -x\n")
    (made.rootfs / "script").chmod(0o755)
    made.write()
    log = scratch / "log"
    for form in ("text", "json"):
        argv = runtime.argv(
            "create", "--bundle", str(made.path), made.id, flags=["--log", str(log), "--log-format", form]
        )
        done = subprocess.run(argv, capture_output=True, timeout=10)
        assert done.returncode == 1
        text = done.stderr.decode()
        assert "\\x1b]0;title\\x07" in text
        assert text.endswith("\n") and text.count("\n") == 1
        assert all(c.isprintable() for c in text[:-1])
    made.process["args"] = ["/bin/a\nocirun: all is well"]
    made.write()
    done = subprocess.run(argv, capture_output=True, timeout=10)
    assert done.stderr.count(b"\n") == 1
    made.config["root"]["path"] = 5
    made.config["hostname"] = 5
    made.write()
    done = subprocess.run(argv, capture_output=True, timeout=10)
    assert done.stderr.count(b"\n") == 3, "several errors are lines of our own"
    assert not os.path.exists(runtime.root / made.id)
