"""A server of every shape of call, run on a loop of its own in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

import uvloop

from sampan.loop.health import HealthService
from sampan.loop.server import RpcServer
from sampan.loop.server_limits import ServerLimits
from sampan.wire.grpc.reflection import Reflection
from sampan.wire.grpc.service import (
    HttpRequest,
    HttpResponse,
    StreamCall,
    StreamMethod,
    UnaryCall,
    UnaryMethod,
)
from sampan.wire.grpc.status import Code, RpcError
from sampan.wire.protobuf import POOL

__all__ = ["EchoServer", "serve"]

T = TypeVar("T")
WAIT_S = 20


class EchoServer:
    """The methods below `/test.Echo/`, and what they saw."""

    def __init__(self, limits: ServerLimits | None = None) -> None:
        self.health = HealthService()
        self.seen_metadata: list[tuple[str, str | bytes]] = []
        self.peer_name: str | None = None
        self.ended = threading.Event()
        self.started = threading.Event()
        self.held: list[UnaryCall] = []
        self.errors: list[str] = []
        table = {
            "/test.Echo/Echo": UnaryMethod(self._echo),
            "/test.Echo/Blob": UnaryMethod(self._blob),
            "/test.Echo/Fail": UnaryMethod(self._fail),
            "/test.Echo/Crash": UnaryMethod(self._crash),
            "/test.Echo/Hold": UnaryMethod(self._hold),
            "/test.Echo/Count": StreamMethod(self._count, client_streaming=False),
            "/test.Echo/Join": StreamMethod(self._join, server_streaming=False),
            "/test.Echo/Chat": StreamMethod(self._chat),
            "/test.Echo/Unread": StreamMethod(self._unread),
            "/test.Echo/Flood": StreamMethod(self._flood, client_streaming=False),
            **self.health.methods(),
            **Reflection(["grpc.health.v1.Health"], POOL).methods(),
        }
        self.server = RpcServer(table, http=self._http, limits=limits)
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(self._on_error)
        self.host = ""
        self.port = 0
        self._thread = threading.Thread(target=self.loop.run_forever)

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.errors.append(str(context))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def run(self, make: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine on the server's loop and wait for its result."""

        async def wrapped() -> T:
            return await make()

        return asyncio.run_coroutine_threadsafe(wrapped(), self.loop).result(WAIT_S)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the server's loop and wait for its result."""

        async def wrapped() -> T:
            return function()

        return self.run(wrapped)

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._thread.start()
        self.host, self.port = self.run(lambda: self.server.listen("127.0.0.1", 0, tls))

    def stop(self, grace_s: float = 0.2) -> None:
        if not self._thread.is_alive():
            return
        self.run(lambda: self.server.close(grace_s))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()

    def _echo(self, call: UnaryCall, request: bytes) -> None:
        self.seen_metadata = list(call.metadata)
        self.peer_name = call.peer.common_name
        call.reply(request)

    def _blob(self, call: UnaryCall, request: bytes) -> None:
        call.reply(b"b" * int(request))

    def _fail(self, call: UnaryCall, request: bytes) -> None:
        raise RpcError(
            Code.FAILED_PRECONDITION,
            "100% né, zeile\nzwei",
            [("why", "x"), ("raw-bin", b"\x00\xff")],
        )

    def _crash(self, call: UnaryCall, request: bytes) -> None:
        raise ZeroDivisionError

    def _hold(self, call: UnaryCall, request: bytes) -> None:
        self.held.append(call)
        call.on_done(self.ended.set)
        self.started.set()

    async def _count(self, call: StreamCall) -> None:
        request = await call.receive()
        call.send_metadata([("initial", "yes")])
        for number in range(int(request or b"0")):
            call.send(b"%d" % number)
            await call.drain()

    async def _join(self, call: StreamCall) -> None:
        parts = [part async for part in call]
        call.send(b"".join(parts))

    async def _chat(self, call: StreamCall) -> None:
        self.started.set()
        try:
            async for message in call:
                if message == b"fail":
                    raise RpcError(Code.ABORTED, "as you wish")
                call.send(message)
                await call.drain()
        finally:
            self.ended.set()

    async def _unread(self, call: StreamCall) -> None:
        call.send_metadata(())
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def _flood(self, call: StreamCall) -> None:
        try:
            while True:
                call.send(b"f" * 10_000)
                await call.drain()
                await asyncio.sleep(0)
        finally:
            self.ended.set()

    async def _http(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/stream":

            async def pieces() -> AsyncIterator[bytes]:
                for number in range(3):
                    yield b"piece %d\n" % number

            return HttpResponse(200, [("content-type", "text/plain")], pieces())
        if request.path == "/empty":
            return HttpResponse(204)
        if request.path == "/crash":
            raise ZeroDivisionError
        body = f"{request.method} {request.path} {len(request.body)}\n".encode()
        return HttpResponse(200, [("content-type", "text/plain")], body)


@contextlib.contextmanager
def serve(
    limits: ServerLimits | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[EchoServer]:
    """A running EchoServer; at the end nothing may have gone wrong unseen."""
    server = EchoServer(limits)
    server.start(tls)
    try:
        yield server
    finally:
        server.stop()
    assert not server.errors, server.errors
