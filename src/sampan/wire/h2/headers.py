"""Header blocks: HPACK with a memo on the way in, table-free on the way out.

A client that calls the same method again sends the same bytes, so a block is decoded and validated
once: as long as the dynamic table does not change, equal bytes mean equal headers. The decoded
`Head` also carries what its receiver derived from it (`route`), so that routing is paid once too.
Clients that index a new timeout with every request change the table each time; their heads are
found by their other fields, and vary from a common `base`.

Outgoing blocks use the static table and literals without indexing only. They depend on no state,
so constant blocks are encoded once and shared by all connections.

Source: RFC 7541; RFC 9113 sections 8.2 and 8.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from hpack.table import HeaderTable

from sampan.wire.h2.codes import ConnectionFault, ErrorCode
from sampan.wire.h2.hpack_decoder import Field, HpackDecoder, HpackFault, ListTooLarge

__all__ = ["VARYING", "Head", "HeaderDecoder", "Kind", "encode_headers"]

VARYING = b"grpc-timeout"
"""The header that differs from call to call of the same method."""


_MEMO_BYTES = 128 * 1024
_MEMO_BLOCK_BYTES = 2048
_MEMO_ENTRY_BYTES = 256
_VARYING_BYTES = 32
_HARD_LIMIT_FACTOR = 4
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_VARYING_NAME = VARYING.decode()
_REQUEST_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})


class Kind(Enum):
    """What a header block can stand for; its pseudo-headers decide."""

    REQUEST = "request"
    RESPONSE = "response"
    TRAILERS = "trailers"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"


class Head:
    """One decoded and validated header block. Shared between streams: never change the headers.

    `headers` are the regular fields in order, values decoded as Latin-1. `route` belongs to the
    receiver, who may keep there whatever it derives from the headers. `base` is the same head
    without its last header, the varying one, when it has one.
    """

    __slots__ = (
        "authority",
        "base",
        "content_length",
        "headers",
        "kind",
        "method",
        "path",
        "reason",
        "route",
        "scheme",
        "status",
    )

    def __init__(self, kind: Kind, reason: str = "") -> None:
        self.kind = kind
        self.reason = reason
        self.headers: tuple[tuple[str, str], ...] = ()
        self.method = ""
        self.scheme = ""
        self.authority = ""
        self.path = ""
        self.status = 0
        self.content_length: int | None = None
        self.route: object = None
        self.base: Head | None = None

    def with_varying(self, value: bytes) -> Head:
        """Return this head with the varying header added at the end of `headers`."""
        if self.kind is Kind.MALFORMED or _BAD_VALUE.search(value):
            return Head(Kind.MALFORMED, self.reason or f"bad value in header {VARYING!r}")
        head = Head(self.kind)
        head.headers = (*self.headers, (_VARYING_NAME, value.decode("latin-1")))
        head.method = self.method
        head.scheme = self.scheme
        head.authority = self.authority
        head.path = self.path
        head.status = self.status
        head.content_length = self.content_length
        head.base = self
        return head

    def get(self, name: str) -> str | None:
        """Return the first value of the header `name` (lower case), None without one."""
        for field, value in self.headers:
            if field == name:
                return value
        return None


class HeaderDecoder:
    """The receiving half of a connection's header compression."""

    def __init__(self, list_bytes: int) -> None:
        self._list_bytes = list_bytes
        self._decoder = HpackDecoder(list_bytes * _HARD_LIMIT_FACTOR)
        self.block_limit_bytes = list_bytes * _HARD_LIMIT_FACTOR
        self.memo: dict[bytes, Head] = {}
        # Heads by their fields, for blocks that differ each time and say the same.
        self._heads: dict[tuple[Field, ...], Head] = {}
        self._memo_bytes = 0

    def decode(self, block: bytes) -> Head:
        """Decode and validate `block`; broken compression raises ConnectionFault."""
        head = self.memo.get(block)
        if head is not None:
            return head
        changes = self._decoder.changes
        try:
            fields = self._decoder.decode(block)
        except ListTooLarge as fault:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(fault)) from None
        except HpackFault as fault:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"bad HPACK: {fault}") from None
        head = self._head(fields)
        if self._decoder.changes != changes:
            self.memo.clear()
        elif len(block) <= _MEMO_BLOCK_BYTES:
            self._account(len(block))
            self.memo[block] = head
        return head

    def _head(self, fields: list[Field]) -> Head:
        varying = None
        for number, field in enumerate(fields):
            if field[0] == VARYING:
                # Misplaced before a pseudo-header, or too long: validation shall see that.
                if len(field[1]) <= _VARYING_BYTES and not _precedes_pseudo(fields, number):
                    varying = fields.pop(number)[1]
                break
        key = tuple(fields)
        head = self._heads.get(key)
        if head is None:
            size = sum(len(name) + len(value) + 32 for name, value in fields)
            if size > self._list_bytes:
                return Head(Kind.OVERSIZED, "header list too large")
            self._account(size)
            head = self._heads[key] = _validate(fields)
        return head if varying is None else head.with_varying(varying)

    def _account(self, size_bytes: int) -> None:
        """Make room for a memo; a peer decides what is remembered, but not how much."""
        self._memo_bytes += size_bytes + _MEMO_ENTRY_BYTES
        if self._memo_bytes > _MEMO_BYTES:
            self.memo.clear()
            self._heads.clear()
            self._memo_bytes = size_bytes


