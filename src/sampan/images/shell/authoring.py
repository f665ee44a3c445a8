"""Images made here: of a root file system's tar, and of a container's writable layer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, BinaryIO

from sampan.images.core.image import parse_image
from sampan.images.core.reference import parse_reference
from sampan.images.shell.index import Entry
from sampan.images.shell.layers import diff_id_of
from sampan.images.shell.store import ImageStore, NewImage, now_text
from sampan.images.shell.thread import in_thread

__all__ = ["commit_container", "import_root"]


async def import_root(
    store: ImageStore,
    chunks: AsyncIterable[bytes],
    name: str | None,
    message: str,
    config: Mapping[str, Any],
    platform: tuple[str, str],
) -> Entry:
    """Make an image of a root file system's tar; returns it."""
    with tempfile.TemporaryFile(dir=store.spool) as file:
        async for chunk in chunks:
            await in_thread(file.write, chunk)
        file.seek(0)
        async with store.operation():
            blob, diff_id = await in_thread(_store_layer, store, file)
            now = now_text()
            note = {"created": now, "comment": message or "Imported from -"}
            document = {
                "architecture": platform[1],
                "os": platform[0],
                "created": now,
                "comment": note["comment"],
                "config": dict(config),
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                "history": [note],
            }
            entry = await _make(store, document, [blob], name)
            store.event("import", entry.id, entry, name or "")
            return entry


def _store_layer(store: ImageStore, file: BinaryIO) -> tuple[str, str]:
    """Keep a layer's blob and find its diff id; blocks."""
    with store.content.writer() as writer:
        while data := file.read(1 << 20):
            writer.write(data)
        blob = writer.commit()
    with store.content.open(blob) as layer:
        return blob, diff_id_of(layer)


async def commit_container(
    store: ImageStore,
    key: str,
    parent: Entry,
    config: Mapping[str, Any],
    name: str | None,
    *,
    author: str = "",
    comment: str = "",
    created_by: str = "",
) -> Entry:
    """Make an image of a container's writable layer upon its image."""
    async with store.operation():
        await store.hold(parent)
        blob = await in_thread(_store_difference, store, key, parent.diff_ids)
        now = now_text()
        note = {"created": now, "author": author, "comment": comment, "created_by": created_by}
        old = parent.image.document
        document = {
            **old,
            "created": now,
            "author": author,
            "comment": comment,
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [*parent.diff_ids, blob]},
            "history": [*(old.get("history") or ()), note],
        }
        entry = await _make(store, document, [*parent.blobs, blob], name, parent.id)
        if name:
            store.event("tag", entry.id, entry, parse_reference(name).familiar)
        return entry


def _store_difference(store: ImageStore, key: str, diff_ids: Sequence[str]) -> str:
    with store.content.writer() as writer:
        store.snapshots.write_layer(key, diff_ids, writer)
        return writer.commit()


async def _make(
    store: ImageStore,
    document: Mapping[str, Any],
    blobs: Sequence[str],
    name: str | None,
    parent: str = "",
) -> Entry:
    image = parse_image(json.dumps(document, separators=(",", ":")).encode())
    return await store.add(NewImage(image, blobs, [name] if name else (), parent=parent))
