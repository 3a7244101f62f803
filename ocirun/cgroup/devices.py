"""Device rules: linux.resources.devices to what cgroup v1 is told, and to the rules of ebpf.py on v2.

Both start from the net effect of the rules, found as the kernel's v1 controller would (cgroup-v1/devices.rst): all
is denied at first; a rule for all devices forgets what was before; other rules are exceptions to the last such.
"""

from __future__ import annotations

from ..errors import OperationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..plan.host import Host
    from ..spec.model import DeviceRule

    Number = tuple[str, int, int]  # type "c" or "b", major, minor; -1 for all

ANY = -1

# What every container may use, last as in runc: mknod of anything, and the devices that config-linux.md promises,
# with ptys and tun.
_DEFAULT: dict[Number, tuple[str, str]] = {
    ("c", ANY, ANY): ("m", ""),
    ("b", ANY, ANY): ("m", ""),
    ("c", 1, 3): ("rwm", ""),  # null
    ("c", 1, 8): ("rwm", ""),  # random
    ("c", 1, 7): ("rwm", ""),  # full
    ("c", 5, 0): ("rwm", ""),  # tty
    ("c", 1, 5): ("rwm", ""),  # zero
    ("c", 1, 9): ("rwm", ""),  # urandom
    ("c", 136, ANY): ("rwm", ""),  # pts/*
    ("c", 5, 2): ("rwm", ""),  # ptmx
    ("c", 10, 200): ("rwm", ""),  # net/tun
}


def may_limit(host: Host) -> bool:
    """Whether the caller may limit devices at all: v1's files and bpf(2) are for root of the initial user namespace.
    Others do without, as in runc."""
    return host.euid == 0 and not host.in_user_namespace


class Net:
    """The net effect: ``allow`` for all devices but the exceptions, whose accesses get the opposite.

    ``exceptions`` has (accesses, JSON pointer of the last rule) by number.
    """

    def __init__(self) -> None:
        self.allow = False
        self.exceptions: dict[Number, tuple[str, str]] = {}

    def add(self, pointer: str, allow: bool, number: Number, access: str) -> None:
        """Apply the next rule; a default one has no pointer.

        :raises OperationError: it takes a part out of an exception, which no kernel can
        """
        old = self.exceptions.get(number, ("", ""))[0]
        if allow != self.allow:
            self.exceptions[number] = ("".join(a for a in "rwm" if a in old or a in access), pointer)
            return
        kind, major, minor = number
        for wider in ((kind, ANY, minor), (kind, major, ANY), (kind, ANY, ANY)):
            clash = self.exceptions.get(wider, ("", ""))[0]
            if pointer and wider != number and any(a in clash for a in access):
                # v1 would ignore such a rule in silence.
                raise OperationError(
                    f"{'allow' if allow else 'deny'} {text(number, access)}",
                    pointer,
                    0,
                    f"cannot punch hole in existing wildcard rule {text(wider, clash)}",
                )
        left = "".join(a for a in old if a not in access)
        if left:
            self.exceptions[number] = (left, pointer)
        else:
            self.exceptions.pop(number, None)


def net(rules: Sequence[DeviceRule]) -> Net:
    """The net effect of the rules and of the default ones.

    :raises OperationError: a rule that cannot be
    """
    result = Net()
    for index, rule in enumerate(rules):
        pointer = f"/linux/resources/devices/{index}"
        if not rule.access:
            raise OperationError("device rule", pointer, 0, f"device access at {index} field cannot be empty")
        kind = rule.type or "a"
        major = ANY if rule.major is None else rule.major
        minor = ANY if rule.minor is None else rule.minor
        if kind == "a":
            # Whatever else it says, the kernel takes it for all devices and accesses.
            result.allow, result.exceptions = rule.allow, {}
        else:
            access = rule.access.replace("a", "")  # as in runc
            result.add(pointer, rule.allow, ("c" if kind == "u" else kind, major, minor), access)
    if not result.allow and not result.exceptions:
        result.exceptions = _DEFAULT
        return result
    for number, (access, pointer) in _DEFAULT.items():
        # Where all is allowed but some, a default device gets back what a rule for it took, not what a wider one took.
        if not result.allow or number in result.exceptions:
            result.add(pointer, True, number, access)
    return result


def text(number: Number, access: str) -> str:
    """A rule as v1's files have it: "c 1:3 rwm"."""
    kind, major, minor = number
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {access}"


def v1(rules: Sequence[DeviceRule]) -> list[tuple[str, str, str, int]]:
    """The writes on cgroup v1, as settings of resources.py."""
    effect = net(rules)
    everything, exception = ("devices.allow", "devices.deny") if effect.allow else ("devices.deny", "devices.allow")
    settings: list[tuple[str, str, str, int]] = [("/linux/resources/devices" if rules else "", everything, "a", 0)]
    for number, (access, pointer) in effect.exceptions.items():
        line = text(number, access)
        last = settings[-1]
        if last[0] == pointer and last[1] == exception:
            settings[-1] = (pointer, exception, f"{last[2]}\n{line}", 0)
        else:
            settings.append((pointer, exception, line, 0))
    return settings


def v2(rules: Sequence[DeviceRule]) -> str:
    """The rules for ebpf.attach(), one per line, "" where all is allowed: the first is for all devices."""
    effect = net(rules)
    if effect.allow and not effect.exceptions:
        return ""
    word, other = ("allow", "deny") if effect.allow else ("deny", "allow")
    lines = [f"{word} a *:* rwm"]
    lines += [f"{other} {text(number, access)}" for number, (access, _) in effect.exceptions.items()]
    return "\n".join(lines)
