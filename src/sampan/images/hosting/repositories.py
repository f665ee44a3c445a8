"""Repositories on disk: which blobs, manifests and tags each has.

`repositories/<name>/_blobs/<digest>`, `_manifests/<digest>` (its media type), `_tags/<tag>` (a
digest) and `_referrers/<subject>/<digest>`. A name's parts never begin with an underscore, so these
folders cannot be taken for repositories. Each file appears by a rename; the blobs themselves are in
the content store, once for all repositories.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import SampanError
from sampan.images.core.digest import digest_of
from sampan.images.core.hosting.errors import HostingError, blob_unknown, manifest_unknown
from sampan.images.core.manifest import Descriptor, Index, Manifest, parse_manifest
from sampan.images.core.reference import is_digest
from sampan.images.shell.content import ContentStore, replace_file

__all__ = ["Repositories", "Stored"]

_GRACE_S: Final = 3600.0
_MANIFEST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as it was pushed."""

    digest: str
    media_type: str
    raw: bytes


class Repositories:
    """All repositories below one directory."""

    def __init__(self, root: Path, content: ContentStore) -> None:
        self._root = root / "repositories"
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.content = content
        self._changing = threading.Lock()

    def _place(self, name: str, *parts: str) -> Path:
        return self._root.joinpath(*name.split("/"), *(one.replace(":", "-") for one in parts))

    def names(self) -> list[str]:
        """Return every repository that has something, sorted."""
        found = []
        for folder, folders, _ in os.walk(self._root):
            if "_manifests" in folders:
                found.append(os.path.relpath(folder, self._root))
            folders[:] = [one for one in folders if not one.startswith("_")]
        return sorted(found)

    def check(self, name: str) -> None:
        """Raise the specification's error when there is no such repository."""
        if (
            not self._place(name, "_manifests").is_dir()
            and not self._place(name, "_blobs").is_dir()
        ):
            detail = {"name": name}
            raise HostingError("NAME_UNKNOWN", "repository name not known to registry", detail)

    # Blobs.

    def has_blob(self, name: str, digest: str) -> bool:
        """Tell whether a repository has a blob."""
        return self._place(name, "_blobs", digest).exists() and self.content.has(digest)

    def link_blob(self, name: str, digest: str) -> None:
        """Make a blob of the content store a repository's."""
        path = self._place(name, "_blobs", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def drop_blob(self, name: str, digest: str) -> None:
        """Take a blob from a repository."""
        try:
            self._place(name, "_blobs", digest).unlink()
        except FileNotFoundError:
            raise blob_unknown(digest) from None

    # Manifests.

    def manifest(self, name: str, reference: str) -> Stored:
        """Return a manifest by its digest or a tag."""
        digest = reference
        if not is_digest(reference):
            try:
                digest = self._place(name, "_tags", reference).read_text()
            except FileNotFoundError:
                raise manifest_unknown(name, reference) from None
        try:
            media_type = self._place(name, "_manifests", digest).read_text()
            return Stored(digest, media_type, self.content.read(digest, _MANIFEST_BYTES))
        except FileNotFoundError:
            raise manifest_unknown(name, reference) from None

    def put_manifest(self, name: str, reference: str, media_type: str, raw: bytes) -> Stored:
        """Take a manifest in; everything that it names must be in the repository already."""
        algorithm = reference.partition(":")[0] if is_digest(reference) else "sha256"
        digest = digest_of(raw, algorithm)
        if is_digest(reference) and digest != reference:
            detail = {"expected": reference, "found": digest}
            raise HostingError("DIGEST_INVALID", "the manifest has another digest", detail)
        try:
            manifest = parse_manifest(raw, media_type)
        except SampanError as error:
            raise HostingError("MANIFEST_INVALID", str(error)) from None
        self._check_parts(name, manifest)
        stated = _stated_type(raw) or media_type
        with self._changing:
            self.content.put(raw, digest)
            self._write(self._place(name, "_manifests", digest), stated.encode())
            if manifest.subject is not None:
                subject = self._place(name, "_referrers", manifest.subject.digest, digest)
                self._write(subject, json.dumps(_referrer(raw, stated, digest)).encode())
            if not is_digest(reference):
                self._write(self._place(name, "_tags", reference), digest.encode())
        return Stored(digest, stated, raw)

    def _check_parts(self, name: str, manifest: Manifest | Index) -> None:
        missing: list[str] = []
        if isinstance(manifest, Index):
            missing = [
                one.digest
                for one in manifest.manifests
                if not self._place(name, "_manifests", one.digest).exists()
            ]
        else:
            parts = (manifest.config, *manifest.layers)
            missing = [
                one.digest
                for one in parts
                if not _is_elsewhere(one) and not self.has_blob(name, one.digest)
            ]
        if missing:
            details = [{"digest": digest} for digest in missing]
            raise HostingError(
                "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", details, status=404
            )

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, data)

    def drop_manifest(self, name: str, reference: str) -> None:
        """Remove a tag, or a manifest with all tags that mean it."""
        with self._changing:
            if not is_digest(reference):
                try:
                    self._place(name, "_tags", reference).unlink()
                except FileNotFoundError:
                    raise manifest_unknown(name, reference) from None
                return
            stored = self.manifest(name, reference)
            for tag in self.tags(name):
                if self._place(name, "_tags", tag).read_text() == reference:
                    self._place(name, "_tags", tag).unlink()
            manifest = parse_manifest(stored.raw, stored.media_type)
            if manifest.subject is not None:
                subject = self._place(name, "_referrers", manifest.subject.digest, reference)
                subject.unlink(missing_ok=True)
            self._place(name, "_manifests", reference).unlink()

    def tags(self, name: str) -> list[str]:
        """Return a repository's tags, sorted."""
        place = self._place(name, "_tags")
        return sorted(os.listdir(place)) if place.is_dir() else []

    def referrers(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Return descriptors of the manifests whose subject is this one."""
        place = self._place(name, "_referrers", subject)
        if not place.is_dir():
            return []
        return [json.loads((place / one).read_bytes()) for one in sorted(os.listdir(place))]

    # Collecting.

    def collect(self) -> int:
        """Remove blobs that no manifest of their repository names; returns the bytes freed. Blocks.

        What was pushed within the last hour stays: its manifest may be on its way.
        """
        kept: set[str] = set()
        recent = time.time() - _GRACE_S
        with self._changing:
            for name in self.names():
                named = self._named(name)
                kept |= named
                for path in self._links(name):
                    digest = path.name.replace("-", ":", 1)
                    if digest in named or path.stat().st_mtime > recent:
                        kept.add(digest)
                    else:
                        path.unlink()
            for name in self._empty():
                shutil.rmtree(self._place(name, "_blobs"), ignore_errors=True)
            return self.content.collect(kept)

    def _links(self, name: str) -> Iterator[Path]:
        place = self._place(name, "_blobs")
        return place.iterdir() if place.is_dir() else iter(())

    def _named(self, name: str) -> set[str]:
        found: set[str] = set()
        for path in self._place(name, "_manifests").iterdir():
            stored = self.manifest(name, path.name.replace("-", ":", 1))
            manifest = parse_manifest(stored.raw, stored.media_type)
            found.add(stored.digest)
            if isinstance(manifest, Manifest):
                found |= {one.digest for one in (manifest.config, *manifest.layers)}
        return found

    def _empty(self) -> list[str]:
        return [name for name in self.names() if not any(self._place(name, "_manifests").iterdir())]


def _is_elsewhere(layer: Descriptor) -> bool:
    """Tell whether a layer is one that must not be distributed: it is fetched from its URLs."""
    return "nondistributable" in layer.media_type or "foreign" in layer.media_type


def _stated_type(raw: bytes) -> str:
    found = json.loads(raw).get("mediaType")
    return found if isinstance(found, str) else ""


def _referrer(raw: bytes, media_type: str, digest: str) -> dict[str, Any]:
    """Return the descriptor that a list of referrers has."""
    document = json.loads(raw)
    config = document.get("config") or {}
    found: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(raw)}
    kind = document.get("artifactType") or config.get("mediaType")
    if isinstance(kind, str):
        found["artifactType"] = kind
    if isinstance(document.get("annotations"), dict):
        found["annotations"] = document["annotations"]
    return found
