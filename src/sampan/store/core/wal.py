"""The write-ahead log's bytes: segment headers, records, and what a damaged one looks like.

A segment file is a 64-byte header, twice, then records, each starting at a multiple of 8 bytes,
then zeros up to the preallocated length. One record of kind ENTRIES is one batch of log entries and
valid as a whole or not at all. Integers are little-endian; docs/formats/store.md has the tables.

The checksum of a record starts from the segment's own random salt, so bytes that a client stored in
a value, or that an older file left on the disk, never pass for a record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from sampan.base.checksum import crc32c

if TYPE_CHECKING:
    from mmap import mmap

__all__ = [
    "BATCH_BYTES",
    "FORMAT_VERSION",
    "HEADER_BYTES",
    "HardState",
    "Record",
    "RecordFlag",
    "RecordKind",
    "SegmentBytes",
    "SegmentHeader",
    "SnapshotMark",
    "Tail",
    "WalFormatError",
    "classify_tail",
    "encode_entries",
    "encode_hard_state",
    "encode_snapshot_mark",
    "find_sound_record",
    "read_records",
]

SegmentBytes: TypeAlias = "bytes | mmap"
"""The content of a segment file, from its header on."""

FORMAT_VERSION: Final = 1
SEGMENT_MAGIC: Final = b"SAMPANWL"
RECORD_MAGIC: Final = b"\xf1Rec"

_SEGMENT: Final = struct.Struct("<8sIIQQQQII4xI")  # see SegmentHeader; the last field is the CRC
_FRAME: Final = struct.Struct("<4sI")  # magic, crc
_HEAD: Final = struct.Struct("<IIHHIQQ")  # payload length, count, kind, flags, 0, term, first index
_RECORD: Final = struct.Struct("<4sIIIHHIQQ")  # the two together
_HARD_STATE: Final = struct.Struct("<QQQ")
_MARK: Final = struct.Struct("<QQ")

HEADER_BYTES: Final = 2 * _SEGMENT.size
RECORD_HEADER_BYTES: Final = _RECORD.size
ALIGNMENT: Final = 8
BATCH_BYTES: Final = 16 << 20
"""A batch with more bytes of entries than this is split over several records."""

_PAD: Final = tuple(bytes(-n % ALIGNMENT) for n in range(ALIGNMENT))


class WalFormatError(ValueError):
    """Bytes that are not what the format says; the message tells which part."""


class RecordKind(IntEnum):
    """What a record holds. A reader skips sound records of a kind that it does not know."""

    ENTRIES = 1
    HARD_STATE = 2
    SNAPSHOT_MARK = 3


class RecordFlag(IntFlag):
    """What is special about an ENTRIES record.

    CONF_CHANGE  its entries change the membership (Raft's ConfChange, encoded)
    HARD_STATE   a hard state follows the entries: durable with them, as one record is atomic
    """

    NONE = 0
    CONF_CHANGE = 1
    HARD_STATE = 2


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The first 64 bytes of a segment: whose log this is and where in it the segment stands.

    They are there twice: without the salt nothing else of the segment could be read.
    """

    cluster_id: int
    member_id: int
    sequence: int
    first_index: int
    salt: int
    format_version: int = FORMAT_VERSION

    def encode(self) -> bytes:
        """Return the two copies, checksums included."""
        head = _SEGMENT.pack(
            SEGMENT_MAGIC,
            self.format_version,
            _SEGMENT.size,
            self.cluster_id,
            self.member_id,
            self.sequence,
            self.first_index,
            self.salt,
            0,
            0,
        )[:-4]
        return 2 * (head + crc32c(head).to_bytes(4, "little"))

    @classmethod
    def decode(cls, data: SegmentBytes) -> SegmentHeader:
        """Read the header from the start of `data`; both copies must be right.

        Raises WalFormatError.
        """
        header = cls._decode_copy(data[: _SEGMENT.size])
        if data[: _SEGMENT.size] != data[_SEGMENT.size : HEADER_BYTES]:
            raise WalFormatError("the second copy of the segment header is damaged")
        return header

    @classmethod
    def salvage(cls, data: SegmentBytes) -> SegmentHeader:
        """Read the header from whichever copy is right. Raises WalFormatError if none is."""
        try:
            return cls._decode_copy(data[: _SEGMENT.size])
        except WalFormatError:
            return cls._decode_copy(data[_SEGMENT.size : HEADER_BYTES])

    @classmethod
    def _decode_copy(cls, data: bytes) -> SegmentHeader:
        if len(data) < _SEGMENT.size:
            raise WalFormatError("segment header is cut short")
        fields = _SEGMENT.unpack(data)
        magic, version, size, cluster_id, member_id, sequence, first_index, salt, _, crc = fields
        if magic != SEGMENT_MAGIC:
            raise WalFormatError("not a write-ahead log segment (wrong magic)")
        if crc != crc32c(data[:-4]):
            raise WalFormatError("segment header has a wrong checksum")
        if version > FORMAT_VERSION or size != _SEGMENT.size:
            raise WalFormatError(
                f"format version {version} is newer than this program's {FORMAT_VERSION}"
            )
        return cls(cluster_id, member_id, sequence, first_index, salt, version)


@dataclass(frozen=True, slots=True)
class HardState:
    """What a member of a cluster must remember before it answers: term, vote, commit index."""

    term: int
    vote: int
    commit: int


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """The log begins anew behind `index`: the backend holds a snapshot of all up to there.

    `term` is that of the entry at `index`.
    """

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class Record:
    """One sound record; `offset` and `end` are its place in the segment (end without a gap).

    An ENTRIES record whose first entry is not behind the last one so far replaces what is there
    from that index on: a new leader's entries take the place of a deposed one's.
    """

    kind: int
    term: int
    first_index: int
    count: int
    offset: int
    end: int
    payload: bytes
    flags: int = 0

    @property
    def last_index(self) -> int:
        """The index of the last entry of an ENTRIES record."""
        return self.first_index + self.count - 1

    def entries(self) -> list[bytes]:
        """Return the entries of an ENTRIES record. Raises WalFormatError."""
        payload = self.payload
        start = 4 * self.count
        lengths = struct.unpack_from(f"<{self.count}I", payload)
        if start + sum(lengths) + self._hard_state_bytes != len(payload):
            raise WalFormatError("entry lengths do not add up to the record's length")
        return [payload[a:b] for a, b in pairwise(accumulate(lengths, initial=start))]

    def hard_state(self) -> HardState | None:
        """Return the hard state in the record, if there is one."""
        if self.kind == RecordKind.HARD_STATE:
            return HardState(*_HARD_STATE.unpack(self.payload))
        if self.kind == RecordKind.ENTRIES and self._hard_state_bytes:
            return HardState(*_HARD_STATE.unpack(self.payload[-_HARD_STATE.size :]))
        return None

    @property
    def _hard_state_bytes(self) -> int:
        return _HARD_STATE.size if self.flags & RecordFlag.HARD_STATE else 0

    def snapshot_mark(self) -> SnapshotMark:
        """Return the value of a SNAPSHOT_MARK record."""
        return SnapshotMark(*_MARK.unpack(self.payload))


def encode_entries(
    salt: int,
    term: int,
    first_index: int,
    entries: Sequence[bytes],
    *,
    flags: int = RecordFlag.NONE,
    hard_state: HardState | None = None,
) -> bytes:
    """Return one ENTRIES record, padded to 8 bytes; `hard_state` goes with it."""
    count = len(entries)
    lengths = struct.pack(f"<{count}I", *map(len, entries))
    payload = lengths + b"".join(entries)
    if hard_state is not None:
        flags |= RecordFlag.HARD_STATE
        payload += _HARD_STATE.pack(hard_state.term, hard_state.vote, hard_state.commit)
    return _encode(salt, RecordKind.ENTRIES, term, first_index, count, payload, flags)


def encode_hard_state(salt: int, state: HardState) -> bytes:
    """Return a HARD_STATE record."""
    payload = _HARD_STATE.pack(state.term, state.vote, state.commit)
    return _encode(salt, RecordKind.HARD_STATE, state.term, 0, 0, payload)


def encode_snapshot_mark(salt: int, mark: SnapshotMark) -> bytes:
    """Return a SNAPSHOT_MARK record."""
    payload = _MARK.pack(mark.index, mark.term)
    return _encode(salt, RecordKind.SNAPSHOT_MARK, mark.term, mark.index, 0, payload)


def _encode(
    salt: int,
    kind: RecordKind,
    term: int,
    first_index: int,
    count: int,
    payload: bytes,
    flags: int = 0,
) -> bytes:
    head = _HEAD.pack(len(payload), count, kind, flags, 0, term, first_index)
    body = head + payload + _PAD[len(payload) % ALIGNMENT]
    return _FRAME.pack(RECORD_MAGIC, crc32c(body, salt)) + body


def read_record(data: SegmentBytes, salt: int, offset: int) -> Record | None:
    """Return the sound record at `offset`, or None if there is none."""
    start = offset + RECORD_HEADER_BYTES
    if start > len(data):
        return None
    fields = _RECORD.unpack_from(data, offset)
    magic, crc, length, count, kind, flags, _, term, first_index = fields
    end = start + length + -length % ALIGNMENT
    if magic != RECORD_MAGIC or end > len(data):
        return None
    body = data[offset + _FRAME.size : end]
    if crc32c(body, salt) != crc:
        return None
    payload = body[_HEAD.size : _HEAD.size + length]
    return Record(kind, term, first_index, count, offset, end, payload, flags)


def read_records(data: SegmentBytes, salt: int, offset: int = HEADER_BYTES) -> Iterator[Record]:
    """Yield the sound records from `offset` on, up to the first place where there is none."""
    while (record := read_record(data, salt, offset)) is not None:
        yield record
        offset = record.end


def find_sound_record(data: SegmentBytes, salt: int, offset: int) -> Record | None:
    """Return the first sound record that starts at or after `offset`."""
    while (offset := data.find(RECORD_MAGIC, offset)) >= 0:
        if offset % ALIGNMENT == 0 and (record := read_record(data, salt, offset)) is not None:
            return record
        offset += 1
    return None


_ZEROS_BYTES: Final = 1 << 20


class Tail(Enum):
    """What follows the last sound record of a segment."""

    CLEAN = "nothing but zeros"
    TORN = "an incomplete record with nothing sound after it"
    DAMAGED = "a damaged record with sound records after it"


def classify_tail(data: SegmentBytes, salt: int, end: int) -> Tail:
    """Tell what follows `end`, the end of the last sound record.

    A write cut short by a crash leaves a torn tail: its batch was never acknowledged. Sound records
    behind an unsound one cannot come from that: a record is durable before the next is written.
    """
    if _only_zeros(data, end):
        return Tail.CLEAN
    if find_sound_record(data, salt, end) is not None:
        return Tail.DAMAGED
    return Tail.TORN


def _only_zeros(data: SegmentBytes, start: int) -> bool:
    zeros = bytes(_ZEROS_BYTES)
    for offset in range(start, len(data), _ZEROS_BYTES):
        piece = data[offset : offset + _ZEROS_BYTES]
        if piece != zeros[: len(piece)]:
            return False
    return True
