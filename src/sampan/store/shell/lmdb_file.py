"""One LMDB environment in one file, with a named database per bucket.

Every commit is flushed to disk, but the page that makes it the current one is left to the kernel
(LMDB's metasync off): a power cut undoes the last commit at most and never damages the file. The
write-ahead log therefore keeps its entries until the commit after the one that holds them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import lmdb

from sampan.base.errors import SampanError
from sampan.store.core.backend import BUCKETS, KEY_BUCKET, META_BUCKET
from sampan.store.shell.wal_files import CURE, NO_SPACE, fsync_directory
from sampan.store.shell.write_buffer import Pairs, WriteBuffer

__all__ = ["CONSISTENT_INDEX", "TERM", "BackendError", "LmdbFile", "is_lmdb", "reading"]

CONSISTENT_INDEX: Final = b"consistent_index"
TERM: Final = b"term"

MIN_MAP_BYTES: Final = 10 << 30
LOAD_CHUNK: Final = 4096
PUT_CHUNK: Final = 256  # between two of these another thread may run

FULL_BELOW_BYTES: Final = 1 << 20

LONG_KEY_BYTES: Final = 511
"""LMDB's limit. A key of this stored length stands for a longer one; see `_stored`."""

_LONG_PREFIX_BYTES: Final = LONG_KEY_BYTES - hashlib.sha256().digest_size
_PAGE_HEAD_BYTES: Final = 16
_MAGIC: Final = (0xBEEFC0DE).to_bytes(4, sys.byteorder)
_LENGTH: Final = struct.Struct("<I")


class BackendError(SampanError):
    """The backend file cannot be opened, read or written."""


class LmdbFile:
    """The open file. Not thread-safe, except that `view` and `write` may run beside reads."""

    def __init__(self, path: Path, *, map_bytes: int = MIN_MAP_BYTES, fsync: bool = True) -> None:
        self.path = path
        self._map_bytes = max(map_bytes, MIN_MAP_BYTES)
        self._fsync = fsync
        self._reader: lmdb.Transaction[bytes] | None = None
        self.size_bytes = 0
        self.size_in_use_bytes = 0
        self._open()

    def _open(self) -> None:
        try:
            self._env = self._open_env()
        except (lmdb.Error, OSError) as error:
            raise BackendError(f"cannot open the backend {self.path}: {error}; {CURE}") from error
        try:
            self._check_whole()
            self._dbs = {each: self._env.open_db(each.encode()) for each in BUCKETS}
            self._measure()
        except (lmdb.Error, OSError) as error:
            self._env.close()
            raise BackendError(f"cannot open the backend {self.path}: {error}; {CURE}") from error
        except BackendError:
            self._env.close()
            raise

    def _check_whole(self) -> None:
        """Raise BackendError for a file that is cut short: to map and read it would kill us."""
        size_bytes = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if (found := self.path.stat().st_size) < size_bytes:
            reason = f"it has {found} of {size_bytes} bytes"
            raise BackendError(f"the backend {self.path} is cut short: {reason}; {CURE}")

    def _open_env(self) -> lmdb.Environment:
        while True:
            try:
                return lmdb.open(
                    str(self.path),
                    map_size=self._map_bytes,
                    subdir=False,
                    mode=0o600,
                    max_dbs=len(BUCKETS),
                    metasync=False,
                    sync=self._fsync,
                    readahead=False,
                )
            except lmdb.MemoryError:  # address space is limited (ulimit -v)
                if self._map_bytes <= 64 << 20:
                    raise
                self._map_bytes //= 2

    def _measure(self) -> None:
        info, page = self._env.info(), self._env.stat()["psize"]
        with self._env.begin() as txn:
            stats = [txn.stat(db) for db in self._dbs.values()]
        self.size_bytes = (info["last_pgno"] + 1) * page
        pages = sum(
            each["branch_pages"] + each["leaf_pages"] + each["overflow_pages"] for each in stats
        )
        self.size_in_use_bytes = page * (3 + pages)  # and two meta pages and the list of buckets

    def reopen(self, replacement: Path | None = None, *, grow: bool = False) -> None:
        """Close and open again, which gives mapped memory back; no view may be open.

        With `replacement` that file takes the place of the present one, durably and at once.
        """
        self.close()
        if grow:
            self._map_bytes *= 2
        if replacement is not None:
            replacement.rename(self.path)
            fsync_directory(self.path.parent)
        self._open()

    def close(self) -> None:
        """Make everything durable and close the file."""
        self.refresh()
        self._env.sync(True)
        self._env.close()

    def refresh(self) -> None:
        """Let the next read see the latest commit."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    def _read(self) -> lmdb.Transaction[bytes]:
        if self._reader is None:
            self._reader = self._env.begin(db=self._dbs[KEY_BUCKET])
        return self._reader

    def get(self, bucket: str, key: bytes) -> bytes | None:
        """Return the stored value of `key`."""
        stored = _stored(key)
        value = self._read().get(stored, db=self._dbs[bucket])
        return value if value is None or stored is key else _split_long(value)[1]

    def revision(self, rev_key: bytes) -> bytes | None:
        """Return the stored value of a revision."""
        value = (self._reader or self._read()).get(rev_key)
        return value

    def chunk(self, bucket: str, start: bytes, end: bytes | None, limit: int) -> tuple[Pairs, bool]:
        """Return up to `limit` stored pairs with start <= key < end; whether more may follow."""
        cursor = self._read().cursor(self._dbs[bucket])
        if not cursor.set_range(_stored(start)):
            return [], False
        pairs: Pairs = list(islice(cursor, limit))
        more = len(pairs) == limit
        if end is not None and pairs and pairs[-1][0] >= end:
            del pairs[bisect_left(pairs, (end,)) :]
            more = False
        return pairs, more

    def bucket(self, bucket: str) -> dict[bytes, bytes]:
        """Return all of a small bucket."""
        return dict(_items(self._read(), self._dbs[bucket]))

    def load(self) -> Iterator[Pairs]:
        """Yield all revisions in order, some thousand at a time."""
        cursor = iter(self._read().cursor(self._dbs[KEY_BUCKET]))
        while chunk := list(islice(cursor, LOAD_CHUNK)):
            yield chunk

    def view(self) -> LmdbView:
        """Return a view of the last commit, for any one thread at a time."""
        return LmdbView(self._env.begin(), self._dbs)

    def write(self, buffer: WriteBuffer, consistent_index: int, term: int) -> None:
        """Commit a buffer durably. Raises lmdb.Error or OSError; then nothing of it is stored."""
        with self._env.begin(write=True) as txn:
            for key in buffer.deleted:
                txn.delete(key, db=self._dbs[KEY_BUCKET])
            self._put_revisions(txn, list(buffer.revisions.items()))
            for bucket, changes in buffer.small.items():
                _write_small(txn, self._dbs[bucket], changes)
            meta = self._dbs[META_BUCKET]
            txn.put(CONSISTENT_INDEX, consistent_index.to_bytes(8, "big"), db=meta)
            txn.put(TERM, term.to_bytes(8, "big"), db=meta)
        self._measure()

    def _put_revisions(self, txn: lmdb.Transaction[bytes], pairs: Pairs) -> None:
        if not pairs:
            return
        cursor = txn.cursor(self._dbs[KEY_BUCKET])
        behind = not cursor.last() or cursor.key() < pairs[0][0]
        keys = [key for key, _ in pairs]
        append = behind and keys == sorted(keys)
        for start in range(0, len(pairs), PUT_CHUNK):
            cursor.putmulti(pairs[start : start + PUT_CHUNK], append=append)

    def copy_compact(self, target: Path, *, durable: bool = True) -> None:
        """Write a compacted copy of the last commit. Raises BackendError."""
        target.unlink(missing_ok=True)
        try:
            self._env.copy(str(target), compact=True)
            fd = os.open(target, os.O_RDONLY)
            try:
                os.fchmod(fd, 0o600)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
        except (lmdb.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise BackendError(f"cannot write a compacted copy {target}: {error}") from error


def is_lmdb(path: Path) -> bool:
    """Tell a backend file from a snapshot in etcd's format, by the mark on its first page."""
    with open(path, "rb") as file:
        return file.read(_PAGE_HEAD_BYTES + len(_MAGIC))[_PAGE_HEAD_BYTES:] == _MAGIC


