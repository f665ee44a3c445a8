"""Platforms as people write them: `linux/arm64`, `linux/arm/v7`, `linux/amd64/v3`."""

from __future__ import annotations

from sampan.base.errors import InvalidError
from sampan.base.record import record

__all__ = ["Selection", "level_of_variant", "parse_selection"]


@record
class Selection:
    """Which targets are meant; an empty text or None means any."""

    goos: str = ""
    goarch: str = ""
    level: str = ""
    cgo: bool | None = None


def parse_selection(text: str, cgo: bool | None = None) -> Selection:
    """Return what `goos[/goarch[/level]]` selects; a container's variant is a level too."""
    goos, _, rest = text.partition("/")
    goarch, _, level = rest.partition("/")
    if "/" in level or (not goos and text):
        raise InvalidError(f"{text!r} is no platform: write GOOS/GOARCH or GOOS/GOARCH/LEVEL")
    return Selection(goos, goarch, level_of_variant(goarch, level), cgo)


def level_of_variant(goarch: str, variant: str) -> str:
    """Return the level for the variant of a container platform: `v7` of arm is GOARM `7`."""
    if goarch == "arm" and variant.startswith("v"):
        return variant[1:]
    if goarch == "arm64" and variant in ("v8", "v9"):
        return f"{variant}.0"
    return variant
