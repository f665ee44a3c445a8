"""Images for the Go doctor: archives, layouts and registries, as the image room reads them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from sampan.base.errors import InvalidError, LimitError, NotFoundError, SampanError
from sampan.gobuild.core.image.claims import Claim
from sampan.gobuild.shell.imagefiles import PlatformImage
from sampan.images.core.challenge import Credentials
from sampan.images.core.digest import split_digest, verify
from sampan.images.core.image import Image, parse_image
from sampan.images.core.manifest import (
    CONFIG_BYTES,
    MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
)
from sampan.images.core.platform import Platform
from sampan.images.core.tar import Entry, Kind
from sampan.images.core.tarreader import TarReader
from sampan.images.shell.archives import read_archive
from sampan.images.shell.compression import DAMAGED
from sampan.images.shell.content import Blobs, ContentStore
from sampan.images.shell.streamsource import StreamSource

if TYPE_CHECKING:
    from sampan.images.registry.download import Downloads
    from sampan.images.registry.repository import Repository

__all__ = ["looks_like_image", "opened_images"]

_RATIO: Final = 1000
_DEPTH: Final = 4
_ENTRIES: Final = 1_000_000
_PACKED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh")
_KINDS: Final = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "link",
    Kind.HARD_LINK: "hard",
}


def looks_like_image(text: str) -> bool:
    """Tell whether an argument is a layout, an archive or a reference, and no executable."""
    if os.path.isdir(text):
        return os.path.exists(os.path.join(text, "index.json"))
    if os.path.exists(text):
        with open(text, "rb") as file:
            head = file.read(512)
        return head.startswith(_PACKED) or head[257:262] == b"ustar"
    return text[:1] not in ("/", ".") and any(mark in text for mark in "/:@")


@contextmanager
def opened_images(text: str) -> Iterator[list[PlatformImage]]:
    """Give every platform of an image; its blobs are there meanwhile.

    Raises SampanError for what is no image, damaged, or not to be had.
    """
    with tempfile.TemporaryDirectory(prefix="image-") as place:
        if os.path.isdir(text):
            yield list(_of_layout(text))
            return
        content = ContentStore(Path(place))
        if os.path.exists(text):
            yield list(_of_archive(text, content))
            return
        from sampan.loop.runner import run

        yield run(_of_registry(text, content))


class _Entry:
    """An entry of a layer in the doctor's words."""

    def __init__(self, entry: Entry, reader: TarReader) -> None:
        sparse = entry.extents is not None
        self.name = entry.name
        self.kind = _KINDS.get(entry.kind, "other")
        self.target = entry.link
        self.size_bytes = 0 if sparse else entry.size
        self._reader = reader

    def pieces(self) -> Iterable[bytes]:
        """Return the contents."""
        return (bytes(one) for one in self._reader.data())


class _Layer:
    """The entries of a layer, read when they are asked for."""

    def __init__(self, blobs: Blobs, digest: str) -> None:
        self._blobs = blobs
        self._digest = digest

    def __iter__(self) -> Iterator[_Entry]:
        try:
            with self._blobs.open(self._digest) as file:
                source = StreamSource(file, ratio=_RATIO)
                if source.empty:
                    return
                reader = TarReader(source)
                for _ in range(_ENTRIES):
                    if (entry := reader.next()) is None:
                        return
                    yield _Entry(entry, reader)
                raise LimitError(f"layer {self._digest} has more than {_ENTRIES} entries")
        except DAMAGED as error:
            raise InvalidError(f"layer {self._digest} is damaged: {error}") from error


def _image(
    name: str, index: Platform | None, image: Image, layers: Iterable[str], blobs: Blobs
) -> PlatformImage:
    claim = Claim(index.os, index.architecture, index.variant) if index else None
    return PlatformImage(name, claim, image.document, [_Layer(blobs, one) for one in layers])


class _Folder:
    """The blobs of a layout on the disk; links out of it are not followed."""

    def __init__(self, root: str) -> None:
        self._root = root

    def open(self, digest: str) -> BinaryIO:
        """Open one for reading; NotFoundError without it."""
        algorithm, digits = split_digest(digest)
        path = os.path.join(self._root, "blobs", algorithm, digits)
        try:
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        except OSError as error:
            raise NotFoundError(f"blob {digest}: {error.strerror}") from None

    def document(self, digest: str, limit_bytes: int) -> bytes:
        """Return a small blob, verified."""
        with self.open(digest) as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise LimitError(f"{digest} is larger than {limit_bytes} bytes")
        return verify(data, digest)


