"""Revisions as the backend orders them.

Every change of the store has a revision (main, sub): `main` counts transactions, `sub` the changes
inside one. Packed, revisions sort as bytes the way they sort as numbers: 8 bytes of main, `_`,
8 bytes of sub, big-endian, and a `t` behind a deletion. It is etcd's own layout of its `key`
bucket, so hashes and snapshots agree between the two.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

__all__ = [
    "PLAIN_BYTES",
    "Revision",
    "is_tombstone",
    "main_of",
    "pack",
    "unpack",
    "unpack_plain",
]

_LAYOUT = Struct(">QcQ")
_pack = _LAYOUT.pack

PLAIN_BYTES = _LAYOUT.size
"""The length of the key of a revision that is no tombstone."""

unpack_plain = _LAYOUT.unpack_from
"""(main, b"_", sub) of a key known to be one, without a check: for reading millions."""


class Revision(NamedTuple):
    """One change: the `sub`-th of transaction `main`; a tombstone when it deleted its key."""

    main: int
    sub: int
    tombstone: bool = False


def pack(main: int, sub: int, tombstone: bool = False) -> bytes:
    """Return the backend key of a revision: 17 bytes, 18 for a tombstone."""
    packed = _pack(main, b"_", sub)
    return packed + b"t" if tombstone else packed


def unpack(key: bytes) -> Revision:
    """Return the revision that a backend key stands for; ValueError when it is none."""
    if len(key) not in (PLAIN_BYTES, PLAIN_BYTES + 1):
        raise ValueError(f"a revision key has 17 or 18 bytes, not {len(key)}")
    main, _, sub = _LAYOUT.unpack_from(key)
    return Revision(main, sub, is_tombstone(key))


def is_tombstone(key: bytes) -> bool:
    """Tell whether the backend key marks a deletion."""
    return len(key) > PLAIN_BYTES


def main_of(key: bytes) -> int:
    """Return the main revision of a backend key."""
    return int.from_bytes(key[:8], "big")
