"""Which images are here and what they are called: the `index.json` of an OCI image layout.

There is one descriptor of a manifest for each name of an image, and one without a name for an image
that has none. What the layout has no place for stands in annotations, so that a start reads this
one document: configurations and manifests are read when somebody asks for them. A change is on disk
before it is answered.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import InvalidError, NotFoundError, SampanError
from sampan.images.core.digest import verify
from sampan.images.core.image import Image, chain_ids, parse_image
from sampan.images.core.manifest import (
    CONFIG_BYTES,
    MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    Manifest,
    descriptor_of,
    parse_manifest,
)
from sampan.images.core.reference import is_digest, parse_reference
from sampan.images.shell.content import ContentStore, replace_file

__all__ = ["Entry", "ImageIndex"]

_NAME: Final = "io.containerd.image.name"
_REF: Final = "org.opencontainers.image.ref.name"
_OWN: Final = "io.sampan.image."
_PARSED: Final = 64


class _Images:
    """Configurations read lately."""

    def __init__(self, content: ContentStore) -> None:
        self.content = content
        self._images: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()  # collecting reads them in a thread

    def get(self, id_: str) -> Image:
        """Return the image of a configuration's digest."""
        with self._lock:
            found = self._images.get(id_)
            if found is not None:
                self._images.move_to_end(id_)
                return found
        found = parse_image(verify(self.content.read(id_, CONFIG_BYTES), id_), id_)
        with self._lock:
            self._images[id_] = found
            if len(self._images) > _PARSED:
                self._images.popitem(last=False)
        return found


class Entry:
    """One image here: its manifest, its names, and the index of which it is one platform."""

    __slots__ = (
        "_blobs",
        "_created",
        "_diff_ids",
        "_images",
        "_labels",
        "digests",
        "id",
        "index",
        "manifest",
        "parent",
        "tags",
    )

    def __init__(
        self, id_: str, manifest: Descriptor, images: _Images, parent: str = "", index: str = ""
    ) -> None:
        self.id = id_
        self.manifest = manifest
        self.parent = parent
        self.index = index
        self.tags: list[str] = []
        self.digests: list[str] = []
        self._images = images
        self._blobs: tuple[str, ...] | None = None
        self._diff_ids: tuple[str, ...] | None = None
        self._created: str | None = None
        self._labels: Mapping[str, str] | None = None

    @property
    def image(self) -> Image:
        """Its configuration; NotFoundError when that is no longer here."""
        return self._images.get(self.id)

    def _learn(self) -> None:
        """Keep of the configuration what lists of images need."""
        image = self.image
        labels = image.config.get("Labels")
        self._labels = labels if isinstance(labels, Mapping) else {}
        self._created = image.created
        self._diff_ids = tuple(map(sys.intern, image.diff_ids))

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The layers' digests when they are plain tars."""
        if self._diff_ids is None:
            self._learn()
        return self._diff_ids or ()

    @property
    def created(self) -> str:
        """When it was made, RFC 3339."""
        if self._created is None:
            self._learn()
        return self._created or ""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        if self._labels is None:
            self._learn()
        return self._labels or {}

    def chains(self) -> list[str]:
        """Return the chain ids of its layers, none when its configuration cannot be read."""
        try:
            return chain_ids(self.diff_ids)
        except SampanError:
            return []

    @property
    def blobs(self) -> tuple[str, ...]:
        """The layers' blobs in order."""
        if self._blobs is None:
            layers = self.document().layers
            self._blobs = tuple(sys.intern(layer.digest) for layer in layers)
        return self._blobs

    def document(self) -> Manifest:
        """Return its manifest, read again."""
        raw = self._images.content.read(self.manifest.digest, MANIFEST_BYTES)
        found = parse_manifest(verify(raw, self.manifest.digest), self.manifest.media_type)
        if not isinstance(found, Manifest):
            raise InvalidError(f"{self.manifest.digest} is not an image's manifest")
        return found

    def replace(self, manifest: Descriptor) -> None:
        """Let another manifest of the same image take the place of this one."""
        self.manifest = manifest
        self._blobs = None

    def kept(self) -> Iterable[str]:
        """Return the digests of everything that the image needs."""
        own = (self.id, self.manifest.digest, *self.blobs)
        return (*own, self.index) if self.index else own


