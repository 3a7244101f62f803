"""Runs cases: each in a directory of its own, in time, with its judgements collected and everything it made removed."""

from __future__ import annotations

import concurrent.futures
import datetime
import getpass
import json
import os
import platform
import re
import shlex
import shutil
import signal
import stat
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from . import host
from .bundle import Bundle
from .model import Case, Outcome, Requirement, RuntimeReport, Verdict
from .runtime import MARK, CommandError, Result, Runtime, wait_until

Facts = dict[str, Any]


BEYOND_THE_HOST = (
    (
        "setrlimit (RLIM_MEMLOCK)",
        "capability:sys_resource",
        "this process has no CAP_SYS_RESOURCE to raise a limit with",
    ),
)
"""What a runtime says where it fails for the lack of something that the suite may not have either."""


class _Stop(Exception):
    """A case has said all that it can."""


@dataclass
class _Judgement:
    verdict: Verdict
    expected: str = ""
    found: str = ""
    reason: str = ""


class Container:
    """A container that a trial created.

    ``pid`` is the process of it that `--pid-file` names, held by a descriptor, so that it is never mistaken for
    another.
    """

    def __init__(self, trial: Trial, bundle: Bundle, pid: int, result: Result, output: Path) -> None:
        self.trial = trial
        self.bundle = bundle
        self.id = bundle.id
        self.pid = pid
        self.created = result
        self._output = output
        self._code: int | None = None
        self._ended = False
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise CommandError(f"the pid file names process {pid}, which does not exist") from None

    @property
    def out(self) -> str:
        """What the container's process wrote to its standard output."""
        return self._output.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._output.with_suffix(".err").read_text(errors="replace")

    def start(self, **options: Any) -> None:
        """Start it; CommandError where that fails."""
        result = self.trial.runtime("start", self.id, **options)
        if not result.ok:
            raise CommandError(f"`start` failed with {result}")

    def attempt(self, verb: str, *words: str) -> Result:
        """A command about it, however that ends."""
        return self.trial.runtime(verb, self.id, *words)

    def state(self) -> Facts:
        return self.trial.runtime.state(self.id)

    def status(self) -> str:
        """The status of `state`, or why there is none."""
        try:
            return str(self.state().get("status"))
        except CommandError as error:
            return str(error)

    def alive(self) -> bool:
        """Whether the container's process is there and no zombie."""
        if self._ended:
            return False
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return not _has_ended(self.pid, self._pidfd)
        if pid:
            self._ended = True
            self._code = os.waitstatus_to_exitcode(status)
        return not pid

    def wait(self, seconds: float = 20.0) -> int | None:
        """Wait for the end of its process; its exit code, -N for signal N, or None where that is not ours to know.

        CommandError where it does not end.
        """
        if not wait_until(lambda: not self.alive(), self.trial.remaining, seconds):
            raise CommandError(f"the container's process {self.pid} did not end")
        return self._code

    def kill(self, signal_name: str = "KILL") -> None:
        result = self.attempt("kill", signal_name)
        if not result.ok:
            raise CommandError(f"`kill {signal_name}` failed with {result}")

    def stop(self) -> None:
        """Kill its process and wait for the end of it."""
        self.kill("KILL")
        self.wait()

    def delete(self) -> None:
        """Delete it; CommandError where that fails."""
        result = self.attempt("delete")
        if not result.ok:
            raise CommandError(f"`delete` failed with {result}")

    def proc(self, name: str) -> str:
        """A file of its /proc/PID; CommandError where it cannot be read."""
        try:
            return Path("/proc", str(self.pid), name).read_text(errors="replace")
        except OSError as error:
            raise CommandError(f"/proc/{self.pid}/{name}: {error.strerror}") from None

    def namespace(self, kind: str) -> str:
        """Its namespace of a kind, as ``mnt:[4026531841]``."""
        name = {"mount": "mnt", "network": "net"}.get(kind, kind)
        try:
            return os.readlink(f"/proc/{self.pid}/ns/{name}")
        except OSError as error:
            raise CommandError(f"/proc/{self.pid}/ns/{name}: {error.strerror}") from None

    def mounts(self) -> list[host.Mount]:
        return host.parse_mountinfo(self.proc("mountinfo"))

    def cgroups(self) -> dict[str, Path]:
        """The directories of its cgroups, by controller, with ``unified`` for v2."""
        return host.cgroups().directories(self.proc("cgroup"))

    def cgroup_file(self, controller: str, name: str) -> str:
        """The text of a file of its cgroup, stripped; CommandError where there is none.

        :param controller: of v1, or "unified"
        """
        directory = self.cgroups().get(controller)
        if directory is None:
            raise CommandError(f"the container is in no cgroup of {controller}")
        # A runtime may put the process into a cgroup below the one with the limits.
        for place in (directory, directory.parent):
            if f"{self.trial.mark}-" in str(place) and (place / name).exists():
                try:
                    return (place / name).read_text().strip()
                except OSError as error:
                    raise CommandError(f"{place / name}: {error.strerror}") from None
        raise CommandError(f"{directory} has no file {name}, or is no cgroup of the container")

    def end(self) -> None:
        """Kill its process without the runtime's help, and reap it."""
        if self._pidfd < 0:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_until(lambda: not self.alive(), lambda: 2.0, 2.0)
        os.close(self._pidfd)
        self._pidfd = -1
        _KNOWN.discard(self.pid)


