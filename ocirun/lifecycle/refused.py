"""What is refused only when a configuration is planned: for who lists everything that is wrong with it."""

from __future__ import annotations

from ..errors import ConfigError
from ..host import facts
from ..plan.build import refusals
from ..spec.json import parse
from ..spec.read import in_order, read_tree
from ..spec.rules.check import near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import Problem


def check(path: str, data: bytes, known: Sequence[Problem] = ()) -> None:
    """Refuse a configuration as create on this host would; ``path`` is only for the messages.

    :param known: what is known to be wrong by types and rules
    :raises ConfigError: with all of it, in the order of the document
    """
    tree = parse(path, data)
    spec = read_tree(tree, [])
    host = facts.host(spec, spec.process)
    if host.euid and spec.linux.namespace("user") is None:
        host = host.as_root()  # so what would root's create refuse?
    is_near = near(known)
    found = [problem for problem in refusals(spec, host) if not is_near(problem.pointer)]
    if known or found:
        raise ConfigError(path, in_order(tree, [*known, *found]))
