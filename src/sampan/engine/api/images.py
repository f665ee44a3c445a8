"""Images that are here, in the Docker Engine API: list, inspect, history, tag, remove, prune."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Sequence
from typing import Any, Final

from sampan.base.moment import instant
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.image import chain_ids
from sampan.images.core.reference import Reference, parse_reference
from sampan.images.shell.index import Entry
from sampan.images.shell.removal import prune_images, remove_image
from sampan.loop.rest import Response

__all__ = ["ImageRoutes"]

_JSON: Final = (("Content-Type", "application/json"),)
_FILTERS: Final = ("before", "dangling", "label", "reference", "since", "until")


class ImageRoutes:
    """The handlers, each a few lines over the image store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images

    def routes(self) -> Sequence[Route]:
        """Return the endpoints; longer paths first, for a name may have slashes."""
        return (
            Route("GET", "/images/json", self._list),
            Route("POST", "/images/prune", self._prune),
            Route("GET", "/images/{name...}/json", self._inspect),
            Route("GET", "/images/{name...}/history", self._history),
            Route("POST", "/images/{name...}/tag", self._tag),
            Route("DELETE", "/images/{name...}", self._remove),
        )

    async def _list(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(_FILTERS)
        found = [one for one in self._images.index.entries() if self._meant(one, filters)]
        found.sort(key=lambda one: one.image.created, reverse=True)
        return json_response([self._summary(one, filters) for one in found])

    def _meant(self, entry: Entry, filters: Filters) -> bool:
        dangling = filters.flag("dangling")
        if dangling is not None and dangling == bool(entry.tags):
            return False
        if not filters.labels(entry.image.config.get("Labels") or {}):
            return False
        if not any(self._names(entry, filters)) and filters.has("reference"):
            return False
        own = instant(entry.image.created)
        if not _before(entry, filters):
            return False
        for text in filters.values("before"):
            if own >= instant(self._images.find(text).image.created):
                return False
        for text in filters.values("since"):
            if own <= instant(self._images.find(text).image.created):
                return False
        return True

    def _names(self, entry: Entry, filters: Filters) -> tuple[list[str], list[str]]:
        """Return the tags and the digests that the filter `reference` lets through."""
        patterns = filters.values("reference")

        def shown(names: Sequence[str]) -> list[str]:
            found = [parse_reference(name) for name in names]
            return [
                one.familiar
                for one in found
                if not patterns or any(_like(one, pattern) for pattern in patterns)
            ]

        return shown(entry.tags), shown(entry.digests)

    def _summary(self, entry: Entry, filters: Filters) -> dict[str, Any]:
        image = entry.image
        tags, digests = self._names(entry, filters)
        return {
            "Id": image.id,
            "ParentId": entry.parent,
            "RepoTags": tags,
            "RepoDigests": digests,
            "Created": int(instant(image.created)),
            "Size": self._images.size(entry),
            "SharedSize": -1,
            "Labels": image.config.get("Labels"),
            "Containers": -1,
        }

    async def _inspect(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"])
        image, document = entry.image, entry.image.document
        return json_response(
            {
                "Id": image.id,
                "RepoTags": [parse_reference(name).familiar for name in entry.tags],
                "RepoDigests": [parse_reference(name).familiar for name in entry.digests],
                "Parent": entry.parent,
                "Comment": document.get("comment", ""),
                "Created": image.created,
                "DockerVersion": document.get("docker_version", ""),
                "Author": document.get("author", ""),
                "Config": dict(image.config),
                "Architecture": document.get("architecture", ""),
                "Variant": document.get("variant", ""),
                "Os": document.get("os", ""),
                "Size": self._images.size(entry),
                "GraphDriver": self._images.snapshots.graph(image.diff_ids),
                "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
                "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
            }
        )

    async def _history(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"])
        sizes = [self._images.snapshots.layer_size(one) for one in chain_ids(entry.image.diff_ids)]
        rows, at = [], 0
        for note in entry.image.document.get("history") or ():
            size = 0
            if not note.get("empty_layer") and at < len(sizes):
                size, at = sizes[at], at + 1
            row = {
                "Id": "<missing>",
                "Created": int(instant(note.get("created") or "")),
                "CreatedBy": note.get("created_by", ""),
                "Tags": None,
                "Size": size,
                "Comment": note.get("comment", ""),
            }
            rows.append(row)
        if rows:
            tags = [parse_reference(name).familiar for name in entry.tags]
            rows[-1] |= {"Id": entry.image.id, "Tags": tags or None}
        return json_response(rows[::-1])

    async def _tag(self, call: Call) -> Response:
        await self._images.tag(call.values["name"], call.text("repo"), call.text("tag"))
        return Response(201)

    async def _remove(self, call: Call) -> Response:
        gone = await remove_image(
            self._images, call.values["name"], self._engine.image_users, force=call.flag("force")
        )
        return json_response(gone)

    async def _prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "label", "label!", "until"))
        everything = filters.flag("dangling") is False

        def chosen(entry: Entry) -> bool:
            labels = entry.image.config.get("Labels") or {}
            unlike = not filters.has("label!") or not filters.labels(labels, "label!")
            chosen = (everything or not entry.tags) and filters.labels(labels) and unlike
            return chosen and _before(entry, filters)

        gone, freed = await prune_images(self._images, chosen, self._engine.image_users)
        return json_response({"ImagesDeleted": gone or None, "SpaceReclaimed": freed})


def _before(entry: Entry, filters: Filters) -> bool:
    """Tell whether an image was made before the filter `until`, if that is given."""
    moments = [parse_until(text, time.time()) for text in filters.values("until")]
    return all(instant(entry.image.created) < moment for moment in moments)


def _like(name: Reference, pattern: str) -> bool:
    """Tell whether a reference filter means a name, whole or without tag and digest.

    A star does not go over a slash.
    """
    return _matches(name.familiar, pattern) or _matches(name.familiar_name, pattern)


def _matches(text: str, pattern: str) -> bool:
    parts, patterns = text.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
