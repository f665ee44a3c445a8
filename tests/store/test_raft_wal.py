"""A replicated log in the write-ahead log: replaced tails, votes, snapshots, damage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.store.disk import IDENTITY, Lines, open_wal, written_wal

from sampan.raft import Entry, EntryType, HardState, Ready
from sampan.store.core import wal as format_
from sampan.store.core.wal import SnapshotMark
from sampan.store.shell.raft_wal import Recovered, recover, save
from sampan.store.shell.wal_files import WalDamagedError, segment_paths
from sampan.store.shell.wal_writer import Wal

ME = IDENTITY.member_id


def work(
    *entries: Entry, term: int = 0, vote: int = 0, commit: int = 0, must_sync: bool = True
) -> Ready:
    state = HardState(term, vote, commit) if term else None
    return Ready(entries=entries, hard_state=state, must_sync=must_sync)


def reopened(directory: Path, *, applied_index: int = 0) -> Recovered:
    log = open_wal(directory, applied_index=applied_index)
    try:
        return recover(log, ME, applied_index)
    finally:
        log.close()


def saved(directory: Path, batches: Sequence[Sequence[Ready]]) -> Recovered:
    log = open_wal(directory)
    for batch in batches:
        save(log, batch)
    log.close()
    return reopened(directory)


def run_of(term: int, first: int, count: int) -> list[Entry]:
    return [Entry(term, first + at, b"%d/%d" % (term, first + at)) for at in range(count)]


def test_entries_terms_and_votes_come_back(tmp_path: Path) -> None:
    entries = [*run_of(1, 1, 3), *run_of(2, 4, 2)]
    change = Entry(2, 6, b"change", EntryType.CONF_CHANGE)
    found = saved(tmp_path, [[work(*entries, change, term=2, vote=7, commit=3)]])
    assert list(found.entries) == [*entries, change]
    assert found.hard_state == HardState(2, 7, 3)
    assert found.base == (0, 0)


def test_a_new_leaders_entries_replace_the_tail(tmp_path: Path) -> None:
    old, new = run_of(1, 1, 5), run_of(3, 3, 1)
    found = saved(tmp_path, [[work(*old, term=1, vote=1)], [work(*new, term=3, vote=2)]])
    assert list(found.entries) == [*old[:2], *new]
    assert found.hard_state == HardState(3, 2, 0)


def test_several_works_are_one_flush(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    flushes: list[int] = []
    log._sync = flushes.append
    first, second = run_of(1, 1, 2), run_of(1, 3, 2)
    save(log, [work(*first, term=1, vote=1), work(*second, term=1, vote=1, commit=2)])
    log.close()
    assert len(flushes) == 1
    assert list(reopened(tmp_path).entries) == [*first, *second]


def test_a_commit_index_alone_is_not_worth_a_flush(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    assert not save(log, [work(term=1, vote=1, commit=9, must_sync=False)])
    log.close()
    assert reopened(tmp_path).hard_state == HardState()


def test_a_vote_without_entries_is_durable(tmp_path: Path) -> None:
    assert saved(tmp_path, [[work(term=4, vote=3)]]).hard_state == HardState(4, 3, 0)


def test_a_vote_outlives_the_segment_it_was_written_in(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    save(log, [work(term=5, vote=3)])
    large = [Entry(5, index, bytes(200_000)) for index in range(1, 30)]
    for entry in large:
        save(log, [work(entry)])
    log.release(20)
    log.close()
    assert len(segment_paths(tmp_path)) < 6, "old segments are gone"
    found = reopened(tmp_path, applied_index=20)
    assert (found.hard_state.term, found.hard_state.vote) == (5, 3)
    assert found.base[1] == 5 and found.base[0] <= 20
    assert [each.index for each in found.entries][-1] == 29


def test_the_log_begins_anew_behind_a_snapshot(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    save(log, [work(*run_of(1, 1, 5), term=1, vote=1)])
    log.begin_behind(SnapshotMark(100, 7), format_.HardState(7, 2, 100))
    save(log, [work(*run_of(7, 101, 2))])
    log.close()
    found = reopened(tmp_path, applied_index=100)
    assert found.base == (100, 7)
    assert [each.index for each in found.entries] == [101, 102]
    assert found.hard_state == HardState(7, 2, 100)


def test_a_log_whose_oldest_entry_is_the_next_to_apply_keeps_it(tmp_path: Path) -> None:
    log = open_wal(tmp_path, applied_index=7)
    save(log, [work(*run_of(3, 8, 2), term=3, vote=1)])
    log.close()
    log = open_wal(tmp_path, applied_index=7)
    found = recover(log, ME, 7, 2)
    log.close()
    assert found.base == (7, 2)
    assert list(found.entries) == run_of(3, 8, 2)


def test_a_member_of_several_whose_log_lost_its_end_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, [[work(*run_of(1, 1, 5), term=1, vote=1)]])
    with pytest.raises(WalDamagedError, match="entries 6 to 9 are in the backend, but not here"):
        open_wal(tmp_path, applied_index=9)
    assert list(reopened(tmp_path).entries) == run_of(1, 1, 5), "nothing was thrown away"


def test_a_lone_members_log_becomes_that_of_a_member(tmp_path: Path) -> None:
    written_wal(tmp_path, [[b"a", b"b"], [b"c"]])
    found = reopened(tmp_path)
    assert [each.data for each in found.entries] == [b"a", b"b", b"c"]
    assert found.hard_state == HardState(1, ME, 3), "all of it is committed, and it leads"


def test_an_empty_log_promises_nothing(tmp_path: Path) -> None:
    assert reopened(tmp_path) == Recovered((0, 0), [], HardState())


@pytest.mark.parametrize("place", ["entry", "vote"])
def test_a_flipped_bit_before_sound_records_is_refused(tmp_path: Path, place: str) -> None:
    log = open_wal(tmp_path)
    save(log, [work(*run_of(1, 1, 2))])
    save(log, [work(term=2, vote=1)])
    save(log, [work(*run_of(2, 3, 1))])
    log.close()
    path = segment_paths(tmp_path)[-1]
    data = bytearray(path.read_bytes())
    at = data.index(b"1/2") if place == "entry" else data.index(bytes([2, 0, 0, 0, 0, 0, 0, 0, 1]))
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(WalDamagedError, match="sampan etcd repair"):
        open_wal(tmp_path)


def test_a_write_that_a_crash_cut_short_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    save(log, [work(*run_of(1, 1, 2), term=1, vote=1)])
    end = log._offset
    save(log, [work(*run_of(2, 2, 3), term=2, vote=2)])
    log.close()
    path = segment_paths(tmp_path)[-1]
    with open(path, "r+b") as file:
        file.truncate(end + 20)
    lines = Lines()
    torn = Wal.open(tmp_path, IDENTITY, applied_index=0, log=lines.log, segment_bytes=1 << 20)
    found = recover(torn, ME, 0)
    torn.close()
    assert list(found.entries) == run_of(1, 1, 2), "the tail and the vote come together or not"
    assert found.hard_state == HardState(1, 1, 0)
    assert any("torn" in line for line in lines.text)


def test_a_member_with_a_vote_and_no_entries_begins_at_nothing(tmp_path: Path) -> None:
    """It joined, heard of a term and restarted; the leader's first entry must fit."""
    found = saved(tmp_path, [[work(term=8, vote=1)]])
    assert (found.base, found.entries) == ((0, 0), [])
    assert found.hard_state == HardState(8, 1, 0)
