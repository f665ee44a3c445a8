"""A blob on its way into the content store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol

from sampan.base.errors import InvalidError
from sampan.images.core.digest import new_hash

__all__ = ["BlobHome", "BlobWriter"]

_COPY_BYTES: Final = 1 << 20


class BlobHome(Protocol):
    """Where blobs go."""

    def path(self, digest: str) -> Path:
        """Where a blob is or would be."""
        ...

    def begin(self, path: Path) -> None:
        """Note that a blob is being written there; ConflictError when that is so already."""
        ...

    def end(self, path: Path) -> None:
        """Note that it no longer is."""
        ...

    def use(self, digests: Iterable[str]) -> None:
        """Let blobs stay that will be here."""
        ...


class BlobWriter:
    """A blob under way; without `commit` nothing of it is seen."""

    def __init__(
        self,
        store: BlobHome,
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
        store.begin(path)
        try:
            # Closed by commit, abort or leave.
            self._file: BinaryIO | None = open(path, "r+b" if resume and path.exists() else "wb")
        except BaseException:
            store.end(path)
            raise
        while data := self._file.read(_COPY_BYTES) if resume and self._file.readable() else b"":
            self._hash.update(data)
            self.size_bytes += len(data)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take more of it."""
        assert self._file is not None
        self._hash.update(data)
        self._file.write(data)
        self.size_bytes += len(data)

    @property
    def digest(self) -> str:
        """The digest of what has been written so far."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

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
        self._store.use((digest,))
        os.replace(self._path, self._store.path(digest))
        self._close()
        return digest

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            finally:
                self._store.end(self._path)

    def abort(self) -> None:
        """Throw away what was written."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of a full disk, on which nothing is to stay
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
