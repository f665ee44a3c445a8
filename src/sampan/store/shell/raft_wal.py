"""A replicated log in the write-ahead log: what a start finds there, and writing what Raft asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sampan import raft
from sampan.raft import Entry, EntryType, Ready
from sampan.store.core import wal
from sampan.store.core.wal import Record, RecordFlag, RecordKind

__all__ = ["EntryLog", "Recovered", "recover", "save"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a write-ahead log holds; `base` is index and term of the entry before `entries`."""

    base: tuple[int, int]
    entries: Sequence[Entry]
    hard_state: raft.HardState


class EntryLog(Protocol):
    """The write-ahead log as far as this module writes and reads it."""

    hard_state: wal.HardState | None

    def records(self) -> Iterator[Record]:
        """Yield all records, oldest first."""

    def append(
        self,
        term: int,
        first_index: int,
        entries: Sequence[bytes],
        *,
        flags: int = 0,
        hard_state: wal.HardState | None = None,
    ) -> None:
        """Write entries that replace what is there from `first_index` on."""

    def save_hard_state(self, state: wal.HardState) -> None:
        """Write term, vote and commit index."""


def recover(log: EntryLog, member_id: int, applied_index: int, applied_term: int = 0) -> Recovered:
    """Read everything that is left in the log.

    The backend holds the entries up to `applied_index`, the last one of `applied_term`. A log that
    a lone member wrote has no hard state: all its entries were committed, and the member voted for
    itself. The oldest entry gives only its term, so that what follows has one, unless it is the
    next to be applied.
    """
    entries: list[Entry] = []
    base: tuple[int, int] | None = None
    for record in log.records():
        if record.kind == RecordKind.SNAPSHOT_MARK:
            mark = record.snapshot_mark()
            base, entries = (mark.index, mark.term), []
        elif record.kind == RecordKind.ENTRIES and record.count:
            found = _entries(record)
            if base is None:
                base = _base(found[0], applied_index, applied_term)
            keep = found[0].index - base[0] - 1
            if keep < 0:
                found, keep = found[-keep:], 0
            entries[keep:] = found
    if base is None:
        # Whatever terms the member has heard of since: the last entry's counts, 0 before the first.
        base = (applied_index, applied_term)
    state = log.hard_state
    last = entries[-1] if entries else Entry(base[1], base[0])
    if state is None and not last.index:
        return Recovered(base, entries, raft.HardState())
    if state is None:
        return Recovered(base, entries, raft.HardState(last.term, member_id, last.index))
    return Recovered(base, entries, raft.HardState(state.term, state.vote, state.commit))


def _base(first: Entry, applied_index: int, applied_term: int) -> tuple[int, int]:
    """Return what comes before the entries of a log whose oldest one is `first`."""
    if first.index == 1:
        return 0, 0
    if first.index == applied_index + 1:
        return applied_index, applied_term
    return first.index, first.term


def _entries(record: Record) -> list[Entry]:
    changes = record.flags & RecordFlag.CONF_CHANGE
    kind = EntryType.CONF_CHANGE if changes else EntryType.NORMAL
    first = record.first_index
    return [Entry(record.term, first + at, data, kind) for at, data in enumerate(record.entries())]


def save(log: EntryLog, work: Iterable[Ready]) -> bool:
    """Make entries and hard states durable, in order; say whether anything had to be.

    Raises as `Wal.append`.

    A commit index by itself is not worth a flush: it is found out again.
    """
    runs: list[list[Entry]] = []
    state: raft.HardState | None = None
    must_sync = False
    for ready in work:
        for entry in ready.entries:
            before = runs[-1][-1] if runs else None
            if before is not None and _follows(before, entry):
                runs[-1].append(entry)
            else:
                runs.append([entry])
        state = ready.hard_state or state
        must_sync = must_sync or ready.must_sync
    if not must_sync:
        return False
    hard = None if state is None else wal.HardState(state.term, state.vote, state.commit)
    for run in runs:
        flags = RecordFlag.CONF_CHANGE if run[0].type is EntryType.CONF_CHANGE else RecordFlag.NONE
        with_state = hard if run is runs[-1] else None
        data = [entry.data for entry in run]
        log.append(run[0].term, run[0].index, data, flags=flags, hard_state=with_state)
    if not runs and hard is not None:
        log.save_hard_state(hard)
    return True


def _follows(before: Entry, entry: Entry) -> bool:
    return (before.index + 1, before.term, before.type) == (entry.index, entry.term, entry.type)
