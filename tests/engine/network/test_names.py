"""DNS messages, the table of names, resolv.conf and hosts: without a network."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError
from sampan.engine.network.core import dns
from sampan.engine.network.core.model import DnsSettings, Endpoint, Sandbox
from sampan.engine.network.core.names import NameTable
from sampan.engine.network.core.resolvconf import (
    Resolution,
    hosts_text,
    parse_resolv_conf,
    resolv_text,
    settled,
)


def query(name: str, type_: int, *, edns: int = 0) -> bytes:
    head = struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 1 if edns else 0)
    opt = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    return head + dns.encode_name(name) + struct.pack(">HH", type_, 1) + opt


def test_a_question() -> None:
    found = dns.parse_question(query("Web.MyNet", dns.A))
    assert (found.id, found.name, found.type, found.udp_bytes) == (0x1234, "web.mynet", dns.A, 512)
    assert dns.parse_question(query("a.b", dns.AAAA, edns=1232)).udp_bytes == 1232
    assert dns.parse_question(query("a.b", dns.A, edns=60000)).udp_bytes == 4096


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        query("a", dns.A)[:-1],
        query("a", dns.A)[:13] + b"\xc0\x0c\0\1\0\1",
        struct.pack(">6H", 1, 0x8000, 1, 0, 0, 0) + b"\0\0\1\0\1",
        struct.pack(">6H", 1, 0, 2, 0, 0, 0) + b"\0\0\1\0\1" * 2,
    ],
    ids=["nothing", "short", "cut", "compressed", "an answer", "two questions"],
)
def test_what_is_no_question(data: bytes) -> None:
    with pytest.raises(InvalidError):
        dns.parse_question(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_question_or_refused(data: bytes) -> None:
    try:
        found = dns.parse_question(data)
    except InvalidError:
        return
    assert dns.answers(dns.failure(found, dns.REFUSED), found.id, found)


def test_an_answer_is_these_bytes() -> None:
    question = dns.parse_question(query("web", dns.A))
    both = [ip_address("10.0.0.2"), ip_address("fd00::2")]
    assert dns.addresses_answer(question, both).hex() == (
        "1234" "8580" "0001" "0001" "0000" "0000"
        "03776562000001" "0001"
        "c00c" "0001" "0001" "00000258" "0004" "0a000002"
    )  # fmt: skip
    none = dns.addresses_answer(dns.parse_question(query("web", dns.AAAA)), both[:1])
    assert none[3] & 15 == dns.NO_ERROR
    assert none[6:8] == b"\0\0"


def test_an_answer_that_is_too_long_says_so() -> None:
    question = dns.parse_question(query("web", dns.A))
    many = [ip_address(f"10.0.1.{n}") for n in range(200)]
    cut = dns.addresses_answer(question, many, 512)
    assert len(cut) <= 512
    assert cut[2] & 2
    assert len(dns.addresses_answer(question, many)) > 3000


def test_names_of_addresses() -> None:
    assert str(dns.reverse_address("2.0.17.172.in-addr.arpa")) == "172.17.0.2"
    six = ".".join(reversed("fd" + "0" * 29 + "1")) + ".ip6.arpa"
    assert str(dns.reverse_address(six)) == "fd00::1"
    for wrong in ("x.0.17.172.in-addr.arpa", "17.172.in-addr.arpa", "web", "0.ip6.arpa"):
        assert dns.reverse_address(wrong) is None
    question = dns.parse_question(query("2.0.17.172.in-addr.arpa", dns.PTR))
    assert dns.name_answer(question, "web.mine").endswith(b"\0\x0a\3web\4mine\0")


def test_only_the_answer_to_this_question_is_taken() -> None:
    question = dns.parse_question(query("web", dns.A))
    good = dns.with_id(dns.failure(question, dns.NO_ERROR), 7)
    assert dns.answers(good, 7, question)
    assert not dns.answers(good, 8, question)
    other = dns.parse_question(query("bad", dns.A))
    assert not dns.answers(dns.with_id(dns.failure(other, 0), 7), 7, question)
    assert not dns.answers(dns.with_id(query("web", dns.A), 7), 7, question)


def endpoint(id_: str, network: str, address: str, *names: str, **links: str) -> Endpoint:
    return Endpoint(id_, network, "eth0", "veth", "", f"{address}/24", names=names, links=links)


def test_who_is_called_what() -> None:
    table = NameTable()
    table.name_network("n1", "Front")
    web, twin = (
        endpoint("1", "n1", "10.0.0.2", "web", "shop"),
        endpoint("2", "n1", "10.0.0.3", "shop"),
    )
    far = endpoint("3", "n2", "10.0.1.2", "far")
    for one in (web, twin, far):
        table.add(one)
    asking = endpoint("4", "n1", "10.0.0.9", "me", db="web")
    sandbox = Sandbox("key", "", (asking,))

    def found(name: str) -> list[str] | None:
        addresses = table.lookup(sandbox, name)
        return None if addresses is None else sorted(map(str, addresses))

    assert found("web") == found("web.front") == found("db") == ["10.0.0.2"]
    assert found("shop") == ["10.0.0.2", "10.0.0.3"]
    assert found("far") is None
    assert table.reverse(sandbox, ip_address("10.0.0.2")) == "web.Front"
    assert table.reverse(sandbox, ip_address("10.0.1.2")) is None
    table.remove(web)
    table.remove(web)
    assert found("web") is None
    assert found("shop") == ["10.0.0.3"]


def test_resolv_conf() -> None:
    text = """
# a comment
nameserver 10.0.0.1 ; of the office
nameserver nonsense
nameserver 127.0.0.53
search one.example two.example
options edns0
unknown words
"""
    host = parse_resolv_conf(text)
    assert host == Resolution(
        ("10.0.0.1", "127.0.0.53"), ("one.example", "two.example"), ("edns0",)
    )
    assert resolv_text(host) == (
        "nameserver 10.0.0.1\nsearch one.example two.example\noptions edns0\n"
    )
    assert resolv_text(host, "127.0.0.11") == (
        "nameserver 127.0.0.11\nsearch one.example two.example\noptions edns0 ndots:0\n"
    )
    assert resolv_text(Resolution()) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    own = DnsSettings(("9.9.9.9",), (".",), ("ndots:2",))
    assert settled(own, DnsSettings(("1.1.1.1",)), host) == Resolution(
        ("9.9.9.9",), (), ("ndots:2",)
    )
    assert settled(DnsSettings(), DnsSettings(("1.1.1.1",)), host).servers == ("1.1.1.1",)


def test_hosts() -> None:
    text = hosts_text([("10.1.1.1", "far")], [("172.17.0.2", "me.example me")])
    assert text.startswith("127.0.0.1\tlocalhost\n::1\t")
    assert text.endswith("10.1.1.1\tfar\n172.17.0.2\tme.example me\n")
