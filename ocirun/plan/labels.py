"""Labels of AppArmor and SELinux (config.md, "Linux Process": apparmorProfile, selinuxLabel; config-linux.md, "Mount
Label"). Loaded where there is one.

A profile or label holds from the exec on: it is written into /proc/self/attr when everything else that needs privileges
is still to come, since a private procfs takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

from . import ops
from .tables import MS_REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..spec.model import Process, Spec
    from .draft import Draft
    from .host import Host
    from .wish import Wish

# File systems whose files have labels of their own, or none at all. mqueue takes no option: its root is labelled.
_WITHOUT_CONTEXT = ("proc", "sysfs", "cgroup", "mqueue", "bind")
_NO_APPARMOR = "apparmor: config provided but apparmor not supported"
_NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"


def check(draft: Draft, wanted: Process, host: Host) -> None:
    """Note what this host cannot give: a container that was to be confined must not start without."""
    if wanted.apparmor_profile not in (None, "", "unconfined") and not host.apparmor:
        draft.refuse("/process/apparmorProfile", _NO_APPARMOR, wanted.apparmor_profile or "")
    if wanted.selinux_label and not host.selinux:
        draft.refuse("/process/selinuxLabel", _NO_SELINUX, wanted.selinux_label)


def check_mounts(draft: Draft, spec: Spec, host: Host) -> None:
    """The same for linux.mountLabel."""
    label = spec.linux.mount_label or ""
    if not host.selinux:
        draft.refuse("/linux/mountLabel", _NO_SELINUX, label)
    elif '"' in label:
        draft.refuse("/linux/mountLabel", "expected a label without quotes", label)


def of_keys(draft: Draft, wanted: Process, on: bool) -> None:
    """What label the session keyring gets, and that later keys get the usual one again."""
    if wanted.selinux_label:
        value = wanted.selinux_label if on else "\n"
        draft.add(ops.label("init", "/process/selinuxLabel", file="attr/keycreate", other="", value=value))


def of_process(draft: Draft, wanted: Process, host: Host) -> None:
    """What the process has from its exec on."""
    if wanted.apparmor_profile and host.apparmor:
        value = f"exec {wanted.apparmor_profile}"
        file, other = "attr/apparmor/exec", "attr/exec"
        draft.add(ops.label("init", "/process/apparmorProfile", file=file, other=other, value=value))
    if wanted.selinux_label:
        draft.add(ops.label("init", "/process/selinuxLabel", file="attr/exec", other="", value=wanted.selinux_label))


def of_file_systems(wishes: Sequence[Wish], label: str) -> None:
    """Give all files of new file systems the label, by an option of theirs."""
    for wish in wishes:
        if wish.fstype not in _WITHOUT_CONTEXT and not wish.flags & MS_REMOUNT:
            wish.data.append(f'context="{label}"')


def of_queues(draft: Draft, wishes: Sequence[Wish], label: str) -> None:
    """The root of an mqueue file system, which takes no option."""
    for wish in wishes:
        if wish.fstype == "mqueue" and not wish.flags & MS_REMOUNT:
            draft.add(ops.file_label("init", "/linux/mountLabel", target=wish.target, label=label))
