"""Hooks: config.md, POSIX-platform hooks, and the steps 3 to 13 of the lifecycle in runtime.md."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from .. import host
from ..bundle import Bundle
from ..engine import Facts, Trial
from ..runtime import CommandError
from . import case
from .lifecycle import _gone, _misfits

KINDS = {
    "prestart": "prestart",
    "createRuntime": "create-runtime",
    "createContainer": "create-container",
    "startContainer": "start-container",
    "poststart": "poststart",
    "poststop": "poststop",
}
"""The names of config.json, and those of the register."""

IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")


class Log:
    """What the hooks of a container have written down: the same file inside the container and outside."""

    def __init__(self, trial: Trial, bundle: Bundle) -> None:
        self.trial = trial
        self.bundle = bundle
        self.directory = trial.directory / f"shared-{bundle.id}"
        self.directory.mkdir()
        self.file = self.directory / "log"
        bundle.bind(self.directory, "/shared", "rbind")

    def add(self, kind: str, name: str, *words: str, **more: Any) -> None:
        """Add a hook that writes its facts down under that name."""
        inside = kind == "startContainer"
        program = "/probe" if inside else str(self.trial.probe)
        self.bundle.hook(kind, program, "hook", "/shared/log" if inside else str(self.file), name, *words, **more)

    def program(self, *words: str) -> None:
        """Have the container's program write its facts down as well, as "program"."""
        self.bundle.args("hook", "/shared/log", "program", *words)

    def read(self) -> list[Facts]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def names(self) -> list[str]:
        return [str(one["hook"]) for one in self.read()]

    def of(self, name: str) -> Facts:
        """The facts of one; CommandError where it was not called."""
        for one in self.read():
            if one["hook"] == name:
                return one
        raise CommandError(f"the hook {name} was not called")


@case(
    *(f"runtime.lifecycle.{name}" for name in KINDS.values()),
    "config.hooks.order",
    "config.hooks.prestart.before-create-runtime",
    "config.hooks.create-container.after-create-runtime",
    "config.hooks.start-container.when",
)
def order(trial: Trial) -> None:
    """Two hooks of each kind: all are called, in the order of the kinds and of the list, at the operation that they
    belong to."""
    bundle = trial.bundle()
    log = Log(trial, bundle)
    for kind in KINDS:
        for number in (1, 2):
            log.add(kind, f"{kind}-{number}")
    log.program()
    container = trial.create(bundle)
    after_create = log.names()
    container.start()
    container.wait()
    trial.eventually(lambda: "program" in log.names(), 2)
    after_start = log.names()
    container.delete()
    after_delete = log.names()
    for kind, code in KINDS.items():
        called = [name for name in after_delete if name.startswith(f"{kind}-")]
        trial.equal(f"runtime.lifecycle.{code}", "hooks that were called", [f"{kind}-1", f"{kind}-2"], sorted(called))
        trial.equal("config.hooks.order", f"{kind} hooks in the order of the calls", [f"{kind}-1", f"{kind}-2"], called)

    def before(first: str, then: str) -> tuple[bool, str]:
        # Those of the first kind that were called, if any were.
        early = [place for place, name in enumerate(after_delete) if name.startswith(first)]
        late = [place for place, name in enumerate(after_delete) if name.startswith(then)]
        return not early or not late or max(early) < min(late), ", ".join(after_delete)

    met, found = before("prestart", "createRuntime")
    trial.check("config.hooks.prestart.before-create-runtime", met, "prestart hooks before createRuntime hooks", found)
    met, found = before("createRuntime", "createContainer")
    trial.check(
        "config.hooks.create-container.after-create-runtime",
        met,
        "createRuntime hooks before createContainer hooks",
        found,
    )
    early = [name for name in after_create if name.startswith("startContainer")]
    met, found = before("startContainer", "program")
    trial.check(
        "config.hooks.start-container.when",
        met and not early,
        "startContainer hooks at `start`, before the program",
        f"after create: {', '.join(after_create)}; after start: {', '.join(after_start)}",
    )


