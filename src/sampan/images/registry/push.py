"""Pushing: an image's layers in parallel, then its configuration and its manifest.

What was pulled goes as it came, byte by byte. Layers that are plain here, loaded or made, are
compressed first, always to the same bytes, and the image keeps the compressed ones from then on.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from isal import isal_zlib

from sampan.images.core.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    Manifest,
    write_manifest,
)
from sampan.images.core.progress import Progress
from sampan.images.core.reference import Reference, parse_reference
from sampan.images.core.registryoptions import RegistryOptions
from sampan.images.registry.download import Report
from sampan.images.registry.options import Slots
from sampan.images.registry.repository import Repository
from sampan.images.registry.upload import upload
from sampan.images.shell.content import ContentStore
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore
from sampan.images.shell.thread import in_thread

__all__ = ["Pushes"]

_COPY_BYTES: Final = 1 << 20
_LEVEL: Final = 2
_GZIP: Final = 31
_NEIGHBOURS: Final = 3


@dataclass(frozen=True, slots=True)
class _Push:
    repository: Repository
    reference: Reference
    entry: Entry
    report: Report
    as_it_is: bool = False
    """Its manifest is part of an index: not a byte of it may change."""


class Pushes:
    """All pushes of a daemon."""

    def __init__(
        self, store: ImageStore, options: Callable[[], RegistryOptions], first_wait_s: float = 1.0
    ) -> None:
        self._store = store
        self._content = store.content
        self._options = options
        self._first_wait_s = first_wait_s
        self._slots = Slots(lambda: options().max_concurrent_uploads)
        self._compressed: dict[str, Descriptor] = {}

    async def run(
        self,
        repository: Repository,
        reference: Reference,
        entry: Entry,
        report: Report,
        *,
        index: bool = True,
    ) -> str:
        """Push an image under a tag, or with `index` all of its index; returns the digest."""
        push = _Push(repository, reference, entry, report)
        async with self._store.operation():
            document = self._complete(entry) if index else None
            if document is None:
                raw, descriptor = await self._send(push)
            else:
                for member in self._store.index.family(entry):
                    part = dataclasses.replace(push, entry=member, as_it_is=True)
                    sent, manifest = await self._send(part)
                    await repository.put_manifest(manifest.digest, sent, manifest.media_type)
                raw = document.raw
                descriptor = Descriptor(document.media_type, entry.index, len(raw))
            tag = reference.tag or "latest"
            await repository.put_manifest(tag, raw, descriptor.media_type)
            name = dataclasses.replace(reference, tag=None, digest=descriptor.digest).key
            async with self._store.changing():
                if self._store.index.get(entry.id) is entry:
                    if document is None and descriptor.digest != entry.manifest.digest:
                        entry.replace(descriptor)
                    self._store.index.name(entry, name)
        report(Progress.message(f"{tag}: digest: {descriptor.digest} size: {len(raw)}"))
        aux = {"Tag": tag, "Digest": descriptor.digest, "Size": len(raw)}
        report(Progress(aux=aux))
        self._store.event("push", reference.familiar, entry, reference.familiar_name)
        return descriptor.digest

    def _complete(self, entry: Entry) -> Index | None:
        """Return the index of an image if everything that it names is here."""
        document = self._store.document(entry)
        here = {one.manifest.digest for one in self._store.index.family(entry)}
        if document is None or any(one.digest not in here for one in document.manifests):
            return None
        return document

    async def _send(self, push: _Push) -> tuple[bytes, Descriptor]:
        """Upload layers and configuration; returns the manifest that goes with them."""
        entry = push.entry
        await self._store.hold(entry)
        manifest = await in_thread(entry.document)
        for diff_id in entry.diff_ids:
            push.report(Progress("Preparing", _short(diff_id)))
        layers = await self._layers(push, manifest)
        await self._upload(push, manifest.config, ())
        if layers == list(manifest.layers):
            return manifest.raw, entry.manifest
        config = dataclasses.replace(manifest.config, media_type=OCI_CONFIG)
        raw, descriptor = write_manifest(config, layers)
        await in_thread(self._content.put, raw, descriptor.digest)
        return raw, descriptor

    async def _layers(self, push: _Push, manifest: Manifest) -> list[Descriptor]:
        """Upload the layers; returns what they are in the registry."""
        tasks: dict[str, asyncio.Task[Descriptor]] = {}
        for diff_id, layer in zip(push.entry.diff_ids, manifest.layers, strict=True):
            if layer.digest not in tasks:
                tasks[layer.digest] = asyncio.create_task(self._layer(push, diff_id, layer))
        try:
            await asyncio.gather(*tasks.values())
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return [tasks[layer.digest].result() for layer in manifest.layers]

    async def _layer(self, push: _Push, diff_id: str, layer: Descriptor) -> Descriptor:
        short = _short(diff_id)
        if self._slots.full:
            push.report(Progress("Waiting", short))
        async with self._slots.one():
            if not push.as_it_is:
                layer = await self.compressed(layer, diff_id)
            total = layer.size_bytes
            neighbours = await in_thread(self._neighbours, push.reference, layer.digest)

            def sent(size: int) -> None:
                push.report(Progress("Pushing", short, size, total))

            how = await self._upload(push, layer, neighbours, sent)
        push.report(Progress(how, short))
        return layer

    async def _upload(
        self,
        push: _Push,
        blob: Descriptor,
        neighbours: Sequence[str],
        sent: Callable[[int], None] = lambda _: None,
    ) -> str:
        return await upload(
            push.repository,
            self._content,
            blob,
            neighbours=neighbours,
            attempts=self._options().max_download_attempts,
            first_wait_s=self._first_wait_s,
            sent=sent,
        )

    def _neighbours(self, reference: Reference, digest: str) -> list[str]:
        """Return repositories of the same registry that have a blob, as far as is known here."""
        found: dict[str, None] = {}
        for entry in self._store.index.entries():
            for name in entry.digests:
                other = parse_reference(name)
                same = other.domain == reference.domain and other.path != reference.path
                if same and other.path not in found and digest in entry.blobs:
                    found[other.path] = None
        return list(found)[:_NEIGHBOURS]

    async def send(self, repository: Repository, blob: Descriptor) -> None:
        """Upload one blob that is no image's, in its turn."""
        async with self._slots.one():
            await upload(
                repository,
                self._content,
                blob,
                attempts=self._options().max_download_attempts,
                first_wait_s=self._first_wait_s,
                sent=lambda _: None,
            )

    async def compressed(self, layer: Descriptor, diff_id: str) -> Descriptor:
        """Return a layer as it goes to registries: compressed, when it is plain here."""
        if layer.digest != diff_id:
            return layer
        found = self._compressed.get(layer.digest)
        if found is not None:
            if await in_thread(self._content.claim, found.digest):
                return found
        found = await in_thread(_compress, self._content, layer.digest)
        self._compressed[layer.digest] = found
        return found


def _compress(content: ContentStore, digest: str) -> Descriptor:
    """Store a plain layer compressed; the header has no time, so that it is always the same."""
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
    with content.open(digest) as file, content.writer() as writer:
        while data := file.read(_COPY_BYTES):
            writer.write(packer.compress(data))
        writer.write(packer.flush())
        size = writer.size_bytes
        return Descriptor(OCI_LAYER + "+gzip", writer.commit(), size)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]
