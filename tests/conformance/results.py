"""Makes docs/conformance-results.md: runtimes judged on this host, and on cgroup v2 alone as well where it is another.

.venv/bin/python tests/conformance/results.py runc crun .venv/bin/ocirun >docs/conformance-results.md
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys

from ocirun_conformance import cases
from ocirun_conformance.model import RuntimeReport
from ocirun_conformance.register import load
from ocirun_conformance.report import render, standings
from ocirun_conformance.report.json import parse

# In a mount namespace of its own, where nothing but cgroup2 is mounted; it has the controllers that v1 leaves to it.
V2 = (
    "unshare", "--mount", "--propagation", "private", "sh", "-c",
    'umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "v2",
)  # fmt: skip


def judged(program: str, *before: str) -> RuntimeReport:
    """What the suite finds about a program, after the words of another command that runs it."""
    argv = [*before, sys.executable, "-m", "ocirun_conformance", "--quiet", "--format", "json", "--runtime", program]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(f"the suite failed on {program}")
    ((report,), _) = parse(done.stdout)
    # Where the program lies on this machine is nobody's business.
    return dataclasses.replace(report, name=f"{report.name} ({report.cgroup})", path=os.path.basename(program))


def main() -> None:
    """Judges the programs of the command line; prints the document."""
    register, reports, refused = load(), [], []
    programs = [program for word in sys.argv[1:] if (program := shutil.which(word))]
    for before in ((), V2):
        for program in map(os.path.abspath, programs):
            report = judged(program, *before)
            if any(one.cgroup == report.cgroup and before for one in reports if one.path == report.path):
                continue
            if standings(report, register)["runtime.create.new"] == "fail":
                refused.append(next(one for one in report.outcomes if one.code == "runtime.create.new"))
                refused[-1] = dataclasses.replace(refused[-1], case=report.name)
            else:
                reports.append(report)
    text = render("markdown", reports, register, {code for case in cases.load() for code in case.codes})
    title, _, rest = text.partition("\n\n")
    lines = ["Made by `tests/conformance/results.py`; how to read it is in [conformance.md](conformance.md)."]
    lines += [f"{one.case} is left out: it creates no container on this host ({one.found.strip()})." for one in refused]
    print("\n\n".join([title, *lines, rest]), end="")


if __name__ == "__main__":
    main()
