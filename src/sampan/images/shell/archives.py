"""Images out of one tar: the docker archive (`manifest.json`) and the OCI layout (`index.json`).

An archive may be either or both at once; what no document of it names is ignored. What the layout
says of manifests and indexes is kept, so that an image that has been saved comes back as what it
was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

from sampan.base.errors import InvalidError, LimitError, NotFoundError
from sampan.images.core.image import Image
from sampan.images.core.manifest import (
    MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from sampan.images.core.platform import Platform, platform_of, preferences
from sampan.images.core.reference import tag_name
from sampan.images.core.tar import TarError
from sampan.images.shell.archive_files import ArchiveFiles
from sampan.images.shell.compression import DAMAGED
from sampan.images.shell.content import ContentStore

__all__ = ["Loaded", "read_archive"]

_JSON_BYTES: Final = 8 << 20
_IMAGES: Final = 10_000
_LAYERS: Final = 1_000
_NAME: Final = "io.containerd.image.name"
_REF: Final = "org.opencontainers.image.ref.name"
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image of an archive: its blobs are in the content store.

    `manifest` is None when the archive does not tell; `index` is the digest of the index of which
    the image is one platform.
    """

    image: Image
    blobs: tuple[str, ...]
    names: tuple[str, ...]
    manifest: Descriptor | None = None
    index: str = ""


