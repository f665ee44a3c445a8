"""Networks of the real docker command line: who reaches whom, by which address and name."""

from __future__ import annotations

import json

import pytest
from tests.engine.network.conftest import Place

pytestmark = [pytest.mark.real, pytest.mark.root]


def refused(place: Place, *words: str) -> str:
    done = place.engine.docker(*words, check=False)
    assert done.returncode != 0
    return done.stderr.decode()


def test_the_default_network(place: Place) -> None:
    shown = json.loads(place.engine.out("network", "inspect", "bridge"))[0]
    (config,) = shown["IPAM"]["Config"]
    assert config == {"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}
    assert shown["Options"]["com.docker.network.bridge.name"] == "sampan0"
    out = place.engine.out("run", "--rm", "busybox", "sh", "-c", "ip -4 addr; ip route")
    assert "inet 172.17.0." in out
    assert "default via 172.17.0.1 dev eth0" in out
    advertised = "/proc/sys/net/ipv6/conf/sampan0/accept_ra"
    assert place.netns.out("cat", advertised) == "0\n"
    assert place.engine.out("network", "ls", "--format", "{{.Name}}").split() == [
        *("bridge", "host", "none"),
    ]


def test_neighbours_and_the_host_reach_a_container(place: Place) -> None:
    place.serve("--name", "web")
    place.engine.docker("run", "-d", "--name", "peer", "busybox", "sleep", "600")
    url = f"http://{place.address('web')}/"
    assert place.netns.get(url) == "hello\n"
    assert place.page("peer", url) == "hello\n"


def test_what_inspect_says_of_a_container(place: Place) -> None:
    place.engine.docker(
        *("run", "-d", "--name", "one", "--expose", "99", "-p", "127.0.0.1:18001:80/udp"),
        *("busybox", "sleep", "600"),
    )
    shown = json.loads(place.engine.out("inspect", "one"))[0]["NetworkSettings"]
    own = shown["Networks"]["bridge"]
    assert shown["IPAddress"] == own["IPAddress"]
    assert (own["Gateway"], own["IPPrefixLen"]) == ("172.17.0.1", 16)
    assert own["MacAddress"] in place.engine.out("exec", "one", "ip", "link", "show", "eth0")
    assert shown["Ports"] == {
        "80/udp": [{"HostIp": "127.0.0.1", "HostPort": "18001"}],
        "99/tcp": None,
    }
    member = json.loads(place.engine.out("network", "inspect", "bridge"))[0]["Containers"]
    assert [one["Name"] for one in member.values()] == ["one"]
    place.engine.docker("stop", "-t", "0", "one")
    assert place.address("one") == ""


def test_names_in_a_user_network(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "mine")
    id_ = place.serve("--network", "mine", "--name", "web", "--network-alias", "shop")
    engine.docker("run", "-d", "--network", "mine", "--name", "peer", "busybox", "sleep", "600")
    for name in ("web", "shop", "WEB", "web.mine", id_[:12]):
        assert place.page("peer", f"http://{name}/") == "hello\n"
    resolv = engine.out("exec", "peer", "cat", "/etc/resolv.conf")
    assert "nameserver 127.0.0.11" in resolv
    assert "ndots:0" in resolv
    address = place.address("web", "mine")
    shown = engine.out("exec", "peer", "nslookup", address)
    assert "web.mine" in shown
    assert (
        "SERVFAIL"
        in engine.docker("exec", "peer", "nslookup", "nobody", check=False).stdout.decode()
    )
    engine.docker("rename", "web", "store")
    assert place.page("peer", "http://store/") == "hello\n"
    assert place.page("peer", "http://web/") == ""


def test_the_default_network_has_no_names_but_links(place: Place) -> None:
    place.serve("--name", "web")
    engine = place.engine
    hosts = engine.out("run", "--rm", "--link", "web:shop", "busybox", "cat", "/etc/hosts")
    assert f"{place.address('web')}\tshop" in hosts
    out = engine.out("run", "--rm", "--link", "web:shop", "busybox", "wget", "-qO-", "http://shop/")
    assert out == "hello\n"


def test_one_alias_for_several_containers(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "mine")
    for number in (1, 2):
        place.serve("--network", "mine", "--network-alias", "both", text=f"n{number}")
    engine.docker("run", "-d", "--network", "mine", "--name", "peer", "busybox", "sleep", "600")
    found = {place.page("peer", "http://both/") for _ in range(30)}
    assert found == {"n1\n", "n2\n"}


def test_networks_are_apart(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "left")
    engine.docker("network", "create", "right")
    place.serve("--network", "left", "--name", "web", "-p", "18002:80")
    engine.docker("run", "-d", "--network", "right", "--name", "peer", "busybox", "sleep", "600")
    address = place.address("web", "left")
    assert place.page("peer", f"http://{address}/") == ""
    assert place.page("peer", "http://web/") == ""
    gateway = json.loads(engine.out("network", "inspect", "right"))[0]["IPAM"]["Config"][0][
        "Gateway"
    ]
    assert place.page("peer", f"http://{gateway}:18002/") == "hello\n"
    engine.docker("network", "connect", "--alias", "late", "left", "peer")
    assert place.page("peer", f"http://{address}/") == "hello\n"
    assert place.page("peer", "http://web/") == "hello\n"
    engine.docker("network", "disconnect", "left", "peer")
    assert place.page("peer", f"http://{address}/") == ""


def test_an_internal_network_leads_nowhere(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "--internal", "inner")
    place.serve("-p", "18003:80")
    place.serve("--network", "inner", "--name", "web")
    engine.docker("run", "-d", "--network", "inner", "--name", "peer", "busybox", "sleep", "600")
    assert "default" not in engine.out("exec", "peer", "ip", "route")
    assert place.page("peer", "http://web/") == "hello\n"
    assert place.page("peer", "http://172.17.0.1:18003/") == ""


def test_neighbours_without_inter_container_traffic(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "quiet")
    place.serve("--network", "quiet", "--name", "web", "-p", "18004:80")
    engine.docker("run", "-d", "--network", "quiet", "--name", "peer", "busybox", "sleep", "600")
    assert place.page("peer", "http://web/") == ""
    gateway = json.loads(engine.out("network", "inspect", "quiet"))[0]["IPAM"]["Config"][0][
        "Gateway"
    ]
    assert place.page("peer", f"http://{gateway}:18004/") == "hello\n"


def test_addresses_of_ones_own(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "--subnet", "10.77.0.0/24", "--gateway", "10.77.0.9", "mine")
    fixed = ("--network", "mine", "--ip", "10.77.0.50", "--mac-address", "02:00:00:00:00:07")
    place.serve(*fixed, "--name", "web")
    assert place.address("web", "mine") == "10.77.0.50"
    shown = engine.out("exec", "web", "sh", "-c", "ip link show eth0; ip route")
    assert "02:00:00:00:00:07" in shown
    assert "default via 10.77.0.9" in shown
    again = refused(place, "run", "--rm", "--network", "mine", "--ip", "10.77.0.50", "busybox")
    assert "Address already in use" in again
    outside = refused(place, "run", "--rm", "--network", "mine", "--ip", "10.78.0.5", "busybox")
    assert "no configured subnet or ip-range contain the IP address 10.78.0.5" in outside
    plain = refused(place, "run", "--rm", "--ip", "172.17.0.99", "busybox", "true")
    assert "supported on user defined networks only" in plain


def test_several_networks_at_once(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "front")
    engine.docker("network", "create", "back")
    place.serve("--network", "back", "--name", "web")
    place.engine.docker(
        *("run", "-d", "--name", "both", "--network", "front"),
        *("--network", "name=back,alias=inside,gw-priority=1", "busybox", "sleep", "600"),
    )
    assert place.page("both", "http://web/") == "hello\n"
    gateway = json.loads(engine.out("network", "inspect", "back"))[0]["IPAM"]["Config"][0][
        "Gateway"
    ]
    assert f"default via {gateway} dev eth1" in engine.out("exec", "both", "ip", "route")
    assert place.address("both", "front") != place.address("both", "back")


def test_a_container_joins_anothers_network(place: Place) -> None:
    place.serve("--name", "web")
    joined = ("run", "--rm", "--network", "container:web", "busybox")
    assert place.engine.out(*joined, "wget", "-qO-", "http://127.0.0.1/") == "hello\n"


def test_what_is_refused(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "--subnet", "10.78.0.0/24", "mine")
    engine.docker("run", "-d", "--network", "mine", "--name", "one", "busybox", "sleep", "600")
    create = ("network", "create")
    words: dict[str, tuple[str, ...]] = {}
    words["already exists"] = (*create, "mine")
    words["Pool overlaps"] = (*create, "--subnet", "10.78.0.0/16", "other")
    words["it should be 10.9.0.0/16"] = (*create, "--subnet", "10.9.1.0/16", "other")
    words['plugin "ice" not found'] = (*create, "-d", "ice", "other")
    words['only one instance of "host"'] = (*create, "-d", "host", "other")
    words['network mine has active endpoints (name:"one" id:"'] = ("network", "rm", "mine")
    words["is a pre-defined network and cannot be removed"] = ("network", "rm", "bridge")
    words["network nope not found"] = ("network", "inspect", "nope")
    words["endpoint with name one already exists"] = ("network", "connect", "mine", "one")
    words["is not connected to network bridge"] = ("network", "disconnect", "bridge", "one")
    words["container cannot be disconnected from host network"] = (
        *("network", "connect", "host", "one"),
    )
    words["No such container: nobody"] = ("network", "connect", "mine", "nobody")
    words["failed to set up container networking: network gone not found"] = (
        *("run", "--rm", "--network", "gone", "busybox", "true"),
    )
    for message, command in words.items():
        assert message in refused(place, *command)
    assert engine.out("network", "ls", "-q", "-f", "type=custom").count("\n") == 1
    assert engine.out("ps", "-a", "--format", "{{.Names}}").split() == ["one"]


def test_listing_and_pruning(place: Place) -> None:
    engine = place.engine
    engine.docker("network", "create", "--label", "team=a", "mine")
    engine.docker("network", "create", "used")
    engine.docker("create", "--network", "used", "busybox", "true")

    def names(*filters: str) -> list[str]:
        words = [word for one in filters for word in ("-f", one)]
        return sorted(engine.out("network", "ls", "--format", "{{.Name}}", *words).split())

    assert names("type=custom") == ["mine", "used"]
    assert names("label=team=a") == ["mine"]
    assert names("name=us") == ["used"]
    assert names("driver=host") == ["host"]
    assert names("dangling=true") == ["mine", "used"]
    assert "invalid filter 'color'" in refused(place, "network", "ls", "-f", "color=red")
    assert engine.out("network", "prune", "-f").split() == ["Deleted", "Networks:", "mine"]
    assert names("type=custom") == ["used"]


def test_everything_goes_with_its_container(place: Place) -> None:
    place.engine.docker("network", "create", "mine")
    place.serve("--network", "mine", "--name", "web", "-p", "18005:80")
    assert "18005" in place.netns.rules()
    place.engine.docker("rm", "-f", "web")
    place.engine.docker("network", "rm", "mine")
    assert "18005" not in place.netns.rules()
    assert place.netns.links("bridge") == ["sampan0"]
    assert list((place.engine.place / "exec" / "network").iterdir()) == []
