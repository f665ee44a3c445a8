"""Manifests and indexes: which blobs make an image, and which images a name offers.

Sources: OCI image specification 1.1, "manifest", "index" and "descriptor"; Docker's image manifest
version 2, schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sampan.base.errors import InvalidError, LimitError, UnsupportedError
from sampan.images.core.digest import digest_of
from sampan.images.core.platform import Platform, platform_of
from sampan.images.core.reference import is_digest

__all__ = [
    "ACCEPTED",
    "ATTESTATION",
    "CONFIG_BYTES",
    "DOCKER_LIST",
    "MANIFEST_BYTES",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "Descriptor",
    "Index",
    "Manifest",
    "descriptor_of",
    "parse_manifest",
    "write_index",
    "write_manifest",
]

MANIFEST_BYTES: Final = 4 << 20
"""No manifest and no index may be larger: so the distribution specification has it."""

CONFIG_BYTES: Final = 8 << 20
"""No configuration may be larger."""

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"

ACCEPTED: Final = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
"""What to ask a registry for, in this order."""

ATTESTATION: Final = "vnd.docker.reference.type"
"""The annotation of an index's entries that are no images but tell about one."""

_SCHEMA_1: Final = (
    "Docker Image Format v1 and Docker Image manifest version 2, schema 1 are not supported. "
    "Push the image in a newer format"
)
_ENTRIES: Final = 10_000
_LAYERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a piece of content is, and its name."""

    media_type: str
    digest: str
    size_bytes: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @classmethod
    def of_bytes(cls, media_type: str, raw: bytes) -> Descriptor:
        """Return what names a small document."""
        return cls(media_type, digest_of(raw), len(raw))

    @property
    def document(self) -> dict[str, Any]:
        """The descriptor as documents have it."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.platform is not None:
            found["platform"] = self.platform.document
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found

    @property
    def is_index(self) -> bool:
        """Tell whether it names an index."""
        return self.media_type in (OCI_INDEX, DOCKER_LIST)

    @property
    def is_image(self) -> bool:
        """Tell whether it may name an image: a manifest, and none that only tells about another."""
        return self.media_type in (OCI_MANIFEST, DOCKER_MANIFEST) and (
            ATTESTATION not in self.annotations
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform, or another artifact."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def is_image(self) -> bool:
        """Tell whether its configuration is that of an image."""
        return self.config.media_type in (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Index:
    """Images for several platforms under one name."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]


def _bounded(found: object, limit: int, what: str) -> list[Any]:
    if not isinstance(found, list):
        raise InvalidError(f"invalid manifest: {what} is not a list")
    if len(found) > limit:
        raise LimitError(f"invalid manifest: more than {limit} {what}")
    return found


def _annotations(found: object) -> Mapping[str, str]:
    if not isinstance(found, Mapping):
        return {}
    return {str(key): str(value) for key, value in found.items()}


def descriptor_of(document: object) -> Descriptor:
    """Return the descriptor in a document; InvalidError when it is none."""
    if not isinstance(document, Mapping):
        raise InvalidError("invalid manifest: a descriptor is not an object")
    digest, size = document.get("digest"), document.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidError(f"invalid manifest: unsupported digest {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidError(f"invalid manifest: {digest} has the size {size!r}")
    return Descriptor(
        str(document.get("mediaType") or ""),
        digest,
        size,
        platform_of(document.get("platform")),
        _annotations(document.get("annotations")),
        str(document.get("artifactType") or ""),
    )


def _media_type(document: Mapping[str, Any], told: str) -> str:
    own = str(document.get("mediaType") or "")
    told = told.partition(";")[0].strip()
    if own and told in ACCEPTED and own != told:
        raise InvalidError(f"manifest media type {own} is not the content type {told}")
    if own:
        return own
    if told in ACCEPTED:
        return told
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def parse_manifest(raw: bytes, media_type: str = "") -> Manifest | Index:
    """Return the manifest or the index of a document.

    `media_type` is what the transport said of it. Raises InvalidError for what is neither or both
    (it would be another thing to another reader), LimitError beyond the bounds, UnsupportedError
    for schema 1.
    """
    if len(raw) > MANIFEST_BYTES:
        raise LimitError(f"manifest is larger than {MANIFEST_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"manifest is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidError("manifest is not an object")
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise UnsupportedError(_SCHEMA_1)
    if document.get("schemaVersion") != 2:
        raise InvalidError(f"unsupported manifest schema version {document.get('schemaVersion')!r}")
    found = _media_type(document, media_type)
    subject = document.get("subject")
    rest = (
        descriptor_of(subject) if subject is not None else None,
        str(document.get("artifactType") or ""),
        _annotations(document.get("annotations")),
    )
    many = found in (OCI_INDEX, DOCKER_LIST)
    if not many and found not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise InvalidError(f"unsupported manifest media type {found}")
    if many != ("manifests" in document) or many == ("config" in document or "layers" in document):
        raise InvalidError(f"the manifest's members are not those of {found}")
    if many:
        entries = _bounded(document["manifests"], _ENTRIES, "manifests")
        return Index(raw, found, tuple(map(descriptor_of, entries)), *rest)
    layers = _bounded(
        [] if document.get("layers") is None else document["layers"], _LAYERS, "layers"
    )
    config = descriptor_of(document.get("config"))
    return Manifest(raw, found, config, tuple(map(descriptor_of, layers)), *rest)


def write_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> tuple[bytes, Descriptor]:
    """Return an OCI manifest and its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.document,
        "layers": [layer.document for layer in layers],
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return raw, Descriptor(OCI_MANIFEST, digest_of(raw), len(raw))


def write_index(manifests: Sequence[Descriptor]) -> tuple[bytes, Descriptor]:
    """Return an OCI index of images for several platforms, and its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [one.document for one in manifests],
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return raw, Descriptor(OCI_INDEX, digest_of(raw), len(raw))
