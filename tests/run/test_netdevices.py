"""linux.netDevices: devices that move into the container, what they keep, and what the host gets back.

The runtime is run in a network namespace of the test's own, its "host"; the devices are veth pairs, whose other ends
stay there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Bundle, Network, Result, Runtime, Workshop, device, devices

SINCE_1_4 = pytest.mark.differs("is older than the property, and ignores it", before="1.4")


def within(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def addresses(one: Any) -> list[str]:
    """Those of global scope, in order."""
    found = (info for info in one["addr_info"] if info["scope"] == "global")
    return [f"{info['local']}/{info['prefixlen']}" for info in found]


@pytest.fixture
def network(runtime: Runtime, scratch: Path) -> Iterator[Callable[[str], Network]]:
    """Makes network namespaces."""
    made: list[Network] = []

    def make(name: str) -> Network:
        made.append(Network(scratch / name))
        return made[-1]

    yield make
    runtime.clean()
    for one in made:
        harness.unmount(str(one.path))


@pytest.fixture
def host(network: Callable[[str], Network]) -> Network:
    """The runtime's namespace, with the devices eth0 and eth1."""
    made = network("host")
    for number in range(2):
        made.ip(f"link add eth{number} type veth peer name peer{number}")
    return made


def full(host: Network) -> None:
    """Give eth0 all that it can lose."""
    host.ip("link set eth0 mtu 1400 address 02:00:00:00:00:07 up")
    host.ip("link set peer0 up")
    host.ip("address add 10.1.0.1/24 brd + dev eth0")
    host.ip("address add 10.1.0.2/24 dev eth0")
    host.ip("address add 10.2.0.1 peer 10.2.0.2 dev eth0 label eth0:x")
    host.ip("address add 169.254.7.7/16 scope link dev eth0")
    host.ip("address add 10.3.0.1/24 dev eth0 valid_lft 1000 preferred_lft 1000")
    host.ip("address add fd00::1/64 dev eth0 nodad")
    host.ip("address add fd01::1/64 dev eth0 nodad noprefixroute")
    host.ip("route add 10.77.0.0/16 via 10.1.0.9")
    host.ip("route add default via 10.1.0.8 metric 7")
    host.ip("-6 route add fd77::/64 via fd00::9")


