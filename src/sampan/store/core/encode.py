"""The protobuf shapes of the hot path, written by hand.

A put or a range of thousands of keys would spend most of its time building message objects only
to serialize them. The functions here join the bytes directly. They produce exactly what protobuf
would: fields in the order of their numbers, defaults left out.

A stored key-value is kept *framed*: tag 2, length, KeyValue. Field 2 is where RangeResponse.kvs,
PutResponse.prev_kv and Event.kv carry it, so a framed record goes into all three as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "delete_event",
    "frame",
    "header",
    "header_field",
    "key_value",
    "range_response",
    "tombstone",
    "unframe",
    "varint",
]

_CHUNK_BITS = 14
_CHUNK = 1 << _CHUNK_BITS
_MASK = _CHUNK - 1
_UINT64 = (1 << 64) - 1


# A varint is read off in chunks of 14 bits: one table for the last chunk, one for those before it.
_ENDS = [bytes((n,)) for n in range(0x80)]
_GOES_ON = [bytes((n | 0x80,)) for n in range(0x80)]
_LAST = _ENDS + [low + high for high in _ENDS[1:] for low in _GOES_ON]
_MORE = [low + high for high in _GOES_ON for low in _GOES_ON]


def varint(n: int) -> bytes:
    """Return `n` as a protobuf varint; a negative number as its 64-bit two's complement."""
    if 0 <= n < _CHUNK:
        return _LAST[n]
    if n < 0:
        n &= _UINT64
    head = _MORE[n & _MASK]
    n >>= _CHUNK_BITS
    while n >= _CHUNK:
        head += _MORE[n & _MASK]
        n >>= _CHUNK_BITS
    return head + _LAST[n]


def key_value(
    key: bytes, create_rev: int, mod_varint: bytes, version: int, value: bytes, lease: int
) -> bytes:
    """Return a serialized mvccpb.KeyValue of a live key: revisions and version are at least 1.

    `mod_varint` is the mod revision as a varint, which whole transactions share.
    """
    # Every write comes by here: table look-ups in place of calls wherever they nearly always do.
    key_bytes, value_bytes = len(key), len(value)
    head = (
        b"\n",
        _LAST[key_bytes] if key_bytes < _CHUNK else varint(key_bytes),
        key,
        b"\x10",
        varint(create_rev),
        b"\x18",
        mod_varint,
        b" ",
        _LAST[version] if version < _CHUNK else varint(version),
    )
    if value_bytes:
        length = _LAST[value_bytes] if value_bytes < _CHUNK else varint(value_bytes)
        raw = b"".join((*head, b"*", length, value))
    else:
        raw = b"".join(head)
    return raw + b"0" + varint(lease) if lease else raw


def tombstone(key: bytes) -> bytes:
    """Return a serialized mvccpb.KeyValue that says no more than that `key` was deleted."""
    return b"\n" + varint(len(key)) + key


def frame(raw: bytes) -> bytes:
    """Return a serialized KeyValue as field 2 of whatever message surrounds it."""
    size = len(raw)
    return b"\x12" + (_LAST[size] if size < _CHUNK else varint(size)) + raw


def unframe(framed: bytes) -> bytes:
    """Return the serialized KeyValue inside a framed one."""
    start = 2
    while framed[start - 1] & 0x80:
        start += 1
    return framed[start:]


def delete_event(key: bytes, mod_rev: int) -> bytes:
    """Return a serialized mvccpb.Event of type DELETE."""
    raw = b"\n" + varint(len(key)) + key + b"\x18" + varint(mod_rev)
    return b"\x08\x01\x12" + varint(len(raw)) + raw


def header(cluster_id: int, member_id: int, revision: int, raft_term: int) -> bytes:
    """Return a serialized ResponseHeader."""
    parts: list[bytes] = []
    for tag, value in (
        (b"\x08", cluster_id),
        (b"\x10", member_id),
        (b"\x18", revision),
        (b" ", raft_term),
    ):
        if value:
            parts += (tag, varint(value))
    return b"".join(parts)


def header_field(header_bytes: bytes) -> bytes:
    """Return a serialized ResponseHeader as field 1 of whatever response it heads."""
    return b"\n" + varint(len(header_bytes)) + header_bytes


def range_response(
    head: bytes, framed: Sequence[bytes], more: bool = False, count: int = 0
) -> bytes:
    """Return a serialized RangeResponse with these framed key-values in this order.

    `head` is its header as field 1.
    """
    parts = [head, *framed]
    if more:
        parts.append(b"\x18\x01")
    if count:
        parts += (b" ", varint(count))
    return b"".join(parts)
