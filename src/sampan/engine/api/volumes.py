"""`/volumes` of the Docker Engine API."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import VOLUME_CREATE
from sampan.engine.daemon.core.filters import parse_filters
from sampan.engine.daemon.shell.engine import Engine
from sampan.loop.rest import Response

__all__ = ["VolumeRoutes"]


class VolumeRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/volumes", self._list),
            Route("POST", "/volumes/create", self._create),
            Route("POST", "/volumes/prune", self._prune),
            Route("GET", "/volumes/{name}", self._inspect),
            Route("DELETE", "/volumes/{name}", self._remove),
        )

    def _used(self, name: str) -> bool:
        return bool(self._engine.volume_users(name))

    async def _list(self, call: Call) -> Response:
        found = self._engine.volumes.list(parse_filters(call.text("filters")), self._used)
        return json_response({"Volumes": found, "Warnings": None})

    async def _create(self, call: Call) -> Response:
        body = await call.body(VOLUME_CREATE)
        volume = self._engine.volumes.create(
            body.get("Name") or "",
            body.get("Driver") or "local",
            body.get("DriverOpts"),
            body.get("Labels"),
        )
        return json_response(volume, 201)

    async def _inspect(self, call: Call) -> Response:
        return json_response(self._engine.volumes.get(call.values["name"]))

    async def _remove(self, call: Call) -> Response:
        name = call.values["name"]
        users = self._engine.volume_users(name)
        self._engine.volumes.remove(name, users, force=call.flag("force"))
        return Response(204)

    async def _prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        everything = call.version < (1, 42)
        gone, freed = await self._engine.volumes.prune(filters, self._used, named=everything)
        return json_response({"VolumesDeleted": gone, "SpaceReclaimed": freed})
