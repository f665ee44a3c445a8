"""Results of builds in a directory: an OCI image layout with one manifest for each tag.

Source: OCI image specification 1.1, "image layout".
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from sampan.base.errors import InvalidError, LimitError, NotFoundError
from sampan.images.build.cachesource import by_key
from sampan.images.core.build.cacherecords import (
    CachedLayer,
    cache_manifest,
    read_cache_config,
)
from sampan.images.core.digest import split_digest, verify
from sampan.images.core.manifest import (
    MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Manifest,
    descriptor_of,
    parse_manifest,
)
from sampan.images.shell.content import ContentStore, replace_file
from sampan.images.shell.thread import in_thread

__all__ = ["FolderCache", "write_folder_cache"]

_REF: Final = "org.opencontainers.image.ref.name"
_CONFIG_BYTES: Final = 64 << 20
_COPY_BYTES: Final = 1 << 20
_TAGS_LIMIT: Final = 1_000


class FolderCache:
    """A source of results in a directory; reading it blocks."""

    def __init__(
        self, folder: Path, content: ContentStore, *, tag: str = "latest", digest: str = ""
    ) -> None:
        """Raise NotFoundError where there is no such cache, InvalidError for what is none."""
        self.name = str(folder)
        self._folder = folder
        self._content = content
        wanted = digest or _tagged(folder, tag).digest
        manifest = parse_manifest(self._document(wanted, MANIFEST_BYTES))
        if not isinstance(manifest, Manifest):
            raise InvalidError(f"{folder}: this is an index of images and no build cache")
        config = self._document(manifest.config.digest, _CONFIG_BYTES)
        self._records = by_key(read_cache_config(config, manifest))

    def find(self, key: str) -> CachedLayer | None:
        """Return the record of a key."""
        return self._records.get(key)

    async def fetch(self, layer: CachedLayer) -> None:
        """Copy a record's layer into the content store."""
        await in_thread(self._fetch, layer.blob)

    def _fetch(self, blob: Descriptor) -> None:
        if self._content.claim(blob.digest):
            return
        left = blob.size_bytes
        with _opened(self._folder, blob.digest) as file:
            with self._content.writer(blob.digest) as writer:
                while data := file.read(_COPY_BYTES):
                    left -= len(data)
                    if left < 0:
                        raise InvalidError(f"{blob.digest} is larger than the cache says")
                    writer.write(data)
                writer.commit()

    def _document(self, digest: str, limit_bytes: int) -> bytes:
        with _opened(self._folder, digest) as file:
            raw = file.read(limit_bytes + 1)
        if len(raw) > limit_bytes:
            raise LimitError(f"{self._folder}: {digest} is larger than {limit_bytes} bytes")
        return verify(raw, digest)


def _path(folder: Path, digest: str) -> Path:
    algorithm, digits = split_digest(digest)
    return folder / "blobs" / algorithm / digits


def _opened(folder: Path, digest: str) -> BinaryIO:
    try:
        return open(_path(folder, digest), "rb")
    except OSError as error:
        raise NotFoundError(f"{folder}: {digest}: {error.strerror}") from None


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Return the manifests that the layout names; NotFoundError without one."""
    try:
        with open(folder / "index.json", "rb") as file:
            raw = file.read(MANIFEST_BYTES)
        document = json.loads(raw)
        found = document["manifests"]
    except OSError as error:
        raise NotFoundError(f"no build cache at {folder}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidError(f"{folder}/index.json is no index of an image layout") from None
    if not isinstance(found, list) or len(found) > _TAGS_LIMIT:
        raise InvalidError(f"{folder}/index.json: the manifests are no list, or too many")
    return [one for one in found if isinstance(one, dict)]


def _tagged(folder: Path, tag: str) -> Descriptor:
    found = [descriptor_of(one) for one in _entries(folder)]
    for one in found:
        if one.annotations.get(_REF) == tag:
            return one
    raise NotFoundError(f"{folder} has no build cache with the tag {tag}")


def write_folder_cache(
    folder: Path, content: ContentStore, made: Sequence[CachedLayer], tag: str = "latest"
) -> None:
    """Write results into a directory beside those of other tags; blocks.

    What a reader finds is whole at any moment: `index.json` is replaced when all is there.
    """
    config, raw, descriptor = cache_manifest(made)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for one in {one.blob.digest: one.blob for one in made}.values():
            _copy(folder, content, one)
        for data in (config, raw):
            _put(folder, data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        others = _entries(folder) if (folder / "index.json").exists() else []
        kept = [one for one in others if (one.get("annotations") or {}).get(_REF) != tag]
        named = {**descriptor.document, "annotations": {_REF: tag}}
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*kept, named]}
        replace_file(folder / "index.json", json.dumps(document).encode())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one writer at a time into a directory."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _copy(folder: Path, content: ContentStore, blob: Descriptor) -> None:
    path = _path(folder, blob.digest)
    if path.exists() and path.stat().st_size == blob.size_bytes:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        with content.open(blob.digest) as file, open(temporary, "xb") as out:
            while data := file.read(_COPY_BYTES):
                out.write(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(folder: Path, data: bytes) -> None:
    path = _path(folder, Descriptor.of_bytes("", data).digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)
