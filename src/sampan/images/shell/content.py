"""Blobs by their digest, in the layout of OCI images: `blobs/sha256/<hex>` beside `oci-layout`.

A blob appears under its name only when it is whole and its digest is right: it is written beside,
verified on the way, flushed and renamed. What is written of a blob whose digest is known may stay
when it breaks off, also over a restart, and is gone on with later.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, cast

from sampan.base.errors import ConflictError, InvalidError, LimitError, NotFoundError
from sampan.images.core.digest import ALGORITHMS, new_hash, split_digest

__all__ = ["BlobWriter", "Blobs", "ContentStore", "replace_file"]

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_COPY_BYTES: Final = 1 << 20
_PARTIAL_S: Final = 24 * 3600.0


class Blobs(Protocol):
    """Where blobs are read."""

    def open(self, digest: str) -> BinaryIO:
        """Open one for reading; NotFoundError without it."""
        ...


class ContentStore:
    """The blobs below one directory."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._ingest = root / "ingest"
        self._active: set[Path] = set()
        self._operations = 0
        self._used: set[str] = set()
        self._using = threading.Lock()
        for algorithm in ALGORITHMS:
            (self._blobs / algorithm).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ingest.mkdir(mode=0o700, exist_ok=True)
        if not (root / "oci-layout").exists():
            replace_file(root / "oci-layout", _LAYOUT)
        self.forget_partial(_PARTIAL_S)

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """Let what is written and used stay, whatever is collected meanwhile, until all have ended.

        By then whoever wants to keep it must have said so in the index.
        """
        with self._using:
            self._operations += 1
        try:
            yield
        finally:
            with self._using:
                self._operations -= 1
                if not self._operations:
                    self._used.clear()

    def use(self, digests: Iterable[str]) -> None:
        """Let blobs stay that are here, or will be, while operations are under way."""
        with self._using:
            if self._operations:
                self._used.update(digests)

    def forget_partial(self, age_s: float = 0.0) -> int:
        """Remove what is left of blobs that nobody writes, and the older of those begun.

        Returns the bytes that came free.
        """
        oldest, freed = time.time() - age_s, 0
        for path in self._ingest.iterdir():
            known = path.name.partition("-")[0] in ALGORITHMS
            status = path.stat()
            if path not in self._active and (not known or status.st_mtime <= oldest):
                freed += status.st_size
                path.unlink(missing_ok=True)
        return freed

    def path(self, digest: str) -> Path:
        """Where a blob is or would be."""
        algorithm, digits = split_digest(digest)
        return self._blobs / algorithm / digits

    def has(self, digest: str) -> bool:
        """Tell whether the blob is here."""
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Its size in bytes; NotFoundError without it."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"blob {digest} is missing") from None

    def open(self, digest: str) -> BinaryIO:
        """Open it for reading."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise NotFoundError(f"blob {digest} is missing") from None

    def watched(self, told: Callable[[str, int], None]) -> Blobs:
        """Return the same blobs; `told` hears from which one how many bytes have been read."""
        return _Watched(self, told)

    def read(self, digest: str, limit_bytes: int = 8 << 20) -> bytes:
        """Return a small blob; LimitError for a large one."""
        with self.open(digest) as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise LimitError(f"blob {digest} is larger than {limit_bytes} bytes")
        return data

    def digests(self) -> set[str]:
        """Return the digests of all blobs."""
        return {
            f"{algorithm}:{name}"
            for algorithm in ALGORITHMS
            for name in os.listdir(self._blobs / algorithm)
        }

    def writer(self, expected: str | None = None, *, resume: bool = False) -> BlobWriter:
        """Begin a blob, of that digest if it is given; blocks.

        With `resume` what was written of it before counts, and what will have been written stays
        when it breaks off. ConflictError while somebody else writes the same so.
        """
        if expected is None or not resume:
            algorithm = "sha256" if expected is None else split_digest(expected)[0]
            return BlobWriter(self, self._ingest / secrets.token_hex(8), algorithm, expected)
        algorithm, digits = split_digest(expected)
        path = self._ingest / f"{algorithm}-{digits}"
        if path in self._active:
            raise ConflictError(f"blob {expected} is being written")
        return BlobWriter(self, path, algorithm, expected, resume=True)

    def begin(self, path: Path) -> None:
        """Note that a blob is being written there."""
        self._active.add(path)

    def end(self, path: Path) -> None:
        """Note that it no longer is."""
        self._active.discard(path)

    def put(self, data: bytes, expected: str | None = None) -> str:
        """Store a small blob; returns its digest."""
        with self.writer(expected) as writer:
            writer.write(data)
            return writer.commit()

    def sync(self) -> None:
        """Make the names of all blobs durable; blocks."""
        for algorithm in ALGORITHMS:
            _sync_folder(self._blobs / algorithm)

    def delete(self, digest: str) -> None:
        """Remove a blob; nothing happens without it."""
        self.path(digest).unlink(missing_ok=True)

    def collect(self, keep: Collection[str]) -> int:
        """Remove every blob whose digest is not kept; returns the bytes that came free. Blocks."""
        freed = 0
        for digest in self.digests() - set(keep):
            path = self.path(digest)
            with self._using, contextlib.suppress(FileNotFoundError):
                if digest not in self._used:
                    freed += path.stat().st_size
                    path.unlink()
        return freed


class _Watched:
    def __init__(self, store: ContentStore, told: Callable[[str, int], None]) -> None:
        self._store = store
        self._told = told

    def open(self, digest: str) -> BinaryIO:
        """Open one for reading."""
        self._store.size(digest)
        file = _WatchedFile(self._store.path(digest))
        file.told = partial(self._told, digest)
        return cast(BinaryIO, file)


class _WatchedFile(io.FileIO):
    """A file that tells how far it has been read, once for each piece of some size."""

    told: Callable[[int], None]
    _next_bytes = 0

    def _tell(self) -> None:
        at = self.tell()
        if at >= self._next_bytes:
            self._next_bytes = at + _COPY_BYTES
            self.told(at)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._tell()
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer) or 0
        self._tell()
        return count


class BlobWriter:
    """A blob under way; without `commit` nothing of it is seen."""

    def __init__(
        self,
        store: ContentStore,
        path: Path,
        algorithm: str,
        expected: str | None,
        *,
        resume: bool = False,
    ) -> None:
        self._store = store
        self._path = path
        self._algorithm = algorithm
        self._expected = expected
        self._resume = resume
        self._hash = new_hash(algorithm)
        self.size_bytes = 0
        # Closed by commit, abort or leave.
        self._file: BinaryIO | None = open(path, "r+b" if resume and path.exists() else "wb")
        store.begin(path)
        while data := self._file.read(_COPY_BYTES) if resume and self._file.readable() else b"":
            self._hash.update(data)
            self.size_bytes += len(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take more of it."""
        assert self._file is not None
        self._hash.update(data)
        self._file.write(data)
        self.size_bytes += len(data)

    def restart(self) -> None:
        """Begin again with nothing."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._hash = new_hash(self._algorithm)
        self.size_bytes = 0

    def commit(self) -> str:
        """Verify, flush and name the blob; returns its digest. InvalidError when it is another."""
        assert self._file is not None
        digest = f"{self._algorithm}:{self._hash.hexdigest()}"
        if self._expected is not None and digest != self._expected:
            self.abort()
            raise InvalidError(f"digest mismatch: expected {self._expected}, got {digest}")
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._close()
        self._store.use((digest,))
        os.replace(self._path, self._store.path(digest))
        return digest

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._store.end(self._path)

    def abort(self) -> None:
        """Throw away what was written."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._close()

    def leave(self) -> None:
        """Break off; what was written stays if it can be gone on with."""
        if self._resume and self.size_bytes:
            self._close()
        else:
            self.abort()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file as a whole, durably: beside, flushed, renamed, its folder flushed; blocks."""
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
