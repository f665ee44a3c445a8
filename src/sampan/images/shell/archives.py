"""Images as one tar: the docker archive (`manifest.json`) and the OCI layout (`index.json`).

What is written is both at once, as Docker writes it. What is read may be either; blobs are taken
out of the tar one by one, verified, and everything else in it is ignored.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from sampan.base.errors import InvalidError, LimitError
from sampan.images.core.image import Image, parse_image
from sampan.images.core.reference import tag_name
from sampan.images.shell.compression import open_plain, peek
from sampan.images.shell.content import ContentStore
from sampan.images.shell.index import Entry

__all__ = ["Loaded", "read_archive", "write_archive"]

_JSON_BYTES: Final = 8 << 20
_COPY_BYTES: Final = 1 << 20
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_NAME: Final = "io.containerd.image.name"
_REF: Final = "org.opencontainers.image.ref.name"
_ATTESTATION: Final = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image of an archive: its blobs are in the content store."""

    image: Image
    blobs: tuple[str, ...]
    names: tuple[str, ...]


def read_archive(file: BinaryIO, content: ContentStore) -> list[Loaded]:
    """Take the images out of an archive, plain or compressed; blocks.

    Raises InvalidError when it is neither kind, LimitError for documents beyond 8 MiB.
    """
    try:
        plain = cast(BinaryIO, open_plain(file, peek(file)))
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 18) as tar:
            return _Reader(content).read(tar)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidError(f"the archive cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        # Documents of strangers: whatever shape they have instead of the one they should have.
        raise InvalidError(f"a document of the archive has the wrong shape: {error!r}") from error


class _Reader:
    """Stores every blob as it comes; documents decide afterwards which of them are layers."""

    def __init__(self, content: ContentStore) -> None:
        self._content = content
        self._digests: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def read(self, tar: tarfile.TarFile) -> list[Loaded]:
        for member in tar:
            name = posixpath.normpath(member.name)
            if member.isreg():
                self._digests[name] = self._store(tar, member)
            elif member.issym() or member.islnk():
                folder = posixpath.dirname(name) if member.issym() else ""
                self._links[name] = posixpath.normpath(posixpath.join(folder, member.linkname))
        if "manifest.json" in self._digests:
            return self._docker()
        if "index.json" in self._digests:
            return self._layout()
        raise InvalidError("the archive has neither a manifest.json nor an index.json")

    def _store(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
        source = tar.extractfile(member)
        assert source is not None
        with self._content.writer() as writer:
            while data := source.read(_COPY_BYTES):
                writer.write(data)
            return writer.commit()

    def _digest(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(8):
            if name in self._digests:
                return self._digests[name]
            name = self._links.get(name, "")
        raise InvalidError("the archive lacks a file that its manifest names")

    def _json(self, digest: str) -> Any:
        try:
            return json.loads(self._content.read(digest, _JSON_BYTES))
        except ValueError as error:
            raise InvalidError(f"the archive has a document that is not JSON: {error}") from None

    def _docker(self) -> list[Loaded]:
        loaded = []
        manifest = self._json(self._digest("manifest.json"))
        if not isinstance(manifest, list):
            raise InvalidError("manifest.json is not a list")
        for one in manifest:
            image = parse_image(self._content.read(self._digest(one["Config"]), _JSON_BYTES))
            blobs = tuple(self._digest(name) for name in one.get("Layers") or ())
            names = tuple(tag_name(name) for name in one.get("RepoTags") or ())
            loaded.append(self._checked(image, blobs, names))
        return loaded

    def _layout(self) -> list[Loaded]:
        loaded = []
        for descriptor in self._json(self._digest("index.json")).get("manifests", ()):
            notes = descriptor.get("annotations") or {}
            name = notes.get(_NAME) or notes.get(_REF) or ""
            names = (tag_name(name),) if "/" in name or ":" in name else ()
            loaded += self._manifest(descriptor, names)
        return loaded

    def _manifest(
        self, descriptor: dict[str, Any], names: tuple[str, ...], depth: int = 0
    ) -> list[Loaded]:
        if depth > 4:
            raise LimitError("image indexes are nested too deeply")
        document = self._json(descriptor["digest"])
        if "manifests" in document:
            children = [
                one
                for one in document["manifests"]
                if _ATTESTATION not in (one.get("annotations") or {})
                and self._content.has(one["digest"])
            ]
            return [
                found for one in children[:1] for found in self._manifest(one, names, depth + 1)
            ]
        image = parse_image(self._content.read(document["config"]["digest"], _JSON_BYTES))
        blobs = tuple(layer["digest"] for layer in document.get("layers", ()))
        return [self._checked(image, blobs, names)]

    def _checked(self, image: Image, blobs: tuple[str, ...], names: tuple[str, ...]) -> Loaded:
        if len(blobs) != len(image.diff_ids):
            raise InvalidError(
                f"invalid manifest, layers length mismatch: expected {len(image.diff_ids)}, "
                f"got {len(blobs)}"
            )
        for blob in blobs:
            self._content.size(blob)
        return Loaded(image, blobs, names)


def write_archive(
    images: Sequence[tuple[Entry, Sequence[str]]], content: ContentStore
) -> Iterator[bytes]:
    """Yield the pieces of an archive of these images, each with the names to save; blocks."""
    manifest, descriptors = [], []
    documents: dict[str, bytes] = {}
    blobs: dict[str, None] = {}
    for entry, names in images:
        raw, digest = content.read(entry.manifest.digest), entry.manifest.digest
        documents[f"blobs/sha256/{digest[7:]}"] = raw
        short = [name.removeprefix("docker.io/").removeprefix("library/") for name in names]
        blobs |= dict.fromkeys((*entry.blobs, entry.image.id))
        manifest.append(
            {
                "Config": f"blobs/sha256/{entry.image.id[7:]}",
                "RepoTags": short or None,
                "Layers": [f"blobs/sha256/{blob[7:]}" for blob in entry.blobs],
            }
        )
        descriptor = {
            "mediaType": entry.manifest.media_type,
            "digest": digest,
            "size": len(raw),
        }
        for name in names:
            notes = {_NAME: name, _REF: name.rpartition(":")[2]}
            descriptors.append({**descriptor, "annotations": notes})
        if not names:
            descriptors.append(descriptor)
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": descriptors}
    documents["index.json"] = json.dumps(index).encode()
    documents["manifest.json"] = json.dumps(manifest).encode()
    documents["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    yield from _tar(documents, [content.path(blob) for blob in blobs])


def _tar(documents: dict[str, bytes], blobs: Iterable[Path]) -> Iterator[bytes]:
    for path in blobs:
        member = tarfile.TarInfo(f"blobs/sha256/{path.name}")
        member.size, member.mode = path.stat().st_size, 0o644
        yield member.tobuf()
        with open(path, "rb") as file:
            while data := file.read(_COPY_BYTES):
                yield data
        yield bytes(-member.size % 512)
    for name, data in documents.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o644
        yield member.tobuf() + data + bytes(-len(data) % 512)
    yield bytes(io.DEFAULT_BUFFER_SIZE)
