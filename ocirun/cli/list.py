"""`ocirun list`."""

from __future__ import annotations

from ..errors import UsageError
from ..lifecycle.state import list_containers
from . import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .call import Call

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(call: Call) -> int:
    """List the containers below --root."""
    form = call.flags["format"]
    containers = list_containers(call.root)
    if call.flags["quiet"]:
        out("".join(f"{container.id}\n" for container in containers))
    elif form == "table":
        rows = [(c.id, str(c.pid), c.status, c.bundle, c.created, c.owner) for c in containers]
        out(table([_COLUMNS, *rows]))
    elif form == "json":
        out(f"[{','.join(container.listed() for container in containers)}]\n" if containers else "null\n")
    else:
        raise UsageError("invalid format option")
    return 0


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as runc's: at least 12 wide, 3 blanks after the longest, the last as it is."""
    widths = [max(12, *(len(cell) + 3 for cell in column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line}\n" for line in lines)
