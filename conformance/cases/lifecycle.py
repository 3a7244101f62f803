"""Operations and the life of a container: runtime.md."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .. import host
from ..bundle import Bundle
from ..engine import Container, Trial
from ..runtime import CommandError
from . import case


def _gone(trial: Trial, bundle: Bundle) -> str:
    """What is left of a container that must not exist, or ""."""
    result = trial.attempt("state", bundle.id)
    if result.ok:
        return "`state` still knows the container"
    for point in host.cgroups().points():
        for place in point.glob(f"*{bundle.id}*"):
            return f"the cgroup {place} is left"
    for one in host.parse_mountinfo(Path("/proc/self/mountinfo").read_text()):
        if one.point.startswith(f"{bundle.path}/"):
            return f"a mount on {one.point} is left"
    return ""


@case("runtime.create.new", "runtime.operations.supported", "runtime.scope.same-entity")
def whole_life(trial: Trial) -> None:
    """A container is created, asked for its state, started, killed and deleted."""
    bundle = trial.bundle().args("pause")
    done = []
    container = None
    for operation in ("create", "state", "start", "kill", "delete"):
        try:
            if operation == "create":
                container = trial.create(bundle)
            assert container is not None
            if operation == "state":
                container.state()
            elif operation == "start":
                container.start()
            elif operation == "kill":
                container.stop()
            elif operation == "delete":
                container.delete()
        except CommandError as error:
            done.append(f"{operation}: {error}")
            break
        done.append(operation)
    expected = "create, state, start, kill and delete succeed"
    trial.check("runtime.create.new", done[0] == "create", "`create` makes a container", done[0])
    for code in ("runtime.operations.supported", "runtime.scope.same-entity"):
        trial.check(code, done == ["create", "state", "start", "kill", "delete"], expected, ", ".join(done))


@case("runtime.state.oci-version", "runtime.state.id", "runtime.state.bundle")
def state_fields(trial: Trial) -> None:
    """The state has the version of the specification, the id and the absolute path of the bundle."""
    bundle = trial.bundle().args("pause")
    state = trial.create(bundle).state()
    version = state.get("ociVersion")
    trial.check(
        "runtime.state.oci-version",
        isinstance(version, str) and version.count(".") >= 2 and version.split(".")[0].isdigit(),
        "ociVersion: a version of the specification, as 1.3.0",
        f"ociVersion: {version!r}",
    )
    trial.equal("runtime.state.id", "id", bundle.id, state.get("id"))
    found = state.get("bundle")
    same = isinstance(found, str) and os.path.isabs(found) and os.path.realpath(found) == os.path.realpath(bundle.path)
    trial.check("runtime.state.bundle", same, f"bundle: {bundle.path}", f"bundle: {found!r}")


@case("runtime.state.bundle")
def state_bundle_relative(trial: Trial) -> None:
    """A bundle that is given as a relative path is absolute in the state."""
    bundle = trial.bundle().args("pause")
    bundle.write()
    relative = os.path.relpath(bundle.path)
    result = trial.attempt(
        "create", "--bundle", relative, "--pid-file", str(trial.directory / f"{bundle.id}.pid"), bundle.id
    )
    if not result.ok:
        raise CommandError(f"`create --bundle {relative}` failed with {result}")
    found = trial.created(bundle, result).state().get("bundle")
    same = isinstance(found, str) and os.path.isabs(found) and os.path.realpath(found) == os.path.realpath(bundle.path)
    trial.check("runtime.state.bundle", same, f"bundle: {bundle.path}", f"bundle: {found!r}")


@case("runtime.state.status", "runtime.state.status-additional")
def state_status(trial: Trial) -> None:
    """The status is created, running and stopped, each in its time."""
    container = trial.create(trial.bundle().args("pause"))
    seen = [container.status()]
    container.start()
    seen.append(container.status())
    container.stop()
    trial.eventually(lambda: container.status() == "stopped", 3)
    seen.append(container.status())
    trial.equal(
        "runtime.state.status", "status after create, start and the end", ["created", "running", "stopped"], seen
    )
    trial.check(
        "runtime.state.status-additional",
        all(one in ("created", "running", "stopped") for one in seen),
        "no name of the runtime's own for created, running and stopped",
        f"status: {', '.join(seen)}",
    )


@case("runtime.state.pid")
def state_pid(trial: Trial) -> None:
    """The pid is that of the container's process, when it is created and when it is running."""
    container = trial.create(trial.bundle().args("pause"))
    for when in ("created", "running"):
        pid = container.state().get("pid")
        trial.equal("runtime.state.pid", f"pid when {when}", container.pid, pid)
        if isinstance(pid, int) and pid > 0:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt") if os.path.exists(f"/proc/{pid}") else "none"
            trial.check(
                "runtime.state.pid",
                namespace not in ("none", os.readlink("/proc/self/ns/mnt")),
                f"the process of that pid, when {when}, is in the container's mount namespace",
                f"its mount namespace: {namespace}",
            )
        if when == "created":
            container.start()
            trial.eventually(lambda: "probe" in container.proc("comm"))
    container.stop()


