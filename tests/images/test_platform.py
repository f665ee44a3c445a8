"""Platforms: how they are written, and which of an index is the best."""

from __future__ import annotations

import pytest

from sampan.base.errors import InvalidError
from sampan.images.core.platform import (
    Platform,
    machine_platform,
    parse_platform,
    platform_of,
    preferences,
)

HERE = Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("aarch64", "linux/arm64"),
        ("windows", "windows/amd64"),
        ("s390x", "linux/s390x"),
    ],
)
def test_platforms_are_normal(text: str, shown: str) -> None:
    assert str(parse_platform(text, HERE)) == shown


@pytest.mark.parametrize("text", ["", "linux//v7", "a/b/c/d", "linux/ü", "toaster"])
def test_malformed_platforms_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_platform(text, HERE)


def chosen(wanted: str, *offered: str | None) -> list[str | None]:
    platforms = [None if one is None else parse_platform(one, HERE) for one in offered]
    return [offered[at] for at in preferences(parse_platform(wanted, HERE), platforms)]


def test_the_newest_variant_that_runs_comes_first() -> None:
    offered = ("linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64")
    assert chosen("linux/arm/v8", *offered) == ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]
    assert chosen("linux/arm/v6", *offered) == ["linux/arm/v6", "linux/arm/v5"]
    assert chosen("linux/arm64", *offered)[0] == "linux/arm64"
    assert chosen("linux/amd64/v3", "linux/amd64", "linux/amd64/v3", "linux/amd64/v4") == [
        "linux/amd64/v3",
        "linux/amd64",
    ]


def test_what_does_not_run_is_not_chosen() -> None:
    assert chosen("linux/amd64", "linux/386", "windows/amd64", "linux/amd64/v2") == []
    assert chosen("linux/amd64", None, "linux/amd64", "linux/amd64") == [
        "linux/amd64",
        "linux/amd64",
        None,
    ]


def test_documents_and_machines() -> None:
    armv6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
    found = platform_of(armv6)
    assert found is not None
    assert found.document == armv6
    assert platform_of({"os": "linux"}) is None
    assert platform_of("linux") is None
    assert str(machine_platform("armv7l")) == "linux/arm/v7"
