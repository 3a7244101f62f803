"""What this runtime can do, whatever the host can (runtime-spec features.md and features-linux.md)."""

from __future__ import annotations

from .plan.tables import EXTENSIONS, FLAGS, PROPAGATION, RECURSIVE
from .spec.seccomp import SECCOMP_ACTIONS, SECCOMP_ARCHITECTURES, SECCOMP_FLAGS, SECCOMP_OPERATORS
from .spec.tables import CAPABILITIES, NAMESPACES
from .spec.tuning import MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Those that change what the runtime does, so that no image or user may choose them (features.md).
_UNSAFE_ANNOTATIONS = ("org.systemd.property.",)


def document(runc_version: str, version: str, spec_version: str) -> dict[str, Any]:
    """The features document.

    :param runc_version: the runc whose command line this is, as `--version` has it
    :param version: of this program
    :param spec_version: the newest runtime-spec
    """
    from .seccomp.filter import architecture, library_version

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": spec_version,
        "hooks": list(_HOOKS),
        "mountOptions": sorted({*FLAGS, *PROPAGATION, *RECURSIVE, *EXTENSIONS}),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": sorted(SECCOMP_ACTIONS),
                "operators": sorted(SECCOMP_OPERATORS),
                "archs": sorted(filter(architecture, SECCOMP_ARCHITECTURES)),
                "knownFlags": sorted(SECCOMP_FLAGS),
                "supportedFlags": sorted(SECCOMP_FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_POLICY_MODES), "flags": sorted(MEMORY_POLICY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "io.github.seccomp.libseccomp.version": library_version(),
            "org.opencontainers.runc.checkpoint.enabled": "false",
            "org.opencontainers.runc.commit": version,
            "org.opencontainers.runc.version": runc_version,
        },
        "potentiallyUnsafeConfigAnnotations": list(_UNSAFE_ANNOTATIONS),
    }