@pytest.mark.differs("sets the device down first, which costs it its IPv6 addresses")
def test_moved_with_its_addresses(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    """Permanent global addresses, MTU and MAC are kept, and it is up; the host does not have it meanwhile."""
    full(host)
    made = bundle("pause")
    made.linux["netDevices"] = {"eth0": {}}
    pid = runtime.created(made, prefix=host.prefix)
    assert host.device("eth0") is None
    assert devices(within(pid)) == {"lo", "eth0"}
    one = device(within(pid), "eth0")
    assert one["mtu"] == 1400 and one["address"] == "02:00:00:00:00:07"
    assert "UP" in one["flags"]
    assert addresses(one) == ["10.1.0.1/24", "10.2.0.1/32", "10.1.0.2/24", "fd00::1/64", "fd01::1/64"] or addresses(
        one
    ) == ["10.1.0.1/24", "10.2.0.1/32", "10.1.0.2/24", "fd01::1/64", "fd00::1/64"]
    kept = {info["local"]: info for info in one["addr_info"]}
    assert "169.254.7.7" not in kept and "10.3.0.1" not in kept
    assert kept["10.1.0.1"]["broadcast"] == "10.1.0.255"
    assert kept["10.2.0.1"]["address"] == "10.2.0.2" and kept["10.2.0.1"]["label"] == "eth0:x"
    assert kept["fd01::1"]["noprefixroute"]
    runtime("start", made.id).ok()
    runtime.end(made, pid)
    # A virtual device ends with its namespace, which the kernel takes down when it gets to it (cleanup_net).
    harness.eventually(lambda: host.names() == {"lo", "eth1", "peer1"}, "the veth is gone")


@pytest.mark.differs("does not find a device again whose name the kernel has completed")
def test_renamed(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    """Also to the name of another one, and to a name that the kernel completes."""
    host.ip("address add 10.1.0.1/24 dev eth0 label eth0:0")
    for number in range(2, 5):
        host.ip(f"link add eth{number} type veth peer name peer{number}")
    made = bundle("pause")
    # The template comes first, and the names of the others second.
    made.linux["netDevices"] = {
        "eth4": {"name": "net%d"},
        "eth0": {"name": "eth1"},
        "eth1": {"name": "eth0"},
        "eth2": {"name": "net0"},
        "eth3": {"name": "net%d"},
    }
    macs = {name: host.device(name)["address"] for name in made.linux["netDevices"]}
    pid = runtime.created(made, prefix=host.prefix)
    found = {name: device(within(pid), name)["address"] for name in devices(within(pid)) - {"lo"}}
    runtime("start", made.id).ok()
    assert found == {
        "eth1": macs["eth0"], "eth0": macs["eth1"], "net0": macs["eth2"], "net1": macs["eth4"], "net2": macs["eth3"],
    }  # fmt: skip
    (info,) = (one for one in device(within(pid), "eth1")["addr_info"] if one["family"] == "inet")
    assert info["label"] == "eth1:0"
    runtime.end(made, pid)


@pytest.mark.differs("wants the alternative name to be the name")
def test_by_another_name(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    """An alternative name finds the device, and does not become its name."""
    host.ip("link property add dev eth0 altname a-long-name-of-the-device")
    host.ip("link property add dev eth0 altname short")
    made = bundle("pause")
    made.linux["netDevices"] = {"short": {}}
    pid = runtime.started(made, prefix=host.prefix)
    assert device(within(pid), "eth0")["altnames"] == ["a-long-name-of-the-device", "short"]
    runtime.end(made, pid)


@SINCE_1_4
def test_into_a_joined_namespace_that_outlives_the_container(
    runtime: Runtime, bundle: Workshop, host: Network, network: Callable[[str], Network]
) -> None:
    pod = network("pod")
    # One of the host's name is there already: only the new name matters.
    pod.ip("link add eth0 type veth peer name other")
    made = bundle("pause")
    made.namespace("network", str(pod.path))
    made.linux["netDevices"] = {"eth0": {"name": "moved"}}
    pid = runtime.started(made, prefix=host.prefix)
    assert "UP" in pod.device("moved")["flags"]
    runtime.end(made, pid)
    assert pod.names() == {"lo", "eth0", "other", "moved"}
    assert host.names() == {"lo", "eth1", "peer0", "peer1"}


@SINCE_1_4
def test_in_a_user_namespace(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    host.ip("address add 10.1.0.1/24 dev eth0")
    made = bundle("pause")
    made.user_namespace()
    made.linux["netDevices"] = {"eth0": {"name": "inside"}}
    pid = runtime.started(made, prefix=host.prefix)
    assert addresses(device(within(pid), "inside")) == ["10.1.0.1/24"]
    runtime.end(made, pid)


@SINCE_1_4
@pytest.mark.parametrize("kind", ["veth", "dummy"])
def test_kinds(runtime: Runtime, bundle: Workshop, host: Network, kind: str) -> None:
    """What the kernel has of devices that need no other."""
    added = subprocess.run([*host.prefix, "ip", "link", "add", "net0", "type", kind], capture_output=True, text=True)
    if "Unknown device type" in added.stderr:
        pytest.skip(f"the kernel has no {kind} devices")
    made = bundle("pause")
    made.linux["netDevices"] = {"net0": {"name": "inside"}}
    pid = runtime.started(made, prefix=host.prefix)
    assert "UP" in device(within(pid), "inside")["flags"]
    runtime.end(made, pid)


@SINCE_1_4
def test_a_physical_device_comes_home(runtime: Runtime, bundle: Workshop) -> None:
    """By the kernel's hand, when the container's namespace ends, under the name that it has by then."""
    name = os.environ.get("OCIRUN_TEST_NETWORK_DEVICE")
    if not name:
        pytest.skip("no network device to spare")
    before = device((), name)
    made = bundle("pause")
    made.linux["netDevices"] = {name: {"name": "inside"}}
    pid = runtime.started(made)
    assert device(within(pid), "inside")["address"] == before["address"]
    assert device((), name) is None
    runtime.end(made, pid)
    harness.eventually(lambda: device((), "inside"), "it is back")
    subprocess.run(["ip", "link", "set", "inside", "name", name], check=True)


@SINCE_1_4
def test_hooks_find_it(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    """Of the kinds before pivot_root: by pid or in the namespace."""
    made = bundle("true")
    made.linux["netDevices"] = {"eth0": {}}
    seen = made.path / "seen"
    by_pid = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net ip -o link show eth0"
    made.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"{script} >> {seen}"], "env": ["PATH=/usr/bin:/bin:/sbin"]}]
        for kind, script in (
            ("prestart", by_pid),
            ("createRuntime", by_pid),
            ("createContainer", "ip -o link show eth0"),
        )
    }
    runtime.run(made, prefix=host.prefix).ok()
    assert seen.read_text().count("eth0@") == 3


def refused(runtime: Runtime, made: Bundle, host: Network) -> Result:
    result = runtime.create(made, prefix=host.prefix)
    assert host.names() >= {"eth0", "eth1"}
    return result


@pytest.mark.ocirun
def test_what_cannot_be_moved(
    runtime: Runtime, bundle: Workshop, host: Network, network: Callable[[str], Network], scratch: Path
) -> None:
    made = bundle()
    # The other is not touched: it would be set down.
    host.ip("link set eth0 up")
    made.linux["netDevices"] = {"eth0": {}, "eth7": {}}
    refused(runtime, made, host).failed("/linux/netDevices/eth7: move the network device eth7", "no such device")
    assert "UP" in host.device("eth0")["flags"]

    made.linux["netDevices"] = {"lo": {"name": "other"}}
    refused(runtime, made, host).failed("/linux/netDevices/lo: ", "may not leave its network namespace")
    host.ip("link add br0 type bridge")
    made.linux["netDevices"] = {"br0": {}}
    refused(runtime, made, host).failed("/linux/netDevices/br0: ", "may not leave its network namespace")
    assert host.device("br0")

    made.linux["netDevices"] = {"eth0": {"name": "lo"}}
    refused(runtime, made, host).failed("/linux/netDevices/eth0: ", "has a device lo already")
    pod = network("pod")
    pod.ip("link add taken type veth peer name other")
    pod.ip("link property add dev other altname alternative")
    made.namespace("network", str(pod.path))
    for name in ("taken", "alternative"):
        made.linux["netDevices"] = {"eth0": {"name": name}}
        refused(runtime, made, host).failed("/linux/netDevices/eth0: ", f"has a device {name} already")

    made.namespace("network", str(host.path))
    made.linux["netDevices"] = {"eth0": {}}
    refused(runtime, made, host).failed("/linux/netDevices/eth0: ", "network namespace is the runtime's own")
    host.ip("link property add dev eth0 altname a~b")
    made.namespace("network")
    made.linux["netDevices"] = {"a~b": {"name": "lo"}}
    refused(runtime, made, host).failed("/linux/netDevices/a~0b: ")
    made.linux["netDevices"] = {"eth0": {}, "a~b": {"name": "other"}}
    refused(runtime, made, host).failed("/linux/netDevices/a~0b: ", "it is the device of /linux/netDevices/eth0")


def settled(host: Network) -> tuple[Any, list[str]]:
    """eth0 without what passes: lifetimes that run down, the check for duplicates."""
    one = host.device("eth0")
    harness.eventually(lambda: not any("tentative" in info for info in host.device("eth0")["addr_info"]), "checked", 8)
    one = host.device("eth0")
    for info in one["addr_info"]:
        if info["valid_life_time"] <= 1000:
            info["valid_life_time"] = info["preferred_life_time"] = 0
    one["addr_info"].sort(key=lambda info: (info["family"], info["local"]))
    return one, sorted(host.routes().splitlines())


@pytest.mark.ocirun  # runc leaves the devices to the namespace when it fails
@pytest.mark.parametrize("cause", ["address", "second device", "mount", "hook", "init"])
def test_a_failure_gives_everything_back(
    runtime: Runtime, bundle: Workshop, host: Network, network: Callable[[str], Network], cause: str
) -> None:
    """At the move itself or later: the device is in the host as it was, with its index, addresses and routes."""
    full(host)
    host.ip("link set eth0 group 9")
    before = settled(host)
    made = bundle("true")
    made.linux["netDevices"] = {"eth0": {"name": "inside"}, "eth1": {}}
    pod = network("pod")
    made.namespace("network", str(pod.path))
    if cause == "address":
        subprocess.run([*pod.prefix, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"], check=True)
    elif cause == "second device":
        host.ip("link property add dev eth1 altname name1")
        pod.ip("link add taken type veth peer name other")
        pod.ip("link property add dev other altname name1")
    elif cause == "mount":
        made.mount("/data", "tmpfs", "tmpfs", "nonsense=1")
    elif cause == "hook":
        made.config["hooks"] = {"createContainer": [{"path": "/bin/false"}]}
    else:
        made.process["args"] = ["/nonesuch"]
    result = runtime.run(made, prefix=host.prefix)
    if cause == "address":
        result.failed("/linux/netDevices/eth0: ", "device eth0 to the container as inside: permission denied")
    elif cause == "second device":
        result.failed("/linux/netDevices/eth1: ", "file exists")
    else:
        result.failed()
    assert "inside" not in pod.names()
    assert settled(host) == before
    assert host.device("eth1")


@pytest.mark.ocirun  # runc leaves the devices to the namespace when it fails
def test_a_port_of_a_bridge_is_one_again(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    host.ip("link add br0 type bridge")
    host.ip("link set eth0 master br0 up")
    made = bundle("/nonesuch")
    made.process["args"] = ["/nonesuch"]
    made.linux["netDevices"] = {"eth0": {}}
    runtime.run(made, prefix=host.prefix).failed("/nonesuch")
    one = host.device("eth0")
    assert one["master"] == "br0" and "UP" in one["flags"]


@pytest.mark.differs("leaves the devices to the namespace when it fails")
@pytest.mark.parametrize("name", ["eth0", "inside"])
def test_its_name_is_taken_meanwhile(runtime: Runtime, bundle: Workshop, host: Network, name: str) -> None:
    """Then it comes back under the one that it had in the container, or that the kernel finds."""
    host.ip("address add 10.1.0.1/24 dev eth0")
    mac = host.device("eth0")["address"]
    made = bundle("true")
    made.linux["netDevices"] = {"eth0": {"name": name}}
    taking = "ip link add eth0 type veth peer name thief; exit 1"
    made.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", taking], "env": ["PATH=/usr/bin:/bin:/sbin"]}]
    }
    runtime.run(made, prefix=host.prefix).failed("exit status 1")
    assert host.device("eth0")["address"] != mac
    (back,) = host.names() - {"lo", "eth0", "eth1", "peer0", "peer1", "thief"}
    assert host.device(back)["address"] == mac and addresses(host.device(back)) == ["10.1.0.1/24"]
    assert back == "inside" if name == "inside" else back.startswith("dev")


PROGRAM = """
import asyncio, sys, threading
sys.path.insert(0, sys.argv[1])
import ocirun

async def main():
    return ocirun.Runtime(root=sys.argv[2]).create(sys.argv[3], sys.argv[4])

container = asyncio.run(main())
assert not any(name.startswith("pyroute2") for name in sys.modules)
import pyroute2
pyroute2.IPRoute().close()
container.delete(force=True)
"""


@pytest.mark.ocirun
def test_in_a_program_with_an_event_loop(runtime: Runtime, bundle: Workshop, host: Network) -> None:
    """The library blocks a loop, but needs none of its own, and leaves pyroute2 to who imports it."""
    made = bundle("pause")
    made.linux["netDevices"] = {"eth0": {}}
    made.write()
    words = (str(harness.PACKAGES), str(runtime.root), made.id, str(made.path))
    command = [*host.prefix, sys.executable, "-c", PROGRAM, *words]
    said = made.path / "said"  # a file, since the container has it open too
    with said.open("w") as file:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=60)
    assert result.returncode == 0, said.read_text()
    assert "eth0" not in host.names()


@pytest.mark.ocirun
def test_without_pyroute2(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocirun.errors import HostError
    from ocirun.host import netlink

    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda *_: None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(HostError, match="the Python package pyroute2 is needed"):
        netlink.Netlink(0)
