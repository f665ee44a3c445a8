"""`/_ping`, `/version`, `/info`, `/events`, `/system/df` and the networks that are always there."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from sampan import __version__
from sampan.base.errors import ConflictError, InvalidError, NotFoundError, UnsupportedError
from sampan.base.moment import instant
from sampan.engine.api.information import information, version_document
from sampan.engine.api.routing import (
    API_VERSION,
    Call,
    Route,
    json_response,
)
from sampan.engine.daemon.core.bodies import NETWORK_CREATE
from sampan.engine.daemon.core.filters import Filters, parse_filters
from sampan.engine.daemon.core.moment import parse_moment
from sampan.engine.daemon.shell.engine import Engine
from sampan.engine.daemon.shell.lifecycle import now_text
from sampan.images.core.reference import parse_reference
from sampan.loop.rest import Response

__all__ = ["HEADERS", "SystemRoutes"]

HEADERS: Final = (
    ("Api-Version", API_VERSION),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Sampan/{__version__} (linux)"),
)
"""What every answer says."""

_PREDEFINED: Final = ("none", "host")


class SystemRoutes:
    """The handlers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._since = now_text()

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("GET", "/_ping", self._ping),
            Route("HEAD", "/_ping", self._ping),
            Route("GET", "/version", self._version),
            Route("GET", "/info", self._info),
            Route("GET", "/events", self._events),
            Route("GET", "/system/df", self._usage),
            Route("GET", "/networks", self._networks),
            Route("POST", "/networks/create", self._network_refuse),
            Route("POST", "/networks/prune", self._network_prune),
            Route("GET", "/networks/{id}", self._network),
            Route("DELETE", "/networks/{id}", self._network_remove),
            Route("POST", "/networks/{id}/connect", self._network_refuse),
            Route("POST", "/networks/{id}/disconnect", self._network_refuse),
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
        events = self._engine.events.subscribe(since, until, filters)

        async def lines() -> AsyncIterator[bytes]:
            yield b""
            async for event in events:
                yield json.dumps(event).encode() + b"\n"

        return Response(200, lines(), (("Content-Type", "application/json"),))

    async def _usage(self, _: Call) -> Response:
        engine = self._engine
        images = []
        for entry in engine.images.index.entries():
            users = engine.image_users(entry.image.id)
            images.append(
                {
                    "Id": entry.image.id,
                    "ParentId": entry.parent,
                    "RepoTags": [parse_reference(name).familiar for name in entry.tags],
                    "RepoDigests": [],
                    "Created": int(instant(entry.image.created)),
                    "Size": engine.images.size(entry),
                    "SharedSize": 0,
                    "Labels": entry.image.config.get("Labels"),
                    "Containers": len(users),
                }
            )
        containers = engine.listing.summaries(Filters({}), everything=True, limit=0, size=True)
        volumes = [
            {
                **volume,
                "UsageData": {
                    "Size": engine.volumes.size(volume["Name"]),
                    "RefCount": len(engine.volume_users(volume["Name"])),
                },
            }
            for volume in engine.volumes.list(Filters({}), lambda name: False)
        ]
        return json_response(
            {
                "LayersSize": sum(one["Size"] for one in images),
                "Images": images,
                "Containers": containers,
                "Volumes": volumes,
                "BuildCache": [],
            }
        )

    def _predefined(self, name: str) -> dict[str, Any]:
        members = {
            one.id: {
                "Name": one.record.name,
                "EndpointID": "",
                "MacAddress": "",
                "IPv4Address": "",
                "IPv6Address": "",
            }
            for one in self._engine.registry
            if one.record.state.running and one.record.host_config["NetworkMode"] == name
        }
        return {
            "Name": name,
            "Id": (name.encode().hex() * 16)[:64],
            "Created": self._since,
            "Scope": "local",
            "Driver": "null" if name == "none" else name,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": None, "Config": None},
            "Internal": False,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": members,
            "Options": {},
            "Labels": {},
        }

    async def _networks(self, call: Call) -> Response:
        filters = parse_filters(call.text("filters"))
        filters.check(("dangling", "driver", "id", "label", "name", "scope", "type"))
        found = [self._predefined(name) for name in _PREDEFINED]
        return json_response([one for one in found if _network_meant(one, filters)])

    def _find_network(self, text: str) -> dict[str, Any]:
        for name in _PREDEFINED:
            network = self._predefined(name)
            if text == name or network["Id"].startswith(text):
                return network
        raise NotFoundError(f"network {text} not found")

    async def _network(self, call: Call) -> Response:
        return json_response(self._find_network(call.values["id"]))

    async def _network_remove(self, call: Call) -> Response:
        network = self._find_network(call.values["id"])
        raise ConflictError(f"{network['Name']} is a pre-defined network and cannot be removed")

    async def _network_refuse(self, call: Call) -> Response:
        body = await call.body(NETWORK_CREATE)
        if call.request.path.endswith("/create") and not body.get("Name"):
            raise InvalidError("network name cannot be empty")
        raise UnsupportedError("bridge networks are not supported yet: use none or host")

    async def _network_prune(self, _: Call) -> Response:
        return json_response({"NetworksDeleted": None})


def _network_meant(network: Mapping[str, Any], filters: Filters) -> bool:
    dangling = filters.flag("dangling")
    if dangling is not None and dangling == bool(network["Containers"]):
        return False
    kinds = filters.values("type")
    return (
        filters.exact("driver", network["Driver"])
        and filters.prefix("id", network["Id"])
        and filters.matches("name", network["Name"])
        and filters.exact("scope", network["Scope"])
        and filters.labels(network["Labels"])
        and (not kinds or "builtin" in kinds)
    )
