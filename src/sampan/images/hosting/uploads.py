"""Uploads under way: each is a blob that nobody sees until its digest is right.

They live in memory and in a file of the content store's; a client whose upload is gone, after a
restart or an hour without a byte, is told so and begins again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import Final

from sampan.base.errors import InvalidError
from sampan.images.core.digest import new_hash, split_digest
from sampan.images.core.hosting.errors import HostingError
from sampan.images.shell.blob_writer import BlobWriter
from sampan.images.shell.content import ContentStore
from sampan.images.shell.thread import in_thread

__all__ = ["Upload", "Uploads"]

_MOST: Final = 1_000
_IDLE_S: Final = 3600.0
_SIZE_LIMIT: Final = 1 << 40
_CHUNK_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Upload:
    """One upload; `lock` is held while a request adds to it."""

    id: str
    name: str
    writer: BlobWriter
    touched_s: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def size_bytes(self) -> int:
        """How much has come."""
        return self.writer.size_bytes


class Uploads:
    """The uploads of one registry."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._open: dict[str, Upload] = {}

    def begin(self, name: str) -> Upload:
        """Begin one; HostingError when too many are under way."""
        self._expire()
        if len(self._open) >= _MOST:
            raise HostingError("TOOMANYREQUESTS", "too many uploads are under way; try again later")
        upload = Upload(secrets.token_hex(16), name, self._content.writer(), time.monotonic())
        self._open[upload.id] = upload
        return upload

    def _expire(self) -> None:
        oldest = time.monotonic() - _IDLE_S
        for upload in [one for one in self._open.values() if one.touched_s < oldest]:
            self.cancel(upload)

    def find(self, name: str, id_: str) -> Upload:
        """Return one; HostingError when there is none, or it is another repository's."""
        upload = self._open.get(id_)
        if upload is None or upload.name != name:
            raise HostingError(
                "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", {"id": id_}
            )
        return upload

    def cancel(self, upload: Upload) -> None:
        """Give one up; nothing of it stays."""
        if self._open.pop(upload.id, None) is not None:
            upload.writer.abort()

    async def append(self, upload: Upload, chunks: AsyncIterable[bytes]) -> None:
        """Take what a request brings. A request that breaks off leaves what has come."""
        async for chunk in chunks:
            if upload.size_bytes + len(chunk) > _SIZE_LIMIT:
                self.cancel(upload)
                raise HostingError("SIZE_INVALID", "the blob is too large")
            await in_thread(upload.writer.write, chunk)
            upload.touched_s = time.monotonic()

    async def finish(self, upload: Upload, digest: str) -> None:
        """Make the blob of an upload; HostingError when it has another digest, and it is gone."""
        try:
            algorithm = split_digest(digest)[0]
        except InvalidError:
            self.cancel(upload)
            raise HostingError("DIGEST_INVALID", "invalid digest", {"digest": digest}) from None
        if algorithm == "sha256" and upload.writer.digest != digest:
            found = upload.writer.digest
            self.cancel(upload)
            raise _other(digest, found)
        self._open.pop(upload.id, None)
        await in_thread(self._commit, upload.writer, digest, algorithm)

    def _commit(self, writer: BlobWriter, digest: str, algorithm: str) -> None:
        blob = writer.commit()
        if algorithm == "sha256":
            return
        # The blob is kept under its other name as well; a collection takes the first one away.
        hash_ = new_hash(algorithm)
        with self._content.open(blob) as file:
            while data := file.read(_CHUNK_BYTES):
                hash_.update(data)
        found = f"{algorithm}:{hash_.hexdigest()}"
        if found != digest:
            raise _other(digest, found)
        if not self._content.has(digest):
            os.link(self._content.path(blob), self._content.path(digest))


def _other(expected: str, found: str) -> HostingError:
    detail = {"expected": expected, "found": found}
    return HostingError("DIGEST_INVALID", "provided digest did not match uploaded content", detail)
