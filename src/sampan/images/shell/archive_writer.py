"""Images into one tar that is a docker archive and an OCI layout at once, as Docker writes it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sampan.images.core.manifest import MANIFEST_BYTES, OCI_INDEX, parse_manifest
from sampan.images.core.reference import parse_reference
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
    documents = {
        "index.json": json.dumps(index).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
    }
    yield from _tar(documents, [(_path(blob), content.path(blob)) for blob in blobs])


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _tar(documents: dict[str, bytes], blobs: Iterable[tuple[str, Path]]) -> Iterator[bytes]:
    for name, path in blobs:
        member = tarfile.TarInfo(name)
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