@case("config.hooks.prestart.when", "config.hooks.create-runtime.when", "config.hooks.create-container.when")
def when_created(trial: Trial) -> None:
    """prestart, createRuntime and createContainer hooks run within `create`, when the namespaces are there, before
    pivot_root."""
    bundle = trial.bundle().args("pause")
    log = Log(trial, bundle)
    kinds = ("prestart", "createRuntime", "createContainer")
    for kind in kinds:
        log.add(kind, kind)
    container = trial.create(bundle)
    names = log.names()
    own = os.stat("/")
    for kind in kinds:
        code = f"config.hooks.{KINDS[kind]}.when"
        if not names.count(kind):
            trial.check(
                code, False, f"the {kind} hook has run when `create` returns", f"those that have: {', '.join(names)}"
            )
            continue
        facts = log.of(kind)
        seen = facts if kind == "createContainer" else facts.get("container", {})
        new = {name: seen.get("namespaces", {}).get(name) for name in ("network", "ipc", "uts", "mount")}
        if trial.ordinary and not any(new.values()):
            trial.cannot("a hook of an ordinary user may not look at the container's process", code)
            continue
        wanted = {name: container.namespace(name) for name in new}
        trial.equal(code, "the container's namespaces, when the hook runs", wanted, new)
        root = seen.get("root", {})
        trial.check(
            code,
            (root.get("dev"), root.get("ino")) == (own.st_dev, own.st_ino),
            "the container's root is the host's, when the hook runs: pivot_root is still to come",
            f"its inode is {root.get('ino')}, the host's {own.st_ino}",
        )


@case(*(f"config.hooks.{KINDS[kind]}.path" for kind in KINDS))
def paths(trial: Trial) -> None:
    """The path of a startContainer hook is one in the container, that of every other one on the host."""
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    # Neither is there in the other place: the rootfs has no such path, and the host has none of the rootfs.
    outside = trial.directory / "only-outside"
    outside.write_bytes(trial.probe.read_bytes())
    outside.chmod(0o755)
    inside = f"/only-inside-{trial.mark}"
    (bundle.rootfs / inside[1:]).write_bytes(trial.probe.read_bytes())
    (bundle.rootfs / inside[1:]).chmod(0o755)
    for kind in KINDS:
        if kind == "startContainer":
            bundle.hook(kind, inside, "hook", "/shared/log", kind)
        else:
            bundle.hook(kind, str(outside), "hook", str(log.file), kind)
    problem = ""
    try:
        container = trial.started(bundle)
        container.wait()
        container.delete()
    except CommandError as error:
        problem = f"; {error}"
    names = log.names()
    for kind in KINDS:
        place = "the container's" if kind == "startContainer" else "the runtime's"
        trial.check(
            f"config.hooks.{KINDS[kind]}.path",
            kind in names,
            f"the {kind} hook is found in {place} file system",
            f"hooks that were called: {', '.join(names)}{problem}",
        )


@case(*(f"config.hooks.{KINDS[kind]}.namespace" for kind in KINDS))
def namespaces(trial: Trial) -> None:
    """createContainer and startContainer hooks run in the container's namespaces, the others in the runtime's."""
    bundle = trial.bundle().args("pause")
    log = Log(trial, bundle)
    for kind in KINDS:
        log.add(kind, kind)
    container = trial.started(bundle)
    of_container = {name: container.namespace(name) for name in NAMESPACES}
    links = {"network": "net", "mount": "mnt"}
    of_runtime = {name: os.readlink(f"/proc/self/ns/{links.get(name, name)}") for name in NAMESPACES}
    container.stop()
    container.delete()
    names = log.names()
    for kind in KINDS:
        code = f"config.hooks.{KINDS[kind]}.namespace"
        if kind not in names:
            trial.check(code, False, f"the {kind} hook is called", f"those that were: {', '.join(names)}")
            continue
        facts = log.of(kind)
        found = {name: facts["namespaces"][name] for name in NAMESPACES}
        wanted = of_runtime if kind in IN_RUNTIME else of_container
        if kind == "createContainer" and found["pid"] is None:
            # The host's /proc shows no links of a process in another pid namespace under the names of that one.
            found.pop("pid")
            wanted = {name: wanted[name] for name in found}
        whose = "the runtime's" if kind in IN_RUNTIME else "the container's"
        trial.equal(code, f"namespaces of the {kind} hook, {whose}", wanted, found)


@case("config.hooks.poststart.when")
def when_started(trial: Trial) -> None:
    """poststart hooks run within `start`, when the container's process executes the program."""
    bundle = trial.bundle().args("pause")
    log = Log(trial, bundle)
    log.add("poststart", "poststart")
    container = trial.create(bundle)
    early = log.names()
    container.start()
    names = log.names()
    trial.check(
        "config.hooks.poststart.when",
        not early and names == ["poststart"],
        "the poststart hook has run when `start` returns, and not before",
        f"after create: {', '.join(early)}; after start: {', '.join(names)}",
    )
    if names:
        command = (log.of("poststart").get("container", {}).get("cmdline") or "").split("\0")
        trial.equal(
            "config.hooks.poststart.when",
            "command line of the container's process, when the hook runs",
            ["/probe", "pause"],
            command[:2],
        )


