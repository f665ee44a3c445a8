"""Results of builds as documents, for other machines: which layer a key stands for.

A key is the digest of an operation and of all it has seen (`steps.operation_key`), and each keyed
step adds one layer, so a record is a key and a layer. Whoever reads one verifies the layer by both
its digests; what a key stands for is believed of those who were named as sources.
`docs/formats/buildcache.md` describes the documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.images.core.manifest import Descriptor, Manifest, write_manifest
from sampan.images.core.reference import is_digest

__all__ = [
    "CACHE_CONFIG",
    "INLINE",
    "CachedLayer",
    "cache_manifest",
    "inline_records",
    "read_cache_config",
    "read_inline",
]

INLINE: Final = "io.sampan.buildcache.v1"
"""The member of an image's configuration that has the records of its own layers."""

CACHE_CONFIG: Final = "application/vnd.sampan.buildcache.config.v1+json"
"""The media type of a cache manifest's configuration."""

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_RECORDS_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class CachedLayer:
    """A key and the layer that its step adds. `created_s` is seconds since 1970."""

    key: str
    diff_id: str
    blob: Descriptor
    created_s: float = 0.0
    description: str = ""


def inline_records(made: Sequence[CachedLayer], diff_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the records of those layers that an image has, by the layers' places in it."""
    places = {diff_id: place for place, diff_id in enumerate(diff_ids)}
    return [
        {"key": one.key, "layer": places[one.diff_id], "created": one.created_s}
        for one in made
        if one.diff_id in places
    ]


def read_inline(document: Mapping[str, Any], layers: Sequence[Descriptor]) -> list[CachedLayer]:
    """Return the records in an image's configuration; none when there are none.

    Raises InvalidError for records that are malformed.
    """
    diff_ids = (document.get("rootfs") or {}).get("diff_ids") or []
    return _records(document.get(INLINE) or [], diff_ids, layers)


def cache_manifest(made: Sequence[CachedLayer]) -> tuple[bytes, bytes, Descriptor]:
    """Return the configuration and the manifest of a cache, and the manifest's descriptor.

    A layer that several keys stand for is in it once.
    """
    layers = {one.blob.digest: one for one in made}
    places = {digest: place for place, digest in enumerate(layers)}
    document = {
        "diff_ids": [one.diff_id for one in layers.values()],
        "records": [
            {
                "key": one.key,
                "layer": places[one.blob.digest],
                "created": one.created_s,
                "description": one.description,
            }
            for one in made
        ],
    }
    config = json.dumps(document, separators=(",", ":")).encode()
    described = Descriptor.of_bytes(CACHE_CONFIG, config)
    raw, descriptor = write_manifest(described, [one.blob for one in layers.values()])
    return config, raw, descriptor


def read_cache_config(config: bytes, manifest: Manifest) -> list[CachedLayer]:
    """Return the records of a cache; InvalidError for what is none."""
    try:
        document = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"the cache's configuration is not JSON: {error}") from None
    if not isinstance(document, dict) or manifest.config.media_type != CACHE_CONFIG:
        raise InvalidError(f"this is no build cache but {manifest.config.media_type}")
    return _records(document.get("records"), document.get("diff_ids"), manifest.layers)


def _records(found: object, diff_ids: object, layers: Sequence[Descriptor]) -> list[CachedLayer]:
    if not isinstance(found, list) or not isinstance(diff_ids, list):
        raise InvalidError("the build cache has no list of records or layers")
    if len(found) > _RECORDS_LIMIT:
        raise InvalidError(f"the build cache has more than {_RECORDS_LIMIT} records")
    if len(diff_ids) != len(layers) or not all(
        isinstance(one, str) and is_digest(one) for one in diff_ids
    ):
        raise InvalidError("the build cache does not say what its layers are unpacked")
    return [_record(one, diff_ids, layers) for one in found]


def _record(found: object, diff_ids: Sequence[str], layers: Sequence[Descriptor]) -> CachedLayer:
    if not isinstance(found, dict):
        raise InvalidError("a record of the build cache is not an object")
    key, place, created = found.get("key"), found.get("layer"), found.get("created")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidError(f"the build cache has a key that is none: {str(key)[:80]!r}")
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < len(layers):
        raise InvalidError(f"the build cache names layer {place!r} of {len(layers)}")
    when = float(created) if isinstance(created, int | float) else 0.0
    described = str(found.get("description") or "")[:500]
    return CachedLayer(key, diff_ids[place], layers[place], max(when, 0.0), described)
