"""Subnets and addresses: what is given out, refused, and given back."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampan.base.errors import DeniedError, InvalidError, LimitError, NotFoundError, SampanError
from sampan.engine.network.core.definition import parse_definition
from sampan.engine.network.core.ipam import (
    DEFAULT_POOLS,
    AddressPool,
    Subnet,
    choose_subnet,
    overlaps,
    parse_pool,
    unique_local,
)
from sampan.engine.network.core.model import IpamConfig, NetworkRecord
from sampan.engine.network.core.network import Network


def test_networks_get_dockers_subnets_in_order() -> None:
    taken: list[Subnet] = []
    for _ in range(16):
        taken.append(choose_subnet(DEFAULT_POOLS, taken))
    assert [str(one) for one in taken[:2]] == ["172.17.0.0/16", "172.18.0.0/16"]
    assert str(taken[14]) == "172.31.0.0/16"
    assert str(taken[15]) == "192.168.0.0/20"


def test_a_route_of_the_host_is_avoided() -> None:
    routes = [ip_network("172.17.5.0/24"), ip_network("172.18.0.0/15")]
    assert str(choose_subnet(DEFAULT_POOLS, routes)) == "172.20.0.0/16"


def test_all_pools_in_use() -> None:
    with pytest.raises(LimitError, match="could not find an available, non-overlapping IPv4"):
        choose_subnet(DEFAULT_POOLS, [ip_network("128.0.0.0/1")])


def test_a_pool_of_ones_own() -> None:
    pool = parse_pool("base=10.8.0.0/14,size=24")
    first = choose_subnet([pool], [ip_network("10.8.0.0/25")])
    assert str(first) == "10.8.1.0/24"
    for wrong in (
        "10.0.0.0/8",
        "base=10.0.0.0/8,size=7",
        "base=10.0.0.0/8,size=x",
        "base=x,size=1",
    ):
        with pytest.raises(InvalidError):
            parse_pool(wrong)


def test_local_subnets_of_version_6() -> None:
    found = choose_subnet([unique_local(b"12345")], [], version=6)
    assert str(found) == "fd31:3233:3435::/64"


blocks = st.builds(
    lambda first, bits: ip_network((first, bits), strict=False),
    st.integers(int(IPv4Address("172.16.0.0")), int(IPv4Address("172.32.255.255"))),
    st.integers(10, 30),
)


@given(st.lists(blocks, max_size=12))
def test_a_chosen_subnet_overlaps_nothing(taken: list[object]) -> None:
    networks = [one for one in taken if isinstance(one, type(ip_network("10.0.0.0/8")))]
    found = choose_subnet(DEFAULT_POOLS, networks)
    assert not any(overlaps(found, one) for one in networks)


class PoolMachine(RuleBasedStateMachine):
    """The pool against a set."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(ip_network("10.0.0.0/28"))
        self.taken: set[str] = set()

    @precondition(lambda self: len(self.taken) < 14)
    @rule()
    def allocate(self) -> None:
        found = str(self.pool.allocate())
        assert found not in self.taken
        self.taken.add(found)

    @precondition(lambda self: len(self.taken) == 14)
    @rule()
    def full(self) -> None:
        with pytest.raises(LimitError):
            self.pool.allocate()

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(self.taken)))
        self.pool.release(ip_address(one))
        self.taken.discard(one)

    @rule(last=st.integers(1, 14))
    def take(self, last: int) -> None:
        one = f"10.0.0.{last}"
        if one in self.taken:
            with pytest.raises(DeniedError, match="Address already in use"):
                self.pool.take(ip_address(one))
        else:
            self.pool.take(ip_address(one))
            self.taken.add(one)

    @invariant()
    def agrees(self) -> None:
        assert all(self.pool.is_taken(ip_address(one)) for one in self.taken)


PoolMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestPool = PoolMachine.TestCase


def test_an_address_given_back_comes_last() -> None:
    pool = AddressPool(ip_network("10.0.0.0/29"))
    first = pool.allocate()
    pool.release(first)
    found = [str(pool.allocate()) for _ in range(6)]
    assert found == [*(f"10.0.0.{n}" for n in range(2, 7)), "10.0.0.1"]


def network(*configs: IpamConfig, name: str = "mine") -> Network:
    return Network(NetworkRecord("a" * 64, name, "bridge", "", ipam=configs))


def test_a_network_gives_out_of_its_range() -> None:
    config = IpamConfig("10.0.0.0/24", "10.0.0.1", "10.0.0.64/30", {"router": "10.0.0.65"})
    found = network(config)
    assert [found.allocate(4) for _ in range(3)] == [
        *("10.0.0.64/24", "10.0.0.66/24", "10.0.0.67/24"),
    ]
    with pytest.raises(LimitError):
        found.allocate(4)
    assert found.allocate(4, "10.0.0.9") == "10.0.0.9/24"
    assert found.allocate(6) == ""


def test_the_second_subnet_follows_the_first() -> None:
    both = network(IpamConfig("10.0.0.0/30", "10.0.0.1"), IpamConfig("10.1.0.0/30", "10.1.0.1"))
    assert [both.allocate(4), both.allocate(4)] == ["10.0.0.2/30", "10.1.0.2/30"]


@pytest.mark.parametrize(
    ("config", "wanted", "words"),
    [
        (IpamConfig("10.0.0.0/24", "10.0.0.1"), "10.0.1.9", "no configured subnet or ip-range"),
        (IpamConfig("10.0.0.0/24", "10.0.0.1"), "10.0.0.1", "Address already in use"),
        (IpamConfig("10.0.0.0/24", chosen=True), "10.0.0.9", "user configured subnets"),
        (IpamConfig("10.0.0.0/24"), "10.0.0.x", "invalid IPv4 address"),
    ],
)
def test_addresses_that_cannot_be(config: IpamConfig, wanted: str, words: str) -> None:
    with pytest.raises(SampanError, match=words):
        network(config).allocate(4, wanted)


def body(**ipam: object) -> dict[str, object]:
    return {"Name": "n", "IPAM": {"Config": [ipam]}}


@pytest.mark.parametrize(
    ("given_body", "kind", "words"),
    [
        ({"Name": ""}, InvalidError, "name is empty"),
        ({"Name": "host"}, DeniedError, "not permitted on predefined host network"),
        ({"Name": "n", "Driver": "ice"}, NotFoundError, 'plugin "ice" not found'),
        ({"Name": "n", "Driver": "host"}, DeniedError, 'only one instance of "host"'),
        (body(Subnet="10.0.0.1/24"), InvalidError, "it should be 10.0.0.0/24"),
        (body(Subnet="ten"), InvalidError, "invalid CIDR address"),
        (body(Subnet="10.0.0.0/24", Gateway="10.1.0.1"), InvalidError, "gateway"),
        (body(Subnet="10.0.0.0/24", IPRange="10.0.0.0/16"), InvalidError, "bigger than its parent"),
        (
            {"Name": "n", "Options": {"com.docker.network.driver.mtu": "big"}},
            InvalidError,
            "failed to parse big value",
        ),
    ],
)
def test_networks_that_cannot_be(
    given_body: dict[str, object], kind: type[SampanError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        parse_definition(given_body)
