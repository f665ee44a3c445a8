"""The images of one machine: loaded, made, named, listed, saved and removed.

Work that takes long runs in threads; everything else happens on the event loop at once. Changes are
on disk before they are answered.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.images.core.image import Image, chain_ids, parse_image
from sampan.images.core.reference import parse_reference, tag_name
from sampan.images.shell.archives import read_archive, write_archive
from sampan.images.shell.content import ContentStore
from sampan.images.shell.index import Entry, ImageIndex
from sampan.images.shell.layers import apply_layer, write_layer
from sampan.images.shell.snapshots import Snapshots

__all__ = ["ImageEvent", "ImageStore"]

ImageEvent = Callable[[str, str, Mapping[str, str]], None]
"""Called with the action, the image's id or name, and attributes."""

_SPOOL_BYTES: Final = 8 << 20


class ImageStore:
    """Images, their blobs, and their layers unpacked."""

    def __init__(self, root: Path, on_event: ImageEvent | None = None) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spool = root / "spool"
        self._spool.mkdir(mode=0o700, exist_ok=True)
        self.content = ContentStore(root)
        self.snapshots = Snapshots(root)
        self.index = ImageIndex(root / "images.json", self.content)
        self._on_event = on_event or (lambda action, actor, attributes: None)
        self._changing = asyncio.Lock()
        self._saving: Counter[str] = Counter()

    def find(self, text: str) -> Entry:
        """Return the image of a name, an id or a prefix; NotFoundError as Docker's."""
        return self.index.find(text)

    def event(self, action: str, actor: str, entry: Entry, name: str = "") -> None:
        """Tell listeners what happened to an image."""
        attributes = {str(k): str(v) for k, v in (entry.image.config.get("Labels") or {}).items()}
        self._on_event(action, actor, {"name": name or actor, **attributes})

    async def load(self, chunks: AsyncIterable[bytes]) -> list[tuple[Entry, tuple[str, ...]]]:
        """Take in an archive; returns the images with the names they came with."""
        with tempfile.TemporaryFile(dir=self._spool) as file:
            async for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            async with self._changing:
                found = await asyncio.to_thread(read_archive, file, self.content)
                results = []
                for loaded in found:
                    await self._unpack(loaded.image, loaded.blobs)
                    entry = self.index.add(loaded.image, loaded.blobs)
                    for name in loaded.names:
                        self.index.name(entry, name)
                    results.append((entry, loaded.names))
                    self.event("load", loaded.image.id, entry)
                self.index.save()
                self._collect()
        return results

    async def _unpack(self, image: Image, blobs: Sequence[str]) -> None:
        await asyncio.to_thread(self.snapshots.ensure, image.diff_ids, blobs, self.content)

    async def add(self, raw: bytes, blobs: Sequence[str], names: Sequence[str]) -> Entry:
        """Add an image whose blobs are here, as a pull does, under these full names."""
        image = parse_image(raw)
        async with self._changing:
            await self._unpack(image, blobs)
            self.content.put(raw)
            entry = self.index.add(image, blobs)
            for name in names:
                self.index.name(entry, name)
            self.index.save()
        return entry

    async def import_root(
        self,
        chunks: AsyncIterable[bytes],
        name: str | None,
        message: str,
        config: Mapping[str, Any],
        platform: tuple[str, str],
    ) -> Entry:
        """Make an image of a root file system's tar; returns it."""
        with tempfile.TemporaryFile(dir=self._spool) as file:
            async for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            async with self._changing:
                blob, diff_id = await asyncio.to_thread(self._store_layer, file)
                now = _now()
                note = {"created": now, "comment": message or "Imported from -"}
                document = {
                    "architecture": platform[1],
                    "os": platform[0],
                    "created": now,
                    "config": dict(config),
                    "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                    "history": [note],
                }
                return await self._make(document, [blob], name, "import")

    def _store_layer(self, file: BinaryIO) -> tuple[str, str]:
        """Keep a layer's blob and find its diff id by unpacking it once."""
        with self.content.writer() as writer:
            while data := file.read(1 << 20):
                writer.write(data)
            blob = writer.commit()
        with tempfile.TemporaryDirectory(dir=self._spool) as scratch, self.content.open(blob) as f:
            return blob, apply_layer(f, Path(scratch))

    async def commit(
        self,
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
        async with self._changing:
            blob = await asyncio.to_thread(self._diff_blob, key)
            now = _now()
            note = {"created": now, "author": author, "comment": comment, "created_by": created_by}
            old = parent.image.document
            document = {
                **old,
                "created": now,
                "author": author,
                "config": dict(config),
                "rootfs": {"type": "layers", "diff_ids": [*parent.image.diff_ids, blob]},
                "history": [*(old.get("history") or ()), note],
            }
            blobs = [*parent.blobs, blob]
            return await self._make(document, blobs, name, "commit", parent.image.id)

    def _diff_blob(self, key: str) -> str:
        with self.content.writer() as writer:
            write_layer(self.snapshots.upper(key), writer)  # type: ignore[arg-type]
            return writer.commit()

    async def _make(
        self,
        document: Mapping[str, Any],
        blobs: Sequence[str],
        name: str | None,
        action: str,
        parent: str = "",
    ) -> Entry:
        raw = json.dumps(document, separators=(",", ":")).encode()
        image = parse_image(raw)
        await self._unpack(image, blobs)
        self.content.put(raw)
        entry = self.index.add(image, blobs, parent)
        if name:
            self.index.name(entry, name)
        self.index.save()
        self.event(action, image.id, entry, name or "")
        return entry

    async def save(self, texts: Sequence[str]) -> AsyncIterator[bytes]:
        """Yield an archive of the images with these names."""
        wanted: dict[str, tuple[Entry, list[str]]] = {}
        for text in texts:
            entry = self.find(text)
            _, names = wanted.setdefault(entry.image.id, (entry, []))
            names += [name for name in _names_meant(text, entry) if name not in names]
        for entry, _ in wanted.values():
            self.event("save", entry.image.id, entry)
        kept = {blob for entry, _ in wanted.values() for blob in (*entry.blobs, entry.image.id)}
        self._saving.update(kept)
        try:
            pieces = write_archive(list(wanted.values()), self.content)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
        finally:
            self._saving.subtract(kept)

    async def tag(self, source: str, repository: str, tag: str) -> None:
        """Give an image a further name."""
        entry = self.find(source)
        name = tag_name(f"{repository}:{tag}" if tag else repository)
        async with self._changing:
            self.index.name(entry, name)
            self.index.save()
        self.event("tag", entry.image.id, entry, parse_reference(name).familiar)

    async def remove(
        self, text: str, users: Callable[[str], Sequence[str]], *, force: bool
    ) -> list[dict[str, str]]:
        """Remove a name, and with the last one the image; returns what went.

        `users` returns the short ids of containers of an image, those that run marked by a "!".
        """
        entry = self.find(text)
        id_ = entry.image.id
        # A name may look like the beginning of an id: what is a name is never taken for one.
        meant = _names_meant(text, entry)
        by_id = not meant
        names = meant or [*entry.tags, *entry.digests]
        holders = list(users(id_))
        if by_id:
            self._check_by_id(entry, holders, force)
        last = by_id or len(entry.tags) <= len([one for one in names if "@" not in one])
        running = [one for one in holders if one.startswith("!")]
        if last and (running or (holders and not force)):
            if not by_id and holders and not (force and not running):
                holder = holders[0].lstrip("!")
                raise ConflictError(
                    f'conflict: unable to remove repository reference "{text}" (must force) - '
                    f"container {holder} is using its referenced image {_short(id_)}"
                )
        async with self._changing:
            gone = []
            for name in [*names, *(entry.digests if last else ())]:
                if name in entry.tags or name in entry.digests:
                    self.index.unname(name)
                    gone.append({"Untagged": parse_reference(name).familiar})
                    self.event("untag", id_, entry)
            if not entry.tags and not (holders and not by_id):
                gone += self._drop(entry)
            self.index.save()
            self._collect()
        return gone

    def _check_by_id(self, entry: Entry, holders: Sequence[str], force: bool) -> None:
        short = _short(entry.image.id)
        for holder in holders:
            name = holder.lstrip("!")
            if holder.startswith("!"):
                raise ConflictError(
                    f"conflict: unable to delete {short} (cannot be forced) - image is being used "
                    f"by running container {name}"
                )
            if not force:
                raise ConflictError(
                    f"conflict: unable to delete {short} (must be forced) - image is being used "
                    f"by stopped container {name}"
                )
        repositories = {name.rpartition(":")[0] for name in entry.tags}
        if len(repositories) > 1 and not force:
            raise ConflictError(
                f"conflict: unable to delete {short} (must be forced) - image is referenced in "
                "multiple repositories"
            )

    def _drop(self, entry: Entry) -> list[dict[str, str]]:
        self.index.drop(entry.image.id)
        self.event("delete", entry.image.id, entry)
        used = {chain for one in self.index.entries() for chain in chain_ids(one.image.diff_ids)}
        chains = [one for one in chain_ids(entry.image.diff_ids) if one not in used]
        return [{"Deleted": entry.image.id}, *({"Deleted": one} for one in reversed(chains))]

    async def prune(
        self, chosen: Callable[[Entry], bool], users: Callable[[str], Sequence[str]]
    ) -> tuple[list[dict[str, str]], int]:
        """Remove every chosen image that no container uses; returns what went, and bytes freed."""
        gone = []
        async with self._changing:
            for entry in self.index.entries():
                if chosen(entry) and not users(entry.image.id):
                    gone += [{"Untagged": parse_reference(one).familiar} for one in entry.tags]
                    gone += self._drop(entry)
            self.index.save()
            freed = self._collect()
        return gone, freed

    def _collect(self) -> int:
        """Remove the blobs and layers that no image has."""
        blobs = {blob for blob, users in self._saving.items() if users > 0}
        chains: set[str] = set()
        for entry in self.index.entries():
            blobs |= {entry.image.id, *entry.blobs}
            chains |= set(chain_ids(entry.image.diff_ids))
        self.content.collect(blobs)
        return self.snapshots.collect(chains)

    def size(self, entry: Entry) -> int:
        """Return the bytes that an image's layers take when they are unpacked."""
        return sum(map(self.snapshots.layer_size, chain_ids(entry.image.diff_ids)))

    def named(self, name: str) -> Entry:
        """Return the image of a full name; NotFoundError without it."""
        try:
            return self.index.find(name)
        except InvalidError:
            raise NotFoundError(f"No such image: {name}") from None


def _names_meant(text: str, entry: Entry) -> list[str]:
    """Return the full names that a text means: none for an id."""
    try:
        full = parse_reference(text).key
    except InvalidError:
        return []
    return [full] if full in entry.tags or full in entry.digests else []


def _short(id_: str) -> str:
    return id_.removeprefix("sha256:")[:12]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
