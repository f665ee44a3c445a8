"""Snapshots in etcd's own format: a bbolt database file, with its SHA-256 behind it when saved.

What Sampan saves, `etcdctl snapshot restore` takes, and the other way round.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Protocol, TypeVar

from sampan.base.checksum import crc32c
from sampan.base.errors import SampanError
from sampan.store.core.backend import BUCKETS, KEY_BUCKET, META_BUCKET
from sampan.store.core.bolt import BoltReader, BoltWriter
from sampan.store.core.confstate import CONF_STATE
from sampan.store.shell.wal_files import fsync_directory
from sampan.store.shell.write_buffer import WriteBuffer

__all__ = [
    "Snapshot",
    "SnapshotError",
    "SnapshotStatus",
    "View",
    "buckets_of",
    "check_digest",
    "hash_buckets",
    "reading",
    "save",
    "status",
    "take",
]

DIGEST_BYTES: Final = sha256().digest_size
ALIGNMENT: Final = 512
"""A snapshot without digest is a multiple of this long, so the rest tells whether there is one."""

READ_BYTES: Final = 1 << 20
RESTORE_CHUNK: Final = 20_000

_MEMBERSHIP: Final = frozenset({"members", "members_removed", "cluster"})
_T = TypeVar("_T")


class SnapshotError(SampanError):
    """A snapshot cannot be made, read or restored."""


class View(Protocol):
    """A store's content at one moment, for use in one thread."""

    def buckets(self) -> list[str]:
        """Return the bucket names in byte order."""

    def items(self, bucket: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of a bucket in key order."""


class Source(Protocol):
    """A backend of which snapshots can be made."""

    def view(self) -> AbstractAsyncContextManager[View]:
        """Give a view of everything written so far."""


class Snapshot:
    """A snapshot in a temporary file: the database without a digest.

    `meta` is the content of its bucket `meta`: which log entry it is of, and more.
    """

    def __init__(self, fd: int, size_bytes: int, meta: Mapping[bytes, bytes]) -> None:
        self._fd = fd
        self.size_bytes = size_bytes
        self.meta = meta

    async def blocks(self, block_bytes: int) -> AsyncIterator[bytes]:
        """Yield the file's bytes, each block of `block_bytes` but the last."""
        for offset in range(0, self.size_bytes, READ_BYTES):
            piece = await asyncio.to_thread(os.pread, self._fd, READ_BYTES, offset)
            for start in range(0, len(piece), block_bytes):
                yield piece[start : start + block_bytes]

    def copy_with_digest(self, path: Path) -> None:
        """Write the database and its digest into a file, durably. Raises OSError."""
        digest = sha256()
        with open(path, "wb") as file:
            for offset in range(0, self.size_bytes, READ_BYTES):
                piece = os.pread(self._fd, READ_BYTES, offset)
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())


@asynccontextmanager
async def take(source: Source, directory: Path | None = None) -> AsyncIterator[Snapshot]:
    """Make a snapshot of everything written so far; the file goes away at the end.

    Writes go on meanwhile. The file is made in `directory`, by default the system's for temporary
    files. Raises SnapshotError.
    """
    with tempfile.TemporaryFile(dir=directory, prefix="snapshot-") as file:
        try:
            async with source.view() as view:
                meta = dict(view.items(META_BUCKET))
                size_bytes = await asyncio.to_thread(write_database, view, file.fileno())
        except OSError as error:
            raise SnapshotError(f"cannot make a snapshot: {error.strerror}") from error
        yield Snapshot(file.fileno(), size_bytes, meta)


def write_database(view: View, fd: int) -> int:
    """Write a view as a bbolt database; return its length in bytes."""
    writer = BoltWriter(lambda offset, data: _write_all(fd, data, offset))
    for bucket in view.buckets():
        writer.add_bucket(bucket.encode(), view.items(bucket))
    return writer.finish()


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


async def save(source: Source, path: Path) -> None:
    """Save a snapshot with its digest as `etcdctl snapshot save` does, whole or not at all.

    Raises SnapshotError.
    """
    partial = path.with_name(path.name + ".part")
    try:
        async with take(source, path.parent) as snapshot:
            await asyncio.to_thread(snapshot.copy_with_digest, partial)
        partial.rename(path)
        fsync_directory(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SnapshotError(f"cannot save the snapshot {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """What `etcdctl snapshot status` shows."""

    hash: int
    revision: int
    total_key: int
    total_size_bytes: int


def status(path: Path) -> SnapshotStatus:
    """Describe a snapshot file. Raises SnapshotError."""
    with reading(path) as reader:
        revision = 0
        total = 0
        state = 0
        for name in reader.buckets():
            state = crc32c(name, state)
            for key, value in reader.items(name):
                state = crc32c(value, crc32c(key, state))
                total += 1
                if name == KEY_BUCKET.encode():
                    revision = int.from_bytes(key[:8], "big")
        return SnapshotStatus(state, revision, total, reader.size_bytes)


def hash_buckets(view: View, ignored: frozenset[tuple[str, bytes]] = frozenset()) -> int:
    """Return the CRC-32C over names, keys and values of all buckets but the `ignored` pairs.

    Source: etcd's server/storage/backend, `Hash`.
    """
    state = 0
    for bucket in view.buckets():
        state = crc32c(bucket.encode(), state)
        for key, value in view.items(bucket):
            if (bucket, key) not in ignored:
                state = crc32c(value, crc32c(key, state))
    return state


@contextmanager
def reading(path: Path) -> Iterator[BoltReader]:
    """Open a snapshot; what is wrong with it comes out as SnapshotError."""
    try:
        with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            yield BoltReader(data)
    except OSError as error:
        raise SnapshotError(f"cannot read the snapshot {path}: {error.strerror}") from error
    except ValueError as error:  # BoltError; mmap of an empty file
        raise SnapshotError(f"{path} is not a sound snapshot: {error}") from error


def check_digest(path: Path) -> None:
    """Compare a saved snapshot with the digest at its end. Raises SnapshotError."""
    digest = sha256()
    try:
        size = path.stat().st_size
        if size % ALIGNMENT != DIGEST_BYTES:
            raise SnapshotError(
                f"snapshot {path} has no digest at its end, so it is cut short or a copy of a"
                " database file: use --skip-hash-check for the latter"
            )
        with open(path, "rb") as file:
            left = size - DIGEST_BYTES
            while block := file.read(min(left, READ_BYTES)):
                digest.update(block)
                left -= len(block)
            if file.read() != digest.digest():
                raise SnapshotError(f"snapshot {path} is damaged: its SHA-256 does not match")
    except OSError as error:
        raise SnapshotError(f"cannot read the snapshot {path}: {error.strerror}") from error


def buckets_of(reader: BoltReader, *, members: bool) -> Iterator[WriteBuffer]:
    """Yield the content of a snapshot in pieces, with or without what it says of its cluster."""
    for bucket in BUCKETS:
        if bucket in _MEMBERSHIP and not members:
            continue
        for chunk in _chunks(reader.items(bucket.encode())):
            buffer = WriteBuffer()
            if bucket == KEY_BUCKET:
                buffer.revisions.update(chunk)
            else:
                buffer.small[bucket] = dict(chunk)
                if not members:
                    buffer.small[bucket].pop(CONF_STATE, None)
            yield buffer
    yield WriteBuffer()


def _chunks(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, RESTORE_CHUNK)):
        yield chunk
