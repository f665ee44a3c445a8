"""The tail of the log that storage has not confirmed yet.

Entries from `offset` on live here until the write that carries them is confirmed. A write under
way covers those before `offset_in_progress`. A snapshot received from the leader waits here too.
"""

from __future__ import annotations

from collections.abc import Sequence

from sampan.base.errors import invariant
from sampan.raft.message import Entry, Snapshot

__all__ = ["Unstable"]


class Unstable:
    """Entries and a snapshot on their way to storage."""

    __slots__ = ("entries", "offset", "offset_in_progress", "snapshot", "snapshot_in_progress")

    def __init__(self, offset: int) -> None:
        self.entries: list[Entry] = []
        self.offset = offset
        self.offset_in_progress = offset
        self.snapshot: Snapshot | None = None
        self.snapshot_in_progress = False

    def last_index(self) -> int | None:
        """Return the last index known here, or None when storage has to be asked."""
        if self.entries:
            return self.offset + len(self.entries) - 1
        return self.snapshot.index if self.snapshot else None

    def term(self, index: int) -> int | None:
        """Return the term of the entry, or None when it is not here."""
        if index < self.offset:
            if self.snapshot and self.snapshot.index == index:
                return self.snapshot.term
            return None
        position = index - self.offset
        return self.entries[position].term if position < len(self.entries) else None

    def slice(self, low: int, high: int) -> list[Entry]:
        """Return entries [low, high), all of which must be here."""
        upper = self.offset + len(self.entries)
        invariant(self.offset <= low <= high <= upper, f"no unstable entries [{low}, {high})")
        return self.entries[low - self.offset : high - self.offset]

    def next_entries(self) -> list[Entry]:
        """Return the entries that no write under way covers."""
        return self.entries[self.offset_in_progress - self.offset :]

    def next_snapshot(self) -> Snapshot | None:
        """Return the snapshot unless it is being written."""
        return None if self.snapshot_in_progress else self.snapshot

    def accept_in_progress(self) -> None:
        """Everything here has been handed out for writing."""
        self.offset_in_progress = self.offset + len(self.entries)
        self.snapshot_in_progress = self.snapshot is not None

    def stable_to(self, index: int, term: int) -> None:
        """Forget entries up to `index`: storage has them.

        A confirmation that does not fit `term` is of entries that were replaced meanwhile, and
        the write of what replaced them will be confirmed on its own.
        """
        if index < self.offset or self.term(index) != term:
            return
        del self.entries[: index + 1 - self.offset]
        self.offset = index + 1
        self.offset_in_progress = max(self.offset_in_progress, self.offset)

    def stable_snapshot_to(self, index: int) -> None:
        """Forget the snapshot at `index`: storage has it."""
        if self.snapshot and self.snapshot.index == index:
            self.snapshot = None
            self.snapshot_in_progress = False

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew behind `snapshot`."""
        self.offset = self.offset_in_progress = snapshot.index + 1
        self.entries = []
        self.snapshot = snapshot
        self.snapshot_in_progress = False

    def truncate_and_append(self, entries: Sequence[Entry]) -> None:
        """Write `entries` over what is here from the first one's index on."""
        first = entries[0].index
        end = self.offset + len(self.entries)
        invariant(first <= end, f"a hole in the log between {end - 1} and {first}")
        if first <= self.offset:
            self.entries = list(entries)
            self.offset = self.offset_in_progress = first
            return
        self.entries[first - self.offset :] = entries
        self.offset_in_progress = min(self.offset_in_progress, first)
