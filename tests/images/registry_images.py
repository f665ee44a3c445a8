"""Images put into a registry blob by blob, so that a test knows every byte of them."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sampan.images.core.digest import digest_of
from sampan.images.core.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

__all__ = ["Registry", "image_files", "layer"]


def layer(name: str, size: int = 100, seed: int = 0) -> bytes:
    """A plain layer with one file that does not compress."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = size
        tar.addfile(member, io.BytesIO(random.Random(f"{name}{seed}").randbytes(size)))
    return buffer.getvalue()


def image_files(
    layers: Sequence[bytes], *, platform: Mapping[str, str] | None = None, algorithm: str = "sha256"
) -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and its blobs by digest."""
    packed = [gzip.compress(one, mtime=0) for one in layers]
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            **(platform or {}),
            "config": {"Cmd": ["/none"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]},
        }
    ).encode()
    blobs = {digest_of(one, algorithm): one for one in packed}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(one, OCI_LAYER + "+gzip", algorithm) for one in packed],
    }
    return json.dumps(manifest).encode(), {**blobs, digest_of(config): config}


def descriptor(data: bytes, media_type: str, algorithm: str = "sha256") -> dict[str, Any]:
    """What names some content."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data)}


class Registry:
    """Writes to a registry without asking anything."""

    def __init__(self, host: str) -> None:
        self._host = host

    def _call(self, method: str, path: str, body: bytes, kind: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self._host, timeout=20)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status in (201, 202), said
        connection.close()
        return answer

    def put_blob(self, repository: str, data: bytes, digest: str) -> None:
        """Store a blob."""
        kind = "application/octet-stream"
        begun = self._call("POST", f"/v2/{repository}/blobs/uploads/", b"", kind)
        place = urlsplit(begun.headers["Location"])
        self._call("PUT", f"{place.path}?{place.query}&digest={digest}", data, kind)

    def put_manifest(self, repository: str, name: str, raw: bytes, kind: str = OCI_MANIFEST) -> str:
        """Let a name stand for a manifest; returns its digest."""
        self._call("PUT", f"/v2/{repository}/manifests/{name}", raw, kind)
        return digest_of(raw)

    def put_image(self, name: str, layers: Sequence[bytes], **more: Any) -> str:
        """Store an image under `repository:tag`; returns the manifest's digest."""
        repository, _, tag = name.rpartition(":")
        raw, blobs = image_files(layers, **more)
        for digest, data in blobs.items():
            self.put_blob(repository, data, digest)
        return self.put_manifest(repository, tag, raw)

    def put_index(
        self,
        name: str,
        platforms: Sequence[Mapping[str, str]],
        kind: str = OCI_INDEX,
        *,
        attested: bool = True,
    ) -> str:
        """Store an index of an image for each platform, and an attestation; returns its digest."""
        repository, _, tag = name.rpartition(":")
        entries = []
        for platform in platforms:
            raw, blobs = image_files([layer("-".join(platform.values()))], platform=platform)
            for digest, data in blobs.items():
                self.put_blob(repository, data, digest)
            self.put_manifest(repository, digest_of(raw), raw)
            entries.append({**descriptor(raw, OCI_MANIFEST), "platform": platform})
        note = {"vnd.docker.reference.type": "attestation-manifest"}
        unknown = {"os": "unknown", "architecture": "unknown"}
        if attested:
            entries.append({**entries[0], "platform": unknown, "annotations": note})
        index = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
        return self.put_manifest(repository, tag, json.dumps(index).encode(), kind)
