"""Links, addresses and routes as rtnetlink messages (linux/rtnetlink.h, linux/if_link.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import Final

from sampan.engine.network.core.netlink import (
    ACK,
    CREATE,
    DUMP,
    EXCLUSIVE,
    REPLACE,
    Message,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

__all__ = [
    "Link",
    "Route",
    "add_address",
    "add_bridge",
    "add_route",
    "add_veth",
    "delete_link",
    "find_link",
    "list_addresses",
    "list_links",
    "list_routes",
    "parse_address",
    "parse_link",
    "parse_route",
    "remove_address",
    "set_link",
    "set_port",
]

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER = 1, 3, 4, 5, 10
_LINKINFO, _IFALIAS, _NET_NS_FD = 18, 20, 28
_INFO_KIND, _INFO_DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_PEER: Final = 1
_BR_FORWARD_DELAY, _BR_STP_STATE = 1, 5
_PORT_HAIRPIN, _PORT_ISOLATED = 4, 33
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_NO_DAD: Final = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_UP: Final = 1
_LINK_SCOPED: Final = 253
_INET, _INET6 = 2, 10
_MAIN, _BOOT, _LINK_SCOPE, _UNICAST, _ON_LINK = 254, 3, 253, 1, 4


@dataclass(frozen=True, slots=True)
class Link:
    """A network device as the kernel lists it."""

    index: int
    name: str
    up: bool
    mtu: int
    kind: str
    master: int
    alias: str
    mac: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; `destination` is None for a default route."""

    destination: Network | None
    gateway: Address | None
    device: int


def _link_header(index: int = 0, *, up: bool | None = None) -> bytes:
    flags = _UP if up else 0
    return struct.pack("=BxHiII", 0, 0, index, flags, 0 if up is None else _UP)


def _mac(text_: str) -> bytes:
    return bytes.fromhex(text_.replace(":", ""))


def add_bridge(name: str, *, mac: str, mtu: int) -> Message:
    """Make a bridge that is up, without spanning tree and without a delay before it forwards."""
    data = nested(_INFO_DATA, u32(_BR_FORWARD_DELAY, 0), u32(_BR_STP_STATE, 0))
    payload = _link_header(up=True) + text(_IFNAME, name) + attribute(_ADDRESS, _mac(mac))
    payload += u32(_MTU, mtu)
    payload += nested(_LINKINFO, text(_INFO_KIND, "bridge"), data)
    return Message(_NEWLINK, ACK | CREATE | EXCLUSIVE, payload)


def add_veth(
    name: str, bridge: int, mtu: int, *, peer: str, peer_mac: str, netns_fd: int
) -> Message:
    """Make a pair of devices at once: one end up in the bridge of that index, the other, named
    `peer`, down in the namespace of `netns_fd` (a descriptor of the sending process).
    """
    other = _link_header() + text(_IFNAME, peer) + attribute(_ADDRESS, _mac(peer_mac))
    other += u32(_MTU, mtu) + u32(_NET_NS_FD, netns_fd)
    data = nested(_INFO_DATA, nested(_PEER, other))
    payload = _link_header(up=True) + text(_IFNAME, name) + u32(_MTU, mtu) + u32(_MASTER, bridge)
    payload += nested(_LINKINFO, text(_INFO_KIND, "veth"), data)
    return Message(_NEWLINK, ACK | CREATE | EXCLUSIVE, payload)


def set_port(name: str, *, isolated: bool, hairpin: bool) -> Message:
    """Set up a port of a bridge: one that exchanges no frames with other isolated ports, one that
    gets frames back that it has sent itself.
    """
    settings = u8(_PORT_ISOLATED, int(isolated)) + u8(_PORT_HAIRPIN, int(hairpin))
    data = nested(_SLAVE_DATA, settings)
    payload = _link_header() + text(_IFNAME, name)
    payload += nested(_LINKINFO, text(_SLAVE_KIND, "bridge"), data)
    return Message(_NEWLINK, ACK, payload)


def set_link(
    name: str, *, up: bool | None = None, mtu: int = 0, alias: str = "", index: int = 0
) -> Message:
    """Change a device; it is named, or meant by its index where that is given."""
    payload = _link_header(index, up=up)
    payload += b"" if index else text(_IFNAME, name)
    payload += u32(_MTU, mtu) if mtu else b""
    payload += text(_IFALIAS, alias) if alias else b""
    return Message(_SETLINK, ACK, payload)