STATE_TYPES = {"ociVersion": str, "id": str, "status": str, "pid": int, "bundle": str, "annotations": dict}


def _misfits(state: dict[str, object]) -> str:
    """Where a state does not fit the state schema, or ""."""
    for name in ("ociVersion", "id", "status", "bundle"):
        if name not in state:
            return f"{name} is missing"
    for name, kind in STATE_TYPES.items():
        if (
            name in state
            and not (name == "annotations" and state[name] is None)
            and (not isinstance(state[name], kind) or isinstance(state[name], bool))
        ):
            return f"{name} is {state[name]!r}"
    if isinstance(state.get("pid"), int) and state["pid"] < 0:  # type: ignore[operator]
        return f"pid is {state['pid']}"
    annotations = state.get("annotations")
    if isinstance(annotations, dict) and not all(isinstance(value, str) for value in annotations.values()):
        return f"annotations are {annotations!r}"
    if state["status"] not in ("creating", "created", "running", "stopped"):
        return f"status is {state['status']!r}"
    return ""


@case("runtime.state.schema", "runtime.state.returned")
def state_schema(trial: Trial) -> None:
    """The state fits its schema when the container is created, running and stopped; annotations are handed on."""
    bundle = trial.bundle().args("pause")
    bundle.config["annotations"] = {"org.example.one": "1", "org.example.empty": ""}
    container = trial.create(bundle)
    for when in ("created", "running", "stopped"):
        if when == "running":
            container.start()
        if when == "stopped":
            container.stop()
        state = container.state()
        misfit = _misfits(state)
        trial.check(
            "runtime.state.schema", not misfit, f"a state that fits the schema, when {when}", misfit or "it fits"
        )
        trial.check(
            "runtime.state.returned",
            state.get("id") == container.id and state.get("status") == when,
            f"the state of {container.id}, {when}",
            {name: state.get(name) for name in ("id", "status")},
        )


@case("runtime.state.id-unique", "runtime.create.unique-id", "runtime.create.unique-id-not-created")
def duplicate_id(trial: Trial) -> None:
    """An id that is taken is refused, and the container that has it is unharmed."""
    first = trial.create(trial.bundle().args("pause"))
    other = trial.bundle().args("touch", "/made")
    other.write()
    second = trial.attempt("create", "--bundle", str(other.path), first.id)
    trial.reports_error("runtime.create.unique-id", "`create` with a taken id", second)
    state = first.state()
    same = state.get("pid") == first.pid and os.path.realpath(str(state.get("bundle"))) == os.path.realpath(
        first.bundle.path
    )
    found = {name: state.get(name) for name in ("pid", "bundle", "status")}
    expected = f"the id belongs to the first container alone: pid {first.pid}, bundle {first.bundle.path}"
    trial.check("runtime.state.id-unique", same and second.code > 0, expected, found)
    first.start()
    trial.eventually(lambda: "probe" in first.proc("comm"))
    running = first.status()
    trial.check(
        "runtime.create.unique-id-not-created",
        same and running == "running" and not (other.rootfs / "made").exists(),
        "no new container, and the first one can be started",
        f"status of the first one: {running}",
    )


@case("runtime.create.invalid-id")
def invalid_id(trial: Trial) -> None:
    """Ids that cannot be one are refused: none of them leaves the directory of the runtime's state."""
    for id in ("", ".", "..", "../escaped", "a/b"):
        bundle = trial.bundle()
        bundle.write()
        result = trial.attempt("create", "--bundle", str(bundle.path), id)
        escaped = (trial.runtime.root.parent / "escaped").exists()
        trial.check(
            "runtime.create.invalid-id",
            result.code > 0 and not escaped,
            f"`create` with the id {id!r} reports an error",
            f"it ended with {result}",
        )


