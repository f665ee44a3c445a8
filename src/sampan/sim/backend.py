"""A backend whose commits are copies: what a crash leaves is the last of them."""

from __future__ import annotations

from sampan.store.core.backend import BUCKETS, KEY_BUCKET, META_BUCKET
from sampan.store.shell.lmdb_file import CONSISTENT_INDEX, TERM
from sampan.store.shell.memory_backend import MemoryBackend

__all__ = ["Content", "content_of", "restored"]

Content = dict[str, dict[bytes, bytes]]
"""Keys and values by bucket, with index and term of the last entry in bucket `meta`."""


def content_of(backend: MemoryBackend, index: int, term: int) -> Content:
    """Return a copy of everything, as of the entry at `index`."""
    content = {bucket: dict(backend.scan(bucket)) for bucket in BUCKETS if bucket != KEY_BUCKET}
    content[KEY_BUCKET] = dict(backend.revisions)
    content[META_BUCKET][CONSISTENT_INDEX] = index.to_bytes(8, "big")
    content[META_BUCKET][TERM] = term.to_bytes(8, "big")
    return content


def restored(content: Content) -> MemoryBackend:
    """Return a backend with a copy of this content."""
    backend = MemoryBackend()
    if content:
        backend.adopt(content)
    return backend
