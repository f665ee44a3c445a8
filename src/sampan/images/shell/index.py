"""Which names stand for which images, kept on disk: one JSON document, replaced as a whole.

An entry maps an image's id to its layers' blobs and to its names. Everything is in memory; a change
is on disk before it is answered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sampan.base.errors import InvalidError, NotFoundError
from sampan.images.core.image import Image, parse_image
from sampan.images.core.reference import is_digest, parse_reference
from sampan.images.shell.content import ContentStore

__all__ = ["Entry", "ImageIndex"]


@dataclass(slots=True)
class Entry:
    """One image here: its layers' blobs in order, and its names."""

    image: Image
    blobs: tuple[str, ...]
    tags: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    parent: str = ""


class ImageIndex:
    """All images, by id and by name."""

    def __init__(self, path: Path, content: ContentStore) -> None:
        self._path = path
        self._content = content
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        if path.exists():
            self._load()

    def _load(self) -> None:
        for id_, found in json.loads(self._path.read_text())["images"].items():
            if not self._content.has(id_):
                continue
            image = parse_image(self._content.read(id_))
            entry = Entry(
                image, tuple(found["blobs"]), found["tags"], found["digests"], found["parent"]
            )
            self._entries[id_] = entry
            for name in (*entry.tags, *entry.digests):
                self._names[name] = id_

    def save(self) -> None:
        """Write the document: beside, flushed, then renamed."""
        document = {
            "images": {
                id_: {
                    "blobs": entry.blobs,
                    "tags": entry.tags,
                    "digests": entry.digests,
                    "parent": entry.parent,
                }
                for id_, entry in self._entries.items()
            }
        }
        temporary = self._path.with_suffix(".new")
        with open(temporary, "w") as file:
            json.dump(document, file)
            file.flush()
            os.fdatasync(file.fileno())
        os.replace(temporary, self._path)

    def entries(self) -> list[Entry]:
        """Return all images."""
        return list(self._entries.values())

    def add(self, image: Image, blobs: Sequence[str], parent: str = "") -> Entry:
        """Add an image, or find it again."""
        entry = self._entries.get(image.id)
        if entry is None:
            entry = self._entries[image.id] = Entry(image, tuple(blobs), parent=parent)
        return entry

    def name(self, entry: Entry, name: str) -> str | None:
        """Let a full name stand for an image; returns the id that it stood for before."""
        before = self._names.get(name)
        if before == entry.image.id:
            return before
        if before is not None:
            self.unname(name)
        (entry.digests if "@" in name else entry.tags).append(name)
        self._names[name] = entry.image.id
        return before

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
