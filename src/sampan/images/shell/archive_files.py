"""The files of an archive of images, taken as they come.

An archive comes from strangers and as a stream. Small files are held, within bounds, until a
document names them; large ones become blobs at once. What no document names does not stay.
"""

from __future__ import annotations

import posixpath
from typing import BinaryIO, Final

from sampan.base.errors import InvalidError, LimitError
from sampan.images.core.digest import ALGORITHMS, digest_of
from sampan.images.core.image import Image, parse_image
from sampan.images.core.manifest import CONFIG_BYTES
from sampan.images.core.reference import is_digest
from sampan.images.core.tar import Entry, Kind, TarError
from sampan.images.core.tarreader import TarReader
from sampan.images.shell.content import ContentStore
from sampan.images.shell.streamsource import StreamSource

__all__ = ["ArchiveFiles"]

_HELD_BYTES: Final = 1 << 20
_ALL_HELD_BYTES: Final = 64 << 20
_ENTRIES: Final = 100_000
_RATIO: Final = 1_000


class ArchiveFiles:
    """The files of an archive, by their names and by their digests."""

    def __init__(self, content: ContentStore) -> None:
        self.content = content
        self._digests: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._held: dict[str, bytes] = {}
        self._held_bytes = 0

    def read(self, file: BinaryIO) -> None:
        """Take every file."""
        source = StreamSource(file, ratio=_RATIO)
        if source.empty:
            raise TarError("it is empty")
        reader = TarReader(source)
        count = 0
        while (entry := reader.next()) is not None:
            count += 1
            if count > _ENTRIES:
                raise LimitError(f"the archive has more than {_ENTRIES} entries")
            name = _normal(entry.name)
            if entry.kind is Kind.FILE:
                self._add(name, self._take(reader, entry, name))
            elif entry.kind is Kind.SYMLINK:
                folder = posixpath.dirname(name)
                self._links[name] = _normal(posixpath.join(folder, entry.link))
            elif entry.kind is Kind.HARD_LINK:
                self._links[name] = _normal(entry.link)

    def _add(self, name: str, digest: str) -> None:
        before = self._digests.setdefault(name, digest)
        if before != digest:
            raise InvalidError(f"the archive has two different files {name}")

    def _take(self, reader: TarReader, entry: Entry, name: str) -> str:
        """Hold a small file or store a large one; returns its digest."""
        if entry.extents is not None:
            raise InvalidError(f"{name}: sparse files are not expected in an archive of images")
        expected = _digest_in(name)
        if expected and self.content.claim(expected):
            return expected  # what the archive has under this name cannot matter
        if entry.size <= _HELD_BYTES and self._held_bytes + entry.size <= _ALL_HELD_BYTES:
            data = b"".join(bytes(piece) for piece in reader.data())
            digest = digest_of(data, expected.partition(":")[0] or "sha256")
            if expected not in ("", digest):
                raise InvalidError(f"digest mismatch: expected {expected}, got {digest}")
            self._held[digest] = data
            self._held_bytes += len(data)
            return digest
        with self.content.writer(expected or None) as writer:
            for piece in reader.data():
                writer.write(piece)
            return writer.commit()

    def find(self, name: str) -> str:
        """Return the digest of a file, links followed; "" without it."""
        name = _normal(name)
        for _ in range(8):
            if name in self._digests:
                return self._digests[name]
            name = self._links.get(name, "")
        return ""

    def digest(self, name: str) -> str:
        """Return the digest of a file that a document names."""
        found = self.find(name)
        if not found:
            raise InvalidError(f"the archive lacks the file {name[:256]} that its manifest names")
        return found

    def here(self, digest: str) -> bool:
        """Tell whether content came with the archive, or was here before."""
        return digest in self._held or self.content.claim(digest)

    def bytes(self, digest: str, limit_bytes: int) -> bytes:
        """Return a document."""
        held = self._held.get(digest)
        if held is None:
            return self.content.read(digest, limit_bytes)
        if len(held) > limit_bytes:
            raise LimitError(f"a document of the archive is larger than {limit_bytes} bytes")
        return held

    def keep(self, digest: str) -> str:
        """Make a blob of what is held; InvalidError when it is not there at all."""
        held = self._held.get(digest)
        if held is not None:
            self.content.put(held, digest)
        elif not self.content.claim(digest):
            raise InvalidError(f"the archive lacks the blob {digest} that its manifest names")
        return digest

    def image(self, digest: str) -> Image:
        """Keep a configuration and return its image."""
        image = parse_image(self.bytes(digest, CONFIG_BYTES), digest)
        self.keep(digest)
        return image


def _normal(name: str) -> str:
    """Return a name without anything to resolve; it is only ever looked up."""
    return posixpath.normpath("/" + name).lstrip("/")


def _digest_in(name: str) -> str:
    """Return the digest that a path of an image layout states, "" for another path."""
    parts = name.split("/")
    if len(parts) != 3 or parts[0] != "blobs" or parts[1] not in ALGORITHMS:
        return ""
    digest = f"{parts[1]}:{parts[2]}"
    return digest if is_digest(digest) else ""