@case(
    "runtime.state.no-id",
    "runtime.create.no-arguments",
    "runtime.start.no-id",
    "runtime.kill.no-id",
    "runtime.delete.no-id",
)
def no_id(trial: Trial) -> None:
    """Each operation without an id reports an error."""
    bundle = trial.bundle()
    bundle.write()
    for operation, code in (
        ("state", "runtime.state.no-id"),
        ("start", "runtime.start.no-id"),
        ("kill", "runtime.kill.no-id"),
        ("delete", "runtime.delete.no-id"),
    ):
        result = trial.attempt(operation)
        trial.reports_error(code, f"`{operation}` without an id", result)
    result = trial.attempt("create", "--bundle", str(bundle.path))
    trial.reports_error("runtime.create.no-arguments", "`create` without an id", result)


@case("runtime.create.no-arguments", "bundle.config.required", "bundle.config.name")
def no_bundle(trial: Trial) -> None:
    """A bundle that is missing, or has no file of the name config.json, is refused."""
    bundle = trial.bundle()
    missing = trial.attempt("create", "--bundle", str(trial.directory / "nothing"), bundle.id)
    trial.reports_error("runtime.create.no-arguments", "`create` without a bundle", missing)
    without = trial.attempt("create", "--bundle", str(bundle.path), bundle.id)
    trial.reports_error("bundle.config.required", "`create` without config.json", without)
    bundle.write()
    bundle.file.rename(bundle.path / "Config.json")
    other = trial.attempt("create", "--bundle", str(bundle.path), bundle.id)
    trial.reports_error("bundle.config.name", "`create` with Config.json alone", other)
    (bundle.path / "Config.json").rename(bundle.file)
    container = trial.create(bundle)
    trial.check("bundle.config.name", container.alive(), "config.json is read", "a container was created")


@case("runtime.state.unknown-id")
def unknown_id(trial: Trial) -> None:
    """The state of a container that does not exist is an error."""
    result = trial.attempt("state", f"{trial.mark}-nobody")
    trial.reports_error("runtime.state.unknown-id", "`state` of an unknown id", result)


@case("runtime.lifecycle.environment", "runtime.lifecycle.resources-at-create", "runtime.create.applied")
def created_environment(trial: Trial) -> None:
    """After `create`, before `start`, namespaces, mounts, root, host name and user namespace of the configuration are
    there."""
    bundle = trial.bundle().args("pause")
    bundle.mount("/made", "tmpfs", "tmpfs")
    container = trial.create(bundle)
    missing = []
    for kind in ("pid", "network", "ipc", "uts", "mount"):
        if container.namespace(kind) == os.readlink(
            f"/proc/self/ns/{ {'mount': 'mnt', 'network': 'net'}.get(kind, kind) }"
        ):
            missing.append(f"a {kind} namespace")
    points = [one.point for one in container.mounts()]
    if not any(point == "/made" or point.endswith("/rootfs/made") for point in points):
        missing.append("the mount on /made")
    found = "all is there" if not missing else f"missing: {', '.join(missing)}"
    for code in trial.case.codes:
        trial.check(code, not missing, "namespaces and mounts are there after `create`", found)


@case("runtime.lifecycle.resources-at-create", "runtime.create.applied", needs=("root", "controller:pids"))
def created_cgroup(trial: Trial) -> None:
    """After `create` the cgroup is there with its limits."""
    bundle = trial.bundle().args("pause")
    bundle.resources(pids={"limit": 77})
    container = trial.create(bundle)
    where = "unified" if host.cgroups().version == "v2" else "pids"
    for code in trial.case.codes:
        trial.equal(code, "pids.max after `create`", "77", container.cgroup_file(where, "pids.max"))


