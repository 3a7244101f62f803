"""`ocirun validate`: print everything that is wrong in a config.json."""

from __future__ import annotations

from ..errors import ConfigError, UsageError
from ..lifecycle import refused
from ..spec.read import read_bytes
from ..spec.validate import validate
from . import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call


def run(call: Call) -> int:
    """Check a file, or the config.json of a bundle. Returns 1 if something is wrong.

    :raises UsageError: both a file and a bundle
    :raises BundleError: it cannot be read
    """
    bundle = call.flags["bundle"]
    if call.arguments and bundle:
        raise UsageError("validate takes a file or a bundle, not both")
    path = call.arguments[0] if call.arguments else f"{bundle}/config.json" if bundle else "config.json"
    try:
        data = read_bytes(path, path)
        try:
            warnings = validate(path, data)
        except ConfigError as error:
            refused.check(path, data, error.problems)
            raise
        refused.check(path, data)
    except ConfigError as error:
        out(f"{error}\n")
        return 1
    out("".join([f"{path}: valid\n", *[f"  warning: {warning}\n" for warning in warnings]]))
    return 0
