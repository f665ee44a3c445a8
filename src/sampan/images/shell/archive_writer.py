"""Images into one tar that is a docker archive and an OCI layout at once, as Docker writes it.

The same images make the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.images.core.manifest import MANIFEST_BYTES, OCI_INDEX, parse_manifest
from sampan.images.core.reference import parse_reference
from sampan.images.core.tar import BLOCK_BYTES, Kind, header, padding
from sampan.images.core.tar import Entry as TarEntry
from sampan.images.shell.content import ContentStore
from sampan.images.shell.index import Entry

__all__ = ["Saved", "write_archive"]

_COPY_BYTES: Final = 1 << 20
_NAME: Final = "io.containerd.image.name"
_REF: Final = "org.opencontainers.image.ref.name"


@dataclass(slots=True)
class Saved:
    """What to save: an image under its names, and others of its index with it."""

    entry: Entry
    names: list[str]
    index: str = ""
    others: Sequence[Entry] = ()


def write_archive(images: Sequence[Saved], content: ContentStore) -> Iterator[bytes]:
    """Yield the pieces of an archive of these images; blocks."""
    manifest: list[dict[str, Any]] = []
    descriptors: list[dict[str, Any]] = []
    blobs: dict[str, None] = {}
    for one in images:
        for entry in (one.entry, *one.others):
            blobs |= dict.fromkeys((*entry.blobs, entry.id, entry.manifest.digest))
            names = one.names if entry is one.entry else []
            manifest.append(
                {
                    "Config": _path(entry.id),
                    "RepoTags": [parse_reference(name).familiar for name in names] or None,
                    "Layers": [_path(blob) for blob in entry.blobs],
                }
            )
        top = one.entry.manifest.document
        if one.index:
            blobs[one.index] = None
            raw = content.read(one.index, MANIFEST_BYTES)
            kind = parse_manifest(raw).media_type
            top = {"mediaType": kind, "digest": one.index, "size": len(raw)}
        notes = [{_NAME: name, _REF: name.rpartition(":")[2]} for name in one.names]
        descriptors += [{**top, "annotations": note} for note in notes] or [top]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    for folder in ["blobs", *sorted({_path(blob).rpartition("/")[0] for blob in blobs})]:
        yield header(TarEntry(folder, Kind.DIRECTORY, 0o755))
    for blob in blobs:
        yield from _blob(blob, content)
    documents = {
        "index.json": _json(index),
        "manifest.json": _json(manifest),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    for name, data in documents.items():
        yield header(TarEntry(name, size=len(data))) + data + bytes(padding(len(data)))
    yield bytes(2 * BLOCK_BYTES)


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _blob(digest: str, content: ContentStore) -> Iterator[bytes]:
    size = content.size(digest)
    with content.open(digest) as file:
        yield header(TarEntry(_path(digest), size=size))
        while data := file.read(_COPY_BYTES):
            yield data
        yield bytes(padding(size))
