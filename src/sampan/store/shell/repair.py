"""Saving what is sound in a damaged data directory into a new one.

The backend is taken if all of it can be read; then every sound log entry that follows it without a
gap. The old directory is not changed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.base.log import Logger
from sampan.store.core import wal
from sampan.store.core.wal import HEADER_BYTES, Record, RecordKind, SegmentHeader
from sampan.store.shell.datadir import DataDir, DataDirError, Membership, lock, read_membership
from sampan.store.shell.lmdb_file import CONSISTENT_INDEX, BackendError, LmdbFile
from sampan.store.shell.wal_files import WalIdentity, clip, make_directory, segment_paths
from sampan.store.shell.wal_writer import Wal

__all__ = ["RepairError", "RepairReport", "repair"]

CHECK_TIMEOUT_S = 3600


class RepairError(SampanError):
    """Nothing can be saved, or the new directory cannot be written."""


@dataclass(slots=True)
class RepairReport:
    """What was saved and what was lost; `lines` is the text for people."""

    backend_index: int = 0
    last_index: int = 0
    lost: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report, one statement a line."""
        saved = [f"backend: everything up to log entry {self.backend_index}"]
        if not self.backend_index:
            saved = ["backend: nothing"]
        if self.last_index > self.backend_index:
            saved.append(f"log: entries {self.backend_index + 1} to {self.last_index}")
        return [*(f"saved {each}" for each in saved), *(f"LOST {each}" for each in self.lost)]


def repair(data_dir: Path, to_dir: Path, log: Logger) -> RepairReport:
    """Save what is sound in `data_dir` into the new directory `to_dir`.

    Raises RepairError, and DataDirError when a server is using `data_dir`.
    """
    if not data_dir.is_dir():
        raise RepairError(f"{data_dir} is not a directory")
    if to_dir.exists() and any(to_dir.iterdir()):
        raise RepairError(f"{to_dir} is not empty: repair into a new directory")
    report = RepairReport()
    held = lock(data_dir)
    try:
        target = DataDir.open(to_dir, _membership(data_dir, report))
        try:
            _save(data_dir, target, report, log)
        finally:
            target.close()
    except OSError as error:
        raise RepairError(f"cannot write {to_dir}: {error.strerror}") from error
    finally:
        held.close()
    return report


def _save(data_dir: Path, target: DataDir, report: RepairReport, log: Logger) -> None:
    backend = data_dir / "member" / "snap" / "db"
    report.backend_index = report.last_index = _save_backend(backend, target, report)
    identity = WalIdentity(target.membership.cluster_id, target.membership.member_id)
    output = Wal.open(target.wal_path, identity, applied_index=report.backend_index, log=log)
    try:
        for record in _records(data_dir / "member" / "wal", report):
            if record.first_index > report.last_index + 1:
                gap = f"entries {report.last_index + 1} to {record.first_index - 1}"
                report.lost.append(f"{gap}, and those behind them, which cannot stand alone")
                break
            if record.last_index > report.last_index:
                output.append(record.term, *clip(record, report.last_index))
                report.last_index = record.last_index
    finally:
        output.close()


def _membership(data_dir: Path, report: RepairReport) -> Membership:
    """Return whose directory it is, from its metadata or from a log segment."""
    try:
        found = read_membership(data_dir)
        if found is not None:
            return found
        reason = "is missing"
    except DataDirError as error:
        reason = str(error)
    for path in segment_paths(data_dir / "member" / "wal"):
        header = _header(path)
        if header is not None:
            report.lost.append(f"format.json ({reason}); the member is now named default")
            return Membership("default", header.cluster_id, header.member_id)
    raise RepairError(f"{data_dir}: neither format.json nor a log segment tells whose it is")


def _header(path: Path) -> SegmentHeader | None:
    with open(path, "rb") as file:
        try:
            return SegmentHeader.salvage(file.read(HEADER_BYTES))
        except wal.WalFormatError:
            return None


def _save_backend(path: Path, target: DataDir, report: RepairReport) -> int:
    """Copy the backend if it is sound; return the index of the last log entry in it."""
    if not path.exists():
        report.lost.append(f"the backend {path}: it does not exist")
        return 0
    to_path = target.backend_path
    make_directory(to_path.parent)
    # A damaged LMDB file can crash the process that maps it, so another one tries.
    command = [sys.executable, "-m", "sampan.store.shell.repair", str(path), str(to_path)]
    child = subprocess.run(
        command, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False
    )
    if child.returncode != 0:
        to_path.unlink(missing_ok=True)
        reason = child.stderr.strip().splitlines()[-1:] or [f"crash {child.returncode}"]
        report.lost.append(f"the backend {path}: {reason[0]}")
        return 0
    return int(child.stdout)


def copy_backend(path: Path, to_path: Path) -> int:
    """Copy a backend after reading all of it; return its consistent index. Raises BackendError."""
    backend = LmdbFile(path)
    try:
        view = backend.view()
        for bucket in view.buckets():
            for _ in view.items(bucket):
                pass
        view.close()
        backend.copy_compact(to_path)
        return int.from_bytes(backend.get("meta", CONSISTENT_INDEX) or b"", "big")
    finally:
        backend.close()


def _records(directory: Path, report: RepairReport) -> Iterator[Record]:
    """Yield the sound records of all segments in order, whatever lies between them."""
    if not directory.is_dir():
        report.lost.append(f"the write-ahead log {directory}: it does not exist")
        return
    for path in segment_paths(directory):
        header = _header(path)
        if header is None:
            report.lost.append(f"{path}: both copies of its header are damaged")
            continue
        with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield from _sound_records(path, data, header.salt, report)


def _sound_records(path: Path, data: mmap, salt: int, report: RepairReport) -> Iterator[Record]:
    offset = HEADER_BYTES
    while True:
        for record in wal.read_records(data, salt, offset):
            if record.kind == RecordKind.ENTRIES:
                yield record
            offset = record.end
        following = wal.find_sound_record(data, salt, offset)
        if following is None:
            if data[offset:].strip(b"\0"):
                report.lost.append(f"{path}: an unsound record at offset {offset}, the last one")
            return
        report.lost.append(f"{path}: bytes {offset} to {following.offset}")
        offset = following.offset


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{copy_backend(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
    except BackendError as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(1)
