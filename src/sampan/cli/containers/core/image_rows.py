"""What `images` shows: a row for each name of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sampan.cli.containers.core.rows import local_time
from sampan.cli.containers.core.units import age, decimal_size, short_id

__all__ = ["image_rows"]

_NONE = "<none>"


def image_rows(
    images: Iterable[Mapping[str, Any]], now_s: float, shorten: bool, digests: bool
) -> list[dict[str, Any]]:
    """Return the rows of all images, in the order in which they come."""
    return [
        _row(image, name, now_s, shorten) for image in images for name in _names(image, digests)
    ]


def _names(image: Mapping[str, Any], digests: bool) -> Iterator[tuple[str, str, str]]:
    """Yield repository, tag and digest of each row."""
    tags: dict[str, list[str]] = {}
    for reference in image.get("RepoTags") or ():
        repository, _, tag = reference.rpartition(":")
        if reference != f"{_NONE}:{_NONE}":
            tags.setdefault(repository, []).append(tag)
    known: dict[str, list[str]] = {}
    for reference in image.get("RepoDigests") or ():
        repository, _, digest = reference.partition("@")
        if reference != f"{_NONE}@{_NONE}":
            known.setdefault(repository, []).append(digest)
    if not tags and not known:
        yield _NONE, _NONE, _NONE
    for repository, names in tags.items():
        values = known.pop(repository, []) if digests else [known.pop(repository, [_NONE])[0]]
        for name in names:
            for digest in values or [_NONE]:
                yield repository, name, digest if digests else _NONE
    for repository, values in known.items():
        for digest in values if digests else values[:1]:
            # Docker leaves the digest of such a row empty, unless digests are asked for.
            yield repository, _NONE, digest if digests else ""


def _row(
    image: Mapping[str, Any], name: tuple[str, str, str], now_s: float, shorten: bool
) -> dict[str, Any]:
    repository, tag, digest = name
    size = decimal_size(image["Size"])
    shared, containers = image.get("SharedSize", -1), image.get("Containers", -1)
    return {
        "Containers": "N/A" if containers == -1 else str(containers),
        "CreatedAt": local_time(image["Created"]),
        "CreatedSince": f"{age(now_s - image['Created'])} ago",
        "Digest": digest,
        "ID": short_id(image["Id"]) if shorten else image["Id"],
        "Repository": repository,
        "SharedSize": "N/A" if shared == -1 else decimal_size(shared, 4),
        "Size": size,
        "Tag": tag,
        "UniqueSize": "N/A" if shared == -1 else decimal_size(image["Size"] - shared, 4),
        "VirtualSize": decimal_size(image["Size"], 4),
    }