def _precedes_pseudo(fields: list[Field], number: int) -> bool:
    return number + 1 < len(fields) and fields[number + 1][0][:1] == b":"


def _validate(fields: list[Field]) -> Head:
    """Sort out pseudo-headers and check every rule of RFC 9113 sections 8.2 and 8.3."""
    pseudo: dict[bytes, str] = {}
    regular: list[tuple[str, str]] = []
    lengths: set[bytes] = set()
    for name, value in fields:
        if _BAD_VALUE.search(value):
            return Head(Kind.MALFORMED, f"bad value in header {name!r}")
        if name[:1] == b":":
            if regular or name in pseudo:
                return Head(Kind.MALFORMED, f"misplaced or repeated pseudo-header {name!r}")
            pseudo[name] = value.decode("latin-1")
            continue
        if not _NAME.match(name):
            return Head(Kind.MALFORMED, f"bad header name {name!r}")
        if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
            return Head(Kind.MALFORMED, f"connection-specific header {name!r}")
        if name == b"content-length":
            lengths.add(value)
        regular.append((name.decode("ascii"), value.decode("latin-1")))
    head = _classify(pseudo)
    head.headers = tuple(regular)
    if lengths:
        text = lengths.pop()
        if lengths or not text.isdigit() or len(text) > 19:
            return Head(Kind.MALFORMED, "bad content-length")
        head.content_length = int(text)
    return head


def _classify(pseudo: dict[bytes, str]) -> Head:
    if not pseudo:
        return Head(Kind.TRAILERS)
    if b":status" in pseudo:
        status = pseudo.pop(b":status")
        if pseudo or len(status) != 3 or not status.isascii() or not status.isdigit():
            return Head(Kind.MALFORMED, "bad response pseudo-headers")
        head = Head(Kind.RESPONSE)
        head.status = int(status)
        return head
    unknown = pseudo.keys() - _REQUEST_PSEUDO
    if unknown:
        return Head(Kind.MALFORMED, f"unknown pseudo-header {min(unknown)!r}")
    head = Head(Kind.REQUEST)
    head.method = pseudo.get(b":method", "")
    head.scheme = pseudo.get(b":scheme", "")
    head.path = pseudo.get(b":path", "")
    head.authority = pseudo.get(b":authority", "")
    if head.method == "CONNECT":
        complete = bool(head.authority) and not head.path and not head.scheme
    else:
        complete = bool(head.method and head.scheme and head.path)
    return head if complete else Head(Kind.MALFORMED, "missing pseudo-header")


def _integer(value: int, prefix_bits: int, first: int) -> bytes:
    """Encode an integer behind the bits of `first` (RFC 7541 section 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_headers(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode `fields` (names in lower case) without touching the dynamic table."""
    out = bytearray()
    for name_text, value_text in fields:
        name, value = name_text.encode("ascii"), value_text.encode("latin-1")
        index, values = HeaderTable.STATIC_TABLE_MAPPING.get(name, (0, {}))
        whole = values.get(value)
        if whole is not None:
            out += _integer(whole, 7, 0x80)
            continue
        out += _integer(index, 4, 0x00)
        if not index:
            out += _integer(len(name), 7, 0x00)
            out += name
        out += _integer(len(value), 7, 0x00)
        out += value
    return bytes(out)
