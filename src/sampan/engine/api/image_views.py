"""What the Docker Engine API shows of an image: a row of the list, everything, its platforms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.base.moment import instant
from sampan.engine.api.routing import Call
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.manifest import (
    ATTESTATION,
    Descriptor,
)
from sampan.images.core.platform import Platform, platform_of
from sampan.images.core.reference import parse_reference
from sampan.images.shell.index import Entry

__all__ = ["ImageViews", "json_platform", "json_platforms"]

_ATTESTED: Final = "vnd.docker.reference.digest"


class ImageViews:
    """Documents about images."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images

    def summary(self, entry: Entry, tags: Sequence[str], digests: Sequence[str]) -> dict[str, Any]:
        """Return an image's row in the list, with those of its names that are to be seen."""
        return {
            "Id": entry.id,
            "ParentId": entry.parent,
            "RepoTags": list(tags),
            "RepoDigests": list(digests),
            "Created": int(instant(entry.created)),
            "Size": self._images.size(entry),
            "SharedSize": -1,
            "Labels": dict(entry.labels) or None,
            "Containers": -1,
            "Descriptor": self._target(entry).document,
        }

    def usage(self) -> list[dict[str, Any]]:
        """Return the rows of all images with what they share, and how many containers they have."""
        shared = self.shared_sizes()
        users = Counter(one.record.image_id for one in self._engine.registry)
        rows = []
        for entry in self._images.index.entries():
            tags = [parse_reference(name).familiar for name in entry.tags]
            digests = [parse_reference(name).familiar for name in entry.digests]
            numbers = {"SharedSize": shared[entry.id], "Containers": users[entry.id]}
            rows.append({**self.summary(entry, tags, digests), **numbers})
        return rows

    def inspection(self, entry: Entry) -> dict[str, Any]:
        """Return everything about an image."""
        image, document = entry.image, entry.image.document
        return {
            "Id": image.id,
            "RepoTags": [parse_reference(name).familiar for name in entry.tags],
            "RepoDigests": [parse_reference(name).familiar for name in entry.digests],
            "Parent": entry.parent,
            "Comment": document.get("comment", ""),
            "Created": image.created,
            "DockerVersion": document.get("docker_version", ""),
            "Author": document.get("author", ""),
            "Config": dict(image.config),
            "Architecture": document.get("architecture", ""),
            "Variant": document.get("variant", ""),
            "Os": document.get("os", ""),
            "Size": self._images.size(entry),
            "GraphDriver": self._images.snapshots.graph(image.diff_ids),
            "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
            "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
            "Descriptor": self._target(entry).document,
        }

    def shared_sizes(self) -> dict[str, int]:
        """Return for each image the bytes of its layers that others have, too."""
        entries = self._images.index.entries()
        users = Counter(chain for entry in entries for chain in entry.chains())
        return {
            entry.id: sum(
                self._images.layer_size(chain) for chain in entry.chains() if users[chain] > 1
            )
            for entry in entries
        }

    def containers(self, entry: Entry) -> list[str]:
        """Return the ids of an image's containers."""
        registry = self._engine.registry
        return [one.id for one in registry if one.record.image_id == entry.id]

    def _target(self, entry: Entry) -> Descriptor:
        """Return what the image's names stand for: its index, or its own manifest."""
        index = self._images.document(entry)
        if index is None:
            return entry.manifest
        return Descriptor(index.media_type, entry.index, len(index.raw))

    def manifests(self, entry: Entry) -> list[dict[str, Any]]:
        """Return the platforms that the image's names stand for, here or not."""
        index = self._images.document(entry)
        here = {one.manifest.digest: one for one in self._images.index.family(entry)}
        if index is None:
            return [self._manifest(entry.manifest, entry)]
        return [self._manifest(one, here.get(one.digest)) for one in index.manifests]

    def _manifest(self, descriptor: Descriptor, entry: Entry | None) -> dict[str, Any]:
        content = self._images.content
        kept = [] if entry is None else [one for one in entry.kept() if one != entry.index]
        size = sum(content.size(digest) for digest in dict.fromkeys(kept) if content.has(digest))
        unpacked = 0 if entry is None else self._images.size(entry)
        found: dict[str, Any] = {
            "ID": descriptor.digest,
            "Descriptor": descriptor.document,
            "Available": entry is not None or content.has(descriptor.digest),
            "Size": {"Content": size, "Total": size + unpacked},
            "Kind": "image",
        }
        if ATTESTATION in descriptor.annotations:
            found["Kind"] = "attestation"
            found["AttestationData"] = {"For": descriptor.annotations.get(_ATTESTED, "")}
            return found
        platform = descriptor.platform
        if entry is not None:
            platform = platform_of(entry.image.document) or platform
        found["ImageData"] = {
            "Platform": platform.document if platform is not None else {},
            "Containers": [] if entry is None else self.containers(entry),
            "Size": {"Unpacked": unpacked},
        }
        return found


def json_platforms(call: Call, parameter: str = "platform") -> list[Platform]:
    """Return the platforms of a parameter, each an object in JSON."""
    return [_platform(text) for text in call.request.query.get(parameter) or () if text]


def json_platform(call: Call) -> Platform | None:
    """Return the one platform of the parameter `platform`, None without it."""
    found = json_platforms(call)
    return found[0] if found else None


def _platform(text: str) -> Platform:
    try:
        found = platform_of(json.loads(text))
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise InvalidError(f"invalid platform: {text}")
    return found
