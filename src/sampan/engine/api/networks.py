"""`/networks` of the Docker Engine API."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.base.errors import InvalidError, SampanError
from sampan.base.moment import instant
from sampan.engine.api.routing import Call, Route, json_response
from sampan.engine.daemon.core.bodies import (
    NETWORK_CONNECT,
    NETWORK_CREATE,
    NETWORK_DISCONNECT,
)
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_until
from sampan.engine.daemon.core.network_views import network_document, network_member
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.network.core.definition import parse_definition
from sampan.engine.network.core.model import NetworkRecord
from sampan.loop.rest import Response

__all__ = ["NetworkRoutes"]


class NetworkRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/networks", self._list),
            Route("POST", "/networks/create", self._create),
            Route("POST", "/networks/prune", self._prune),
            Route("GET", "/networks/{id}", self._inspect),
            Route("DELETE", "/networks/{id}", self._remove),
            Route("POST", "/networks/{id}/connect", self._connect),
            Route("POST", "/networks/{id}/disconnect", self._disconnect),
        )

    def _members(self, record: NetworkRecord) -> dict[str, Any]:
        engine = self._engine
        found = engine.networking.networks.members(record.id)
        return {
            one.id: network_member(one.record.name, found.get(one.id))
            for one in engine.registry
            if one.id in found
            or (
                record.driver != "bridge"
                and one.record.state.running
                and one.record.host_config["NetworkMode"] == record.name
            )
        }

    def _in_use(self, record: NetworkRecord) -> bool:
        return any(record.name in one.record.networks for one in self._engine.registry)

    def _meant(self, record: NetworkRecord, filters: Filters) -> bool:
        dangling = filters.flag("dangling")
        if dangling is not None:
            unused = not record.predefined and not self._members(record)
            if dangling != unused:
                return False
        kind = "builtin" if record.predefined else "custom"
        return (
            filters.exact("driver", record.driver)
            and filters.prefix("id", record.id)
            and filters.matches("name", record.name)
            and filters.exact("scope", "local")
            and filters.labels(record.labels)
            and filters.exact("type", kind)
        )

    async def _list(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "driver", "id", "label", "name", "scope", "type"))
        for kind in filters.values("type"):
            if kind not in ("builtin", "custom"):
                raise InvalidError(f"invalid filter: 'type'='{kind}'")
        networks = self._engine.networking.networks
        found = [one for one in networks if self._meant(one, filters)]
        return json_response([network_document(one, {}) for one in found])

    async def _inspect(self, call: Call) -> Response:
        record = self._engine.networking.networks.find(call.values["id"])
        return json_response(network_document(record, self._members(record)))

    async def _create(self, call: Call) -> Response:
        definition = parse_definition(await call.body(NETWORK_CREATE))
        self._engine.networking.check_bridges()
        record = await self._engine.networking.networks.create(definition)
        self._publish("create", record)
        return json_response({"Id": record.id, "Warning": ""}, 201)

    async def _remove(self, call: Call) -> Response:
        record = await self._engine.networking.networks.remove(call.values["id"])
        self._publish("destroy", record)
        return Response(204)

    async def _prune(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("label", "label!", "until"))
        moments = [parse_until(text, time.time()) for text in filters.values("until")]
        networks, gone = self._engine.networking.networks, []
        for record in networks:
            kept = record.predefined or self._in_use(record) or not filters.labels(record.labels)
            kept |= filters.has("label!") and filters.labels(record.labels, "label!")
            if kept or any(instant(record.created) >= moment for moment in moments):
                continue
            try:
                await networks.remove(record.id)
            except SampanError:
                continue  # somebody has come in meanwhile
            self._publish("destroy", record)
            gone.append(record.name)
        return json_response({"NetworksDeleted": gone or None})

    async def _connect(self, call: Call) -> Response:
        body = await call.body(NETWORK_CONNECT)
        container = self._engine.find(_container(body))
        settings = body.get("EndpointConfig") or {}
        await self._engine.networking.connect(container, call.values["id"], settings)
        return Response(200)

    async def _disconnect(self, call: Call) -> Response:
        body = await call.body(NETWORK_DISCONNECT)
        container = self._engine.find(_container(body))
        await self._engine.networking.disconnect(container, call.values["id"])
        return Response(200)

    def _publish(self, action: str, record: NetworkRecord) -> None:
        attributes = {"name": record.name, "type": record.driver}
        self._engine.events.publish("network", action, record.id, attributes)


def _container(body: Mapping[str, Any]) -> str:
    name = body.get("Container")
    if not isinstance(name, str) or not name:
        raise InvalidError("invalid container name or ID: value is empty")
    return name
