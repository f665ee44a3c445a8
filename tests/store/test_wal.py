"""The write-ahead log: its bytes, and what a crash or a bad disk can do to them."""

from __future__ import annotations

import os
import shutil
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.disk import IDENTITY, Lines, entries_of, open_wal, written_wal

from sampan.store.core import wal
from sampan.store.core.wal import HardState, SegmentHeader, SnapshotMark, Tail
from sampan.store.shell.wal_files import (
    WalDamagedError,
    WalFailedError,
    WalIdentity,
    WalIdentityError,
    scan_segments,
    segment_paths,
)
from sampan.store.shell.wal_writer import Wal

U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
ENTRIES = st.lists(st.binary(max_size=40), min_size=1, max_size=8)
BATCHES = [[b"first", b"second"], [b"third"], [b"", b"fifth " * 20]]
ALL = [entry for batch in BATCHES for entry in batch]


@given(U32, st.lists(ENTRIES, max_size=5), U64)
def test_records_come_back_as_they_went(salt: int, batches: list[list[bytes]], term: int) -> None:
    data = bytes(wal.HEADER_BYTES)
    index = 1
    for batch in batches:
        data += wal.encode_entries(salt, term, index, batch)
        index += len(batch)
    records = list(wal.read_records(data + bytes(64), salt))
    assert [record.entries() for record in records] == batches
    assert [record.term for record in records] == [term] * len(batches)
    assert sum(record.count for record in records) == index - 1
    assert all(record.offset % 8 == 0 for record in records)


@given(U64, U64, U64, U64, U32)
def test_header_comes_back(cluster: int, member: int, seq: int, first: int, salt: int) -> None:
    header = SegmentHeader(cluster, member, seq, first, salt)
    assert SegmentHeader.decode(header.encode()) == header


