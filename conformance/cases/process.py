"""The process of a container: config.md, process."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .. import host
from ..engine import Facts, Trial
from ..runtime import CommandError
from . import case


def status(facts: Facts, name: str) -> str:
    """A field of /proc/self/status as the probe has read it."""
    for line in str(facts["status"]).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise CommandError(f"/proc/self/status has no {name}")


@case("config.process.cwd")
def cwd(trial: Trial) -> None:
    """The working directory is the one of the configuration."""
    bundle = trial.bundle()
    (bundle.rootfs / "work" / "here").mkdir(parents=True)
    bundle.process["cwd"] = "/work/here"
    trial.equal("config.process.cwd", "working directory", "/work/here", trial.report(bundle)["cwd"])


@case("config.process.env")
def env(trial: Trial) -> None:
    """The environment is the one of the configuration: nothing lost, nothing changed, nothing of the caller's added."""
    bundle = trial.bundle()
    wanted = ["PATH=/bin:/", "EMPTY=", "SPACES= a  b ", "EQUALS=a=b=c", "LINES=a\nb", "HOME=/tmp", "TERM=dumb"]
    bundle.process["env"] = wanted
    found = trial.report(bundle, environment={"OF_THE_CALLER": "1"})["env"]
    trial.equal("config.process.env", "environment", sorted(wanted), sorted(one for one in found if one in wanted))
    leaked = [one for one in found if one.startswith(("OF_THE_CALLER", "OCIRUN_CONFORMANCE"))]
    trial.check(
        "config.process.env", not leaked, "no variable of the caller of the runtime", f"of the caller: {leaked}"
    )


@case("config.process.args")
def args(trial: Trial) -> None:
    """The arguments are those of the configuration, empty and odd ones too; argv[0] is the first of them."""
    bundle = trial.bundle()
    words = ["report", "", "two words", "a\nb", "--option", "'quoted\"", "$HOME", "*", "é"]
    facts = trial.report(bundle, *words[1:])
    found = [one.encode("latin-1").decode("utf-8", "replace") for one in facts["argv"]]
    trial.equal("config.process.args", "arguments", ["/probe", *words], found)


@case("config.process.args.search")
def args_search(trial: Trial) -> None:
    """A program without a slash is looked for along PATH of the configuration's environment."""
    bundle = trial.bundle()
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name / "sought").write_bytes(bundle.probe.read_bytes())
        (bundle.rootfs / name / "sought").chmod(mode)
    bundle.process["env"] = ["PATH=/nowhere:/first:/second"]
    bundle.process["args"] = ["sought", "report"]
    container = trial.started(bundle)
    container.wait()
    facts = trial.facts(container)
    trial.equal("config.process.args.search", "argv[0] of the program that was found", "sought", facts["argv"][0])


@case("config.process.args.search")
def args_not_found(trial: Trial) -> None:
    """A program that is not there is an error of `create` or of `start`."""
    bundle = trial.bundle()
    bundle.process["args"] = ["/no/such/program"]
    result = trial.attempt_create(bundle)
    if result.ok:
        container = trial.created(bundle, result)
        result = container.attempt("start")
        ended = trial.eventually(lambda: not container.alive(), 3)
        found = f"`start` ended with {result}, the process {'has ended' if ended else 'lives'}"
        trial.check("config.process.args.search", result.code > 0, "an error of `create` or `start`", found)
    else:
        trial.check(
            "config.process.args.search", True, "an error of `create` or `start`", f"`create` ended with {result}"
        )


@case("config.process.user.uid", "config.process.user.gid", "config.process.user.additional-gids", needs=("root",))
def user(trial: Trial) -> None:
    """User, group and further groups are those of the configuration, in every one of their kinds."""
    bundle = trial.bundle()
    bundle.process["user"] = {"uid": 1234, "gid": 2345, "additionalGids": [5, 6, 77777]}
    facts = trial.report(bundle)
    trial.equal("config.process.user.uid", "real, effective and saved user", [1234] * 3, facts["uids"])
    trial.equal("config.process.user.uid", "user of file systems", "1234", status(facts, "Uid").split()[3])
    trial.equal("config.process.user.gid", "real, effective and saved group", [2345] * 3, facts["gids"])
    trial.equal("config.process.user.gid", "group of file systems", "2345", status(facts, "Gid").split()[3])
    extra = sorted(set(facts["groups"]) - {2345})
    trial.equal("config.process.user.additional-gids", "further groups", [5, 6, 77777], extra)


@case("config.process.user.additional-gids", needs=("root",))
def no_additional_gids(trial: Trial) -> None:
    """Without additionalGids no group of the runtime's caller is left to the process."""
    bundle = trial.bundle()
    bundle.process["user"] = {"uid": 1234, "gid": 2345}
    found = sorted(set(trial.report(bundle)["groups"]) - {2345})
    trial.equal("config.process.user.additional-gids", "further groups", [], found)