class ImageIndex:
    """All images, by id and by name."""

    def __init__(self, root: Path, content: ContentStore) -> None:
        self._path = root / "index.json"
        self._content = content
        self._images = _Images(content)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._written = b""
        if self._path.exists():
            self._load()

    def _load(self) -> None:
        here = self._content.digests()
        for found in json.loads(self._path.read_bytes())["manifests"]:
            descriptor = descriptor_of(found)
            notes = descriptor.annotations
            id_ = notes.get(_OWN + "config", "")
            if descriptor.digest not in here or id_ not in here:
                continue
            entry = self._entries.get(id_)
            if entry is None:
                plain = Descriptor(
                    descriptor.media_type,
                    descriptor.digest,
                    descriptor.size_bytes,
                    descriptor.platform,
                )
                parent, index = notes.get(_OWN + "parent", ""), notes.get(_OWN + "index", "")
                entry = self._entries[id_] = Entry(id_, plain, self._images, parent, index)
                for name in notes.get(_OWN + "digests", "").split():
                    self.name(entry, name)
            if notes.get(_NAME):
                self.name(entry, notes[_NAME])

    def revert(self) -> None:
        """Forget changes that could not be written; blocks."""
        self._entries.clear()
        self._names.clear()
        if self._path.exists():
            self._load()

    def document(self) -> bytes:
        """Return all of it as it is kept on disk."""
        descriptors = []
        for entry in self._entries.values():
            own = {_OWN + "config": entry.id}
            if entry.parent:
                own[_OWN + "parent"] = entry.parent
            if entry.index:
                own[_OWN + "index"] = entry.index
            if entry.digests:
                own[_OWN + "digests"] = " ".join(entry.digests)
            plain = entry.manifest.document
            descriptors += [
                {**plain, "annotations": {_NAME: name, _REF: name, **own}} for name in entry.tags
            ] or [{**plain, "annotations": own}]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": descriptors,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def write(self, document: bytes) -> None:
        """Replace what is on disk, if it is something else, after the blobs it names; blocks."""
        if document == self._written:
            return
        self._content.sync()
        replace_file(self._path, document)
        self._written = document

    def entries(self) -> list[Entry]:
        """Return all images."""
        return list(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: str) -> Entry | None:
        """Return the image of a whole id."""
        return self._entries.get(id_)

    def add(
        self,
        id_: str,
        manifest: Descriptor,
        *,
        parent: str = "",
        index: str = "",
        own: bool = False,
    ) -> Entry:
        """Add an image whose configuration and manifest are here, or find it again.

        A manifest that came with it takes the place of another; one of our `own` does not.
        """
        entry = self._entries.get(id_)
        if entry is None:
            entry = self._entries[id_] = Entry(id_, manifest, self._images, parent, index)
        elif not own and manifest.digest != entry.manifest.digest:
            entry.index = index
            entry.replace(manifest)
        else:
            entry.index = index or entry.index
        return entry

    def entry(self, id_: str, manifest: Descriptor, index: str = "") -> Entry:
        """Return what an image would be in the index, without adding it."""
        return Entry(id_, manifest, self._images, index=index)

    def family(self, entry: Entry) -> list[Entry]:
        """Return the images of the same index, this one first."""
        if not entry.index:
            return [entry]
        others = (one for one in self._entries.values() if one.index == entry.index)
        return [entry, *(one for one in others if one is not entry)]

    def name(self, entry: Entry, name: str) -> str | None:
        """Let a full name stand for an image; returns the id that it stood for before."""
        before = self._names.get(name)
        if before == entry.id:
            return before
        if before is not None:
            self.unname(name)
        (entry.digests if "@" in name else entry.tags).append(name)
        self._names[name] = entry.id
        return before

    def named(self, name: str) -> Entry | None:
        """Return the image that a full name stands for."""
        id_ = self._names.get(name)
        return None if id_ is None else self._entries[id_]

    def unname(self, name: str) -> None:
        """Take a name away."""
        entry = self._entries[self._names.pop(name)]
        (entry.digests if "@" in name else entry.tags).remove(name)

    def drop(self, id_: str) -> None:
        """Forget an image and its names."""
        entry = self._entries.pop(id_)
        for name in (*entry.tags, *entry.digests):
            self._names.pop(name, None)

    def find(self, text: str) -> Entry:
        """Return the image of a name, an id, or the beginning of one.

        Raises NotFoundError with Docker's words, InvalidError when several begin so.
        """
        bare = text.removeprefix("sha256:")
        if is_digest("sha256:" + bare) and "sha256:" + bare in self._entries:
            return self._entries["sha256:" + bare]
        missing = NotFoundError(f"No such image: {text}")
        try:
            reference = parse_reference(text)
        except InvalidError:
            reference = None
        if reference is not None:
            id_ = self._names.get(reference.key)
            if id_ is not None:
                return self._entries[id_]
            if not reference.digest and ":" not in text.rpartition("/")[2]:
                missing = NotFoundError(f"No such image: {text}:latest")
        if bare and all(letter in "0123456789abcdef" for letter in bare):
            prefix = "sha256:" + bare
            found = [entry for id_, entry in self._entries.items() if id_.startswith(prefix)]
            if len(found) > 1:
                raise InvalidError(f"multiple images found with provided prefix: {text}")
            if found:
                return found[0]
        raise missing
