"""A backend that keeps everything in memory and nothing on disk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from sampan.store.core.backend import BUCKETS, KEY_BUCKET, META_BUCKET
from sampan.store.shell.lmdb_backend import BackendReports
from sampan.store.shell.lmdb_file import CONSISTENT_INDEX, TERM
from sampan.store.shell.write_buffer import Pairs, in_range

__all__ = ["MemoryBackend", "MemoryView"]

PAIR_OVERHEAD_BYTES: Final = 32
"""What a pair takes on a page besides its bytes, to make the quota mean about the same."""


class MemoryView:
    """The content of a memory backend at one moment."""

    def __init__(self, content: dict[str, Pairs]) -> None:
        self._content = content

    def buckets(self) -> list[str]:
        """Return the bucket names in byte order."""
        return sorted(self._content)

    def items(self, bucket: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield all pairs of a bucket in key order."""
        return iter(self._content[bucket])


class MemoryBackend:
    """A `Backend` without files, with the methods of `LmdbBackend`."""

    consistent_index = 0
    term = 0

    def __init__(self) -> None:
        self.revisions: dict[bytes, bytes] = {}
        self._order: list[bytes] = []  # the indexed keys of `revisions`, and some deleted ones
        self._deleted = 0  # how many of `_order` are deleted
        self._bytes = 0
        self._small: dict[str, dict[bytes, bytes]] = {each: {} for each in BUCKETS}
        self._reports: BackendReports | None = None

    def _index(self) -> list[bytes]:
        """Take in the revisions written since the last call; they are behind all others."""
        newest = self._order[-1] if self._order else b""
        fresh = []
        for rev_key in reversed(self.revisions):
            if rev_key <= newest:
                break
            fresh.append(rev_key)
            self._bytes += self._cost(rev_key)
        self._order.extend(reversed(fresh))
        return self._order

    def _cost(self, rev_key: bytes) -> int:
        return len(rev_key) + len(self.revisions[rev_key]) + PAIR_OVERHEAD_BYTES

    @property
    def size_bytes(self) -> int:
        """Roughly what the data would take on disk."""
        return self.size_in_use_bytes

    @property
    def size_in_use_bytes(self) -> int:
        """Roughly what the data would take on disk."""
        self._index()
        return self._bytes

    def revision(self, rev_key: bytes) -> bytes | None:
        """Return the raw value at a packed revision."""
        return self.revisions.get(rev_key)

    def scan_revisions(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (rev_key, raw) with start <= rev_key < end, ascending, as of the call."""
        order = self._index()
        stop = len(order) if end is None else bisect_left(order, end)
        for rev_key in order[bisect_left(order, start) : stop]:
            raw = self.revisions.get(rev_key)
            if raw is not None:
                yield rev_key, raw

    def delete_revisions(self, rev_keys: Iterable[bytes]) -> None:
        """Remove these revisions; unknown ones are ignored."""
        self._index()
        for rev_key in rev_keys:
            if rev_key in self.revisions:
                self._bytes -= self._cost(rev_key)
                del self.revisions[rev_key]
                self._deleted += 1
        if 2 * self._deleted > len(self._order):
            self._order = list(self.revisions)
            self._deleted = 0

    def put(self, bucket: str, key: bytes, value: bytes) -> None:
        """Set `key` in a small bucket."""
        self._small[bucket][key] = value

    def delete(self, bucket: str, key: bytes) -> None:
        """Remove `key` from a small bucket."""
        self._small[bucket].pop(key, None)

    def get(self, bucket: str, key: bytes) -> bytes | None:
        """Return the value of `key` in a small bucket."""
        return self._small[bucket].get(key)

    def scan(
        self, bucket: str, start: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of a small bucket with start <= key < end, ascending, as of the call."""
        pairs = self._small[bucket].items()
        return iter(sorted(pair for pair in pairs if in_range(pair[0], start, end)))

    def load(self) -> Iterator[Pairs]:
        """Yield all revisions as one list, if there are any."""
        if self.revisions:
            yield list(self.revisions.items())

    def start(
        self,
        reports: BackendReports,
        interval_s: float = 0.0,
        observe_commit: Callable[[float], object] | None = None,
    ) -> None:
        """Remember whom to ask for the applied index."""
        self._reports = reports

    def halt(self) -> None:
        """Do nothing: nothing would be kept anyway."""

    async def commit(self) -> None:
        """Take over the applied index; there is nothing to write."""
        if self._reports is not None:
            self.consistent_index, self.term = self._reports.applied()
            self._small[META_BUCKET][CONSISTENT_INDEX] = self.consistent_index.to_bytes(8, "big")
            self._small[META_BUCKET][TERM] = self.term.to_bytes(8, "big")

    def adopt(self, content: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """Take over the content of a snapshot: keys and values by bucket."""
        self.revisions = dict(content[KEY_BUCKET])
        self._order, self._deleted, self._bytes = [], 0, 0
        self._small = {each: dict(content[each]) for each in BUCKETS}
        meta = self._small[META_BUCKET]
        self.consistent_index = int.from_bytes(meta.get(CONSISTENT_INDEX, b""), "big")
        self.term = int.from_bytes(meta.get(TERM, b""), "big")

    async def defragment(self) -> None:
        """Do nothing: there are no free pages."""

    @asynccontextmanager
    async def view(self) -> AsyncIterator[MemoryView]:
        """Give a view of everything written so far, for use in one thread."""
        await self.commit()
        content = {bucket: sorted(pairs.items()) for bucket, pairs in self._small.items()}
        yield MemoryView({**content, KEY_BUCKET: list(self.revisions.items())})

    async def close(self) -> None:
        """Do nothing: what is in memory goes with the process."""