@case("config.process.user.umask")
def umask(trial: Trial) -> None:
    """The umask is the one of the configuration, whatever the caller's is."""
    for mask, of_caller in ((0o027, 0o022), (0, 0o077)):
        bundle = trial.bundle()
        bundle.process["user"]["umask"] = mask
        found = trial.report(bundle, umask=of_caller)["umask"]
        trial.equal("config.process.user.umask", f"umask with {of_caller:04o} of the caller", oct(mask), oct(found))


@case("config.process.no-new-privileges", needs=("root",))
def no_new_privileges(trial: Trial) -> None:
    """no_new_privs is set where it is asked for, so that a set-user-ID program gains nothing; and only there."""
    for value in (True, False):
        bundle = trial.bundle()
        bundle.process["noNewPrivileges"] = value
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        program = bundle.rootfs / "suid"
        program.write_bytes(bundle.probe.read_bytes())
        program.chmod(0o4755)
        facts = trial.report(bundle, "ids=/suid")
        trial.equal(
            "config.process.no-new-privileges",
            f"NoNewPrivs where it is {value}",
            str(int(value)),
            status(facts, "NoNewPrivs"),
        )
        effective = facts["actions"]["ids=/suid"]["ids"].split()[0]
        wanted = "1000" if value else "0"
        trial.equal(
            "config.process.no-new-privileges", f"user of a set-user-ID program where it is {value}", wanted, effective
        )


@case("config.process.oom-score-adj", needs=("root",))
def oom_score_adj(trial: Trial) -> None:
    """oom_score_adj is the one of the configuration."""
    for value in (100, 777):
        bundle = trial.bundle()
        bundle.process["oomScoreAdj"] = value
        trial.equal(
            "config.process.oom-score-adj", "oom_score_adj", str(value), trial.report(bundle)["oom_score_adj"].strip()
        )


@case("config.process.oom-score-adj.unset", needs=("root", "tool:sh"))
def oom_score_adj_unset(trial: Trial) -> None:
    """Without oomScoreAdj the value of the runtime's caller stays."""
    bundle = trial.bundle()
    prefix = ["sh", "-c", 'echo 123 >/proc/self/oom_score_adj; exec "$@"', "sh"]
    found = trial.report(bundle, prefix=prefix)["oom_score_adj"].strip()
    trial.equal("config.process.oom-score-adj.unset", "oom_score_adj with 123 of the caller", "123", found)


POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}


def _scheduler(trial: Trial, **wanted: object) -> Facts:
    bundle = trial.bundle()
    bundle.process["scheduler"] = wanted
    if not trial.ordinary:
        bundle.capabilities("SYS_NICE")
        cpu = host.cgroups().v1.get("cpu")
        if cpu and Path(cpu.point, "cpu.rt_runtime_us").exists():
            # With CONFIG_RT_GROUP_SCHED a new cgroup has no time for real-time processes.
            bundle.resources(cpu={"realtimePeriod": 1000000, "realtimeRuntime": 10000})
    scheduler: Facts = trial.report(bundle)["scheduler"]
    return scheduler


@case("config.process.scheduler.policy", "config.process.scheduler.nice")
def scheduler_ordinary(trial: Trial) -> None:
    """SCHED_BATCH, SCHED_IDLE and SCHED_OTHER, with a nice value."""
    # An ordinary user may only be nicer than they are.
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for policy, nice in (("SCHED_BATCH", min(own + 5, 19)), ("SCHED_OTHER", min(own + 7, 19))):
        found = _scheduler(trial, policy=policy, nice=nice)
        trial.equal("config.process.scheduler.policy", "policy", POLICIES[policy], found["policy"])
        trial.equal("config.process.scheduler.nice", f"nice value with {policy}", nice, found["nice"])
    trial.equal(
        "config.process.scheduler.policy",
        "policy",
        POLICIES["SCHED_IDLE"],
        _scheduler(trial, policy="SCHED_IDLE")["policy"],
    )


@case("config.process.scheduler.policy", "config.process.scheduler.priority", needs=("root", "capability:sys_nice"))
def scheduler_real_time(trial: Trial) -> None:
    """SCHED_FIFO and SCHED_RR, with a priority."""
    for policy, priority in (("SCHED_FIFO", 7), ("SCHED_RR", 42)):
        found = _scheduler(trial, policy=policy, priority=priority)
        trial.equal("config.process.scheduler.policy", "policy", POLICIES[policy], found["policy"])
        trial.equal("config.process.scheduler.priority", f"priority with {policy}", priority, found["priority"])


