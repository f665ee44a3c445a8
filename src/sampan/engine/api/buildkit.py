"""BuildKit in the Docker Engine API: HTTP requests that turn into gRPC, one way and the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.base.errors import InvalidError
from sampan.engine.api.routing import Call, Route
from sampan.engine.buildkit.api.server import BuildkitServer
from sampan.loop.rest import Response

__all__ = ["BuildkitRoutes"]

_ID: Final = "x-docker-expose-session-uuid"
_SHARED_KEY: Final = "x-docker-expose-session-sharedkey"


class BuildkitRoutes:
    """The handlers."""

    def __init__(self, server: BuildkitServer) -> None:
        self._server = server

    def routes(self) -> Sequence[Route]:
        """Return the endpoints."""
        return (
            Route("POST", "/grpc", self._grpc),
            Route("POST", "/session", self._session),
        )

    async def _grpc(self, call: Call) -> Response | None:
        """Let the client call the services of the builder."""
        _check_upgrade(call)
        await self._server.serve(await call.request.hijack())
        return None

    async def _session(self, call: Call) -> Response | None:
        """Let the builder call the services of the client."""
        _check_upgrade(call)
        headers = call.request.headers
        id_ = headers.get(_ID, "")
        self._server.sessions.check(id_)
        raw = await call.request.hijack()
        await self._server.sessions.serve(raw, id_, headers.get(_SHARED_KEY, ""))
        return None


def _check_upgrade(call: Call) -> None:
    if call.request.headers.get("upgrade", "").lower() != "h2c":
        raise InvalidError(
            f"{call.request.path} needs an upgrade of the connection: the header Upgrade: h2c"
        )
