"""The hash by which two stores are compared: CRC-32C over the revisions of the `key` bucket.

Two stores with the same history, compacted at the same revision, have the same hash, whether they
are Sampan's or etcd's.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from sampan.base.checksum import crc32c
from sampan.store.core import errors, revision
from sampan.store.core.backend import KEY_BUCKET, Backend
from sampan.store.core.mvcc import Mvcc
from sampan.store.pb import rpc_pb2 as pb

__all__ = ["KeyHash", "hash_in_steps", "hash_kv"]


class KeyHash(NamedTuple):
    """The hash of all revisions up to `revision`, with what was compacted at that moment."""

    hash: int
    compact_revision: int
    revision: int

    def response(self, header: pb.ResponseHeader) -> pb.HashKVResponse:
        """Return it as HashKV answers."""
        return pb.HashKVResponse(
            header=header,
            hash=self.hash,
            compact_revision=self.compact_revision,
            hash_revision=self.revision,
        )


def hash_kv(mvcc: Mvcc, backend: Backend, at_revision: int = 0) -> KeyHash:
    """Hash the revisions up to `at_revision` (0: all). Raises COMPACTED or FUTURE_REV."""
    steps = hash_in_steps(mvcc, backend, at_revision)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: KeyHash = done.value
            return found


def hash_in_steps(
    mvcc: Mvcc, backend: Backend, at_revision: int = 0, step: int = 1000
) -> Generator[None, None, KeyHash]:
    """Do the same, pausing after every `step` revisions; writes and compactions may go on.

    Revisions that a compaction has made unreadable but not yet freed do not count.
    """
    if at_revision > mvcc.revision:
        raise errors.FUTURE_REV()
    if 0 < at_revision < mvcc.compact_revision:
        raise errors.COMPACTED()
    upto, compacted = at_revision or mvcc.revision, mvcc.compact_revision
    state = crc32c(KEY_BUCKET.encode())
    mvcc.past_in_use += 1
    try:
        kept = _kept(mvcc, upto)
        revisions = backend.scan_revisions(b"", revision.pack(upto + 1, 0))
        for position, (rev_key, raw) in enumerate(revisions, 1):
            if revision.main_of(rev_key) > compacted or not kept or rev_key in kept:
                state = crc32c(raw, crc32c(rev_key, state))
            if position % step == 0:
                yield
    finally:
        mvcc.past_in_use -= 1
    return KeyHash(state, compacted, upto)


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