@case("config.process.scheduler.flags", needs=("root", "capability:sys_nice"))
def scheduler_flags(trial: Trial) -> None:
    """SCHED_FLAG_RESET_ON_FORK is set."""
    found = _scheduler(trial, policy="SCHED_RR", priority=3, flags=["SCHED_FLAG_RESET_ON_FORK"])
    trial.equal("config.process.scheduler.flags", "SCHED_FLAG_RESET_ON_FORK", 1, found["flags"] & 1)


@case("config.process.scheduler.deadline", needs=("root", "capability:sys_nice"))
def scheduler_deadline(trial: Trial) -> None:
    """SCHED_DEADLINE with its times."""
    times = {"runtime": 10_000_000, "deadline": 200_000_000, "period": 300_000_000}
    found = _scheduler(trial, policy="SCHED_DEADLINE", **times)
    wanted = times | {"policy": POLICIES["SCHED_DEADLINE"]}
    trial.equal("config.process.scheduler.deadline", "policy and times", wanted, {name: found[name] for name in wanted})


CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}


@case("config.process.io-priority", needs=("root",))
def io_priority(trial: Trial) -> None:
    """The class and priority of input and output."""
    for name, priority in (("IOPRIO_CLASS_BE", 6), ("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_IDLE", 3)):
        bundle = trial.bundle()
        bundle.process["ioPriority"] = {"class": name, "priority": priority}
        found = trial.report(bundle)["ioprio"]
        trial.equal(
            "config.process.io-priority",
            f"class and priority with {name}",
            [CLASSES[name], priority],
            [found >> 13, found & 0x1FFF],
        )


def _exec(trial: Trial, **affinity: str) -> Facts:
    bundle = trial.bundle().args("pause")
    container = trial.started(bundle)
    process = json.loads(json.dumps(bundle.process))
    process["args"] = ["/probe", "report"]
    process["execCPUAffinity"] = affinity
    file = trial.directory / "process.json"
    file.write_text(json.dumps(process))
    result = trial.attempt("exec", "--process", str(file), container.id)
    if not result.ok:
        raise CommandError(f"`exec --process` failed with {result}")
    try:
        facts: Facts = json.loads(result.out)
    except ValueError:
        raise CommandError(f"the process of `exec` reported nothing: {result.err}") from None
    return facts


@case("config.process.exec-cpu-affinity.final", needs=("processors:2",))
def exec_affinity(trial: Trial) -> None:
    """A process that joins the container runs on the CPUs of execCPUAffinity.final."""
    last = max(os.sched_getaffinity(0))
    found = _exec(trial, initial=str(min(os.sched_getaffinity(0))), final=str(last))["cpus"]
    trial.equal("config.process.exec-cpu-affinity.final", "CPUs of the process", [last], found)


@case("config.process.exec-cpu-affinity.final-unset", needs=("processors:2",))
def exec_affinity_unset(trial: Trial) -> None:
    """Without execCPUAffinity.final the CPUs of a process that joins are those of the container."""
    every = sorted(os.sched_getaffinity(0))
    found = _exec(trial, initial=str(every[0]))["cpus"]
    trial.equal("config.process.exec-cpu-affinity.final-unset", "CPUs of the process", every, found)


@case("config.process.apparmor-profile", needs=("root", "apparmor"))
def apparmor_profile(trial: Trial) -> None:
    """The process runs under the profile that is asked for."""
    bundle = trial.bundle()
    bundle.process["apparmorProfile"] = "unconfined"
    found = (trial.report(bundle)["attr/current"] or "").strip()
    trial.equal("config.process.apparmor-profile", "profile", "unconfined", found)
    other = trial.bundle()
    other.process["apparmorProfile"] = "no-such-profile-of-conformance"
    trial.refused("config.process.apparmor-profile", other, "a profile that is not loaded")


@case("config.process.selinux-label", "config-linux.mount-label", needs=("root", "selinux"))
def selinux_label(trial: Trial) -> None:
    """The process has the label, and the mounts have theirs."""
    label = "system_u:system_r:container_t:s0:c1,c2"
    bundle = trial.bundle()
    bundle.process["selinuxLabel"] = label
    bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    facts = trial.report(bundle)
    trial.equal("config.process.selinux-label", "label", label, (facts["attr/current"] or "").strip("\0\n"))
    labelled = 'context="system_u:object_r:container_file_t:s0:c1,c2"' in facts["mountinfo"]
    trial.check("config-linux.mount-label", labelled, "mounts with the context", facts["mountinfo"])


@case("config.hostname", "config.domainname")
def names(trial: Trial) -> None:
    """The host name and the domain name are those of the configuration."""
    bundle = trial.bundle()
    bundle.config["hostname"] = "name-of-host"
    bundle.config["domainname"] = "name.of.domain"
    facts = trial.report(bundle)
    trial.equal("config.hostname", "host name", "name-of-host", facts["hostname"])
    trial.equal("config.domainname", "domain name", "name.of.domain", facts["domainname"])


