"""A log entry: one request that changes the store, as every member of a cluster applies it.

Layout: kind (1 byte), length of the user's name (2 bytes, big-endian), the name, the auth revision
(8 bytes, only when there is a name), then the request as the client sent it, in protobuf.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

__all__ = ["PLAIN_HEAD_BYTES", "PLAIN_PUT", "Entry", "Kind", "decode", "encode"]

_HEAD = Struct(">BH")
_AUTH_REV = Struct(">Q")


class Kind(IntEnum):
    """What an entry asks for; the numbers are part of the log format and never change."""

    EMPTY = 0
    PUT = 1
    DELETE_RANGE = 2
    TXN = 3
    COMPACT = 4
    LEASE_GRANT = 5
    LEASE_REVOKE = 6
    LEASE_CHECKPOINT = 7
    ALARM = 8
    MEMBER_UPDATE = 9
    MEMBER_ADD = 10
    MEMBER_REMOVE = 11
    MEMBER_PROMOTE = 12
    CLUSTER_VERSION = 13
    DOWNGRADE = 14
    MEMBER_ATTRIBUTES = 15
    AUTH_ENABLE = 32
    AUTH_DISABLE = 33
    AUTHENTICATE = 34
    AUTH_USER_ADD = 35
    AUTH_USER_DELETE = 36
    AUTH_USER_CHANGE_PASSWORD = 37
    AUTH_USER_GRANT_ROLE = 38
    AUTH_USER_REVOKE_ROLE = 39
    AUTH_ROLE_ADD = 40
    AUTH_ROLE_DELETE = 41
    AUTH_ROLE_GRANT_PERMISSION = 42
    AUTH_ROLE_REVOKE_PERMISSION = 43


class Entry(NamedTuple):
    """A decoded entry; `user` is empty and `auth_rev` 0 when the request came without identity."""

    kind: Kind
    user: str
    auth_rev: int
    body: bytes


# Nearly all entries come without a user: their heads are made once.
_PLAIN_HEADS = {kind: _HEAD.pack(kind, 0) for kind in Kind}
PLAIN_PUT: Final = _PLAIN_HEADS[Kind.PUT]
"""What the entry of a put without a user begins with; the request follows."""

PLAIN_HEAD_BYTES: Final = _HEAD.size

_KINDS = {int(kind): kind for kind in Kind}


def encode(kind: Kind, body: bytes, user: str = "", auth_rev: int = 0) -> bytes:
    """Return the entry's bytes; ValueError when the user's name is longer than 65,535 bytes."""
    if not user:
        return _PLAIN_HEADS[kind] + body
    name = user.encode()
    if len(name) > 0xFFFF:
        raise ValueError(f"user name of {len(name)} bytes; the limit is 65535")
    return b"".join((_HEAD.pack(kind, len(name)), name, _AUTH_REV.pack(auth_rev), body))


def decode(data: bytes) -> Entry:
    """Return the entry; ValueError when the bytes are none."""
    if len(data) < _HEAD.size:
        raise ValueError(f"log entry of {len(data)} bytes is too short")
    kind, length = _HEAD.unpack_from(data)
    at = _HEAD.size
    if not length:
        return Entry(_KINDS.get(kind) or Kind(kind), "", 0, data[at:])
    end = at + length
    if len(data) < end + _AUTH_REV.size:
        raise ValueError("log entry ends inside its user name")
    (auth_rev,) = _AUTH_REV.unpack_from(data, end)
    return Entry(Kind(kind), data[at:end].decode(), auth_rev, data[end + _AUTH_REV.size :])
