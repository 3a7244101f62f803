"""What `--version` and `features` say."""

from __future__ import annotations

VERSION = "0.1.0"

# The runc whose command line this is. go-runc and dockerd parse it; the part after "+" is build metadata (semver.org).
RUNC_VERSION = f"1.5.0+ocirun.{VERSION}"

# The runtime-spec that is implemented, and what `state` prints as ociVersion.
SPEC_VERSION = "1.3.0"


def text() -> str:
    """What --version prints: engines look for the first word of each line."""
    from ..seccomp.cache import library_version  # no other command needs the library for its version

    return f"runc version {RUNC_VERSION}\ncommit: {VERSION}\nspec: {SPEC_VERSION}\nlibseccomp: {library_version()}\n"
