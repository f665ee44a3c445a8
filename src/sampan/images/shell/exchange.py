"""Images in and out as one tar: load and save."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import BinaryIO, cast

from sampan.images.core.platform import Platform
from sampan.images.shell.archive_writer import Saved, write_archive
from sampan.images.shell.archives import Loaded, read_archive
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
    """Take in an archive as it comes; returns the images with the names they came with.

    What was stored of an archive that is refused goes again. `machine` and `platforms` are as in
    `read_archive`.
    """
    results: list[tuple[Entry, tuple[str, ...]]] = []
    try:
        async with store.operation():
            found = await _read(store, chunks, machine, platforms)
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


async def _read(
    store: ImageStore,
    chunks: AsyncIterable[bytes],
    machine: Platform | None,
    platforms: Sequence[Platform],
) -> list[Loaded]:
    """Read an archive in a thread while it comes in; nothing of it is stored twice."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def work() -> list[Loaded]:
        # Closed at the end: the feeding sees that nobody reads any more.
        with theirs, theirs.makefile("rb", buffering=1 << 20) as file:
            return read_archive(cast(BinaryIO, file), store.content, machine, platforms)

    feeding = asyncio.ensure_future(_feed(ours, chunks))
    try:
        found = await in_thread(work)
        # A client that has gone away has told only half, even when that looks like an end.
        await feeding
        return found
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await feeding
        ours.close()


async def _feed(sock: socket.socket, chunks: AsyncIterable[bytes]) -> None:
    """Pass on what comes; what nobody reads any more is taken and dropped."""
    loop = asyncio.get_running_loop()
    gone = False
    try:
        async for chunk in chunks:
            if not gone:
                try:
                    await loop.sock_sendall(sock, chunk)
                except (BrokenPipeError, ConnectionResetError):
                    gone = True
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)


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
                await store.hold(entry)
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
