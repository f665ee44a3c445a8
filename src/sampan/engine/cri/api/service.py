"""CRI's services as tables of methods: messages decoded, errors given the codes kubelets know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from sampan.base.errors import (
    InvariantError,
    SampanError,
)
from sampan.wire.grpc.kinds import code_of
from sampan.wire.grpc.service import (
    MethodTable,
    StreamCall,
    StreamMethod,
    UnaryCall,
    UnaryMethod,
)
from sampan.wire.grpc.status import Code, RpcError

__all__ = ["method_name", "service_methods"]

_LOG = logging.getLogger(__name__)
_ENDS_WITH_CALLER: Final = frozenset({"ExecSync", "PullImage"})
"""What is given up when the caller goes; everything else runs to its end."""


def method_name(rpc: str) -> str:
    """Return the Python method of an RPC: `RunPodSandbox` is `run_pod_sandbox`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower()


def service_methods(service: ServiceDescriptor, *handlers: object) -> MethodTable:
    """Return the methods of a service; one of the `handlers` has a coroutine function for each.

    A unary one takes the request and returns the response; a streaming one is an asynchronous
    generator whose first item is None: from then on nothing is missed.
    """
    table: dict[str, UnaryMethod | StreamMethod] = {}
    for method in service.methods:
        name = method_name(method.name)
        found = (getattr(one, name, None) for one in handlers)
        handle = next((one for one in found if one is not None), None)
        if handle is None:
            raise InvariantError(f"{method.name} has no handler")
        path = f"/{service.full_name}/{method.name}"
        made = _stream if method.server_streaming else _unary
        table[path] = made(method, handle)
    return table


def _decoded(kind: type[Message], data: bytes) -> Message:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcError(Code.INVALID_ARGUMENT, f"malformed {kind.__name__}: {error}") from None


async def _guarded(name: str, work: Awaitable[Any]) -> Any:
    """Await the work of a call; what goes wrong becomes an RpcError."""
    try:
        return await work
    except SampanError as error:
        raise RpcError(code_of(error), str(error)) from error
    except OSError as error:
        raise RpcError(Code.UNKNOWN, f"{error.strerror}: {error.filename}") from error
    except (RpcError, asyncio.CancelledError):
        raise
    except Exception as error:
        _LOG.exception("%s failed", name)
        raise RpcError(Code.INTERNAL, f"internal error: {error}") from error


def _unary(method: MethodDescriptor, handle: Callable[[Any], Awaitable[Message]]) -> UnaryMethod:
    kind = GetMessageClass(method.input_type)
    tasks: set[asyncio.Task[None]] = set()

    async def run(call: UnaryCall, request: Message) -> None:
        try:
            response = await _guarded(method.name, handle(request))
        except RpcError as error:
            call.fail(error.code, error.message, error.metadata)
        else:
            call.reply(response.SerializeToString())

    def begin(call: UnaryCall, data: bytes) -> None:
        task = asyncio.ensure_future(run(call, _decoded(kind, data)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if method.name in _ENDS_WITH_CALLER:
            call.on_done(lambda: None if task.done() else _cancel(task))

    return UnaryMethod(begin)


def _cancel(task: asyncio.Task[None]) -> None:
    if task is not asyncio.current_task():
        task.cancel()


async def _send_all(call: StreamCall, responses: AsyncGenerator[Message | None]) -> None:
    async with contextlib.aclosing(responses):
        async for response in responses:
            if response is None:
                call.send_metadata(())
            else:
                call.send(response.SerializeToString())
                await call.drain()


def _stream(
    method: MethodDescriptor, handle: Callable[[Any], AsyncGenerator[Message | None]]
) -> StreamMethod:
    kind = GetMessageClass(method.input_type)

    async def run(call: StreamCall) -> None:
        data = await call.receive()
        if data is None:
            raise RpcError(Code.INVALID_ARGUMENT, "no request")
        await _guarded(method.name, _send_all(call, handle(_decoded(kind, data))))

    return StreamMethod(run, client_streaming=False, server_streaming=True)
