"""Names of images as people write them and in full."""

from __future__ import annotations

import pytest

from sampan.base.errors import InvalidError
from sampan.images.core.image import chain_ids, parse_image
from sampan.images.core.reference import parse_reference, tag_name

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", None, None, "busybox"),
        ("busybox:1.36", "docker.io/library/busybox", "1.36", None, "busybox:1.36"),
        ("team/app", "docker.io/team/app", None, None, "team/app"),
        ("docker.io/library/a", "docker.io/library/a", None, None, "a"),
        ("index.docker.io/a", "docker.io/library/a", None, None, "a"),
        ("localhost/a:b", "localhost/a", "b", None, "localhost/a:b"),
        ("localhost:5000/a", "localhost:5000/a", None, None, "localhost:5000/a"),
        ("[::1]:5000/a", "[::1]:5000/a", None, None, "[::1]:5000/a"),
        (f"ghcr.io/x/y@{DIGEST}", "ghcr.io/x/y", None, DIGEST, f"ghcr.io/x/y@{DIGEST}"),
        (f"a:b@{DIGEST}", "docker.io/library/a", "b", DIGEST, f"a:b@{DIGEST}"),
    ],
)
def test_references(
    text: str, name: str, tag: str | None, digest: str | None, familiar: str
) -> None:
    found = parse_reference(text)
    assert (found.name, found.tag, found.digest) == (name, tag, digest)
    assert found.familiar == familiar


@pytest.mark.parametrize(
    "text", ["", "Upper", "a//b", "a:", "a:b c", "-a", "a@sha256:12", "a" * 300, "f" * 64, "a/../b"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_reference(text)


def test_chain_ids_depend_on_all_layers_below() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_ids([one]) == [one]
    assert chain_ids([one, two])[0] == one
    assert chain_ids([one, two])[1] not in (one, two, chain_ids([two, one])[1])


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"rootfs": {"diff_ids": ["x"]}}', b'{"rootfs": {"diff_ids": 1}}']
)
def test_what_is_no_configuration(raw: bytes) -> None:
    with pytest.raises(InvalidError):
        parse_image(raw)


def test_a_tag_to_give_is_never_a_digest() -> None:
    assert tag_name("box") == "docker.io/library/box:latest"
    assert tag_name("example.com/box:v1") == "example.com/box:v1"
    with pytest.raises(InvalidError, match="digest reference"):
        tag_name(f"box@{DIGEST}")
