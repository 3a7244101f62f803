"""Network devices that are moved into the container: config-linux.md, netDevices. The runtime's network is one of the
case's own."""

from __future__ import annotations

import subprocess
from typing import Any

from ..bundle import Bundle
from ..engine import Container, Facts, Trial
from . import case

NEEDS = ("root", "tool:ip", "path:/proc/self/ns/net")


class Network:
    """A network namespace that stands for the host's: the runtime's commands run in it."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.pid = trial.spawn("hold", "n")
        self.path = f"/proc/{self.pid}/ns/net"
        self.prefix = [str(trial.probe), "enter", self.path]

    def ip(self, command: str) -> str:
        """ip(8); the case is impossible where the host does not let it."""
        result = subprocess.run(
            [*self.prefix, "ip", *command.split()], capture_output=True, text=True, check=False, timeout=10
        )
        if result.returncode:
            self.trial.impossible(f"`ip {command}` fails on this host: {result.stderr.strip()}")
        return result.stdout

    def has(self, name: str) -> bool:
        result = subprocess.run(
            [*self.prefix, "ip", "link", "show", name], capture_output=True, check=False, timeout=10
        )
        return result.returncode == 0

    def pair(self, name: str, other: str = "other") -> None:
        self.ip(f"link add {name} type veth peer name {other}")

    def bundle(self, devices: dict[str, Any]) -> Bundle:
        bundle = self.trial.bundle()
        bundle.linux["netDevices"] = devices
        return bundle

    def report(self, bundle: Bundle, *words: str) -> Facts:
        """What the probe finds in the container, whose commands all run in this namespace."""
        container = self.trial.create(bundle.args("report", *words), prefix=self.prefix)
        container.start(prefix=self.prefix)
        container.wait()
        facts = self.trial.facts(container)
        self.trial.attempt("delete", container.id, prefix=self.prefix)
        return facts


@case(
    "config-linux.net-devices.moved", "config-linux.net-devices.up", "config-linux.net-devices.addresses", needs=NEEDS
)
def moved(trial: Trial) -> None:
    """A device is in the container, with its address, hardware address and size of packets, up, and no longer
    outside."""
    network = Network(trial)
    network.pair("eth0")
    network.ip("link set eth0 mtu 1400 address 02:11:22:33:44:55")
    network.ip("addr add 10.99.0.1/24 dev eth0")
    network.ip("addr add fd99::7/64 dev eth0 nodad")
    network.ip("link set eth0 up")
    bundle = network.bundle({"eth0": {}})
    word = "read=/proc/net/if_inet6"
    facts = network.report(bundle, word)
    found = facts["interfaces"]
    trial.check(
        "config-linux.net-devices.moved",
        "eth0" in found and not network.has("eth0"),
        "eth0 in the container alone",
        sorted(found),
    )
    device = found.get("eth0", {})
    trial.equal("config-linux.net-devices.up", "eth0 is up", 1, device.get("up"))
    wanted = {"address": "10.99.0.1", "hardware": "02:11:22:33:44:55", "mtu": 1400}
    trial.equal(
        "config-linux.net-devices.addresses", "attributes of eth0", wanted, {key: device.get(key) for key in wanted}
    )
    lines = [line for line in facts["actions"][word].get("content", "").splitlines() if line.split()[-1:] == ["eth0"]]
    global_ones = [line.split()[0] for line in lines if line.split()[3] == "00"]
    trial.equal(
        "config-linux.net-devices.addresses",
        "IPv6 addresses of global scope",
        ["fd990000000000000000000000000007"],
        global_ones,
    )


@case("config-linux.net-devices.renamed", needs=NEEDS)
def renamed(trial: Trial) -> None:
    """A device has its new name in the container."""
    network = Network(trial)
    network.pair("eth0")
    found = network.report(network.bundle({"eth0": {"name": "inside"}}))["interfaces"]
    trial.equal(
        "config-linux.net-devices.renamed",
        "devices of the container",
        ["inside"],
        sorted(set(found) & {"inside", "eth0"}),
    )


@case("config-linux.net-devices.template", needs=NEEDS)
def template(trial: Trial) -> None:
    """With %d the kernel chooses the number."""
    network = Network(trial)
    network.pair("eth0")
    found = network.report(network.bundle({"eth0": {"name": "numbered%d"}}))["interfaces"]
    trial.equal(
        "config-linux.net-devices.template",
        "devices of the container",
        ["numbered0"],
        sorted(name for name in found if name.startswith("numbered")),
    )


@case("config-linux.net-devices.checked", needs=NEEDS)
def checked(trial: Trial) -> None:
    """A device that does not exist is an error, and so is one where the container has no network namespace of its
    own."""
    network = Network(trial)
    missing = network.bundle({"nosuch0": {}})
    result = trial.attempt_create(missing, prefix=network.prefix)
    trial.reports_error("config-linux.net-devices.checked", "`create`", result, ", for a device that does not exist")
    network.pair("eth0")
    inherited = network.bundle({"eth0": {"name": "inside"}})
    inherited.without_namespace("network")
    result = trial.attempt_create(inherited, prefix=network.prefix)
    trial.reports_error("config-linux.net-devices.checked", "`create`", result, ", without a network namespace")


@case("config-linux.net-devices.name-taken", needs=NEEDS)
def name_taken(trial: Trial) -> None:
    """A name that is taken in the container's network is an error, and the device stays where it was."""
    network = Network(trial)
    network.pair("eth0")
    pod = Network(trial)
    pod.pair("taken")
    for name in ("taken", "lo"):
        bundle = network.bundle({"eth0": {"name": name}})
        bundle.namespace("network", pod.path)
        result = trial.attempt_create(bundle, prefix=network.prefix)
        trial.reports_error("config-linux.net-devices.name-taken", "`create`", result, f", where {name} is taken")
        trial.holds(
            "config-linux.net-devices.name-taken", network.has("eth0"), "the device is still outside", "it is gone"
        )


def _joined(trial: Trial) -> tuple[Network, Network, Container]:
    """A container that got a device into a network namespace that outlives it."""
    network, pod = Network(trial), Network(trial)
    network.pair("eth0")
    bundle = network.bundle({"eth0": {"name": "moved"}}).args("pause")
    bundle.namespace("network", pod.path)
    container = trial.create(bundle, prefix=network.prefix)
    return network, pod, container


@case("config-linux.net-devices.not-managed", needs=NEEDS)
def not_managed(trial: Trial) -> None:
    """What is changed of the device after `create` stays."""
    network, pod, container = _joined(trial)
    pod.ip("link set moved down")
    pod.ip("link set moved mtu 1300")
    container.start(prefix=network.prefix)
    trial.attempt("state", container.id, prefix=network.prefix)
    text = pod.ip("link show moved")
    met = "mtu 1300" in text and "UP" not in text.partition("<")[2].partition(">")[0].split(",")
    trial.check(
        "config-linux.net-devices.not-managed", met, "the device is down, with the new MTU", text.partition("\n")[0]
    )


@case("config-linux.net-devices.not-moved-back", needs=NEEDS)
def not_moved_back(trial: Trial) -> None:
    """`delete` leaves the device in a namespace that lives on."""
    network, pod, container = _joined(trial)
    container.start(prefix=network.prefix)
    container.stop()
    result = trial.attempt("delete", container.id, prefix=network.prefix)
    inside, outside = pod.has("moved"), network.has("moved") or network.has("eth0")
    trial.check(
        "config-linux.net-devices.not-moved-back",
        result.ok and inside and not outside,
        "the device is still in the namespace that was joined",
        f"`delete` ended with {result}; the device is {'there' if inside else 'gone'}",
    )
