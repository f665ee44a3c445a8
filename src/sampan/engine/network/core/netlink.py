"""Netlink's framing: messages, attributes, acknowledgements (RFC 3549, linux/netlink.h).

Several messages go to the kernel in one datagram; it carries them out in order and acknowledges
each by its sequence number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ACK",
    "APPEND",
    "CREATE",
    "DONE",
    "DUMP",
    "ERROR",
    "EXCLUSIVE",
    "REPLACE",
    "REQUEST",
    "Frame",
    "Message",
    "acknowledgement",
    "attribute",
    "attributes",
    "frames",
    "nested",
    "pack",
    "text",
    "u8",
    "u16",
    "u32",
]

REQUEST: Final = 0x01
ACK: Final = 0x04
DUMP: Final = 0x300
REPLACE: Final = 0x100
EXCLUSIVE: Final = 0x200
CREATE: Final = 0x400
APPEND: Final = 0x800

ERROR: Final = 2
DONE: Final = 3

_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CAPPED: Final = 0x100
_HAS_ATTRIBUTES: Final = 0x200
_ERROR_TEXT: Final = 1


@dataclass(frozen=True, slots=True)
class Message:
    """One request; `payload` begins with the family's own header. REQUEST is added by `pack`."""

    kind: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One message from the kernel."""

    kind: int
    flags: int
    sequence: int
    payload: bytes


def pack(messages: Sequence[Message], first_sequence: int) -> bytes:
    """Return one datagram of all messages, numbered from `first_sequence` on."""
    parts = []
    for sequence, message in enumerate(messages, first_sequence):
        payload = message.payload
        size = _HEADER.size + len(payload)
        parts.append(
            _HEADER.pack(size, message.kind, message.flags | REQUEST, sequence & 0xFFFFFFFF, 0)
        )
        parts.append(payload + bytes(-len(payload) % 4))
    return b"".join(parts)


def frames(datagram: bytes) -> Iterator[Frame]:
    """Yield the messages of a datagram; what is cut off at its end is left out."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, at)
        if size < _HEADER.size or at + size > len(datagram):
            return
        yield Frame(kind, flags, sequence, datagram[at + _HEADER.size : at + size])
        at += (size + 3) & ~3


def acknowledgement(frame: Frame) -> tuple[int, str]:
    """Return errno and the kernel's words of an ERROR frame; errno is 0 for success."""
    code = -struct.unpack_from("=i", frame.payload)[0]
    if not frame.flags & _HAS_ATTRIBUTES:
        return code, ""
    at = 4 + _HEADER.size
    if not frame.flags & _CAPPED:
        size = struct.unpack_from("=I", frame.payload, 4)[0]
        at = 4 + ((size + 3) & ~3)
    words = attributes(frame.payload[at:]).get(_ERROR_TEXT, b"")
    return code, words.rstrip(b"\0").decode(errors="replace")


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return _ATTRIBUTE.pack(len(value) + 4, kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """Return a text attribute, with its zero."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    """Return an attribute of two bytes in the machine's order."""
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes in the machine's order."""
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by kind; of a kind that comes twice, the last."""
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > len(data):
            break
        found[kind & _TYPE_MASK] = data[at + 4 : at + size]
        at += (size + 3) & ~3
    return found
