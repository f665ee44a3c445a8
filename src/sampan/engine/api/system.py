"""`/_ping`, `/version`, `/info`, `/events` and `/system/df`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from sampan import __version__
from sampan.base.errors import InvalidError
from sampan.engine.api.aged import aged_usage
from sampan.engine.api.image_views import ImageViews
from sampan.engine.api.information import information, version_document
from sampan.engine.api.routing import (
    API_VERSION,
    Call,
    Route,
    json_response,
)
from sampan.engine.buildkit.core.retention import Kept
from sampan.engine.buildkit.shell.usage import BuildUsage
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import moment_text, parse_moment
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.rest import Response

__all__ = ["HEADERS", "SystemRoutes"]

HEADERS: Final = (
    ("Api-Version", API_VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Sampan/{__version__} (linux)"),
)
"""What every answer says."""


_KINDS: Final = ("container", "image", "volume", "build-cache")
"""What `GET /system/df` tells about."""


def _cache_row(kept: Kept) -> dict[str, Any]:
    return {
        "ID": kept.id,
        "Parents": None,
        "Type": kept.kind,
        "Description": kept.description,
        "InUse": kept.in_use,
        "Shared": kept.shared,
        "Size": kept.size_bytes,
        "CreatedAt": moment_text(kept.created_s),
        "LastUsedAt": moment_text(kept.used_s),
        "UsageCount": 1,
    }


class SystemRoutes:
    """The handlers."""

    def __init__(self, engine: Engine, builds: BuildUsage) -> None:
        self._engine = engine
        self._builds = builds

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/_ping", self._ping),
            Route("HEAD", "/_ping", self._ping),
            Route("GET", "/version", self._version),
            Route("GET", "/info", self._info),
            Route("GET", "/events", self._events),
            Route("GET", "/system/df", self._usage),
        )

    async def _ping(self, call: Call) -> Response:
        headers = (
            ("Builder-Version", "1"),
            ("Swarm", "inactive"),
            ("Cache-Control", "no-cache, no-store, must-revalidate"),
            ("Pragma", "no-cache"),
            ("Content-Type", "text/plain; charset=utf-8"),
        )
        return Response(200, b"OK" if call.request.method == "GET" else b"", headers)

    async def _version(self, _: Call) -> Response:
        return json_response(version_document(self._engine.architecture))

    async def _info(self, _: Call) -> Response:
        return json_response(information(self._engine, self._engine.events.listeners))

    async def _events(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        since, until = parse_moment(call.text("since")), parse_moment(call.text("until"))
        if since is not None and until is not None and since > until:
            raise InvalidError(
                f"`since` time ({call.text('since')}) cannot be after `until` time "
                f"({call.text('until')})"
            )
        events = self._engine.events.subscribe(since, until, filters)

        async def lines() -> AsyncIterator[bytes]:
            yield b""
            async for event in events:
                yield json.dumps(event).encode() + b"\n"

        return Response(200, lines(), (("Content-Type", "application/json"),))

    async def _usage(self, call: Call) -> Response:
        wanted = set(call.request.query.get("type") or _KINDS)
        for kind in sorted(wanted - set(_KINDS)):
            raise InvalidError(f"unknown object type: {kind}")
        engine = self._engine
        parts: dict[str, Callable[[], Awaitable[Any]]] = {
            "image": self._image_usage,
            "container": self._container_usage,
            "volume": self._volumes,
            "build-cache": self._cache_usage,
        }
        found = {kind: await part() if kind in wanted else None for kind, part in parts.items()}
        usage = {
            "LayersSize": engine.images.layers_size() if "image" in wanted else 0,
            "Images": found["image"],
            "Containers": found["container"],
            "Volumes": found["volume"],
            "BuildCache": found["build-cache"],
        }
        return json_response(aged_usage(usage, call.version))

    async def _image_usage(self) -> list[dict[str, Any]]:
        return ImageViews(self._engine).usage()

    async def _container_usage(self) -> list[dict[str, Any]]:
        every = Filters({})
        return await self._engine.listing.summaries(every, everything=True, limit=0, size=True)

    async def _cache_usage(self) -> list[dict[str, Any]]:
        return [_cache_row(one) for one in await self._builds.listed(())]

    async def _volumes(self) -> list[dict[str, Any]]:
        volumes, users = self._engine.volumes, self._engine.volume_users
        found = []
        for volume in volumes.list(Filters({}), lambda name: False):
            size = await asyncio.to_thread(volumes.size, volume["Name"])
            usage = {"Size": size, "RefCount": len(users(volume["Name"]))}
            found.append({**volume, "UsageData": usage})
        return found