def _of_layout(root: str) -> Iterator[PlatformImage]:
    folder = _Folder(root)
    with open(os.path.join(root, "index.json"), "rb") as file:
        top = parse_manifest(file.read(MANIFEST_BYTES + 1))
    waiting = [(one, 0) for one in top.manifests] if isinstance(top, Index) else []
    while waiting:
        descriptor, depth = waiting.pop(0)
        if not (descriptor.is_image or descriptor.is_index):
            continue
        raw = folder.document(descriptor.digest, MANIFEST_BYTES)
        found = parse_manifest(raw, descriptor.media_type)
        if isinstance(found, Manifest):
            image = parse_image(folder.document(found.config.digest, CONFIG_BYTES))
            layers = [one.digest for one in found.layers]
            yield _image(root, descriptor.platform, image, layers, folder)
        elif depth < _DEPTH:
            waiting = [(one, depth + 1) for one in found.manifests] + waiting


def _of_archive(path: str, content: ContentStore) -> Iterator[PlatformImage]:
    with content.operation(), open(path, "rb") as file:
        for one in read_archive(file, content):
            names = ", ".join(one.names[:3])
            title = f"{path} ({names})" if names else path
            claimed = _claimed(content, one.index, one.manifest.digest if one.manifest else "")
            yield _image(title, claimed, one.image, one.blobs, content)


def _claimed(content: ContentStore, index: str, manifest: str) -> Platform | None:
    """What the index says of a manifest."""
    if not index:
        return None
    try:
        found = parse_manifest(content.read(index))
    except SampanError:
        return None
    entries = found.manifests if isinstance(found, Index) else ()
    return next((one.platform for one in entries if one.digest == manifest), None)


async def _of_registry(text: str, content: ContentStore) -> list[PlatformImage]:
    from sampan.images.core.reference import parse_reference
    from sampan.images.core.refusal import RegistryError, pull_refusal
    from sampan.images.core.registryoptions import RegistryOptions
    from sampan.images.registry.download import Downloads
    from sampan.images.registry.options import certificates_folder
    from sampan.images.registry.registries import Registries

    reference = parse_reference(text).tagged()
    registries = Registries(RegistryOptions, certificates_folder(), 1.0)
    downloads = Downloads(content, RegistryOptions)
    try:
        with content.operation():
            who = _credentials(reference.domain)
            async with registries.repository(reference, who) as (repository, target):
                assert target is not None
                return [
                    one async for one in _platforms(text, repository, target, content, downloads)
                ]
    except RegistryError as error:
        raise pull_refusal(error, reference) from error


async def _platforms(
    name: str, repository: Repository, top: Descriptor, content: ContentStore, downloads: Downloads
) -> AsyncIterator[PlatformImage]:
    waiting = [(top, 0)]
    while waiting:
        descriptor, depth = waiting.pop(0)
        raw, media_type = await repository.manifest(descriptor.digest)
        found = parse_manifest(raw, media_type)
        if isinstance(found, Index):
            chosen = [one for one in found.manifests if one.is_image or one.is_index]
            waiting = [(one, depth + 1) for one in chosen if depth < _DEPTH] + waiting
            continue
        image = parse_image(await repository.document(found.config, CONFIG_BYTES))
        for layer in {one.digest: one for one in found.layers}.values():
            await downloads.fetch(repository, layer, lambda news: None)
        layers = [one.digest for one in found.layers]
        yield _image(name, descriptor.platform, image, layers, content)


def _credentials(domain: str) -> Credentials:
    """What Docker's configuration knows of a registry."""
    from sampan.engine.client.credentials import DEFAULT_REGISTRY
    from sampan.engine.client.credentials import Credentials as Known

    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    found = Known(folder).get(DEFAULT_REGISTRY if domain == "docker.io" else domain)
    if found is None:
        return Credentials()
    return Credentials(found.username, found.password, found.identity_token, server=found.server)