@case("config-linux.personality.domain")
def personality(trial: Trial) -> None:
    """The execution domain is the one of the configuration, as uname(2) shows."""
    for domain, value in (("LINUX", 0), ("LINUX32", 8)):
        bundle = trial.bundle()
        bundle.linux["personality"] = {"domain": domain}
        found = int(trial.report(bundle)["personality"].strip(), 16) & 0xFF
        trial.equal("config-linux.personality.domain", f"domain with {domain}", value, found)


MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
}


def _policy(trial: Trial, **wanted: object) -> Facts:
    bundle = trial.bundle()
    bundle.linux["memoryPolicy"] = wanted
    facts = trial.report(bundle)
    policy: Facts = facts["memory_policy"] or {}
    return policy


@case("config-linux.memory-policy.mode", "config-linux.memory-policy.nodes", needs=("path:/sys/devices/system/node",))
def memory_policy(trial: Trial) -> None:
    """The NUMA policy has the mode and the nodes of the configuration."""
    for mode in ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED"):
        found = _policy(trial, mode=mode, nodes="0")
        trial.equal("config-linux.memory-policy.mode", "mode", MODES[mode], found.get("mode"))
        trial.equal("config-linux.memory-policy.nodes", f"nodes with {mode}", 1, found.get("nodes"))
    trial.equal(
        "config-linux.memory-policy.mode", "mode", MODES["MPOL_LOCAL"], _policy(trial, mode="MPOL_LOCAL").get("mode")
    )


@case("config-linux.memory-policy.flags", needs=("path:/sys/devices/system/node",))
def memory_policy_flags(trial: Trial) -> None:
    """The NUMA policy has the flags of the configuration."""
    found = _policy(trial, mode="MPOL_BIND", nodes="0", flags=["MPOL_F_STATIC_NODES"])
    trial.equal(
        "config-linux.memory-policy.flags",
        "mode and flags",
        [MODES["MPOL_BIND"], 1 << 15],
        [found.get("mode"), found.get("flags")],
    )


@case("config.annotations", "config.annotations.unknown")
def annotations_of_state(trial: Trial) -> None:
    """Annotations are in the state as they were given, and unknown ones are no error."""
    bundle = trial.bundle().args("pause")
    given = {
        "org.example.one": "1",
        "org.example.empty": "",
        "org.opencontainers.image.os": "linux",
        "org.example.é": "ü",
    }
    bundle.config["annotations"] = given
    container = trial.accepted("config.annotations.unknown", bundle)
    if container is not None:
        trial.equal(
            "config.annotations",
            "annotations of the state",
            given,
            container.state().get("annotations"),
        )


@case("config.extensibility.unknown")
def unknown_properties(trial: Trial) -> None:
    """Properties that no specification knows are ignored, at every level."""
    bundle = trial.bundle()
    unknown = {"org.example.unknown": {"anything": [1, None, "x"]}}
    bundle.config.update(unknown)
    for part in (
        bundle.process,
        bundle.process["user"],
        bundle.linux,
        bundle.config["root"],
        bundle.config["mounts"][0],
    ):
        part.update(unknown)
    bundle.linux["namespaces"][0].update(unknown)
    if not trial.ordinary:
        bundle.resources(**unknown)
    container = trial.accepted("config.extensibility.unknown", bundle)
    if container is not None:
        container.start()
        container.wait()
        trial.equal(
            "config.extensibility.unknown",
            "host name in the container",
            "conformance",
            trial.facts(container)["hostname"],
        )


@case("config.root.path", "config.root.readonly")
def root(trial: Trial) -> None:
    """The root is the directory of root.path, relative to the bundle or absolute; it is read-only where that is asked
    for."""
    for readonly in (False, True):
        for absolute in (False, True):
            bundle = trial.bundle()
            other = bundle.rootfs.rename(bundle.path / "elsewhere")
            bundle.config["root"] = {"path": str(other) if absolute else "elsewhere", "readonly": readonly}
            facts = trial.report(bundle, "create=/made", "write=/probe", "create=/tmp/made")
            here = os.stat(other)
            how = "absolute" if absolute else "relative"
            trial.equal("config.root.path", f"inode of the root, {how}", here.st_ino, facts["root"]["ino"])
            errors = [facts["actions"][one]["error"] for one in ("create=/made", "create=/tmp/made")]
            wanted = ["EROFS"] * 2 if readonly else [""] * 2
            trial.equal("config.root.readonly", f"creating files where readonly is {readonly}", wanted, errors)


@case("config.root.readonly")
def root_writable_by_default(trial: Trial) -> None:
    """Without readonly the root can be written to."""
    found = trial.report(trial.bundle(), "create=/made:text")["actions"]["create=/made:text"]["error"]
    trial.equal("config.root.readonly", "creating a file where readonly is not set", "", found)
