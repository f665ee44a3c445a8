"""The default network by flags, ports by words, places in networks: values only."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from sampan.base.errors import InvalidError, SampanError
from sampan.engine.daemon.core.published import port_wishes, shown_ports
from sampan.engine.network.core.definition import NetworkOptions, parse_definition
from sampan.engine.network.core.ipam import DEFAULT_POOLS
from sampan.engine.network.core.model import NetworkRecord, PortMapping
from sampan.engine.network.core.subnets import Space, default_network, network_subnets

BLANK = NetworkRecord("a" * 64, "bridge", "bridge", "now", predefined=True)
SPACE = Space(DEFAULT_POOLS, [], [ip_network("172.17.0.0/24")])


def default(known: NetworkRecord | None = None, **flags: Any) -> NetworkRecord:
    return default_network(NetworkOptions(**flags), BLANK, known, SPACE, [])


def subnet(record: NetworkRecord) -> tuple[str, str, str]:
    (one, *_) = record.ipam
    return one.subnet, one.gateway, one.ip_range


def test_the_default_network_by_its_flags() -> None:
    assert subnet(default()) == ("172.18.0.0/16", "172.18.0.1", "")
    assert subnet(default(bip="10.1.0.5/24")) == ("10.1.0.0/24", "10.1.0.5", "")
    fixed = default(bip="10.1.0.1/16", fixed_cidr="10.1.2.0/24")
    assert subnet(fixed) == ("10.1.0.0/16", "10.1.0.1", "10.1.2.0/24")
    assert subnet(default(fixed_cidr="10.1.2.0/24")) == (
        *("10.1.2.0/24", "10.1.2.1", "10.1.2.0/24"),
    )
    six = default(ipv6=True).ipam[1]
    assert ip_network(six.subnet).prefixlen == 64
    assert six.subnet.startswith("fd")


def test_the_default_network_stays_where_it_was_chosen() -> None:
    before = default()
    elsewhere = Space(DEFAULT_POOLS, [], [])
    again = default_network(NetworkOptions(mtu=1400), BLANK, before, elsewhere, [])
    assert subnet(again) == subnet(before)
    assert again.mtu == 1400
    moved = default_network(NetworkOptions(bip="10.2.0.1/24"), BLANK, before, elsewhere, [])
    back = default_network(NetworkOptions(), BLANK, moved, elsewhere, [])
    assert subnet(back)[0] == "172.17.0.0/16"


def test_a_bridge_that_was_there_gives_its_address() -> None:
    device = [ip_interface("10.3.0.9/24")]
    found = default_network(NetworkOptions(bridge="br9"), BLANK, None, SPACE, device)
    assert subnet(found) == ("10.3.0.0/24", "10.3.0.9", "")


@pytest.mark.parametrize(
    "flags",
    [
        {"bip": "10.1.0.1/99"},
        {"bip": "fd00::1/64"},
        {"bip": "10.1.0.1/24", "fixed_cidr": "10.2.0.0/24"},
        {"bip": "10.1.0.1/24", "fixed_cidr": "10.1.0.0/16"},
        {"bip": "10.1.0.1/24", "default_gateway": "10.2.0.1"},
    ],
)
def test_flags_that_contradict_each_other(flags: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        default(**flags)


def test_the_subnets_of_a_network() -> None:
    def subnets(**body: Any) -> list[tuple[str, str]]:
        definition = parse_definition({"Name": "n", **body})
        return [(one.subnet, one.gateway) for one in network_subnets(definition, SPACE, "seed")]

    assert subnets() == [("172.18.0.0/16", "172.18.0.1")]
    own = {"Subnet": "10.4.0.0/24", "AuxiliaryAddresses": {"router": "10.4.0.1"}}
    assert subnets(IPAM={"Config": [own]}) == [("10.4.0.0/24", "10.4.0.2")]
    assert [one[0][:2] for one in subnets(EnableIPv6=True)] == ["17", "fd"]
    assert [one[0][:2] for one in subnets(EnableIPv6=True, EnableIPv4=False)] == ["fd"]
    taken = Space(DEFAULT_POOLS, [ip_network("10.4.0.0/16")], [])
    with pytest.raises(SampanError, match="Pool overlaps"):
        network_subnets(parse_definition({"Name": "n", "IPAM": {"Config": [own]}}), taken, "")


def wishes(bindings: dict[str, Any], *exposed: str, everything: bool = False) -> list[PortMapping]:
    host = {"PortBindings": bindings, "PublishAllPorts": everything}
    return port_wishes(host, exposed)


def test_ports_by_words() -> None:
    both = [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": "9000-9010"}]
    assert wishes({"80/tcp": both, "53/udp": [{}], "70": []}) == [
        PortMapping("udp", 53),
        PortMapping("tcp", 80, "127.0.0.1", 8080),
        PortMapping("tcp", 80, "", 9000, 9010),
    ]
    published = wishes({"80/tcp": [{}]}, "80/tcp", "90/tcp", everything=True)
    assert published == [PortMapping("tcp", 80), PortMapping("tcp", 90)]


@pytest.mark.parametrize(
    "bindings",
    [
        {"80/ice": [{}]},
        {"0/tcp": [{}]},
        {"x/tcp": [{}]},
        {"80/tcp": [{"HostPort": "x"}]},
        {"80/tcp": [{"HostPort": "70000"}]},
        {"80/tcp": [{"HostPort": "9-8"}]},
        {"80/tcp": [{"HostIp": "somewhere"}]},
    ],
)
def test_what_is_no_port(bindings: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        wishes(bindings)


def test_ports_as_they_are_shown() -> None:
    ports = [PortMapping("tcp", 80, "0.0.0.0", 8080), PortMapping("tcp", 80, "::", 8080)]
    assert shown_ports(ports, ["80/tcp", "90/udp"]) == {
        "80/tcp": [
            {"HostIp": "0.0.0.0", "HostPort": "8080"},
            {"HostIp": "::", "HostPort": "8080"},
        ],
        "90/udp": None,
    }
