"""The hash over everything a member has stored, bookkeeping of the log excepted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from sampan.base.checksum import crc32c
from sampan.store.core.backend import BUCKETS, KEY_BUCKET, META_BUCKET, Backend

__all__ = ["hash_backend"]

_LOCAL: Final = frozenset(
    (META_BUCKET, key) for key in (b"consistent_index", b"term", b"storageVersion")
)


def hash_backend(backend: Backend, step: int = 1000) -> Generator[None, None, int]:
    """Return the CRC-32C over all buckets: each one's name, then its keys and values in order.

    A generator that pauses after every `step` entries, so that the caller can do other work in
    between; what is written meanwhile may or may not count.
    """
    state, seen = 0, 0
    for bucket in BUCKETS:
        state = crc32c(bucket.encode(), state)
        for key, value in _entries(backend, bucket):
            if (bucket, key) not in _LOCAL:
                state = crc32c(value, crc32c(key, state))
            seen += 1
            if seen % step == 0:
                yield
    return state


def _entries(backend: Backend, bucket: str) -> Iterator[tuple[bytes, bytes]]:
    if bucket == KEY_BUCKET:
        return backend.scan_revisions(b"", None)
    return backend.scan(bucket)
