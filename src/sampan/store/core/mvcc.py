"""Multi-version key-value state: what every key was at every revision since the last compaction.

A transaction is a run of `put` and `delete` calls closed by `commit`; all its changes share the
main revision `revision + 1` and are numbered by sub revision. Reads between them see the changes.
Nothing here waits or does I/O beyond the Backend it was given; equal inputs give equal states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from sampan.store.core import encode, errors, revision
from sampan.store.core.backend import META_BUCKET, Backend
from sampan.store.core.keyindex import KeyIndex, Past, Record
from sampan.store.pb.kv_pb2 import KeyValue

__all__ = [
    "SCHEDULED_COMPACTION",
    "Change",
    "LeaseBook",
    "Mvcc",
    "Observer",
    "parse_record",
]

Change = tuple[bytes, bytes, int, bool, bytes | None]
"""key, serialized Event without prev_kv, main revision, deleted?, serialized previous KeyValue."""

Observer = Callable[[list[Change], int], None]

_FIRST_REVISION = 1
_KEY_TAG = 0x0A  # field 1, with a length
_FINISHED = b"finishedCompactRev"
SCHEDULED_COMPACTION = b"scheduledCompactRev"
"""In bucket `meta`: up to which revision a compaction was asked for."""


class LeaseBook(Protocol):
    """What the key space needs of the leases."""

    def attach(self, key: bytes, lease_id: int) -> None:
        """Note that the lease holds the key."""

    def detach(self, key: bytes, lease_id: int) -> None:
        """Note that the lease no longer holds the key."""


class Mvcc:
    """The key space. `revision` is the newest committed main revision; an empty store is at 1."""

    def __init__(self, backend: Backend, leases: LeaseBook) -> None:
        self.index = KeyIndex()
        self.revision = _FIRST_REVISION
        # The same as a varint, for the header of every answer.
        self.revision_varint = encode.varint(_FIRST_REVISION)
        self.compact_revision = -1
        self.observer: Observer | None = None
        # While somebody reads through all revisions, a compaction frees none.
        self.past_in_use = 0
        self.put_total = 0
        self.delete_total = 0
        self._backend = backend
        self._leases = leases
        self._sub = 0
        self._next_varint = b""
        self._changes: list[Change] = []

    # ---- writing

    @property
    def read_revision(self) -> int:
        """The revision that a read now sees: inside a writing transaction, that transaction's."""
        return self.revision + 1 if self._sub else self.revision

    def put(self, key: bytes, value: bytes, lease: int) -> Record | None:
        """Set `key`; return its previous record, None if it did not exist."""
        main = self.revision + 1
        sub = self._sub
        if not sub:
            self._next_varint = encode.varint(main)
        self._sub = sub + 1
        self.put_total += 1
        index = self.index
        previous = index.live.get(key)
        if previous is None:
            create, version = main, 1
            index.revive(key)
        else:
            _, create, old_main, old_sub, version, old_lease = previous
            version += 1
            past = index.past.get(key)
            if past is None:
                past = index.past[key] = Past()
            past.mains.append(old_main)
            past.subs.append(old_sub)
            if old_lease and old_lease != lease:
                self._leases.detach(key, old_lease)
        if lease and (previous is None or previous[5] != lease):
            self._leases.attach(key, lease)
        raw = encode.key_value(key, create, self._next_varint, version, value, lease)
        framed = encode.frame(raw)
        index.live[key] = (framed, create, main, sub, version, lease)
        self._backend.revisions[revision.pack(main, sub)] = raw
        if self.observer is not None:
            before = None if previous is None else encode.unframe(previous[0])
            self._changes.append((key, framed, main, False, before))
        return previous

    def put_each(self, puts: Iterable[tuple[object, bytes, bytes]]) -> list[bytes]:
        """Set keys, each in a transaction of its own and without a lease.

        `puts` are (anything, key, value). Returns each one's revision as a varint. It does what
        `put` and `commit` do, in one loop without calls: most of what a busy store ever does.
        """
        index, revisions, observed = self.index, self._backend.revisions, self.observer is not None
        live, past = index.live, index.past
        key_value, frame, pack = encode.key_value, encode.frame, revision.pack
        main = self.revision
        done: list[bytes] = []
        for _, key, value in puts:
            main += 1
            mod = encode.varint(main)
            previous = live.get(key)
            if previous is None:
                create, version = main, 1
                index.revive(key)
            else:
                create, version = previous[1], previous[4] + 1
                history = past.get(key)
                if history is None:
                    history = past[key] = Past()
                history.mains.append(previous[2])
                history.subs.append(previous[3])
                if previous[5]:
                    self._leases.detach(key, previous[5])
            raw = key_value(key, create, mod, version, value, 0)
            framed = frame(raw)
            live[key] = (framed, create, main, 0, version, 0)
            revisions[pack(main, 0)] = raw
            if observed:
                before = None if previous is None else encode.unframe(previous[0])
                self._changes.append((key, framed, main, False, before))
            done.append(mod)
        if done:
            self.put_total += len(done)
            self.revision = main
            self.revision_varint = done[-1]
        return done

    def delete(self, key: bytes) -> Record | None:
        """Delete `key`; return its last record, None if it did not exist."""
        previous = self.index.live.pop(key, None)
        if previous is None:
            return None
        main = self.revision + 1
        sub = self._sub
        if not sub:
            self._next_varint = encode.varint(main)
        self._sub = sub + 1
        self.delete_total += 1
        self.index.supersede(key, previous[2], previous[3])
        self.index.bury(key, main, sub)
        if previous[5]:
            self._leases.detach(key, previous[5])
        raw = encode.tombstone(key)
        self._backend.revisions[revision.pack(main, sub, tombstone=True)] = raw
        if self.observer is not None:
            event = encode.delete_event(key, main)
            self._changes.append((key, event, main, True, encode.unframe(previous[0])))
        return previous

    def delete_range(self, key: bytes, range_end: bytes) -> list[Record]:
        """Delete every live key of the range, in order; return their last records."""
        if not range_end:
            record = self.delete(key)
            return [] if record is None else [record]
        keys, _ = self.index.live_keys.between(key, range_end)
        return [record for k in keys if (record := self.delete(k)) is not None]

    def commit(self) -> int:
        """Close the transaction; return the revision of the store after it."""
        if self._sub:
            self._sub = 0
            self.revision += 1
            self.revision_varint = self._next_varint
        return self.revision

    def publish(self) -> None:
        """Hand all changes since the last call to the observer."""
        if self._changes and self.observer is not None:
            changes, self._changes = self._changes, []
            self.observer(changes, self.revision)

    # ---- reading

    def check_readable(self, at_revision: int) -> None:
        """Raise FUTURE_REV or COMPACTED when a read at `at_revision` (<= 0: now) is impossible."""
        if at_revision > self.read_revision:
            raise errors.FUTURE_REV()
        if 0 < at_revision < self.compact_revision:
            raise errors.COMPACTED()

    def records(
        self, key: bytes, range_end: bytes, at_revision: int = 0, limit: int = 0
    ) -> tuple[list[Record], int]:
        """Return the records of the range in key order, `limit` at most (0: all), and their count.

        The count is of the whole range. Raises FUTURE_REV or COMPACTED.
        """
        self.check_readable(at_revision)
        live = self.index.live
        if at_revision <= 0 or at_revision == self.read_revision:
            if not range_end:
                record = live.get(key)
                return ([], 0) if record is None else ([record], 1)
            keys, count = self.index.live_keys.between(key, range_end, limit)
            return [live[k] for k in keys], count
        return self._records_then(key, range_end, at_revision, limit)

    def count(self, key: bytes, range_end: bytes, at_revision: int = 0) -> int:
        """Return how many keys of the range exist at a revision (<= 0: now)."""
        self.check_readable(at_revision)
        if at_revision <= 0 or at_revision == self.read_revision:
            if not range_end:
                return 1 if key in self.index.live else 0
            return self.index.live_keys.count(key, range_end)
        keys = self.index.keys_between(key, range_end) if range_end else [key]
        return sum(self.index.at(k, at_revision) is not None for k in keys)

    def _records_then(
        self, key: bytes, range_end: bytes, at_revision: int, limit: int
    ) -> tuple[list[Record], int]:
        keys = self.index.keys_between(key, range_end) if range_end else [key]
        records: list[Record] = []
        count = 0
        for candidate in keys:
            where = self.index.at(candidate, at_revision)
            if where is None:
                continue
            count += 1
            if not limit or count <= limit:
                records.append(self._record(candidate, *where))
        return records, count

    def _record(self, key: bytes, main: int, sub: int) -> Record:
        live = self.index.live.get(key)
        if live is not None and live[2] == main:
            return live
        raw = self._backend.revision(revision.pack(main, sub))
        if raw is None:
            raise errors.CORRUPT()
        return parse_record(raw, sub)

    # ---- history, for watches that start in the past

    def changes(self, start_rev: int, end_rev: int) -> Iterator[Change]:
        """Yield the changes of the main revisions [start_rev, end_rev), oldest first.

        Their previous records are left None: `previous` finds one when it is wanted.
        """
        scan = self._backend.scan_revisions(revision.pack(start_rev, 0), revision.pack(end_rev, 0))
        for rev_key, raw in scan:
            main = revision.main_of(rev_key)
            key = KeyValue.FromString(raw).key
            if revision.is_tombstone(rev_key):
                yield key, encode.delete_event(key, main), main, True, None
            else:
                yield key, encode.frame(raw), main, False, None

    def previous(self, key: bytes, before_rev: int) -> bytes | None:
        """Return the serialized KeyValue of `key` just before `before_rev`.

        None if it did not exist then, or that revision is compacted.
        """
        if before_rev - 1 < self.compact_revision:
            return None
        where = self.index.at(key, before_rev - 1)
        if where is None:
            return None
        return encode.unframe(self._record(key, *where)[0])

    # ---- compaction

    def compact(self, at_revision: int) -> None:
        """Make all revisions before `at_revision` unreadable; `purge` then frees their space.

        Raises COMPACTED when that was done before, FUTURE_REV when the revision is not there yet.
        """
        if at_revision <= self.compact_revision:
            raise errors.COMPACTED()
        if at_revision > self.revision:
            raise errors.FUTURE_REV()
        self.compact_revision = at_revision
        self._backend.put(META_BUCKET, SCHEDULED_COMPACTION, revision.pack(at_revision, 0))

    def purge(self, at_revision: int, step: int = 1000) -> Iterator[None]:
        """Free the revisions that a compaction at `at_revision` left; yield after `step` keys."""
        index = self.index
        for position, key in enumerate(list(index.past), 1):
            while self.past_in_use:
                yield
            past = index.past.get(key)
            if past is None:
                continue
            live = index.live.get(key)
            gone = past.split(at_revision, live[2] if live else 0)
            self._backend.delete_revisions([revision.pack(*each) for each in gone])
            if not past.mains:
                del index.past[key]
                index.dead_keys.discard(key)
            if position % step == 0:
                yield
        self._backend.put(META_BUCKET, _FINISHED, revision.pack(at_revision, 0))

    # ---- restart

    def restore(self, batches: Iterable[list[tuple[bytes, bytes]]]) -> None:
        """Rebuild the state from the backend's revisions, oldest first; what there was goes."""
        self.index = KeyIndex()
        self.compact_revision = -1
        scheduled = self._backend.get(META_BUCKET, SCHEDULED_COMPACTION)
        finished = self._backend.get(META_BUCKET, _FINISHED)
        if scheduled or finished:
            marks = [revision.main_of(mark) for mark in (scheduled, finished) if mark]
            self.compact_revision = max(marks)
        last = max(_FIRST_REVISION, self.compact_revision)
        newest: dict[bytes, tuple[bytes, bytes]] = {}
        for batch in batches:
            self._restore(batch, newest)
            if batch:
                last = max(last, revision.main_of(batch[-1][0]))
        self.revision = last
        self.revision_varint = encode.varint(last)
        for key, (rev_key, raw) in newest.items():
            kv = KeyValue.FromString(raw)
            main, _, sub = revision.unpack_plain(rev_key)
            lease = kv.lease
            record = encode.frame(raw), kv.create_revision, main, sub, kv.version, lease
            self.index.live[key] = record
            if lease:
                self._leases.attach(key, lease)
        self.index.settle()

    @property
    def unfinished_compaction(self) -> int | None:
        """The revision of a compaction whose purge a crash interrupted, if there is one."""
        finished = self._backend.get(META_BUCKET, _FINISHED)
        done = revision.main_of(finished) if finished else -1
        return self.compact_revision if self.compact_revision > done else None

    def _restore(
        self, batch: list[tuple[bytes, bytes]], newest: dict[bytes, tuple[bytes, bytes]]
    ) -> None:
        """Take revisions in; `newest` is what each live key holds so far, not parsed yet.

        Millions of them hold up a start, so it makes no calls and parses what it needs only.
        """
        past_of, unpack, plain_bytes = self.index.past, revision.unpack_plain, revision.PLAIN_BYTES
        for row in batch:
            rev_key, raw = row
            if raw[0] == _KEY_TAG and raw[1] < 0x80:
                key = raw[2 : 2 + raw[1]]
            else:
                key = KeyValue.FromString(raw).key
            previous = newest.get(key)
            if previous is not None:
                past = past_of.get(key)
                if past is None:
                    past = past_of[key] = Past()
                main, _, sub = unpack(previous[0])
                past.mains.append(main)
                past.subs.append(sub)
            if len(rev_key) == plain_bytes:
                newest[key] = row
            else:
                newest.pop(key, None)
                main, _, sub = unpack(rev_key)
                self.index.supersede(key, main, sub, tombstone=True)


def parse_record(raw: bytes, sub: int) -> Record:
    """Return the record of a serialized KeyValue stored under sub revision `sub`."""
    kv = KeyValue.FromString(raw)
    mod = kv.mod_revision
    return encode.frame(raw), kv.create_revision, mod, sub, kv.version, kv.lease
