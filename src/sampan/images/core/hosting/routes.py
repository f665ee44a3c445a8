"""Paths of the distribution API: a repository's name may have slashes, so the end decides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sampan.images.core.hosting.errors import HostingError
from sampan.images.core.reference import is_digest

__all__ = ["Target", "is_name", "parse_path", "parse_range"]

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_PATHS: Final = (
    ("uploads", re.compile(r"(.+)/blobs/uploads/?")),
    ("upload", re.compile(r"(.+)/blobs/uploads/([^/]+)")),
    ("blob", re.compile(r"(.+)/blobs/([^/]+)")),
    ("manifest", re.compile(r"(.+)/manifests/([^/]+)")),
    ("tags", re.compile(r"(.+)/tags/list")),
    ("referrers", re.compile(r"(.+)/referrers/([^/]+)")),
)
_NAME_LIMIT: Final = 255


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `kind` is base, catalog, token, or one of those of a repository."""

    kind: str
    name: str = ""
    reference: str = ""


def is_name(text: str) -> bool:
    """Tell whether it is a repository's name."""
    return len(text) <= _NAME_LIMIT and _NAME.fullmatch(text) is not None


def parse_path(path: str) -> Target | None:
    """Return what a path below /v2/ names, None for nothing.

    Raises HostingError for a name, tag or digest that cannot be.
    """
    if path in ("/v2", "/v2/"):
        return Target("base")
    rest = path.removeprefix("/v2/")
    if rest == path:
        return None
    if rest in ("_catalog", "_token"):
        return Target(rest[1:])
    for kind, pattern in _PATHS:
        match = pattern.fullmatch(rest)
        if match is not None:
            reference = match[2] if pattern.groups == 2 else ""
            return _checked(Target(kind, match[1], reference))
    return None


def _checked(target: Target) -> Target:
    if not is_name(target.name):
        raise HostingError("NAME_INVALID", "invalid repository name", {"name": target.name})
    reference = target.reference
    if target.kind in ("blob", "referrers") and not is_digest(reference):
        raise HostingError("DIGEST_INVALID", "invalid digest", {"digest": reference})
    if target.kind == "manifest" and not (is_digest(reference) or _TAG.fullmatch(reference)):
        raise HostingError("MANIFEST_INVALID", "invalid reference", {"reference": reference})
    return target


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last of a `Range`, None for the whole.

    Several ranges, and forms that are no byte range, mean the whole (RFC 9110, 14.2). Raises
    HostingError when the range lies outside.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= size or start >= end:
        raise HostingError("RANGE_INVALID", "the range lies outside of the blob", {"size": size})
    return start, end
