"""The log: storage below, the unstable tail above, and how far it is committed and applied.

    first_index ... applied <= applying <= committed <= last_index

`applying` is the last entry handed out for applying, `applied` the last one reported applied.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.base.errors import invariant
from sampan.raft.errors import Compacted, Unavailable
from sampan.raft.message import NO_LIMIT, Entry, Snapshot, limit_size, size_of
from sampan.raft.storage import Storage
from sampan.raft.unstable import Unstable

__all__ = ["RaftLog"]


class RaftLog:
    """A member's view of its log. Raises only StorageErrors and InvariantErrors."""

    def __init__(self, storage: Storage, max_applying_bytes: int = NO_LIMIT) -> None:
        self.storage = storage
        self.unstable = Unstable(storage.last_index() + 1)
        self.committed = self.applying = self.applied = storage.first_index() - 1
        self._max_applying_bytes = max_applying_bytes
        self._applying_bytes = 0

    # --- reading

    def first_index(self) -> int:
        """Return the index of the first entry that is not compacted."""
        snapshot = self.unstable.snapshot
        return snapshot.index + 1 if snapshot else self.storage.first_index()

    def last_index(self) -> int:
        """Return the index of the last entry."""
        last = self.unstable.last_index()
        return self.storage.last_index() if last is None else last

    def term(self, index: int) -> int:
        """Return the term of an entry from `first_index() - 1` to `last_index()`.

        Raises Compacted before that, Unavailable behind it.
        """
        term = self.unstable.term(index)
        if term is not None:
            return term
        if index + 1 < self.first_index():
            raise Compacted(f"entry {index} is compacted")
        if index > self.last_index():
            raise Unavailable(f"entry {index} is behind the last one")
        return self.storage.term(index)

    def last_term(self) -> int:
        """Return the term of the last entry."""
        return self.term(self.last_index())

    def matches(self, index: int, term: int) -> bool:
        """Whether the log has an entry of `term` at `index`."""
        try:
            return self.term(index) == term
        except (Compacted, Unavailable):
            return False

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Whether a log that ends in (index, term) is at least as good as ours (thesis 3.6.1)."""
        last_term = self.last_term()
        return term > last_term or (term == last_term and index >= self.last_index())

    def slice(self, low: int, high: int, max_bytes: int = NO_LIMIT) -> Sequence[Entry]:
        """Return entries [low, high) within `max_bytes`, at least one. Raises Compacted."""
        if low >= high:
            return ()
        if low < self.first_index():
            raise Compacted(f"entry {low} is compacted")
        offset = self.unstable.offset
        if low >= offset:
            return limit_size(self.unstable.slice(low, high), max_bytes)
        stored = self.storage.entries(low, min(high, offset), max_bytes)
        if high <= offset or len(stored) < offset - low:
            return stored
        return limit_size([*stored, *self.unstable.slice(offset, high)], max_bytes)

    def entries_from(self, low: int, max_bytes: int = NO_LIMIT) -> Sequence[Entry]:
        """Return the entries from `low` to the end within `max_bytes`. Raises Compacted."""
        return self.slice(low, self.last_index() + 1, max_bytes)

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """Return the last (index, term) at or before `index` whose term is at most `term`.

        Where a log rejects or is rejected, entries of later terms cannot match, so whole terms
        are skipped (thesis 3.5, last paragraphs). A compacted entry has the term 0, unknown.
        """
        while index > 0:
            try:
                own = self.term(index)
            except (Compacted, Unavailable):
                return index, 0
            if own <= term:
                return index, own
            index -= 1
        return 0, 0

    # --- writing

    def maybe_append(
        self, index: int, log_term: int, commit: int, entries: Sequence[Entry]
    ) -> int | None:
        """Append what follows (index, log_term), and commit; None when that is not in the log.

        Returns the index of the last entry known to agree with the sender's. Entries that are
        there already stay: a late message must not cut off what came after it (thesis 3.5).
        """
        if not self.matches(index, log_term):
            return None
        last = index + len(entries)
        for position, entry in enumerate(entries):
            if not self.matches(entry.index, entry.term):
                invariant(
                    entry.index > self.committed,
                    f"entry {entry.index} of term {entry.term} conflicts with a committed one",
                )
                self.append(entries[position:])
                break
        self.commit_to(min(commit, last))
        return last

    def append(self, entries: Sequence[Entry]) -> int:
        """Write `entries` over the tail; returns the last index."""
        if entries:
            first = entries[0].index
            invariant(first > self.committed, f"entry {first} is committed already")
            self.unstable.truncate_and_append(entries)
        return self.last_index()

    def commit_to(self, index: int) -> bool:
        """Commit up to `index`; commitment never goes back. Says whether it went forward."""
        if index <= self.committed:
            return False
        last = self.last_index()
        invariant(index <= last, f"commit {index} is behind the log's end {last}: entries lost")
        self.committed = index
        return True

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the log by `snapshot`."""
        invariant(snapshot.index >= self.committed, "a snapshot takes back committed entries")
        self.unstable.restore(snapshot)
        self.committed = snapshot.index

    def stable_to(self, index: int, term: int) -> None:
        """Storage has the entries up to (index, term)."""
        self.unstable.stable_to(index, term)

    def stable_snapshot_to(self, index: int) -> None:
        """Storage has the snapshot at `index`."""
        self.unstable.stable_snapshot_to(index)

    # --- applying

    def has_next_committed(self, *, allow_unstable: bool) -> bool:
        """Whether `next_committed` would return anything."""
        return (
            self._applying_bytes < self._max_applying_bytes
            and self.unstable.snapshot is None
            and self.applying < self._max_appliable(allow_unstable)
        )

    def next_committed(self, *, allow_unstable: bool) -> Sequence[Entry]:
        """Return committed entries to apply, within what may be outstanding.

        With `allow_unstable` also those that are only about to be written: for callers that
        write before they apply.
        """
        if not self.has_next_committed(allow_unstable=allow_unstable):
            return ()
        end = self._max_appliable(allow_unstable) + 1
        return self.slice(self.applying + 1, end, self._max_applying_bytes - self._applying_bytes)

    def accept_applying(self, entries: Sequence[Entry]) -> None:
        """`entries` were handed out for applying."""
        if entries:
            invariant(entries[0].index == self.applying + 1, "entries are applied in order")
            self.applying = entries[-1].index
            self._applying_bytes += size_of(entries)

    def applied_to(self, index: int, size_bytes: int = 0) -> None:
        """Entries up to `index` are applied, `size_bytes` of those handed out."""
        invariant(index <= self.committed, f"applied {index} is not committed ({self.committed})")
        invariant(index >= self.applied, f"applied {index} goes back behind {self.applied}")
        self.applied = index
        self.applying = max(self.applying, index)
        self._applying_bytes = max(self._applying_bytes - size_bytes, 0)

    def _max_appliable(self, allow_unstable: bool) -> int:
        if allow_unstable:
            return self.committed
        return min(self.committed, self.unstable.offset - 1)
