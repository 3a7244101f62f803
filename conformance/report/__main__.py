"""Makes a report of results that were kept as JSON, on one host or on several.

python -m conformance.report --format html hybrid.json v2.json >report.html
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from ..model import RuntimeReport
from ..register import load
from . import FORMATS, render
from .json import ReportError, parse


def main() -> int:
    """Prints the report; 2 where a file is not one of ours."""
    parser = argparse.ArgumentParser(prog="python -m conformance.report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE", help="report.json of earlier runs")
    parser.add_argument("--format", choices=FORMATS, default="text")
    options = parser.parse_args()
    reports: list[RuntimeReport] = []
    tested: set[str] = set()
    for path in options.results:
        try:
            found, codes = parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ReportError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        reports += found
        tested |= codes
    # The same runtime from two hosts is two columns.
    names = [report.name for report in reports]
    named = [
        report
        if names.count(report.name) == 1
        else dataclasses.replace(report, name=f"{report.name} ({report.cgroup})")
        for report in reports
    ]
    sys.stdout.write(render(options.format, named, load(), tested))
    return 0


if __name__ == "__main__":
    sys.exit(main())
