"""The gRPC health service (grpc.health.v1): Check, List and Watch over settable statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from sampan.wire.grpc.pb import health_pb2 as pb
from sampan.wire.grpc.service import MethodTable, StreamCall, StreamMethod, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["HealthService"]

_SERVICE = "/grpc.health.v1.Health/"
_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


class HealthService:
    """The statuses of the services of one server; the empty name is the server as a whole.

    It starts as not serving. After `shut_down` every status stays not serving for good.
    """

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {"": False}
        self._ended = False
        self._watchers: set[asyncio.Event] = set()

    def set_serving(self, service: str, serving: bool) -> None:
        """Set the status of `service` and tell its watchers."""
        self._serving[service] = serving and not self._ended
        for changed in self._watchers:
            changed.set()

    def set_all_serving(self) -> None:
        """Set every known service, the empty name included, to serving."""
        for service in self._serving:
            self.set_serving(service, True)

    def shut_down(self) -> None:
        """Set every known service to not serving, whatever is said later."""
        self._ended = True
        for service in self._serving:
            self.set_serving(service, False)

    def descriptors(self) -> Sequence[FileDescriptor]:
        """Return the files that describe the service, for reflection."""
        return (pb.DESCRIPTOR,)

    def methods(self) -> MethodTable:
        """Return the service's methods for a server."""
        return {
            _SERVICE + "Check": UnaryMethod(self._check),
            _SERVICE + "List": UnaryMethod(self._list),
            _SERVICE + "Watch": StreamMethod(self._watch, client_streaming=False),
        }

    def _check(self, call: UnaryCall, request: bytes) -> None:
        serving = self._serving.get(_parse(request).service)
        if serving is None:
            raise RpcError(Code.NOT_FOUND, "unknown service")
        call.reply(_response(serving).SerializeToString())

    def _list(self, call: UnaryCall, request: bytes) -> None:
        response = pb.HealthListResponse()
        for service, serving in self._serving.items():
            response.statuses[service].CopyFrom(_response(serving))
        call.reply(response.SerializeToString())

    async def _watch(self, call: StreamCall) -> None:
        service = _parse(await call.receive() or b"").service
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            sent = b""
            while True:
                changed.clear()
                status = _response(self._serving.get(service)).SerializeToString()
                if status != sent:
                    call.send(status)
                    sent = status
                await call.drain()
                await changed.wait()
        finally:
            self._watchers.discard(changed)


def _parse(request: bytes) -> pb.HealthCheckRequest:
    try:
        return pb.HealthCheckRequest.FromString(request)
    except DecodeError as error:
        raise RpcError(Code.INTERNAL, f"grpc: error unmarshalling request: {error}") from None


def _response(serving: bool | None) -> pb.HealthCheckResponse:
    if serving is None:
        return pb.HealthCheckResponse(status=_SERVICE_UNKNOWN)
    return pb.HealthCheckResponse(status=_SERVING if serving else _NOT_SERVING)
