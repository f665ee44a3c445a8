"""Images that are here, in the Docker Engine API: list, inspect, history, tag, remove, prune."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Sequence
from typing import Final

from sampan.base.moment import instant
from sampan.engine.api.aged import aged_image
from sampan.engine.api.image_views import ImageViews, json_platform, json_platforms
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.shell.engine import Engine
from sampan.images.core.reference import Reference, parse_reference
from sampan.images.shell.index import Entry
from sampan.images.shell.removal import prune_images, remove_image, remove_platforms
from sampan.loop.rest import Response

__all__ = ["ImageRoutes"]

_FILTERS: Final = ("before", "dangling", "label", "reference", "since", "until")


class ImageRoutes:
    """The handlers, each a few lines over the image store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images = engine.images
        self._views = ImageViews(engine)

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
        hidden = set() if call.flag("all") else self._hidden()
        manifests, shared = call.flag("manifests"), {}
        if call.flag("shared-size"):
            shared = self._views.shared_sizes()
        rows = []
        for entry in self._images.index.entries():
            tags, digests = _names(entry, filters)
            if entry.id in hidden or not self._meant(entry, filters, tags, digests):
                continue
            row = self._views.summary(entry, tags, digests)
            row["SharedSize"] = shared.get(entry.id, -1)
            if manifests:
                row["Manifests"] = self._views.manifests(entry)
                row["Containers"] = len(self._views.containers(entry))
            rows.append(row)
        rows.sort(key=lambda row: row["Created"], reverse=True)
        return json_response([aged_image(row, call.version) for row in rows])

    def _hidden(self) -> set[str]:
        """Return the images without a name that others stand for.

        Those are built upon, or are other platforms of what has a name.
        """
        entries = self._images.index.entries()
        parents = {entry.parent for entry in entries}
        named = {entry.index for entry in entries if entry.index and entry.tags}
        return {
            entry.id
            for entry in entries
            if not (entry.tags or entry.digests)
            and (entry.id in parents or (entry.index and entry.index in named))
        }

    def _meant(
        self, entry: Entry, filters: Filters, tags: Sequence[str], digests: Sequence[str]
    ) -> bool:
        dangling = filters.flag("dangling")
        if dangling is not None and dangling == bool(entry.tags):
            return False
        if filters.has("reference") and not (tags or digests):
            return False
        if not filters.labels(entry.labels):
            return False
        own = instant(entry.created)
        if not _before(entry, filters):
            return False
        for text in filters.values("before"):
            if own >= instant(self._images.find(text).created):
                return False
        for text in filters.values("since"):
            if own <= instant(self._images.find(text).created):
                return False
        return True

    async def _inspect(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"], json_platform(call))
        shown = self._views.inspection(entry)
        if call.flag("manifests"):
            shown["Manifests"] = self._views.manifests(entry)
        return json_response(aged_image(shown, call.version))

    async def _history(self, call: Call) -> Response:
        entry = self._images.find(call.values["name"], json_platform(call))
        sizes = [self._images.layer_size(chain) for chain in entry.chains()]
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
            rows[-1] |= {"Id": entry.id, "Tags": tags or None}
        return json_response(rows[::-1])

    async def _tag(self, call: Call) -> Response:
        await self._images.tag(call.values["name"], call.text("repo"), call.text("tag"))
        return Response(201)

    async def _remove(self, call: Call) -> Response:
        name, users, force = call.values["name"], self._engine.image_users, call.flag("force")
        platforms = json_platforms(call, "platforms")
        if platforms:
            gone = await remove_platforms(self._images, name, platforms, users, force=force)
        else:
            gone = await remove_image(self._images, name, users, force=force)
        return json_response(gone)

    async def _prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "label", "label!", "until"))
        everything = filters.flag("dangling") is False
        hidden = set() if everything else self._hidden()

        def chosen(entry: Entry) -> bool:
            labels = entry.labels
            unlike = not filters.has("label!") or not filters.labels(labels, "label!")
            dangling = not entry.tags and entry.id not in hidden
            meant = (everything or dangling) and filters.labels(labels) and unlike
            return meant and _before(entry, filters)

        gone, freed = await prune_images(self._images, chosen, self._engine.image_users)
        return json_response({"ImagesDeleted": gone or None, "SpaceReclaimed": freed})


def _names(entry: Entry, filters: Filters) -> tuple[list[str], list[str]]:
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


def _before(entry: Entry, filters: Filters) -> bool:
    """Tell whether an image was made before the filter `until`, if that is given."""
    moments = [parse_until(text, time.time()) for text in filters.values("until")]
    return all(instant(entry.created) < moment for moment in moments)


def _like(name: Reference, pattern: str) -> bool:
    """Tell whether a reference filter means a name, whole or without tag and digest.

    A star does not go over a slash.
    """
    return _matches(name.familiar, pattern) or _matches(name.familiar_name, pattern)


def _matches(text: str, pattern: str) -> bool:
    parts, patterns = text.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