def read_archive(
    file: BinaryIO,
    content: ContentStore,
    machine: Platform | None = None,
    wanted: Sequence[Platform] = (),
) -> list[Loaded]:
    """Take the images out of an archive, plain or compressed; blocks.

    Of several platforms under one name the machine's gets it, else the first. With `wanted` only
    images for these platforms are taken. Raises InvalidError when it is neither kind, LimitError
    for documents beyond 8 MiB, NotFoundError when no image is for a platform that is wanted.
    """
    files = ArchiveFiles(content)
    try:
        files.read(file)
        return _Reader(files, machine, wanted).read()
    except TarError as error:
        raise InvalidError(f"the archive cannot be read: {error}") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InvalidError(f"the archive cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        # Documents of strangers: whatever shape they have instead of the one they should have.
        raise InvalidError(f"a document of the archive has the wrong shape: {error!r}") from error


class _Reader:
    """Finds the images that the documents of an archive name."""

    def __init__(
        self, files: ArchiveFiles, machine: Platform | None, wanted: Sequence[Platform]
    ) -> None:
        self._files = files
        self._machine = machine
        self._wanted = wanted

    def read(self) -> list[Loaded]:
        """Return the images; nothing but their blobs has been kept."""
        found: list[Loaded] = []
        layout, docker = self._files.find("index.json"), self._files.find("manifest.json")
        if not layout and not docker:
            raise InvalidError("the archive has neither a manifest.json nor an index.json")
        if layout:
            found = self._layout(layout)
        if docker:
            found = _joined(found, self._docker(docker))
        meant = [one for one in found if self._is_wanted(one.image)]
        if self._wanted and not meant:
            asked = ", ".join(map(str, self._wanted))
            raise NotFoundError(f"the archive has no image for the requested platform ({asked})")
        return meant

    def _is_wanted(self, image: Image) -> bool:
        own = [platform_of(image.document)]
        return not self._wanted or any(preferences(one, own) for one in self._wanted)

    def _json(self, digest: str) -> Any:
        try:
            return json.loads(self._files.bytes(digest, _JSON_BYTES))
        except ValueError as error:
            raise InvalidError(f"the archive has a document that is not JSON: {error}") from None

    # The docker archive.

    def _docker(self, digest: str) -> Iterator[Loaded]:
        manifest = self._json(digest)
        if not isinstance(manifest, list):
            raise InvalidError("manifest.json is not a list")
        if len(manifest) > _IMAGES:
            raise LimitError(f"the archive has more than {_IMAGES} images")
        for one in manifest:
            layers = one.get("Layers") or ()
            if len(layers) > _LAYERS:
                raise LimitError(f"an image of the archive has more than {_LAYERS} layers")
            image = self._files.image(self._files.digest(one["Config"]))
            blobs = tuple(self._files.digest(name) for name in layers)
            names = tuple(tag_name(name) for name in one.get("RepoTags") or ())
            self._check(image, blobs)
            yield Loaded(image, blobs, names)

    def _check(self, image: Image, blobs: tuple[str, ...]) -> None:
        if len(blobs) != len(image.diff_ids):
            raise InvalidError(
                f"invalid manifest, layers length mismatch: expected {len(image.diff_ids)}, "
                f"got {len(blobs)}"
            )
        for blob in blobs:
            self._files.keep(blob)

    # The OCI layout.

    def _layout(self, digest: str) -> list[Loaded]:
        loaded: list[Loaded] = []
        index = parse_manifest(self._files.bytes(digest, MANIFEST_BYTES))
        if not isinstance(index, Index):
            raise InvalidError("index.json is no index")
        for descriptor in index.manifests:
            name = descriptor.annotations.get(_NAME) or descriptor.annotations.get(_REF) or ""
            names = (tag_name(name),) if "/" in name or ":" in name else ()
            loaded += self._walk(descriptor, names, "", 0)
        return loaded

    def _walk(
        self, descriptor: Descriptor, names: tuple[str, ...], index: str, depth: int
    ) -> Iterator[Loaded]:
        if depth > _DEPTH:
            raise LimitError("image indexes are nested too deeply")
        raw = self._files.bytes(descriptor.digest, MANIFEST_BYTES)
        document = parse_manifest(raw, descriptor.media_type)
        if isinstance(document, Manifest):
            if document.is_image:
                found = self._image(document, descriptor, names, index)
                if self._is_wanted(found.image):
                    self._files.keep(descriptor.digest)
                    yield found
            return
        for child in self._children(document):
            for one in self._walk(child, names, index or descriptor.digest, depth + 1):
                self._files.keep(descriptor.digest)
                yield one
                names = ()

    def _children(self, index: Index) -> list[Descriptor]:
        """Return what is here of an index: the machine's platform first."""
        here = [
            one
            for one in index.manifests
            if (one.is_image or one.is_index) and self._is_whole(one.digest)
        ]
        if self._machine is None:
            return here
        best = preferences(self._machine, [one.platform for one in here])[:1]
        return [here[at] for at in best] + [one for at, one in enumerate(here) if at not in best]

    def _is_whole(self, digest: str) -> bool:
        if not self._files.here(digest):
            return False
        document = parse_manifest(self._files.bytes(digest, MANIFEST_BYTES))
        if isinstance(document, Index):
            return True
        return all(self._files.here(one.digest) for one in (document.config, *document.layers))

    def _image(
        self, manifest: Manifest, descriptor: Descriptor, names: tuple[str, ...], index: str
    ) -> Loaded:
        image = self._files.image(manifest.config.digest)
        blobs = tuple(layer.digest for layer in manifest.layers)
        self._check(image, blobs)
        plain = Descriptor(
            manifest.media_type, descriptor.digest, len(manifest.raw), platform_of(image.document)
        )
        return Loaded(image, blobs, names, plain, index)


def _joined(layout: Sequence[Loaded], docker: Iterator[Loaded]) -> list[Loaded]:
    """Return the images of both halves of an archive, each once; of names the layout knows best."""
    found: dict[str, Loaded] = {}
    for one in layout:  # one for each name
        names = (*found[one.image.id].names, *one.names) if one.image.id in found else one.names
        found[one.image.id] = replace(one, names=tuple(dict.fromkeys(names)))
    given = {name for one in layout for name in one.names}
    for one in docker:
        known = found.get(one.image.id, replace(one, names=()))
        more = (name for name in one.names if name not in given)
        found[one.image.id] = replace(known, names=tuple(dict.fromkeys((*known.names, *more))))
    return list(found.values())
