"""Snapshots between members: the store's content out, and another's content in its place.

A member with a disk sends a copy of its backend file, which is one as it is; one in memory sends a
database in etcd's format, to be converted. What arrives becomes a backend file of its own beside
the present one. When the write-ahead log says
durably that the log begins behind the snapshot, that file takes the backend's place; a crash
between the two leaves the file, and the next start finishes the work.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from sampan.raft import Message, Snapshot
from sampan.store.core.backend import BUCKETS, META_BUCKET
from sampan.store.core.confstate import CONF_STATE, parse_conf_state
from sampan.store.core.wal import RecordKind
from sampan.store.shell import wal_files
from sampan.store.shell.lmdb_backend import LmdbBackend
from sampan.store.shell.lmdb_file import CONSISTENT_INDEX, TERM, LmdbFile, is_lmdb
from sampan.store.shell.lmdb_file import reading as reading_backend
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.replication import SnapshotSource
from sampan.store.shell.snapshot import Snapshot as Content
from sampan.store.shell.snapshot import SnapshotError, buckets_of, reading, take

__all__ = ["Installer", "finish_install"]

_INCOMING: Final = "db.incoming-"
_Blocks = Callable[[int], AsyncIterator[bytes]]


class _Source:
    """A snapshot with the message that names it."""

    def __init__(
        self, message: Message, size_bytes: int, blocks: Callable[[int], AsyncIterator[bytes]]
    ) -> None:
        self.message = message
        self.size_bytes = size_bytes
        self.blocks = blocks


class Installer:
    """The `SnapshotStore` of a member. `reload` loads the state anew from the backend."""

    def __init__(
        self, backend: LmdbBackend | MemoryBackend, directory: Path, reload: Callable[[], None]
    ) -> None:
        self.snapshot_directory = directory
        self._backend = backend
        self._reload = reload

    @asynccontextmanager
    async def source(self, message: Message) -> AsyncIterator[SnapshotSource]:
        """Make a snapshot of everything applied, and name it in the message."""
        backend = self._backend
        if isinstance(backend, LmdbBackend):
            making = _copied(backend, self.snapshot_directory)
        else:
            making = take(backend, self.snapshot_directory)
        async with making as made:
            state = parse_conf_state(made.meta.get(CONF_STATE, b"{}"))
            index = int.from_bytes(made.meta.get(CONSISTENT_INDEX, b""), "big")
            term = int.from_bytes(made.meta.get(TERM, b""), "big")
            named = replace(message, snapshot=Snapshot(index, term, state))
            yield _Source(named, made.size_bytes, made.blocks)

    async def prepare(self, path: Path, index: int) -> Path:
        """Make a backend of a snapshot's file. Raises SampanError."""
        target = self.snapshot_directory / f"{_INCOMING}{index}"
        if isinstance(self._backend, MemoryBackend):
            return await asyncio.to_thread(_set_aside, path)
        await asyncio.to_thread(_prepare, path, target, index)
        return target

    async def install(self, prepared: Path, index: int) -> None:
        """Put the prepared backend in place and load the state from it."""
        del index
        if isinstance(self._backend, MemoryBackend):
            content = await asyncio.to_thread(_read, prepared)
            self._backend.adopt(content)
            self.discard(prepared)
        else:
            await self._backend.adopt(prepared)
        self._reload()

    def discard(self, prepared: Path) -> None:
        """Remove a prepared backend."""
        prepared.unlink(missing_ok=True)
        if isinstance(self._backend, MemoryBackend):
            prepared.parent.rmdir()
        else:
            prepared.with_name(prepared.name + "-lock").unlink(missing_ok=True)


@asynccontextmanager
async def _copied(backend: LmdbBackend, directory: Path) -> AsyncIterator[Content]:
    """Make a copy of the backend file that goes away at the end."""
    fd, name = tempfile.mkstemp(dir=directory, prefix="outgoing-", suffix=".tmp")
    os.close(fd)
    try:
        await backend.copy(Path(name))
        file, meta = _opened(Path(name))
    finally:
        os.unlink(name)
    with file:
        yield Content(file.fileno(), os.fstat(file.fileno()).st_size, meta)


def _opened(path: Path) -> tuple[BinaryIO, dict[bytes, bytes]]:
    """Open a copy of a backend file, and read what it is of."""
    with reading_backend(path) as view:
        meta = dict(view.items(META_BUCKET))
    return open(path, "rb"), meta


def _prepare(path: Path, target: Path, index: int) -> None:
    """Make a backend of what arrived, durably; `path` is gone then. Raises SampanError."""
    if not is_lmdb(path):
        _convert(path, target, index)
    else:
        with reading_backend(path) as view:
            found = int.from_bytes(dict(view.items(META_BUCKET)).get(CONSISTENT_INDEX, b""), "big")
        if found != index:
            raise SnapshotError(f"the snapshot {path} is of entry {found}, not {index}")
        path.rename(target)  # its content was flushed when it had arrived
    wal_files.fsync_directory(target.parent)


def _set_aside(path: Path) -> Path:
    """Move a file to where nobody else looks."""
    return path.rename(Path(tempfile.mkdtemp(prefix="sampan-", dir=path.parent)) / "db")


def _convert(path: Path, target: Path, index: int) -> None:
    """Write the content of a snapshot's file as a backend, durably, and remove the file."""
    target.unlink(missing_ok=True)
    try:
        with reading(path) as reader:
            meta = dict(reader.items(META_BUCKET.encode()))
            if int.from_bytes(meta.get(CONSISTENT_INDEX, b""), "big") != index:
                raise SnapshotError(f"the snapshot {path} is not of entry {index}")
            term = int.from_bytes(meta.get(TERM, b""), "big")
            backend = LmdbFile(target, map_bytes=4 * reader.size_bytes)
            try:
                for buffer in buckets_of(reader, members=True):
                    backend.write(buffer, index, term)
            finally:
                backend.close()
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        path.unlink(missing_ok=True)
        target.with_name(target.name + "-lock").unlink(missing_ok=True)


def _read(path: Path) -> dict[str, dict[bytes, bytes]]:
    if is_lmdb(path):
        with reading_backend(path) as view:
            return {bucket: dict(view.items(bucket)) for bucket in BUCKETS}
    with reading(path) as reader:
        return {bucket: dict(reader.items(bucket.encode())) for bucket in BUCKETS}


def finish_install(backend: Path, wal_directory: Path) -> None:
    """Finish what a crash interrupted: put a prepared backend in place if the log says so."""
    if not backend.parent.is_dir():
        return
    for pattern in ("incoming-*.tmp", "outgoing-*.tmp"):
        for leftover in backend.parent.glob(pattern):
            leftover.unlink()
    for prepared in sorted(backend.parent.glob(f"{_INCOMING}*")):
        if prepared.name.endswith("-lock"):
            prepared.unlink()
            continue
        index = int(prepared.name.removeprefix(_INCOMING))
        if wal_directory.is_dir() and index in _marks(wal_directory):
            prepared.rename(backend)
            wal_files.fsync_directory(backend.parent)
        else:
            prepared.unlink()


def _marks(wal_directory: Path) -> set[int]:
    """Return the indexes of the newest mark of the log, if there is one."""
    found: set[int] = set()
    for record in wal_files.read_all(wal_files.scan_segments(wal_directory, None)):
        if record.kind == RecordKind.SNAPSHOT_MARK:
            found = {record.snapshot_mark().index}
    return found
