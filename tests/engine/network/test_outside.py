"""The world beyond the host: what containers reach of it, and what it reaches of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.engine.network.conftest import Place
from tests.netns import NetworkNamespace
from tests.real import require

pytestmark = [pytest.mark.real, pytest.mark.root]

# Says to every client where it comes from.
MIRROR = """
import socket
server = socket.create_server(("10.200.0.2", 7777))
print("listening", flush=True)
while True:
    client, address = server.accept()
    client.sendall(address[0].encode() + b"\\n")
    client.close()
"""


@pytest.fixture(scope="module")
def outside(shared_place: Place) -> Iterator[NetworkNamespace]:
    """Another host: 10.200.0.2, beside the daemon's 10.200.0.1, which is its gateway."""
    ip, host, other = str(require("ip")), shared_place.netns, NetworkNamespace.make()
    try:
        host.run(ip, "link", "add", "lan", "type", "veth", "peer", "name", "lan0")
        host.run(ip, "link", "set", "lan0", "netns", str(other.path))
        host.run(ip, "addr", "add", "10.200.0.1/24", "dev", "lan")
        host.run(ip, "link", "set", "lan", "up")
        other.run(ip, "addr", "add", "10.200.0.2/24", "dev", "lan0")
        other.run(ip, "link", "set", "lan0", "up")
        other.run(ip, "route", "add", "default", "via", "10.200.0.1")
        yield other
    finally:
        host.run(ip, "link", "del", "lan")
        other.close()


@pytest.fixture(scope="module")
def mirror(outside: NetworkNamespace) -> Iterator[None]:
    words = [str(require("nsenter")), f"--net={outside.path}", sys.executable, "-c", MIRROR]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        yield
        server.kill()


def seen(place: Place, *words: str) -> str:
    """What the other host sees of a container that calls it, empty when it is not reached."""
    script = "timeout 2 nc 10.200.0.2 7777; true"
    return place.engine.out("run", "--rm", *words, "busybox", "sh", "-c", script).strip()


def test_containers_call_out_under_the_hosts_address(place: Place, mirror: None) -> None:
    engine = place.engine
    assert seen(place) == "10.200.0.1"
    plain = "com.docker.network.bridge.enable_ip_masquerade=false"
    engine.docker("network", "create", "--subnet", "10.79.0.0/24", "-o", plain, "routed")
    assert seen(place, "--network", "routed", "--ip", "10.79.0.7") == "10.79.0.7"
    engine.docker("network", "create", "--internal", "inner")
    assert seen(place, "--network", "inner") == ""


def test_published_ports_only_are_reached_from_outside(
    place: Place, outside: NetworkNamespace
) -> None:
    place.serve("--name", "web", "-p", "18200:80")
    place.serve("--name", "near", "-p", "127.0.0.1:18201:80")
    assert outside.get("http://10.200.0.1:18200/") == "hello\n"
    assert outside.get("http://10.200.0.1:18201/") == ""
    assert outside.get(f"http://{place.address('web')}/") == ""


def test_beside_a_program_that_drops_what_is_forwarded(
    place: Place, outside: NetworkNamespace, mirror: None
) -> None:
    """As dockerd's iptables do; that program's other rules, and its bridges, stay its own."""
    nft, engine = str(require("nft")), place.engine
    forward = "{ type filter hook forward priority 0; policy drop; }"
    try:
        place.netns.run(nft, f"add table ip filter; add chain ip filter FORWARD {forward}")
        place.netns.run(nft, "add rule ip filter FORWARD iifname docker0 counter accept")
        assert seen(place) == "10.200.0.1"
        engine.docker("network", "create", "mine")
        place.serve("--network", "mine", "--name", "web", "-p", "18210:80")
        assert outside.get("http://10.200.0.1:18210/") == "hello\n"
        assert seen(place, "--network", "mine") == "10.200.0.1"
        chain = place.netns.out(nft, "list", "chain", "ip", "filter", "FORWARD")
        assert chain.count("sampan0") == 4  # two rules with their comments
        engine.docker("rm", "-f", "web")
        engine.docker("network", "rm", "mine")
        left = place.netns.out(nft, "list", "chain", "ip", "filter", "FORWARD")
        assert "br-" not in left
        assert 'iifname "docker0"' in left
    finally:
        place.netns.run(nft, "delete", "table", "ip", "filter", check=False)


def test_nobody_reaches_the_hosts_loopback(place: Place, outside: NetworkNamespace) -> None:
    """Bridges take packets for loopback addresses, for published ports: only from the host."""
    ip = str(require("ip"))
    place.serve("--name", "web", "-p", "127.0.0.1:18202:80")
    name = "peer"
    place.engine.docker(
        *("run", "-d", "--privileged", "--name", name, "busybox", "sleep", "600"),
    )
    script = (
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; "
        "ip route add 127.0.0.1 via 172.17.0.1; timeout 2 wget -qO- http://127.0.0.1:18202/; true"
    )
    assert place.engine.out("exec", name, "sh", "-c", script) == ""
    outside.run(ip, "route", "add", "127.0.0.1", "via", "10.200.0.1", check=False)
    assert outside.get("http://10.200.0.1:18202/") == ""
