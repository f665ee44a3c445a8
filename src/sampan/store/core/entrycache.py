"""What Raft reads of the log: the newest entries in memory, behind what the backend holds.

The backend is the snapshot: it contains everything applied, so that older entries are only kept for
members that lag a little. Whoever lags more is sent the backend's content.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.base.errors import invariant
from sampan.raft import (
    ConfState,
    Entry,
    EntryWindow,
    HardState,
    Snapshot,
    SnapshotUnavailable,
    size_of,
)

__all__ = ["EntryCache"]


class EntryCache(EntryWindow):
    """A `sampan.raft.Storage` over entries that are durable in the write-ahead log."""

    def __init__(
        self,
        base: tuple[int, int],
        entries: Sequence[Entry],
        hard_state: HardState,
        conf_state: ConfState,
    ) -> None:
        super().__init__(base, entries)
        self._hard_state = hard_state
        self._applied = Snapshot(0, 0, conf_state)
        self.size_bytes = size_of(entries)

    # ---- what Raft reads (`sampan.raft.Storage`)

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return hard state and membership as of the start."""
        return self._hard_state, self._applied.conf_state

    def snapshot(self) -> Snapshot:
        """Return which snapshot could be made now: that of everything applied."""
        if not self._applied.index:
            raise SnapshotUnavailable("nothing is applied yet")
        return self._applied

    # ---- what the replica tells

    def append(self, entries: Sequence[Entry]) -> None:
        """Take durable entries, replacing what is there from the first one's index on."""
        if not entries:
            return
        base = self._base[0]
        keep = entries[0].index - base - 1
        invariant(0 <= keep <= len(self._entries), f"a hole in the log at {entries[0].index}")
        self.size_bytes -= size_of(self._entries[keep:])
        self._entries[keep:] = entries
        self.size_bytes += size_of(entries)

    def applied(self, index: int, term: int, conf_state: ConfState) -> None:
        """Everything up to `index` is applied, and `conf_state` is in force."""
        self._applied = Snapshot(index, term, conf_state)

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew behind a snapshot that came from the leader."""
        self._base = (snapshot.index, snapshot.term)
        self._entries = []
        self.size_bytes = 0
        self._applied = Snapshot(snapshot.index, snapshot.term, snapshot.conf_state)

    def trim(self, keep_entries: int, keep_bytes: int) -> None:
        """Drop the oldest applied entries, as far as more than `keep_entries` are applied here.

        With more than `keep_bytes` in all, half as many are kept as fit.
        """
        applied = self._applied.index - self._base[0]
        drop = applied - keep_entries
        if self.size_bytes > keep_bytes and self._entries:
            average = self.size_bytes // len(self._entries) + 1
            drop = max(drop, applied - keep_bytes // (2 * average))
        if drop <= 0:
            return
        last = self._entries[drop - 1]
        self.size_bytes -= size_of(self._entries[:drop])
        del self._entries[:drop]
        self._base = (last.index, last.term)
