"""The two commonest requests, read by hand.

A put of a key and a value with nothing else, and a get of one key with nothing else, make up nearly
all of a busy store's traffic. Their protobuf form is so simple that taking it apart is cheaper than
building a message object to look at. Whatever is not exactly of that form is None here and goes the
general way; so nothing is lost by being strict.
"""

from __future__ import annotations

__all__ = ["plain_put", "point_get"]

_KEY_TAG = 0x0A
_VALUE_TAG = 0x12


def plain_put(body: bytes) -> tuple[bytes, bytes] | None:
    """Return (key, value) of a PutRequest that has these two fields only, both not empty.

    The key must be shorter than 128 bytes and the value than 16,384.
    """
    size = len(body)
    if size < 5 or body[0] != _KEY_TAG:
        return None
    end = 2 + body[1]
    if end == 2 or body[1] > 127 or end + 2 >= size or body[end] != _VALUE_TAG:
        return None
    start = end + 2
    length = body[end + 1]
    if length > 127:
        if body[start] > 127:
            return None
        length = length & 127 | body[start] << 7
        start += 1
    if not length or start + length != size:
        return None
    return body[2:end], body[start:]


def point_get(body: bytes) -> bytes | None:
    """Return the key of a RangeRequest that has no other field, and a key of 1 to 127 bytes."""
    if len(body) > 2 and body[0] == _KEY_TAG and body[1] == len(body) - 2 and body[1] < 128:
        return body[2:]
    return None
