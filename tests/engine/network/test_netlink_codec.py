"""Messages to the kernel, byte by byte, and answers taken apart."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network, ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.engine.network.core import netlink, nftables, rtnetlink, ruleset
from sampan.engine.network.core.model import NetworkRecord, PortMapping
from sampan.engine.network.core.netlink import Frame, Message

GOLDEN = {
    "veth": (
        rtnetlink.add_veth("veth1", 7, 1500, peer="eth0", peer_mac="02:42:ac:11:00:02", netns_fd=9),
        "00000000000000000100000001000000"  # ifinfomsg: up
        "0a000300766574683100000008000400dc05000008000a0007000000"  # name, mtu, master
        "50001280090001007665746800000000400002803c000180"  # link info: veth, its peer
        "00000000000000000000000000000000"  # the peer's ifinfomsg
        "09000300657468300000000"
        "00a0001000242ac110002000008000400dc05000008001c0009000000",
    ),
    "address": (
        rtnetlink.add_address(3, ip_interface("172.17.0.2/16")),
        "021000000300000008000200ac11000208000100ac11000208000400ac11ffff",
    ),
    "default route": (
        rtnetlink.add_route(3, ip_address("172.17.0.1")),
        "02000000fe0300010400000008000500ac1100010800040003000000",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_message_is_these_bytes(name: str) -> None:
    message, wanted = GOLDEN[name]
    assert message.payload.hex() == wanted


def test_messages_of_one_datagram_are_numbered_and_padded() -> None:
    packed = netlink.pack([Message(16, 4, b"abc"), Message(17, 0, b"")], 7)
    assert packed.hex(" ", 4).split() == [
        *("13000000", "10000500", "07000000", "00000000", "61626300"),
        *("10000000", "11000100", "08000000", "00000000"),
    ]
    assert list(netlink.frames(packed)) == [Frame(16, 5, 7, b"abc"), Frame(17, 1, 8, b"")]


def test_an_error_brings_the_kernels_words() -> None:
    words = netlink.text(1, "no such bridge")
    capped = Frame(2, 0x300, 5, struct.pack("=i", -19) + bytes(16) + words)
    assert netlink.acknowledgement(capped) == (19, "no such bridge")
    assert netlink.acknowledgement(Frame(2, 0, 5, struct.pack("=i", 0) + bytes(16))) == (0, "")


@given(st.lists(st.tuples(st.integers(1, 200), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, value) for kind, value in items)
    assert netlink.attributes(data) == dict(items)


@given(st.binary(max_size=120))
def test_any_bytes_are_taken_apart_without_an_error(data: bytes) -> None:
    netlink.attributes(data)
    list(netlink.frames(data))


def test_a_route_of_the_main_table() -> None:
    header = struct.pack("=8BI", 2, 16, 0, 0, 254, 2, 253, 1, 0)
    payload = header + netlink.attribute(1, bytes([10, 1, 0, 0])) + netlink.u32(4, 3)
    found = rtnetlink.parse_route(payload)
    assert found == rtnetlink.Route(IPv4Network("10.1.0.0/16"), None, 3)
    other_table = struct.pack("=8BI", 2, 16, 0, 0, 255, 2, 253, 2, 0)
    assert rtnetlink.parse_route(other_table + payload[12:]) is None


def test_published_ports_become_elements() -> None:
    ports = [
        PortMapping("tcp", 80, "0.0.0.0", 8080),
        PortMapping("udp", 53, "127.0.0.1", 5353),
        PortMapping("tcp", 80, "::", 8080),
    ]
    (itself, any_, one, *_) = ruleset.port_changes(ports, ["172.17.0.2"])
    assert itself[1].items == [(bytes.fromhex("ac110002 ac110002"), b"")]
    assert any_[0] == one[0] == nftables.IPV4
    assert any_[1] == nftables.Elements(
        "port", [(bytes.fromhex("06000000 1f900000"), bytes.fromhex("ac110002 00500000"))]
    )
    assert one[1].map == "address"
    assert one[1].items[0][0].hex() == "7f000001" + "11000000" + "14e90000"


def test_what_a_network_adds_to_the_rules() -> None:
    def sets(record: NetworkRecord) -> list[str]:
        return [one.map for one in ruleset.network_elements(record, nftables.IPV4)]

    plain = NetworkRecord("a" * 64, "n", "bridge", "")
    quiet = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    assert sets(plain) == ["bridges", "within", "open", "masked"]
    assert sets(NetworkRecord("a" * 64, "n", "bridge", "", options=quiet)) == [
        "bridges",
        "within",
        "open",
    ]
    internal = NetworkRecord("a" * 64, "n", "bridge", "", internal=True)
    assert sets(internal) == ["bridges", "within", "internal", "open"]


def test_a_batch_asks_for_one_acknowledgement() -> None:
    commands = nftables.make_table(ruleset.host_table(nftables.IPV6), replace=True)
    packed = nftables.batch(commands)
    assert [one.flags & netlink.ACK for one in packed].count(netlink.ACK) == 1
    assert packed[-2].flags & netlink.ACK
    assert (packed[0].kind, packed[-1].kind) == (16, 17)
