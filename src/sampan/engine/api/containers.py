"""`/containers` of the Docker Engine API, but for streams of their output and input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sampan.base.errors import ConflictError, InvalidError, NotFoundError
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import CREATE, UPDATE
from sampan.engine.daemon.core.filters import parse_filters
from sampan.engine.daemon.core.signals import signal_number
from sampan.engine.daemon.shell.container import Container
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.processes import processes_of
from sampan.engine.daemon.shell.resources import update_container
from sampan.engine.daemon.shell.statistics import statistics
from sampan.loop.rest import Response

__all__ = ["ContainerRoutes"]


class ContainerRoutes:
    """The handlers, each a few lines over the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/containers/json", self._list),
            Route("POST", "/containers/create", self._create),
            Route("POST", "/containers/prune", self._prune),
            Route("GET", "/containers/{id}/json", self._inspect),
            Route("GET", "/containers/{id}/top", self._top),
            Route("GET", "/containers/{id}/changes", self._changes),
            Route("GET", "/containers/{id}/stats", self._stats),
            Route("POST", "/containers/{id}/resize", self._resize),
            Route("POST", "/containers/{id}/start", self._start),
            Route("POST", "/containers/{id}/stop", self._stop),
            Route("POST", "/containers/{id}/restart", self._restart),
            Route("POST", "/containers/{id}/kill", self._kill),
            Route("POST", "/containers/{id}/update", self._update),
            Route("POST", "/containers/{id}/rename", self._rename),
            Route("POST", "/containers/{id}/pause", self._pause),
            Route("POST", "/containers/{id}/unpause", self._unpause),
            Route("POST", "/containers/{id}/wait", self._wait),
            Route("DELETE", "/containers/{id...}", self._remove),
        )

    def _find(self, call: Call) -> Container:
        return self._engine.find(call.values["id"])

    async def _list(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        limit = call.number("limit") or 0
        everything, size = call.flag("all"), call.flag("size")
        found = await self._engine.listing.summaries(
            filters, everything=everything, limit=limit, size=size
        )
        return json_response(found)

    async def _create(self, call: Call) -> Response:
        body = await call.body(CREATE, empty=False)
        if not body.keys() - {"HostConfig", "NetworkingConfig"}:
            raise InvalidError("config cannot be empty in order to create a container")
        name, platform = call.text("name"), call.text("platform")
        id_, warnings = await self._engine.creation.create(name, body, platform)
        return json_response({"Id": id_, "Warnings": warnings}, 201)

    async def _inspect(self, call: Call) -> Response:
        container, size = self._find(call), call.flag("size")
        return json_response(await self._engine.listing.inspect(container, size=size))

    async def _start(self, call: Call) -> Response:
        started = await self._engine.lifecycle.start(self._find(call))
        return Response(204 if started else 304)

    async def _stop(self, call: Call) -> Response:
        timeout_s = call.number("t")
        stopped = await self._engine.lifecycle.stop(
            self._find(call), call.text("signal"), timeout_s
        )
        return Response(204 if stopped else 304)

    async def _restart(self, call: Call) -> Response:
        timeout_s = call.number("t")
        await self._engine.lifecycle.restart(self._find(call), call.text("signal"), timeout_s)
        return Response(204)

    async def _kill(self, call: Call) -> Response:
        signal_number(call.text("signal"))
        try:
            container = self._find(call)
        except NotFoundError as error:
            raise NotFoundError(f"Cannot kill container: {call.values['id']}: {error}") from None
        await self._engine.lifecycle.kill(container, call.text("signal"))
        return Response(204)

    async def _pause(self, call: Call) -> Response:
        await self._engine.lifecycle.pause(self._find(call))
        return Response(204)

    async def _unpause(self, call: Call) -> Response:
        await self._engine.lifecycle.unpause(self._find(call))
        return Response(204)

    async def _rename(self, call: Call) -> Response:
        name = call.text("name")
        if not name:
            raise InvalidError("Neither old nor new names may be empty")
        self._engine.rename(self._find(call), name)
        return Response(204)

    async def _update(self, call: Call) -> Response:
        body = await call.body(UPDATE)
        container = self._find(call)
        warnings = await update_container(container, body, self._engine.machine)
        self._engine.publish(container, "update")
        return json_response({"Warnings": warnings})

    async def _remove(self, call: Call) -> Response:
        if call.flag("link"):
            self._engine.unlink(call.values["id"])
            return Response(204)
        await self._engine.removal.remove(
            self._find(call), force=call.flag("force"), volumes=call.flag("v")
        )
        return Response(204)

    async def _prune(self, call: Call) -> Response:
        gone, freed = await self._engine.removal.prune(parse_filters(call.text("filters")))
        return json_response({"ContainersDeleted": gone or None, "SpaceReclaimed": freed})

    async def _top(self, call: Call) -> Response:
        words = call.text("ps_args", "-ef")
        container = self._find(call)
        found = await processes_of(container, words)
        self._engine.publish(container, "top")
        return json_response(found)

    async def _changes(self, call: Call) -> Response:
        record = self._find(call).record
        snapshots = self._engine.images.snapshots
        found = await asyncio.to_thread(snapshots.changes, record.id, record.diff_ids)
        return json_response([{"Path": one.path, "Kind": one.kind} for one in found] or None)

    async def _stats(self, call: Call) -> Response:
        container = self._find(call)
        samples = statistics(
            container, stream=call.flag("stream", True), one_shot=call.flag("one-shot")
        )
        return Response(200, _json_lines(samples), (("Content-Type", "application/json"),))

    async def _resize(self, call: Call) -> Response:
        height, width = call.required_number("h"), call.required_number("w")
        container = self._find(call)
        if container.shim is None:
            raise ConflictError(f"Container {container.id} is not running")
        await container.shim.resize(width, height)
        return Response(200)

    async def _wait(self, call: Call) -> Response:
        container, condition = self._find(call), call.text("condition")
        future = self._engine.lifecycle.expect(container, condition)

        async def answer() -> AsyncIterator[bytes]:
            # The headers go out at once: they tell the client that the wait has begun.
            yield b""
            code = await asyncio.shield(future)
            document: dict[str, Any] = {"StatusCode": code}
            # Who waits for the removal is told why that failed, not why the start did.
            if container.record.state.error and code >= 125 and condition != "removed":
                document["Error"] = {"Message": container.record.state.error}
            yield json.dumps(document).encode() + b"\n"

        return Response(200, answer(), (("Content-Type", "application/json"),))


async def _json_lines(documents: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    async for document in documents:
        yield json.dumps(document).encode() + b"\n"
