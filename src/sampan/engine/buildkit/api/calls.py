"""Coroutines as methods of a gRPC server: messages decoded, errors as statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from sampan.base.errors import SampanError
from sampan.engine.buildkit.core.failure import call_failure
from sampan.wire.grpc.service import StreamCall, StreamMethod, UnaryCall, UnaryMethod
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["answering", "metadata_of", "streaming"]

_LOG = logging.getLogger(__name__)
_MOST_BUFFERED = 4 << 20

Request = TypeVar("Request", bound=Message)


def _decoded(kind: type[Request], raw: bytes) -> Request:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise RpcError(Code.INTERNAL, f"grpc: the request is no {kind.__name__}: {error}") from None


def _failure(error: BaseException, path: str) -> RpcError:
    if isinstance(error, RpcError):
        return error
    if isinstance(error, SampanError):
        return call_failure(error)
    _LOG.error("%s failed", path, exc_info=error)
    return RpcError(Code.INTERNAL, f"internal error: {error}")


def metadata_of(call: UnaryCall, name: str) -> str:
    """Return the first value of a request's metadata, "" without one."""
    found = (value for key, value in call.metadata if key == name)
    return str(next(found, ""))


def answering(
    kind: type[Request], handle: Callable[[UnaryCall, Request], Awaitable[Message]]
) -> UnaryMethod:
    """Return the method of a coroutine function; it is cancelled when its caller goes."""

    def begin(call: UnaryCall, raw: bytes) -> None:
        request = _decoded(kind, raw)

        async def run() -> None:
            try:
                message = await handle(call, request)
            except Exception as error:
                found = _failure(error, call.path)
                answered.append(True)
                call.fail(found.code, found.message, found.metadata)
            else:
                answered.append(True)
                call.reply(message.SerializeToString())

        answered: list[bool] = []
        task = asyncio.ensure_future(run())
        running.add(task)
        task.add_done_callback(running.discard)

        def end() -> None:
            if not answered:
                task.cancel()

        call.on_done(end)

    running: set[asyncio.Task[None]] = set()
    return UnaryMethod(begin)


def streaming(
    kind: type[Request], handle: Callable[[Request], AsyncIterator[Message]]
) -> StreamMethod:
    """Return the method of an asynchronous generator, which its caller may read slowly."""

    async def serve(call: StreamCall) -> None:
        raw = await call.receive()
        try:
            async for message in handle(_decoded(kind, raw or b"")):
                call.send(message.SerializeToString())
                if call.buffered_bytes > _MOST_BUFFERED:
                    await call.drain()
        except RpcError:
            raise
        except Exception as error:
            raise _failure(error, call.path) from None

    return StreamMethod(serve, client_streaming=False)
