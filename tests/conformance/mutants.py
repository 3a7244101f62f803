"""Runtimes that are broken in one thing each: what the conformance suite must see, and see where it is.

    mutants.py NAME RUNTIME GLOBAL-OPTIONS VERB ...     is RUNTIME without what NAME takes away
    mutants.py                                          lists them

Each mutant is a few lines here: it alters the configuration before the runtime reads it, or what the runtime prints, or
does something else than the runtime would. `breaks` is the requirements that must be found broken; `touches` those that
may be as well, since no runtime with that mistake keeps them (patterns of fnmatch). test_mutants.py runs them.
"""

import json
import os
import sys

MUTANTS = {}

# Options of runtimes before the verb, and of `create`, that have a value in the next word.
VALUED = ("--root", "--log", "--log-format", "--bundle", "-b", "--pid-file", "--console-socket", "--preserve-fds")


class Mutant:
    """One mistake. kind says what `change` is given: "config", "print VERB" (the document) or "instead" (a Call)."""

    def __init__(self, name, kind, breaks, touches, change):
        self.name, self.kind, self.breaks, self.touches, self.change = name, kind, breaks, touches, change

    def explains(self, code):
        """Whether a runtime with this mistake may break that requirement."""
        import fnmatch  # which costs more than all the rest

        return any(fnmatch.fnmatchcase(code, pattern) for pattern in (*self.breaks, *self.touches))


def add(name, kind, breaks, touches, change):
    assert name not in MUTANTS, name
    MUTANTS[name] = Mutant(name, kind, (breaks,) if isinstance(breaks, str) else tuple(breaks), tuple(touches), change)


def config(breaks, *touches):
    """The decorated function alters the configuration in place, or returns another."""
    return lambda function: add(function.__name__.replace("_", "-"), "config", breaks, touches, function)


def printed(verb, breaks, *touches):
    """The decorated function alters the JSON document that a verb prints, or returns what is printed for it."""
    return lambda function: add(function.__name__.replace("_", "-"), f"print {verb}", breaks, touches, function)


def instead(breaks, *touches):
    """The decorated function is run for every command, with a Call; it returns the exit code."""
    return lambda function: add(function.__name__.replace("_", "-"), "instead", breaks, touches, function)


class Call:
    """A command as it was given: the program, its global options, the verb and the words after it."""

    def __init__(self, program, words):
        self.program = program
        at = 0
        while at < len(words) and words[at].startswith("-"):
            at += 2 if words[at] in VALUED else 1
        self.options, self.verb, self.words = words[:at], "".join(words[at : at + 1]), words[at + 1 :]

    def run(self, verb=None, words=None, out=None):
        """Runs the runtime with another verb and other words if given; its exit code. out is where it prints to."""
        argv = [
            self.program,
            *self.options,
            *filter(None, [verb or self.verb]),
            *(self.words if words is None else words),
        ]
        actions = [] if out is None else [(os.POSIX_SPAWN_DUP2, out, 1)]
        pid = os.posix_spawn(self.program, argv, os.environ, file_actions=actions)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code if code >= 0 else 128 - code

    def silently(self, verb, *words):
        """Runs the runtime with nothing of its output to be seen; its exit code."""
        null = os.open("/dev/null", os.O_RDWR)
        saved = os.dup(2)
        os.dup2(null, 2)
        try:
            return self.run(verb, words, null)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)

    def output(self):
        """Runs the runtime; (exit code, what it printed)."""
        file = os.memfd_create("output")
        code = self.run(out=file)
        os.lseek(file, 0, os.SEEK_SET)
        with open(file, encoding="utf-8", errors="surrogateescape") as stream:
            return code, stream.read()

    def operands(self):
        """The words after the verb that are no options."""
        found, at = [], 0
        while at < len(self.words):
            if self.words[at].startswith("-") and self.words[at] != "-":
                at += 2 if self.words[at] in VALUED else 1
            else:
                found.append(self.words[at])
                at += 1
        return found

    def id(self):
        return (self.operands() or [""])[0]

    def status(self):
        """The status that the runtime says the container has, "" if it knows none."""
        verb, words = self.verb, self.words
        self.verb, self.words = "state", [self.id()]
        stderr = os.dup(2)
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        code, text = self.output()
        os.dup2(stderr, 2)
        self.verb, self.words = verb, words
        return json.loads(text).get("status", "") if code == 0 else ""

    def bundle(self):
        for option in ("--bundle", "-b"):
            if option in self.words:
                return self.words[self.words.index(option) + 1]
        return "."

    def config(self):
        """The configuration of the bundle, None where it is no JSON object."""
        try:
            with open(f"{self.bundle()}/config.json", encoding="utf-8") as file:
                document = json.load(file)
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None


# Ways about a configuration that may have anything in it.


