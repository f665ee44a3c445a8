"""What the algorithm reads of the durable log, what storages share, and one in memory.

The algorithm only reads; writing what a Ready carries is the caller's work (see `sampan.raft`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sampan.base.errors import invariant
from sampan.raft.errors import Compacted, SnapshotOutOfDate, Unavailable
from sampan.raft.message import (
    NO_LIMIT,
    ConfState,
    Entry,
    HardState,
    Snapshot,
    limit_size,
)

__all__ = ["EntryWindow", "MemoryStorage", "Storage"]


class Storage(Protocol):
    """The durable log as the algorithm reads it; all indexes are inclusive unless said."""

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return what was last written; read once, at the start."""

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """Return entries [low, high), fewer if they exceed `max_bytes`, but at least one.

        Raises Compacted when `low` is before the first entry, Unavailable when `high - 1` is
        behind the last.
        """

    def term(self, index: int) -> int:
        """Return the entry's term, also for the one before the first. Raises as `entries`."""

    def first_index(self) -> int:
        """Return the index of the first entry kept (or, of an empty log, to be kept)."""

    def last_index(self) -> int:
        """Return the index of the last entry kept, `first_index() - 1` of an empty log."""

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot. Raises SnapshotUnavailable while there is none to give."""


class EntryWindow:
    """The newest entries of a log in memory, and the place behind which they begin.

    What storages that keep entries have in common. `base` is index and term of the entry before the
    first one kept; (0, 0) for the whole log.
    """

    def __init__(self, base: tuple[int, int] = (0, 0), entries: Sequence[Entry] = ()) -> None:
        self._base = base
        self._entries = list(entries)

    def first_index(self) -> int:
        """Return the index of the first entry kept."""
        return self._base[0] + 1

    def last_index(self) -> int:
        """Return the index of the last entry kept."""
        return self._base[0] + len(self._entries)

    def term(self, index: int) -> int:
        """Return the term of the entry at `index`. Raises Compacted or Unavailable."""
        base = self._base[0]
        if index < base:
            raise Compacted(f"entry {index} is compacted, the log begins behind {base}")
        if index == base:
            return self._base[1]
        if index > base + len(self._entries):
            raise Unavailable(f"entry {index} is behind the last one, {self.last_index()}")
        return self._entries[index - base - 1].term

    def entries(self, low: int, high: int, max_bytes: int = NO_LIMIT) -> Sequence[Entry]:
        """Return entries [low, high) as far as `max_bytes` allows, but at least one.

        Raises Compacted or Unavailable.
        """
        base = self._base[0]
        if low <= base:
            raise Compacted(f"entry {low} is compacted, the log begins behind {base}")
        if high > self.last_index() + 1:
            raise Unavailable(f"entry {high - 1} is behind the last one, {self.last_index()}")
        return limit_size(self._entries[low - base - 1 : high - base - 1], max_bytes)


class MemoryStorage(EntryWindow):
    """A Storage that keeps everything in memory; also the model for real ones in tests."""

    def __init__(self, conf_state: ConfState | None = None) -> None:
        """Start empty; `conf_state` is the membership that all members agree to start with."""
        super().__init__()
        self._hard_state = HardState()
        self._snapshot = Snapshot(0, 0, conf_state or ConfState())

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return the hard state and the newest snapshot's membership."""
        return self._hard_state, self._snapshot.conf_state

    def set_hard_state(self, state: HardState) -> None:
        """Keep `state`."""
        self._hard_state = state

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshot

    def append(self, entries: Sequence[Entry]) -> None:
        """Write `entries`, replacing what is there from the first one's index on."""
        if not entries:
            return
        base = self._base[0]
        fresh = [entry for entry in entries if entry.index > base]
        if not fresh:
            return
        keep = fresh[0].index - base - 1
        invariant(keep <= len(self._entries), f"a hole in the log before {fresh[0].index}")
        self._entries[keep:] = fresh

    def apply_snapshot(self, snapshot: Snapshot) -> None:
        """Replace everything by a snapshot from the leader. Raises SnapshotOutOfDate."""
        if snapshot.index <= self._snapshot.index:
            raise SnapshotOutOfDate(f"snapshot {snapshot.index} is not newer")
        self._snapshot = snapshot
        self._entries = []
        self._base = (snapshot.index, snapshot.term)

    def create_snapshot(self, index: int, conf_state: ConfState, data: bytes) -> Snapshot:
        """Keep and return a snapshot of the applied state at `index`; the log stays as it is."""
        if index <= self._snapshot.index:
            raise SnapshotOutOfDate(f"snapshot {index} is not newer than {self._snapshot.index}")
        self._snapshot = Snapshot(index, self.term(index), conf_state, data)
        return self._snapshot

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`, which a snapshot must cover. Raises Compacted."""
        base = self._base[0]
        if index <= base:
            raise Compacted(f"the log is compacted up to {base} already")
        invariant(index <= self._snapshot.index, f"no snapshot covers entry {index}")
        term = self.term(index)
        self._entries = self._entries[index - base :]
        self._base = (index, term)
