"""The open write-ahead log: appends batches, makes them durable, rotates and removes segments."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sampan.base.errors import invariant
from sampan.base.log import Level, Logger
from sampan.store.core import wal
from sampan.store.core.wal import (
    HEADER_BYTES,
    HardState,
    Record,
    RecordFlag,
    SegmentHeader,
    SnapshotMark,
    Tail,
)
from sampan.store.shell import wal_files
from sampan.store.shell.failpoints import hit
from sampan.store.shell.wal_files import (
    NO_SPACE,
    SEGMENT_BYTES,
    NoSpaceError,
    Segment,
    WalDamagedError,
    WalFailedError,
    WalIdentity,
)

__all__ = ["Wal"]

MIN_SEGMENT_BYTES: Final = 1 << 20
FIRST_SEGMENT_BYTES: Final = 4 << 20
"""Size of the very first segment: small, so that a new log is quickly there."""
FILL_BYTES: Final = 1 << 20

KEPT_SEGMENTS: Final = 1
"""How many segments that nobody needs any more are kept behind the oldest needed one."""

SPARE_NAME: Final = "spare.tmp"


class Wal:
    """An append-only log of entries in one directory.

    `append` is for one thread at a time; `release` and `prepare_spare` may run in another one.
    """

    def __init__(
        self,
        directory: Path,
        identity: WalIdentity,
        segments: list[Segment],
        *,
        segment_bytes: int,
        fsync: bool,
    ) -> None:
        self._directory = directory
        self._identity = identity
        self._segments = segments  # all but the last are complete
        self._segment_bytes = segment_bytes
        self._sync: Callable[[int], None] = os.fdatasync if fsync else _no_sync
        self._fsync = fsync
        self._lock = threading.Lock()  # over _segments and _spare
        self._spare: Path | None = None
        self._preparing = False
        self._first_is_small = False
        self._short = False  # no space was left for the last segment that was asked for
        self._failed: str | None = None
        self._fd = -1
        self._salt = 0
        self._offset = 0
        self._capacity = 0
        self._last_index = 0
        self.hard_state = segments[-1].hard_state if segments else None

    @classmethod
    def open(
        cls,
        directory: Path,
        identity: WalIdentity,
        *,
        applied_index: int,
        log: Logger,
        segment_bytes: int = SEGMENT_BYTES,
        fsync: bool = True,
    ) -> Wal:
        """Open or create the log in `directory`; `applied_index` is what the backend holds.

        Verifies everything; cuts a torn tail off with a log line.
        Raises WalDamagedError, WalIdentityError, NoSpaceError.
        """
        wal_files.make_directory(directory)
        for leftover in directory.glob("*.tmp"):
            leftover.unlink()
        segments = wal_files.scan_segments(directory, identity)
        if segments and segments[-1].tail is Tail.TORN:
            torn = segments[-1]
            segments[-1] = wal_files.cut(torn)
            where = {"path": str(torn.path), "offset": torn.end, "last-index": torn.last_index}
            log.log(Level.WARN, "cut off a torn record at the end of the write-ahead log", where)
        segments = _matching(segments, applied_index, log)
        self = cls(directory, identity, segments, segment_bytes=segment_bytes, fsync=fsync)
        if segments:
            self._resume(segments[-1])
        else:
            self._start_segment(1, applied_index + 1, 0)
        return self

    @property
    def last_index(self) -> int:
        """The index of the last entry that is written and durable."""
        return self._last_index

    @property
    def last_term(self) -> int:
        """The term of the last entry found at opening, 0 if there was none."""
        return self._segments[-1].last_term

    def replay(self, after_index: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (first index, entries) of everything after `after_index`, in order.

        For a log to which nothing was appended since it was opened.
        """
        following = after_index + 1
        for record in wal_files.read_entries(list(self._segments), after_index):
            first_index, entries = wal_files.clip(record, after_index)
            invariant(first_index == following, f"log entry {following} is missing at replay")
            following = first_index + len(entries)
            yield first_index, entries

    def records(self) -> Iterator[Record]:
        """Yield every record there is, oldest first; for a log just opened."""
        return wal_files.read_all(list(self._segments))

    def append(
        self,
        term: int,
        first_index: int,
        entries: Sequence[bytes],
        *,
        flags: int = RecordFlag.NONE,
        hard_state: HardState | None = None,
    ) -> None:
        """Write the entries as one batch and make them durable, with `hard_state` if given.

        They replace what is there from `first_index` on. Raises NoSpaceError (nothing was written,
        the log goes on) or WalFailedError (for good).
        """
        self._check_usable()
        if len(entries) > 1 and sum(map(len, entries)) > wal.BATCH_BYTES:
            # A record is durable before the next is written; and a rotation changes the salt.
            half = len(entries) // 2
            self.append(term, first_index, entries[:half], flags=flags)
            rest = entries[half:]
            self.append(term, first_index + half, rest, flags=flags, hard_state=hard_state)
            return
        self._put(
            lambda salt: wal.encode_entries(
                salt, term, first_index, entries, flags=flags, hard_state=hard_state
            ),
            first_index,
        )
        self._last_index = first_index + len(entries) - 1
        if hard_state is not None:
            self.hard_state = hard_state

    def save_hard_state(self, state: HardState) -> None:
        """Make term, vote and commit index durable. Raises as `append`."""
        self._check_usable()
        self._put(lambda salt: wal.encode_hard_state(salt, state), self._last_index + 1)
        self.hard_state = state

    def begin_behind(self, mark: SnapshotMark, state: HardState) -> None:
        """Let the log begin anew behind a snapshot, durably. Raises as `append`."""
        self._check_usable()
        self._put(lambda salt: wal.encode_snapshot_mark(salt, mark), mark.index + 1)
        self._last_index = mark.index
        self.save_hard_state(state)

    def _put(self, encode: Callable[[int], bytes], next_index: int) -> None:
        """Write what `encode` makes with the segment's salt, in the next segment if need be."""
        record = encode(self._salt)
        if self._offset + len(record) > self._capacity:
            self._rotate(next_index, len(record))
            record = encode(self._salt)
        self._write(record)

    def _write(self, record: bytes) -> None:
        try:
            hit("walBeforeSave")
            written = os.pwrite(self._fd, record, self._offset)
            while written < len(record):
                written += os.pwrite(self._fd, record[written:], self._offset + written)
        except OSError as error:
            self._undo(error)
        try:
            hit("walBeforeSync")
            self._sync(self._fd)
            hit("walAfterSync")
        except OSError as error:
            # The kernel may have dropped the pages: that a second flush succeeds proves nothing.
            self._fail(error)
        self._offset += len(record)
        hit("walAfterSave")

    def _undo(self, error: OSError) -> None:
        """Cut back to the last good record after a failed write, and raise what it means."""
        if error.errno not in NO_SPACE:
            self._fail(error)
        try:
            os.ftruncate(self._fd, self._offset)
            self._sync(self._fd)
        except OSError as second:
            self._fail(second)
        raise self._no_space(error) from error

    def _fail(self, error: OSError) -> None:
        self._failed = f"write-ahead log {self._directory} failed: {error.strerror or error}"
        raise WalFailedError(self._failed) from error

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise WalFailedError(self._failed)

    def _no_space(self, error: OSError) -> NoSpaceError:
        return NoSpaceError(
            f"no space for the write-ahead log in {self._directory} ({error.strerror}):"
            " free some space on that file system; nothing acknowledged is lost"
        )

    def _rotate(self, first_index: int, record_bytes: int) -> None:
        """Go on in a new segment that has room for the record. Raises NoSpaceError."""
        old, old_fd, old_end = self._segments[-1], self._fd, self._offset
        last_index, state = self._last_index, self.hard_state
        # An older segment may hold the only copy of the hard state: a newer one begins with it.
        first = b"" if state is None else wal.encode_hard_state(0, state)
        self._start_segment(old.header.sequence + 1, first_index, len(first) + record_bytes)
        with self._lock:
            self._segments[-2] = replace(old, end=old_end, last_index=last_index)
        os.ftruncate(old_fd, old_end)  # gives the unused rest back; its length is not vital
        os.close(old_fd)
        if state is not None:
            self._write(wal.encode_hard_state(self._salt, state))

    def _start_segment(self, sequence: int, first_index: int, record_bytes: int) -> None:
        header = wal_files.fresh_header(self._identity, sequence, first_index)
        path = self._directory / wal_files.segment_name(sequence, first_index)
        least = HEADER_BYTES + record_bytes
        with self._lock:
            try:
                fd = self._place(header, path, least)
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise self._no_space(error) from error
                self._fail(error)
            self._segments.append(
                Segment(path, header, HEADER_BYTES, first_index - 1, 0, Tail.CLEAN)
            )
        self._fd = fd
        self._salt = header.salt
        self._offset = HEADER_BYTES
        self._capacity = max(os.fstat(fd).st_size, least)
        self._last_index = first_index - 1

    def _place(self, header: SegmentHeader, path: Path, least: int) -> int:
        """Make the segment file, whole or not at all, and return its descriptor."""
        temporary, self._spare = self._spare or self._next(header.sequence, least), None
        fd = os.open(temporary, os.O_RDWR)
        try:
            if os.fstat(fd).st_size < least:
                _reserve(fd, least)
            os.pwrite(fd, header.encode(), 0)
            if self._fsync:
                os.fsync(fd)
            temporary.rename(path)
            if self._fsync:
                wal_files.fsync_directory(self._directory)
        except OSError:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        return fd

    def _next(self, sequence: int, least: int) -> Path:
        """Make a segment file that is needed now."""
        first = sequence == 1 and self._segment_bytes > FIRST_SEGMENT_BYTES
        usual = FIRST_SEGMENT_BYTES if first else self._segment_bytes
        path = self._allocate("next.tmp", least, usual, fill=first)
        self._first_is_small = first and path.stat().st_size == usual
        return path

    def _allocate(self, name: str, least: int, usual: int, *, fill: bool) -> Path:
        """Preallocate a file, of the usual size or what the free space suggests."""
        path = self._directory / name
        self._short = True
        fs = os.statvfs(self._directory)
        room = fs.f_bavail * fs.f_frsize // 8
        size = max(least, min(usual, max(room, MIN_SEGMENT_BYTES)))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _reserve(fd, size)
            if fill and self._fsync:
                _fill(fd, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(fd)
        self._short = False
        return path

    def _resume(self, last: Segment) -> None:
        self._fd = os.open(last.path, os.O_RDWR)
        self._salt = last.header.salt
        self._offset = last.end
        self._capacity = os.fstat(self._fd).st_size
        self._last_index = last.last_index
        with contextlib.suppress(OSError):  # the rest may be a hole; `append` finds out
            _reserve(self._fd, self._capacity)
        try:
            # A killed process may have written a record without flushing it; it is about to be
            # applied and read, so from now on it must not be lost.
            self._sync(self._fd)
        except OSError as error:
            self._fail(error)

    @property
    def wants_spare(self) -> bool:
        """Whether no next segment is prepared, and this one is half full or a small first one."""
        if self._spare is not None or self._preparing:
            return False
        return 2 * self._offset > self._capacity or self._first_is_small

    def prepare_spare(self) -> None:
        """Preallocate the next segment. Raises NoSpaceError, while this one still has room.

        It is written full of zeros, which takes a while: call it in a thread of its own.
        """
        with self._lock:
            if self._spare is not None or self._preparing:
                return
            self._preparing = True
        try:
            spare = self._allocate(SPARE_NAME, HEADER_BYTES, self._segment_bytes, fill=True)
            with self._lock:
                self._spare = spare
                self._first_is_small = False
        except OSError as error:
            raise self._no_space(error) from error
        finally:
            self._preparing = False

    def release(self, index: int) -> None:
        """Remove segments whose entries are all at or before `index`, except the newest one."""
        with self._lock:
            kept = 0 if self._short else KEPT_SEGMENTS
            free = sum(each.last_index <= index for each in self._segments[:-1]) - kept
            if free <= 0:
                return
            gone, self._segments[:free] = self._segments[:free], []
        for segment in gone:
            segment.path.unlink(missing_ok=True)
            if self._fsync:  # one after the other, or a power cut could leave a gap
                wal_files.fsync_directory(self._directory)

    def close(self) -> None:
        """Close the file; everything appended is durable already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._failed = f"write-ahead log {self._directory} is closed"
        (self._directory / SPARE_NAME).unlink(missing_ok=True)


def _reserve(fd: int, size_bytes: int) -> None:
    """Make sure that the file's first bytes can be written without asking for space."""
    try:
        os.posix_fallocate(fd, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(fd, size_bytes)  # a file system that cannot preallocate


def _fill(fd: int, size_bytes: int) -> None:
    """Write zeros: to flush what overwrites them needs no turn of the file system's journal."""
    zeros = bytes(FILL_BYTES)
    for offset in range(0, size_bytes, FILL_BYTES):
        os.pwrite(fd, zeros[: size_bytes - offset], offset)
    os.fsync(fd)


def _no_sync(fd: int) -> None:
    """Leave it to the kernel when to write (unsafe: a power cut loses acknowledged writes)."""


def _matching(segments: list[Segment], applied_index: int, log: Logger) -> list[Segment]:
    """Return the segments to go on with for a backend that holds everything to `applied_index`."""
    if not segments:
        return segments
    first, last = segments[0], segments[-1]
    if first.header.first_index > applied_index + 1:
        missing = f"entries {applied_index + 1} to {first.header.first_index - 1}"
        raise WalDamagedError(first.path, 0, f"{missing} are neither here nor in the backend")
    if last.last_index >= applied_index:
        return segments
    if last.hard_state is not None:
        # With the entries the votes behind them may be gone, and others count on those.
        missing = f"entries {last.last_index + 1} to {applied_index}"
        raise WalDamagedError(last.path, last.end, f"{missing} are in the backend, but not here")
    log.log(
        Level.WARN,
        "the write-ahead log ends before the backend; starting a new one behind it",
        {"last-index": last.last_index, "consistent-index": applied_index},
    )
    for segment in segments:
        segment.path.unlink()
    return []
