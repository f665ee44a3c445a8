"""The log against a list, however far its writes and snapshots have got."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sampan.base.errors import InvariantError
from sampan.raft import Compacted, ConfState, Entry, MemoryStorage, Snapshot, Unavailable
from sampan.raft.inflight import Inflights
from sampan.raft.log import RaftLog


class LogAgainstList(RuleBasedStateMachine):
    """`model` holds the terms of all entries; entry i stands at model[i], model[0] before all.

    Writes are confirmed late and in order, as with asynchronous storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.log = RaftLog(self.storage)
        self.model = [0]
        self.first = 1
        self.writes: deque[tuple[list[Entry], Snapshot | None, int, int]] = deque()
        self.handed_out = 0

    @rule(cut=st.integers(0, 5), count=st.integers(1, 4), newer=st.integers(0, 2))
    def append(self, cut: int, count: int, newer: int) -> None:
        start = max(len(self.model) - cut, self.log.committed + 1)
        term = self.model[-1] + newer + (start < len(self.model))
        entries = [Entry(term, start + n, b"%d" % term) for n in range(count)]
        self.model[start:] = [term] * count
        assert self.log.append(entries) == len(self.model) - 1

    @rule(back=st.integers(0, 4), count=st.integers(0, 6))
    def append_again(self, back: int, count: int) -> None:
        """A repeated message changes nothing."""
        previous = max(len(self.model) - 1 - back, self.first - 1, self.log.committed)
        entries = [
            Entry(self.model[index], index, b"%d" % self.model[index])
            for index in range(previous + 1, min(previous + 1 + count, len(self.model)))
        ]
        last = self.log.maybe_append(previous, self.model[previous], 0, entries)
        assert last == previous + len(entries)

    @rule(wrong=st.integers(1, 3))
    def append_behind_something_else(self, wrong: int) -> None:
        last = len(self.model) - 1
        assert self.log.maybe_append(last, self.model[last] + wrong, 99, []) is None
        assert self.log.maybe_append(last + wrong, self.model[last], 99, []) is None

    @rule(far=st.integers(0, 3))
    def commit(self, far: int) -> None:
        self.log.commit_to(min(self.log.committed + far, len(self.model) - 1))

    @rule()
    def hand_out(self) -> None:
        unstable = self.log.unstable
        entries, snapshot = unstable.next_entries(), unstable.next_snapshot()
        last = self.log.last_index()
        self.writes.append((entries, snapshot, last, self.log.term(last)))
        unstable.accept_in_progress()

    @precondition(lambda self: self.writes)
    @rule()
    def confirm(self) -> None:
        entries, snapshot, last, term = self.writes.popleft()
        if snapshot:
            self.storage.apply_snapshot(snapshot)
        self.storage.append(entries)
        self.log.stable_to(last, term)
        if snapshot:
            self.log.stable_snapshot_to(snapshot.index)
            self.log.applied_to(max(snapshot.index, self.log.applied))
            self.handed_out = max(self.handed_out, snapshot.index)

    @rule(max_bytes=st.integers(1, 60))
    def apply(self, max_bytes: int) -> None:
        entries = self.log.next_committed(allow_unstable=False)
        for entry in entries:
            self.handed_out += 1
            assert (entry.index, entry.term) == (self.handed_out, self.model[self.handed_out])
        self.log.accept_applying(entries)
        if entries:
            self.log.applied_to(entries[-1].index, sum(entry.size_bytes for entry in entries))

    @precondition(lambda self: self.log.unstable.snapshot is None)
    @rule(keep=st.integers(0, 3))
    def compact(self, keep: int) -> None:
        applied = self.log.applied
        if applied > self.storage.snapshot().index and applied <= self.storage.last_index():
            self.storage.create_snapshot(applied, ConfState(), b"")
            if applied - keep >= self.storage.first_index():
                self.storage.compact(applied - keep)
                self.first = applied - keep + 1

    @precondition(lambda self: self.log.unstable.snapshot is None)
    @rule(ahead=st.integers(1, 5), newer=st.integers(0, 2))
    def restore(self, ahead: int, newer: int) -> None:
        index = len(self.model) - 1 + ahead
        term = self.model[-1] + newer
        self.log.restore(Snapshot(index, term, ConfState()))
        self.model += [-1] * (ahead - 1) + [term]
        self.first = index + 1

    @invariant()
    def reads_as_the_list_does(self) -> None:
        log, model = self.log, self.model
        assert log.last_index() == len(model) - 1
        assert log.first_index() == self.first
        for index in range(self.first - 1, len(model)):
            assert log.term(index) == model[index]
        with pytest.raises(Unavailable):
            log.term(len(model))
        if self.first > 1:
            with pytest.raises(Compacted):
                log.term(self.first - 2)
        entries = log.entries_from(self.first)
        assert [(entry.index, entry.term) for entry in entries] == [
            (index, model[index]) for index in range(self.first, len(model))
        ]
        for low in range(self.first, len(model)):
            part = log.entries_from(low, 40)
            assert 1 <= len(part) <= 2
            assert list(part) == list(entries)[low - self.first : low - self.first + len(part)]

    @invariant()
    def conflicts_are_found_as_by_looking(self) -> None:
        last = len(self.model) - 1
        for term in range(self.model[-1] + 2):
            index, _ = self.log.find_conflict_by_term(last, term)
            for skipped in range(index + 1, last + 1):
                assert self.model[skipped] > term
            if index >= self.first - 1:
                assert self.model[index] <= term


LogAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLogAgainstList = LogAgainstList.TestCase


def test_committed_entries_are_never_replaced() -> None:
    log = RaftLog(MemoryStorage())
    log.append([Entry(1, 1), Entry(1, 2)])
    log.commit_to(2)
    with pytest.raises(InvariantError, match="conflicts with a committed one"):
        log.maybe_append(0, 0, 2, [Entry(2, 1)])
    with pytest.raises(InvariantError, match="entries lost"):
        log.commit_to(3)
    assert not log.commit_to(1)
    assert log.committed == 2


def test_the_window_is_bounded_in_messages_and_bytes() -> None:
    window = Inflights(2, 100)
    window.add(5, 60)
    assert not window.full
    window.add(9, 10)
    assert window.full
    window.free_to(4)
    assert window.full
    window.free_to(5)
    assert (len(window), window.size_bytes, window.full) == (1, 10, False)
    window.add(10, 95)
    assert window.full
    window.free_to(20)
    assert (len(window), window.size_bytes) == (0, 0)


def test_memory_storage_says_what_it_has() -> None:
    storage = MemoryStorage(ConfState(voters=(1,)))
    storage.append([Entry(1, index) for index in range(1, 6)])
    storage.create_snapshot(4, ConfState(voters=(1, 2)), b"four")
    storage.compact(3)
    assert (storage.first_index(), storage.last_index()) == (4, 5)
    assert storage.term(3) == 1
    with pytest.raises(Compacted):
        storage.entries(3, 5)
    with pytest.raises(Unavailable):
        storage.entries(4, 7)
    storage.append([Entry(2, 4), Entry(2, 5)])
    assert [entry.term for entry in storage.entries(4, 6)] == [2, 2]
    assert storage.initial_state()[1] == ConfState(voters=(1, 2))