def _has_ended(pid: int, pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


_KNOWN: set[int] = set()
"""Processes of containers that trials wait for themselves."""


class Trial:
    """One run of one case against one runtime: what the case acts with, and what it says its findings to."""

    def __init__(
        self, case: Case, command: Sequence[str], probe: Path, mark: str, directory: Path, seconds: float
    ) -> None:
        self.case = case
        self.probe = probe
        self.mark = mark
        self.directory = directory
        self.deadline = time.monotonic() + seconds
        self.runtime = Runtime(command, directory, mark, self.remaining)
        self.judgements: dict[str, _Judgement] = {}
        self.ordinary = os.geteuid() != 0
        self._bundles: list[Bundle] = []
        self._containers: list[Container] = []
        self._undo: list[Callable[[], object]] = []

    def remaining(self) -> float:
        """The seconds that are left; CommandError where there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CommandError("the time limit of the case was reached")
        return left

    # What a case acts with.

    def bundle(self) -> Bundle:
        """A new bundle, with a configuration to alter."""
        number = len(self._bundles) + 1
        id = f"{self.mark}-{number}"
        bundle = Bundle.make(id, self.directory / f"bundle-{number}", self.probe, f"/{id}", self.ordinary)
        self._bundles.append(bundle)
        return bundle

    def attempt(self, *words: str, **options: Any) -> Result:
        """A command of the runtime, however it ends; options are those of :meth:`Runtime.spawn`."""
        return self.runtime(*words, **options)

    def attempt_create(self, bundle: Bundle, *flags: str, **options: Any) -> Result:
        """`create`, however it ends."""
        bundle.write()
        pid_file = self.directory / f"{bundle.id}.pid"
        pid_file.unlink(missing_ok=True)
        return self.runtime(
            "create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), *flags, bundle.id, **options
        )

    def create(self, bundle: Bundle, *flags: str, **options: Any) -> Container:
        """Create a container; CommandError where that fails."""
        result = self.attempt_create(bundle, *flags, **options)
        if not result.ok:
            raise CommandError(f"`create` failed with {result}")
        return self.created(bundle, result)

    def created(self, bundle: Bundle, result: Result) -> Container:
        """The container that a successful :meth:`attempt_create` made."""
        try:
            pid = int((self.directory / f"{bundle.id}.pid").read_text())
        except (OSError, ValueError) as error:
            raise CommandError(f"`create --pid-file` succeeded without a pid file to read: {error}") from None
        container = Container(self, bundle, pid, result, self.directory / f"command-{self.runtime.count}.out")
        _KNOWN.add(pid)
        self._containers.append(container)
        return container

    def started(self, bundle: Bundle, *flags: str, **options: Any) -> Container:
        """Create and start a container."""
        container = self.create(bundle, *flags, **options)
        container.start()
        return container

    def report(self, bundle: Bundle, *words: str, flags: Sequence[str] = (), **options: Any) -> Facts:
        """What the probe finds as the process of a container, which is deleted afterwards.

        :param words: what the probe is to do beside, see probe.c
        """
        container = self.started(bundle.args("report", *words), *flags, **options)
        container.wait()
        facts = self.facts(container)
        container.delete()
        return facts

    def facts(self, container: Container) -> Facts:
        """The document that the probe has written; CommandError where there is none."""
        try:
            facts = json.loads(container.out)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            told = (container.err or container.out).strip()[-400:]
            raise CommandError(f"the container's process reported nothing{': ' if told else ''}{told}")
        return facts

    def spawn(self, *words: str) -> int:
        """Start the probe on the host, as ``hold``; the pid it prints. It ends with the trial."""
        import subprocess

        popen = subprocess.Popen(
            [str(self.probe), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={MARK: self.mark},
            start_new_session=True,
        )
        assert popen.stdin is not None and popen.stdout is not None
        self._undo.append(popen.wait)
        self._undo.append(popen.stdin.close)
        line = popen.stdout.readline()
        popen.stdout.close()
        if not line:
            self.impossible(f"the host does not let the probe do `{shlex.join(words)}`")
        return int(line)

    def mount(
        self, source: str, target: Path, fstype: str | None = None, flags: int = 0, data: str | None = None
    ) -> None:
        """Mount something on the host for as long as the trial takes."""
        host.mount(source, str(target), fstype, flags, data)

    def afterwards(self, action: Callable[[], object]) -> None:
        """Have something done when the trial is over, in reverse order."""
        self._undo.append(action)

    def eventually(self, true: Callable[[], object], seconds: float = 5.0) -> bool:
        """Wait until something is so; False where it is not in that time."""
        return wait_until(true, self.remaining, seconds)

    # What a case says.

    def check(self, code: str, met: object, expected: str, found: object) -> None:
        """Say whether a requirement is met. The first time that it is not counts, whatever is said later.

        :param expected: what the specification wants to be seen
        :param found: what was seen, in the same terms
        """
        assert code in self.case.codes, f"{self.case.name} does not name {code}"
        before = self.judgements.get(code)
        if before is None or before.verdict == "pass":
            text = found if isinstance(found, str) else json.dumps(found, default=str)
            self.judgements[code] = _Judgement("pass" if met else "fail", expected, text[:2000])

    def holds(self, code: str, met: object, expected: str, otherwise: str) -> None:
        """The same, where there are two things that can be found: what is expected, and another."""
        self.check(code, met, expected, expected if met else otherwise)

    def equal(self, code: str, what: str, expected: object, found: object) -> None:
        """The same, where one value is expected and another found."""
        self.check(code, expected == found, f"{what}: {_show(expected)}", f"{what}: {_show(found)}")

    def reports_error(self, code: str, what: str, result: Result, where: str = "") -> None:
        """An operation, which has been tried, must have failed.

        :param what: the operation
        :param where: more words, ", for a device that does not exist"
        """
        self.check(code, result.code > 0, f"{what} reports an error{where}", f"it ended with {result}")

    def refused(self, code: str, bundle: Bundle, why: str) -> Result:
        """`create` of this bundle must fail.

        :param why: what is wrong with it
        """
        result = self.attempt_create(bundle)
        self.check(
            code,
            result.code > 0,
            f"`create` reports an error, for {why}",
            f"`create` ended with {result}",
        )
        return result

    def accepted(self, code: str, bundle: Bundle, *flags: str) -> Container | None:
        """`create` of this bundle must succeed; the container, or None where it does not."""
        result = self.attempt_create(bundle, *flags)
        container = self.created(bundle, result) if result.ok else None
        self.check(code, result.ok, "`create` succeeds", f"`create` ended with {result}")
        return container

    def skip(self, reason: str) -> NoReturn:
        """The rest of the case does not apply to this runtime."""
        self._decline("skip", reason, self.case.codes)
        raise _Stop

    def passed_over(self, reason: str, *codes: str) -> None:
        """These requirements do not apply to this runtime; the case goes on."""
        self._decline("skip", reason, codes)

    def impossible(self, reason: str) -> NoReturn:
        """The rest of the case cannot be tested on this host."""
        self._decline("impossible", reason, self.case.codes)
        raise _Stop

    def cannot(self, reason: str, *codes: str) -> None:
        """These requirements cannot be tested on this host; the case goes on."""
        self._decline("impossible", reason, codes)

    def _decline(self, verdict: Verdict, reason: str, codes: Sequence[str]) -> None:
        for code in codes:
            self.judgements.setdefault(code, _Judgement(verdict, reason=reason))

    # What the engine does.

    def run(self) -> None:
        """Run the case; whatever goes wrong is a judgement on the requirements that it had not decided."""
        try:
            self.case.run(self)
            wrong = "the case ended without a judgement; this is a mistake of the suite"
        except _Stop:
            wrong = "the case stopped without a judgement; this is a mistake of the suite"
        except CommandError as error:
            wrong = str(error)
        except Exception:
            wrong = f"a mistake of the suite, or a surprise to it:\n{traceback.format_exc(limit=-6)}"
        failed = [one.found for one in self.judgements.values() if one.verdict == "fail"]
        for code in self.case.codes:
            # What was not looked at after a failure is not met either.
            self.judgements.setdefault(code, _Judgement("fail", self.case.doc, failed[0] if failed else wrong))
        for code, one in self.judgements.items():
            for text, need, reason in BEYOND_THE_HOST:
                if one.verdict == "fail" and text in one.found and host.lacks(need):
                    self.judgements[code] = _Judgement("impossible", reason=f"{reason}: {one.found}")

    def clean(self, keep: bool) -> list[str]:
        """Remove everything that the trial made, also where the runtime does not help. What could not be removed."""
        self.deadline = time.monotonic() + 20
        left: list[str] = []
        history = list(self.runtime.history)
        for bundle in self._bundles:
            if _exists_below(self.runtime.root, bundle.id):
                try:
                    self.runtime("delete", "--force", bundle.id)
                except (CommandError, OSError) as error:
                    left.append(str(error))
        self.runtime.history[:] = history
        for container in self._containers:
            container.end()
        for action in reversed(self._undo):
            try:
                action()
            except Exception as error:
                left.append(str(error))
        _kill_marked(self.mark)
        left += _remove_cgroups(self.mark)
        _unmount_below(self.directory)
        if not keep:
            _remove_tree(self.directory, left)
        return left


def _show(value: object) -> str:
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    return json.dumps(value, default=str)


def _exists_below(directory: Path, name: str) -> bool:
    """Whether a runtime keeps anything of that name in its root."""
    return any(name in entry for _, directories, files in os.walk(directory) for entry in (*directories, *files))


def _kill_marked(mark: str) -> None:
    """Kill the processes whose environment says that they are of this trial, and reap what is ours."""
    wanted = f"{MARK}={mark}\0".encode()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read() + b"\0":
                    os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue


def _members(directory: Path) -> list[int]:
    try:
        return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _remove_cgroups(mark: str) -> list[str]:
    """Kill what is in cgroups of the trial, and remove these."""
    found = [path for point in host.cgroups().points() for path in _named(point, f"{mark}-", 4)]
    left = []
    for top in found:
        for file, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (top / file).exists():
                _write(top / file, value)
        every = [Path(directory) for directory, _, _ in os.walk(top, topdown=False)]
        end = time.monotonic() + 3
        while any(_members(directory) for directory in every) and time.monotonic() < end:
            for directory in every:
                for pid in _members(directory):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
            time.sleep(0.005)
            _reap()
        for directory in every:
            end = time.monotonic() + 1
            while True:
                try:
                    directory.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    if time.monotonic() > end:
                        left.append(f"{directory}: {error.strerror}")
                        break
                    time.sleep(0.005)
    return left


def _named(directory: Path, part: str, depth: int) -> list[Path]:
    """The directories below, so deep at most, with that in their names; others come and go meanwhile."""
    try:
        with os.scandir(directory) as entries:
            below = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    found = []
    for path in below:
        if part in path.name:
            found.append(path)
        elif depth > 1:
            found += _named(path, part, depth - 1)
    return found


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError:
        pass


def _reap() -> None:
    """Reap orphans that nobody else waits for."""
    from . import runtime

    with runtime.SPAWNING:
        known = _KNOWN | runtime.SPAWNED
        for task in os.listdir("/proc/self/task"):
            try:
                children = Path("/proc/self/task", task, "children").read_text().split()
            except OSError:
                continue
            for child in children:
                if int(child) not in known:
                    try:
                        os.waitpid(int(child), os.WNOHANG)
                    except ChildProcessError:
                        pass


def _unmount_below(directory: Path) -> None:
    with open("/proc/self/mountinfo") as file:
        points = [one.point for one in host.parse_mountinfo(file.read())]
    for point in reversed(points):
        if point == str(directory) or point.startswith(f"{directory}/"):
            try:
                host.unmount(point)
            except OSError:
                pass


def _remove_tree(directory: Path, left: list[str]) -> None:
    def again(function: Callable[..., object], path: str, error: object) -> None:
        try:
            parent = os.path.dirname(path)
            os.chmod(parent, stat.S_IRWXU)
            function(path)
        except OSError as problem:
            left.append(str(problem))

    shutil.rmtree(directory, onerror=again)


@dataclass(frozen=True)
class Target:
    """A runtime to judge: a name for the reports, and the program with the global options it always gets."""

    name: str
    command: tuple[str, ...]


def select(
    cases: Iterable[Case], patterns: Sequence[str], requirements: Mapping[str, Requirement], level: str = ""
) -> list[Case]:
    """The cases that any of the patterns names, each with the codes that they and the level leave.

    :param patterns: a code, the beginning of one up to a dot, a section as ``runtime.md#create``, a file, a level, or a
        regular expression that is found in the name of a case or in a code; none selects all
    """
    import dataclasses

    result = []
    for case in cases:
        codes = tuple(
            code
            for code in case.codes
            if (not level or requirements[code].level == level)
            and (not patterns or any(_matches(pattern, case, requirements[code]) for pattern in patterns))
        )
        if codes:
            result.append(dataclasses.replace(case, codes=case.codes, selected=codes))
    return result


def _matches(pattern: str, case: Case, requirement: Requirement) -> bool:
    code, section = requirement.code, requirement.section
    if pattern in (code, section, requirement.level, case.name) or code.startswith(f"{pattern}."):
        return True
    if section.partition("#")[0] == pattern or case.name.partition(".")[0] == pattern:
        return True
    return bool(re.search(pattern, case.name) or re.search(pattern, code))


Progress = Callable[[str, Case, Sequence[Outcome], int, int], None]
"""Called with the runtime's name, a case that is done, its outcomes, and how many of how many are done."""


@dataclass
class Engine:
    """Runs cases against runtimes.

    :param requirements: by code
    :param jobs: how many cases run at the same time
    :param seconds: the time limit of a case
    :param keep: where bundles of cases that did not pass are kept, or None
    """

    requirements: Mapping[str, Requirement]
    probe: Path
    jobs: int = 2
    seconds: float = 30.0
    keep: bool = False
    progress: Progress | None = None
    left_behind: list[str] = field(default_factory=list)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _interrupted: bool = False

    def judge(self, target: Target, cases: Sequence[Case]) -> RuntimeReport:
        """Run the cases against one runtime."""
        outcomes: list[Outcome] = []
        done = 0

        def finish(case: Case, found: tuple[Outcome, ...]) -> None:
            nonlocal done
            done += 1
            outcomes.extend(found)
            if self.progress:
                self.progress(target.name, case, found, done, len(cases))

        with tempfile.TemporaryDirectory(prefix="ocirun-conformance-", ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            scratch.chmod(0o755)
            kept = Path(tempfile.mkdtemp(prefix=f"ocirun-conformance-kept-{target.name}-")) if self.keep else scratch
            kept.chmod(0o755)
            with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
                try:
                    parallel = {pool.submit(self._one, target, case, kept): case for case in cases if not case.serial}
                    for future in concurrent.futures.as_completed(parallel):
                        finish(parallel[future], future.result())
                    for case in cases:
                        if case.serial:
                            finish(case, self._one(target, case, kept))
                except KeyboardInterrupt:
                    self._interrupted = True
                    pool.shutdown(cancel_futures=True)
                    raise
            if self.keep and not any(kept.iterdir()):
                kept.rmdir()
        groups = host.cgroups()
        return RuntimeReport(
            name=target.name,
            path=shlex.join(target.command),
            version=Runtime(target.command, Path("/"), "", lambda: 10.0).version(),
            kernel=platform.release(),
            cgroup=groups.version,
            user=getpass.getuser(),
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            outcomes=tuple(sorted(outcomes, key=lambda one: (one.code, one.case))),
        )

    def _one(self, target: Target, case: Case, scratch: Path) -> tuple[Outcome, ...]:
        begin = time.monotonic()
        codes = case.selected or case.codes
        missing = [reason for reason in map(host.lacks, case.needs) if reason]
        if missing:
            return tuple(
                Outcome(case.name, code, self.requirements[code].level, "impossible", reason="; ".join(missing))
                for code in codes
            )
        with self._lock:
            self._count += 1
            mark = f"ocf{os.getpid()}x{self._count}"
        directory = scratch / f"{case.name}-{mark}"
        directory.mkdir()
        trial = Trial(case, target.command, self.probe, mark, directory, case.seconds or self.seconds)
        outcomes: tuple[Outcome, ...] = ()
        try:
            trial.run()
            seconds = time.monotonic() - begin
            outcomes = tuple(self._outcome(trial, code, seconds) for code in codes)
        finally:
            keep = self.keep and any(one.verdict in ("fail", "warning") for one in outcomes)
            self.left_behind += [f"{case.name}: {text}" for text in trial.clean(keep)]
        return outcomes

    def _outcome(self, trial: Trial, code: str, seconds: float) -> Outcome:
        judgement, level = trial.judgements[code], self.requirements[code].level
        verdict = judgement.verdict
        if verdict == "fail" and level == "SHOULD":
            verdict = "warning"
        wrong = verdict in ("fail", "warning")
        return Outcome(
            case=trial.case.name,
            code=code,
            level=level,
            verdict=verdict,
            expected=judgement.expected,
            found=judgement.found,
            reason=judgement.reason,
            commands=tuple(trial.runtime.history) if wrong else (),
            bundle=str(trial.directory) if wrong and self.keep else "",
            seconds=round(seconds, 3),
        )
