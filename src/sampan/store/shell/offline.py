"""Work on the files of a store while no server uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from mmap import ACCESS_READ, mmap
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.store.core.backend import KEY_BUCKET, META_BUCKET
from sampan.store.core.bolt import BoltReader
from sampan.store.core.hashing import KeyHash, hash_kv
from sampan.store.core.mvcc import Mvcc
from sampan.store.shell.datadir import lock
from sampan.store.shell.lmdb_file import LmdbFile
from sampan.store.shell.memory_backend import MemoryBackend
from sampan.store.shell.snapshot import View

__all__ = ["OfflineError", "defragment", "hash_key_space"]

_CHUNK = 4096


class OfflineError(SampanError):
    """The files cannot be worked on."""


class _NoLeases:
    """Takes note of no lease: a hash is over keys alone."""

    def attach(self, key: bytes, lease_id: int) -> None:
        """Do nothing."""

    def detach(self, key: bytes, lease_id: int) -> None:
        """Do nothing."""


@contextmanager
def _stopped(data_dir: Path) -> Iterator[LmdbFile]:
    """Open the backend of a data directory that no server uses. Raises SampanError."""
    path = data_dir / "member" / "snap" / "db"
    if not path.is_file():
        raise OfflineError(f"{data_dir} holds no data of this server (no {path})")
    held = lock(data_dir)
    try:
        backend = LmdbFile(path)
        try:
            yield backend
        finally:
            backend.close()
    finally:
        held.close()


def defragment(data_dir: Path) -> tuple[int, int]:
    """Rewrite the backend without free space; return its bytes before and after.

    The old file is replaced in one step, once the new one is on disk. Raises SampanError.
    """
    with _stopped(data_dir) as backend:
        before = backend.size_bytes
        copy = backend.path.with_name(backend.path.name + ".defrag")
        backend.copy_compact(copy)
        backend.reopen(copy)
        return before, backend.size_bytes


def hash_key_space(path: Path, revision: int = 0) -> KeyHash:
    """Hash the keys in a data directory, or in a snapshot file, up to `revision` (0: all).

    Raises SampanError for files that cannot be read, RpcError for a revision that is not kept.
    """
    backend = MemoryBackend()
    if path.is_dir():
        with _stopped(path) as file:
            view = file.view()
            try:
                _load(view, backend)
            finally:
                view.close()
    else:
        _load_snapshot(path, backend)
    mvcc = Mvcc(backend, _NoLeases())
    mvcc.restore(_batches(iter(backend.revisions.items())))
    return hash_kv(mvcc, backend, revision)


def _load_snapshot(path: Path, backend: MemoryBackend) -> None:
    try:
        with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            _load(_BoltView(BoltReader(data)), backend)
    except OSError as error:
        raise OfflineError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # BoltError; mmap of an empty file
        raise OfflineError(f"{path} is not a sound snapshot: {error}") from None


class _BoltView:
    """A snapshot as a `View`."""

    def __init__(self, reader: BoltReader) -> None:
        self._reader = reader

    def buckets(self) -> list[str]:
        """Return the names of the buckets."""
        return [name.decode() for name in self._reader.buckets()]

    def items(self, bucket: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs of a bucket."""
        return self._reader.items(bucket.encode())


def _load(view: View, backend: MemoryBackend) -> None:
    """Copy the keys and what is known of compactions."""
    backend.revisions.update(view.items(KEY_BUCKET))
    for key, value in view.items(META_BUCKET):
        backend.put(META_BUCKET, key, value)


def _batches(items: Iterator[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    while batch := list(islice(items, _CHUNK)):
        yield batch
