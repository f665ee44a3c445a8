"""The write-ahead log on disk: a directory of preallocated segment files, written append-only.

    WalError                 the log cannot be used; SampanError
      WalDamagedError        what is on disk is damaged: names file, offset and the cure
      WalIdentityError       the log belongs to another cluster or member
      WalFailedError         a write or flush failed; the log takes nothing more
      NoSpaceError           no room for a record; nothing of it is in the log, others may follow

A crash leaves at most one torn record at the very end, which is cut off. Anything else that is not
sound refuses to open: what lies behind it was acknowledged once.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from sampan.base.errors import SampanError
from sampan.store.core import wal
from sampan.store.core.log import LogFullError
from sampan.store.core.wal import (
    HEADER_BYTES,
    HardState,
    Record,
    RecordKind,
    SegmentHeader,
    Tail,
)

__all__ = [
    "SEGMENT_BYTES",
    "NoSpaceError",
    "Segment",
    "WalDamagedError",
    "WalError",
    "WalFailedError",
    "WalIdentity",
    "WalIdentityError",
    "fsync_directory",
    "holds_nothing",
    "make_directory",
    "read_all",
    "read_segment",
    "scan_segments",
    "segment_paths",
]

SEGMENT_BYTES: Final = 64 << 20
"""Size of a segment file unless little space is left."""

SEGMENT_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.wal")
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CURE: Final = (
    "`sampan etcd repair --data-dir X --to Y` saves what is sound into a new directory; a member "
    "among several is rather removed (`etcdctl member remove`) and added again, with an empty one"
)


class WalError(SampanError):
    """The write-ahead log cannot be used."""


class WalDamagedError(WalError):
    """A segment is damaged at `offset` in bytes, other than by a torn last write."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(f"write-ahead log damaged: {path} at offset {offset}: {reason}; {CURE}")
        self.path = path
        self.offset = offset
        self.reason = reason


class WalIdentityError(WalError):
    """The log was written by another cluster or member."""


class WalFailedError(WalError):
    """A write or flush failed; whether the last entries are on disk is unknown."""


class NoSpaceError(WalError, LogFullError):
    """The disk is full: the record is not in the log and leaves no trace there."""


@dataclass(frozen=True, slots=True)
class WalIdentity:
    """Whose log it is."""

    cluster_id: int
    member_id: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file that was read: all its records from the header up to `end` are sound.

    `last_index` is that of the last entry up to here (of an earlier segment if this has none),
    `last_term` its term, `hard_state` the newest up to here. `tail` tells what follows `end`.
    """

    path: Path
    header: SegmentHeader
    end: int
    last_index: int
    last_term: int
    tail: Tail
    hard_state: HardState | None = None


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make a directory, private, with those above it; durably, so that no power cut undoes it."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    fsync_directory(path.parent)


def segment_name(sequence: int, first_index: int) -> str:
    """Return the file name of a segment."""
    return f"{sequence:016x}-{first_index:016x}.wal"


def segment_paths(directory: Path) -> list[Path]:
    """Return the segment files of a log, oldest first."""
    return sorted(each for each in directory.iterdir() if SEGMENT_NAME.fullmatch(each.name))


def _used_bytes(fd: int) -> int:
    """Return where the last data of a sparse or preallocated file ends, rounded up."""
    size = os.fstat(fd).st_size
    end = 0
    try:
        while end < size:
            end = os.lseek(fd, os.lseek(fd, end, os.SEEK_DATA), os.SEEK_HOLE)
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: no data after `end`
            return size
    return end


class _Content:
    """The bytes of a segment file up to its last data, mapped while the context lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap | None = None

    def __enter__(self) -> mmap | bytes:
        with open(self._path, "rb") as file:
            used = _used_bytes(file.fileno())
            if not used:
                return b""
            self._map = mmap(file.fileno(), used, access=ACCESS_READ)
        return self._map

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()


def holds_nothing(directory: Path) -> bool:
    """Tell whether no record was ever durable in a log; also when there is no log."""
    paths = segment_paths(directory) if directory.is_dir() else []
    if len(paths) > 1:
        return False
    for path in paths:
        with _Content(path) as data:
            try:
                header = SegmentHeader.decode(data)
            except wal.WalFormatError:
                return False
            return wal.find_sound_record(data, header.salt, HEADER_BYTES) is None
    return True


