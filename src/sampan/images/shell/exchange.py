"""Images in and out as one tar: load and save."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from sampan.images.core.platform import Platform
from sampan.images.shell.archive_writer import Saved, write_archive
from sampan.images.shell.archives import read_archive
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore, NewImage, names_meant
from sampan.images.shell.thread import in_thread

__all__ = ["load_images", "save_images"]


async def load_images(
    store: ImageStore,
    chunks: AsyncIterable[bytes],
    machine: Platform | None = None,
    platforms: Sequence[Platform] = (),
) -> list[tuple[Entry, tuple[str, ...]]]:
    """Take in an archive; returns the images with the names they came with.

    What was stored of an archive that is refused goes again. `machine` and `platforms` are as in
    `read_archive`.
    """
    results: list[tuple[Entry, tuple[str, ...]]] = []
    try:
        with tempfile.TemporaryFile(dir=store.spool) as file:
            async for chunk in chunks:
                await in_thread(file.write, chunk)
            file.seek(0)
            async with store.operation():
                found = await in_thread(read_archive, file, store.content, machine, platforms)
                new = [
                    NewImage(one.image, one.blobs, one.names, one.manifest, index=one.index)
                    for one in found
                ]
                for one, entry in zip(found, await store.add_all(new), strict=True):
                    results.append((entry, one.names))
                    store.event("load", entry.id, entry)
    finally:
        async with store.changing():
            await store.collect()
    return results


async def save_images(
    store: ImageStore, texts: Sequence[str], platforms: Sequence[Platform] = ()
) -> AsyncIterator[bytes]:
    """Yield an archive of the images with these names.

    All platforms of an index that are here, or those that are asked for.
    """
    async with store.operation():
        wanted = _wanted(store, texts, platforms)
        for one in wanted:
            for entry in (one.entry, *one.others):
                store.content.use(entry.kept())
            store.event("save", one.entry.id, one.entry)
        pieces = write_archive(wanted, store.content)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


def _wanted(store: ImageStore, texts: Sequence[str], platforms: Sequence[Platform]) -> list[Saved]:
    found: dict[str, Saved] = {}
    for text in texts:
        names = names_meant(text, store.find(text))
        for platform in platforms or (None,):
            entry = store.find(text, platform)
            one = found.setdefault(entry.id, Saved(entry, []))
            one.names += [name for name in names if name not in one.names and "@" not in name]
            if platform is None and entry.index:
                one.index, one.others = entry.index, store.index.family(entry)[1:]
            names = []
    return list(found.values())
