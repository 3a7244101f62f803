"""An ordinary user: who it is, and bundles that it can run."""

from __future__ import annotations

import os
from typing import Any

import harness
from harness import Bundle, Runtime, mounts

USER = 7777
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
AS_ROOT_OF_A_NAMESPACE = ["unshare", "--user", "--map-root-user"]


def give(made: Bundle, owner: int = USER) -> None:
    """The bundle belongs to the user."""
    made.write()
    for directory, names, files in os.walk(made.path):
        for name in (".", *names, *files):
            os.chown(os.path.join(directory, name), owner, owner, follow_symlinks=False)


def rootless(made: Bundle, mapped: bool = True) -> None:
    """What an ordinary user may have: no cgroup, and (mapped) his own id as root."""
    del made.linux["cgroupsPath"], made.linux["resources"]
    made.without_namespace("cgroup")
    if mapped:
        made.namespace("user")
        made.linux["uidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]
        made.linux["gidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]


def as_user(runtime: Runtime, verb: str, made: Bundle, *words: str, prefix: list[str] = AS_USER) -> harness.Result:
    give(made)
    return runtime(verb, "--bundle", str(made.path), *words, made.id, prefix=prefix)


def check_report(report: Any) -> None:
    assert report["uid"] == report["gid"] == [0, 0, 0]
    assert report["uid_map"].split() == ["0", str(USER), "1"]
    assert report["setgroups"] == "deny\n"
    assert report["hostname"] == "probed"
    assert report["lo"] == "up"
    assert report["pid"] == 1
    assert report["no_new_privs"] == 1
    assert sorted(report["fds"]) == ["0", "1", "2"]
    assert int(report["capabilities"]["effective"], 16) == harness.capability_mask(
        ["AUDIT_WRITE", "KILL", "NET_BIND_SERVICE"]
    )
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("urandom", 9)):
        stat = report["trees"]["/dev"][name]["stat"]
        assert (stat["type"], stat["major"], stat["minor"]) == ("c", 1, minor)
    assert report["writes"]["/dev/null"] == ""
    assert {"/proc", "/dev", "/sys", "/dev/null"} <= mounts(report).keys()


def own(runtime: Runtime) -> Runtime:
    """The user owns --root."""
    runtime.root.mkdir(mode=0o700, exist_ok=True)
    os.chown(runtime.root, USER, USER)
    return runtime
