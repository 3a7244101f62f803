"""`python -m ocirun`: the command line, for where no program is installed."""

from __future__ import annotations

import sys

from .cli import main

sys.argv[0] = "ocirun"  # in usage and errors; else the name of this file
main()
