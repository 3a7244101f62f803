"""`python -m ocirun`: the command line, for where no program is installed."""

from __future__ import annotations

from .cli import main

main()
