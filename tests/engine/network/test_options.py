"""What the daemon's flags and a network's options change, and networks of IPv6."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool
from tests.engine.network.conftest import Place
from tests.engine_server import EngineServer
from tests.netns import NetworkNamespace
from tests.real import require, require_root

pytestmark = [pytest.mark.real, pytest.mark.root]
FLAGS = (
    "--bip=10.99.0.1/24 --fixed-cidr=10.99.0.128/25 --mtu=1400 --icc=false --ip=127.0.0.1 --ipv6 "
    "--fixed-cidr-v6=fd99::/64 --default-address-pool=base=10.98.0.0/16,size=24 --ip-masq=false "
    "--default-gateway=10.99.0.254 --dns=10.0.0.53 --dns-search=example.test --dns-opt=timeout:1 "
    "--host-gateway-ip=10.9.9.9"
).split()


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    require_root()
    netns = NetworkNamespace.make()
    for command in getattr(request, "param", ()):
        netns.run(str(require("ip")), *command.split())
    engine = EngineServer(tmp_path, netns=netns.path)
    try:
        yield Place(engine, netns)
        engine.clear()
    finally:
        engine.stop()
        netns.close()


def test_flags_of_the_default_network(own: Place) -> None:
    engine = own.engine
    engine.flags = FLAGS
    engine.start().load()
    own.serve("--name", "web", "-p", "18120:80", "--add-host", "outside:host-gateway")
    engine.docker("run", "-d", "--name", "peer", "-h", "a.b.test", "busybox", "sleep", "600")
    assert "\ta.b.test a\n" in engine.out("exec", "peer", "cat", "/etc/hosts")
    assert own.address("web").startswith("10.99.0.1")
    shown = engine.out("exec", "web", "sh", "-c", "ip addr show eth0; ip route; ip -6 route")
    assert "mtu 1400" in shown
    assert "default via 10.99.0.254" in shown
    assert "inet6 fd99::" in shown
    assert "default via fd99::1 dev eth0" in shown
    assert own.page("peer", f"http://{own.address('web')}/") == ""
    assert own.netns.get("http://127.0.0.1:18120/") == "hello\n"
    assert own.netns.get("http://10.99.0.1:18120/") == ""
    files = engine.out("exec", "web", "cat", "/etc/resolv.conf", "/etc/hosts")
    assert "nameserver 10.0.0.53\nsearch example.test\noptions timeout:1\n" in files
    assert "10.9.9.9\toutside" in files
    engine.docker("network", "create", "mine")
    assert own.gateway("mine") == "10.98.0.1"
    rules = own.netns.out(str(require("nft")), "list", "set", "ip", "sampan", "masked")
    assert "sampan0" not in rules


MY_BRIDGE = [
    *("link add mybr type bridge", "addr add 10.97.0.5/24 dev mybr", "link set mybr up"),
    *("link add mine type veth peer name other", "link set mine master mybr"),
]


@pytest.mark.parametrize("own", [MY_BRIDGE], indirect=True)
def test_a_bridge_of_ones_own(own: Place) -> None:
    own.engine.flags = ["--bridge=mybr"]
    own.engine.start().load()
    own.serve("--name", "web")
    assert own.netns.get(f"http://{own.address('web')}/") == "hello\n"
    assert own.gateway("bridge") == "10.97.0.5"
    own.engine.kill()
    own.engine.start()
    assert own.netns.get(f"http://{own.address('web')}/") == "hello\n"
    assert {"mine", "other"} < set(own.netns.links("veth"))


@pytest.mark.parametrize("own", [MY_BRIDGE], indirect=True)
def test_devices_of_others_stay_what_they_are(own: Place) -> None:
    engine = own.engine
    engine.start().load()
    named = "com.docker.network.bridge.name="
    refused = engine.docker("network", "create", "-o", f"{named}mine", "n", check=False)
    assert b"a device named mine is there, and it is no bridge" in refused.stderr
    engine.docker("network", "create", "-o", f"{named}mybr", "used")
    own.serve("--network", "used", "--name", "web")
    assert own.netns.get(f"http://{own.address('web', 'used')}/") == "hello\n"
    engine.docker("rm", "-f", "web")
    engine.docker("network", "rm", "used")
    assert "mybr" in own.netns.links("bridge")
    assert {"mine", "other"} <= set(own.netns.links("veth"))


def test_more_sockets_than_a_shell_allows(own: Place) -> None:
    """Each container takes descriptors of the daemon; its own limit stays what it was."""
    engine = own.engine
    engine.prefix = [str(require("prlimit")), "--nofile=64:4096"]
    engine.start().load()
    engine.docker("network", "create", "mine")
    for _ in range(16):
        own.serve("--network", "mine", "-P", "--expose", "80")
    limit = engine.out("run", "--rm", "--network", "mine", "busybox", "sh", "-c", "ulimit -n")
    assert limit == "64\n"


def test_a_host_without_forwarding_by_us(own: Place) -> None:
    setting = "/proc/sys/net/ipv4/ip_forward"
    before = own.netns.out("cat", setting)
    own.engine.flags = ["--ip-forward=false"]
    own.engine.start()
    assert own.netns.out("cat", setting) == before
    own.engine.stop()
    own.engine.flags = ["--ipv6"]
    own.engine.start()
    assert own.netns.out("cat", setting) == "1\n"
    six = "/proc/sys/net/ipv6/conf"
    assert own.netns.out("cat", f"{six}/all/forwarding", f"{six}/lo/accept_ra") == "1\n2\n"
    assert own.netns.out("cat", f"{six}/sampan0/accept_ra") == "0\n"


def test_version_6(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "--ipv6", "six")
    place.serve("--network", "six", "--name", "web", "-p", "18121:80")
    engine.docker("run", "-d", "--network", "six", "--name", "peer", "busybox", "sleep", "600")
    shown = json.loads(engine.out("inspect", "web"))[0]["NetworkSettings"]["Networks"]["six"]
    assert shown["GlobalIPv6Address"].startswith("fd")
    assert shown["GlobalIPv6PrefixLen"] == 64
    assert place.page("peer", f"http://[{shown['GlobalIPv6Address']}]/") == "hello\n"
    assert "fd" in engine.out("exec", "peer", "nslookup", "web")
    assert place.netns.get("http://[::1]:18121/") == "hello\n"
    fixed = ("--subnet", "fd77::/64", "--subnet", "10.77.0.0/24")
    engine.docker("network", "create", "--ipv6", *fixed, "fixed")
    words = ("--network", "fixed", "--ip6", "fd77::99", "--ip", "10.77.0.99")
    out = engine.out("run", "--rm", *words, "busybox", "ip", "addr", "show", "eth0")
    assert "inet6 fd77::99/64" in out
    assert "inet 10.77.0.99/24" in out


def test_options_of_a_network(place: Place) -> None:
    engine, options = place.engine, []
    for option in (
        "com.docker.network.bridge.name=mybridge",
        "com.docker.network.driver.mtu=1300",
        "com.docker.network.container_iface_prefix=lan",
        "com.docker.network.bridge.host_binding_ipv4=127.0.0.1",
    ):
        options += ["-o", option]
    engine.docker("network", "create", *options, "mine")
    place.serve("--network", "mine", "--name", "web", "-p", "18122:80")
    assert "mybridge" in place.netns.links("bridge")
    assert "mtu 1300" in engine.out("exec", "web", "ip", "link", "show", "lan0")
    assert engine.out("port", "web") == "80/tcp -> 127.0.0.1:18122\n"
    taken = engine.docker("network", "create", *options, "other", check=False)
    assert b"bridge mybridge is another network's already" in taken.stderr
    wrong = engine.docker(
        *("network", "create", "-o", "com.docker.network.driver.mtu=x", "other"), check=False
    )
    assert b"failed to parse x value" in wrong.stderr


def test_options_of_a_place_in_a_network(place: Place) -> None:
    engine, option = place.engine, "driver-opt=com.docker.network.endpoint."
    engine.docker("network", "create", "mine")
    settings = f"{option}ifname=lan7,{option}sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    shown = engine.out(
        *("run", "--rm", "--network", f"name=mine,{settings}", "busybox", "sh", "-c"),
        "ip -o link; cat /proc/sys/net/ipv4/conf/lan7/log_martians",
    )
    assert "lan7" in shown
    assert shown.endswith("\n1\n")
    outside = f"name=mine,{option}sysctls=net.ipv4.conf.all.log_martians=1"
    refused = engine.docker("create", "--network", outside, "busybox", check=False)
    assert b"unable to parse sysctl" in refused.stderr


def test_the_docker_sdk(place: Place) -> None:
    client = docker.DockerClient(base_url=place.engine.url)
    try:
        aux = {"x": "10.76.0.2"}
        pool = IPAMPool(subnet="10.76.0.0/24", gateway="10.76.0.1", aux_addresses=aux)
        made = client.networks.create("mine", ipam=IPAMConfig(pool_configs=[pool]))
        one = client.containers.create("busybox", "sleep 600", mac_address="02:00:00:00:00:09")
        made.connect(one, ipv4_address="10.76.0.7", aliases=["alias"])
        one.start()
        one.reload()
        networks = one.attrs["NetworkSettings"]["Networks"]
        assert networks["mine"]["IPAddress"] == "10.76.0.7"
        assert networks["bridge"]["MacAddress"] == "02:00:00:00:00:09"
        peer = client.containers.run("busybox", "sleep 600", network="mine", detach=True)
        peer.reload()
        assert peer.attrs["NetworkSettings"]["Networks"]["mine"]["IPAddress"] == "10.76.0.3"
        assert peer.exec_run("nslookup alias").exit_code == 0
        made.reload()
        assert {each.id for each in made.containers} == {one.id, peer.id}
        made.disconnect(one)
        with pytest.raises(docker.errors.APIError) as refused:
            made.remove()
        assert refused.value.status_code == 403
        ports = {"80/tcp": 18123, "81/udp": ("127.0.0.1", None)}
        shown = client.containers.run("busybox", "sleep 600", detach=True, ports=ports)
        shown.reload()
        assert shown.ports["80/tcp"][0] == {"HostIp": "0.0.0.0", "HostPort": "18123"}
        assert shown.ports["81/udp"][0]["HostIp"] == "127.0.0.1"
    finally:
        client.close()