def read_segment(
    path: Path, last_index: int, last_term: int = 0, hard_state: HardState | None = None
) -> Segment:
    """Read a segment whose predecessor ends at entry `last_index`; verify every checksum.

    Raises WalDamagedError for a bad header and for entries that leave a gap.
    """
    with _Content(path) as data:
        try:
            header = SegmentHeader.decode(data)
        except wal.WalFormatError as error:
            raise WalDamagedError(path, 0, str(error)) from None
        end = HEADER_BYTES
        for record in wal.read_records(data, header.salt):
            if record.kind == RecordKind.ENTRIES:
                if record.first_index > last_index + 1:
                    reason = f"entries {last_index + 1} to {record.first_index - 1} are missing"
                    raise WalDamagedError(path, record.offset, reason)
                last_index, last_term = record.last_index, record.term
            elif record.kind == RecordKind.SNAPSHOT_MARK:
                mark = record.snapshot_mark()
                last_index, last_term = mark.index, mark.term
            hard_state = record.hard_state() or hard_state
            end = record.end
        tail = wal.classify_tail(data, header.salt, end)
    return Segment(path, header, end, last_index, last_term, tail, hard_state)


def scan_segments(directory: Path, identity: WalIdentity | None) -> list[Segment]:
    """Read and verify all segments of a log, oldest first; only the last may have a torn tail.

    Raises WalDamagedError, WalIdentityError.
    """
    segments: list[Segment] = []
    for path in segment_paths(directory):
        before = segments[-1] if segments else None
        if before is not None and before.tail is not Tail.CLEAN:
            raise WalDamagedError(before.path, before.end, "unsound record before another segment")
        segment = _next_segment(path, before)
        if identity is not None:
            _check_identity(path, segment.header, identity)
        if segment.tail is Tail.DAMAGED:
            raise WalDamagedError(path, segment.end, "unsound record with sound records after it")
        segments.append(segment)
    return segments


def _next_segment(path: Path, before: Segment | None) -> Segment:
    match = SEGMENT_NAME.fullmatch(path.name)
    sequence, first_index = (int(each, 16) for each in match.groups()) if match else (0, 0)
    if before is None:
        segment = read_segment(path, first_index - 1)
    elif sequence != before.header.sequence + 1:
        raise WalDamagedError(path, 0, f"segment {before.header.sequence + 1} is missing")
    else:
        segment = read_segment(path, before.last_index, before.last_term, before.hard_state)
    header = segment.header
    if (header.sequence, header.first_index) != (sequence, first_index):
        raise WalDamagedError(path, 0, "the header does not match the file's name")
    return segment


def _check_identity(path: Path, header: SegmentHeader, identity: WalIdentity) -> None:
    found = WalIdentity(header.cluster_id, header.member_id)
    if found != identity:
        raise WalIdentityError(
            f"{path} belongs to cluster {found.cluster_id:x} member {found.member_id:x},"
            f" not to cluster {identity.cluster_id:x} member {identity.member_id:x}:"
            " use another data directory or the flags it was made with"
        )


def read_entries(segments: Sequence[Segment], after_index: int) -> Iterator[Record]:
    """Yield the ENTRIES records with an entry behind `after_index`, in file order."""
    for segment in segments:
        if segment.last_index <= after_index:
            continue
        with _Content(segment.path) as data:
            for record in wal.read_records(data, segment.header.salt):
                if record.kind == RecordKind.ENTRIES and record.last_index > after_index:
                    yield record
                if record.end >= segment.end:
                    break


def read_all(segments: Sequence[Segment]) -> Iterator[Record]:
    """Yield every sound record, in file order."""
    for segment in segments:
        with _Content(segment.path) as data:
            for record in wal.read_records(data, segment.header.salt):
                yield record
                if record.end >= segment.end:
                    break


def clip(record: Record, after_index: int) -> tuple[int, list[bytes]]:
    """Return (first index, entries) of a record without what is at or before `after_index`."""
    entries = record.entries()
    skip = max(0, after_index + 1 - record.first_index)
    return record.first_index + skip, entries[skip:]


def fresh_header(identity: WalIdentity, sequence: int, first_index: int) -> SegmentHeader:
    """Return the header of a new segment, with a salt of its own."""
    salt = secrets.randbits(32)
    return SegmentHeader(identity.cluster_id, identity.member_id, sequence, first_index, salt)


def cut(segment: Segment) -> Segment:
    """Cut a torn tail off, durably."""
    fd = os.open(segment.path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        os.ftruncate(fd, segment.end)
        os.ftruncate(fd, max(size, segment.end))
        os.fsync(fd)
    finally:
        os.close(fd)
    return replace(segment, tail=Tail.CLEAN)
