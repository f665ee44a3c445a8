"""Blobs by their digest, in the layout of OCI images: `blobs/sha256/<hex>`.

A blob appears under its name only when it is whole and its digest is right: it is written beside,
verified on the way, flushed and renamed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from sampan.base.errors import InvalidError, LimitError, NotFoundError

__all__ = ["BlobWriter", "ContentStore"]


class ContentStore:
    """The blobs below one directory."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._ingest = root / "ingest"
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ingest.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._ingest.iterdir():
            leftover.unlink()

    def path(self, digest: str) -> Path:
        """Where a blob is or would be."""
        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or len(name) != 64:
            raise InvalidError(f"unsupported digest {digest!r}")
        return self._blobs / name

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

    def read(self, digest: str, limit_bytes: int = 8 << 20) -> bytes:
        """Return a small blob; LimitError for a large one."""
        if self.size(digest) > limit_bytes:
            raise LimitError(f"blob {digest} is larger than {limit_bytes} bytes")
        return self.path(digest).read_bytes()

    def writer(self, expected: str | None = None) -> BlobWriter:
        """Begin a blob, of that digest if it is given."""
        return BlobWriter(self, self._ingest / secrets.token_hex(8), expected)

    def put(self, data: bytes) -> str:
        """Store a small blob; returns its digest."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def delete(self, digest: str) -> None:
        """Remove a blob; nothing happens without it."""
        self.path(digest).unlink(missing_ok=True)

    def collect(self, keep: Collection[str]) -> int:
        """Remove every blob whose digest is not kept; returns the bytes that came free."""
        kept = {digest.partition(":")[2] for digest in keep}
        freed = 0
        for path in self._blobs.iterdir():
            if path.name not in kept:
                freed += path.stat().st_size
                path.unlink()
        return freed


class BlobWriter:
    """A blob under way; without `commit` nothing of it stays."""

    def __init__(self, store: ContentStore, path: Path, expected: str | None) -> None:
        self._store = store
        self._path = path
        self._expected = expected
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = open(path, "wb")  # closed by commit or abort
        self.size_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take more of it."""
        assert self._file is not None
        self._hash.update(data)
        self._file.write(data)
        self.size_bytes += len(data)

    def commit(self) -> str:
        """Verify, flush and name the blob; returns its digest. InvalidError when it is another."""
        assert self._file is not None
        digest = "sha256:" + self._hash.hexdigest()
        if self._expected is not None and digest != self._expected:
            self.abort()
            raise InvalidError(f"digest mismatch: expected {self._expected}, got {digest}")
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._file.close()
        self._file = None
        os.replace(self._path, self._store.path(digest))
        return digest

    def abort(self) -> None:
        """Throw away what was written."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
