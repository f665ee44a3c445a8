"""Where a build's results come from and go to besides this engine, as BuildKit's clients say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sampan.base.errors import UnsupportedError
from sampan.images.core.build.cacheoptions import (
    CacheExport,
    CacheImport,
    parse_cache_export,
    parse_cache_import,
)

__all__ = ["cache_exports", "cache_imports", "registries"]

Entry = tuple[str, Mapping[str, str]]
_LOCAL: Final = "local"


def cache_imports(entries: Sequence[Entry]) -> list[CacheImport]:
    """Return the sources of a request; UnsupportedError for a kind that is not known."""
    return [parse_cache_import(_joined(kind, attrs)) for kind, attrs in entries]


def cache_exports(entries: Sequence[Entry]) -> list[CacheExport]:
    """Return the places of a request; UnsupportedError for a kind that is not known."""
    return [parse_cache_export(_joined(kind, attrs)) for kind, attrs in entries]


def registries(caches: Sequence[CacheImport] | Sequence[CacheExport]) -> list[str]:
    """Return the images that caches are in."""
    return [one.attrs["ref"] for one in caches if "ref" in one.attrs]


def _joined(kind: str, attrs: Mapping[str, str]) -> str:
    if kind == _LOCAL:
        raise UnsupportedError(
            "a build cache in a directory of the client is not supported yet: use type=registry"
        )
    fields = [f"type={kind}", *(f"{name}={value}" for name, value in attrs.items())]
    return ",".join(_quoted(one) for one in fields)


def _quoted(field: str) -> str:
    if not any(char in field for char in ',"\n'):
        return field
    return '"' + field.replace('"', '""') + '"'
