"""Where results of builds come from and go to: `--cache-from` and `--cache-to`.

Source: the documentation of `docker buildx build`, "cache-from" and "cache-to".
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sampan.base.errors import InvalidError, UnsupportedError

__all__ = ["CacheExport", "CacheImport", "parse_cache_export", "parse_cache_import"]

_IMPORTS: Final = ("registry", "local")
_EXPORTS: Final = ("inline", "registry", "local")
_ELSEWHERE: Final = ("gha", "s3", "azblob")
_FOLDER: Final = {"import": "src", "export": "dest"}


@dataclass(frozen=True, slots=True)
class CacheImport:
    """A source of results: `registry` with `ref`, `local` with `src` (and `tag` or `digest`)."""

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CacheExport:
    """A place for results: `inline`, `registry` with `ref`, `local` with `dest` (and `tag`).

    `mode` is `min`, the results that the image's own layers are, or `max`, all of them;
    `ignore-error` lets a build succeed whose results could not be taken there.
    """

    type: str
    attrs: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Tell whether the results of all steps go there."""
        return self.attrs.get("mode", "min") == "max"

    @property
    def may_fail(self) -> bool:
        """Tell whether the build is good without it."""
        return self.attrs.get("ignore-error", "false") == "true"


def parse_cache_import(text: str) -> CacheImport:
    """Return what `--cache-from` names: an image alone, or `type=...,key=value`.

    Raises InvalidError, and UnsupportedError for a service that is not spoken to.
    """
    kind, attrs = _fields(text, "import")
    if kind not in _IMPORTS:
        raise _unknown("--cache-from", kind, _IMPORTS)
    return CacheImport(kind, _checked(kind, attrs, "import"))


def parse_cache_export(text: str) -> CacheExport:
    """Return what `--cache-to` names; raises as `parse_cache_import`."""
    kind, attrs = _fields(text, "export")
    if kind not in _EXPORTS:
        raise _unknown("--cache-to", kind, _EXPORTS)
    for key, allowed in (("mode", ("min", "max")), ("ignore-error", ("true", "false"))):
        if attrs.get(key, allowed[0]) not in allowed:
            raise InvalidError(f"--cache-to: {key}={attrs[key]}: use {' or '.join(allowed)}")
    return CacheExport(kind, _checked(kind, attrs, "export"))


def _fields(text: str, direction: str) -> tuple[str, dict[str, str]]:
    rows = list(csv.reader([text]))
    parts = [part.strip() for part in rows[0]] if rows else []
    if len(parts) == 1 and parts[0] and "=" not in parts[0]:
        if parts[0] == "inline" and direction == "export":
            return "inline", {}
        return "registry", {"ref": parts[0]}
    attrs: dict[str, str] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise InvalidError(f"invalid cache option {part!r} in {text!r}: use key=value")
        attrs[key.lower()] = value
    kind = attrs.pop("type", "")
    if not kind:
        raise InvalidError(f"a cache needs a type: type=registry,ref=NAME, not {text!r}")
    return kind, attrs


def _checked(kind: str, attrs: dict[str, str], direction: str) -> dict[str, str]:
    wanted = {"registry": "ref", "local": _FOLDER[direction]}.get(kind)
    if wanted is not None and not attrs.get(wanted):
        raise InvalidError(f"a cache of type {kind} needs {wanted}=")
    return attrs


def _unknown(flag: str, kind: str, known: tuple[str, ...]) -> Exception:
    if kind in _ELSEWHERE:
        return UnsupportedError(f"{flag} type={kind} is not supported: use {', '.join(known)}")
    return InvalidError(f"{flag}: there is no cache of type {kind!r}: use {', '.join(known)}")