@case("config.hooks.poststop.when", needs=("root",))
def when_deleted(trial: Trial) -> None:
    """poststop hooks run within `delete`, when the container's process and cgroups are gone."""
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    groups = host.cgroups()
    controller = groups.v1.get("pids") or groups.v1.get("memory") or groups.v2
    place = Path(controller.point, bundle.id) if controller else trial.directory / "none"
    log.add("poststop", "poststop", f"stat={place}")
    container = trial.started(bundle)
    container.wait()
    early = log.names()
    container.delete()
    names = log.names()
    trial.check(
        "config.hooks.poststop.when",
        not early and names == ["poststop"],
        "the poststop hook has run when `delete` returns, and not before",
        f"before: {', '.join(early)}; afterwards: {', '.join(names)}",
    )
    if names:
        error = log.of("poststop")["actions"][f"stat={place}"]["error"]
        trial.equal(
            "config.hooks.poststop.when",
            "error of stat for the container's cgroup, when the hook runs",
            "ENOENT",
            error,
        )


STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}
"""What the definitions of the states make of each moment."""


@case("config.hooks.state")
def state(trial: Trial) -> None:
    """Each hook gets the state on standard input: id, bundle, annotations, the status of that moment, a pid while
    there is one."""
    bundle = trial.bundle().args("pause")
    bundle.config["annotations"] = {"org.example.of-hooks": "yes"}
    log = Log(trial, bundle)
    for kind in KINDS:
        log.add(kind, kind)
    container = trial.started(bundle)
    container.stop()
    container.delete()
    for kind in KINDS:
        text = log.of(kind)["stdin"].encode("latin-1").decode("utf-8", "replace") if kind in log.names() else None
        if text is None:
            continue
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            trial.check(
                "config.hooks.state", False, f"the state on standard input of the {kind} hook", f"{text[:200]!r}"
            )
            continue
        misfit = _misfits(document)
        trial.check(
            "config.hooks.state", not misfit, f"a state that fits the schema, for the {kind} hook", misfit or "it fits"
        )
        if misfit:
            continue
        wanted = {"id": bundle.id, "status": STATUS[kind], "annotations": {"org.example.of-hooks": "yes"}}
        trial.equal(
            "config.hooks.state",
            f"state that the {kind} hook gets",
            wanted,
            {name: document.get(name) for name in wanted},
        )
        same = os.path.realpath(document["bundle"]) == os.path.realpath(bundle.path)
        trial.check(
            "config.hooks.state", same, f"bundle for the {kind} hook: {bundle.path}", f"bundle: {document['bundle']}"
        )
        if kind in ("prestart", "createRuntime", "poststart"):
            trial.equal("config.hooks.state", f"pid for the {kind} hook", container.pid, document.get("pid"))
        if kind == "startContainer":
            trial.equal("config.hooks.state", f"pid for the {kind} hook, in the container", 1, document.get("pid"))
    if not log.names():
        trial.check("config.hooks.state", False, "hooks are called", "none was")


@case("config.hooks.args", "config.hooks.env")
def arguments(trial: Trial) -> None:
    """A hook has the arguments and the environment of the configuration, and nothing of the runtime's."""
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    wanted = ["ONE=1", "EMPTY=", "TWO=a b"]
    for kind in KINDS:
        log.add(kind, kind, "", "two words", "--option", env=wanted)
    container = trial.started(bundle, environment={"OF_THE_CALLER": "1"})
    container.wait()
    container.delete()
    for kind in KINDS:
        if kind not in log.names():
            continue
        facts = log.of(kind)
        inside = kind == "startContainer"
        words = [
            "/probe" if inside else str(trial.probe),
            "hook",
            "/shared/log" if inside else str(log.file),
            kind,
            "",
            "two words",
            "--option",
        ]
        trial.equal("config.hooks.args", f"arguments of the {kind} hook", words, facts["argv"])
        trial.equal("config.hooks.env", f"environment of the {kind} hook", sorted(wanted), sorted(facts["env"]))


