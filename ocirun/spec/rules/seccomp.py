"""The rules of linux.seccomp."""

from __future__ import annotations

from ..readers import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..seccomp import Seccomp
    from .breach import Breach


_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")


def breaches(seccomp: Seccomp, at: str) -> Iterator[Breach]:
    action = seccomp.default_action
    if action == "SCMP_ACT_NOTIFY":
        yield f"{at}/defaultAction", "expected another action than SCMP_ACT_NOTIFY for all", "it", ()
    if seccomp.default_errno_ret is not None and action not in _WITH_ERRNO:
        yield f"{at}/defaultErrnoRet", "expected none for this action", action, (f"{at}/defaultAction",)
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield f"{at}/listenerMetadata", "expected none without listenerPath", "some", (f"{at}/listenerPath",)
    if seccomp.listener_path and seccomp.listener_path[0] != "/":
        yield f"{at}/listenerPath", "expected an absolute path", quoted(seccomp.listener_path), ()
    for index, rule in enumerate(seccomp.syscalls):
        here = f"{at}/syscalls/{index}"
        if rule.errno_ret is not None and rule.action not in _WITH_ERRNO:
            yield f"{here}/errnoRet", "expected none for this action", rule.action, (f"{here}/action",)
        if rule.action == "SCMP_ACT_NOTIFY":
            if not seccomp.listener_path:
                expected = "expected a listenerPath for SCMP_ACT_NOTIFY"
                yield f"{here}/action", expected, "none", (f"{at}/listenerPath",)
            if "write" in rule.names:  # the init itself writes after the filter is on
                yield f"{here}/names", "expected another action than SCMP_ACT_NOTIFY for write", "it", ()
        for number, argument in enumerate(rule.args):
            if argument.index > 5:
                yield f"{here}/args/{number}/index", "expected an integer from 0 to 5", str(argument.index), ()