@given(st.integers(0, 8 * wal.HEADER_BYTES - 1))
def test_header_survives_a_flipped_bit_only_for_the_repair(bit: int) -> None:
    header = SegmentHeader(1, 2, 3, 4, 5)
    data = bytearray(header.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(wal.WalFormatError):
        SegmentHeader.decode(bytes(data))
    assert SegmentHeader.salvage(bytes(data)) == header


def test_other_kinds_of_records() -> None:
    data = bytes(wal.HEADER_BYTES)
    data += wal.encode_hard_state(9, HardState(3, 0xA1, 17))
    data += wal.encode_snapshot_mark(9, SnapshotMark(17, 3))
    state, mark = wal.read_records(data, 9)
    assert state.hard_state() == HardState(3, 0xA1, 17)
    assert mark.snapshot_mark() == SnapshotMark(17, 3)


@given(U32, ENTRIES, st.data())
def test_no_flipped_bit_goes_unseen(salt: int, entries: list[bytes], data: st.DataObject) -> None:
    record = bytearray(wal.encode_entries(salt, 1, 1, entries))
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    record[bit // 8] ^= 1 << bit % 8
    assert wal.read_record(bytes(record), salt, 0) is None


def test_a_record_inside_a_value_is_not_mistaken_for_one() -> None:
    inner = wal.encode_entries(1, 1, 2, [b"planted"])
    outer = wal.encode_entries(2, 1, 1, [bytes(4) + inner])
    torn = outer[: len(outer) - 1] + b"?"
    assert wal.classify_tail(torn, 2, 0) is Tail.TORN


def test_a_very_large_batch_is_split(tmp_path: Path) -> None:
    entries = [bytes(6 << 20)] * 3
    log = open_wal(tmp_path, applied_index=9)
    log.append(1, 10, entries)
    assert [each.first_index for each in log.records()] == [10, 11]
    log.close()
    assert entries_of(tmp_path, applied_index=9) == entries


def test_written_batches_are_replayed(tmp_path: Path) -> None:
    written_wal(tmp_path, BATCHES)
    assert entries_of(tmp_path) == ALL


def test_replay_starts_behind_what_the_backend_holds(tmp_path: Path) -> None:
    written_wal(tmp_path, BATCHES)
    assert entries_of(tmp_path, applied_index=1) == ALL[1:]
    assert entries_of(tmp_path, applied_index=5) == []


def test_appending_goes_on_after_reopening(tmp_path: Path) -> None:
    for batch in BATCHES:
        written_wal(tmp_path, [batch])
    assert entries_of(tmp_path) == ALL


def record_ends(path: Path) -> list[int]:
    data = path.read_bytes()
    return [record.end for record in wal.read_records(data, SegmentHeader.decode(data).salt)]


@pytest.mark.parametrize("kept", ["shorter file", "zeros behind", "garbage behind"])
def test_cut_at_every_byte_of_the_last_record(tmp_path: Path, kept: str) -> None:
    path = written_wal(tmp_path / "whole", BATCHES)
    data = path.read_bytes()
    *_, start, end = record_ends(path)
    (tmp_path / "torn").mkdir()
    torn = tmp_path / "torn" / path.name
    for length in range(start, end):
        rest = {"shorter file": b"", "zeros behind": bytes(512), "garbage behind": b"\xee" * 99}
        torn.write_bytes(data[:length] + rest[kept])
        whole = kept == "zeros behind" and not data[length:end].strip(b"\0")
        lines = Lines()
        assert entries_of(tmp_path / "torn", lines=lines) == (ALL if whole else ALL[:3])
        cut = bool(lines.text)
        assert cut == (not whole and (length > start or kept == "garbage behind"))
        assert entries_of(tmp_path / "torn") == (ALL if whole else ALL[:3])
        shutil.rmtree(tmp_path / "torn")
        (tmp_path / "torn").mkdir()


def test_the_log_line_of_a_cut_names_file_and_offset(tmp_path: Path) -> None:
    path = written_wal(tmp_path, BATCHES)
    start = record_ends(path)[-2]
    os.truncate(path, start + 9)
    lines = Lines()
    entries_of(tmp_path, lines=lines)
    (line,) = lines.text
    assert "cut off a torn record" in line
    assert str(path) in line
    assert f'"offset":{start}' in line


def test_writing_goes_on_behind_a_cut(tmp_path: Path) -> None:
    path = written_wal(tmp_path, BATCHES)
    os.truncate(path, record_ends(path)[-2] + 50)
    written_wal(tmp_path, [[b"new"]])
    assert entries_of(tmp_path) == [*ALL[:3], b"new"]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def test_a_flipped_bit_before_a_sound_record_refuses_to_open(tmp_path: Path) -> None:
    path = written_wal(tmp_path, BATCHES)
    ends = record_ends(path)
    starts = [wal.HEADER_BYTES, *ends]
    for offset in range(wal.HEADER_BYTES, ends[-2]):
        flip(path, offset)
        with pytest.raises(WalDamagedError) as caught:
            open_wal(tmp_path)
        assert caught.value.path == path
        assert caught.value.offset == max(each for each in starts if each <= offset)
        assert f"{path} at offset {caught.value.offset}" in str(caught.value)
        assert "sampan etcd repair --data-dir" in str(caught.value)
        flip(path, offset)
    assert entries_of(tmp_path) == ALL


def test_a_flipped_bit_in_a_header_refuses_to_open(tmp_path: Path) -> None:
    path = written_wal(tmp_path, BATCHES)
    for offset in range(wal.HEADER_BYTES):
        flip(path, offset)
        with pytest.raises(WalDamagedError, match="at offset 0"):
            open_wal(tmp_path)
        flip(path, offset)


def segments_of(directory: Path, count: int) -> list[Path]:
    """Fill some segments of 1 MiB with entries of 300 kB."""
    big = open_wal(directory)
    for number in range(3 * count):
        big.append(1, number + 1, [bytes([number]) * 300_000])
    big.close()
    return segment_paths(directory)


def test_rotation_keeps_everything_in_order(tmp_path: Path) -> None:
    paths = segments_of(tmp_path, 3)
    assert len(paths) == 3
    assert [entry[0] for entry in entries_of(tmp_path)] == list(range(9))
    assert all(path.stat().st_size < 1 << 20 for path in paths[:-1]), "the unused rest is freed"


def test_damage_at_the_end_of_a_segment_before_the_last_is_no_torn_write(tmp_path: Path) -> None:
    paths = segments_of(tmp_path, 3)
    os.truncate(paths[1], paths[1].stat().st_size - 10)
    with pytest.raises(WalDamagedError) as caught:
        open_wal(tmp_path)
    assert caught.value.path == paths[1]


def test_a_missing_segment_refuses_to_open(tmp_path: Path) -> None:
    paths = segments_of(tmp_path, 3)
    paths[1].unlink()
    with pytest.raises(WalDamagedError, match="segment 2 is missing"):
        open_wal(tmp_path)


def test_a_missing_first_segment_refuses_to_open_unless_the_backend_has_it(tmp_path: Path) -> None:
    segments_of(tmp_path, 3)[0].unlink()
    with pytest.raises(WalDamagedError, match="entries 1 to 3 are neither here"):
        open_wal(tmp_path)
    assert len(entries_of(tmp_path, applied_index=3)) == 6


def test_segments_are_removed_once_the_backend_holds_them(tmp_path: Path) -> None:
    paths = segments_of(tmp_path, 4)
    log = open_wal(tmp_path)
    log.release(5)
    assert segment_paths(tmp_path) == paths
    log.release(8)
    assert segment_paths(tmp_path) == paths[1:], "one that is not needed is kept"
    log.release(12)
    assert segment_paths(tmp_path) == paths[2:], "and the last is never removed"
    log.close()
    assert [entry[0] for entry in entries_of(tmp_path, applied_index=9)] == [9, 10, 11]


def test_a_log_behind_the_backend_starts_anew(tmp_path: Path) -> None:
    written_wal(tmp_path, BATCHES)
    lines = Lines()
    log = open_wal(tmp_path, applied_index=100, lines=lines)
    log.append(1, 101, [b"next"])
    log.close()
    assert entries_of(tmp_path, applied_index=100) == [b"next"]
    assert "ends before the backend" in lines.text[0]


def test_a_log_of_another_member_is_refused(tmp_path: Path) -> None:
    written_wal(tmp_path, BATCHES)
    with pytest.raises(WalIdentityError, match="belongs to cluster c1 member a1"):
        Wal.open(tmp_path, WalIdentity(0xC1, 0xA2), applied_index=0, log=Lines().log)


def test_a_spare_segment_is_used_and_does_not_stay(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    log.append(1, 1, [bytes(600_000)])
    assert log.wants_spare
    log.prepare_spare()
    assert not log.wants_spare
    log.append(1, 2, [bytes(600_000)])
    log.append(1, 3, [b"x"])
    assert len(segment_paths(tmp_path)) == 2
    log.prepare_spare()
    log.close()
    assert not list(tmp_path.glob("*.tmp"))
    assert entries_of(tmp_path) == [bytes(600_000), bytes(600_000), b"x"]


def test_an_entry_larger_than_a_segment_gets_one_of_its_size(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    log.append(1, 1, [b"small"])
    log.append(1, 2, [bytes(3 << 20)])
    log.close()
    assert [len(entry) for entry in entries_of(tmp_path)] == [5, 3 << 20]


def test_what_a_crash_while_making_a_segment_leaves_is_ignored(tmp_path: Path) -> None:
    written_wal(tmp_path, BATCHES)
    (tmp_path / "next.tmp").write_bytes(b"half a head")
    assert entries_of(tmp_path) == ALL


def test_every_state_that_a_crash_can_leave_holds_what_was_acknowledged(tmp_path: Path) -> None:
    """Cut the power between any two writes: copy the files as they are after each."""
    log = open_wal(tmp_path / "live")
    sizes = [1, 200_000, 50, 500_000, 400_000, 3, 900_000, 7]
    for number, size in enumerate(sizes, 1):
        log.append(1, number, [bytes([number]) * size])
        copy = tmp_path / f"copy{number}"
        shutil.copytree(tmp_path / "live", copy)
        assert [len(entry) for entry in entries_of(copy)] == sizes[:number]
        shutil.rmtree(copy)
    log.close()


def test_a_failed_flush_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_wal(tmp_path)
    log.append(1, 1, [b"good"])

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(log, "_sync", broken)
    with pytest.raises(WalFailedError, match="Input/output error"):
        log.append(1, 2, [b"lost"])
    monkeypatch.undo()
    with pytest.raises(WalFailedError, match="Input/output error"):
        log.append(1, 2, [b"later"])
    log.close()


def test_scan_tells_index_and_term(tmp_path: Path) -> None:
    log = open_wal(tmp_path)
    log.append(4, 1, [b"a", b"b"])
    log.append(5, 3, [b"c"])
    log.close()
    (segment,) = scan_segments(tmp_path, IDENTITY)
    assert (segment.last_index, segment.last_term, segment.tail) == (3, 5, Tail.CLEAN)


def test_entry_lengths_must_add_up() -> None:
    lengths = list(accumulate([1, 2]))
    record = wal.Record(wal.RecordKind.ENTRIES, 1, 1, 2, 0, 0, bytes(8) + bytes(lengths[-1]))
    with pytest.raises(wal.WalFormatError):
        record.entries()
