"""DNS messages (RFC 1035, RFC 6891): a question taken apart, an answer put together.

Only what a resolver for containers has to understand; what it passes on, it passes on as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sampan.base.errors import InvalidError

__all__ = [
    "AAAA",
    "NO_ERROR",
    "PTR",
    "REFUSED",
    "SERVER_FAILURE",
    "A",
    "Question",
    "addresses_answer",
    "answers",
    "failure",
    "name_answer",
    "parse_question",
    "reverse_address",
    "with_id",
]

Address = IPv4Address | IPv6Address

A, PTR, AAAA = 1, 12, 28
NO_ERROR, SERVER_FAILURE, REFUSED = 0, 2, 5
_HEADER: Final = struct.Struct(">6H")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION = 0x8000, 0x0400, 0x0200, 0x0100
_AVAILABLE: Final = 0x0080
_INTERNET: Final = 1
_TTL_S: Final = 600
_PLAIN_UDP_BYTES: Final = 512
_NAME_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks. `name` is in lower case and without the last dot."""

    id: int
    flags: int
    name: str
    type: int
    raw: bytes
    """The question section, as it came."""

    udp_bytes: int
    """How long an answer over UDP may be."""


def parse_question(data: bytes) -> Question:
    """Return the one question of a message; InvalidError for anything that is not one."""
    if len(data) < _HEADER.size:
        raise InvalidError("a DNS message is shorter than its header")
    id_, flags, questions, answers_, authorities, additional = _HEADER.unpack_from(data)
    if flags & _RESPONSE or flags & 0x7800 or questions != 1:
        raise InvalidError("not a DNS query of one question")
    labels, at = _labels(data, _HEADER.size)
    if at + 4 > len(data):
        raise InvalidError("a DNS question is cut off")
    type_, class_ = struct.unpack_from(">HH", data, at)
    if class_ != _INTERNET:
        raise InvalidError("not a question about the internet")
    raw = data[_HEADER.size : at + 4]
    size = _PLAIN_UDP_BYTES
    if additional and not answers_ and not authorities:
        size = _announced(data, at + 4)
    name = ".".join(label.decode("ascii", "replace") for label in labels).lower()
    return Question(id_, flags, name, type_, raw, size)


def _labels(data: bytes, at: int) -> tuple[list[bytes], int]:
    """Return a name without compression, and where it ends."""
    labels: list[bytes] = []
    start = at
    while True:
        if at >= len(data) or at - start > _NAME_BYTES:
            raise InvalidError("a DNS name is cut off")
        size = data[at]
        if size == 0:
            return labels, at + 1
        if size > 63:
            raise InvalidError("a DNS question with a compressed name")
        labels.append(data[at + 1 : at + 1 + size])
        at += 1 + size


def _announced(data: bytes, at: int) -> int:
    """Return the size of an OPT record right behind the question, else the plain one."""
    if data[at : at + 3] == b"\0\0\x29" and at + 5 <= len(data):
        size = int(struct.unpack_from(">H", data, at + 3)[0])
        return max(_PLAIN_UDP_BYTES, min(size, 4096))
    return _PLAIN_UDP_BYTES


def _reply(question: Question, code: int, records: Sequence[bytes], flags: int = 0) -> bytes:
    kept = question.flags & _RECURSION
    head = _HEADER.pack(
        question.id, _RESPONSE | _AVAILABLE | kept | flags | code, 1, len(records), 0, 0
    )
    return head + question.raw + b"".join(records)


def _record(type_: int, value: bytes) -> bytes:
    # The name is that of the question, 12 bytes from the start.
    return struct.pack(">HHHIH", 0xC00C, type_, _INTERNET, _TTL_S, len(value)) + value


def failure(question: Question, code: int) -> bytes:
    """Return an answer without records."""
    return _reply(question, code, ())


def addresses_answer(
    question: Question, addresses: Sequence[Address], most_bytes: int = 65535
) -> bytes:
    """Return the addresses of the version that is asked for; no error when there are none."""
    version = {A: 4, AAAA: 6}.get(question.type)
    records = [_record(question.type, one.packed) for one in addresses if one.version == version]
    whole = _reply(question, NO_ERROR, records, _AUTHORITATIVE)
    if len(whole) <= most_bytes:
        return whole
    room = (most_bytes - _HEADER.size - len(question.raw)) // len(records[0])
    return _reply(question, NO_ERROR, records[:room], _AUTHORITATIVE | _TRUNCATED)


def name_answer(question: Question, name: str) -> bytes:
    """Return the name that belongs to an address."""
    return _reply(question, NO_ERROR, [_record(PTR, encode_name(name))], _AUTHORITATIVE)


def encode_name(name: str) -> bytes:
    """Return a name as labels."""
    labels = [label.encode()[:63] for label in name.strip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def reverse_address(name: str) -> Address | None:
    """Return the address of `4.3.2.1.in-addr.arpa` or of a name below ip6.arpa."""
    parts = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(parts) == 6:
            return ip_address(".".join(reversed(parts[:4])))
        if name.endswith(".ip6.arpa") and len(parts) == 34:
            return IPv6Address(int("".join(reversed(parts[:32])), 16))
    except ValueError:
        pass
    return None


def with_id(message: bytes, id_: int) -> bytes:
    """Return a message under another number."""
    return struct.pack(">H", id_) + message[2:]


def answers(message: bytes, id_: int, question: Question) -> bool:
    """Tell whether a message is an answer to that question under that number."""
    if len(message) < _HEADER.size:
        return False
    found, flags, questions, *_ = _HEADER.unpack_from(message)
    if found != id_ or not flags & _RESPONSE:
        return False
    end = _HEADER.size + len(question.raw)
    return questions == 0 or message[_HEADER.size : end].lower() == question.raw.lower()