@contextmanager
def reading(path: Path) -> Iterator[LmdbView]:
    """Look into a backend file that nobody writes. Raises BackendError."""
    try:
        env = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, max_dbs=len(BUCKETS), create=False
        )
        with env:
            dbs = {each: env.open_db(each.encode(), create=False) for each in BUCKETS}
            view = LmdbView(env.begin(), dbs)
            try:
                yield view
            finally:
                view.close()
    except (lmdb.Error, OSError) as error:
        raise BackendError(f"cannot read the backend file {path}: {error}") from error


class LmdbView:
    """The content of the file at one commit; close it soon, as it keeps old pages alive."""

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: dict[str, lmdb._Database]) -> None:
        self._txn = txn
        self._dbs = dbs

    def buckets(self) -> list[str]:
        """Return the bucket names in byte order."""
        return sorted(self._dbs)

    def items(self, bucket: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield all pairs of a bucket in key order."""
        pairs = _items(self._txn, self._dbs[bucket])
        return pairs if bucket == KEY_BUCKET else iter(sorted(pairs))

    def close(self) -> None:
        """Let the pages go."""
        self._txn.abort()


def is_no_space(error: Exception, path: Path) -> bool:
    """Tell whether a commit to the file at `path` failed because the disk is full."""
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
    if code == errno.EIO:  # what LMDB makes of a write that was cut short
        fs = os.statvfs(path.parent)
        return fs.f_bavail * fs.f_frsize < FULL_BELOW_BYTES
    return code in NO_SPACE


def _items(txn: lmdb.Transaction[bytes], db: lmdb._Database) -> Iterator[tuple[bytes, bytes]]:
    for key, value in txn.cursor(db):
        yield _split_long(value) if len(key) == LONG_KEY_BYTES else (key, value)


def _write_small(
    txn: lmdb.Transaction[bytes], db: lmdb._Database, changes: dict[bytes, bytes | None]
) -> None:
    for key, value in changes.items():
        stored = _stored(key)
        if value is None:
            txn.delete(stored, db=db)
        elif stored is key:
            txn.put(key, value, db=db)
        else:
            txn.put(stored, _LENGTH.pack(len(key)) + key + value, db=db)


def _stored(key: bytes) -> bytes:
    """Return the key under which LMDB holds `key`: itself, or for a long one prefix + SHA-256."""
    if len(key) < LONG_KEY_BYTES:
        return key
    return key[:_LONG_PREFIX_BYTES] + hashlib.sha256(key).digest()


def _split_long(value: bytes) -> tuple[bytes, bytes]:
    """Return (key, value) as stored under a shortened key."""
    end = _LENGTH.size + _LENGTH.unpack_from(value)[0]
    return value[_LENGTH.size : end], value[end:]
