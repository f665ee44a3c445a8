"""Images in and out as one tar: load and save."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from sampan.images.shell.archives import read_archive, write_archive
from sampan.images.shell.index import Entry
from sampan.images.shell.store import ImageStore, names_meant
from sampan.images.shell.thread import in_thread

__all__ = ["load_images", "save_images"]


async def load_images(
    store: ImageStore, chunks: AsyncIterable[bytes]
) -> list[tuple[Entry, tuple[str, ...]]]:
    """Take in an archive; returns the images with the names they came with.

    What was stored of an archive that is refused goes again.
    """
    results: list[tuple[Entry, tuple[str, ...]]] = []
    try:
        with tempfile.TemporaryFile(dir=store.spool) as file:
            async for chunk in chunks:
                await in_thread(file.write, chunk)
            file.seek(0)
            async with store.operation():
                for loaded in await in_thread(read_archive, file, store.content):
                    entry = await store.add(loaded.image, loaded.blobs, loaded.names)
                    results.append((entry, loaded.names))
                    store.event("load", entry.id, entry)
    finally:
        async with store.changing():
            await store.collect()
    return results


async def save_images(store: ImageStore, texts: Sequence[str]) -> AsyncIterator[bytes]:
    """Yield an archive of the images with these names."""
    wanted: dict[str, tuple[Entry, list[str]]] = {}
    for text in texts:
        entry = store.find(text)
        _, names = wanted.setdefault(entry.id, (entry, []))
        names += [name for name in names_meant(text, entry) if name not in names]
    async with store.operation():
        for entry, _ in wanted.values():
            store.content.use(entry.kept())
            store.event("save", entry.id, entry)
        pieces = write_archive(list(wanted.values()), store.content)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
