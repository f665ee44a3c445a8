"""`/containers/{id}/archive` and `/containers/{id}/export` of the Docker Engine API."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sampan.base.errors import InvalidError
from sampan.engine.api.routing import Call, Route
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.rest import Response

__all__ = ["ArchiveRoutes"]

_TAR: Final = ("Content-Type", "application/x-tar")


class ArchiveRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("HEAD", "/containers/{id}/archive", self._stat),
            Route("GET", "/containers/{id}/archive", self._get),
            Route("PUT", "/containers/{id}/archive", self._put),
            Route("GET", "/containers/{id}/export", self._export),
        )

    def _meant(self, call: Call) -> tuple[Container, str]:
        path = call.text("path")
        if not path:
            raise InvalidError("bad parameter: path cannot be empty")
        return self._engine.find(call.values["id"]), path

    async def _stat(self, call: Call) -> Response:
        container, path = self._meant(call)
        found = await self._engine.archives.stat(container, path)
        return Response(200, b"", (_header(found),))

    async def _get(self, call: Call) -> Response:
        container, path = self._meant(call)
        found, stream = await self._engine.archives.get(container, path)
        return Response(200, stream, (_TAR, _header(found)))

    async def _put(self, call: Call) -> Response:
        container, path = self._meant(call)
        await self._engine.archives.put(
            container,
            path,
            call.request.chunks(),
            keep_kinds=call.flag("noOverwriteDirNonDir"),
            own=call.flag("copyUIDGID"),
        )
        return Response(200)

    async def _export(self, call: Call) -> Response:
        stream = await self._engine.archives.export(self._engine.find(call.values["id"]))
        return Response(200, stream, (_TAR,))


def _header(found: Mapping[str, Any]) -> tuple[str, str]:
    text = base64.b64encode(json.dumps(found).encode()).decode()
    return "X-Docker-Container-Path-Stat", text
