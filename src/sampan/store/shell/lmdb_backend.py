"""The backend on disk: write buffers in front of an LMDB file, committed in the background."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

import lmdb

from sampan.store.core.backend import META_BUCKET
from sampan.store.shell.failpoints import hit
from sampan.store.shell.lmdb_file import (
    CONSISTENT_INDEX,
    TERM,
    BackendError,
    LmdbFile,
    LmdbView,
    is_no_space,
)
from sampan.store.shell.wal_files import fsync_directory, make_directory
from sampan.store.shell.write_buffer import Pairs, WriteBuffer

__all__ = ["BackendFullError", "BackendReports", "LmdbBackend"]

COMMIT_INTERVAL_S: Final = 0.1
SCAN_CHUNK: Final = 1000
RESERVE_BYTES: Final = 512 << 10


class BackendFullError(BackendError):
    """No disk space for a commit; it is tried again, and the log keeps what it holds."""


class Reserve:
    """A file that only takes up space, to give it up when the disk is full.

    To free pages LMDB has to write some: without a reserve a compaction could not help.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held = False

    def take(self) -> None:
        """Take up the space if there is enough left."""
        try:
            with open(self._path, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
            self.held = True
        except OSError:
            self._path.unlink(missing_ok=True)

    def give_up(self) -> bool:
        """Free the space; return whether there was any."""
        held, self.held = self.held, False
        self._path.unlink(missing_ok=True)
        return held


class BackendReports(Protocol):
    """What the owner of a backend tells it and hears from it, on the event loop."""

    def applied(self) -> tuple[int, int]:
        """Return index and term of the last log entry whose writes are in the backend."""

    def committed(self, index: int) -> None:
        """Hear that log entries up to `index` are not needed for a replay any more."""

    def commit_failed(self, error: BackendError) -> None:
        """Hear that a commit failed (BackendFullError: the disk is full); it is tried again."""


class LmdbBackend:
    """A `Backend` in one LMDB file, for one event loop.

    Reads see everything written: in the buffer, in the one being committed, or in the file.
    """

    def __init__(self, path: Path, *, quota_bytes: int = 0, fsync: bool = True) -> None:
        make_directory(path.parent)
        self._compacted = path.with_name(path.name + ".compacted.tmp")
        self._compacted.unlink(missing_ok=True)
        self._file = LmdbFile(path, map_bytes=4 * quota_bytes, fsync=fsync)
        if fsync:
            fsync_directory(path.parent)
        self._buffer = WriteBuffer()
        self._committing: WriteBuffer | None = None
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        self._reserve.take()
        self.consistent_index = self._number(CONSISTENT_INDEX)
        self.term = self._number(TERM)
        self._reports: BackendReports | None = None
        self._observe_commit: Callable[[float], object] | None = None
        self._halted = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="backend")
        self._writing = asyncio.Lock()
        self._views = 0
        self._no_views = asyncio.Event()
        self._no_views.set()
        self._stable = asyncio.Event()  # cleared while the file is about to be replaced
        self._stable.set()
        self.revisions = self._buffer.revisions

    def _number(self, name: bytes) -> int:
        return int.from_bytes(self._file.get(META_BUCKET, name) or b"", "big")

    @property
    def size_bytes(self) -> int:
        """Bytes allocated on disk as of the last commit."""
        return self._file.size_bytes

    @property
    def size_in_use_bytes(self) -> int:
        """Bytes of it that hold data."""
        return self._file.size_in_use_bytes

    def revision(self, rev_key: bytes) -> bytes | None:
        """Return the raw value at a packed revision."""
        raw = self.revisions.get(rev_key)
        if raw is not None:
            return raw
        if rev_key in self._buffer.deleted:
            return None
        committing = self._committing
        if committing is not None:
            raw = committing.revisions.get(rev_key)
            if raw is not None:
                return raw
            if rev_key in committing.deleted:
                return None
        return self._file.revision(rev_key)

    def scan_revisions(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (rev_key, raw) with start <= rev_key < end, ascending, in pieces as of then."""
        more = True
        while more:
            pairs, more = self._file.chunk("key", start, end, SCAN_CHUNK)
            limit = pairs[-1][0] + b"\0" if more else end
            if self._committing is not None:
                pairs = _merge(pairs, self._committing, start, limit)
            yield from _merge(pairs, self._buffer, start, limit)
            start = limit or b""

    def delete_revisions(self, rev_keys: Iterable[bytes]) -> None:
        """Remove these revisions; unknown ones are ignored."""
        for rev_key in rev_keys:
            if self.revisions.pop(rev_key, None) is None:
                self._buffer.deleted.add(rev_key)

    def put(self, bucket: str, key: bytes, value: bytes) -> None:
        """Set `key` in a small bucket."""
        self._buffer.put(bucket, key, value)

    def delete(self, bucket: str, key: bytes) -> None:
        """Remove `key` from a small bucket."""
        self._buffer.put(bucket, key, None)

    def get(self, bucket: str, key: bytes) -> bytes | None:
        """Return the value of `key` in a small bucket."""
        for buffer in (self._buffer, self._committing):
            if buffer is not None and key in (changes := buffer.small.get(bucket, {})):
                return changes[key]
        return self._file.get(bucket, key)

    def scan(
        self, bucket: str, start: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of a small bucket with start <= key < end, ascending, as of the call."""
        found = {
            key: value
            for key, value in self._file.bucket(bucket).items()
            if key >= start and (end is None or key < end)
        }
        if self._committing is not None:
            self._committing.overlay(bucket, found, start, end)
        self._buffer.overlay(bucket, found, start, end)
        return iter(sorted(found.items()))

    def load(self) -> Iterator[Pairs]:
        """Yield all stored revisions in order, in lists; for the start, before the first write.

        Gives the mapped memory back when it is done.
        """
        yield from self._file.load()
        self._file.reopen()

    def start(
        self,
        reports: BackendReports,
        interval_s: float = COMMIT_INTERVAL_S,
        *,
        observe_commit: Callable[[float], object] | None = None,
    ) -> None:
        """Commit in the background from now on, every `interval_s`.

        `observe_commit` hears how long each commit took, in seconds.
        """
        self._reports = reports
        self._observe_commit = observe_commit
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._tick, interval_s)

    def _tick(self, interval_s: float) -> None:
        if self._task is None or self._task.done():
            if self._buffer or self._applied()[0] > self.consistent_index:
                self._task = asyncio.ensure_future(self._commit_quietly())
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(interval_s, self._tick, interval_s)

    async def _commit_quietly(self) -> None:
        try:
            await self.commit()
        except BackendError as error:
            if self._reports is not None:
                self._reports.commit_failed(error)

    def _applied(self) -> tuple[int, int]:
        if self._reports is None:
            return self.consistent_index, self.term
        return self._reports.applied()

    async def commit(self) -> None:
        """Make everything written before this call durable. Raises BackendError."""
        async with self._writing:
            await self._commit_buffer()

    async def _commit_buffer(self) -> None:
        """Write the buffer; when that fails it is the buffer again, with what came meanwhile."""
        if self._halted:
            raise BackendError(f"{self._file.path} was halted: what is in memory may be wrong")
        before = self.consistent_index
        index, term = self._applied()
        if not self._buffer and (index, term) == (before, self.term):
            return
        committing = self._committing = self._buffer
        self._set_buffer(WriteBuffer())
        started_s = perf_counter()
        try:
            await self._write(committing, index, term)
        except BaseException:
            # A compaction that came meanwhile may leave little of what did not fit.
            self._set_buffer(committing.followed_by(self._buffer))
            raise
        finally:
            self._file.refresh()
            self._committing = None
        hit("backendAfterCommit")
        if self._observe_commit is not None:
            self._observe_commit(perf_counter() - started_s)
        self.consistent_index, self.term = index, term
        if not self._reserve.held:
            self._reserve.take()
        if self._reports is not None:
            self._reports.committed(before)  # see LmdbFile: the newest commit may yet be undone

    def _set_buffer(self, buffer: WriteBuffer) -> None:
        self._buffer = buffer
        self.revisions = buffer.revisions

    async def _write(self, buffer: WriteBuffer, index: int, term: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                hit("backendBeforeCommit")
                await loop.run_in_executor(
                    self._executor, lambda: self._file.write(buffer, index, term)
                )
                return
            except lmdb.MapFullError:
                await self._replace(grow=True)
            except lmdb.PanicError as error:  # LMDB wants the file to be opened anew
                await self._replace()
                raise BackendError(f"cannot write to {self._file.path}: {error}") from error
            except (lmdb.Error, OSError) as error:
                path = self._file.path
                if not is_no_space(error, path):
                    raise BackendError(f"cannot write to {path}: {error}") from error
                small = sum(map(len, buffer.revisions.values())) <= RESERVE_BYTES // 4
                if not (small and self._reserve.give_up()):  # not for what filled the disk
                    cure = "free some space on that file system; nothing acknowledged is lost"
                    raise BackendFullError(f"no space to write to {path}: {cure}") from error

    async def _replace(self, replacement: Path | None = None, *, grow: bool = False) -> None:
        self._stable.clear()
        try:
            await self._no_views.wait()
            self._file.reopen(replacement, grow=grow)
        finally:
            self._stable.set()

    async def adopt(self, replacement: Path) -> None:
        """Put another file in the place of this one; what was not committed is forgotten.

        Raises BackendError.
        """
        async with self._writing:
            self._set_buffer(WriteBuffer())
            await self._replace(replacement)
            self._set_buffer(WriteBuffer())  # nobody may write meanwhile, but nobody is stopped
            self.consistent_index = self._number(CONSISTENT_INDEX)
            self.term = self._number(TERM)

    async def defragment(self) -> None:
        """Rewrite the file without its free pages, while reads and writes go on.

        Commits wait meanwhile. A crash leaves the old file or the new one. Raises BackendError.
        """
        async with self._writing:
            await self._commit_buffer()
            self._reserve.give_up()
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._file.copy_compact, self._compacted)
            hit("defragBefore")
            await self._replace(self._compacted)
            hit("defragAfter")
            self._reserve.take()

    async def copy(self, target: Path) -> None:
        """Write everything written so far into a backend file of its own. Raises BackendError.

        A crash may lose the copy.
        """
        async with self.view():  # the file stays meanwhile
            await asyncio.to_thread(self._file.copy_compact, target, durable=False)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[LmdbView]:
        """Give a view of everything written so far, for use in one thread. Raises BackendError."""
        await self.commit()
        await self._stable.wait()
        self._views += 1
        self._no_views.clear()
        view = self._file.view()
        try:
            yield view
        finally:
            view.close()
            self._views -= 1
            if not self._views:
                self._no_views.set()

    def halt(self) -> None:
        """Commit nothing more: a replay of the log from the last commit is the way back."""
        self._halted = True

    async def close(self) -> None:
        """Commit what is left and close the file. Raises BackendError if that fails."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self.commit()
        finally:
            await self._no_views.wait()
            self._executor.shutdown()
            self._file.close()


def _merge(pairs: Pairs, buffer: WriteBuffer, start: bytes, end: bytes | None) -> Pairs:
    """Return stored pairs of a range as changed by a buffer."""
    if buffer.deleted:
        pairs = [pair for pair in pairs if pair[0] not in buffer.deleted]
    newer = buffer.revisions_between(start, end)
    if not newer or not pairs or pairs[-1][0] < newer[0][0]:
        return pairs + newer
    return sorted({**dict(pairs), **dict(newer)}.items())
