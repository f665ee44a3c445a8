"""Results of builds in registries: a manifest of their own, or in the images themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sampan.base.errors import LimitError
from sampan.images.core.build.cacherecords import (
    CACHE_CONFIG,
    CachedLayer,
    cache_manifest,
    read_cache_config,
    read_inline,
)
from sampan.images.core.challenge import Credentials
from sampan.images.core.image import parse_image
from sampan.images.core.manifest import CONFIG_BYTES, Descriptor, Index, Manifest, parse_manifest
from sampan.images.core.reference import Reference
from sampan.images.core.refusal import RegistryError, pull_refusal
from sampan.images.registry.download import Downloads
from sampan.images.registry.push import Pushes
from sampan.images.registry.registries import NOBODY, Registries
from sampan.images.registry.repository import Repository
from sampan.images.shell.store import ImageStore
from sampan.images.shell.thread import in_thread

__all__ = ["BuildCaches", "RegistryCache"]

_CONFIG_BYTES: Final = 64 << 20
_PLATFORMS_LIMIT: Final = 32


class RegistryCache:
    """A source of results in a registry, its records read already."""

    def __init__(
        self,
        reference: Reference,
        records: Iterable[CachedLayer],
        fetch: Callable[[Descriptor], asyncio.Future[None]],
    ) -> None:
        self.name = reference.familiar
        self._records: dict[str, CachedLayer] = {}
        self._fetch = fetch
        for one in records:
            self._records.setdefault(one.key, one)

    def find(self, key: str) -> CachedLayer | None:
        """Return the record of a key."""
        return self._records.get(key)

    async def fetch(self, layer: CachedLayer) -> None:
        """Download a record's layer."""
        await self._fetch(layer.blob)


class BuildCaches:
    """The caches of builds in all registries."""

    def __init__(
        self, store: ImageStore, registries: Registries, downloads: Downloads, pushes: Pushes
    ) -> None:
        self._store = store
        self._registries = registries
        self._downloads = downloads
        self._pushes = pushes

    async def open(self, reference: Reference, credentials: Credentials = NOBODY) -> RegistryCache:
        """Read the records of a cache, or those in the images of a name.

        Raises NotFoundError, DeniedError, UnavailableError and InvalidError as a pull does.
        """
        reference = reference.tagged()
        try:
            async with self._registries.repository(reference, credentials) as (repository, target):
                assert target is not None
                records = await _records(repository, target)
        except RegistryError as error:
            raise pull_refusal(error, reference) from error

        def fetch(blob: Descriptor) -> asyncio.Future[None]:
            return asyncio.ensure_future(self._layer(reference, credentials, blob))

        return RegistryCache(reference, records, fetch)

    async def _layer(self, reference: Reference, who: Credentials, blob: Descriptor) -> None:
        if await in_thread(self._store.content.claim, blob.digest):
            return
        try:
            async with self._registries.repository(reference, who) as (repository, _):
                await self._downloads.fetch(repository, blob, lambda _: None)
        except RegistryError as error:
            raise pull_refusal(error, reference) from error

    async def push(
        self, reference: Reference, made: Sequence[CachedLayer], credentials: Credentials = NOBODY
    ) -> str:
        """Push results under a tag; returns the manifest's digest. Within an operation.

        Layers that are plain here go compressed.
        """
        reference = reference.tagged()
        packed = [await self._pushes.compressed(one.blob, one.diff_id) for one in made]
        records = [replace(one, blob=blob) for one, blob in zip(made, packed, strict=True)]
        config, raw, descriptor = cache_manifest(records)
        content = self._store.content
        await in_thread(content.put, config)
        blobs: Mapping[str, Descriptor] = {blob.digest: blob for blob in packed}
        whole = Descriptor.of_bytes(CACHE_CONFIG, config)
        try:
            async with self._registries.repository(reference, credentials, push=True) as (to, _):
                async with asyncio.TaskGroup() as group:
                    for blob in (*blobs.values(), whole):
                        group.create_task(self._pushes.send(to, blob))
                await to.put_manifest(reference.tag or "latest", raw, descriptor.media_type)
        except BaseExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return descriptor.digest


async def _records(repository: Repository, target: Descriptor) -> list[CachedLayer]:
    raw, media_type = await repository.manifest(target.digest)
    document = parse_manifest(raw, media_type)
    if isinstance(document, Manifest):
        return await _of_manifest(repository, document)
    return [record for one in _images(document) for record in await _records(repository, one)]


def _images(index: Index) -> list[Descriptor]:
    found = [one for one in index.manifests if one.is_image]
    if len(found) > _PLATFORMS_LIMIT:
        raise LimitError(f"an index of more than {_PLATFORMS_LIMIT} images is no cache")
    return found


async def _of_manifest(repository: Repository, manifest: Manifest) -> list[CachedLayer]:
    if manifest.config.media_type == CACHE_CONFIG:
        config = await repository.document(manifest.config, _CONFIG_BYTES)
        return read_cache_config(config, manifest)
    image = parse_image(await repository.document(manifest.config, CONFIG_BYTES))
    return read_inline(image.document, manifest.layers)