def delete_link(name: str) -> Message:
    """Remove a device."""
    return Message(_DELLINK, ACK, _link_header() + text(_IFNAME, name))


def find_link(name: str) -> Message:
    """Ask for one device; the answer is for `parse_link`."""
    return Message(_GETLINK, 0, _link_header() + text(_IFNAME, name))


def list_links() -> Message:
    """Ask for all devices."""
    return Message(_GETLINK, DUMP, _link_header())


def parse_link(payload: bytes) -> Link:
    """Return the device of an answer."""
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", payload)
    found = attributes(payload[16:])
    info = attributes(found.get(_LINKINFO, b""))
    return Link(
        index=index,
        name=_text(found.get(_IFNAME, b"")),
        up=bool(flags & _UP),
        mtu=_number(found.get(_MTU)),
        kind=_text(info.get(_INFO_KIND, b"")),
        master=_number(found.get(_MASTER)),
        alias=_text(found.get(_IFALIAS, b"")),
        mac=found.get(_ADDRESS, b"").hex(":"),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes | None) -> int:
    return int(struct.unpack("=I", value)[0]) if value else 0


def _address(kind: int, flags: int, index: int, interface: Interface) -> Message:
    four = interface.version == 4
    header = struct.pack(
        "=BBBBI", _INET if four else _INET6, interface.network.prefixlen, 0, 0, index
    )
    packed = interface.ip.packed
    payload = header + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if four and interface.network.prefixlen < 31:
        payload += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    if not four:
        payload += u32(_IFA_FLAGS, _NO_DAD)
    return Message(kind, ACK | flags, payload)


def add_address(index: int, interface: Interface) -> Message:
    """Give a device an address; one that it has already is kept."""
    return _address(_NEWADDR, CREATE | REPLACE, index, interface)


def remove_address(index: int, interface: Interface) -> Message:
    """Take an address from a device."""
    return _address(_DELADDR, 0, index, interface)


def list_addresses() -> Message:
    """Ask for all addresses of all devices."""
    return Message(_GETADDR, DUMP, struct.pack("=BBBBI", 0, 0, 0, 0, 0))


def parse_address(payload: bytes) -> tuple[int, Interface] | None:
    """Return the device's index and the address of an answer; None for one of link scope."""
    family, length, _, scope, index = struct.unpack_from("=BBBBI", payload)
    found = attributes(payload[8:])
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None or scope == _LINK_SCOPED or family not in (_INET, _INET6):
        return None
    kind = IPv4Interface if family == _INET else IPv6Interface
    return index, kind((packed, length))


def add_route(index: int, gateway: Address, destination: Network | None = None) -> Message:
    """Route a destination, by default everything, over a gateway that the device reaches."""
    family = _INET if gateway.version == 4 else _INET6
    size = destination.prefixlen if destination is not None else 0
    header = struct.pack("=8BI", family, size, 0, 0, _MAIN, _BOOT, 0, _UNICAST, _ON_LINK)
    payload = header + attribute(_RTA_GATEWAY, gateway.packed) + u32(_RTA_OIF, index)
    if destination is not None:
        payload += attribute(_RTA_DST, destination.network_address.packed)
    return Message(_NEWROUTE, ACK | CREATE | REPLACE, payload)


def list_routes(*, version: int = 4) -> Message:
    """Ask for all routes of an IP version."""
    family = _INET if version == 4 else _INET6
    return Message(_GETROUTE, DUMP, struct.pack("=8BI", family, *[0] * 7, 0))


def parse_route(payload: bytes) -> Route | None:
    """Return the route of an answer, None unless it is a unicast route of the main table."""
    family, size, _, _, table, _, _, kind, _ = struct.unpack_from("=8BI", payload)
    found = attributes(payload[12:])
    table = _number(found.get(_RTA_TABLE)) or table
    if table != _MAIN or kind != _UNICAST or family not in (_INET, _INET6):
        return None
    destination: Network | None = None
    if size:
        packed = found.get(_RTA_DST, b"")
        if family == _INET:
            destination = IPv4Network((packed, size), strict=False)
        else:
            destination = IPv6Network((packed, size), strict=False)
    via = found.get(_RTA_GATEWAY)
    return Route(destination, ip_address(via) if via else None, _number(found.get(_RTA_OIF)))
