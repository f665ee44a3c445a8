"""Blobs by their digest, in the layout of OCI images: `blobs/sha256/<hex>` beside `oci-layout`.

A blob appears under its name only when it is whole and its digest is right: it is written beside,
verified on the way, flushed and renamed. What is written of a blob whose digest is known may stay
when it breaks off, also over a restart, and is gone on with later.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from sampan.base.errors import ConflictError, LimitError, NotFoundError
from sampan.images.core.digest import ALGORITHMS, split_digest
from sampan.images.shell.blob_writer import BlobWriter
from sampan.images.shell.watched_blobs import WatchedBlobs

__all__ = ["Blobs", "ContentStore", "replace_file"]

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
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

    def claim(self, digest: str) -> bool:
        """Tell whether a blob is here, which then stays while operations are under way."""
        self.use((digest,))
        return self.has(digest)

    def forget_partial(self, age_s: float = 0.0) -> int:
        """Remove what is left of blobs that nobody writes, and the older of those begun.

        Returns the bytes that came free.
        """
        oldest, freed = time.time() - age_s, 0
        for path in self._ingest.iterdir():
            known = path.name.partition("-")[0] in ALGORITHMS
            with self._using, contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if path not in self._active and (not known or status.st_mtime <= oldest):
                    path.unlink()
                    freed += status.st_size
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
        return WatchedBlobs(self.path, told)

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
        return BlobWriter(self, path, algorithm, expected, resume=True)

    def begin(self, path: Path) -> None:
        """Note that a blob is being written there; ConflictError when that is so already."""
        with self._using:
            if path in self._active:
                raise ConflictError(f"{path.name} is being written")
            self._active.add(path)

    def end(self, path: Path) -> None:
        """Note that it no longer is."""
        with self._using:
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
