"""The engine's table of packet rules: fixed rules over sets, so that a container changes elements.

```
prerouting, output    to an address of this host -> map `address` or `port` -> the container
postrouting           back into the bridge it came from: masquerade, for the answer to find back;
                      a container's call of its own published port, in `itself`, likewise
                      from a bridge in `masked` to elsewhere: masquerade
forward               within a bridge in `open`: accept. From or to one in `internal`: drop.
                      Into a bridge: answers and published ports only; so networks are isolated,
                      also from the containers of a Docker beside the engine
```
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Final

from sampan.engine.network.core.model import NetworkRecord, PortMapping
from sampan.engine.network.core.netlink import Message
from sampan.engine.network.core.nftables import (
    DNATTED,
    ESTABLISHED_RELATED,
    IPV4,
    IPV6,
    Chain,
    Elements,
    Hook,
    Map,
    Table,
    connection_is,
    destination_nat,
    elements,
    equal,
    local_destination,
    lookup,
    make_table,
    masquerade,
    meta,
    payload,
    verdict,
)

__all__ = [
    "PROTOCOLS",
    "TABLE",
    "host_table",
    "network_elements",
    "passage_rules",
    "port_changes",
    "resolver_servers",
    "resolver_table",
    "whole",
]

TABLE: Final = "sampan"
RESOLVER_TABLE: Final = "sampan-names"
PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_LOOPBACK_6: Final = ip_address("::1").packed
FAMILIES: Final = (IPV4, IPV6)


def host_table(family: int) -> Table:
    """Return the table for one IP version."""
    address = "ipv4_addr" if family == IPV4 else "ipv6_addr"
    target = (address, "inet_service")
    maps = (
        Map("bridges", ("ifname",)),
        Map("internal", ("ifname",)),
        Map("masked", ("ifname",)),
        Map("within", ("ifname", "ifname")),
        Map("open", ("ifname", "ifname")),
        Map("itself", (address, address)),
        Map("port", ("inet_proto", "inet_service"), target),
        Map("address", (address, "inet_proto", "inet_service"), target),
    )
    return Table(TABLE, family, maps, (*_nat_chains(family), *_filter_chains(family)))


def _between(name: str) -> list[bytes]:
    return [meta("iifname", 1), meta("oifname", 2), lookup(name)]


def _nat_chains(family: int) -> Sequence[Chain]:
    size, offset = (4, 16) if family == IPV4 else (16, 24)
    # Registers 8 and on are the four-byte words of register 1 and those behind it.
    protocol = to_port = 8 + size // 4
    port = protocol + 1
    by_address = [
        payload("network", offset, size),
        meta("l4proto", protocol),
        payload("transport", 2, 2, port),
        lookup("address", 1, 1),
        destination_nat(family, 1, to_port),
    ]
    by_port = [
        meta("l4proto", 8),
        payload("transport", 2, 2, 9),
        lookup("port", 8, 1),
        destination_nat(family, 1, to_port),
    ]
    local = [*local_destination(), verdict("jump", "publish")]
    # The kernel lets nothing leave with ::1; that is for who copies.
    loopback = [payload("network", offset, size), equal(_LOOPBACK_6, negate=True)]
    own = [*loopback, *local] if family == IPV6 else local
    itself = [
        payload("network", offset - size, size, 8),
        payload("network", offset, size, to_port),
        lookup("itself", 8),
    ]
    after = [
        [*itself, *connection_is("status", DNATTED), masquerade()],
        [*_between("within"), *connection_is("status", DNATTED), masquerade()],
        [*_between("within"), verdict("return")],
        [meta("iifname"), lookup("masked"), masquerade()],
    ]
    if family == IPV4:
        # From the host's loopback address to a container: it could not answer that address.
        loopback = [payload("network", 12, 1), equal(b"\x7f")]
        after.append([meta("oifname"), lookup("bridges"), *loopback, masquerade()])
    return (
        Chain("publish", (by_address, by_port)),
        Chain("prerouting", (local,), Hook("nat", "prerouting", -100)),
        Chain("output", (own,), Hook("nat", "output", -100)),
        Chain("postrouting", after, Hook("nat", "postrouting", 100)),
    )


def _filter_chains(family: int) -> Sequence[Chain]:
    inbound = [
        [*connection_is("state", ESTABLISHED_RELATED), verdict("accept")],
        [*connection_is("status", DNATTED), verdict("accept")],
        [verdict("drop")],
    ]
    docker = equal(_device("docker0"))
    to_docker = [meta("iifname"), lookup("bridges"), meta("oifname"), docker]
    forward = [
        [*_between("open"), verdict("accept")],
        [meta("iifname"), lookup("internal"), verdict("drop")],
        [meta("oifname"), lookup("internal"), verdict("drop")],
        [meta("oifname"), lookup("bridges"), verdict("jump", "inbound")],
        [*to_docker, verdict("jump", "inbound")],
    ]
    chains = [
        Chain("inbound", inbound),
        Chain("forward", forward, Hook("filter", "forward", 0)),
    ]
    if family == IPV4:
        # Bridges accept loopback addresses for published ports; nobody in a container may use that.
        loopback = [payload("network", 16, 1), equal(b"\x7f"), verdict("drop")]
        guard = [[meta("iifname"), lookup("bridges"), *loopback]]
        chains.append(Chain("guard", guard, Hook("filter", "prerouting", -300)))
    return chains


def _device(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def network_elements(record: NetworkRecord, family: int) -> list[Elements]:
    """Return what a bridge network adds to the sets."""
    device = _device(record.bridge)
    found = [Elements("bridges", ((device, b""),)), Elements("within", ((device * 2, b""),))]
    if record.internal:
        found.append(Elements("internal", ((device, b""),)))
    if record.flag("enable_icc"):
        found.append(Elements("open", ((device * 2, b""),)))
    if record.flag("enable_ip_masquerade") and not record.internal:
        found.append(Elements("masked", ((device, b""),)))
    return found


def port_changes(
    ports: Iterable[PortMapping], targets: Sequence[str]
) -> list[tuple[int, Elements]]:
    """Return what published ports add to the maps of each family; `targets` are the container's
    addresses. A port on a host address of one version goes to the container's of the same version.
    """
    values = {ip_address(one).version: ip_address(one) for one in targets}
    found: dict[tuple[int, str], list[tuple[bytes, bytes]]] = {}
    for one in ports:
        host = ip_address(one.host_ip)
        target = values.get(host.version)
        if target is None:
            continue
        family = IPV4 if host.version == 4 else IPV6
        key = struct.pack(">B3xH2x", PROTOCOLS[one.protocol], one.host_port)
        value = target.packed + struct.pack(">H2x", one.port)
        own = found.setdefault((family, "itself"), [])
        if not own:
            own.append((target.packed * 2, b""))
        if host.is_unspecified:
            found.setdefault((family, "port"), []).append((key, value))
        else:
            found.setdefault((family, "address"), []).append((host.packed + key, value))
    return [(family, Elements(name, items)) for (family, name), items in found.items()]


def passage_rules(bridge: str) -> list[list[bytes]]:
    """Return rules for another program's chain that would drop what is forwarded: they let a
    bridge's packets pass, for the engine's own table to decide about.
    """
    device = equal(_device(bridge))
    return [[meta(way), device, verdict("accept")] for way in ("iifname", "oifname")]


def whole(
    families: Iterable[int],
    records: Iterable[NetworkRecord],
    ports: Sequence[tuple[int, Elements]],
    *,
    replace: bool,
) -> list[Message]:
    """Return the commands that make the tables of families, with everything in them."""
    commands: list[Message] = []
    networks = list(records)
    for family in families:
        commands += make_table(host_table(family), replace=replace)
        for record in networks:
            for change in network_elements(record, family):
                commands += elements(TABLE, family, change)
        for of_family, change in ports:
            if of_family == family:
                commands += elements(TABLE, family, change)
    return commands


def resolver_table(address: str) -> Table:
    """Return the table inside a container that sends questions for `address`, port 53, to what the
    map `servers` says.
    """
    to_server = [
        payload("network", 16, 4),
        equal(ip_address(address).packed),
        payload("transport", 2, 2),
        equal(struct.pack(">H", 53)),
        meta("l4proto"),
        lookup("servers", 1, 1),
        destination_nat(IPV4, 1, 9),
    ]
    servers = Map("servers", ("inet_proto",), ("ipv4_addr", "inet_service"))
    output = Chain("output", (to_server,), Hook("nat", "output", -100))
    return Table(RESOLVER_TABLE, IPV4, (servers,), (output,))


def resolver_servers(address: str, udp_port: int, tcp_port: int) -> Elements:
    """Return where the resolver's sockets are, for that table's map."""
    packed = ip_address(address).packed
    ports = (("udp", udp_port), ("tcp", tcp_port))
    return Elements(
        "servers",
        [
            (bytes([PROTOCOLS[protocol], 0, 0, 0]), packed + struct.pack(">H2x", port))
            for protocol, port in ports
        ],
    )
