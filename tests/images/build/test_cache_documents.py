"""Where caches are and what is in them, without an engine."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.base.errors import InvalidError, UnsupportedError
from sampan.images.core.build.cacheoptions import parse_cache_export, parse_cache_import
from sampan.images.core.build.cacherecords import (
    INLINE,
    CachedLayer,
    cache_manifest,
    inline_records,
    read_cache_config,
    read_inline,
)
from sampan.images.core.manifest import OCI_LAYER, Descriptor, Manifest, parse_manifest

hexes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
layers = st.builds(
    lambda key, digest, size, created, words: CachedLayer(
        key,
        f"sha256:{digest[::-1]}",
        Descriptor(OCI_LAYER + "+gzip", f"sha256:{digest}", size),
        created,
        words,
    ),
    hexes,
    hexes,
    st.integers(0, 1 << 40),
    st.floats(0, 2e9),
    st.text(max_size=100),
)


@given(st.lists(layers, max_size=5, unique_by=lambda one: one.blob.digest))
def test_what_is_written_is_read(made: list[CachedLayer]) -> None:
    config, raw, _ = cache_manifest(made)
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    assert read_cache_config(config, manifest) == made


@given(st.lists(layers, min_size=1, max_size=4, unique_by=lambda one: one.diff_id))
def test_an_image_has_the_records_of_its_own_layers_only(made: list[CachedLayer]) -> None:
    own = made[1:]
    document = {
        "rootfs": {"diff_ids": [one.diff_id for one in own]},
        INLINE: inline_records(made, [one.diff_id for one in own]),
    }
    found = read_inline(json.loads(json.dumps(document)), [one.blob for one in own])
    assert [(one.key, one.diff_id, one.blob) for one in found] == [
        (one.key, one.diff_id, one.blob) for one in own
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"records": None},
        {"records": [1]},
        {"records": [{"key": "x", "layer": 0}]},
        {"records": [{"key": "0" * 64, "layer": 1}]},
        {"records": [{"key": "0" * 64, "layer": -1}]},
        {"records": [{"key": "0" * 64, "layer": True}]},
        {"diff_ids": []},
        {"diff_ids": ["../../etc/passwd"]},
    ],
)
def test_records_that_are_malformed_are_refused(change: dict[str, object]) -> None:
    digest = "sha256:" + "0" * 64
    config, raw, _ = cache_manifest([CachedLayer("0" * 64, digest, Descriptor("", digest, 1))])
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    with pytest.raises(InvalidError):
        read_cache_config(json.dumps({**json.loads(config), **change}).encode(), manifest)


def test_words_of_the_flags() -> None:
    assert parse_cache_import("reg.example/app:1").attrs == {"ref": "reg.example/app:1"}
    assert parse_cache_import("type=local,src=/a").type == "local"
    found = parse_cache_export("type=registry,ref=a/b,mode=max,ignore-error=true")
    assert found.whole
    assert found.may_fail
    assert parse_cache_export("inline") == parse_cache_export("type=inline")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("type=local", InvalidError),
        ("type=registry", InvalidError),
        ("type=tape,ref=x", InvalidError),
        ("type=registry,ref=x,mode=medium", InvalidError),
        ("type=s3,bucket=x", UnsupportedError),
        ("ref=x", InvalidError),
        ("", InvalidError),
    ],
)
def test_words_that_mean_nothing_are_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_cache_export(text)
