"""nf_tables as netfilter messages (linux/netfilter/nf_tables.h): tables, chains, sets, rules.

A batch is a transaction: all of it or nothing. Numbers in attributes are big-endian; values that
rules compare have the order of what they are compared with.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.engine.network.core.netlink import (
    ACK,
    APPEND,
    CREATE,
    DUMP,
    EXCLUSIVE,
    Message,
    attribute,
    attributes,
    nested,
    text,
)

__all__ = [
    "IPV4",
    "IPV6",
    "Chain",
    "Elements",
    "Hook",
    "Map",
    "Table",
    "batch",
    "bits",
    "connection",
    "connection_is",
    "delete_rule",
    "delete_table",
    "destination_nat",
    "elements",
    "empty_map",
    "equal",
    "find_chain",
    "immediate",
    "insert_rule",
    "list_rules",
    "local_destination",
    "lookup",
    "make_table",
    "masquerade",
    "meta",
    "parse_policy",
    "parse_rule",
    "payload",
    "verdict",
]

IPV4, IPV6 = 2, 10
_SUBSYSTEM: Final = 10
_BEGIN, _END = 16, 17
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _NEWSET = 0, 2, 3, 6, 9
_NEWELEMENT, _DELELEMENT = 12, 14
_GETCHAIN, _GETRULE, _DELRULE = 4, 7, 8
_MAP_FLAG: Final = 8
_LIST_ELEMENT: Final = 1
_DATA_VALUE, _DATA_VERDICT = 1, 2
_ELEMENTS_A_MESSAGE: Final = 400

HOOKS: Final = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
TYPES: Final = {"ifname": 41, "ipv4_addr": 7, "ipv6_addr": 8, "inet_proto": 12, "inet_service": 13}
LENGTHS: Final = {"ifname": 16, "ipv4_addr": 4, "ipv6_addr": 16, "inet_proto": 4, "inet_service": 4}
META: Final = {"iifname": 6, "oifname": 7, "l4proto": 16}
VERDICTS: Final = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
CONNECTION: Final = {"state": 0, "status": 2}
ESTABLISHED_RELATED: Final = 0x06
DNATTED: Final = 0x20

Rule = Sequence[bytes]
"""The expressions of a rule, in order."""


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain is called: type (filter, nat), hook and priority."""

    type: str
    name: str
    priority: int


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules."""

    name: str
    rules: Sequence[Rule]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Map:
    """A named set of keys, or a map of keys to values; types as nft writes them."""

    name: str
    key: Sequence[str]
    value: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table, whole."""

    name: str
    family: int
    maps: Sequence[Map]
    chains: Sequence[Chain]


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements of one map: keys to values, empty values for a set."""

    map: str
    items: Sequence[tuple[bytes, bytes]]


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i" if value < 0 else ">I", value))


def _message(kind: int, family: int, flags: int, body: bytes) -> Message:
    return Message((_SUBSYSTEM << 8) | kind, flags, struct.pack(">BBH", family, 0, 0) + body)


def batch(commands: Sequence[Message]) -> list[Message]:
    """Return a transaction of commands; the last is acknowledged."""
    frame = struct.pack(">BBH", 0, 0, _SUBSYSTEM)
    last = commands[-1]
    return [
        Message(_BEGIN, 0, frame),
        *commands[:-1],
        Message(last.kind, last.flags | ACK, last.payload),
        Message(_END, 0, frame),
    ]


def make_table(table: Table, *, replace: bool) -> list[Message]:
    """Return the commands that make a table; the kernel refuses one that is there already.

    With `replace` that one goes in the same transaction, for which the kernel takes some 15 ms.
    """
    name, family = table.name, table.family
    commands = delete_table(name, family) if replace else []
    commands.append(_message(_NEWTABLE, family, CREATE | EXCLUSIVE, text(1, name)))
    for number, one in enumerate(table.maps, 1):
        commands.append(_message(_NEWSET, family, CREATE, _set_body(name, one, number)))
    for chain in table.chains:
        body = text(1, name) + text(3, chain.name)
        if chain.hook is not None:
            hook = _be32(1, HOOKS[chain.hook.name]) + _be32(2, chain.hook.priority)
            body += nested(4, hook) + _be32(5, VERDICTS["accept"]) + text(7, chain.hook.type)
        commands.append(_message(_NEWCHAIN, family, CREATE, body))
    for chain in table.chains:
        for rule in chain.rules:
            listed = b"".join(nested(_LIST_ELEMENT, one) for one in rule)
            body = text(1, name) + text(2, chain.name) + nested(4, listed)
            commands.append(_message(_NEWRULE, family, CREATE | APPEND, body))
    return commands


def delete_table(name: str, family: int) -> list[Message]:
    """Return the commands that remove a table; no error when there is none."""
    return [
        _message(_NEWTABLE, family, CREATE, text(1, name)),
        _message(_DELTABLE, family, 0, text(1, name)),
    ]


def _type(names: Sequence[str]) -> int:
    number = 0
    for one in names:
        number = (number << 6) | TYPES[one]
    return number


def _set_body(table: str, one: Map, number: int) -> bytes:
    body = text(1, table) + text(2, one.name) + _be32(3, _MAP_FLAG if one.value else 0)
    body += _be32(4, _type(one.key)) + _be32(5, sum(LENGTHS[word] for word in one.key))
    if one.value:
        body += _be32(6, _type(one.value)) + _be32(7, sum(LENGTHS[word] for word in one.value))
    body += _be32(10, number)
    if tuple(one.key) == ("ifname",):
        body += attribute(13, struct.pack("=BBI", 0, 4, 1))  # for nft to show names as they are
    return body


def elements(table: str, family: int, change: Elements, *, remove: bool = False) -> list[Message]:
    """Return the commands that add elements to a map, or remove them."""
    commands = []
    kind, flags = (_DELELEMENT, 0) if remove else (_NEWELEMENT, CREATE)
    for at in range(0, len(change.items), _ELEMENTS_A_MESSAGE):
        listed = b""
        for key, value in change.items[at : at + _ELEMENTS_A_MESSAGE]:
            element = nested(1, attribute(_DATA_VALUE, key))
            if value and not remove:
                element += nested(2, attribute(_DATA_VALUE, value))
            listed += nested(_LIST_ELEMENT, element)
        body = text(1, table) + text(2, change.map) + nested(3, listed)
        commands.append(_message(kind, family, flags, body))
    return commands


def empty_map(table: str, family: int, name: str) -> list[Message]:
    """Return the command that takes all elements out of a map."""
    return [_message(_DELELEMENT, family, 0, text(1, table) + text(2, name))]


def find_chain(table: str, family: int, name: str) -> Message:
    """Ask for one chain; the answer is for `parse_policy`."""
    return _message(_GETCHAIN, family, 0, text(1, table) + text(3, name))


def parse_policy(payload: bytes) -> str:
    """Return what becomes of packets at a chain's end: accept or drop; empty for no base chain."""
    found = attributes(payload[4:]).get(5)
    if found is None:
        return ""
    return "drop" if struct.unpack(">I", found)[0] == VERDICTS["drop"] else "accept"