@case("runtime.lifecycle.not-run-at-create", "runtime.create.args-not-applied", "runtime.lifecycle.run")
def program_at_start(trial: Trial) -> None:
    """The program runs at `start`, and not before."""
    bundle = trial.bundle().args("touch", "/ran")
    container = trial.create(bundle)
    early = trial.eventually(lambda: (bundle.rootfs / "ran").exists(), 0.2)
    found = "it has run" if early else "it has not run"
    trial.check("runtime.lifecycle.not-run-at-create", not early, "the program has not run after `create`", found)
    trial.check("runtime.create.args-not-applied", not early, "process.args has no effect at `create`", found)
    container.start()
    container.wait()
    ran = (bundle.rootfs / "ran").exists()
    trial.check(
        "runtime.lifecycle.run", ran, "the program has run after `start`", "it has run" if ran else "it has not run"
    )


@case("runtime.lifecycle.config-frozen")
def config_changed_later(trial: Trial) -> None:
    """What is changed in config.json after `create` has no effect."""
    bundle = trial.bundle().args("touch", "/first")
    container = trial.create(bundle)
    bundle.args("touch", "/second").write()
    container.start()
    container.wait()
    made = [name for name in ("first", "second") if (bundle.rootfs / name).exists()]
    trial.equal("runtime.lifecycle.config-frozen", "programs that have run", ["first"], made)


@case("runtime.lifecycle.config-frozen")
def config_removed_later(trial: Trial) -> None:
    """A container can be started, killed and deleted after its config.json has gone."""
    bundle = trial.bundle().args("pause")
    container = trial.create(bundle)
    bundle.file.unlink()
    try:
        container.start()
        container.stop()
        container.delete()
        found = "start, kill and delete succeed"
    except CommandError as error:
        found = str(error)
    trial.check("runtime.lifecycle.config-frozen", found.endswith("succeed"), "start, kill and delete succeed", found)


UNMOUNTABLE = {"destination": "/broken", "type": "no-such-file-system", "source": "none"}


@case(
    "runtime.lifecycle.environment-error",
    "runtime.create.cannot-apply",
    "runtime.create.cannot-apply-not-created",
    "runtime.errors.no-trace",
    "config.mounts.unmountable",
)
def impossible_environment(trial: Trial) -> None:
    """A mount that cannot be made is an error of `create`, and nothing of the container stays."""
    bundle = trial.bundle()
    bundle.config["mounts"].append(UNMOUNTABLE)
    result = trial.attempt_create(bundle)
    for code in ("runtime.lifecycle.environment-error", "runtime.create.cannot-apply", "config.mounts.unmountable"):
        trial.reports_error(code, "`create`", result)
    rest = _gone(trial, bundle)
    expected = "no container, no cgroup and no mount is left of the failed `create`"
    for code in ("runtime.create.cannot-apply-not-created", "runtime.errors.no-trace"):
        trial.check(code, not rest, expected, rest or "nothing is left")
    bundle.config["mounts"].remove(UNMOUNTABLE)
    again = trial.attempt_create(bundle)
    trial.check(
        "runtime.errors.no-trace", again.ok, "`create` with the same id succeeds afterwards", f"it ended with {again}"
    )
    if again.ok:
        trial.created(bundle, again)


@case("runtime.start.not-created", "runtime.start.not-created-no-effect")
def start_twice(trial: Trial) -> None:
    """A container that runs or has stopped cannot be started, and is unharmed."""
    bundle = trial.bundle().args("trap", "/signals")
    container = trial.started(bundle)
    ready = bundle.rootfs / "signals"
    trial.eventually(lambda: ready.exists() and "ready" in ready.read_text())
    second = container.attempt("start")
    trial.reports_error("runtime.start.not-created", "`start` of a running container", second)
    same = container.alive() and container.state().get("pid") == container.pid and ready.read_text() == "ready\n"
    trial.check(
        "runtime.start.not-created-no-effect",
        same and container.status() == "running",
        "the container runs on, unharmed",
        f"status: {container.status()}, its program has seen: {ready.read_text().split()}",
    )
    container.stop()
    ready.unlink()
    third = container.attempt("start")
    trial.reports_error("runtime.start.not-created", "`start` of a stopped container", third)
    trial.check(
        "runtime.start.not-created-no-effect",
        container.status() == "stopped" and not ready.exists(),
        "the container stays stopped",
        f"status: {container.status()}",
    )


@case("runtime.start.not-created")
def start_unknown(trial: Trial) -> None:
    """A container that does not exist cannot be started."""
    result = trial.attempt("start", f"{trial.mark}-nobody")
    trial.reports_error("runtime.start.not-created", "`start` of an unknown id", result)


