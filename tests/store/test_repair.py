"""Repair: what is sound is saved into a new directory, what is lost is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.store.disk import Lines, entries_of, open_wal, rev_key

from sampan.store.core import wal
from sampan.store.core.wal import SegmentHeader
from sampan.store.shell.datadir import DataDir, DataDirError, Membership, read_membership
from sampan.store.shell.lmdb_file import LmdbFile
from sampan.store.shell.repair import RepairError, RepairReport, repair
from sampan.store.shell.wal_files import segment_paths
from sampan.store.shell.write_buffer import WriteBuffer

MEMBER = Membership("m", 0xC1, 0xA1)
COUNT = 12


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A directory with log entries 1 to 12, the first four of them in the backend."""
    path = tmp_path / "data"
    directory = DataDir.open(path, MEMBER)
    log = open_wal(directory.wal_path)
    for number in range(1, COUNT + 1):
        log.append(1, number, [b"entry %02d " % number * 20])
    log.close()
    directory.backend_path.parent.mkdir(parents=True)
    backend = LmdbFile(directory.backend_path)
    backend.write(WriteBuffer(revisions={rev_key(each): bytes(900) for each in range(1, 50)}), 4, 1)
    backend.close()
    directory.close()
    return path


def break_record(path: Path, number: int) -> None:
    """Flip a bit in the payload of the log's record with that number."""
    (segment,) = segment_paths(path / "member" / "wal")
    data = bytearray(segment.read_bytes())
    records = list(wal.read_records(bytes(data), SegmentHeader.decode(bytes(data)).salt))
    data[records[number - 1].offset + 60] ^= 1
    segment.write_bytes(data)


def saved_entries(path: Path, applied_index: int = 4) -> list[int]:
    entries = entries_of(path / "member" / "wal", applied_index=applied_index)
    return [int(entry.split()[1]) for entry in entries]


def repaired(path: Path) -> RepairReport:
    return repair(path, path.with_name("saved"), Lines().log)


def test_a_sound_directory_is_copied(damaged: Path, tmp_path: Path) -> None:
    report = repaired(damaged)
    assert (report.backend_index, report.last_index, report.lost) == (4, COUNT, [])
    assert saved_entries(tmp_path / "saved") == list(range(5, COUNT + 1))
    assert read_membership(tmp_path / "saved") == MEMBER
    assert report.lines() == [
        "saved backend: everything up to log entry 4",
        "saved log: entries 5 to 12",
    ]
    backend = LmdbFile(tmp_path / "saved" / "member" / "snap" / "db")
    assert sum(len(chunk) for chunk in backend.load()) == 49
    backend.close()


def test_the_log_up_to_the_damage_is_saved(damaged: Path, tmp_path: Path) -> None:
    break_record(damaged, 9)
    before = {each: each.read_bytes() for each in damaged.rglob("*.wal")}
    report = repaired(damaged)
    assert report.last_index == 8
    assert saved_entries(tmp_path / "saved") == [5, 6, 7, 8]
    assert any("entries 9 to 9, and those behind them" in each for each in report.lost)
    assert before == {each: each.read_bytes() for each in damaged.rglob("*.wal")}


def test_damage_that_the_backend_makes_up_for_loses_nothing(damaged: Path, tmp_path: Path) -> None:
    break_record(damaged, 2)
    report = repaired(damaged)
    assert report.last_index == COUNT
    assert saved_entries(tmp_path / "saved") == list(range(5, COUNT + 1))


def test_a_header_has_a_second_copy(damaged: Path, tmp_path: Path) -> None:
    (segment,) = segment_paths(damaged / "member" / "wal")
    data = bytearray(segment.read_bytes())
    data[50] ^= 4
    segment.write_bytes(data)
    assert repaired(damaged).last_index == COUNT


@pytest.mark.parametrize("harm", ["garbage", "cut short", "missing", "bad page"])
def test_without_the_backend_the_log_is_saved(damaged: Path, tmp_path: Path, harm: str) -> None:
    backend = damaged / "member" / "snap" / "db"
    data = bytearray(backend.read_bytes())
    match harm:
        case "garbage":
            backend.write_bytes(b"?" * 10_000)
        case "cut short":
            os.truncate(backend, 20_000)
        case "missing":
            backend.unlink()
        case "bad page":
            data[2 * 4096 :] = b"\xff" * (len(data) - 2 * 4096)
            backend.write_bytes(data)
    report = repaired(damaged)
    assert (report.backend_index, report.last_index) == (0, COUNT)
    assert saved_entries(tmp_path / "saved", 0) == list(range(1, COUNT + 1))
    assert any("backend" in each for each in report.lost)


def test_lost_metadata_comes_from_the_log(damaged: Path, tmp_path: Path) -> None:
    (damaged / "format.json").write_text("{")
    report = repaired(damaged)
    assert read_membership(tmp_path / "saved") == Membership("default", 0xC1, 0xA1)
    assert report.last_index == COUNT
    assert any("format.json" in each for each in report.lost)


def test_what_cannot_be_done_is_said(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(RepairError, match="is not a directory"):
        repair(tmp_path / "nothing", tmp_path / "saved", Lines().log)
    with pytest.raises(RepairError, match="is not empty"):
        repair(damaged, damaged, Lines().log)
    directory = DataDir.open(damaged, MEMBER)
    with pytest.raises(DataDirError, match="in use"):
        repaired(damaged)
    directory.close()