def list_rules(table: str, family: int, chain: str) -> Message:
    """Ask for the rules of a chain; the answers are for `parse_rule`."""
    return _message(_GETRULE, family, DUMP, text(1, table) + text(2, chain))


def parse_rule(payload: bytes) -> tuple[int, str]:
    """Return a rule's handle and its comment, empty without one."""
    found = attributes(payload[4:])
    handle = struct.unpack(">Q", found.get(3, bytes(8)))[0]
    data = found.get(7, b"")
    comment = data[2 : 2 + data[1]] if len(data) > 2 and data[0] == 0 else b""
    return handle, comment.rstrip(b"\0").decode(errors="replace")


def insert_rule(table: str, family: int, chain: str, rule: Rule, comment: str) -> Message:
    """Put a rule at the beginning of a chain."""
    note = comment.encode() + b"\0"
    listed = b"".join(nested(_LIST_ELEMENT, one) for one in rule)
    body = text(1, table) + text(2, chain) + nested(4, listed)
    body += attribute(7, struct.pack("=BB", 0, len(note)) + note)
    return _message(_NEWRULE, family, CREATE, body)


def delete_rule(table: str, family: int, chain: str, handle: int) -> Message:
    """Remove a rule."""
    body = text(1, table) + text(2, chain) + attribute(3, struct.pack(">Q", handle))
    return _message(_DELRULE, family, 0, body)


def _expression(name: str, *body: bytes) -> bytes:
    return text(1, name) + nested(2, *body)


def meta(key: str, register: int = 1) -> bytes:
    """Load a packet's property: iifname, oifname, l4proto."""
    return _expression("meta", _be32(1, register), _be32(2, META[key]))


def payload(base: str, offset: int, size: int, register: int = 1) -> bytes:
    """Load bytes of the network or the transport header."""
    where = {"network": 1, "transport": 2}[base]
    return _expression(
        "payload", _be32(1, register), _be32(2, where), _be32(3, offset), _be32(4, size)
    )


def lookup(name: str, register: int = 1, result: int = 0) -> bytes:
    """Go on only if the register's value is in a set; put a map's value into another register."""
    body = text(1, name) + _be32(2, register)
    return _expression("lookup", body + (_be32(3, result) if result else b""))


def equal(value: bytes, register: int = 1, *, negate: bool = False) -> bytes:
    """Go on only if the register has this value."""
    data = nested(3, attribute(_DATA_VALUE, value))
    return _expression("cmp", _be32(1, register), _be32(2, int(negate)), data)


def bits(mask: int, register: int = 1) -> bytes:
    """Keep those bits of a number in the machine's order."""
    body = _be32(1, register) + _be32(2, register) + _be32(3, 4)
    body += nested(4, attribute(_DATA_VALUE, struct.pack("=I", mask)))
    return _expression("bitwise", body + nested(5, attribute(_DATA_VALUE, bytes(4))))


def connection(key: str, register: int = 1) -> bytes:
    """Load the state or the status of the packet's connection."""
    return _expression("ct", _be32(1, register), _be32(2, CONNECTION[key]))


def connection_is(key: str, mask: int) -> list[bytes]:
    """Go on only if the connection's state or status has one of these bits."""
    return [connection(key), bits(mask), equal(bytes(4), negate=True)]


def local_destination() -> list[bytes]:
    """Go on only if the packet is for an address of this host."""
    fib = _expression("fib", _be32(1, 1), _be32(2, 3), _be32(3, 2))
    return [fib, equal(struct.pack("=I", 2))]


def immediate(value: bytes, register: int) -> bytes:
    """Put a value into a register."""
    return _expression("immediate", _be32(1, register), nested(2, attribute(_DATA_VALUE, value)))


def verdict(word: str, chain: str = "") -> bytes:
    """End here: drop, accept, return, jump or goto a chain."""
    body = _be32(1, VERDICTS[word]) + (text(2, chain) if chain else b"")
    return _expression("immediate", _be32(1, 0), nested(2, nested(_DATA_VERDICT, body)))


def destination_nat(family: int, address_register: int, port_register: int) -> bytes:
    """Send the connection to the address and port in registers."""
    body = _be32(1, 1) + _be32(2, family)
    return _expression("nat", body + _be32(3, address_register) + _be32(5, port_register))


def masquerade() -> bytes:
    """Give the connection the address of the device that it leaves by."""
    return _expression("masq")
