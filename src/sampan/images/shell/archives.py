"""Images out of one tar: the docker archive (`manifest.json`) and the OCI layout (`index.json`).

An archive may be either or both at once; blobs are taken out of the tar one by one, verified, and
everything else in it is ignored. What the layout says of manifests and indexes is kept, so that an
image that has been saved comes back as what it was.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, cast

from sampan.base.errors import InvalidError, LimitError, NotFoundError
from sampan.images.core.image import Image, parse_image
from sampan.images.core.manifest import (
    MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    descriptor_of,
    parse_manifest,
)
from sampan.images.core.platform import Platform, platform_of, preferences
from sampan.images.core.reference import is_digest, tag_name
from sampan.images.shell.compression import open_plain, peek
from sampan.images.shell.content import ContentStore

__all__ = ["Loaded", "read_archive"]

_JSON_BYTES: Final = 8 << 20
_COPY_BYTES: Final = 1 << 20
_NAME: Final = "io.containerd.image.name"
_REF: Final = "org.opencontainers.image.ref.name"
_DEPTH: Final = 4
_BLOB: Final = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")


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
    try:
        plain = cast(BinaryIO, open_plain(file, peek(file)))
        with tarfile.open(fileobj=plain, mode="r|", bufsize=1 << 18) as tar:
            return _Reader(content, machine, wanted).read(tar)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidError(f"the archive cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        # Documents of strangers: whatever shape they have instead of the one they should have.
        raise InvalidError(f"a document of the archive has the wrong shape: {error!r}") from error


class _Reader:
    """Stores every blob as it comes; documents decide afterwards which of them are layers."""

    def __init__(
        self, content: ContentStore, machine: Platform | None, wanted: Sequence[Platform]
    ) -> None:
        self._content = content
        self._machine = machine
        self._wanted = wanted
        self._digests: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def read(self, tar: tarfile.TarFile) -> list[Loaded]:
        for member in tar:
            name = posixpath.normpath(member.name)
            if member.isreg():
                self._digests[name] = self._store(tar, member, name)
            elif member.issym() or member.islnk():
                folder = posixpath.dirname(name) if member.issym() else ""
                self._links[name] = posixpath.normpath(posixpath.join(folder, member.linkname))
        if not {"manifest.json", "index.json"} & set(self._digests):
            raise InvalidError("the archive has neither a manifest.json nor an index.json")
        found = self._layout() if "index.json" in self._digests else []
        if "manifest.json" in self._digests:
            found = _joined(found, self._docker())
        meant = [one for one in found if self._is_wanted(one.image)]
        if self._wanted and not meant:
            asked = ", ".join(map(str, self._wanted))
            raise NotFoundError(f"the archive has no image for the requested platform ({asked})")
        return meant

    def _is_wanted(self, image: Image) -> bool:
        own = [platform_of(image.document)]
        return not self._wanted or any(preferences(one, own) for one in self._wanted)

    def _store(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> str:
        source = tar.extractfile(member)
        assert source is not None
        found = _BLOB.fullmatch(name)
        expected = f"{found[1]}:{found[2]}" if found is not None else None
        if expected is not None and not is_digest(expected):
            expected = None
        with self._content.writer(expected) as writer:
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

    # The docker archive.

    def _docker(self) -> Iterator[Loaded]:
        manifest = self._json(self._digest("manifest.json"))
        if not isinstance(manifest, list):
            raise InvalidError("manifest.json is not a list")
        for one in manifest:
            image = parse_image(self._content.read(self._digest(one["Config"]), _JSON_BYTES))
            blobs = tuple(self._digest(name) for name in one.get("Layers") or ())
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
            self._content.size(blob)

    # The OCI layout.

    def _layout(self) -> list[Loaded]:
        loaded: list[Loaded] = []
        for document in self._json(self._digests["index.json"]).get("manifests", ()):
            descriptor = descriptor_of(document)
            name = descriptor.annotations.get(_NAME) or descriptor.annotations.get(_REF) or ""
            names = (tag_name(name),) if "/" in name or ":" in name else ()
            loaded += self._walk(descriptor, names, "", 0)
        return loaded

    def _walk(
        self, descriptor: Descriptor, names: tuple[str, ...], index: str, depth: int
    ) -> Iterator[Loaded]:
        if depth > _DEPTH:
            raise LimitError("image indexes are nested too deeply")
        raw = self._content.read(descriptor.digest, MANIFEST_BYTES)
        document = parse_manifest(raw, descriptor.media_type)
        if isinstance(document, Manifest):
            if document.is_image:
                found = self._image(document, descriptor, names, index)
                if self._is_wanted(found.image):
                    yield found
            return
        for child in self._children(document):
            for one in self._walk(child, names, index or descriptor.digest, depth + 1):
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
        if not self._content.has(digest):
            return False
        document = parse_manifest(self._content.read(digest, MANIFEST_BYTES))
        if isinstance(document, Index):
            return True
        return all(self._content.has(one.digest) for one in (document.config, *document.layers))

    def _image(
        self, manifest: Manifest, descriptor: Descriptor, names: tuple[str, ...], index: str
    ) -> Loaded:
        raw = self._content.read(manifest.config.digest, _JSON_BYTES)
        image = parse_image(raw, manifest.config.digest)
        blobs = tuple(layer.digest for layer in manifest.layers)
        self._check(image, blobs)
        plain = Descriptor(
            manifest.media_type, descriptor.digest, len(manifest.raw), platform_of(image.document)
        )
        return Loaded(image, blobs, names, plain, index)


def _joined(layout: Sequence[Loaded], docker: Iterator[Loaded]) -> list[Loaded]:
    """Return the images of both halves of an archive, each once; of names the layout knows best."""
    found = {one.image.id: one for one in layout}
    given = {name for one in layout for name in one.names}
    for one in docker:
        known = found.get(one.image.id, replace(one, names=()))
        more = (name for name in one.names if name not in given)
        found[one.image.id] = replace(known, names=tuple(dict.fromkeys((*known.names, *more))))
    return list(found.values())
