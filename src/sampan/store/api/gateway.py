"""The JSON gateway: every RPC as `POST /v3/...` with a JSON body.

A request is translated and handed to the very method that serves gRPC, so every check, limit and
error is the same. Responses of a stream are written one to a line as `{"result": ...}`, an error
in the middle as `{"error": ...}`. A stream's body may hold several requests one after the other;
it is read whole before the first is served, and a watch then stays open until its client leaves.

Statuses and error bodies are those of grpc-gateway; beside its `code` and `message` an error
carries `error`, which clients written for etcd 3.4 and 3.5 read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus

from sampan.base.log import Logger
from sampan.loop.rpc_stats import MethodStats, RpcStats
from sampan.store.api.gateway_call import LocalCall, LocalStreamCall, LocalUnaryCall
from sampan.store.api.gateway_routes import ROUTES, Route
from sampan.wire.grpc.metadata import parse_timeout_s
from sampan.wire.grpc.service import (
    HttpRequest,
    HttpResponse,
    MethodTable,
    Peer,
    StreamMethod,
    UnaryMethod,
)
from sampan.wire.grpc.status import Code, Metadata, RpcError
from sampan.wire.json_proto import JsonError, dumps, from_json, read_values

__all__ = ["HTTP_STATUS", "Gateway"]

HTTP_STATUS: Mapping[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""gRPC status to HTTP status, as grpc-gateway maps them."""

_HEADERS = (
    ("content-type", "application/json"),
    ("grpc-metadata-content-type", "application/grpc"),
)
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_METADATA_PREFIX = "grpc-metadata-"


