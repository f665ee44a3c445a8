"""The hash by which two stores are compared: CRC-32C over the revisions of the `key` bucket.

Two stores with the same history, compacted at the same revision, have the same hash, whether they
are Sampan's or etcd's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sampan.base.checksum import crc32c
from sampan.store.core import errors, revision
from sampan.store.core.backend import KEY_BUCKET, Backend
from sampan.store.core.mvcc import Mvcc

__all__ = ["KeyHash", "hash_kv"]


class KeyHash(NamedTuple):
    """The hash of all revisions up to `revision`, with what was compacted at that moment."""

    hash: int
    compact_revision: int
    revision: int


def hash_kv(mvcc: Mvcc, backend: Backend, at_revision: int = 0) -> KeyHash:
    """Hash the revisions up to `at_revision` (0: all). Raises COMPACTED or FUTURE_REV.

    Revisions that a compaction has made unreadable but not yet freed do not count.
    """
    if at_revision > mvcc.revision:
        raise errors.FUTURE_REV()
    if 0 < at_revision < mvcc.compact_revision:
        raise errors.COMPACTED()
    upto = at_revision or mvcc.revision
    state = crc32c(KEY_BUCKET.encode())
    for rev_key, raw in _readable(mvcc, backend, upto):
        state = crc32c(raw, crc32c(rev_key, state))
    return KeyHash(state, mvcc.compact_revision, upto)


def _readable(mvcc: Mvcc, backend: Backend, upto: int) -> Iterator[tuple[bytes, bytes]]:
    kept = _kept(mvcc, upto)
    for rev_key, raw in backend.scan_revisions(b"", revision.pack(upto + 1, 0)):
        if revision.main_of(rev_key) > mvcc.compact_revision or not kept or rev_key in kept:
            yield rev_key, raw


def _kept(mvcc: Mvcc, upto: int) -> set[bytes]:
    """Return the revisions that a read at `upto` finds.

    Of what lies at or before the compaction only these count, as in etcd: not those that a read at
    the compaction itself would find. And as in etcd, when nothing is found, everything counts.
    """
    if mvcc.compact_revision <= 0:
        return set()
    kept = set()
    for key in (*mvcc.index.live, *(k for k in mvcc.index.past if k not in mvcc.index.live)):
        where = mvcc.index.at(key, upto)
        if where is not None:
            kept.add(revision.pack(*where))
    return kept