@case("config.hooks.args")
def argv_zero(trial: Trial) -> None:
    """The first of args is argv[0] of the hook, whatever its path is."""
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    bundle.config["hooks"] = {
        "createRuntime": [{"path": str(trial.probe), "args": ["another-name", "hook", str(log.file), "hook"]}]
    }
    trial.create(bundle)
    trial.equal("config.hooks.args", "argv[0] of the hook", "another-name", log.of("hook")["argv"][0])


@case("config.hooks.timeout")
def timeout(trial: Trial) -> None:
    """A hook that takes longer than its timeout is ended, and `create` fails; one that does not is left alone."""
    bundle = trial.bundle().args("pause")
    log = Log(trial, bundle)
    log.add("createRuntime", "quick", timeout=5)
    log.add("createRuntime", "slow", "sleep=6", timeout=1)
    begin = time.monotonic()
    result = trial.attempt_create(bundle)
    took = time.monotonic() - begin
    trial.reports_error("config.hooks.timeout", "`create`", result)
    trial.check(
        "config.hooks.timeout", 0.9 < took < 5, "`create` ends after the timeout of 1 s", f"it took {took:.1f} s"
    )
    time.sleep(max(0, min(begin + 6.3 - time.monotonic(), 0.2)))
    trial.check(
        "config.hooks.timeout", "slept" not in log.names(), "the hook is ended", f"hooks: {', '.join(log.names())}"
    )


def _failing(trial: Trial, kind: str) -> None:
    code = f"runtime.lifecycle.{KINDS[kind]}-fails"
    bundle = trial.bundle().args("pause")
    log = Log(trial, bundle)
    log.add(kind, "failing", "exit=3")
    log.add("poststop", "poststop")
    result = trial.attempt_create(bundle)
    operation = "create"
    if kind in ("startContainer", "poststart"):
        if not result.ok:
            raise CommandError(f"`create` failed with {result}")
        container = trial.created(bundle, result)
        operation = "start"
        result = container.attempt("start")
        ended = trial.eventually(lambda: not container.alive(), 3)
        trial.holds(code, ended, "the container's process has ended", "the container's process lives")
    trial.check(code, result.code > 0, f"`{operation}` reports an error", f"`{operation}` ended with {result}")
    trial.eventually(lambda: not _gone(trial, bundle), 1)
    rest = _gone(trial, bundle)
    trial.check(code, not rest, "the container is destroyed", rest or "nothing is left")
    names = log.names()
    trial.check(
        code,
        {"failing", "poststop"} <= set(names),
        "poststop hooks are called after the failing one",
        f"called: {', '.join(names)}",
    )


@case("runtime.lifecycle.prestart-fails")
def prestart_fails(trial: Trial) -> None:
    """A failing prestart hook makes `create` fail, the container is destroyed and poststop hooks are called."""
    _failing(trial, "prestart")


@case("runtime.lifecycle.create-runtime-fails")
def create_runtime_fails(trial: Trial) -> None:
    """A failing createRuntime hook makes `create` fail, the container is destroyed and poststop hooks are called."""
    _failing(trial, "createRuntime")


@case("runtime.lifecycle.create-container-fails")
def create_container_fails(trial: Trial) -> None:
    """A failing createContainer hook makes `create` fail, the container is destroyed and poststop hooks are called."""
    _failing(trial, "createContainer")


@case("runtime.lifecycle.start-container-fails")
def start_container_fails(trial: Trial) -> None:
    """A failing startContainer hook makes `start` fail, the container is destroyed and poststop hooks are called."""
    _failing(trial, "startContainer")


@case("runtime.lifecycle.poststart-fails")
def poststart_fails(trial: Trial) -> None:
    """A failing poststart hook makes `start` fail, the container is destroyed and poststop hooks are called."""
    _failing(trial, "poststart")


@case("runtime.lifecycle.poststop-fails")
def poststop_fails(trial: Trial) -> None:
    """A failing poststop hook is a warning: the next one runs, `delete` succeeds, the container is gone."""
    bundle = trial.bundle().args("exit", "0")
    log = Log(trial, bundle)
    log.add("poststop", "failing", "exit=3")
    log.add("poststop", "next")
    container = trial.started(bundle)
    container.wait()
    result = container.attempt("delete")
    trial.check("runtime.lifecycle.poststop-fails", result.ok, "`delete` succeeds", f"it ended with {result}")
    trial.equal("runtime.lifecycle.poststop-fails", "hooks that were called", ["failing", "next"], log.names())
    rest = _gone(trial, bundle)
    trial.check("runtime.lifecycle.poststop-fails", not rest, "the container is gone", rest or "nothing is left")