class Gateway:
    """Serves the paths of `ROUTES` from a table of methods; use as an HttpHandler.

    Calls are counted in what `stats()` returns, beside those that come by gRPC.
    """

    def __init__(
        self, methods: MethodTable, log: Logger, stats: Callable[[], RpcStats] = RpcStats
    ) -> None:
        self._methods = methods
        self._log = log
        self._stats = stats

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer one request; never raises for a wrong one."""
        route = ROUTES.get(request.path.partition("?")[0])
        try:
            if route is None:
                raise RpcError(Code.NOT_FOUND, "Not Found")
            if request.method != "POST":
                raise RpcError(Code.UNIMPLEMENTED, "Method Not Allowed")
            method = self._methods.get(route.full_name)
            if method is None:
                raise RpcError(Code.UNIMPLEMENTED, f"{route.full_name} is not supported yet")
            if isinstance(method, UnaryMethod):
                return await self._unary(route, method, request)
            return await self._stream(route, method, request)
        except RpcError as error:
            return _error_response(error)

    async def _unary(self, route: Route, method: UnaryMethod, request: HttpRequest) -> HttpResponse:
        body = _decode(route, request.body, only_first=True)[0]
        metadata, timeout_s = _metadata(request)
        peer = Peer(request.peer.address)
        call = LocalUnaryCall(route.full_name, metadata=metadata, peer=peer, timeout_s=timeout_s)
        self._count(route, call)
        try:
            method.handler(call, body)
        except RpcError as error:
            call.fail(error.code, error.message, error.metadata)
        except Exception as error:
            call.fail(*self._crashed(route, error))
        message = route.response.FromString(await call.result())
        return HttpResponse(200, _HEADERS, dumps(message))

    async def _stream(
        self, route: Route, method: StreamMethod, request: HttpRequest
    ) -> HttpResponse:
        bodies = _decode(route, request.body, only_first=not route.method.client_streaming)
        metadata, timeout_s = _metadata(request)
        call = LocalStreamCall(
            route.full_name,
            bodies,
            # A watch lives as long as its reader; other streams end with their last request.
            hold_open=route.service == "Watch",
            metadata=metadata,
            peer=Peer(request.peer.address),
            timeout_s=timeout_s,
        )
        stats = self._count(route, call)
        stats.count_received(len(bodies))
        task = asyncio.create_task(self._serve(route, method, call))
        call.on_done(task.cancel)
        try:
            first = await call.next_response()
        except RpcError as error:
            return HttpResponse(HTTP_STATUS[error.code], _HEADERS[:1], _stream_error(error))
        except asyncio.CancelledError:
            call.cancel()
            raise
        return HttpResponse(200, _HEADERS, _Lines(route, call, stats, first))

    def _count(self, route: Route, call: LocalCall) -> MethodStats:
        """Count the call where those that come by gRPC are counted."""
        stats = self._stats().method(route.full_name, route.streaming)
        stats.started += 1

        def ended() -> None:
            code = Code.OK if call.error is None else call.error.code
            stats.handled[code] += 1

        call.on_done(ended)
        return stats

    async def _serve(self, route: Route, method: StreamMethod, call: LocalStreamCall) -> None:
        handler: Awaitable[None] = method.handler(call)
        try:
            await handler
        except RpcError as error:
            call.fail(error.code, error.message, error.metadata)
        except Exception as error:
            call.fail(*self._crashed(route, error))
        else:
            if not call.done:
                call.end()

    def _crashed(self, route: Route, error: Exception) -> tuple[Code, str]:
        self._log.error("gateway method crashed", method=route.full_name, error=repr(error))
        return Code.INTERNAL, "internal error"


def _decode(route: Route, body: bytes, *, only_first: bool) -> list[bytes]:
    """Return the requests in `body` as serialized messages; an empty body is one empty request.

    What follows the only request of a unary call is ignored, as by grpc-gateway.
    """
    messages: list[bytes] = []
    try:
        for value in read_values(body):
            messages.append(from_json(value, route.request).SerializeToString())
            if only_first:
                break
    except JsonError as error:
        raise RpcError(Code.INVALID_ARGUMENT, str(error)) from None
    if not messages and not route.method.client_streaming:
        messages.append(b"")
    return messages


def _metadata(request: HttpRequest) -> tuple[Metadata, float | None]:
    """Return the gRPC metadata and the timeout in the headers.

    `Authorization` carries a token, as plainly as the gRPC metadata `token` does.
    """
    pairs: list[tuple[str, str | bytes]] = []
    timeout_s: float | None = None
    for name, value in request.headers:
        if name == "authorization":
            pairs.append((name, value))
            pairs.append(("token", value))
        elif name == "grpc-timeout":
            try:
                timeout_s = parse_timeout_s(value)
            except RpcError:
                message = f"invalid grpc-timeout: {value}"
                raise RpcError(Code.INVALID_ARGUMENT, message) from None
        elif name.startswith(_METADATA_PREFIX) and len(name) > len(_METADATA_PREFIX):
            pairs.append((name.removeprefix(_METADATA_PREFIX), value))
    return pairs, timeout_s


class _Lines:
    """The responses of a stream as lines; `aclose` ends the call when the client has gone."""

    def __init__(
        self, route: Route, call: LocalStreamCall, stats: MethodStats, first: bytes | None
    ) -> None:
        self._route = route
        self._stats = stats
        self._call = call
        self._message = first
        self._started = False
        self._ended = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._started:
                self._message = await self._call.next_response()
        except RpcError as error:
            self._ended = True
            return _stream_error(error)
        except asyncio.CancelledError:
            self._call.cancel()
            raise
        self._started = True
        if self._message is None:
            raise StopAsyncIteration
        self._stats.count_sent()
        message = self._route.response.FromString(self._message)
        return b'{"result":' + dumps(message) + b"}\n"

    async def aclose(self) -> None:
        self._call.cancel()


def _stream_error(error: RpcError) -> bytes:
    """Return the error line of a stream, named as by either version of grpc-gateway."""
    status = HTTP_STATUS[error.code]
    reason = _REASONS.get(status, "Client Closed Request")
    detail = {"code": int(error.code), "message": error.message}
    older = {"grpc_code": int(error.code), "http_code": status, "http_status": reason}
    return _json({"error": detail | older}) + b"\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _error_response(error: RpcError) -> HttpResponse:
    code = int(error.code)
    headers = [("content-type", "application/json")]
    if error.code is Code.UNAUTHENTICATED:
        headers.append(("www-authenticate", error.message))
    body = _json({"error": error.message, "code": code, "message": error.message})
    return HttpResponse(HTTP_STATUS[error.code], headers, body)
