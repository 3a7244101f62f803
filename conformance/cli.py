"""The command line: ocirun-conformance, or python -m conformance in a checkout."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import cases as all_cases
from . import host, register, report
from .engine import Engine, Target, select
from .model import Case, Outcome
from .probe.build import NoProbeError, probe

EPILOG = """exit codes: 0 no MUST is broken, 1 one is, 2 wrong usage, or the suite itself cannot run, 130 interrupted

examples:
  ocirun-conformance --runtime /usr/sbin/runc
  ocirun-conformance --runtime runc --runtime crun --output results --format html --format junit
  ocirun-conformance --runtime "mine=/opt/mine --cgroup-manager=cgroupfs" --select config-linux.md --level MUST --keep
  ocirun-conformance --differential runc crun
"""


class UsageError(Exception):
    """The command line asks for something that is not there."""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="ocirun-conformance",
        description="Judges OCI runtimes by runtime-spec 1.3: runs containers and reads each property from the kernel.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--runtime",
        action="append",
        default=[],
        metavar="[NAME=]COMMAND",
        help="a runtime to judge: a program, with global options if it needs any; repeat it for several side by side",
    )
    choose = result.add_argument_group("selection")
    choose.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only this code or what is below it, section (runtime.md#create), file, case, subject (mounts), or what a "
        "regular expression finds in a code or case; may be repeated",
    )
    choose.add_argument("--level", choices=("MUST", "SHOULD"), help="only requirements of this level")
    choose.add_argument("--list", action="store_true", help="list what is selected, with its cases, and run nothing")
    run = result.add_argument_group("running")
    run.add_argument(
        "--jobs",
        type=_positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="cases at the same time (default: %(default)s)",
    )
    run.add_argument(
        "--timeout", type=_positive, default=30, metavar="SECONDS", help="limit of a case (default: %(default)s)"
    )
    run.add_argument("--keep", action="store_true", help="keep the bundles of cases that find something")
    run.add_argument("--quiet", action="store_true", help="no progress on standard error")
    out = result.add_argument_group("output")
    out.add_argument(
        "--format",
        action="append",
        choices=report.FORMATS,
        default=[],
        help="what to write; may be repeated with --output (default: text, with --output all of them)",
    )
    out.add_argument(
        "--output", type=Path, metavar="DIR", help="write the reports as files there, beside a text on standard output"
    )
    other = result.add_argument_group("other things to do")
    other.add_argument("--coverage", action="store_true", help="say which requirements are tested, section by section")
    other.add_argument(
        "--spec", type=Path, metavar="DIR", help="compare the register with the text of the specification there"
    )
    other.add_argument("--self-check", action="store_true", help="test the probe and this host without a runtime")
    other.add_argument(
        "--differential",
        nargs=2,
        metavar="COMMAND",
        help="look for bundles that two runtimes treat differently (takes Hypothesis)",
    )
    other.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="WHAT",
        help="with --differential: what may differ, as mounts; may be repeated",
    )
    other.add_argument(
        "--examples", type=_positive, default=200, metavar="N", help="bundles to try (default: %(default)s)"
    )
    return result


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError
    return value


def target(text: str) -> Target:
    """A runtime as --runtime names it. UsageError where it is no program."""
    name, equals, command = text.partition("=")
    if not equals or "/" in name or " " in name:
        name, command = "", text
    words = shlex.split(command)
    if not words:
        raise UsageError(f"--runtime {text!r} names no program")
    program = shutil.which(words[0])
    if program is None:
        raise UsageError(f"--runtime: there is no program {words[0]}")
    return Target(name or os.path.basename(words[0]), (os.path.abspath(program), *words[1:]))


def targets(texts: Sequence[str]) -> list[Target]:
    """The runtimes, with names that are different."""
    result: list[Target] = []
    for text in texts:
        one = target(text)
        taken = {other.name for other in result}
        number, name = 2, one.name
        while name in taken:
            name, number = f"{one.name}-{number}", number + 1
        result.append(Target(name, one.command))
    return result


def listing(selected: Iterable[Case], requirements: register.Register) -> str:
    """The selected requirements with their cases."""
    by_code: dict[str, list[str]] = {}
    for case in selected:
        for code in case.selected or case.codes:
            by_code.setdefault(code, []).append(case.name)
    lines = []
    for code, one in requirements.requirements.items():
        if code in by_code:
            lines.append(f"{code}  {one.keyword}  {one.section}\n    {one.text}\n    {', '.join(by_code[code])}")
    return "\n".join(lines) + "\n"


class _Progress:
    """One line for each case that is done, on standard error."""

    def __call__(self, name: str, case: Case, outcomes: Sequence[Outcome], done: int, total: int) -> None:
        worst = next(
            (one for one in ("fail", "warning", "skip", "impossible") if any(o.verdict == one for o in outcomes)),
            "pass",
        )
        print(f"{name} {done:>4}/{total} {worst:<10} {case.name}", file=sys.stderr, flush=True)


def coverage_text(book: register.Register, tested: set[str]) -> str:
    """How much of each section is tested, and what is not."""
    lines = []
    sums: dict[str, list[int]] = {}
    for one in register.coverage(book, tested):
        observable = len(one.tested) + len(one.untested)
        lines.append(
            f"{one.section:<52} {one.level:<6} {len(one.tested):>3} of {observable:>3} tested, "
            f"{len(one.untestable)} cannot be"
        )
        lines += [f"    not tested: {code}" for code in one.untested]
        total = sums.setdefault(one.level, [0, 0, 0])
        for place, number in enumerate((len(one.tested), observable, len(one.untestable))):
            total[place] += number
    for level, (done, observable, untestable) in sums.items():
        share = f"{100 * done / observable:.1f} %" if observable else "-"
        lines.append(
            f"{level}: {done} of {observable} observable requirements tested ({share}); {untestable} cannot be tested"
        )
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    # Whoever ends the suite by SIGTERM, as CI does, is to find nothing of it left either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = parser().parse_args(argv)
    try:
        return _main(arguments)
    except (UsageError, NoProbeError, register.RegisterError, OSError) as error:
        print(f"ocirun-conformance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ocirun-conformance: interrupted", file=sys.stderr)
        return 130


def _main(arguments: argparse.Namespace) -> int:
    book = register.load()
    every = all_cases.load()
    problems = register.check_cases(book, every)
    if problems:
        raise UsageError("the cases do not fit the register:\n" + "\n".join(problems))
    tested = {code for case in every for code in case.codes}
    if arguments.spec:
        found = register.check(book, arguments.spec)
        print("\n".join(found) if found else f"the register accounts for every sentence of {arguments.spec}")
        return 1 if found else 0
    if arguments.coverage:
        print(coverage_text(book, tested), end="")
        return 0
    try:
        selected = select(every, arguments.select, book.requirements, arguments.level or "")
    except re.error as error:
        raise UsageError(f"--select: {error.pattern!r} is no regular expression: {error.msg}") from None
    if not selected:
        raise UsageError(f"nothing is selected by {' '.join(arguments.select)}")
    if arguments.list:
        print(listing(selected, book), end="")
        return 0
    if arguments.self_check:
        from .selfcheck import self_check

        return self_check(probe())
    if arguments.differential:
        from .differential import differential

        first, second = targets(arguments.differential)
        return differential(first, second, probe(), arguments.examples, arguments.ignore)
    if not arguments.runtime:
        raise UsageError("name a runtime with --runtime, or see --help")
    judged = targets(arguments.runtime)
    program = probe()
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
    host.isolate()
    engine = Engine(
        book.requirements,
        program,
        arguments.jobs,
        arguments.timeout,
        arguments.keep,
        None if arguments.quiet else _Progress(),
    )
    reports = [engine.judge(one, selected) for one in judged]
    forms = list(dict.fromkeys(arguments.format)) or (list(report.FORMATS) if arguments.output else ["text"])
    if arguments.output:
        for form in forms:
            (arguments.output / report.FILE_NAMES[form]).write_text(
                report.render(form, reports, book, tested), encoding="utf-8"
            )
        print(report.render("text", reports, book, tested), end="")
    else:
        if len(forms) > 1:
            raise UsageError("several formats take --output")
        print(report.render(forms[0], reports, book, tested), end="")
    for text in engine.left_behind:
        print(f"ocirun-conformance: left behind: {text}", file=sys.stderr)
    return 1 if report.failed(reports) else 0