def at(document, *keys):
    """What is at that place, {} if nothing is."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return {} if document is None else document


def each(document, *keys):
    """The objects of the list at that place."""
    found = at(document, *keys)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def drop(document, *keys):
    """Takes away what is at that place."""
    parent = at(document, *keys[:-1])
    if isinstance(parent, dict):
        parent.pop(keys[-1], None)


def keep(document, condition, *keys):
    """Keeps those entries of the list at that place for which the condition holds."""
    parent = at(document, *keys[:-1])
    if isinstance(parent, dict) and isinstance(parent.get(keys[-1]), list):
        parent[keys[-1]] = [one for one in parent[keys[-1]] if condition(one)]


def dropper(name, breaks, *keys, touches=()):
    """A mutant that does not see one property."""
    add(name, "config", breaks, touches, lambda document: drop(document, *keys))


def shell(hook, script):
    """Has the hook run by a shell, as "$0" "$@" in the script; args may be missing."""
    words = hook.get("args") or [hook.get("path")]
    hook["args"] = ["sh", "-c", script, hook.get("path"), *words[1:]]
    hook["path"] = "/bin/sh"


# bundle.md and runtime.md: the commands.


@instead("bundle.config.required", "bundle.config.name", "runtime.create.no-arguments")
def bundle_without_config_taken(call):
    missing = (
        call.verb == "create" and os.path.isdir(call.bundle()) and not os.path.exists(f"{call.bundle()}/config.json")
    )
    return 0 if missing else call.run()


@instead("bundle.config.name")
def config_of_another_name_taken(call):
    other = f"{call.bundle()}/Config.json"
    if call.verb == "create" and os.path.exists(other) and not os.path.exists(f"{call.bundle()}/config.json"):
        return 0
    return call.run()


@printed("state", "runtime.state.oci-version", "runtime.state.schema", "config.hooks.*")
def state_without_version(state):
    del state["ociVersion"]


@printed("state", "runtime.state.id", "runtime.state.schema", "runtime.state.returned")
def state_without_id(state):
    del state["id"]


@printed("state", "runtime.state.status", "runtime.*", "config.hooks.*")
def state_without_status(state):
    del state["status"]


@printed("state", "runtime.state.pid", "runtime.state.id-unique", "runtime.create.unique-id-not-created")
def state_without_pid(state):
    state.pop("pid", None)


@printed(
    "state", "runtime.state.bundle", "runtime.state.schema", "runtime.state.id-unique", "runtime.create.unique-id*"
)
def state_without_bundle(state):
    del state["bundle"]


@printed("state", "config.annotations", "config.annotations.*", "runtime.state.returned")
def state_without_annotations(state):
    state.pop("annotations", None)


@printed("state", "runtime.state.pid", "runtime.state.id-unique", "runtime.create.unique-id-not-created")
def state_with_pid_of_another(state):
    if state.get("pid"):
        state["pid"] = os.getpid()


@printed("state", "runtime.state.schema", "runtime.state.pid", "runtime.state.id-unique", "runtime.create.unique-id*")
def state_with_pid_as_text(state):
    if "pid" in state:
        state["pid"] = str(state["pid"])


@printed("state", "runtime.state.bundle", "runtime.state.id-unique", "runtime.create.unique-id-not-created")
def state_with_relative_bundle(state):
    state["bundle"] = os.path.relpath(state["bundle"])


@printed("state", "runtime.state.status", "runtime.*", "config.hooks.*")
def state_running_when_created(state):
    if state["status"] == "created":
        state["status"] = "running"


@printed("state", "runtime.state.status-additional", "runtime.*", "config.hooks.*")
def state_with_name_of_its_own(state):
    if state["status"] == "stopped":
        state["status"] = "exited"


@printed("state", "runtime.state.returned", "runtime.state.*", "runtime.create.*")
def state_of_another_container(state):
    state["id"] = f"{state['id']}x"


@printed("state", "runtime.state.returned", "runtime.*", "config.hooks.*", "config.annotations*")
def state_is_no_json(state):
    return "status: fine\n"


@instead("runtime.state.unknown-id", "runtime.*", "config.hooks.*")
def state_of_nobody(call):
    return 0 if call.verb == "state" and call.silently("state", *call.words) else call.run()


for _verb in ("state", "start", "kill", "delete"):

    def _without(call, verb=_verb):
        return 0 if call.verb == verb and not call.operands() else call.run()

    add(f"{_verb}-without-id-taken", "instead", f"runtime.{_verb}.no-id", (), _without)


@instead("runtime.create.no-arguments")
def create_without_id_taken(call):
    return 0 if call.verb == "create" and not call.operands() else call.run()


@instead("runtime.create.unique-id", "runtime.state.id-unique", "runtime.errors.no-trace")
def taken_id_taken_again(call):
    return 0 if call.verb == "create" and call.status() else call.run()


@instead(
    ("runtime.create.unique-id", "runtime.create.unique-id-not-created"), "runtime.state.id-unique", "runtime.errors.*"
)
def taken_id_replaces(call):
    if call.verb == "create" and call.status():
        call.silently("delete", "--force", call.id())
    return call.run()


@instead("runtime.create.invalid-id")
def any_id_taken(call):
    return 0 if call.verb == "create" and call.operands() and not call.id().replace("-", "").isalnum() else call.run()


@instead(("runtime.lifecycle.not-run-at-create", "runtime.create.args-not-applied"), "runtime.*", "config.hooks.*")
def started_at_create(call):
    if call.verb == "start" and call.status() in ("running", "stopped"):
        return 0
    code = call.run()
    return code or (call.silently("start", call.id()) if call.verb == "create" else 0)


@instead("runtime.lifecycle.run", "*")
def never_started(call):
    return 0 if call.verb == "start" and call.operands() and call.status() == "created" else call.run()


@instead("runtime.start.not-created", "runtime.start.not-created-*", "runtime.errors.*")
def start_of_started_taken(call):
    return 0 if call.verb == "start" and call.status() in ("running", "stopped") else call.run()


@instead("runtime.start.not-created-no-effect", "runtime.errors.no-trace")
def start_of_started_kills(call):
    if call.verb == "start" and call.status() == "running":
        call.silently("kill", call.id(), "KILL")
        return 1
    return call.run()


@config("runtime.start.no-process")
def process_made_up(document):
    document.setdefault("process", {"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/probe", "pause"]})


@instead("runtime.kill.not-running", "runtime.kill.*", "runtime.errors.*")
def kill_of_stopped_taken(call):
    return 0 if call.verb == "kill" and call.operands() and call.status() in ("stopped", "") else call.run()


@instead("runtime.kill.not-running-no-effect", "runtime.errors.no-trace")
def kill_of_stopped_deletes(call):
    if call.verb == "kill" and call.operands() and call.status() == "stopped":
        call.silently("delete", call.id())
        return 1
    return call.run()


@instead("runtime.kill.signal")
def every_signal_is_kill(call):
    return call.run(words=[call.id(), "KILL"]) if call.verb == "kill" and call.operands() else call.run()


@instead("runtime.kill.signal", "runtime.*", "config.hooks.*", "config-linux.*")
def no_signal_is_sent(call):
    taken = call.verb == "kill" and call.operands() and call.operands()[1:] not in (["KILL"], ["SIGKILL"], ["9"])
    return 0 if taken and call.status() in ("created", "running") else call.run()


@instead("runtime.delete.not-stopped", "runtime.errors.*")
def delete_of_running_taken(call):
    running = call.verb == "delete" and "--force" not in call.words and call.status() == "running"
    return 0 if running else call.run()


@instead("runtime.delete.not-stopped-no-effect", "runtime.delete.not-stopped", "runtime.errors.*")
def delete_of_running_kills(call):
    if call.verb == "delete" and call.status() == "running":
        call.silently("delete", "--force", call.id())
        return 1
    return call.run()


@instead(
    ("runtime.delete.resources", "runtime.lifecycle.destroyed"),
    "runtime.*",
    "config.hooks.*",
    "config-linux.cgroup*",
    "config-linux.intel-rdt.*",
)
def deleted_only_in_words(call):
    stopped = call.verb == "delete" and "--force" not in call.words and call.status() == "stopped"
    return 0 if stopped else call.run()


@instead("runtime.delete.foreign-resources")
def bundle_deleted_too(call):
    place = (
        f"{call.options[call.options.index('--root') + 1]}/../mutant-{call.id()}".replace("/../", "-")
        if call.id()
        else ""
    )
    if call.verb == "create":
        code = call.run()
        if code == 0:
            with open(place, "w", encoding="utf-8") as file:
                file.write(os.path.realpath(call.bundle()))
        return code
    code = call.run()
    if call.verb == "delete" and code == 0 and os.path.exists(place):
        with open(place, encoding="utf-8") as file:
            bundle = file.read()
        os.unlink(place)
        os.unlink(f"{bundle}/config.json")
    return code


@instead("runtime.errors.no-trace", "runtime.create.*", "runtime.lifecycle.*", "config-linux.cgroup*")
def failed_create_leaves_a_cgroup(call):
    code = call.run()
    path = at(call.config() or {}, "linux", "cgroupsPath") if call.verb == "create" and code else None
    if isinstance(path, str):
        for controller in ("pids", "memory", "."):
            if os.path.isdir(f"/sys/fs/cgroup/{controller}") and (
                controller != "." or os.path.exists("/sys/fs/cgroup/cgroup.procs")
            ):
                os.makedirs(f"/sys/fs/cgroup/{controller}/{path}", exist_ok=True)
                break
    return code


def refuser(name, breaks, touches, condition):
    """A mutant that refuses configurations which it should take."""

    def change(call):
        refused = call.verb == "create" and call.config() is not None and condition(call.config())
        if refused:
            os.write(2, b"refused\n")
        return 1 if refused else call.run()

    add(name, "instead", breaks, touches, change)


# features.md and features-linux.md: the document.


@printed("features", "features.oci-version-min", "features.*")
def features_without_minimum(features):
    del features["ociVersionMin"]


@printed("features", "features.oci-version-max", "features.*")
def features_without_maximum(features):
    del features["ociVersionMax"]


@printed("features", "features.oci-version-order")
def features_with_versions_exchanged(features):
    minimum, maximum = features["ociVersionMin"], features["ociVersionMax"]
    features["ociVersionMin"], features["ociVersionMax"] = maximum, minimum


@printed("features", "features.oci-version-max.accepted", "features.oci-version-max")
def features_with_a_future_maximum(features):
    features["ociVersionMax"] = "7.0.0"


@printed("features", "features.known-properties")
def features_with_a_property_of_its_own(features):
    features["colour"] = "red"


@printed("features", "features.annotations")
def features_with_numbers_in_annotations(features):
    features["annotations"] = {"org.example.number": 1}


@printed("features", "features.mount-options.generic", "features.mount-options")
def features_with_options_of_tmpfs(features):
    features.setdefault("mountOptions", []).append("size")


def boaster(name, breaks, *keys, word, touches=()):
    """A mutant whose features document lists a word that the runtime does not know."""

    def change(features):
        parent = features
        for key in keys[:-1]:
            parent = parent.setdefault(key, {})
        parent[keys[-1]] = [*(parent.get(keys[-1]) or []), word]

    add(name, "print features", breaks, touches, change)


boaster("features-boast-hooks", "features.hooks", "hooks", word="beforeEverything")
boaster("features-boast-mount-options", "features.mount-options", "mountOptions", word="rnothing")
# What the host does not have either is left out by the suite: here the runtime does not know what it lists.
refuser(
    "listed-namespace-unknown",
    "features-linux.namespaces",
    ["config-linux.namespaces.*", "config-linux.time-offsets.*"],
    lambda document: any(one.get("type") == "time" for one in each(document, "linux", "namespaces")),
)


@config("features-linux.capabilities", "config.process.capabilities.*")
def listed_capability_unknown(document):
    for kind in at(document, "process", "capabilities"):
        keep(document, lambda one: one != "CAP_LEASE", "process", "capabilities", kind)


boaster("features-boast-actions", "features-linux.seccomp.actions", "linux", "seccomp", "actions", word="SCMP_ACT_SING")
boaster(
    "features-boast-operators",
    "features-linux.seccomp.operators",
    "linux",
    "seccomp",
    "operators",
    word="SCMP_CMP_NEAR",
)
boaster(
    "features-boast-architectures", "features-linux.seccomp.archs", "linux", "seccomp", "archs", word="SCMP_ARCH_VAX"
)
boaster(
    "features-boast-flags",
    "features-linux.seccomp.supported-flags",
    "linux",
    "seccomp",
    "supportedFlags",
    word="SECCOMP_FILTER_FLAG_FAST",
    touches=["features-linux.seccomp.known-flags"],
)


# config.md: root, mounts.


@config("config.oci-version.required", "config.oci-version.semver")
def version_made_up(document):
    document.setdefault("ociVersion", "1.0.0")


@config("config.oci-version.semver", "config.valid-values.error")
def any_version_taken(document):
    if isinstance(document.get("ociVersion"), str):
        document["ociVersion"] = "1.0.0"


@config("config.root.path.required", "config.root.required")
def root_path_made_up(document):
    if isinstance(document.get("root"), dict):
        document["root"].setdefault("path", "rootfs")


@config("config.root.required")
def root_made_up(document):
    document.setdefault("root", {"path": "rootfs"})


dropper("root-not-readonly", "config.root.readonly", "root", "readonly")


@config("config.root.readonly", "*")
def root_always_readonly(document):
    if isinstance(document.get("root"), dict):
        document["root"].setdefault("readonly", True)


@config("config.mounts.order", "config.mounts.*", "config-linux.*")
def last_mounts_exchanged(document):
    if isinstance(document.get("mounts"), list):
        document["mounts"][-2:] = document["mounts"][:-3:-1]


@config("config.mounts.destination.required")
def mount_without_destination_left_out(document):
    keep(document, lambda one: not isinstance(one, dict) or "destination" in one, "mounts")


@config("config.mounts.destination.relative")
def relative_destination_left_out(document):
    keep(document, lambda one: str(at(one, "destination")).startswith("/"), "mounts")


@config("config.mounts.unmountable", "runtime.create.*", "runtime.lifecycle.environment-error", "runtime.errors.*")
def unknown_file_system_left_out(document):
    with open("/proc/filesystems", encoding="utf-8") as file:
        known = file.read().split()
    known += ["none", "bind", "cgroup", "cgroup2"]
    keep(document, lambda one: "type" not in one or one["type"] in known, "mounts")


@config("config.mounts.uid-mappings.alone")
def lone_uid_mappings_left_out(document):
    for mount in each(document, "mounts"):
        if "gidMappings" not in mount:
            mount.pop("uidMappings", None)
            mount["options"] = [option for option in mount.get("options", ()) if option not in ("idmap", "ridmap")]


@config("config.mounts.gid-mappings.alone")
def lone_gid_mappings_left_out(document):
    for mount in each(document, "mounts"):
        if "uidMappings" not in mount:
            mount.pop("gidMappings", None)
            mount["options"] = [option for option in mount.get("options", ()) if option not in ("idmap", "ridmap")]


@config("config.mounts.type", "config.mounts.*", "config-linux.default-filesystems.*")
def every_tmpfs_a_ramfs(document):
    for mount in each(document, "mounts"):
        if mount.get("type") == "tmpfs":
            mount["type"] = "ramfs"


@config("config.mounts.option.data", "config.mounts.*")
def data_of_file_systems_lost(document):
    for mount in each(document, "mounts"):
        if mount.get("type") == "tmpfs" and isinstance(mount.get("options"), list):
            mount["options"] = [option for option in mount["options"] if "=" not in option]


@config("config.mounts.source.relative", "config.mounts.destination.created", "config.mounts.source.file")
def relative_source_of_the_root(document):
    for mount in each(document, "mounts"):
        if {"bind", "rbind"} & set(mount.get("options") or ()) and not str(mount.get("source", "/")).startswith("/"):
            mount["source"] = "/" + mount["source"]


def optionless(option, *touches, other=None):
    """A mutant that does not know a mount option, or takes another one for it."""

    def change(document):
        for mount in each(document, "mounts"):
            if isinstance(mount.get("options"), list):
                mount["options"] = [
                    other if one == option else one for one in mount["options"] if one != option or other is not None
                ]

    add(
        f"mount-option-{option}-{'lost' if other is None else 'is-' + other}",
        "config",
        f"config.mounts.option.{option}",
        touches,
        change,
    )


# What is seen of the one only by another.
SEEN_BY = {
    "ro": ["config.mounts.option.remount"],
    "noexec": ["config.mounts.option.remount"],
    "strictatime": ["config.mounts.option.nodiratime"],
}
for _option in (
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "strictatime",
    "sync",
    "dirsync",
    "nosymfollow",
    "private",
    "shared",
    "unbindable",
    "rprivate",
    "rshared",
    "runbindable",
    "rro",
    "rnosuid",
    "rnodiratime",
    "rnoexec",
    "rnoatime",
    "rnosymfollow",
    "rw",
    "suid",
    "dev",
    "exec",
    "atime",
):
    optionless(_option, *SEEN_BY.get(_option, ()))
optionless("rbind", "config.mounts.*", "features.mount-options", other="bind")
optionless("bind", "config.mounts.option.*", other="rbind")
optionless("relatime", other="strictatime")
# Lost, they would be what many runtimes do anyway.
optionless("slave", other="private")
optionless("rslave", other="rprivate")


@config("config.mounts.option.remount")
def remount_left_out(document):
    keep(document, lambda one: "remount" not in (at(one, "options") or ()), "mounts")


@config("config.mounts.option.idmap-applied", "config.mounts.option.*idmap*")
def id_mapped_mounts_are_plain(document):
    for mount in each(document, "mounts"):
        for key in ("uidMappings", "gidMappings"):
            mount.pop(key, None)
        mount["options"] = [option for option in mount.get("options") or () if option not in ("idmap", "ridmap")]


# config.md: the process.

dropper(
    "console-size-lost",
    "config.process.console-size",
    "process",
    "consoleSize",
    touches=["config.process.console-size.*"],
)


@config("config.process.cwd", "config.valid-values.error")
def cwd_is_the_root(document):
    if str(at(document, "process", "cwd")).startswith("/"):
        document["process"]["cwd"] = "/"


@config("config.process.cwd.required")
def cwd_made_up(document):
    if isinstance(document.get("process"), dict):
        document["process"].setdefault("cwd", "/")


@config("config.process.cwd.absolute")
def relative_cwd_taken(document):
    cwd = at(document, "process", "cwd")
    if isinstance(cwd, str) and not cwd.startswith("/"):
        document["process"]["cwd"] = "/"


@config("config.process.args.required")
def args_made_up(document):
    if isinstance(document.get("process"), dict) and not document["process"].get("args"):
        document["process"]["args"] = ["/probe", "pause"]


@config("config.process.args")
def empty_arguments_lost(document):
    if isinstance(at(document, "process", "args"), list):
        document["process"]["args"] = [one for one in document["process"]["args"] if one != ""]


@config("config.process.args.search")
def programs_only_of_the_first_directory(document):
    if isinstance(at(document, "process", "env"), list):
        document["process"]["env"] = [
            one.split(":")[0] if isinstance(one, str) and one.startswith("PATH=") else one
            for one in document["process"]["env"]
        ]


@config("config.process.env")
def last_variable_lost(document):
    if len(at(document, "process", "env")) > 1:
        document["process"]["env"].pop()


@config("config.process.env")
def caller_s_environment_inherited(document):
    if isinstance(at(document, "process", "env"), list):
        document["process"]["env"] += [f"{name}={value}" for name, value in os.environ.items() if name != "PATH"]


ROOTLESS = (
    "config.valid-values.error",
    "config.process.user.*",
    "config.process.capabilities.*",
    "config.process.no-new-privileges",
    "config-linux.cgroup.owner.*",
)


@config("config.process.user.uid", *ROOTLESS)
def always_root(document):
    if isinstance(at(document, "process", "user"), dict) and isinstance(at(document, "process", "user", "uid"), int):
        document["process"]["user"]["uid"] = 0


@config("config.process.user.gid", *ROOTLESS)
def always_the_group_of_root(document):
    if isinstance(at(document, "process", "user", "gid"), int):
        document["process"]["user"]["gid"] = 0


@config("config.process.user.uid.required")
def user_id_made_up(document):
    if isinstance(at(document, "process", "user"), dict) and document.get("process"):
        document["process"].setdefault("user", {}).setdefault("uid", 0)


@config("config.process.user.gid.required")
def group_id_made_up(document):
    if isinstance(at(document, "process", "user"), dict) and document.get("process"):
        document["process"].setdefault("user", {}).setdefault("gid", 0)


dropper("umask-lost", "config.process.user.umask", "process", "user", "umask")
dropper("further-groups-lost", "config.process.user.additional-gids", "process", "user", "additionalGids")


@config("config.process.user.additional-gids")
def last_group_lost(document):
    if at(document, "process", "user", "additionalGids"):
        document["process"]["user"]["additionalGids"].pop()


dropper(
    "new-privileges",
    "config.process.no-new-privileges",
    "process",
    "noNewPrivileges",
    touches=["config-linux.seccomp.*"],
)


@config("config.process.no-new-privileges", "config.mounts.option.*suid")
def never_new_privileges(document):
    if document.get("process"):
        document["process"]["noNewPrivileges"] = True


dropper("oom-score-lost", "config.process.oom-score-adj", "process", "oomScoreAdj")


@config("config.process.oom-score-adj.unset")
def oom_score_reset(document):
    if document.get("process"):
        document["process"].setdefault("oomScoreAdj", 0)


SCHEDULER = "config.process.scheduler.*"
dropper("scheduler-lost", "config.process.scheduler.policy", "process", "scheduler", touches=[SCHEDULER])
dropper("nice-lost", "config.process.scheduler.nice", "process", "scheduler", "nice", touches=[SCHEDULER])
dropper("scheduler-flags-lost", "config.process.scheduler.flags", "process", "scheduler", "flags", touches=[SCHEDULER])


@config("config.process.scheduler.priority", SCHEDULER)
def lowest_priority(document):
    if at(document, "process", "scheduler", "priority"):
        document["process"]["scheduler"]["priority"] = 1


@config("config.process.scheduler.deadline", SCHEDULER)
def deadline_of_the_period(document):
    if at(document, "process", "scheduler", "deadline"):
        document["process"]["scheduler"]["deadline"] = document["process"]["scheduler"]["period"]


@config("config.process.scheduler.policy.unknown", SCHEDULER)
def unknown_policy_is_other(document):
    policy = at(document, "process", "scheduler", "policy")
    if policy and policy not in (
        "SCHED_OTHER",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_BATCH",
        "SCHED_IDLE",
        "SCHED_DEADLINE",
    ):
        document["process"]["scheduler"]["policy"] = "SCHED_OTHER"


@config("config.process.scheduler.policy.required", SCHEDULER)
def policy_made_up(document):
    if isinstance(at(document, "process").get("scheduler"), dict):
        document["process"]["scheduler"].setdefault("policy", "SCHED_OTHER")


dropper(
    "io-priority-lost", "config.process.io-priority", "process", "ioPriority", touches=["config.process.io-priority.*"]
)

# execve(2) makes the effective and the permitted set anew, of the others.
for _set in ("inheritable", "ambient"):
    dropper(
        f"capabilities-{_set}-lost",
        f"config.process.capabilities.{_set}",
        "process",
        "capabilities",
        _set,
        touches=["config.process.capabilities.*"],
    )


@config("config.process.capabilities.bounding")
def bounding_set_of_everything(document):
    capabilities = at(document, "process", "capabilities")
    if "bounding" in capabilities and isinstance(capabilities["bounding"], list):
        capabilities["bounding"] = [*capabilities["bounding"], "CAP_SYS_ADMIN", "CAP_NET_RAW"]


refuser(
    "unknown-capability-refused",
    "config.process.capabilities.not-granted",
    ["runtime.warnings.continue"],
    lambda document: any(
        "NO_SUCH" in str(one) or "UNKNOWN" in str(one) or "FLY" in str(one)
        for some in at(document, "process", "capabilities").values()
        for one in some
    ),
)

RLIMITS = "config.process.rlimits.*"
dropper(
    "rlimits-lost",
    ("config.process.rlimits.soft", "config.process.rlimits.hard"),
    "process",
    "rlimits",
    touches=["config.process.rlimits", RLIMITS],
)


@config("config.process.rlimits.soft", "config.process.rlimits")
def soft_limit_is_the_hard_one(document):
    for limit in each(document, "process", "rlimits"):
        if "hard" in limit and "soft" in limit:
            limit["soft"] = limit["hard"]


@config("config.process.rlimits.hard", "config.process.rlimits")
def hard_limit_is_the_soft_one(document):
    for limit in each(document, "process", "rlimits"):
        if "hard" in limit and "soft" in limit:
            limit["hard"] = limit["soft"]


@config("config.process.rlimits.type.unknown", RLIMITS)
def unknown_limit_left_out(document):
    keep(
        document,
        lambda one: (
            at(one, "type") in ({}, "RLIMIT_NOFILE", "RLIMIT_CORE")
            or hasattr(__import__("resource"), str(at(one, "type")))
        ),
        "process",
        "rlimits",
    )


@config("config.process.rlimits.duplicate")
def last_limit_of_a_type_counts(document):
    by_type = {at(one, "type"): one for one in each(document, "process", "rlimits") if "type" in one}
    if by_type:
        document["process"]["rlimits"] = list(by_type.values())


@config("config.process.rlimits.hard.required", RLIMITS)
def hard_limit_made_up(document):
    for limit in each(document, "process", "rlimits"):
        if "soft" in limit:
            limit.setdefault("hard", limit["soft"])


@config("config.process.rlimits.soft.required", RLIMITS)
def soft_limit_made_up(document):
    for limit in each(document, "process", "rlimits"):
        if "hard" in limit:
            limit.setdefault("soft", limit["hard"])


dropper("hostname-lost", "config.hostname", "hostname")
dropper("domainname-lost", "config.domainname", "domainname")


# config.md: hooks.

KINDS = {
    "prestart": "prestart",
    "createRuntime": "create-runtime",
    "createContainer": "create-container",
    "startContainer": "start-container",
    "poststart": "poststart",
    "poststop": "poststop",
}
HOOKS = ("config.hooks.*", "runtime.lifecycle.*")
for _kind, _code in KINDS.items():
    dropper(f"hooks-{_code}-lost", f"runtime.lifecycle.{_code}", "hooks", _kind, touches=HOOKS)
    if _kind != "startContainer":

        def _ignored(document, kind=_kind):
            for hook in each(document, "hooks", kind):
                if "path" in hook:
                    shell(hook, '"$0" "$@" || :')

        if _kind != "poststop":
            add(
                f"hooks-{_code}-never-fail",
                "config",
                f"runtime.lifecycle.{_code}-fails",
                ("config.hooks.*",),
                _ignored,
            )


@config("config.hooks.order", *HOOKS)
def hooks_in_reverse(document):
    for kind in KINDS:
        if isinstance(at(document, "hooks", kind), list):
            document["hooks"][kind].reverse()


@config("config.hooks.state", "config.hooks.*")
def hooks_without_state(document):
    for kind in KINDS:
        for hook in each(document, "hooks", kind):
            if "path" in hook and kind != "startContainer":
                shell(hook, 'exec "$0" "$@" </dev/null')


@config("config.hooks.args", *HOOKS)
def last_argument_of_hooks_lost(document):
    for kind in KINDS:
        for hook in each(document, "hooks", kind):
            if len(hook.get("args") or ()) > 4:
                hook["args"].pop()


@config("config.hooks.env")
def variables_of_hooks_lost(document):
    for kind in KINDS:
        for hook in each(document, "hooks", kind):
            hook.pop("env", None)


@config("config.hooks.timeout", "config.hooks.timeout.positive")
def hooks_have_all_the_time(document):
    for kind in KINDS:
        for hook in each(document, "hooks", kind):
            hook.pop("timeout", None)


@config("config.hooks.timeout.positive")
def timeout_of_zero_is_none(document):
    for kind in KINDS:
        for hook in each(document, "hooks", kind):
            if hook.get("timeout", 1) <= 0:
                del hook["timeout"]


@config("config.hooks.path.required")
def hook_without_path_left_out(document):
    for kind in KINDS:
        keep(document, lambda one: not isinstance(one, dict) or "path" in one, "hooks", kind)


@config("config.hooks.path.absolute")
def hook_with_relative_path_left_out(document):
    for kind in KINDS:
        keep(document, lambda one: str(at(one, "path") or "/").startswith("/"), "hooks", kind)


def mover(kind, to, breaks, *touches):
    """A mutant that calls hooks of one kind as those of another."""

    def change(document):
        hooks = at(document, "hooks")
        if isinstance(hooks, dict) and isinstance(hooks.get(kind), list):
            hooks[to] = [*hooks.get(to, []), *hooks.pop(kind)]

    add(f"hooks-{KINDS[kind]}-as-{KINDS[to]}", "config", breaks, (*HOOKS, *touches), change)


mover("createRuntime", "createContainer", "config.hooks.create-runtime.namespace")
mover("createContainer", "createRuntime", "config.hooks.create-container.namespace")
mover("prestart", "createContainer", "config.hooks.prestart.namespace")
mover("poststart", "createRuntime", "config.hooks.poststart.when")
mover("createRuntime", "poststart", "config.hooks.create-runtime.when")
mover("poststop", "poststart", "config.hooks.poststop.when")


# config.md: annotations, extensibility, values.

dropper("annotations-lost", "config.annotations", "annotations", touches=["config.hooks.state", "config.annotations.*"])


@config("config.annotations.values-strings", "config.annotations.map")
def values_of_annotations_converted(document):
    if isinstance(document.get("annotations"), dict):
        document["annotations"] = {
            key: value if isinstance(value, str) else str(value) for key, value in document["annotations"].items()
        }


@config("config.annotations.map")
def annotations_that_are_no_map_left_out(document):
    if not isinstance(document.get("annotations", {}), dict):
        del document["annotations"]


@config("config.annotations.empty-key")
def empty_key_left_out(document):
    if isinstance(document.get("annotations"), dict):
        document["annotations"].pop("", None)


refuser(
    "unknown-annotation-refused",
    "config.annotations.unknown",
    ["config.annotations*", "config.hooks.*", "runtime.state.*", "config.extensibility.*"],
    lambda document: any(not key.startswith("org.opencontainers.") for key in at(document, "annotations")),
)
KNOWN = ("ociVersion", "process", "root", "hostname", "domainname", "mounts", "linux", "hooks", "annotations")
refuser(
    "unknown-property-refused", "config.extensibility.unknown", [], lambda document: not set(document) <= set(KNOWN)
)


# config-linux.md: namespaces and mappings.

NAMESPACES = "config-linux.namespaces.*"
OF_NAMESPACES = ("config-linux.namespaces.*", "features-linux.namespaces", "runtime.*", "config.hooks.*")
for _kind, _more in (
    ("network", ("config-linux.net-devices.*", "config-linux.sysctl*")),
    ("ipc", ("config-linux.sysctl*",)),
    ("cgroup", ("config-linux.cgroup*",)),
    ("time", ("config-linux.time-offsets.*",)),
):

    def _inherited(document, kind=_kind):
        keep(document, lambda one: at(one, "type") != kind, "linux", "namespaces")

    add(
        f"namespace-{_kind}-not-made",
        "config",
        f"config-linux.namespaces.{_kind}",
        (*OF_NAMESPACES, *_more),
        _inherited,
    )


@config("config-linux.namespaces.path", NAMESPACES, "config-linux.net-devices.*", "runtime.delete.*")
def namespaces_not_joined(document):
    for namespace in each(document, "linux", "namespaces"):
        if namespace.get("type") != "user":
            namespace.pop("path", None)


@config("config-linux.namespaces.inherited", "config-linux.net-devices.*", "config-linux.sysctl*")
def network_always_of_its_own(document):
    namespaces = at(document, "linux", "namespaces")
    if isinstance(namespaces, list) and not any(at(one, "type") == "network" for one in namespaces):
        namespaces.append({"type": "network"})


@config("config-linux.namespaces.duplicate")
def first_namespace_of_a_type_counts(document):
    namespaces = at(document, "linux", "namespaces")
    if isinstance(namespaces, list):
        seen = []
        for one in namespaces:
            if not any(at(one, "type") == at(other, "type") for other in seen):
                seen.append(one)
        document["linux"]["namespaces"] = seen


@config("config-linux.namespaces.type.unknown", "features-linux.namespaces")
def unknown_namespace_left_out(document):
    known = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
    keep(document, lambda one: at(one, "type") in (*known, {}), "linux", "namespaces")


@config("config-linux.namespaces.type.required", "config-linux.namespaces.type.unknown")
def namespace_without_type_left_out(document):
    keep(document, lambda one: not isinstance(one, dict) or "type" in one, "linux", "namespaces")


@config("config-linux.namespaces.path.absolute")
def relative_path_of_a_namespace_left_out(document):
    for namespace in each(document, "linux", "namespaces"):
        if not str(namespace.get("path", "/")).startswith("/"):
            del namespace["path"]


@config("config-linux.namespaces.path.wrong-type")
def namespace_of_another_type_left_out(document):
    names = {"network": "net", "mount": "mnt"}
    for namespace in each(document, "linux", "namespaces"):
        path, kind = namespace.get("path"), namespace.get("type")
        if isinstance(path, str) and path.startswith("/"):
            found = os.readlink(path) if os.path.islink(path) else ""
            if not found.startswith(f"{names.get(kind, kind)}:") and not os.path.ismount(path):
                del namespace["path"]


OF_USER_NAMESPACES = (
    "config-linux.namespaces.*",
    "config-linux.devices.*",
    "config-linux.default-devices.*",
    "config-linux.cgroup.owner.*",
    "config.mounts.option.*idmap*",
    "features-linux.*",
)


@config("config-linux.mappings.uid", "config-linux.mappings.*", *OF_USER_NAMESPACES)
def first_user_id_moved(document):
    for mapping in each(document, "linux", "uidMappings")[:1]:
        if isinstance(mapping.get("hostID"), int) and mapping["hostID"]:
            mapping["hostID"] += 7


@config("config-linux.mappings.gid", "config-linux.mappings.*", *OF_USER_NAMESPACES)
def first_group_id_moved(document):
    for mapping in each(document, "linux", "gidMappings")[:1]:
        if isinstance(mapping.get("hostID"), int) and mapping["hostID"]:
            mapping["hostID"] += 7


for _clock in ("monotonic", "boottime"):
    dropper(
        f"offset-{_clock}-lost",
        f"config-linux.time-offsets.{_clock}",
        "linux",
        "timeOffsets",
        _clock,
        touches=["config-linux.time-offsets.*", "config-linux.namespaces.time"],
    )


# config-linux.md: devices.

DEVICES = ("config-linux.devices.*", "config-linux.resources.devices.*")
dropper("devices-lost", "config-linux.devices.available", "linux", "devices", touches=DEVICES)


@config("config-linux.devices.available", *DEVICES)
def devices_with_another_minor(document):
    for device in each(document, "linux", "devices"):
        if isinstance(device.get("minor"), int):
            device["minor"] += 1


for _key, _code in (("fileMode", "file-mode"), ("uid", "uid"), ("gid", "gid")):

    def _without_key(document, key=_key):
        for device in each(document, "linux", "devices"):
            device.pop(key, None)

    add(f"devices-without-{_code}", "config", f"config-linux.devices.{_code}", DEVICES, _without_key)


@config("config-linux.devices.type.unknown")
def unknown_device_left_out(document):
    keep(document, lambda one: at(one, "type") in ("c", "b", "u", "p", {}), "linux", "devices")


@config("config-linux.devices.path.required")
def device_without_path_left_out(document):
    keep(document, lambda one: not isinstance(one, dict) or "path" in one, "linux", "devices")


@config("config-linux.devices.type.required")
def device_without_type_left_out(document):
    keep(document, lambda one: not isinstance(one, dict) or "type" in one, "linux", "devices")


def spoiler(name, breaks, script, *touches):
    """A mutant that spoils the root file system: a last createContainer hook does what the script says in $R."""
    find = 'cd "$(sed -n \'s/.*"bundle": *"\\([^"]*\\)".*/\\1/p\' | head -n 1)"; R=$0; '

    def change(document):
        path, hooks = at(document, "root", "path"), document.setdefault("hooks", {})
        if (
            isinstance(path, str)
            and isinstance(hooks, dict)
            and isinstance(hooks.setdefault("createContainer", []), list)
        ):
            hooks["createContainer"].append(
                {"path": "/bin/sh", "args": ["sh", "-c", f"{find}{script}", path], "env": [PATH]}
            )

    add(name, "config", breaks, touches, change)


PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
for _device, _other in (("full", "null"), ("random", "zero"), ("urandom", "zero"), ("zero", "null")):
    spoiler(
        f"{_device}-is-{_other}",
        f"config-linux.default-devices.{_device}",
        f"mount --bind /dev/{_other} $R/dev/{_device}",
        "config-linux.masked-paths.*",
    )
for _name, _target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
    spoiler(f"no-link-dev-{_name}", f"runtime-linux.dev.symlink-{_name}", f"rm -f $R/dev/{_name}")
spoiler(
    "ptmx-of-the-host",
    "config-linux.default-devices.ptmx",
    "rm -f $R/dev/ptmx; touch $R/dev/ptmx; mount --bind /dev/ptmx $R/dev/ptmx",
    "config.process.terminal",
)


# config-linux.md: cgroups.

CGROUP = ("config-linux.*", "runtime.*", "config.hooks.poststop.when")


@config("config-linux.cgroups-path.absolute", *CGROUP)
def cgroup_elsewhere(document):
    path = at(document, "linux", "cgroupsPath")
    if isinstance(path, str) and path.startswith("/"):
        document["linux"]["cgroupsPath"] = "/elsewhere" + path


# By which the suite sees that a resource is there at create.
CREATED = ("runtime.create.applied", "runtime.lifecycle.resources-at-create", "config-linux.cgroup.unfit")
RESOURCES = {
    "pids.limit": ("pids", "limit"),
    "memory.limit": ("memory", "limit"),
    "memory.reservation": ("memory", "reservation"),
    "memory.swappiness": ("memory", "swappiness"),
    "cpu.shares": ("cpu", "shares"),
    "cpu.quota": ("cpu", "quota"),
    "cpu.period": ("cpu", "period"),
    "cpu.cpus": ("cpu", "cpus"),
}
for _code, _keys in RESOURCES.items():
    dropper(
        f"resource-{_code.replace('.', '-')}-lost",
        f"config-linux.resources.{_code}",
        "linux",
        "resources",
        *_keys,
        touches=[f"config-linux.resources.{_keys[0]}.*", *CREATED],
    )


@config("config-linux.resources.pids.limit", *CREATED)
def one_task_more(document):
    limit = at(document, "linux", "resources", "pids", "limit")
    if isinstance(limit, int) and limit > 0:
        document["linux"]["resources"]["pids"]["limit"] += 1


@config("config-linux.resources.devices.order", "config-linux.resources.devices.*", "config-linux.devices.*")
def device_rules_in_reverse(document):
    if isinstance(at(document, "linux", "resources", "devices"), list):
        document["linux"]["resources"]["devices"].reverse()


@config("config-linux.resources.devices.access", "config-linux.resources.devices.*")
def device_rules_for_all_access(document):
    for rule in each(document, "linux", "resources", "devices"):
        rule.pop("access", None)


# config-linux.md: the rest.

SECCOMP = "config-linux.seccomp.*"
dropper(
    "seccomp-lost",
    "config-linux.seccomp.default-action",
    "linux",
    "seccomp",
    touches=[SECCOMP, "features-linux.seccomp.*"],
)
dropper(
    "default-errno-lost",
    "config-linux.seccomp.default-errno-ret",
    "linux",
    "seccomp",
    "defaultErrnoRet",
    touches=[SECCOMP],
)
dropper(
    "metadata-lost", "config-linux.seccomp.listener.metadata", "linux", "seccomp", "listenerMetadata", touches=[SECCOMP]
)
dropper("seccomp-rules-lost", "config-linux.seccomp.action.errno", "linux", "seccomp", "syscalls", touches=[SECCOMP])


def rules(name, breaks, change):
    """A mutant that alters every rule of seccomp."""

    def all_rules(document):
        for rule in each(document, "linux", "seccomp", "syscalls"):
            change(rule)

    add(name, "config", breaks, (SECCOMP, "features-linux.seccomp.*"), all_rules)


rules("errno-lost", "config-linux.seccomp.errno-ret", lambda rule: rule.pop("errnoRet", None))
rules("arguments-of-calls-not-compared", "config-linux.seccomp.op.eq", lambda rule: rule.pop("args", None))


def action(old, new):
    def change(rule):
        if rule.get("action") == old:
            rule["action"] = new
            rule.pop("errnoRet", None)

    name = old.removeprefix("SCMP_ACT_").lower().replace("_", "-")
    rules(f"action-{name}-taken-for-another", f"config-linux.seccomp.action.{name}", change)


action("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO")
action("SCMP_ACT_TRAP", "SCMP_ACT_ERRNO")
action("SCMP_ACT_ERRNO", "SCMP_ACT_LOG")
action("SCMP_ACT_LOG", "SCMP_ACT_ERRNO")


def operator(old, new):
    def change(rule):
        for one in rule.get("args") or ():
            if one.get("op") == old:
                one["op"] = new

    name = old.removeprefix("SCMP_CMP_").lower().replace("_", "-")
    rules(f"operator-{name}-taken-for-another", f"config-linux.seccomp.op.{name}", change)


for _old, _new in (("NE", "EQ"), ("LT", "LE"), ("LE", "LT"), ("GE", "GT"), ("GT", "GE"), ("MASKED_EQ", "EQ")):
    operator(f"SCMP_CMP_{_old}", f"SCMP_CMP_{_new}")


@config("config-linux.seccomp.syscalls.names.empty", "config-linux.seccomp.syscalls.names.*")
def rule_without_names_left_out(document):
    keep(document, lambda one: not isinstance(one, dict) or one.get("names"), "linux", "seccomp", "syscalls")


@config("config-linux.seccomp.default-action.required")
def default_action_made_up(document):
    if isinstance(at(document, "linux").get("seccomp"), dict):
        document["linux"]["seccomp"].setdefault("defaultAction", "SCMP_ACT_ALLOW")


@config("config-linux.seccomp.listener.metadata-alone", SECCOMP)
def lone_metadata_left_out(document):
    if "listenerPath" not in at(document, "linux", "seccomp"):
        drop(document, "linux", "seccomp", "listenerMetadata")


for _kind in ("shared", "slave", "unbindable"):

    def _propagation(document, kind=_kind):
        if at(document, "linux", "rootfsPropagation") == kind:
            document["linux"]["rootfsPropagation"] = "private"

    add(
        f"root-never-{_kind}",
        "config",
        f"config-linux.rootfs-propagation.{_kind}",
        ("config-linux.rootfs-propagation.*",),
        _propagation,
    )


@config("config-linux.rootfs-propagation.private", "config-linux.rootfs-propagation.*")
def root_never_private(document):
    if at(document, "linux", "rootfsPropagation") == "private":
        document["linux"]["rootfsPropagation"] = "shared"


@config("config-linux.rootfs-propagation.unknown")
def unknown_propagation_left_out(document):
    if at(document, "linux", "rootfsPropagation") not in ("shared", "slave", "private", "unbindable"):
        drop(document, "linux", "rootfsPropagation")


for _key, _code in (("maskedPaths", "masked-paths"), ("readonlyPaths", "readonly-paths")):
    dropper(
        f"{_code}-lost",
        (f"config-linux.{_code}.file", f"config-linux.{_code}.directory"),
        "linux",
        _key,
        touches=[f"config-linux.{_code}.*"],
    )

    def _absolute(document, key=_key):
        keep(document, lambda one: not isinstance(one, str) or one.startswith("/"), "linux", key)

    add(f"relative-{_code}-left-out", "config", f"config-linux.{_code}.absolute", (), _absolute)


@config("config-linux.masked-paths.directory", "config-linux.masked-paths.*")
def masked_paths_only_readonly(document):
    if isinstance(at(document, "linux").get("maskedPaths"), list):
        document["linux"].setdefault("readonlyPaths", []).extend(document["linux"].pop("maskedPaths"))


dropper("sysctl-lost", "config-linux.sysctl", "linux", "sysctl", touches=["config-linux.sysctl.*", "runtime.*"])
dropper(
    "personality-lost",
    "config-linux.personality.domain",
    "linux",
    "personality",
    touches=["config-linux.personality.*"],
)
dropper(
    "memory-policy-lost",
    "config-linux.memory-policy.mode",
    "linux",
    "memoryPolicy",
    touches=["config-linux.memory-policy.*", "features-linux.memory-policy.*"],
)
dropper(
    "network-devices-lost",
    "config-linux.net-devices.moved",
    "linux",
    "netDevices",
    touches=["config-linux.net-devices.*"],
)


@config("config-linux.net-devices.renamed", "config-linux.net-devices.*")
def network_devices_keep_their_names(document):
    for device in at(document, "linux", "netDevices").values():
        device.pop("name", None)


dropper("rdt-ignored", "config-linux.intel-rdt.no-resctrl", "linux", "intelRdt", touches=["config-linux.intel-rdt.*"])


def apply(mutant, call):
    """Does what the mutant does for a command; the exit code."""
    if mutant.kind == "instead":
        return mutant.change(call)
    if mutant.kind == f"print {call.verb}":
        code, text = call.output()
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if code == 0 and isinstance(document, dict):
            text = mutant.change(document) or json.dumps(document, indent=2) + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        return code
    document = call.config() if mutant.kind == "config" and call.verb in ("create", "run") else None
    if document is None:
        return call.run()
    # The runtime reads the altered file; afterwards the bundle is what it was.
    path = f"{call.bundle()}/config.json"
    with open(path, "rb") as file:
        original = file.read()
    document = mutant.change(document) or document
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    try:
        return call.run()
    finally:
        with open(path, "wb") as file:
            file.write(original)


def main():
    """What the command line says."""
    if len(sys.argv) < 3:
        for _mutant in MUTANTS.values():
            print(f"{_mutant.name:48} {', '.join(_mutant.breaks)}")
    else:
        sys.exit(apply(MUTANTS[sys.argv[1]], Call(sys.argv[2], sys.argv[3:])))


if __name__ == "__main__":
    main()
