"""Manifests and indexes of strangers: one meaning only, bounded, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.base.errors import InvalidError, LimitError, SampanError, UnsupportedError
from sampan.images.core.digest import digest_of, verify
from sampan.images.core.manifest import (
    MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    parse_manifest,
    write_manifest,
)

DIGEST = "sha256:" + "a" * 64
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": 1}
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def manifest(**more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": LAYER, "layers": [LAYER], **more}).encode()


def test_a_manifest() -> None:
    artifact = "application/vnd.example"
    found = parse_manifest(manifest(subject=LAYER, artifactType=artifact), OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert [layer.digest for layer in found.layers] == [DIGEST]
    assert found.subject is not None
    assert found.artifact_type == artifact
    assert parse_manifest(manifest(mediaType=DOCKER), DOCKER).media_type == DOCKER


def test_an_index() -> None:
    entry = {**LAYER, "platform": {"os": "linux", "architecture": "arm", "variant": "v6"}}
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    found = parse_manifest(raw)
    assert isinstance(found, Index)
    assert found.media_type == OCI_INDEX
    assert str(found.manifests[0].platform) == "linux/arm/v6"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"schemaVersion": 3}',
        manifest(manifests=[LAYER]),
        manifest(mediaType=OCI_INDEX),
        manifest(mediaType="text/plain"),
        manifest(layers={}),
        manifest(layers=[{**LAYER, "size": -1}]),
        manifest(layers=[{**LAYER, "size": True}]),
        manifest(layers=[{**LAYER, "digest": "sha256:../../x"}]),
        manifest(config=None),
        manifest(subject=7),
    ],
)
def test_malformed_manifests_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidError):
        parse_manifest(raw, OCI_MANIFEST)


def test_what_is_said_of_it_must_agree() -> None:
    with pytest.raises(InvalidError, match="is not the content type"):
        parse_manifest(manifest(mediaType=OCI_MANIFEST), DOCKER)


def test_bounds() -> None:
    with pytest.raises(LimitError):
        parse_manifest(b" " * (MANIFEST_BYTES + 1))
    with pytest.raises(LimitError):
        parse_manifest(manifest(layers=[LAYER] * 1001))
    with pytest.raises(UnsupportedError, match="schema 1"):
        parse_manifest(b'{"schemaVersion": 1, "fsLayers": []}')


def test_what_is_written_is_read() -> None:
    one = Descriptor("application/vnd.oci.image.config.v1+json", DIGEST, 2)
    raw, descriptor = write_manifest(one, [one, one])
    found = parse_manifest(verify(raw, descriptor.digest), descriptor.media_type)
    assert isinstance(found, Manifest)
    assert found.is_image
    assert found.layers == (one, one)


def test_digests() -> None:
    for algorithm in ("sha256", "sha512"):
        assert verify(b"data", digest_of(b"data", algorithm)) == b"data"
    with pytest.raises(InvalidError, match="digest mismatch"):
        verify(b"other", digest_of(b"data"))
    with pytest.raises(SampanError):
        verify(b"data", "md5:" + "0" * 32)
