"""The images of one machine: their blobs, their layers unpacked, their names.

Work that takes long runs in threads and outside of the lock that changes of the index take turns
by; what is under way is protected from collection. Changes are on disk before they are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sampan.base.errors import NotFoundError, SampanError
from sampan.images.core.image import Image, chain_ids
from sampan.images.core.manifest import (
    MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    parse_manifest,
    write_manifest,
)
from sampan.images.core.platform import Platform, platform_of, preferences
from sampan.images.core.reference import parse_reference, tag_name
from sampan.images.shell import nodes
from sampan.images.shell.content import Blobs, ContentStore
from sampan.images.shell.index import Entry, ImageIndex
from sampan.images.shell.memory import give_back
from sampan.images.shell.snapshots import Snapshots
from sampan.images.shell.thread import in_thread

__all__ = ["ImageEvent", "ImageStore", "NewImage", "names_meant", "now_text"]

ImageEvent = Callable[[str, str, Mapping[str, str]], None]
"""Called with the action, the image's id or name, and attributes."""


Keeper = Callable[[], Iterable[tuple[Sequence[str], Sequence[str]]]]
"""Returns chains to keep: diff ids and blobs of each. Called in a thread."""


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image to add under full names; without a manifest it gets one of its own."""

    image: Image
    blobs: Sequence[str]
    names: Sequence[str] = ()
    manifest: Descriptor | None = None
    parent: str = ""
    index: str = ""


class ImageStore:
    """Images, their blobs, and their layers unpacked.

    `pinned` returns the chain ids of layers that stay although no image has them: containers'.
    `driver` names a storage driver; see Snapshots.
    """

    def __init__(
        self,
        root: Path,
        on_event: ImageEvent | None = None,
        pinned: Callable[[], Iterable[str]] = tuple,
        driver: str = "",
    ) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool = root / "spool"
        self.spool.mkdir(mode=0o700, exist_ok=True)
        for leftover in self.spool.iterdir():
            nodes.remove_path(leftover)
        self.content = ContentStore(root)
        self.snapshots = Snapshots(root, driver=driver)
        self.index = ImageIndex(root, self.content)
        self._on_event = on_event or (lambda action, actor, attributes: None)
        self._pinned = pinned
        self._changing = asyncio.Lock()
        self._operations = 0
        self._chains: set[str] = set()
        self._sizes: dict[str, int] = {}
        self.keepers: list[Keeper] = []
        """Who has layers to keep besides images and containers: builds, for the next time."""

    # Finding.

    def find(self, text: str, platform: Platform | None = None) -> Entry:
        """Return the image of a name, an id or a prefix; NotFoundError as Docker's."""
        entry = self.index.find(text)
        if platform is None:
            return entry
        family = self.index.family(entry)
        found = preferences(platform, [self.platform(one) for one in family])
        if not found:
            raise NotFoundError(
                f"image with reference {text} was found but does not provide the specified "
                f"platform ({platform})"
            )
        return family[found[0]]

    def platform(self, entry: Entry) -> Platform | None:
        """Return what an image runs on, as its configuration has it."""
        return platform_of(entry.image.document)

    def document(self, entry: Entry) -> Index | None:
        """Return the index that an image's names stand for, None for an image by itself."""
        if not entry.index:
            return None
        try:
            found = parse_manifest(self.content.read(entry.index, MANIFEST_BYTES))
        except SampanError:
            return None
        return found if isinstance(found, Index) else None

    def size(self, entry: Entry) -> int:
        """Return the bytes that an image's layers take when they are unpacked."""
        return sum(map(self.layer_size, chain_ids(entry.diff_ids)))

    def layers_size(self) -> int:
        """Return the bytes of all images' layers, of shared ones once."""
        chains = {chain for entry in self.index.entries() for chain in entry.chains()}
        return sum(map(self.layer_size, chains))

    def layer_size(self, chain: str) -> int:
        """Return the bytes of one layer's own files, 0 when it is not unpacked."""
        found = self._sizes.get(chain)
        if found is None:
            found = self.snapshots.layer_size(chain)
            if found:
                self._sizes[chain] = found
        return found

    def event(self, action: str, actor: str, entry: Entry, name: str = "") -> None:
        """Tell listeners what happened to an image."""
        labels: Mapping[str, object] = {}
        with contextlib.suppress(SampanError):
            labels = entry.labels
        attributes = {str(key): str(value) for key, value in labels.items()}
        self._on_event(action, actor, {"name": name or actor, **attributes})

    # Changing.

    @contextlib.asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """Protect what is written, used and unpacked within from collection."""
        self._operations += 1
        try:
            with self.content.operation():
                yield
        finally:
            self._operations -= 1
            if not self._operations:
                self._chains.clear()
                give_back()

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Take one's turn to change the index; what was changed is on disk afterwards."""
        async with self._changing:
            yield
            try:
                await in_thread(self.index.write, self.index.document())
            except (OSError, SampanError):
                self.index.revert()
                raise

    async def hold(self, entry: Entry) -> None:
        """Let an image stay whole, within an operation; NotFoundError when it has gone already."""
        async with self._changing:
            if self.index.get(entry.id) is not entry:
                raise NotFoundError(f"No such image: {entry.id}")
            self.content.use(entry.kept())
            self._chains.update(entry.chains())

    async def unpack(
        self,
        diff_ids: Sequence[str],
        blobs: Sequence[str],
        told: Callable[[str, int], None] | None = None,
    ) -> None:
        """Unpack the layers of a chain that are missing; within an operation.

        `told` hears, on the event loop, from which blob how many bytes are unpacked.
        """
        async with self._changing:  # not while layers are being collected
            self._chains.update(chain_ids(diff_ids))
        content: Blobs = self.content
        if told is not None:
            loop = asyncio.get_running_loop()
            heard = told

            def hear(digest: str, size: int) -> None:
                loop.call_soon_threadsafe(heard, digest, size)

            content = self.content.watched(hear)
        await in_thread(self.snapshots.ensure, diff_ids, blobs, content)

    async def repair(self) -> None:
        """Unpack again the layers that a power cut may have damaged."""
        if not self.snapshots.torn:
            return
        async with self.operation():
            for entry in self.index.entries():
                with contextlib.suppress(SampanError):  # such an image stays unusable
                    await self.unpack(entry.diff_ids, entry.blobs)
        self.snapshots.torn.clear()

    async def describe(self, image: Image, blobs: Sequence[str]) -> Descriptor:
        """Make and store the manifest of an image that came without one."""
        return await in_thread(self._describe, image, blobs)

    def _describe(self, image: Image, blobs: Sequence[str]) -> Descriptor:
        layers = [self.layer(blob) for blob in blobs]
        self.content.put(image.raw, image.id)
        raw, manifest = write_manifest(Descriptor(OCI_CONFIG, image.id, len(image.raw)), layers)
        self.content.put(raw)
        return manifest

    def layer(self, blob: str) -> Descriptor:
        """Return what a blob is as a layer, by how it begins; NotFoundError without it."""
        return Descriptor(OCI_LAYER + self._suffix(blob), blob, self.content.size(blob))

    def _suffix(self, blob: str) -> str:
        with self.content.open(blob) as file:
            magic = file.read(4)
        if magic[:2] == b"\x1f\x8b":
            return "+gzip"
        return "+zstd" if magic == b"\x28\xb5\x2f\xfd" else ""

    async def unlisted(self, new: NewImage) -> Entry:
        """Return an image whose blobs are here without adding it; within an operation."""
        manifest = new.manifest or await self.describe(new.image, new.blobs)
        return self.index.entry(new.image.id, manifest, new.index)

    async def add(self, new: NewImage) -> Entry:
        """Add an image whose blobs are here; within an operation."""
        [entry] = await self.add_all([new])
        return entry

    async def add_all(self, images: Sequence[NewImage]) -> list[Entry]:
        """Add images whose blobs are here, all or none; within an operation.

        Their layers are unpacked if they are not yet.
        """
        manifests = []
        for new in images:
            await self.unpack(new.image.diff_ids, new.blobs)
            manifests.append(new.manifest or await self.describe(new.image, new.blobs))
        entries = []
        async with self.changing():
            for new, manifest in zip(images, manifests, strict=True):
                entry = self.index.add(
                    new.image.id,
                    manifest,
                    parent=new.parent,
                    index=new.index,
                    own=new.manifest is None,
                )
                for name in new.names:
                    self.index.name(entry, name)
                entries.append(entry)
        return entries

    async def tag(self, source: str, repository: str, tag: str) -> None:
        """Give an image a further name."""
        name = tag_name(f"{repository}:{tag}" if tag else repository)
        async with self.changing():
            entry = self.find(source)
            self.index.name(entry, name)
        self.event("tag", entry.id, entry, parse_reference(name).familiar)

    # Collecting.

    async def collect(self) -> int:
        """Remove the blobs and layers that no image, container or operation has.

        Returns the bytes of layers that came free. Within `changing`.
        """
        entries, chains = self.index.entries(), {*self._pinned(), *self._chains}
        return await in_thread(self._collect, entries, chains)

    def _collect(self, entries: Sequence[Entry], chains: set[str]) -> int:
        blobs: set[str] = set()
        for entry in entries:
            blobs |= {entry.id, entry.manifest.digest}
            with contextlib.suppress(SampanError):  # an image that is damaged keeps what it can
                blobs.update(entry.kept())
                chains.update(entry.chains())
        for keeper in self.keepers:
            for diff_ids, kept in keeper():
                blobs.update(kept)
                chains.update(chain_ids(diff_ids))
        self.content.collect(blobs)
        return self.snapshots.collect(chains)


def names_meant(text: str, entry: Entry) -> list[str]:
    """Return the full names that a text means: none for an id."""
    try:
        full = parse_reference(text).key
    except SampanError:
        return []
    return [full] if full in entry.tags or full in entry.digests else []


def now_text() -> str:
    """Return the present moment as configurations have it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