@case("runtime.start.no-process")
def no_process(trial: Trial) -> None:
    """Without `process`, `start` is an error, if not `create` already."""
    bundle = trial.bundle()
    del bundle.config["process"]
    result = trial.attempt_create(bundle)
    if result.ok:
        container = trial.created(bundle, result)
        result = container.attempt("start")
        trial.reports_error("runtime.start.no-process", "`start` without process", result)
    else:
        trial.check(
            "runtime.start.no-process",
            result.code > 0,
            "an error, at `start` at the latest",
            f"`create` ended with {result}",
        )


@case("runtime.kill.signal")
def kill_signals(trial: Trial) -> None:
    """`kill` sends the signal that it is told, by name and by number, to the container's process."""
    bundle = trial.bundle().args("trap", "/signals")
    container = trial.started(bundle)
    log = bundle.rootfs / "signals"
    trial.eventually(lambda: log.exists() and "ready" in log.read_text())
    for word, number in (
        ("USR1", signal.SIGUSR1),
        ("SIGUSR2", signal.SIGUSR2),
        ("1", signal.SIGHUP),
        ("WINCH", signal.SIGWINCH),
        ("TERM", signal.SIGTERM),
    ):
        result = container.attempt("kill", word)
        came = trial.eventually(lambda n=number: str(int(n)) in log.read_text().split(), 3)  # type: ignore[misc]
        trial.check(
            "runtime.kill.signal",
            result.ok and came,
            f"`kill {word}` sends signal {int(number)}",
            f"`kill` ended with {result}; the process has seen {log.read_text().split()[1:]}",
        )
    expected = [
        "ready",
        *(str(int(n)) for n in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, signal.SIGTERM)),
    ]
    trial.equal("runtime.kill.signal", "all signals that the process has seen", expected, log.read_text().split())


@case("runtime.kill.signal")
def kill_created(trial: Trial) -> None:
    """A container that is created and not started can be killed."""
    container = trial.create(trial.bundle().args("pause"))
    result = container.attempt("kill", "KILL")
    ended = trial.eventually(lambda: not container.alive(), 3)
    trial.check(
        "runtime.kill.signal",
        result.ok and ended,
        "`kill KILL` ends the process of a created container",
        f"`kill` ended with {result}, the process {'has ended' if ended else 'lives'}",
    )


@case("runtime.kill.not-running", "runtime.kill.not-running-no-effect")
def kill_stopped(trial: Trial) -> None:
    """A signal to a container that has stopped, or does not exist, is an error and changes nothing."""
    container = trial.started(trial.bundle().args("exit", "0"))
    container.wait()
    trial.eventually(lambda: container.status() == "stopped", 3)
    result = container.attempt("kill", "TERM")
    trial.reports_error("runtime.kill.not-running", "`kill` of a stopped container", result)
    trial.equal(
        "runtime.kill.not-running-no-effect",
        "status after `kill` of a stopped container",
        "stopped",
        container.status(),
    )
    unknown = trial.attempt("kill", f"{trial.mark}-nobody", "TERM")
    trial.reports_error("runtime.kill.not-running", "`kill` of an unknown id", unknown)


@case("runtime.delete.not-stopped", "runtime.delete.not-stopped-no-effect")
def delete_running(trial: Trial) -> None:
    """A container that runs cannot be deleted, and is unharmed."""
    container = trial.started(trial.bundle().args("pause"))
    trial.eventually(lambda: "probe" in container.proc("comm"))
    result = container.attempt("delete")
    trial.reports_error("runtime.delete.not-stopped", "`delete` of a running container", result)
    lives = container.alive()
    status = container.status()
    trial.check(
        "runtime.delete.not-stopped-no-effect",
        lives and status == "running",
        "the container runs on",
        f"its process {'lives' if lives else 'has ended'}, status: {status}",
    )


@case("runtime.delete.not-stopped", "runtime.delete.not-stopped-no-effect")
def delete_created(trial: Trial) -> None:
    """A container that is created and not started cannot be deleted, and is unharmed."""
    container = trial.create(trial.bundle().args("pause"))
    result = container.attempt("delete")
    trial.reports_error("runtime.delete.not-stopped", "`delete` of a created container", result)
    lives = container.alive()
    status = container.status()
    trial.check(
        "runtime.delete.not-stopped-no-effect",
        lives and status == "created",
        "the container stays created",
        f"its process {'lives' if lives else 'has ended'}, status: {status}",
    )


