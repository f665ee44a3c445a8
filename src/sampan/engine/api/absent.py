"""Endpoints of what is not there: swarm mode, plugins. Each says so in Docker's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.base.errors import NotFoundError, UnsupportedError
from sampan.engine.api.routing import Call, Route, json_response
from sampan.loop.rest import Response

__all__ = ["absent_routes"]

_SWARM: Final = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)


def absent_routes() -> Sequence[Route]:
    """Return the endpoints."""
    swarm = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
    changes = ("enable", "disable", "upgrade", "push", "set")
    return (
        Route("GET", "/plugins", _no_plugins),
        Route("GET", "/plugins/privileges", _not_yet),
        Route("POST", "/plugins/pull", _not_yet),
        Route("POST", "/plugins/create", _not_yet),
        Route("GET", "/plugins/{name...}/json", _no_plugin),
        *(Route("POST", f"/plugins/{{name...}}/{one}", _no_plugin) for one in changes),
        Route("DELETE", "/plugins/{name...}", _no_plugin),
        Route("POST", "/swarm/leave", _no_part_of_a_swarm),
        *(Route(m, f"/{one}", _no_swarm) for one in swarm for m in ("GET", "POST")),
        *(
            Route(m, f"/{one}/{{rest...}}", _no_swarm)
            for one in swarm
            for m in ("GET", "POST", "DELETE")
        ),
    )


async def _no_plugins(_: Call) -> Response:
    return json_response([])


async def _no_plugin(call: Call) -> Response:
    raise NotFoundError(f'plugin "{call.values["name"]}" not found')


async def _no_part_of_a_swarm(_: Call) -> Response:
    return json_response({"message": "This node is not part of a swarm"}, 503)


async def _no_swarm(_: Call) -> Response:
    return json_response({"message": _SWARM}, 503)


async def _not_yet(call: Call) -> Response:
    raise UnsupportedError(f"{call.request.method} {call.request.path}: not supported yet")
