"""The ordered key-value store behind the state machine, as the pure core sees it.

Buckets carry etcd's names, so that a snapshot can be exchanged with a real etcd. Writes collect in
memory and are committed by the shell in the background together with the index of the log entry
they stem from; a crash before that is repaired by replaying the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

__all__ = ["BUCKETS", "KEY_BUCKET", "META_BUCKET", "Backend"]

KEY_BUCKET: Final = "key"
"""Bucket of the revisions: packed revision -> serialized mvccpb.KeyValue."""

META_BUCKET: Final = "meta"
"""Bucket of consistent_index, term (both big-endian u64), confState, storageVersion, ..."""

BUCKETS: Final = (
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
)
"""All bucket names, in byte order (the order in which etcd hashes and stores them)."""


class Backend(Protocol):
    """Buckets of ordered bytes with a write buffer in front of each."""

    @property
    def revisions(self) -> dict[bytes, bytes]:
        """Write buffer of bucket "key": the state machine stores `revisions[rev_key] = raw`.

        The shell swaps the dict out when it commits, so fetch it anew for every batch of writes.
        """

    @property
    def size_bytes(self) -> int:
        """Bytes allocated on disk, what etcd reports as dbSize."""

    @property
    def size_in_use_bytes(self) -> int:
        """Bytes of it that hold data, what etcd reports as dbSizeInUse."""

    def revision(self, rev_key: bytes) -> bytes | None:
        """Return the raw value at a packed revision: buffered, committing or stored."""

    def scan_revisions(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (rev_key, raw) with start <= rev_key < end (None: no end), ascending.

        Sees the buffers. Revisions written or deleted after the first item may or may not be seen.
        """

    def delete_revisions(self, rev_keys: Iterable[bytes]) -> None:
        """Remove these revisions (compaction); unknown ones are ignored."""

    def put(self, bucket: str, key: bytes, value: bytes) -> None:
        """Set `key` in a bucket other than "key"."""

    def delete(self, bucket: str, key: bytes) -> None:
        """Remove `key` from a bucket other than "key"; an unknown key is ignored."""

    def get(self, bucket: str, key: bytes) -> bytes | None:
        """Return the value of `key` in a bucket other than "key", own writes included."""

    def scan(
        self, bucket: str, start: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of a small bucket with start <= key < end, ascending.

        The answer is as of the call, own writes included; writing while iterating is allowed.
        """