@case("runtime.delete.not-stopped")
def delete_unknown(trial: Trial) -> None:
    """A container that does not exist cannot be deleted."""
    result = trial.attempt("delete", f"{trial.mark}-nobody")
    trial.reports_error("runtime.delete.not-stopped", "`delete` of an unknown id", result)


def _leavings(container: Container, groups: list[Path]) -> str:
    for group in groups:
        if group.exists():
            return f"the cgroup {group} is left"
    return _gone(container.trial, container.bundle)


@case("runtime.delete.resources", "runtime.lifecycle.destroyed")
def delete_leaves_nothing(trial: Trial) -> None:
    """After `delete` the container, its cgroups, mounts and files of the runtime are gone, and its id can be used
    again."""
    bundle = trial.bundle().args("exit", "0")
    container = trial.create(bundle)
    groups = [] if trial.ordinary else [path for path in container.cgroups().values() if container.id in str(path)]
    container.start()
    container.wait()
    container.delete()
    rest = _leavings(container, groups)
    if not rest:
        files = [path for path in trial.runtime.root.rglob(f"*{container.id}*")]
        rest = f"the runtime's file {files[0]} is left" if files else ""
    for code in trial.case.codes:
        trial.check(code, not rest, "nothing is left after `delete`", rest or "nothing is left")
    again = trial.attempt_create(bundle)
    trial.check("runtime.delete.resources", again.ok, "the id can be used again", f"`create` ended with {again}")
    if again.ok:
        trial.created(bundle, again)


@case("runtime.delete.resources", "runtime.lifecycle.destroyed", needs=("root",))
def delete_kills_the_rest(trial: Trial) -> None:
    """Without a pid namespace, `delete` leaves no process behind that the container's has left behind."""
    bundle = trial.bundle().args("orphans", "2")
    bundle.without_namespace("pid")
    container = trial.started(bundle)
    trial.eventually(lambda: "ready" in container.out)
    groups = [path for path in container.cgroups().values() if container.id in str(path)]
    container.stop()
    result = container.attempt("delete")

    def processes() -> list[str]:
        return [
            pid
            for group in groups
            if (group / "cgroup.procs").exists()
            for pid in (group / "cgroup.procs").read_text().split()
        ]

    trial.eventually(lambda: not processes(), 2)
    rest = f"processes {processes()} are left" if processes() else _leavings(container, groups)
    found = f"`delete` ended with {result}; {rest or 'nothing is left'}"
    for code in trial.case.codes:
        trial.check(code, result.ok and not rest, "`delete` succeeds, and no process and no cgroup is left", found)


@case("runtime.delete.foreign-resources", needs=("root",))
def delete_foreign(trial: Trial) -> None:
    """`delete` removes nothing that it has not made: a namespace that was joined, what was bound, the bundle."""
    holder = trial.spawn("hold", "n")
    path = f"/proc/{holder}/ns/net"
    before = os.readlink(path)
    shared = trial.directory / "shared"
    shared.mkdir()
    (shared / "file").write_text("kept\n")
    bundle = trial.bundle().args("exit", "0")
    bundle.namespace("network", path)
    bundle.bind(shared, "/shared", "rbind")
    container = trial.started(bundle)
    container.wait()
    container.delete()
    missing = []
    if not os.path.exists(path) or os.readlink(path) != before:
        missing.append("the network namespace")
    if not (shared / "file").exists():
        missing.append("the file of the bind mount")
    if not bundle.file.exists() or not (bundle.rootfs / "probe").exists():
        missing.append("the bundle")
    trial.check(
        "runtime.delete.foreign-resources",
        not missing,
        "a joined namespace, a bound directory and the bundle are still there",
        f"gone: {', '.join(missing)}" if missing else "all are there",
    )


@case("runtime.warnings.continue")
def warnings_do_not_stop(trial: Trial) -> None:
    """What a runtime warns of does not stop it: a capability that no kernel has, a property that no specification
    has."""
    bundle = trial.bundle()
    for names in bundle.process["capabilities"].values():
        names.append("CAP_NO_SUCH_THING")
    bundle.config["org.example.unknown"] = True
    trial.accepted("runtime.warnings.continue", bundle)
