"""Options, exporters and filters: what is read of them, and what is refused in which words."""

from __future__ import annotations

import pytest

from sampan.base.errors import InvalidError, SampanError, UnsupportedError
from sampan.engine.buildkit.core.caches import cache_imports
from sampan.engine.buildkit.core.exports import parse_exports
from sampan.engine.buildkit.core.options import check_frontend, parse_options
from sampan.engine.buildkit.core.paths import exclude_patterns, wanted_paths
from sampan.engine.buildkit.core.retention import Kept, parse_filters
from sampan.engine.buildkit.core.status import LOG_BYTES, Narrator
from sampan.images.core.platform import Platform

AMD64 = Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("attest:provenance", "mode=max", "--provenance=false"),
        ("context:x", "oci-layout://y", "build context 'x'"),
        ("context:x", "input:y", "build context 'x'"),
        ("force-network-mode", "bridge2", "unsupported network mode"),
        ("add-hosts", "nameless", "NAME=ADDRESS"),
        ("ulimit", "nofile=many", "is not a number"),
        ("platform", "amd64/linux/x/y/z", "platform"),
        ("device", "x", "devices"),
        ("frontend.caps", "moby.buildkit.frontend.fly", "cannot do"),
    ],
)
def test_options_that_cannot_be(name: str, value: str, words: str) -> None:
    with pytest.raises(SampanError, match=words):
        parse_options({name: value}, AMD64)


def test_attestations_that_are_switched_off_are_no_matter() -> None:
    parse_options({"attest:sbom": "disabled=true", "attest:provenance": "false"}, AMD64)


def test_no_cache_for_all_stages_or_for_some() -> None:
    assert parse_options({"no-cache": ""}, AMD64).no_cache
    some = parse_options({"no-cache": "A,b"}, AMD64)
    assert not some.no_cache
    assert some.no_cache_stages == {"a", "b"}
    assert not parse_options({}, AMD64).no_cache


def test_front_ends() -> None:
    check_frontend("dockerfile.v0", {})
    check_frontend("gateway.v0", {"source": "docker/dockerfile:1.7"})
    with pytest.raises(UnsupportedError, match="example"):
        check_frontend("gateway.v0", {"source": "example.com/mine"})


@pytest.mark.parametrize(
    ("kind", "attributes", "words"),
    [
        ("teleport", {}, "could not be found"),
        ("image", {"annotation.x": "y"}, "annotation.x"),
        ("image", {"push": "maybe"}, "true or false"),
        ("image", {"push": "true"}, "tag is needed"),
        ("oci", {"tar": "false"}, "only tar archives"),
        ("image", {"compression": "estargz"}, "estargz"),
        ("image", {"push-by-digest": "true"}, "push-by-digest"),
        ("image", {"name": "UPPER"}, "UPPER"),
    ],
)
def test_exporters_that_cannot_be(kind: str, attributes: dict[str, str], words: str) -> None:
    with pytest.raises(SampanError, match=words):
        parse_exports([(kind, attributes)])


def test_a_cache_on_the_clients_disk_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="type=registry"):
        cache_imports([("local", {"src": "/etc"})])
    (found,) = cache_imports([("registry", {"ref": "example.com/x", "note": 'a,"b"'})])
    assert dict(found.attrs) == {"ref": "example.com/x", "note": 'a,"b"'}


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        (["."], []),
        (["/"], []),
        (["a", "./b/../c/"], ["a", "c"]),
        (["../../a"], ["a"]),
        (["src/*.go"], ["src/*.go"]),
        (["*/x"], []),
        (["a/*/b", "c/**"], ["a", "c"]),
    ],
)
def test_what_is_asked_for_of_a_context(patterns: list[str], paths: list[str]) -> None:
    assert wanted_paths(patterns) == paths


def test_patterns_of_what_is_left_out() -> None:
    assert exclude_patterns("# no\n\n/a/./b\n!c/../d\n  e\n") == ["a/b", "!d", "e"]


def test_filters() -> None:
    kept = Kept("id1", "regular", "RUN echo", 1, 1.0, 2.0)
    assert parse_filters([""])(kept)
    assert parse_filters(["type==regular,description~=echo"])(kept)
    assert not parse_filters(["type==regular,description~=never"])(kept)
    assert parse_filters(["id==other", "type!=source.local"])(kept)
    with pytest.raises(InvalidError, match="colour"):
        parse_filters(["colour==red"])(kept)


def test_the_output_of_one_step_is_bounded() -> None:
    narrator = Narrator("x")
    pieces = [narrator.output("a", "stdout", b"x" * 100_000, 1.0) for _ in range(100)]
    size = sum(len(one.logs[0].msg) for one in pieces if one is not None)
    assert LOG_BYTES <= size < LOG_BYTES + 100
    last = [one for one in pieces if one is not None][-1]
    assert last.logs[0].msg.endswith(b"[output clipped, log limit 2MiB reached]\n")
