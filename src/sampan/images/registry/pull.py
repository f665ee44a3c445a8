"""Pulling: from a name to an image, layers in parallel and unpacked in order while others come."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sampan.base.errors import InvalidError, LimitError, NotFoundError
from sampan.images.core.image import Image, parse_image
from sampan.images.core.manifest import CONFIG_BYTES, Descriptor, Index, Manifest, parse_manifest
from sampan.images.core.platform import Platform, platform_of, preferences
from sampan.images.core.progress import Progress
from sampan.images.core.reference import Reference
from sampan.images.registry.download import Downloads, Report
from sampan.images.registry.repository import Repository
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore, NewImage
from sampan.images.shell.thread import in_thread

__all__ = ["Pull", "Pulled"]

_DEPTH: Final = 3


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull has brought: `digest` is what the name stands for, an index perhaps."""

    entry: Entry
    digest: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Chosen:
    """One image of a name: its documents are in the content store."""

    manifest: Manifest
    descriptor: Descriptor
    image: Image
    index: str


class Pull:
    """One pull of one name, of a repository whose registry answers."""

    def __init__(
        self,
        store: ImageStore,
        downloads: Downloads,
        repository: Repository,
        platform: Platform | None,
        machine: Platform,
        report: Report,
    ) -> None:
        self._store = store
        self._content = store.content
        self._downloads = downloads
        self._repository = repository
        self._asked = platform
        self._wanted = platform or machine
        self._report = report

    async def run(self, reference: Reference, target: Descriptor) -> Pulled:
        """Have the image of a reference that stands for `target`; returns it.

        Nothing of it is seen before it is whole.
        """
        shown = reference.digest or reference.tag or ""
        name = dataclasses.replace(reference, tag=None, digest=target.digest).key
        names = [name] if reference.digest else [name, reference.key]
        async with self._store.operation():
            chosen = await self._choose(target)
            self._report(Progress.message(f"Pulling from {reference.path}", shown))
            fresh = await self._layers(chosen)
            before = self._store.index.named(reference.key)
            blobs = [layer.digest for layer in chosen.manifest.layers]
            new = NewImage(chosen.image, blobs, names, chosen.descriptor, index=chosen.index)
            entry = await self._store.add(new)
        fresh = fresh or before is not entry
        self._report(Progress.message(f"Digest: {target.digest}"))
        self._warn(reference, chosen.image)
        familiar = reference.familiar
        self._store.event("pull", familiar, entry, reference.familiar_name)
        return Pulled(entry, target.digest, fresh)

    def _warn(self, reference: Reference, image: Image) -> None:
        """Say so when the one image of a name is not for the platform that was asked for."""
        own = platform_of(image.document)
        if self._asked is not None and own is not None and not preferences(self._asked, [own]):
            self._report(
                Progress.message(
                    f"WARNING: image with reference {reference.familiar} was found but does not "
                    f"match the specified platform: wanted {self._asked}, actual: {own}"
                )
            )

    # Documents.

    async def _choose(self, target: Descriptor) -> _Chosen:
        descriptor, index = target, ""
        for _ in range(_DEPTH):
            raw = await self._manifest(descriptor)
            document = parse_manifest(raw, descriptor.media_type)
            descriptor = Descriptor(
                document.media_type, descriptor.digest, len(raw), descriptor.platform
            )
            if isinstance(document, Manifest):
                image = await self._image(document)
                return _Chosen(document, descriptor, image, index)
            index = index or descriptor.digest
            descriptor = self._best(document)
        raise LimitError("image indexes are nested too deeply")

    async def _manifest(self, descriptor: Descriptor) -> bytes:
        digest = descriptor.digest
        if await in_thread(self._content.claim, digest):
            return await in_thread(self._content.read, digest)
        raw, _ = await self._repository.manifest(digest)
        await in_thread(self._content.put, raw, digest)
        return raw

    def _best(self, index: Index) -> Descriptor:
        offered = [one for one in index.manifests if one.is_image or one.is_index]
        found = preferences(self._wanted, [one.platform for one in offered])
        if not found:
            raise NotFoundError(
                f"no matching manifest for {self._wanted} in the manifest list entries"
            )
        return offered[found[0]]

    async def _image(self, manifest: Manifest) -> Image:
        config = manifest.config
        if not manifest.is_image:
            kind = manifest.artifact_type or config.media_type
            raise InvalidError(f"unsupported media type {kind}: this is not an image")
        if await in_thread(self._content.claim, config.digest):
            raw = await in_thread(self._content.read, config.digest, CONFIG_BYTES)
        else:
            raw = await self._repository.document(config, CONFIG_BYTES)
            await in_thread(self._content.put, raw, config.digest)
        image = parse_image(raw, config.digest)
        if len(image.diff_ids) != len(manifest.layers):
            raise InvalidError(
                f"invalid manifest, layers length mismatch: expected {len(image.diff_ids)}, "
                f"got {len(manifest.layers)}"
            )
        return image

    # Layers.

    async def _layers(self, chosen: _Chosen) -> bool:
        """Download and unpack the layers; returns whether anything was missing."""
        layers = {layer.digest: layer for layer in chosen.manifest.layers}
        here = await in_thread(lambda: [one for one in layers if self._content.claim(one)])
        for digest in layers:
            self._tell("Pulling fs layer" if digest not in here else "Already exists", digest)
        tasks = {
            digest: asyncio.create_task(
                self._downloads.fetch(self._repository, layer, self._report)
            )
            for digest, layer in layers.items()
            if digest not in here
        }
        try:
            await self._unpack(chosen, tasks)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return bool(tasks)

    async def _unpack(self, chosen: _Chosen, tasks: dict[str, asyncio.Task[None]]) -> None:
        diff_ids, blobs = chosen.image.diff_ids, [one.digest for one in chosen.manifest.layers]
        failed = asyncio.ensure_future(_first_failure(list(tasks.values())))
        try:
            for count, blob in enumerate(blobs, 1):
                task = tasks.get(blob)
                if task is not None:
                    await asyncio.wait((task, failed), return_when=asyncio.FIRST_COMPLETED)
                    if failed.done():
                        failed.result()
                    await task
                size = chosen.manifest.layers[count - 1].size_bytes

                def extracted(digest: str, at: int, size: int = size) -> None:
                    self._tell("Extracting", digest, at, size)

                told = None if task is None else extracted
                await self._store.unpack(diff_ids[:count], blobs[:count], told)
                if task is not None:
                    self._tell("Extracting", blob, size, size)
                    self._tell("Pull complete", blob)
        finally:
            failed.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await failed

    def _tell(self, status: str, digest: str, current: int | None = None, total: int = 0) -> None:
        short = digest.partition(":")[2][:12]
        self._report(Progress(status, short, current, total))


async def _first_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Raise what the first task to fail raises; return when none does."""
    for next_ in asyncio.as_completed(tasks):
        await next_
